# What can be told before a campaign: prints, always runs, builds nothing of the problem.
#   in:  the config, the user's files, the machine
#   out: the terminal; results/<problem>/preflight.json remembers the inputs for the next time

from plan_preflight import preflight_plan


rule preflight:
    """Check machine, inputs and sources, with one smallest fit of each source."""
    log:
        "<logs>/preflight.log",
    localrule: True
    params:
        problem=plan.name,
        plan=preflight_plan(plan),
        cores=workflow.global_resources.get("_cores").value,
        gpus=workflow.global_resources.get("gpu").value,
    script:
        "../scripts/run_preflight.py"
