"""Put a source together from its folds; its scratch goes once its own files stand."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.fits.assembly import assemble_source, clear_scratch
    from blendmake.provenance import provenance

    names = ("oof", "test", "fits")
    folds = zip(*(snakemake.input[name] for name in names), strict=True)
    config = snakemake.params.source
    assemble_source(
        [dict(zip(names, map(Path, files), strict=True)) for files in folds],
        Path(snakemake.input.folds),
        {name: Path(snakemake.output[name]) for name in names},
        provenance(config, snakemake.params.code, name=snakemake.wildcards.source, kind="source"),
    )
    clear_scratch(Path(snakemake.params.scratch))
