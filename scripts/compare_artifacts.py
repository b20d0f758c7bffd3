"""Compare two sources or blends with paired intervals."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.comparing import compare_artifacts
    from blendmake.provenance import provenance

    compare_artifacts(
        Path(snakemake.input.oof[0]),
        Path(snakemake.input.oof[1]),
        Path(snakemake.input.targets),
        Path(snakemake.input.folds),
        Path(snakemake.output[0]),
        groups=optional_path(snakemake.input.groups),
        metric=snakemake.params.metrics.get("metric"),
        also=snakemake.params.metrics.get("also"),
        note=provenance(
            {**snakemake.params.metrics, "pair": snakemake.wildcards.pair}, snakemake.params.code
        ),
    )
