"""Draw the weights of one blend."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.files import read_parquet
    from blendmake.reports.figures import draw_weights

    weights = read_parquet(Path(snakemake.input[0]))
    draw_weights(weights, snakemake.wildcards.blend, Path(snakemake.output[0]))
