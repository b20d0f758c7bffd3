"""Build the leaderboard and the experiment log from the scored artifacts."""

from blendmake.job import job, optional_path

with job(snakemake.log[0], script=snakemake):
    import logging
    from pathlib import Path

    from blendmake.provenance import provenance
    from blendmake.reports.doubts import DOUBTS, board_doubts
    from blendmake.reports.leaderboard import Entry, Truth, write_leaderboard

    files = snakemake.input
    fits = map(Path, files.fits)  # of what was fitted here, in the order of the entries
    orders = zip(
        map(Path, files.in_sample), map(Path, files.uncalibrated), strict=True
    )  # of blends
    entries = [
        Entry(
            entry["name"],
            entry["kind"],
            Path(oof),
            Path(scores),
            next(fits) if entry["fits"] else None,
            *(next(orders) if entry["kind"] == "blend" else (None, None)),
            **entry.get("scores", {}),
        )
        for entry, oof, scores in zip(
            snakemake.params.entries, files.oof, files.scores, strict=True
        )
    ]
    out = snakemake.output
    doubts = board_doubts(entries)
    for doubt in doubts:
        logging.warning("WARNING: %s", doubt)
    note = {**provenance({}, snakemake.params.code), DOUBTS: doubts}
    metrics = snakemake.params.metrics
    truth = Truth(
        Path(files.targets),
        Path(files.folds),
        optional_path(files.groups),
        metrics.get("metric"),
        metrics.get("also"),
    )
    paths = [Path(one) for one in (out.parquet, out.csv, out.experiments, out.by_target)]
    write_leaderboard(entries, truth, *paths, note)
