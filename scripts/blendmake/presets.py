"""Presets: sources and blends chosen by the shape of the data and the time given, as plain config.

The ladders, their order and params, were tried on rows held out of toxcast41 and on one fold of
diabetes130, on no other data: for other shapes they are guesses.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendmake.config.loading import load_problem
from blendmake.config.problem import Problem
from blendmake.errors import BlendmakeError
from blendmake.files import write_text
from blendmake.tables.facts import Facts
from blendmake.triage import predicted_seconds

PRESETS = ("quick", "standard", "strong")
# Of a budget: seconds before the first fit (Snakemake, tables, folds, features); of what is left, the
# share that predicted fits may take; seconds of a source beside its fits (put together, scored).
START = 15.0
USED = 0.8
BESIDE = 3.0
# Rounds of a first source for which there is no time, as shares of those of the ladder; it learns as
# much faster, up to a rate.
SHORTER = (0.75, 0.5, 0.35, 0.25, 0.15)
FASTEST = 0.3


@dataclass(frozen=True)
class Rung:
    """A source of the ladder: its config for a shape of data, or None where it is of no use there."""

    name: str
    source: Callable[[Facts], dict[str, Any] | None]


def _per_target(few: int, many: int, facts: Facts) -> int:
    """Rounds of a model per target: fewer where targets are many."""
    return few if facts.targets <= 10 else many


def _vector(**params: Any) -> Callable[[Facts], dict[str, Any] | None]:
    """One boosted model for all targets; of use where there are several."""

    def source(facts: Facts) -> dict[str, Any] | None:
        if facts.targets < 2:
            return None
        rounds = params.get("rounds", 150)
        own = {key: value for key, value in params.items() if key != "rounds"}
        base = {"max_depth": 5, "learning_rate": 0.1, "subsample": 0.8}
        return {"family": "xgboost_vector", "rounds": rounds, "params": {**base, **own}}

    return source


def _logistic(facts: Facts) -> dict[str, Any]:
    wide = facts.columns > 200
    return {"family": "linear", "rounds": 60, "params": {"C": 0.002 if wide else 0.05}}


def _lightgbm(facts: Facts) -> dict[str, Any]:
    params = {"num_leaves": 15, "learning_rate": 0.06, "cat_smooth": 30}
    params["feature_fraction"] = 0.3 if facts.columns > 200 else 0.7
    return {"family": "lightgbm", "rounds": _per_target(200, 100, facts), "params": params}


def _xgboost(facts: Facts) -> dict[str, Any]:
    share = 0.3 if facts.columns > 200 else 0.7
    params = {"max_depth": 4, "learning_rate": 0.1, "subsample": 0.8, "colsample_bynode": share}
    return {"family": "xgboost", "rounds": _per_target(150, 80, facts), "params": params}


def _extra_trees(facts: Facts) -> dict[str, Any] | None:
    if facts.rows > 50_000:
        return None
    return {"family": "extra_trees", "rounds": 80, "params": {"min_samples_leaf": 3}}


def _neural(family: str, small: dict[str, Any], large: dict[str, Any]) -> Callable[[Facts], Any]:
    """A network: many short epochs on few rows, few long ones with larger batches on many."""

    def source(facts: Facts) -> dict[str, Any]:
        if facts.rows < MANY_ROWS:
            stopping, rounds, params = {"rounds": 5}, 30, small
        else:
            stopping, rounds, params = {"rounds": 3}, 10, {"batch_size": 1024, **large}
        return {"family": family, "rounds": rounds, "early_stopping": stopping, "params": params}

    return source


MANY_ROWS = 20_000
_mlp = _neural("mlp", {}, {"learning_rate": 0.003, "dropout": 0.2})
_tabm = _neural("tabm", {"d_block": 128}, {"d_block": 128, "learning_rate": 0.006})


_WIDE = _vector(
    rounds=250, max_depth=6, learning_rate=0.06, colsample_bytree=0.4, split_dimensions=4
)
QUICK = (Rung("vector", _vector()), Rung("logistic", _logistic), Rung("lightgbm", _lightgbm))
STANDARD = (*QUICK, Rung("vector_wide", _WIDE), Rung("extra_trees", _extra_trees))
STRONG = (
    Rung("vector", _vector()),
    Rung("logistic", _logistic),
    Rung("mlp", _mlp),
    Rung("vector_wide", _WIDE),
    Rung("tabm", _tabm),
    Rung("extra_trees", _extra_trees),
    Rung("lightgbm", _lightgbm),
    Rung("xgboost", _xgboost),
)
LADDERS = {"quick": QUICK, "standard": STANDARD, "strong": STRONG}


def expand(
    preset: str, facts: Facts, folds: int, budget: float | None, side_by_side: float
) -> dict[str, Any]:
    """Sources, blends, submissions and the campaign of a preset.

    Args:
        facts: shape of the problem.
        budget: seconds given for everything, or None.
        side_by_side: how many fits run at once.

    Returns:
        Config sections; the blends `best_of_<n>` stand on the first n sources, `champion` on all, so
        that a blend is ready long before the time is over.
    """
    sources: dict[str, Any] = {}

    def cost(source: Mapping[str, Any]) -> float:
        return BESIDE + predicted_seconds(source, facts.rows, facts.columns, facts.targets, folds)

    left = time_for_fits(budget, side_by_side)
    for rung in LADDERS[preset]:
        source = rung.source(facts)
        if source is None:
            continue
        if not sources:
            source = _in_time(source, cost, left)
        elif cost(source) > left:
            continue
        sources[rung.name] = source
        left -= cost(source)
    names = list(sources)
    blends: dict[str, Any] = {
        f"best_of_{n}": {"method": "greedy", "sources": names[:n]}
        for n in range(2, len(names))
        if n in (2, 3, 5)
    }
    greedy = {"method": "greedy", "sources": names}
    if len(names) > 1 and facts.targets > 1:
        neighbours = min(5, facts.targets - 1)
        blends |= {
            "champion": {"method": "mean", "sources": ["greedy", "stacked"], "scale": "logit"},
            "greedy": greedy,
            "stacked": {"method": "stack", "sources": names, "neighbours": neighbours},
        }
    elif len(names) > 1:
        blends["champion"] = greedy
    order = _order(names, blends)
    return {
        "sources": sources,
        "blends": blends,
        "campaigns": {preset: order},
    }


def time_for_fits(budget: float | None, side_by_side: float) -> float:
    """Seconds that predicted fits may take, one after another; without a budget there is no end."""
    return math.inf if budget is None else max(0.0, budget - START) * USED * side_by_side


def _in_time(
    source: dict[str, Any], cost: Callable[[Mapping[str, Any]], float], seconds: float
) -> dict[str, Any]:
    """A first source, with as few rounds as the time allows: something has to stand at the end."""
    found = source
    for share in SHORTER:
        if cost(found) <= seconds:
            break
        found = {**source, "rounds": math.ceil(share * source["rounds"])}
        if rate := source["params"].get("learning_rate"):
            rate = round(min(FASTEST, rate / share), 3)
            found["params"] = {**source["params"], "learning_rate": rate}
    return found


SECTIONS = ("sources", "blends", "campaigns")


def with_preset(problem: Problem, chosen: Mapping[str, Any]) -> Problem:
    """The problem with the sections of a written-out preset; what the user gives himself wins.

    Raises:
        BlendmakeError: the two do not go together, or the user's own names stand for nothing.
    """
    kept = {"preset": problem.preset, "budget": problem.budget}
    own = problem.model_dump(exclude_unset=True, exclude={"manifests", *kept})
    merged = {**own, **{key: {**chosen[key], **own.get(key, {})} for key in SECTIONS}}
    if problem.data.adapter or problem.data.test:
        best = "champion" if "champion" in merged["blends"] else next(iter(merged["sources"]))
        merged["submissions"] = {"blends": [best], **own.get("submissions", {})}
    try:
        return load_problem(merged).model_copy(update=kept)
    except BlendmakeError as error:
        names = ", ".join([*chosen["sources"], *chosen["blends"]])
        raise BlendmakeError(f"{error}\nPreset '{problem.preset}' brings {names}.") from error


def read_preset(path: Path, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """A preset that was written out before; None if there is none, or something else was asked for.

    Raises:
        BlendmakeError: the file is damaged.
    """
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["asked"] != dict(asked):
            return None
        if not all(isinstance(found[key], dict) for key in SECTIONS) or not found["sources"]:
            raise ValueError("a section is empty, or no mapping")
        return found
    except (ValueError, KeyError, TypeError) as error:
        raise BlendmakeError(f"{path} is damaged. Delete it: the preset is chosen anew.") from error


def write_preset(path: Path, chosen: Mapping[str, Any]) -> None:
    """Freeze a preset, unless it stands there already."""
    text = json.dumps(chosen, indent=1) + "\n"
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(text, path)


def _order(names: list[str], blends: Mapping[str, Any]) -> list[str]:
    """Sources and blends, each blend as soon as its sources are there."""
    order: list[str] = []
    for n, name in enumerate(names, 1):
        order.append(name)
        if f"best_of_{n}" in blends:
            order.append(f"best_of_{n}")
    return [*order, *(name for name in ("greedy", "stacked", "champion") if name in blends)]
