"""Rank correlation of every pair of sources and blends."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.folds.file import read_folds
    from blendmake.provenance import provenance
    from blendmake.reports.correlations import write_correlations

    names = snakemake.params.names
    write_correlations(
        list(zip(names, map(Path, snakemake.input.oof), strict=True)),
        read_folds(Path(snakemake.input.folds)).fold,
        Path(snakemake.output[0]),
        provenance({"names": names}, snakemake.params.code),
    )
