"""Write down that all workers of a search have ended, with how many trials, and how many they were."""

from blendmake.job import job

with job(snakemake.log[0]):
    import json
    from pathlib import Path

    from blendmake.files import write_text

    # Each has seen the same number of trials done.
    done = json.loads(Path(snakemake.input[0]).read_text(encoding="utf-8"))
    of_all = {"workers": len(snakemake.input), "search": snakemake.params.search}
    write_text(json.dumps({**done, **of_all}, indent=1) + "\n", Path(snakemake.output[0]))
