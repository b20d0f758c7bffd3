"""What the checks before a campaign have done in processes of their own, libraries and all.

usage: python -m blendmake.preflight.tasks call.json answer.json
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from blendmake.errors import BlendmakeError
from blendmake.files import read_parquet, write_text

ROUNDS = 3  # of the smallest fit
SECONDS = 10  # of families that time limits
MOST_TARGETS = 3  # fits of a family that fits one target at a time

TASKS: dict[str, Callable[..., Any]] = {}


def task(work: Callable[..., Any]) -> Callable[..., Any]:
    """Register a task by its name."""
    TASKS[work.__name__] = work
    return work


def main(call: Path, answer: Path) -> None:
    """Do the task that a file names; what comes of it, or what went wrong, goes to another."""
    wanted = json.loads(call.read_text(encoding="utf-8"))
    try:
        reply = {"value": TASKS[wanted["task"]](**wanted["arguments"])}
    except BlendmakeError as error:
        reply = {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        reply = {"error": _told(error)}
    write_text(json.dumps(reply), answer)


def _told(error: Exception) -> str:
    first = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


@task
def packages_of(modules: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """By family: the packages that it runs on, or why it cannot be imported."""
    found: dict[str, dict[str, Any]] = {}
    for family, module in modules.items():
        try:
            found[family] = {"packages": importlib.import_module(module).FAMILY.PACKAGES}
        except Exception as error:  # a broken library may raise anything
            found[family] = {"error": _told(error)}
    return found


@task
def gpus_of_torch() -> list[dict[str, Any]]:
    """Name and memory (bytes) of each GPU that PyTorch sees."""
    import torch

    found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [{"name": one.name, "memory": one.total_memory, "driver": None} for one in found]


@task
def fit_on_gpu(library: str) -> str:
    """A tiny fit of one library on the first GPU; in words on what it ran."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(256, 4)).astype(np.float32)
    y = (x[:, 0] + draw.normal(size=256) > 0).astype(np.float32)
    return GPU_FITS[library](x, y)


def _xgboost_on_gpu(x: Any, y: Any) -> str:
    import xgboost

    params = {"device": "cuda", "objective": "binary:logistic", "verbosity": 1}
    booster = xgboost.train(params, xgboost.DMatrix(x, y), 2)
    # Where there is no GPU it warns and goes on without one.
    device = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    if not device.startswith("cuda"):
        raise BlendmakeError(f"it ran on '{device}' instead")
    return str(device)


def _catboost_on_gpu(x: Any, y: Any) -> str:
    import catboost

    model = catboost.CatBoostClassifier(
        iterations=2, task_type="GPU", devices="0", verbose=False, allow_writing_files=False
    )
    model.fit(x, y)
    return "task_type GPU"


def _torch_on_gpu(x: Any, y: Any) -> str:
    import torch

    if not torch.cuda.is_available():
        raise BlendmakeError(f"PyTorch {torch.__version__} sees no GPU")
    layer = torch.nn.Linear(x.shape[1], 1, device="cuda")
    rate = torch.optim.SGD(layer.parameters(), 0.1)
    logits = layer(torch.from_numpy(x).cuda())[:, 0]
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(y).cuda())
    loss.backward()  # type: ignore[no-untyped-call]
    rate.step()
    return f"cuda, {torch.cuda.get_device_name(0)}, loss {loss.item():.2f}"


GPU_FITS: dict[str, Callable[[Any, Any], str]] = {
    "xgboost": _xgboost_on_gpu,
    "catboost": _catboost_on_gpu,
    "torch": _torch_on_gpu,
}


