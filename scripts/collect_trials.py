"""Write down the trials of a finished search."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.fits.target_groups import read_group_files
    from blendmake.provenance import provenance
    from blendmake.searches.search import search_of
    from blendmake.searches.worker_job import collect

    params, name = snakemake.params, snakemake.wildcards.search
    built = read_group_files(snakemake.input.groups)
    collect(
        search_of(params.search, params.problem, name, snakemake.input, built),
        scratch=Path(params.scratch),
        out=Path(snakemake.output[0]),
        note=provenance(params.search["search"], params.code, packages=("optuna",)),
    )
