"""Compare two searches of a problem."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.searches.outputs import write_comparison

    folders = [Path(file).parent for file in snakemake.input]
    write_comparison(*folders, Path(snakemake.output[0]))
