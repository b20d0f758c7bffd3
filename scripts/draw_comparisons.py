"""Draw the paired differences."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.files import read_parquet
    from blendmake.reports.figures import draw_comparisons

    paths = [Path(path) for path in snakemake.input]
    tables = {path.stem.replace("__vs__", " vs "): read_parquet(path) for path in paths}
    draw_comparisons(tables, Path(snakemake.output[0]))
