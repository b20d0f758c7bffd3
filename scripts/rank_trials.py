"""List the best trials of a search by rank."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.provenance import provenance
    from blendmake.searches.ranking import rank_trials

    note = provenance({}, snakemake.params.code)
    rank_trials(Path(snakemake.input[0]), Path(snakemake.output[0]), note)
