# Feature sets: lists of columns, and columns made without labels.
#   in:  tables/{train,test}.arrow, tables/columns.parquet
#   out: features/<set>/columns.parquet, features/<set>/{train,test}.arrow


rule make_features:
    """Select the columns of a feature set and make its own."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns="<results>/tables/columns.parquet",
        lists=lookup(within=plan.list_files, dpath="{set}"),
    output:
        columns="<results>/features/{set}/columns.parquet",
        train="<results>/features/{set}/train.arrow",
        test="<results>/features/{set}/test.arrow",
    log:
        "<logs>/make_features/{set}.log",
    benchmark:
        "<benchmarks>/make_features/{set}.tsv"
    params:
        features=lookup(within=plan.slices, dpath="features/{set}"),
        code=plan.code["make_features"],
    script:
        "../scripts/make_features.py"
