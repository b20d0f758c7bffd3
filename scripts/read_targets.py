"""Read the labels, of the train rows or of the test rows, in the order of the table."""

from blendmake.job import job, own_paths

with job(snakemake.log[0], script=snakemake, own=["targets"]):
    from pathlib import Path

    from blendmake.files import note_of, read_parquet
    from blendmake.labels import read_known
    from blendmake.matrix import TableFile
    from blendmake.provenance import provenance
    from blendmake.tables.user_labels import read_targets, write_targets

    data = snakemake.params.data
    columns = read_parquet(snakemake.input.columns)
    id_columns = note_of(columns)["id_columns"]
    ids = TableFile(Path(snakemake.input.table)).table(id_columns)
    known = [read_known(Path(path)).targets for path in snakemake.input.get("known", ())]
    targets = read_targets(
        own_paths(snakemake.params.places, snakemake.input.targets)[0],
        data["columns"],
        ids,
        data["id"],
        task=data.get("task"),
        known=known[0] if known else None,
        one_class_allowed=bool(known),
        features=set(columns["name"].to_pylist()),
        csv_format=data.get("csv_format"),
        positive=data.get("positive"),
        missing=data.get("missing", ()),
    )
    note = provenance(
        data, snakemake.params.code, id_columns=id_columns, sizes=snakemake.params.sizes
    )
    write_targets(targets, Path(snakemake.output[0]), note)
