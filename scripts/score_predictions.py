"""Score a source or a blend, with intervals."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.provenance import provenance
    from blendmake.scoring import score_artifact

    estimate = snakemake.params.estimate
    score_artifact(
        Path(snakemake.input.oof),
        Path(snakemake.input.test),
        Path(snakemake.input.targets),
        Path(snakemake.input.folds),
        Path(snakemake.output[0]),
        estimate=estimate,
        groups=optional_path(snakemake.input.groups),
        test_targets=optional_path(snakemake.input.test_targets),
        in_sample=optional_path(snakemake.input.get("in_sample")),
        uncalibrated=optional_path(snakemake.input.get("uncalibrated")),
        metric=snakemake.params.metrics.get("metric"),
        also=snakemake.params.metrics.get("also"),
        note=provenance({**snakemake.params.metrics, "estimate": estimate}, snakemake.params.code),
    )
