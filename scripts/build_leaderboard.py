"""Build the leaderboard and the experiment log from the scored artifacts."""

from blendmake.job import job

with job(snakemake.log[0], script=snakemake):
    from pathlib import Path

    from blendmake.provenance import provenance
    from blendmake.reports.leaderboard import Entry, write_leaderboard

    files = snakemake.input
    fits = map(Path, files.fits)  # of what was fitted here, in the order of the entries
    entries = [
        Entry(
            entry["name"],
            entry["kind"],
            Path(oof),
            Path(scores),
            next(fits) if entry["fits"] else None,
            **entry.get("scores", {}),
        )
        for entry, oof, scores in zip(
            snakemake.params.entries, files.oof, files.scores, strict=True
        )
    ]
    out = snakemake.output
    note = provenance({}, snakemake.params.code)
    write_leaderboard(entries, Path(out.parquet), Path(out.csv), Path(out.experiments), note)
