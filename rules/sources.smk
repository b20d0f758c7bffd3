# Sources: one job per (source, fold), put together per source.
#   in:  tables/, features/<set>/, folds.parquet, inner.parquet
#   out: sources/<source>/fold<k>/{oof,test,fits}.parquet, sources/<source>/{oof,test,fits}.parquet


rule fit_fold:
    """Fit one source on one fold, target by target; finished fits are kept in scratch."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns=lookup(within=plan.set_files, dpath="{source}/columns"),
        made_train=lookup(within=plan.set_files, dpath="{source}/train"),
        made_test=lookup(within=plan.set_files, dpath="{source}/test"),
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        inner=lookup(within=plan.inner_files, dpath="{source}"),
    output:
        oof="<results>/sources/{source}/fold{fold}/oof.parquet",
        test="<results>/sources/{source}/fold{fold}/test.parquet",
        fits="<results>/sources/{source}/fold{fold}/fits.parquet",
    log:
        "<logs>/fit_fold/{source}/fold{fold}.log",
    benchmark:
        "<benchmarks>/fit_fold/{source}/fold{fold}.tsv"
    threads: plan.fit_threads
    params:
        fit=lookup(within=plan.slices, dpath="fit/{source}"),
        code=lookup(within=plan.code, dpath="fit/{source}"),
        scratch=f"{plan.scratch}/sources/{{source}}/fold{{fold}}",
    script:
        "../scripts/fit_fold.py"


rule assemble_source:
    """Put a source together from its folds."""
    input:
        oof=expand(
            "<results>/sources/{{source}}/fold{fold}/oof.parquet", fold=plan.folds
        ),
        test=expand(
            "<results>/sources/{{source}}/fold{fold}/test.parquet", fold=plan.folds
        ),
        fits=expand(
            "<results>/sources/{{source}}/fold{fold}/fits.parquet", fold=plan.folds
        ),
        folds="<results>/folds.parquet",
    output:
        oof="<results>/sources/{source}/oof.parquet",
        test="<results>/sources/{source}/test.parquet",
        fits="<results>/sources/{source}/fits.parquet",
    log:
        "<logs>/assemble_source/{source}.log",
    params:
        source=lookup(within=plan.slices, dpath="source/{source}"),
        code=plan.code["assemble_source"],
        scratch=f"{plan.scratch}/sources/{{source}}",
    script:
        "../scripts/assemble_source.py"
