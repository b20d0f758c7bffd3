# The report: leaderboard, experiment log, and the figures of Snakemake's own --report.
#   in:  scores, weights and fits of every source and blend
#   out: leaderboard.{parquet,csv}, leaderboard_targets.parquet, experiments.jsonl, report/*.svg, report/leaderboard.html


rule build_leaderboard:
    """List every source and blend with its scores; log every experiment."""
    input:
        **plan.scored_files,
        **plan.blend_orders,
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        groups=plan.groups_artifact(),
    output:
        parquet="<results>/leaderboard.parquet",
        csv="<results>/leaderboard.csv",
        by_target="<results>/leaderboard_targets.parquet",
        experiments="<results>/experiments.jsonl",
    log:
        "<logs>/build_leaderboard.log",
    localrule: True
    params:
        entries=plan.leaderboard_entries,
        metrics=plan.slices["metrics"],
        code=plan.code["build_leaderboard"],
    script:
        "../scripts/build_leaderboard.py"


rule correlate_sources:
    """Rank correlation of every pair of sources and blends, per target."""
    input:
        oof=plan.scored_files["oof"],
        folds="<results>/folds.parquet",
    output:
        "<results>/report/correlations.parquet",
    log:
        "<logs>/correlate_sources.log",
    benchmark:
        "<benchmarks>/correlate_sources.tsv"
    resources:
        mem_mb=plan.blend_memory,
        runtime=plan.blend_minutes,
    params:
        names=plan.shown,
        code=plan.code["correlate_sources"],
    script:
        "../scripts/correlate_sources.py"


rule draw_figures:
    """Draw the figures that speak of the whole problem."""
    input:
        leaderboard="<results>/leaderboard.parquet",
        by_target="<results>/leaderboard_targets.parquet",
        correlations="<results>/report/correlations.parquet",
        fits=plan.scored_files["fits"],
    output:
        table=report(
            "<results>/report/leaderboard.html",
            caption="report/leaderboard_table.rst",
            category="Leaderboard",
            labels={"figure": "table"},
        ),
        leaderboard=report(
            "<results>/report/leaderboard.svg",
            caption="report/leaderboard.rst",
            category="Leaderboard",
            labels={"figure": "macro score with intervals"},
        ),
        honesty=report(
            "<results>/report/honesty.svg",
            caption="report/honesty.rst",
            category="Leaderboard",
            labels={"figure": "cross-fitted against in-sample"},
        ),
        heatmap=report(
            "<results>/report/heatmap.svg",
            caption="report/heatmap.rst",
            category="Sources",
            labels={"figure": "score by source and target"},
        ),
        correlations=report(
            "<results>/report/correlations.svg",
            caption="report/correlations.rst",
            category="Sources",
            labels={"figure": "rank correlation"},
        ),
        fit_seconds=report(
            "<results>/report/fit_seconds.svg",
            caption="report/fit_seconds.rst",
            category="Sources",
            labels={"figure": "fit seconds"},
        ),
    log:
        "<logs>/draw_figures.log",
    localrule: True
    params:
        sources=plan.shown_sources,
        code=plan.code["draw_figures"],
    script:
        "../scripts/draw_figures.py"


rule draw_weights:
    """Draw the weights of one blend."""
    input:
        "<results>/blends/{blend}/weights.parquet",
    output:
        report(
            "<results>/report/weights/{blend}.svg",
            caption="report/weights.rst",
            category="Blends",
            labels={"figure": "weights", "blend": "{blend}"},
        ),
    log:
        "<logs>/draw_weights/{blend}.log",
    localrule: True
    params:
        code=plan.code["draw_weights"],
    script:
        "../scripts/draw_weights.py"


rule draw_comparisons:
    """Draw the paired differences."""
    input:
        expand("<results>/comparisons/{pair}.parquet", pair=plan.shown_comparisons),
    output:
        report(
            "<results>/report/comparisons.svg",
            caption="report/comparisons.rst",
            category="Blends",
            labels={"figure": "comparisons", "blend": "pairs"},
        ),
    log:
        "<logs>/draw_comparisons.log",
    localrule: True
    params:
        code=plan.code["draw_comparisons"],
    script:
        "../scripts/draw_comparisons.py"
