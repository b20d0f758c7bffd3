"""The check of a search before its first trial: its space, its sampler, its pruner, its trials."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from blendmake.config.base import nearest
from blendmake.searches.lint_entries import entry_findings, readable
from blendmake.searches.lint_text import ERROR, NOTE, WARNING, Finding, told
from blendmake.searches.space import Param, Space, Value, same, space_of

SAMPLERS = ("tpe", "random", "cmaes", "grid")
PRUNERS = ("none", "median", "hyperband", "wilcoxon")
TRIALS_PER_PARAM = 3
GRID_AT_MOST = 100_000  # points, all of which are given to the study at its beginning
REDUCTION = 3  # hyperband keeps one trial of so many from one rung to the next
HYPERBAND_REPORTS = REDUCTION**2  # three brackets; with fewer it is hardly more than one rule
WILCOXON_UNITS = 4  # all of 4 pairs worse has p = 1/16, of 3 pairs 1/8: pruned below 1/10
ABSENT = object()


def lint_space(
    entries: Mapping[str, Any],
    *,
    trials: int,
    sampler: str,
    pruner: str,
    rounds: int | None,
    units: int,
    sources: Sequence[str] = (),
    known: Mapping[str, Mapping[str, Value]] | None = None,
    every: int = 1,
) -> list[Finding]:
    """What is wrong with a search, or odd about it, as far as that shows without a fit.

    Nothing that stands in `entries` makes it raise: without an error among the findings,
    `space_of(parse_numbers(entries), sources)` is a space.

    Args:
        entries: `space:` of the config, whatever it holds.
        trials: of each study.
        rounds: that one fit is trained for; None where nobody knows.
        units: fits of a trial: search folds, times the targets that one study has.
        sources: of the search; their name is a param where there are several.
        known: by study, the values of its first trial (studies.StudyPlan.baseline).
        every: rounds between two reports of a fit.
    """
    parsed, findings = readable(entries)
    findings += entry_findings(parsed, sources)
    if all(finding.level != ERROR for finding in findings):
        findings += _space_findings(space_of(parsed, sources), trials, sampler, known or {})
    if sampler not in SAMPLERS:
        text = f"{told(sampler)} is no sampler: {nearest(str(sampler), SAMPLERS)}"
        findings.append(Finding(ERROR, "sampler", text))
    if pruner not in PRUNERS:
        text = f"{told(pruner)} is no pruner: {nearest(str(pruner), PRUNERS)}"
        findings.append(Finding(ERROR, "pruner", text))
    elif pruner == "hyperband":
        findings += _hyperband_findings(rounds, units, every)
    elif pruner == "wilcoxon":
        findings += _wilcoxon_findings(units)
    return findings


def combinations(space: Space) -> int | None:
    """How many different trials a space allows, conditions kept; None where one param is continuous.

    As many as `samplers.grid_points` gives, without listing them.
    """
    sizes = {param.name: _size(param) for param in space}
    if None in sizes.values():
        return None
    return _count(space.params, {}, {name: size or 0 for name, size in sizes.items()})


def _size(param: Param) -> int | None:
    """The number of values of a param; None of a continuous one."""
    if param.kind == "fixed":
        return 1
    if param.kind == "categorical":
        return len(param.choices)
    step = param.step or (1 if param.kind == "int" else None)
    if step is None:
        return None
    low, high, by = (Fraction(str(number)) for number in (param.low, param.high, step))
    return int((high - low) // by) + 1


def _count(params: Sequence[Param], values: Mapping[str, Any], sizes: Mapping[str, int]) -> int:
    """Combinations of some params, where `values` are those of their parents that are settled.

    Params that do not depend on each other are counted apart, and parents are gone through choice by
    choice: so it takes time by the number of conditions, not of combinations.
    """
    values = dict(values)
    parts: list[list[Param]] = []  # each of params that depend on each other
    for param in params:
        settled = {name: values[name] for name in param.when or {} if name in values}
        waits = [name for name in param.when or {} if name not in values]
        if not all(_holds(param, name, value) for name, value in settled.items()):
            values[param.name] = ABSENT
        elif param.kind == "fixed" and not waits:
            values[param.name] = param.value
        else:
            near = [part for part in parts if any(one.name in waits for one in part)]
            parts = [part for part in parts if part not in near]
            parts.append([*(one for part in near for one in part), param])
    total = 1
    for part in parts:
        first, *others = sorted(part, key=params.index)
        if others:
            total *= sum(
                _count(others, {**values, first.name: choice}, sizes) for choice in first.choices
            )
        else:
            total *= sizes[first.name]
    return total


def _holds(param: Param, parent: str, value: Any) -> bool:
    return any(same(value, wanted) for wanted in (param.when or {})[parent])


# The space as a whole


def _space_findings(
    space: Space, trials: int, sampler: str, known: Mapping[str, Mapping[str, Value]]
) -> Iterator[Finding]:
    searched = [param for param in space.searched if _size(param) != 1]
    if not searched:
        text = "has nothing to search: give a param low and high, or choices"
        yield Finding(ERROR, "space", text)
        return
    outside = {study: _outside(space, values) for study, values in known.items()}
    yield from _first_trial_findings(outside)
    size = combinations(space)
    if size is None or trials < size:
        yield from _trial_findings(trials, len(searched))
    if sampler == "grid":
        # A first trial that is no point of the grid comes on top of it.
        beside = min((1 if text else 0 for text in outside.values()), default=0)
        yield from _grid_findings(searched, size, beside, trials)
    elif sampler == "cmaes":
        yield from _cmaes_findings(space, searched)
    yield from _size_findings(size, trials, len(searched), sampler)


def _trial_findings(trials: int, params: int) -> Iterator[Finding]:
    if trials < TRIALS_PER_PARAM * params:
        text = (
            f"{trials} for {params} params is fewer than {TRIALS_PER_PARAM} per param: raise them to "
            f"{TRIALS_PER_PARAM * params}, or fix some params"
        )
        yield Finding(WARNING, "trials", text)


def _outside(space: Space, values: Mapping[str, Value]) -> str:
    """Why values are no trial of the space; empty where they are."""
    active = [param for param in space if space.is_active(param, values)]
    missing = [param.name for param in active if param.name not in values]
    strange = [
        f"{param.name} {told(values[param.name])}"
        for param in active
        if param.name in values and not param.contains(values[param.name])
    ]
    parts = []
    if missing:
        parts.append(f"{', '.join(missing)} not set")
    if strange:
        parts.append(f"{', '.join(strange)} outside")
    return "; ".join(parts)


def _first_trial_findings(outside: Mapping[str, str]) -> Iterator[Finding]:
    """On first trials that the sampler learns nothing from."""
    for text in dict.fromkeys(filter(None, outside.values())):
        studies = [study for study, one in outside.items() if one == text]
        of = studies[0] + (f" and {len(studies) - 1} more" if len(studies) > 1 else "")
        yield Finding(
            NOTE,
            "space",
            f"the source's present params, first trial of {of}, lie outside ({text}): it is fitted, "
            "but the sampler learns nothing from it",
        )


def _size_findings(size: int | None, trials: int, params: int, sampler: str) -> Iterator[Finding]:
    """On how much of the space the trials see."""
    if size is None:
        text = f"size: continuous; {trials} trials are {trials / params:.3g} per param"
        yield Finding(NOTE, "space", text)
        return
    share = min(Fraction(1), Fraction(trials, size))
    text = f"size: {_size_text(size)}; {trials} trials cover {float(100 * share):.3g}% of it"
    yield Finding(NOTE, "space", text)
    if trials > size and sampler != "grid":
        text = f"{trials} trials for {_size_text(size)} repeat some: lower them to {size}"
        yield Finding(WARNING, "trials", text)


def _size_text(size: int) -> str:
    number = f"{size:,}" if size < 10**12 else f"about 1e{math.log10(size):.0f}"
    return f"{number} combination" + ("s" if size > 1 else "")


# Samplers


def _grid_findings(
    searched: Sequence[Param], size: int | None, beside: int, trials: int
) -> Iterator[Finding]:
    for param in searched:
        if _size(param) is None:
            text = "is continuous, which a grid cannot be: give it a step or choices, or another sampler"
            yield Finding(ERROR, f"space.{param.name}", text)
        if param.weights is not None:
            text = "its weights mean nothing to a grid: leave them out, or take another sampler"
            yield Finding(WARNING, f"space.{param.name}", text)
    if size is None:
        return
    if size > GRID_AT_MOST:
        text = f"has {_size_text(size)}, too many for a grid: drop values, or take another sampler"
        yield Finding(ERROR, "space", text)
    elif trials < size:
        text = (
            f"{trials} end in the middle of a grid of {_size_text(size)}, which is gone through in "
            f"order: raise them to {size + beside}, or take sampler: random"
        )
        yield Finding(WARNING, "trials", text)
    if trials > size + beside:
        text = f"{trials}, but the grid has {_size_text(size)}"
        text += " and the source's present params" if beside else ""
        yield Finding(ERROR, "trials", f"{text}: lower them to {size + beside}")


def _cmaes_findings(space: Space, searched: Sequence[Param]) -> Iterator[Finding]:
    """On params that CMA-ES does not model: it knows numbers that every trial has."""
    numeric: list[str] = []
    others: list[str] = []
    for param in searched:
        is_numeric = param.kind != "categorical" and _always_exists(space, param)
        (numeric if is_numeric else others).append(param.name)
    if len(numeric) < 2:
        text = f"cmaes needs 2 numeric params without conditions, here {len(numeric)}: take sampler: tpe"
        yield Finding(ERROR, "sampler", text)
    elif others:
        text = (
            f"cmaes models no categorical or conditional params: {', '.join(others)} are drawn at "
            "random; take sampler: tpe to search them"
        )
        yield Finding(WARNING, "sampler", text)


def _always_exists(space: Space, param: Param) -> bool:
    """Whether a param exists under all values of its parents, and these of theirs."""
    for name in param.when or {}:
        parent = space[name]
        values = parent.choices if parent.kind == "categorical" else (parent.value,)
        if not all(_holds(param, name, value) for value in values):
            return False
        if not _always_exists(space, parent):
            return False
    return True


# Pruners


def _hyperband_findings(rounds: int | None, units: int, every: int) -> Iterator[Finding]:
    """On the resource of hyperband, which are the reports of a trial (Li et al. 2018).

    Where the rounds are unknown, a trial reports once per fit.
    """
    if rounds is None:
        reports, text = (
            units,
            f"the rounds are unknown, so that a trial reports once per fit, {units}×",
        )
        if units >= HYPERBAND_REPORTS:
            yield Finding(NOTE, "pruner", text)
    else:
        reports = max(1, rounds // every) * units
        text = f"a trial reports {reports}× ({rounds} rounds, every {every}, {units} fits)"
    if reports < HYPERBAND_REPORTS:
        level = WARNING if rounds is None else ERROR
        text += f", and hyperband needs {HYPERBAND_REPORTS} reports: take pruner: median"
        yield Finding(level, "pruner", text)
    elif rounds is not None and rounds < REDUCTION * every:
        text = (
            f"{rounds} rounds, reported every {every}, are fewer than {REDUCTION} reports per fit: "
            "hyperband ends trials between fits only"
        )
        yield Finding(WARNING, "pruner", text)


def _wilcoxon_findings(units: int) -> Iterator[Finding]:
    """On the pairs that the signed-rank test has (Wilcoxon 1945)."""
    if units < WILCOXON_UNITS:
        text = (
            f"wilcoxon can never prune: it compares trials fit by fit, and {units} (search folds times "
            f"targets) are fewer than {WILCOXON_UNITS}; take more folds, or pruner: median"
        )
        yield Finding(WARNING, "pruner", text)
    elif units == WILCOXON_UNITS:
        text = (
            f"wilcoxon can prune after {units} fits at the earliest, which are all that a trial has: "
            "take more folds, or pruner: median"
        )
        yield Finding(WARNING, "pruner", text)
