"""Blend sources: cross-fitted predictions, test predictions, weights."""

from blendmake.job import job

with job(snakemake.log[0], snakemake.threads, script=snakemake):
    from pathlib import Path

    from blendmake.blends.files import blend_files
    from blendmake.provenance import provenance

    config = snakemake.params.blend
    blend_files(
        snakemake.wildcards.blend,
        config,
        [Path(path) for path in snakemake.input.oof],
        [Path(path) for path in snakemake.input.test],
        Path(snakemake.input.targets),
        Path(snakemake.input.folds),
        {name: Path(path) for name, path in snakemake.output.items()},
        provenance(
            {**config, **snakemake.params.metrics},
            snakemake.params.code,
            packages=("scipy", "scikit-learn"),
        ),
        snakemake.threads,
        metric=snakemake.params.metrics.get("metric"),
    )
