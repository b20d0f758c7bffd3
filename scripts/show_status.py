"""Print what is built, partly built and missing."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.reports.status import read_status, status_text

    rows = read_status(
        snakemake.params.entries, Path(snakemake.params.targets), snakemake.params.folds
    )
    print(f"\nproblem {snakemake.params.problem}\n\n" + status_text(rows) + "\n", flush=True)
