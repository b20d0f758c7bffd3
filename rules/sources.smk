# Sources: one job per (source, fold), put together per source; predictions that somebody else made.
#   in:  tables/, features/<set>/, folds.parquet, inner.parquet, groups/<group>.parquet,
#        searches/<search>/best.parquet
#   out: sources/<source>/fold<k>/{oof,test,fits}.parquet, sources/<source>/{oof,test,fits}.parquet,
#        sources/<source>/fold<k>/chunks/*.json
# Fits go by the priority of campaigns; all that is light (priority 10000) goes before further fits.


rule fit_chunk:
    """Fit some of a source's targets on one fold, into scratch: for sources with targets_per_job."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns=at(plan.source_features, "{source}/{fold}/columns"),
        made_train=at(plan.source_features, "{source}/{fold}/train"),
        made_test=at(plan.source_features, "{source}/{fold}/test"),
        fold_train=at(plan.source_features, "{source}/{fold}/fold_train"),
        fold_test=at(plan.source_features, "{source}/{fold}/fold_test"),
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        inner=at(plan.inner_files, "{source}"),
        groups=at(plan.source_groups, "{source}"),
        best=at(plan.best_files, "{source}"),
    output:
        "<results>/sources/{source}/fold{fold}/chunks/{chunk}of{chunks}.json",
    log:
        "<logs>/fit_chunk/{source}/fold{fold}/{chunk}of{chunks}.log",
    benchmark:
        "<benchmarks>/fit_chunk/{source}/fold{fold}/{chunk}of{chunks}.tsv"
    priority: at(plan.priorities, "{source}")
    threads: plan.threads_of_fit
    resources:
        mem_mb=plan.fit_memory,
        runtime=plan.chunk_minutes,
        gpu=plan.fit_gpu,
        out_of_memory=at(plan.out_of_memory, "{source}"),
    params:
        fit=at(plan.slices, "fit/{source}"),
        code=at(plan.code, "fit/{source}"),
        scratch=f"{plan.scratch}/sources/{{source}}/fold{{fold}}",
        kept=f"{plan.scratch}/kept/{{source}}/fold{{fold}}",
    script:
        "../scripts/fit_fold.py"


rule fit_fold:
    """Fit one source on one fold, target by target; finished fits are kept in scratch."""
    input:
        train="<results>/tables/train.arrow",
        test="<results>/tables/test.arrow",
        columns=at(plan.source_features, "{source}/{fold}/columns"),
        made_train=at(plan.source_features, "{source}/{fold}/train"),
        made_test=at(plan.source_features, "{source}/{fold}/test"),
        fold_train=at(plan.source_features, "{source}/{fold}/fold_train"),
        fold_test=at(plan.source_features, "{source}/{fold}/fold_test"),
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
        inner=at(plan.inner_files, "{source}"),
        groups=at(plan.source_groups, "{source}"),
        best=at(plan.best_files, "{source}"),
        chunks=at(plan.chunk_files, "{source}/{fold}"),
    output:
        oof="<results>/sources/{source}/fold{fold}/oof.parquet",
        test="<results>/sources/{source}/fold{fold}/test.parquet",
        fits="<results>/sources/{source}/fold{fold}/fits.parquet",
    log:
        "<logs>/fit_fold/{source}/fold{fold}.log",
    benchmark:
        "<benchmarks>/fit_fold/{source}/fold{fold}.tsv"
    priority: at(plan.priorities, "{source}")
    threads: plan.threads_of_fit
    resources:
        mem_mb=plan.fit_memory,
        runtime=plan.fit_minutes,
        gpu=plan.fit_gpu,
        out_of_memory=at(plan.out_of_memory, "{source}"),
    params:
        fit=at(plan.slices, "fit/{source}"),
        code=at(plan.code, "fit/{source}"),
        scratch=f"{plan.scratch}/sources/{{source}}/fold{{fold}}",
        kept=f"{plan.scratch}/kept/{{source}}/fold{{fold}}",
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
    priority: 10000
    localrule: True
    params:
        source=at(plan.slices, "source/{source}"),
        code=plan.code["assemble_source"],
        scratch=f"{plan.scratch}/sources/{{source}}",
    script:
        "../scripts/assemble_source.py"


rule read_external:
    """Check predictions that somebody else made and put them into the project's form."""
    input:
        oof=at(plan.own(plan.external_files), "{external}/oof"),
        test=at(plan.own(plan.external_files), "{external}/test"),
        targets="<results>/tables/targets.parquet",
        table="<results>/tables/test.arrow",
        folds="<results>/folds.parquet",
    output:
        oof="<results>/sources/{external}/oof.parquet",
        test="<results>/sources/{external}/test.parquet",
    log:
        "<logs>/read_external/{external}.log",
    priority: 10000
    localrule: True
    params:
        external=at(plan.slices, "external/{external}"),
        names=plan.slices["names"],
        places=at(plan.external_places, "{external}"),
        sizes=at(plan.external_sizes, "{external}"),
        code=plan.code["read_external"],
    script:
        "../scripts/read_external.py"
