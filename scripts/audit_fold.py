"""Audit the columns of a feature set on one fold, target by target."""

from blendmake.job import job

with job(snakemake.log[0], snakemake.threads):
    from pathlib import Path

    from blendmake.audits.auditing import AuditInputs, AuditOutputs, audit_fold
    from blendmake.provenance import provenance

    files = {name: Path(path) for name, path in snakemake.input.items()}
    audit, code = snakemake.params.audit, snakemake.params.code
    audit_fold(
        snakemake.wildcards.audit,
        audit["audit"],
        audit["groups"],
        int(snakemake.wildcards.fold),
        AuditInputs(
            columns=files["columns"],
            train=(files["train"], files["made_train"]),
            test=(files["test"], files["made_test"]),
            targets=files["targets"],
            folds=files["folds"],
            inner=files["inner"],
        ),
        AuditOutputs(Path(snakemake.output.features), Path(snakemake.output.columns)),
        seed=audit["seed"],
        code=code,
        scratch=Path(snakemake.params.scratch),
        threads=snakemake.threads,
        note=provenance(audit["audit"], code, packages=("lightgbm",), seed=audit["seed"]),
    )
