"""Draw the figures that speak of the whole problem."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.files import read_parquet
    from blendmake.reports import figures
    from blendmake.reports.correlations import duplicate_pairs
    from blendmake.reports.doubts import doubt_lines
    from blendmake.reports.leaderboard_page import leaderboard_html

    def tables(names, paths):
        return {name: read_parquet(Path(p)) for name, p in zip(names, paths, strict=True)}

    out = {name: Path(path) for name, path in snakemake.output.items()}
    leaderboard = read_parquet(Path(snakemake.input.leaderboard))
    fits = tables(snakemake.params.sources, snakemake.input.fits)
    figures.draw_leaderboard(leaderboard, out["leaderboard"])
    figures.draw_honesty(leaderboard, out["honesty"])
    by_target = read_parquet(Path(snakemake.input.by_target))
    figures.draw_heatmap(by_target, out["heatmap"])
    correlations = read_parquet(Path(snakemake.input.correlations))
    leaderboard_html(
        leaderboard, out["table"], duplicate_pairs(correlations), doubt_lines(leaderboard, 1000)
    )
    figures.draw_correlations(correlations, out["correlations"])
    figures.draw_fit_seconds(fits, out["fit_seconds"])
