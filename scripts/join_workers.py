"""Write down that all workers of a search have ended, with how many trials, and how many they were."""

from blendmake.job import job

with job(snakemake.log[0]):
    import json
    from pathlib import Path

    from blendmake.files import write_text
    from blendmake.searches.joining import joined

    done = {**joined(list(snakemake.input)), "search": snakemake.params.search}
    write_text(json.dumps(done, indent=1) + "\n", Path(snakemake.output[0]))
