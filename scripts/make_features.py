"""Select the columns of a feature set and make its own."""

from blendmake.job import job

with job(snakemake.log[0], snakemake.threads, script=snakemake, own=["lists"]):
    from pathlib import Path

    from blendmake.features.sets import make_features
    from blendmake.provenance import provenance

    settings = snakemake.params.features
    make_features(
        {"train": Path(snakemake.input.train), "test": Path(snakemake.input.test)},
        Path(snakemake.input.columns),
        settings,
        out_columns=Path(snakemake.output.columns),
        out={"train": Path(snakemake.output.train), "test": Path(snakemake.output.test)},
        note=provenance(settings, snakemake.params.code),
    )
