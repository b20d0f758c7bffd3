"""Make what a feature set makes of labels in one fold, from that fold's training rows."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], snakemake.threads, script=snakemake):
    from pathlib import Path

    from blendmake.features.fold_features import SetInputs, make_fold_features
    from blendmake.provenance import provenance

    files, out, settings = snakemake.input, snakemake.output, snakemake.params.features
    seed = snakemake.params.seed
    within = snakemake.wildcards.get("within")
    make_fold_features(
        SetInputs(
            tables={"train": Path(files.train), "test": Path(files.test)},
            made={"train": Path(files.made_train), "test": Path(files.made_test)},
            columns=Path(files.columns),
            targets=Path(files.targets),
            folds=Path(files.folds),
            groups=optional_path(files.groups),
            audit=optional_path(files.audit),
        ),
        int(snakemake.wildcards.fold),
        settings,
        seed,
        out_columns=Path(out.columns),
        out={"train": Path(out.train), "test": Path(out.test)},
        out_selection=Path(out.selection),
        note=provenance(settings, snakemake.params.code, seed=seed),
        within=[int(k) for k in within.split("_")] if within else None,
    )
