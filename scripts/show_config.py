"""Print the resolved config, presets written out, as YAML that can be edited."""

from blendmake.job import job

with job(snakemake.log[0]):
    import yaml

    print(yaml.safe_dump(snakemake.params.config, sort_keys=False, width=100), flush=True)
