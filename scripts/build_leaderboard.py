"""Build the leaderboard and the experiment log from the scored artifacts."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.provenance import provenance
    from blendmake.reports.leaderboard import Entry, write_leaderboard

    entries = []
    for entry in snakemake.params.entries:
        folder = Path(entry["folder"])
        fits = folder / "fits.parquet" if entry["fits"] else None
        entries.append(
            Entry(
                entry["name"],
                entry["kind"],
                folder / "oof.parquet",
                folder / "scores.parquet",
                fits,
                **entry.get("scores", {}),
            )
        )
    out = snakemake.output
    note = provenance({}, snakemake.params.code)
    write_leaderboard(entries, Path(out.parquet), Path(out.csv), Path(out.experiments), note)
