# Folds: the one assignment that everything reads, and the inner splits for early stopping.
#   in:  tables/targets.parquet, tables/groups.parquet
#   out: folds.parquet, inner.parquet


rule make_folds:
    """Assign every row to a fold."""
    input:
        targets="<results>/tables/targets.parquet",
        groups=plan.groups_artifact(plan.balanced_by_groups),
        given=plan.own(plan.fold_file),
    output:
        "<results>/folds.parquet",
    log:
        "<logs>/make_folds.log",
    benchmark:
        "<benchmarks>/make_folds.tsv"
    priority: 10000
    localrule: True
    params:
        folds=plan.slices["folds"],
        scheme=plan.scheme_module,
        places=plan.places(plan.fold_file),
        sizes=plan.sizes(plan.fold_file, "folds.parquet"),
        code=plan.code["make_folds"],
    script:
        "../scripts/make_folds.py"


rule split_inner:
    """Set aside training rows of each fold for early stopping."""
    input:
        targets="<results>/tables/targets.parquet",
        groups=plan.groups_artifact(plan.balanced_by_groups),
        folds="<results>/folds.parquet",
    output:
        "<results>/inner.parquet",
    log:
        "<logs>/split_inner.log",
    benchmark:
        "<benchmarks>/split_inner.tsv"
    priority: 10000
    localrule: True
    params:
        inner=plan.slices["inner"],
        code=plan.code["split_inner"],
    script:
        "../scripts/split_inner.py"
