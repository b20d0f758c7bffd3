"""Fit one source on one fold, target by target."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], snakemake.threads):
    import importlib
    from pathlib import Path

    from blendmake.fitting import FoldInputs, FoldOutputs, fit_fold
    from blendmake.provenance import provenance

    files, fit = snakemake.input, snakemake.params.fit
    oof = Path(snakemake.output.oof)
    packages = importlib.import_module(fit["family"]).FAMILY.PACKAGES
    note = provenance(fit["source"], snakemake.params.code, packages=packages, seed=fit["seed"])
    fit_fold(
        snakemake.wildcards.source,
        fit["source"],
        fit["groups"],
        int(snakemake.wildcards.fold),
        FoldInputs(
            tables={"train": Path(files.train), "test": Path(files.test)},
            made={"train": Path(files.made_train), "test": Path(files.made_test)},
            columns=Path(files.columns),
            targets=Path(files.targets),
            folds=Path(files.folds),
            inner=optional_path(files.inner),
        ),
        FoldOutputs(
            oof, Path(snakemake.output.test), Path(snakemake.output.fits), oof.parent / "models"
        ),
        family=fit["family"],
        seed=fit["seed"],
        code=snakemake.params.code,
        scratch=Path(snakemake.params.scratch),
        threads=snakemake.threads,
        note=note,
    )
