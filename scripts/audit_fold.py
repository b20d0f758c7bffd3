"""Audit the columns of a feature set on one fold, target by target."""

from blendmake.job import job

with job(snakemake.log[0], snakemake.threads, script=snakemake, long=True):
    from pathlib import Path

    from blendmake.audits.auditing import AuditOutputs, audit_fold
    from blendmake.fits.inputs import FoldInputs
    from blendmake.provenance import provenance

    files = {name: Path(path) for name, path in snakemake.input.items()}
    audit, code = snakemake.params.audit, snakemake.params.code
    audit_fold(
        snakemake.wildcards.audit,
        audit["audit"],
        audit["groups"],
        int(snakemake.wildcards.fold),
        FoldInputs(
            tables={"train": files["train"], "test": files["test"]},
            made={"train": files["made_train"], "test": files["made_test"]},
            columns=files["columns"],
            targets=files["targets"],
            folds=files["folds"],
            inner=files["inner"],
        ),
        AuditOutputs(Path(snakemake.output.features), Path(snakemake.output.columns)),
        seed=audit["seed"],
        code=code,
        scratch=Path(snakemake.params.scratch),
        threads=snakemake.threads,
        metric=audit.get("metric"),
        metric_code=audit.get("metric_code"),
        note=provenance(audit["audit"], code, packages=("lightgbm",), seed=audit["seed"]),
    )
