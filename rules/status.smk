# What a person asks for by name: these rules only print and always run.
#   in:  whatever is there
#   out: the terminal


rule status:
    """Show what is built, partly built and missing; also while jobs run."""
    log:
        "<logs>/status.log",
    params:
        entries=plan.status_entries,
        targets=f"{plan.results}/tables/targets.parquet",
        folds=len(plan.folds),
    script:
        "../scripts/show_status.py"


rule show_leaderboard:
    """Show the leaderboard, and where submission and report are."""
    input:
        leaderboard="<results>/leaderboard.parquet",
        submissions=expand(
            "<results>/submissions/{blend}.parquet",
            blend=plan.problem.submissions.blends,
        ),
    log:
        "<logs>/show_leaderboard.log",
    params:
        report=f"{plan.results}/report.html",
    script:
        "../scripts/show_leaderboard.py"
