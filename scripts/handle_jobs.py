"""Wait for, or cancel, jobs of this folder in the queue of a cluster."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake import cluster

    getattr(cluster, snakemake.rule)(Path.cwd())
