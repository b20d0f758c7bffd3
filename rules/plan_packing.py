"""What packing and unpacking need to know of a plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from blendmake.config.base import nearest
from plan import Plan

# Below results/<problem>/: what each machine makes of its own data.
OWN = ("tables", "data", "folds.parquet", "preset.json", "preflight.json")
# Finished fits; of those begun, only what is checked when it is read.
OF_FITS = ("fold*/*/*", "fold*/*/*/checkpoint.pt")
OF_STUDIES = ("journal.log", "place.json")


def pack_plan(plan: Plan) -> dict[str, Any]:
    """The plan as `pack` takes it: texts, and lists and mappings of such only."""
    names = _names(plan) if plan.run.pack else []
    return {
        **unpack_plan(plan),
        "archive": plan.run.pack,
        "files": [file for name in names for file in _files(plan, name)],
        "beside": _beside(plan) if names else {},
        "scratch": [one for name in names for one in _scratch(plan, name)],
    }


def unpack_plan(plan: Plan) -> dict[str, Any]:
    """The plan as `unpack` takes it."""
    return {
        "archive": plan.run.unpack,
        "problem": plan.name,
        "roots": [plan.results, plan.scratch],
        "own": [f"{plan.results}/{one}" for one in OWN],
        "base": _base(plan),
        "preset": plan.preset,
    }


def keep_plan(plan: Plan) -> dict[str, Any]:
    """The plan as what carries out takes it (packing.carrying)."""
    return {
        **unpack_plan(plan),
        "keep_at": str(Path(plan.run.keep_at or "").expanduser()),
        "preset_file": str(plan.preset_file),
    }


def _base(plan: Plan) -> dict[str, str]:
    """The files by which data and folds are compared."""
    tables = f"{plan.results}/tables"
    files = {
        "columns": f"{tables}/columns.parquet",
        "test": f"{tables}/test.arrow",
        "targets": f"{tables}/targets.parquet",
        "folds": f"{plan.results}/folds.parquet",
    }
    files |= dict(zip(["groups"], plan.groups_artifact(), strict=False))
    return files | dict(zip(["test_labels"], plan.test_targets_artifact, strict=False))


def base_files(plan: Plan) -> list[str]:
    """What must stand here before anything is unpacked; a cache that is gone is not made again."""
    if plan.run.unpack is None:
        return []
    return [file for name, file in _base(plan).items() if name != "test"]


def _names(plan: Plan) -> list[str]:
    """What is packed: everything, or what is asked for with what it stands on; as the plan lists it."""
    every = [*plan.problem.audits, *plan.searches, *plan.artifacts]
    if plan.run.only is None:
        return every
    waiting, found = list(plan.run.only), set()
    for name in waiting:
        if name not in every:
            raise WorkflowError(
                f"only={name}: there is no source, blend, audit or search '{name}'; "
                f"{nearest(name, every)}"
            )
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _needed(plan, name)
    return [name for name in every if name in found]


def _needed(plan: Plan, name: str) -> list[str]:
    """What an artifact stands on, as far as it has a name."""
    problem = plan.problem
    if name in problem.blends:
        return list(problem.members(name))
    if name not in problem.sources:
        return []
    source, audit = (
        problem.sources[name],
        problem.feature_sets()[problem.sources[name].features].audit,
    )
    names = [one for one in plan.stands_on(name) if one != name]
    names += [source.params_from.search] if source.params_from else []
    return [*names, *([audit.name] if audit else [])]


def _files(plan: Plan, name: str) -> list[str]:
    if name in plan.problem.audits:
        return plan.audit_results(name)
    return plan.search_results(name) if name in plan.searches else plan.artifact_files(name)


def _beside(plan: Plan) -> dict[str, list[str]]:
    """By file, what its job makes beside it that no rule asks for."""
    models = {
        f"{plan.folder(name)}/fold{k}/oof.parquet": [f"{plan.folder(name)}/fold{k}/models"]
        for name, source in plan.problem.sources.items()
        if source.keep_models
        for k in plan.folds
    }
    made = {
        str(plan.set_files(name, k)["columns"]): f"{plan.results}/features/{name}/fold{k}"
        for name in plan.fold_sets
        for k in plan.folds
    }
    return models | {file: [f"{folder}/selection.parquet"] for file, folder in made.items()}


def _scratch(plan: Plan, name: str) -> list[dict[str, Any]]:
    """Where the partial work of an artifact stands."""
    if name in plan.searches:
        folder = f"{plan.scratch}/searches/{name}"
        return [{"folder": folder, "patterns": OF_STUDIES, "whole": True}]
    if name in plan.problem.audits:
        return [{"folder": f"{plan.scratch}/audits/{name}", "patterns": ("fold*/*/*",)}]
    if name in plan.sources:
        return [{"folder": f"{plan.scratch}/sources/{name}", "patterns": OF_FITS}]
    return []
