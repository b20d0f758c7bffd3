# What a person asks for by name: these rules only print and always run.
#   in:  whatever is there
#   out: the terminal


rule status:
    """Show what is built, partly built and missing; also while jobs run."""
    log:
        "<logs>/status.log",
    localrule: True
    params:
        problem=plan.name,
        entries=plan.status_entries,
        targets=f"{plan.results}/tables/targets.parquet",
        folds=len(plan.folds),
    script:
        "../scripts/show_status.py"


rule lint_search:
    """Check the searches before their first trial, and probe whether each param does anything."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        features=plan.lint_files["features"],
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        inner=plan.lint_files["inner"],
        groups=plan.lint_files["groups"],
    log:
        "<logs>/lint_search.log",
    localrule: True
    params:
        problem=plan.name,
        searches=plan.search_slices,
        files=plan.search_inputs,
    script:
        "../scripts/lint_search.py"


rule search_status:
    """Show how far each study is; also while workers run."""
    log:
        "<logs>/search_status.log",
    localrule: True
    params:
        problem=plan.name,
        searches=plan.search_slices,
        files=plan.search_inputs,
        criteria=plan.search_criteria,
        results=plan.results,
        scratch=f"{plan.scratch}/searches",
    script:
        "../scripts/search_status.py"


rule show_leaderboard:
    """Show the leaderboard, and where submission and report are."""
    input:
        leaderboard="<results>/leaderboard.parquet",
    log:
        "<logs>/show_leaderboard.log",
    localrule: True
    params:
        problem=plan.name,
        files=plan.final_files,
    script:
        "../scripts/show_leaderboard.py"


rule show_config:
    """Print the config as it is resolved, a preset written out."""
    log:
        "<logs>/show_config.log",
    localrule: True
    params:
        config=plan.written_out,
    script:
        "../scripts/show_config.py"
