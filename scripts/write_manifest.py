"""Write the manifest of a campaign and print it."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.reports.campaign import manifest, manifest_text, write_manifest

    params = snakemake.params
    entries = manifest(params.artifacts, params.left, Path(params.copies))
    write_manifest(Path(params.manifest), entries)
    print(f"\n{manifest_text(params.campaign, entries, Path(params.manifest))}\n", flush=True)
