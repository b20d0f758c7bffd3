"""Read the group of each row, in the order of the table."""

from blendmake.job import job, own_paths

with job(snakemake.log[0], script=snakemake, own=["groups"]):
    from pathlib import Path

    from blendmake.files import read_note
    from blendmake.matrix import TableFile
    from blendmake.provenance import provenance
    from blendmake.tables.user_labels import group_codes, read_column, write_groups

    data = snakemake.params.data
    id_columns = read_note(snakemake.input.columns)["id_columns"]
    ids = TableFile(Path(snakemake.input.table)).table(id_columns)
    groups = read_column(
        own_paths(snakemake.params.places, snakemake.input.groups)[0],
        data["column"],
        ids,
        data["id"],
        "The group",
        csv_format=data.get("csv_format"),
        missing=data.get("missing", ()),
    )
    note = provenance(data, snakemake.params.code, sizes=snakemake.params.sizes)
    write_groups(Path(snakemake.output[0]), ids, group_codes(groups), note)
