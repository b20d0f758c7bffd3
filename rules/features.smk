# Feature sets: lists of columns, columns made without labels, and per fold what labels have a say in.
#   in:  tables/{train,test}.arrow, tables/{columns,targets,groups}.parquet, folds.parquet,
#        audits/<audit>/fold<k>/drop.parquet
#   out: features/<set>/columns.parquet, features/<set>/{train,test}.arrow,
#        features/<set>/fold<k>/{columns,selection}.parquet, features/<set>/fold<k>/{train,test}.arrow


rule make_features:
    """Select the columns of a feature set and make its own."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns="<results>/tables/columns.parquet",
        lists=at(plan.own(plan.list_files), "{set}"),
    output:
        columns="<results>/features/{set}/columns.parquet",
        train="<results>/features/{set}/train.arrow",
        test="<results>/features/{set}/test.arrow",
    log:
        "<logs>/make_features/{set}.log",
    benchmark:
        "<benchmarks>/make_features/{set}.tsv"
    priority: 10000
    threads: plan.threads_of_fit
    resources:
        mem_mb=plan.table_memory,
        runtime=plan.table_minutes,
    params:
        features=at(plan.slices, "features/{set}"),
        code=plan.code["make_features"],
    script:
        "../scripts/make_features.py"


rule make_fold_features:
    """Make what a feature set makes of labels in one fold, from that fold's training rows."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns="<results>/features/{set}/columns.parquet",
        made_train="<results>/features/{set}/train.arrow",
        made_test="<results>/features/{set}/test.arrow",
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        groups=plan.groups_artifact(plan.balanced_by_groups),
        audit=at(plan.audit_drops, "{set}/{fold}"),
    output:
        columns="<results>/features/{set}/fold{fold}/columns.parquet",
        train="<results>/features/{set}/fold{fold}/train.arrow",
        test="<results>/features/{set}/fold{fold}/test.arrow",
        selection="<results>/features/{set}/fold{fold}/selection.parquet",
    log:
        "<logs>/make_fold_features/{set}/fold{fold}.log",
    benchmark:
        "<benchmarks>/make_fold_features/{set}/fold{fold}.tsv"
    wildcard_constraints:
        set=one_of(plan.fold_sets),
    priority: 10000
    resources:
        mem_mb=plan.table_memory,
        runtime=plan.table_minutes,
    params:
        features=at(plan.slices, "fold_features/{set}"),
        seed=plan.problem.seed,
        code=plan.code["make_fold_features"],
    script:
        "../scripts/make_fold_features.py"


use rule make_fold_features as make_search_features with:
    output:
        columns="<results>/features/{set}/within{within}/fold{fold}/columns.parquet",
        train="<results>/features/{set}/within{within}/fold{fold}/train.arrow",
        test="<results>/features/{set}/within{within}/fold{fold}/test.arrow",
        selection="<results>/features/{set}/within{within}/fold{fold}/selection.parquet",
    log:
        "<logs>/make_search_features/{set}/within{within}/fold{fold}.log",
    benchmark:
        "<benchmarks>/make_search_features/{set}/within{within}/fold{fold}.tsv"
