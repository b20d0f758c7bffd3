"""Write down what the trials of a search say."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.provenance import provenance
    from blendmake.searches.outputs import write_analysis
    from blendmake.searches.space import space_of

    params = snakemake.params
    search = params.search["search"]
    write_analysis(
        Path(snakemake.input[0]),
        Path(snakemake.output.best).parent,
        space_of(search["space"], list(params.search["sources"])),
        top=params.top,
        note=provenance(search, params.code, packages=("optuna",)),
    )
