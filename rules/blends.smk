# Blends: weights per target over the sources that cover it, cross-fitted.
#   in:  sources/<source>/{oof,test}.parquet, blends/<blend>/{oof,test}.parquet, folds.parquet
#   out: blends/<blend>/{oof,in_sample,test,uncalibrated,weights,duplicates,calibration}.parquet


rule blend_sources:
    """Blend sources and blends."""
    input:
        oof=at(plan.members, "{blend}/oof"),
        test=at(plan.members, "{blend}/test"),
        targets="<results>/tables/targets.parquet",
        folds="<results>/folds.parquet",
    output:
        oof="<results>/blends/{blend}/oof.parquet",
        in_sample="<results>/blends/{blend}/in_sample.parquet",
        test="<results>/blends/{blend}/test.parquet",
        weights="<results>/blends/{blend}/weights.parquet",
        duplicates="<results>/blends/{blend}/duplicates.parquet",
        uncalibrated="<results>/blends/{blend}/uncalibrated.parquet",
        calibration="<results>/blends/{blend}/calibration.parquet",
    log:
        "<logs>/blend_sources/{blend}.log",
    benchmark:
        "<benchmarks>/blend_sources/{blend}.tsv"
    priority: 10000
    threads: plan.threads_of_fit
    resources:
        mem_mb=plan.blend_memory,
        runtime=plan.blend_minutes,
    params:
        blend=at(plan.slices, "blend/{blend}"),
        metrics=plan.slices["metrics"],
        code=plan.code["blend_sources"],
    script:
        "../scripts/blend_sources.py"
