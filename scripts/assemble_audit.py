"""Put an audit together from its folds; its scratch goes once its own files stand."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.audits.verdicts import assemble_audit
    from blendmake.fits.assembly import clear_scratch
    from blendmake.provenance import provenance

    names = ("features", "columns")
    folds = zip(*(snakemake.input[name] for name in names), strict=True)
    lists = {}
    for path in map(Path, snakemake.output.get("lists", [])):
        label, _, name = path.stem.rpartition("_")
        lists.setdefault(label, {})[name] = path
    verdict = snakemake.params.verdict
    assemble_audit(
        snakemake.wildcards.audit,
        [dict(zip(names, map(Path, files), strict=True)) for files in folds],
        Path(snakemake.input.listed),
        verdict,
        {name: Path(snakemake.output[name]) for name in (*names, "keep", "drop")},
        lists,
        provenance(verdict, snakemake.params.code, name=snakemake.wildcards.audit),
    )
    clear_scratch(Path(snakemake.params.scratch))
