# Searches: workers share a study's trials; the study stands in scratch (a journal) or in a database.
#   in:  tables/, features/<set>/, folds.parquet, inner.parquet, groups/<group>.parquet
#   out: searches/<search>/{trials,best,importances,directions,ranges}.parquet, {best,top}.yaml,
#        refined_space.yaml, summary.md, report/searches/<search>/*.svg
# How many workers there were is no matter of the result: of a finished search it stays as it was.


rule run_trials:
    """Fit trials of a search until there are as many as asked for."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns=at(plan.search_inputs, "{search}/columns"),
        made_train=at(plan.search_inputs, "{search}/made_train"),
        made_test=at(plan.search_inputs, "{search}/made_test"),
        fold_train=at(plan.search_inputs, "{search}/fold_train"),
        fold_test=at(plan.search_inputs, "{search}/fold_test"),
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        inner=at(plan.search_inputs, "{search}/inner"),
        groups=at(plan.search_inputs, "{search}/groups"),
    output:
        "<results>/searches/{search}/workers/{worker}.json",
    log:
        "<logs>/run_trials/{search}/{worker}.log",
    benchmark:
        "<benchmarks>/run_trials/{search}/{worker}.tsv"
    priority: at(plan.priorities, "{search}")
    threads: plan.threads_of_fit
    resources:
        mem_mb=plan.trials_memory,
        runtime=plan.trials_minutes,
        gpu=plan.trials_gpu,
        search_seconds=at(plan.search_seconds, "{search}"),
    params:
        problem=plan.name,
        search=at(plan.search_slices, "{search}"),
        code=plan.code["run_trials"],
        scratch=f"{plan.scratch}/searches/{{search}}",
    script:
        "../scripts/run_trials.py"


rule join_workers:
    """Wait for all workers of a search."""
    input:
        at(plan.worker_files, "{search}"),
    output:
        "<results>/searches/{search}/finished.json",
    log:
        "<logs>/join_workers/{search}.log",
    priority: 10000
    localrule: True
    params:
        search=at(plan.search_digests, "{search}"),
        code=plan.code["join_workers"],
    script:
        "../scripts/join_workers.py"


rule collect_trials:
    """Write down the trials of a finished search."""
    input:
        finished="<results>/searches/{search}/finished.json",
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns=at(plan.search_inputs, "{search}/columns"),
        made_train=at(plan.search_inputs, "{search}/made_train"),
        made_test=at(plan.search_inputs, "{search}/made_test"),
        fold_train=at(plan.search_inputs, "{search}/fold_train"),
        fold_test=at(plan.search_inputs, "{search}/fold_test"),
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        inner=at(plan.search_inputs, "{search}/inner"),
        groups=at(plan.search_inputs, "{search}/groups"),
    output:
        "<results>/searches/{search}/trials.parquet",
    log:
        "<logs>/collect_trials/{search}.log",
    priority: 10000
    localrule: True
    params:
        problem=plan.name,
        search=at(plan.search_slices, "{search}"),
        code=plan.code["collect_trials"],
        scratch=f"{plan.scratch}/searches/{{search}}",
    script:
        "../scripts/collect_trials.py"


rule rank_trials:
    """List the best trials of a search by rank, for the sources that take its params."""
    input:
        "<results>/searches/{search}/trials.parquet",
    output:
        "<results>/searches/{search}/best.parquet",
    log:
        "<logs>/rank_trials/{search}.log",
    priority: 10000
    localrule: True
    params:
        code=plan.code["rank_trials"],
    script:
        "../scripts/rank_trials.py"


rule analyse_search:
    """Write down what the trials of a search say."""
    input:
        "<results>/searches/{search}/trials.parquet",
    output:
        importances="<results>/searches/{search}/importances.parquet",
        directions="<results>/searches/{search}/directions.parquet",
        directions_csv="<results>/searches/{search}/directions.csv",
        ranges="<results>/searches/{search}/ranges.parquet",
        refined="<results>/searches/{search}/refined_space.yaml",
        best="<results>/searches/{search}/best.yaml",
        top="<results>/searches/{search}/top.yaml",
    log:
        "<logs>/analyse_search/{search}.log",
    priority: 10000
    localrule: True
    params:
        search=at(plan.search_slices, "{search}"),
        top=at(plan.search_tops, "{search}"),
        code=plan.code["analyse_search"],
    script:
        "../scripts/analyse_search.py"


rule summarise_search:
    """Sum a search up, with verdicts."""
    input:
        "<results>/searches/{search}/trials.parquet",
    output:
        report(
            "<results>/searches/{search}/summary.md",
            caption="report/search.rst",
            category="Searches",
            labels={"figure": "summary", "search": "{search}"},
        ),
    log:
        "<logs>/summarise_search/{search}.log",
    priority: 10000
    localrule: True
    params:
        criteria=at(plan.search_criteria, "{search}"),
        code=plan.code["summarise_search"],
    script:
        "../scripts/summarise_search.py"


rule compare_searches:
    """Compare two searches."""
    input:
        a="<results>/searches/{search}/trials.parquet",
        b="<results>/searches/{other}/trials.parquet",
    output:
        "<results>/searches/{search}_vs_{other}.md",
    log:
        "<logs>/compare_searches/{search}_vs_{other}.log",
    localrule: True
    params:
        code=plan.code["compare_searches"],
    script:
        "../scripts/compare_searches.py"


rule draw_search:
    """Draw what one search found."""
    input:
        trials="<results>/searches/{search}/trials.parquet",
        importances="<results>/searches/{search}/importances.parquet",
        ranges="<results>/searches/{search}/ranges.parquet",
    output:
        history=report(
            "<results>/report/searches/{search}/history.svg",
            caption="report/search.rst",
            category="Searches",
            labels={"figure": "history", "search": "{search}"},
        ),
        importances=report(
            "<results>/report/searches/{search}/importances.svg",
            caption="report/search.rst",
            category="Searches",
            labels={"figure": "importances of params", "search": "{search}"},
        ),
        slices=report(
            "<results>/report/searches/{search}/slices.svg",
            caption="report/search.rst",
            category="Searches",
            labels={"figure": "values by param", "search": "{search}"},
        ),
        parallel=report(
            "<results>/report/searches/{search}/parallel.svg",
            caption="report/search.rst",
            category="Searches",
            labels={"figure": "parallel coordinates", "search": "{search}"},
        ),
        contours=report(
            "<results>/report/searches/{search}/contours.svg",
            caption="report/search.rst",
            category="Searches",
            labels={"figure": "contours of pairs", "search": "{search}"},
        ),
        intermediate=report(
            "<results>/report/searches/{search}/intermediate.svg",
            caption="report/search.rst",
            category="Searches",
            labels={"figure": "values on the way", "search": "{search}"},
        ),
        timeline=report(
            "<results>/report/searches/{search}/timeline.svg",
            caption="report/search.rst",
            category="Searches",
            labels={"figure": "timeline of workers", "search": "{search}"},
        ),
    log:
        "<logs>/draw_search/{search}.log",
    localrule: True
    params:
        search=at(plan.search_slices, "{search}"),
        code=plan.code["draw_search"],
    script:
        "../scripts/draw_search.py"
