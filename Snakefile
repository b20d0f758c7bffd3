# blendmake: make for model blends. This file is the table of contents; each stage is in rules/.
import os
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.27")

sys.path[:0] = [str(Path(workflow.basedir) / folder) for folder in ("scripts", "rules")]

from blendmake.runs import mark_run
from bucket import bucket_of, keep_records, refuse_replacing
from command_line import check_folder, told
from command_targets import check_targets
from keeping import Keeping
from local_jobs import choose_at_ends, start_by_forks
from plan import Plan, at, one_of
from plan_build import build_files
from standing import Forcing, keep_standing
from window_scheduler import keep_to_window, left_by_window, left_text

if workflow.is_main_process:
    check_folder()
with told():
    bucket = bucket_of(workflow)
    # Snakemake knows the targets only once this file is read.
    plan = Plan(
        config,
        workflow.basedir,
        workflow.resource_settings.cores,
        sys.argv,
        workflow.global_resources.get("gpu").value,
        bucket,
        workflow.configfiles,
    )
    named = build_files(plan, sys.argv)
    keeping = Keeping(workflow, plan)
    forcing = Forcing(plan, sys.argv) if workflow.is_main_process else None
keep_records(workflow, bucket, forcing)
keep_standing(bucket)
keep_to_window(workflow, plan)
start_by_forks(workflow, plan.scripts)


pathvars:
    results=plan.results,
    logs=f"logs/{plan.name}",
    benchmarks=f"benchmarks/{plan.name}",


wildcard_constraints:
    source=one_of(plan.sources),
    external=one_of(plan.external),
    scored=one_of(plan.scored_sources),
    blend=one_of(plan.blends),
    artifact=one_of(plan.artifacts),
    group=one_of(plan.built_groups),
    audit=one_of(plan.problem.audits),
    search=one_of(plan.searches),
    other=one_of(plan.searches),
    worker=r"\d+",
    within=r"\d+(_\d+)*",
    set=one_of(plan.problem.feature_sets()),
    fold=r"\d+",
    chunk=r"\d+",
    chunks=r"\d+",
    pair=one_of(plan.comparisons),


report: "rules/report/workflow.rst"


include: "rules/tables.smk"
include: "rules/folds.smk"
include: "rules/features.smk"
include: "rules/groups.smk"
include: "rules/sources.smk"
include: "rules/blends.smk"
include: "rules/scores.smk"
include: "rules/submissions.smk"
include: "rules/audits.smk"
include: "rules/searches.smk"
include: "rules/campaigns.smk"
include: "rules/report.smk"
include: "rules/preflight.smk"
include: "rules/status.smk"
include: "rules/packing.smk"
include: "rules/cluster.smk"


onstart:
    refuse_replacing(workflow, plan.run.replace)
    plan.freeze()
    if forcing:
        forcing.begin()
    plan.hand_on(workflow)
    mark_run(plan.name)
    choose_at_ends(workflow)
    keeping.begin()


onsuccess:
    if left := left_by_window(workflow, plan):
        plan.write_manifests("there was no time for it in this window")
        print(f"\n{left_text(left, plan.window)}", file=sys.stderr)
    keeping.end()


onerror:
    plan.close(log)
    keeping.end()


if plan.spends:

    rule all:
        """Spend a budget: runs of Snakemake that build one source after another, and blends of them."""
        default_target: True
        log:
            "<logs>/spend_budget.log",
        localrule: True
        params:
            facts=plan.budget_facts,
            process=os.getpid(),
            code=plan.code["spend_budget"],
        script:
            "scripts/spend_budget.py"

else:

    rule all:
        default_target: True
        input:
            plan.everything,


# What --config names: only=…, from=… (a place in campaigns and config).
rule build:
    input:
        named,


check_targets(workflow, plan, sys.argv)
