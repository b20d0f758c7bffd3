"""Fit one source on one fold, target by target."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], snakemake.threads):
    import importlib
    from pathlib import Path

    from blendmake.fits.fitting import FoldOutputs, fit_fold
    from blendmake.fits.inputs import FoldInputs
    from blendmake.fits.target_groups import read_group_files
    from blendmake.provenance import provenance

    files, fit = snakemake.input, snakemake.params.fit
    fold_train, fold_test = optional_path(files.fold_train), optional_path(files.fold_test)
    oof = Path(snakemake.output.oof)
    packages = importlib.import_module(fit["family"]).FAMILY.PACKAGES
    note = provenance(fit["source"], snakemake.params.code, packages=packages, seed=fit["seed"])
    fit_fold(
        snakemake.wildcards.source,
        fit["source"],
        {**fit["groups"], **read_group_files(files.groups)},
        int(snakemake.wildcards.fold),
        FoldInputs(
            tables={"train": Path(files.train), "test": Path(files.test)},
            made={"train": Path(files.made_train), "test": Path(files.made_test)},
            columns=Path(files.columns),
            targets=Path(files.targets),
            folds=Path(files.folds),
            inner=optional_path(files.inner),
            fold_made={"train": fold_train, "test": fold_test} if fold_train else None,
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
        best=optional_path(files.best),
    )
