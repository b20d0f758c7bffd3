"""Read the feature files: checked, joined by id, typed."""

from blendmake.job import job, own_paths

with job(snakemake.log[0], snakemake.threads, script=snakemake, own=("train", "test")):
    from pathlib import Path

    from blendmake.provenance import provenance
    from blendmake.tables.naming import ACROSS
    from blendmake.tables.tables import read_tables

    data = snakemake.params.data
    files = own_paths(snakemake.params.places, snakemake.input.train, snakemake.input.test)
    number = len(data["train"])
    read_tables(
        dict(zip(data["train"], files[:number], strict=True)),
        dict(zip(data["train"], files[number:], strict=True)) if data["test"] else None,
        data["id"],
        out_train=Path(snakemake.output.train),
        out_test=Path(snakemake.output.test),
        out_columns=Path(snakemake.output.columns),
        category_columns=data["categories"]["columns"],
        category_patterns=data["categories"]["patterns"],
        ignore=data["ignore"],
        not_features=data["not_features"],
        csv_format=data.get("csv_format"),
        missing=data.get("missing", ()),
        elsewhere=data.get("elsewhere", ()),
        distinct=data.get("distinct", ACROSS),
        taken=data.get("taken", ()),
        note=provenance(data, snakemake.params.code, sizes=snakemake.params.sizes),
    )
