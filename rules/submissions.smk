# Submissions: what is handed in.
#   in:  {sources,blends}/<name>/test.parquet, the sample submission
#   out: submissions/<name>.parquet, submissions/<name>.csv


rule write_submission:
    """Write a submission, shaped as the sample asks."""
    input:
        test=lookup(within=plan.test_files, dpath="{artifact}"),
        targets="<results>/tables/targets.parquet",
        sample=plan.data.sample_submission or [],
    output:
        **plan.submission_files,
    log:
        "<logs>/write_submission/{artifact}.log",
    params:
        submission=plan.slices["submission"],
        code=plan.code["write_submission"],
    script:
        "../scripts/write_submission.py"
