"""Check the sample submission before anything is fitted, and keep it."""

from blendmake.job import job, own_paths

with job(snakemake.log[0], script=snakemake, own=["sample"]):
    from pathlib import Path

    from blendmake.files import read_note
    from blendmake.labels import read_targets_of
    from blendmake.matrix import TableFile
    from blendmake.provenance import provenance
    from blendmake.submission import read_sample

    settings = snakemake.params.submission
    id_columns = read_note(Path(snakemake.input.columns))["id_columns"]
    targets = read_targets_of(Path(snakemake.input.targets))
    read_sample(
        own_paths(snakemake.params.places, snakemake.input.sample)[0],
        TableFile(Path(snakemake.input.table)).table(id_columns),
        Path(snakemake.output[0]),
        id_columns=settings["id"],
        targets=targets,
        rename=settings["rename"],
        csv_format=settings.get("csv_format"),
        note=provenance(settings, snakemake.params.code, sizes=snakemake.params.sizes),
    )
