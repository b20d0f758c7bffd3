"""Check the searches of a problem before their first trial, and print what was found."""

from blendmake.job import job

with job(snakemake.log[0], snakemake.threads):
    import sys

    from blendmake.fits.target_groups import read_group_files
    from blendmake.searches.checking import lint_searches

    params = snakemake.params
    built = read_group_files(snakemake.input.groups)
    files = snakemake.input
    text, sound = lint_searches(params.problem, params.searches, params.files, files, built)
    print(text, flush=True)
    if not sound:
        sys.exit(1)
