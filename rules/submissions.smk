# Submissions: what is handed in.
#   in:  {sources,blends}/<name>/test.parquet, the sample submission
#   out: tables/sample.parquet, submissions/<name>.parquet, submissions/<name>.csv


if plan.sample_artifact:

    rule read_sample:
        """Check the sample submission before anything is fitted."""
        input:
            table="<results>/tables/test.arrow",
            columns="<results>/tables/columns.parquet",
            targets="<results>/tables/targets.parquet",
            sample=plan.own(plan.data.sample_submission),
        output:
            "<results>/tables/sample.parquet",
        log:
            "<logs>/read_sample.log",
        priority: 10
        localrule: True
        params:
            submission=plan.slices["sample"],
            places=plan.places([plan.data.sample_submission]),
            sizes=plan.sizes([plan.data.sample_submission], "tables/sample.parquet"),
            code=plan.code["read_sample"],
        script:
            "../scripts/read_sample.py"


rule write_submission:
    """Write a submission, shaped as the sample asks."""
    input:
        test=at(plan.test_files, "{artifact}"),
        targets="<results>/tables/targets.parquet",
        sample=plan.sample_artifact,
    output:
        **plan.submission_files,
    log:
        "<logs>/write_submission/{artifact}.log",
    priority: 10000
    localrule: True
    params:
        submission=plan.slices["submission"],
        code=plan.code["write_submission"],
    script:
        "../scripts/write_submission.py"
