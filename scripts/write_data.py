"""Write the files of a built-in data set."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    import importlib
    from pathlib import Path

    adapter = importlib.import_module(snakemake.params.adapter)
    adapter.write(Path(snakemake.output[0]).parent, **snakemake.params.options)
