# What a person asks for by name: these rules only print and always run.
#   in:  whatever is there
#   out: the terminal


rule status:
    """Show what is built, partly built and missing; also while jobs run."""
    params:
        entries=plan.status_entries,
        targets="<results>/tables/targets.parquet",
        folds=len(plan.folds),
    log:
        "<logs>/status.log",
    script:
        "../scripts/show_status.py"


rule show_leaderboard:
    """Show the leaderboard, and where submission and report are."""
    input:
        leaderboard="<results>/leaderboard.parquet",
        submissions=expand(
            "<results>/submissions/{blend}.parquet", blend=plan.problem.submissions.blends
        ),
    params:
        report="<results>/report.html",
    log:
        "<logs>/show_leaderboard.log",
    script:
        "../scripts/show_leaderboard.py"
