"""Fit one source on one fold, target by target; or, of rule fit_chunk, some of its targets."""

from blendmake.job import fit_job, optional_path

with fit_job(snakemake) as gpu:
    import importlib
    from pathlib import Path

    from blendmake.beside import beside
    from blendmake.fits.fitting import FoldOutputs, FoldWork, fit_chunk, fit_fold
    from blendmake.fits.inputs import FoldInputs
    from blendmake.fits.target_groups import read_group_files
    from blendmake.provenance import provenance

    files, fit, which = snakemake.input, snakemake.params.fit, snakemake.wildcards
    fold_train, fold_test = optional_path(files.fold_train), optional_path(files.fold_test)
    packages = importlib.import_module(fit["family"]).FAMILY.PACKAGES
    work = FoldWork(
        which.source,
        fit["source"],
        {**fit["groups"], **read_group_files(files.groups)},
        int(which.fold),
        FoldInputs(
            tables={"train": Path(files.train), "test": Path(files.test)},
            made={"train": Path(files.made_train), "test": Path(files.made_test)},
            columns=Path(files.columns),
            targets=Path(files.targets),
            folds=Path(files.folds),
            inner=optional_path(files.inner),
            fold_made={"train": fold_train, "test": fold_test} if fold_train else None,
        ),
        family=fit["family"],
        seed=fit["seed"],
        code=snakemake.params.code,
        scratch=Path(snakemake.params.scratch),
        kept=Path(snakemake.params.kept),
        threads=snakemake.threads,
        note=provenance(fit["source"], snakemake.params.code, packages=packages, seed=fit["seed"]),
        best=optional_path(files.best),
        metric=fit.get("metric"),
        gpu=gpu,
        out_of_memory=snakemake.resources.out_of_memory,
    )
    out = Path(snakemake.output[0])
    folder = out.parent.parent if snakemake.rule == "fit_chunk" else out.parent
    oof, test, fits = (folder / f"{name}.parquet" for name in ("oof", "test", "fits"))
    whole = FoldOutputs(oof, test, fits, folder / "models")
    if snakemake.rule == "fit_chunk":
        fit_chunk(work, out, whole=whole, chunk=int(which.chunk), chunks=int(which.chunks))
    else:
        if int(which.fold) == 0:
            # What it finds is told and noted, and no fit depends on it.
            found = beside("tellers").of_fold(work.job)
            work.made |= {"told_by": found} if found else {}
        fit_fold(work, whole, jobs=max(1, len(files.chunks)))
