"""Check predictions that somebody else made and put them into the project's form."""

from blendmake.job import job, own_paths

with job(snakemake.log[0], script=snakemake, own=("oof", "test")):
    from pathlib import Path

    from blendmake.fits.external import read_external
    from blendmake.provenance import provenance

    files, params = snakemake.input, snakemake.params
    name = snakemake.wildcards.external
    read_external(
        dict(zip(("oof", "test"), own_paths(params.places, files.oof, files.test), strict=True)),
        Path(files.targets),
        Path(files.table),
        Path(files.folds),
        {part: Path(snakemake.output[part]) for part in ("oof", "test")},
        id_columns=params.names["id"],
        rename=params.names["rename"],
        csv_format=params.external.get("csv_format"),
        note=provenance(params.external, params.code, name=name, kind="source", sizes=params.sizes),
    )
