"""What the checks before a campaign need to know of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blendmake.adapters import ADAPTERS
from blendmake.families import FAMILIES
from plan import Plan
from plan_inputs import given_groups

SLICES = ("tables", "targets", "groups", "folds", "submission")
SETS = ("features", "fold_features")


def preflight_plan(plan: Plan) -> dict[str, Any]:
    """The plan as `preflight` takes it: texts, numbers, lists and mappings only."""
    problem, data = plan.problem, plan.data
    repository = plan.scripts.parent
    envs = Path("envs" if repository == Path.cwd() else repository / "envs")
    used = {source.features for source in problem.sources.values()}
    used |= {audit.features for audit in problem.audits.values()}
    slices = {key: plan.slices[key] for key in SLICES}
    for key in SETS:
        slices[key] = {name: one for name, one in plan.slices[key].items() if name in used}
    return {
        "seed": problem.seed,
        "record": f"{plan.results}/preflight.json",
        "folders": {
            "results": plan.results,
            "scratch": plan.scratch,
            "logs": f"logs/{plan.name}",
        },
        "repository": str(repository),
        "pins": [str(envs / "cpu.txt")],
        "more_pins": [str(envs / "neural.txt")],
        "slices": slices,
        "metrics": plan.slices["metrics"],
        "files": {
            "targets": plan.targets_file,
            "groups": plan.groups_file if plan.has_groups else None,
            "folds": next(iter(plan.fold_file), None),
            "test_targets": data.test_targets,
            "sample": data.sample_submission,
        },
        "lists": sorted({path for name in used for path in plan.list_files[name]}),
        "manifests": list(problem.manifests),
        "external": plan.external_files,
        "adapter": {
            "module": ADAPTERS[problem.data.adapter].__name__,
            "options": plan.slices["adapter"],
            "folder": f"{plan.results}/data",
        }
        if problem.data.adapter
        else None,
        "sources": {
            name: {
                "family": source.family,
                "module": FAMILIES[source.family],
                "features": source.features,
                "source": plan.slices["fit"][name]["source"],
                "groups": given_groups(problem, source.group_names(problem.groups)),
                "built_groups": [
                    group
                    for group in source.group_names(problem.groups)
                    if group in plan.built_groups
                ],
                "targets_per_job": source.targets_per_job,
            }
            for name, source in problem.sources.items()
        },
        "blends": len(problem.blends),
        "submissions": len(problem.submissions.blends),
        "threads": plan.fit_threads,
    }
