"""Write what is handed in, shaped as the sample asks."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.labels import read_targets_of
    from blendmake.provenance import provenance
    from blendmake.submission import write_submission

    settings = snakemake.params.submission
    targets = read_targets_of(Path(snakemake.input.targets))
    sample = optional_path(snakemake.input.sample)
    write_submission(
        Path(snakemake.input.test),
        None if sample is None else str(sample),
        Path(snakemake.output.parquet),
        id_columns=settings["id"],
        targets=targets,
        rename=settings["rename"],
        note=provenance(settings, snakemake.params.code),
        out_csv=optional_path(snakemake.output.get("csv")),
    )
