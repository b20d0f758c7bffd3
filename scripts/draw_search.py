"""Draw the figures of one search."""

from blendmake.job import job

with job(snakemake.log[0]):
    from pathlib import Path

    from blendmake.files import read_parquet
    from blendmake.reports import search_figures as figures
    from blendmake.reports import search_space_figures as space_figures
    from blendmake.searches.space import space_of
    from blendmake.searches.table import read_trials

    params, name = snakemake.params, snakemake.wildcards.search
    config = params.search["search"]
    space = space_of(config["space"], list(params.search["sources"]))
    out = {figure: Path(path) for figure, path in snakemake.output.items()}
    trials, note = read_trials(Path(snakemake.input.trials))
    metric = note["metric"]
    importances = read_parquet(Path(snakemake.input.importances))
    ranges = read_parquet(Path(snakemake.input.ranges))
    each = config["pruner"] == "wilcoxon"
    figures.draw_history(name, trials, metric, out["history"])
    figures.draw_importances(name, trials, importances, out["importances"])
    space_figures.draw_slices(name, trials, ranges, space, metric, out["slices"])
    space_figures.draw_parallel(name, trials, space, metric, out["parallel"])
    space_figures.draw_contours(name, trials, importances, space, metric, out["contours"])
    figures.draw_intermediate(name, trials, metric, out["intermediate"], each=each)
    figures.draw_timeline(name, trials, out["timeline"])
