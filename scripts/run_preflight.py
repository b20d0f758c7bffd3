"""Check machine, inputs and sources before a campaign; print a line for each finding."""

from blendmake.job import job

with job(snakemake.log[0]):
    import logging

    from blendmake.preflight.checks import preflight
    from blendmake.preflight.findings import finding_text, head_text, raise_if_failed, totals_text

    log, findings = logging.getLogger("blendmake"), []
    print(f"\nproblem {snakemake.params.problem}\n\n{head_text()}", flush=True)
    for finding in preflight(
        snakemake.params.plan, cores=snakemake.params.cores or 1, gpus=snakemake.params.gpus or 0
    ):
        print(finding_text(finding), flush=True)
        log.info(finding_text(finding))
        findings.append(finding)
    print(f"\n{totals_text(findings)}\n", flush=True)
    raise_if_failed(findings)
