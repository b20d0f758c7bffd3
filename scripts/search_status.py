"""Print how far each study is."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.searches.progress import status_text

    params = snakemake.params
    folders = Path(params.results), Path(params.scratch)
    own = params.searches, params.files, params.criteria
    print(status_text(params.problem, *own, *folders))