@task
def smallest_fit(
    name: str,
    source: Mapping[str, Any],
    family: str,
    groups: Mapping[str, Sequence[str]],
    built_groups: Sequence[str],
    seed: int,
    inputs: Mapping[str, Any],
    folder: str,
) -> dict[str, Any]:
    """Fit a source on the first fold of a miniature of its problem, as its jobs would.

    Families of one target at a time fit up to MOST_TARGETS of the source's targets, such that differ
    in what they are fitted with. Rounds, bags and time limits are the least; all else is the source's.

    Args:
        source: config.sources.Source as a mapping.
        family: module of its family.
        groups: members of the groups that it names, as far as they are given.
        built_groups: groups that a job will find the members of; all targets stand in for them.
        inputs: the miniature's files (`sample.Miniature.inputs`).
        folder: for what is made.

    Returns:
        `targets`, `fitted` (how many of them had something to learn from), `rows`, `columns`,
        `seconds`, `memory` (peak of this process or of one that it started, bytes).
    """
    from blendmake.fits.fitting import FoldOutputs, FoldWork, fit_fold
    from blendmake.fits.inputs import FoldInputs
    from blendmake.fits.settings import resolve_targets
    from blendmake.folds.file import read_folds
    from blendmake.labels import read_known

    own: Any = importlib.import_module(family).FAMILY
    files = FoldInputs(
        tables=_paths(inputs["tables"]),
        made=_paths(inputs["made"]),
        columns=Path(inputs["columns"]),
        targets=Path(inputs["targets"]),
        folds=Path(inputs["folds"]),
        inner=Path(inputs["inner"]),
        fold_made=_paths(inputs["fold_made"]) if inputs["fold_made"] else None,
    )
    known = read_known(files.targets)
    every = known.names
    members = {**groups, **dict.fromkeys(built_groups, every)}
    targets = resolve_targets(source["targets"], members, every)
    train = read_folds(files.folds).rows(0).train
    learnable = [
        target.name
        for target, labels in zip(known.targets, known.labels[train].T, strict=True)
        if target.name in targets and target.task.usable(labels)
    ]
    if not own.MULTI_OUTPUT:
        targets = _different(source, members, learnable or targets[:1], own.ALIASES)
    least = _least(source, own)
    out = Path(folder)
    outputs = FoldOutputs(
        *(out / name for name in ("oof.parquet", "test.parquet", "fits.parquet", "models"))
    )
    started = time.monotonic()
    work = FoldWork(
        name,
        {**least, "targets": targets},
        members,
        0,
        files,
        family=family,
        seed=seed,
        code="preflight",
        scratch=out / "scratch",
        threads=1,
        note={},
    )
    fit_fold(work, outputs)
    seconds = time.monotonic() - started
    fits = read_parquet(outputs.fits)
    return {
        "targets": len(targets),
        "fitted": sum(target in learnable for target in targets),
        "rows": max(fits["rows"].to_pylist()),
        "columns": len(files.feature_files("train").columns),
        "seconds": seconds,
        "memory": _peak_memory(fits["peak_rss_mb"].to_pylist()),
    }


def _peak_memory(told: Sequence[float | None]) -> int:
    """Peak resident bytes of this process, as its fits tell, or of one that it started if more.

    What the system adds up for this process itself holds the peak of the one that started it.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    own = [int(peak * 2**20) for peak in told if peak is not None]
    if not own:
        own = [unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]
    return max([*own, unit * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss])


def _paths(files: Mapping[str, str]) -> dict[str, Path]:
    return {part: Path(file) for part, file in files.items()}


def _different(
    source: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    targets: Sequence[str],
    aliases: Mapping[str, str],
) -> list[str]:
    """The first target of each setting that occurs, MOST_TARGETS of them at most."""
    from blendmake.fits.settings import settings_for

    first: dict[str, str] = {}
    for target in targets:
        settings = settings_for(source, groups, target, aliases)
        first.setdefault(json.dumps(vars(settings), sort_keys=True), target)
    return list(first.values())[:MOST_TARGETS]


def _least(layer: Mapping[str, Any], family: Any, *, whole: bool = True) -> dict[str, Any]:
    """A source (or, not `whole`, an override of one) with the least rounds, bags and time."""
    least, params = dict(layer), layer.get("params", {})
    if family.ROUNDS and (whole or layer.get("rounds")):
        least["rounds"] = min(ROUNDS, layer.get("rounds") or family.ROUNDS)
    if layer.get("bagging"):
        least["bagging"] = {**layer["bagging"], "bags": 1}
    if "timeout" in family.DEFAULTS and (whole or "timeout" in params):
        given = params.get("timeout", family.DEFAULTS["timeout"])
        least["params"] = {**params, "timeout": _at_most(given, SECONDS)}
    if layer.get("overrides"):
        least["overrides"] = {
            kind: {name: _least(one, family, whole=False) for name, one in overrides.items()}
            for kind, overrides in layer["overrides"].items()
        }
    return least


def _at_most(value: Any, most: float) -> Any:
    """A number cut to `most`; what is no number is left for the family to refuse."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return min(value, most) if is_number else value


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
