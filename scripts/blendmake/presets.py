"""Presets: sources and blends chosen by the shape of the data and the time given, as plain config.

The ladders, their order and params, were tried on rows held out of toxcast41 and on one fold of
diabetes130, on no other data: for other shapes they are guesses.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendmake.budget.scheduler import Candidate
from blendmake.config.loading import load_problem
from blendmake.config.problem import Problem
from blendmake.errors import BlendmakeError
from blendmake.files import write_text
from blendmake.tables.facts import Facts
from blendmake.triage import predicted_seconds

PRESETS = ("quick", "standard", "strong")
# How often a source is fitted with other seeds, where a budget has time for it.
MOST_SEEDS = 5
WITHOUT_CHANCE = {"linear"}  # families of which another seed is the same model
NUMBERED = re.compile(r"_\d+$")
# The rate that a source with fewer rounds than its own may learn at.
FASTEST = 0.3
# Between which shares of its rounds a source may be given, by family; others: its own.
SHARES = {
    "xgboost_vector": (0.15, 3.0),
    "lightgbm": (0.15, 2.0),
    "xgboost": (0.15, 2.0),
    "extra_trees": (0.15, 2.0),
    "linear": (0.5, 1.0),
    "mlp": (0.35, 1.0),
    "tabm": (0.5, 1.0),
}
# A member of the champion whose own cross-fitted AUC is so far below the other's is not in it.
CONDEMNED = 0.003
MANY_MISSING = 0.3  # share of labels that are missing, from which on forests come first


@dataclass(frozen=True)
class Rung:
    """A source of the ladder: its config for a shape of data, or None where it is of no use there."""

    name: str
    source: Callable[[Facts], dict[str, Any] | None]


def _longer(source: Callable[[Facts], dict[str, Any] | None]) -> Callable[[Facts], Any]:
    """A source with three times its rounds, that learns half as fast."""

    def longer(facts: Facts) -> dict[str, Any] | None:
        if (found := source(facts)) is None:
            return None
        params = {**found["params"], "learning_rate": found["params"]["learning_rate"] / 2}
        return {**found, "rounds": 3 * found["rounds"], "params": params}

    return longer


def _per_target(few: int, many: int, facts: Facts) -> int:
    """Rounds of a model per target: fewer where targets are many."""
    return few if facts.targets <= 10 else many


def _vector(**params: Any) -> Callable[[Facts], dict[str, Any] | None]:
    """One boosted model for all targets; of use where there are several, of binary ones."""

    def source(facts: Facts) -> dict[str, Any] | None:
        if facts.targets < 2 or facts.kinds != {"binary"}:
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
_FOREST = Rung("extra_trees", _extra_trees)
QUICK = (Rung("vector", _vector()), Rung("logistic", _logistic), Rung("lightgbm", _lightgbm))
STANDARD = (*QUICK, Rung("vector_wide", _WIDE), _FOREST)
STRONG = (
    *QUICK,
    Rung("mlp", _mlp),
    Rung("vector_wide", _WIDE),
    _FOREST,
    Rung("xgboost", _xgboost),
    Rung("tabm", _tabm),
)
LADDERS = {"quick": QUICK, "standard": STANDARD, "strong": STRONG}
# What a budget's time is spent on when its ladder is done: the same again, longer or of another seed
# (which follows from the name).
QUICK_MORE = (Rung("vector_long", _longer(_vector())), Rung("lightgbm_long", _longer(_lightgbm)))
STANDARD_MORE = (*QUICK_MORE, Rung("vector_wide_2", _WIDE), Rung("extra_trees_2", _extra_trees))
STRONG_MORE = (
    *QUICK_MORE,
    Rung("mlp_2", _mlp),
    Rung("vector_wide_2", _WIDE),
    Rung("xgboost_long", _longer(_xgboost)),
    Rung("tabm_2", _tabm),
    Rung("mlp_3", _mlp),
)
MORE = {"quick": QUICK_MORE, "standard": STANDARD_MORE, "strong": STRONG_MORE}


def expand(
    preset: str, facts: Facts, budget: float | None = None, by_auc: bool = True
) -> dict[str, Any]:
    """Sources, blends and the campaign of a preset.

    Args:
        facts: shape of the problem.
        budget: seconds given for everything, or None.
        by_auc: whether binary targets are measured by the AUC.

    Returns:
        Config sections. Without a budget the blends `best_of_<n>` stand on the first n sources,
        `champion` on all. With one, sources are all that may be fitted, by priority, and what is
        fitted, with how many rounds, and what is blended, is found on the way (`left`: why it is not).
    """
    rungs = list(LADDERS[preset])
    if facts.labelled < 1 - MANY_MISSING and _FOREST in rungs:
        rungs.remove(_FOREST)
        rungs.insert(1, _FOREST)
    rungs += MORE[preset] if budget is not None else ()
    sources = {rung.name: made for rung in rungs if (made := rung.source(facts)) is not None}
    names = list(sources)
    if budget is not None:
        first = {"champion": alone(names[0], facts)}
        left = dict.fromkeys([*names, "champion"], "not begun")
        order = [*names, "champion"]
        return {"sources": sources, "blends": first, "campaigns": {preset: order}, "left": left}
    blends: dict[str, Any] = {
        f"best_of_{n}": best_of(names[:n]) for n in range(2, len(names)) if n in (2, 3, 5)
    }
    if len(names) > 1 and is_crowned(facts):
        blends |= crowned(names, {"greedy": best_of(names)}, facts.targets, by_auc)
    elif len(names) > 1:
        blends["champion"] = best_of(names)
    order = _order(names, blends)
    return {"sources": sources, "blends": blends, "campaigns": {preset: order}}


def best_of(names: Sequence[str]) -> dict[str, Any]:
    """A blend of sources by weights of its own for each target."""
    return {"method": "greedy", "sources": list(names)}


def alone(name: str, facts: Facts) -> dict[str, Any]:
    """The last blend where nothing is better than one source or blend."""
    scale = {"scale": "logit"} if facts.kinds == {"binary"} else {}
    return {"method": "mean", "sources": [name], **scale}


def is_crowned(facts: Facts) -> bool:
    """Whether a stack of sources is tried beside the greedy blend: of several binary targets."""
    return facts.targets > 1 and facts.kinds == {"binary"}


def crowned(
    names: Sequence[str], best: Mapping[str, Any], targets: int, by_auc: bool = True
) -> dict[str, Any]:
    """The last blends: a stack of the sources, and the mean of it and the best blend so far.

    A member whose cross-fitted AUC is well below the other's is left out, target by target, where
    targets are measured by it.

    Args:
        best: the best blend so far, by its name; None as its config, if it stands already.
    """
    (name,) = best
    return {
        "champion": {
            "method": "mean",
            "sources": [name, "stacked"],
            "scale": "logit",
            **({"max_auc_gap": CONDEMNED} if by_auc else {}),
        },
        **{key: made for key, made in best.items() if made is not None},
        "stacked": {
            "method": "stack",
            "sources": list(names),
            "neighbours": min(5, targets - 1),
        },
    }


def candidate(name: str, source: Mapping[str, Any], facts: Facts, folds: int) -> Candidate:
    """A source as a budget sees it, none of it done.

    Args:
        source: its config (config.sources.Source as a mapping).
    """
    whole = predicted_seconds(source, facts, facts.targets, folds)
    if not (rounds := source.get("rounds")) or source["family"] not in SHARES:
        return Candidate(name, source["family"], whole, 0.0)
    half = predicted_seconds({**source, "rounds": rounds / 2}, facts, facts.targets, folds)
    variable = 2 * (whole - half)
    shares = SHARES[source["family"]]
    return Candidate(name, source["family"], whole - variable, variable, *shares)


def resized(source: Mapping[str, Any], share: float) -> dict[str, Any]:
    """A source with a share of its rounds; with fewer it learns as much faster, up to a rate."""
    if share == 1:
        return dict(source)
    found = {**source, "rounds": math.ceil(share * source["rounds"])}
    rate = source.get("params", {}).get("learning_rate")
    if rate and share < 1:
        rate = round(min(FASTEST, rate / share), 3)
        found["params"] = {**source["params"], "learning_rate": rate}
    return found


def again(sources: Mapping[str, Any], whole: Sequence[str]) -> dict[str, Any]:
    """Each source of a budget's ladder once more, of another seed, if all of its name stand.

    Args:
        sources: those that there are, by name: `vector`, `vector_long`, `vector_2`, …
        whole: those that stand.
    """
    found = {}
    for name, source in sources.items():
        if source["family"] in WITHOUT_CHANCE:
            continue
        numbers = [n for n in range(2, MOST_SEEDS + 1) if f"{name}_{n}" in sources]
        following = max(numbers, default=1) + 1
        last = name if following == 2 else f"{name}_{following - 1}"
        if NUMBERED.search(name) or following > MOST_SEEDS or last not in whole:
            continue
        found[f"{name}_{following}"] = dict(source)
    return found


SECTIONS = ("sources", "blends", "campaigns")
# What no preset brings: keys that name files and programs, and families whose fits run such.
FOREIGN_KEYS = {"file", "python", "environment", "params_from"}
ELSEWHERE = ("custom", "lightautoml")
WORD = re.compile(r"[\w.]+")


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
        return checked_preset(json.loads(path.read_text(encoding="utf-8")), asked)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BlendmakeError(
            f"{path} is damaged ({error}). Delete it, and the preset is chosen anew: rm {path}"
        ) from error


def checked_preset(found: Any, asked: Mapping[str, Any]) -> dict[str, Any] | None:
    """A preset that was written out, here or on another machine; None if it was asked otherwise.

    It brings nothing that no preset writes: no function of somebody's own, no program, no path.

    Raises:
        ValueError, KeyError, TypeError: it is of another shape.
    """
    if found["asked"] != dict(asked):
        return None
    if not all(isinstance(found[key], dict) for key in SECTIONS) or not found["sources"]:
        raise ValueError("a section is empty, or no mapping")
    for name, source in found["sources"].items():
        foreign = FOREIGN_KEYS & set(source) or source["family"] in ELSEWHERE
        if foreign or not _is_plain(source):
            raise ValueError(f"no preset brings a source such as '{name}'")
    return dict(found)


def _is_plain(value: Any) -> bool:
    """Whether a value holds numbers and words alone."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return not isinstance(value, str) or WORD.fullmatch(value) is not None


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
