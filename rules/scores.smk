# Scores: light jobs on finished predictions, apart from what makes them.
#   in:  {sources,blends}/<name>/{oof,test}.parquet, tables/targets.parquet, folds.parquet
#   out: {sources,blends}/<name>/scores.parquet, comparisons/<a>__vs__<b>.parquet


rule score_source:
    """Score a source's out-of-fold predictions, and its test predictions where labels are known."""
    input:
        oof="<results>/sources/{scored}/oof.parquet",
        test="<results>/sources/{scored}/test.parquet",
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        groups=plan.groups_artifact(),
        test_targets=plan.test_targets_artifact,
    output:
        "<results>/sources/{scored}/scores.parquet",
    log:
        "<logs>/score_source/{scored}.log",
    priority: 10000
    localrule: True
    params:
        estimate="oof",
        metrics=plan.slices["metrics"],
        code=plan.code["score_predictions"],
    script:
        "../scripts/score_predictions.py"


rule score_blend:
    """Score a blend: cross-fitted, in-sample, and on the test rows where labels are known."""
    input:
        oof="<results>/blends/{blend}/oof.parquet",
        in_sample="<results>/blends/{blend}/in_sample.parquet",
        uncalibrated="<results>/blends/{blend}/uncalibrated.parquet",
        test="<results>/blends/{blend}/test.parquet",
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        groups=plan.groups_artifact(),
        test_targets=plan.test_targets_artifact,
    output:
        "<results>/blends/{blend}/scores.parquet",
    log:
        "<logs>/score_blend/{blend}.log",
    priority: 10000
    localrule: True
    params:
        estimate="cross_fitted",
        metrics=plan.slices["metrics"],
        code=plan.code["score_predictions"],
    script:
        "../scripts/score_predictions.py"


rule compare_artifacts:
    """Compare two sources or blends with paired intervals."""
    input:
        oof=at(plan.comparison_files, "{pair}"),
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        groups=plan.groups_artifact(),
    output:
        "<results>/comparisons/{pair}.parquet",
    log:
        "<logs>/compare_artifacts/{pair}.log",
    priority: 10000
    localrule: True
    params:
        metrics=plan.slices["metrics"],
        code=plan.code["compare_artifacts"],
    script:
        "../scripts/compare_artifacts.py"
