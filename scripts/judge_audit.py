"""List what one fold's audit would drop."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.audits.verdicts import judge_fold
    from blendmake.provenance import provenance

    verdict = snakemake.params.verdict
    judge_fold(
        Path(snakemake.input.features),
        Path(snakemake.input.columns),
        verdict,
        Path(snakemake.output[0]),
        provenance(verdict, snakemake.params.code, fold=int(snakemake.wildcards.fold)),
    )
