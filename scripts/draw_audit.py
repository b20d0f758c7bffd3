"""Draw the figures of one audit."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.files import note_of, read_parquet
    from blendmake.reports import audit_figures

    name = snakemake.wildcards.audit
    out = {figure: Path(path) for figure, path in snakemake.output.items()}
    folds = [read_parquet(Path(path)) for path in snakemake.input.folds]
    features = read_parquet(Path(snakemake.input.features))
    columns = read_parquet(Path(snakemake.input.columns))
    audit_figures.draw_effects(name, folds, columns, out["effects"])
    audit_figures.draw_target_effects(name, folds, features, out["targets"])
    audit_figures.draw_drift(name, columns, note_of(columns)["adversarial"], out["drift"])
