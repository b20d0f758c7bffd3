"""Sum a search up: best, baseline, trials by state, verdicts."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.searches.outputs import write_summary

    write_summary(Path(snakemake.input[0]), snakemake.params.criteria, Path(snakemake.output[0]))
