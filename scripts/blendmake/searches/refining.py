"""The space of the next search, from the trials of this one: wider or narrower where they say so.

What is asked of each param is whether the elite, the best quarter of the trials, lies otherwise in it
than chance would have it. Chance: as many of the same trials, drawn blindly. The tests are exact under
it, whatever the sampler's own leanings; the p of a param's several tests is multiplied by their number
(Bonferroni), so that one without effect is left alone 19 times in 20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy import stats

from blendmake.searches.analysis import (
    LEVEL,
    elite_and_rest,
    explored,
    positions,
    text_of,
    with_param,
)
from blendmake.searches.space import Param, Space, Value, same
from blendmake.searches.table import Trial

ELITE_LEAST = 10
"""On a smaller elite nothing is narrowed, dropped or fixed."""
OUTER = 0.1
"""The part of a range, from a bound on, in which the elite leans on that bound."""
RARER = 2 / 3
"""If the elite's share there is less than this part of its share in the tenth before, the best is taken
to lie before the bound."""
EXTENSION = 0.5
"""How much of its width a range grows by."""
CLUSTER = 0.6
"""The elite clusters if its 5% to 95% quantiles span less of the range."""
MARGIN = 0.1
"""What a narrowed range is wider than the elite, on either side."""
RANGE_TESTS = 3
"""Of a range: does the elite lean on its lower bound, on its upper one, is it closer together."""

Limits = Sequence[tuple[str, float | None, float | None]]
LIMITS: Limits = (
    ("subsample", None, 1.0),
    ("colsample_*", None, 1.0),
    ("feature_fraction*", None, 1.0),
    ("*bagging_fraction", None, 1.0),
    ("rsm", None, 1.0),
    ("top_rate", None, 1.0),
    ("other_rate", None, 1.0),
    ("rate_drop", None, 1.0),
    ("skip_drop", None, 1.0),
    ("drop_rate", None, 1.0),
    ("learning_rate", None, 1.0),
    ("eta", None, 1.0),
    ("l1_ratio", None, 1.0),
    ("max_samples", None, 1.0),
    ("max_features", None, 1.0),
    ("momentum", None, 0.999),
    ("*dropout", None, 0.95),
    ("label_smoothing", None, 0.5),
    ("depth", 1, 16),
    ("max_depth", 1, None),
    ("num_leaves", 2, 131072),
    ("max_leaves", 2, None),
    ("max_bin", 2, 65535),
    ("border_count", 1, 65535),
)
"""How far params go by their nature: pattern of the name, least, greatest. Beside these, a range whose
lower bound is 0 or more stays so, and one whose lower bound is above 0 stays above."""


@dataclass(frozen=True)
class Change:
    """What became of a param, and why.

    `change`: extended_low, extended_high, narrowed, dropped_choices, fixed, removed (its condition
    cannot hold any more) or kept. `before`, `after`: as text; `after` null of one removed. `n`: elite
    trials that have the param. `p`: of what was found, or the least that was found; null if none.
    """

    param: str
    change: str
    before: str
    after: str | None
    reason: str
    n: int
    p: float | None


def refined_space(
    trials: Sequence[Trial], space: Space, metric: str, *, limits: Limits = LIMITS
) -> tuple[dict[str, Any], list[Change]]:
    """The space that the trials suggest, as a config has it, and what was changed.

    The elite is the best quarter of the complete trials in the space, of each study; studies are
    pooled. A bound is moved out by half the range's width (by logarithms where the range has them) if
    more of the elite lies in the outer tenth beside it than chance gives, and it does not get rarer
    there again (RARER); but not past the param's natural limit. A range is narrowed to the elite and a
    tenth of its span on either side, if the elite lies closer together than chance gives and spans less
    than CLUSTER of the range: no elite trial is cut off. A choice that chance would have given the
    elite, but that none of it has, is dropped; a choice that all of it share is fixed. A param whose
    condition cannot hold any more is removed; one whose condition always holds loses it. A conditional
    param is judged on the trials that have it.

    Args:
        limits: natural limits, by the first pattern that a name fits.
    """
    elite, rest = elite_and_rest(trials, metric)
    after: dict[str, Param] = {}
    changes: list[Change] = []
    for param in space:
        inside = [value for _, value in with_param(elite, space, param)]
        when = _conditions(param, after)
        if when is None:
            reason = "its condition cannot hold any more"
            changes.append(
                Change(param.name, "removed", shown(param), None, reason, len(inside), None)
            )
            continue
        judged = param
        if param.kind != "fixed":
            outside = [value for _, value in with_param(rest, space, param)]
            judge = _judge_choices if param.kind == "categorical" else _Range(limits).judge
            judged, found = judge(param, inside, outside)
            changes += found
        after[param.name] = replace(judged, when=when or None)
    return {name: entry_of(param) for name, param in after.items()}, changes


def refined_yaml(
    name: str, entries: Mapping[str, Any], changes: Sequence[Change], trials: Sequence[Trial]
) -> str:
    """The refined space as YAML for `space:`, each change with its reason above it.

    A search of several sources gets its param `source` from their list, not from its space: what
    became of it is told above only.
    """
    studies = len({trial["study"] for trial in trials})
    over = f" in {studies} studies" if studies > 1 else ""
    lines = [
        f"# Refined space of search {name}, from the best quarter of {len(explored(trials))} "
        f"complete trials{over}.",
        "# Chance: as many of the same trials, drawn blindly. n: elite trials that have the param.",
    ]
    for change in changes:
        became = "" if change.after in (None, change.before) else f" -> {change.after}"
        p = "" if change.p is None else f", p {change.p:.2g}"
        lines.append(
            f"# {change.param}: {change.change} {change.before}{became}: {change.reason} "
            f"(n {change.n}{p})"
        )
        if change.param == "source" and became:
            lines.append(f"#   in the search itself: source: [{change.after}]")
    lines = [" ".join(line.split()) for line in lines]
    plain = {key: entry for key, entry in entries.items() if key != "source"}
    lines += [f"{_flow(key)}: {_flow(entry)}" for key, entry in plain.items()] or ["{}"]
    return "".join(f"{line}\n" for line in lines)


def _flow(value: Any) -> str:
    """A value as YAML in one line."""
    text = yaml.safe_dump(
        value, sort_keys=False, default_flow_style=True, allow_unicode=True, width=math.inf
    )
    return str(text).removesuffix("...\n").strip()


def entry_of(param: Param) -> Any:
    """A param as a config has it: what Space.of reads."""
    entry: dict[str, Any]
    if param.kind == "fixed":
        # A bare list or null might be meant otherwise.
        if not param.when and isinstance(param.value, str | int | float):
            return param.value
        entry = {"value": param.value}
    elif param.kind == "categorical":
        entry = {"choices": list(param.choices)}
        if param.weights is not None:
            entry["weights"] = list(param.weights)
    else:
        number = int if param.kind == "int" else float
        assert param.low is not None and param.high is not None
        entry = {"low": number(param.low), "high": number(param.high)}
        if param.step is not None:
            entry["step"] = number(param.step)
        if param.log:
            entry["log"] = True
    if param.when:
        entry["when"] = {parent: _written(wanted) for parent, wanted in param.when.items()}
    return entry


def shown(param: Param) -> str:
    """A param's range, choices or value in words."""
    if param.kind == "fixed":
        return text_of(param.value)
    if param.kind == "categorical":
        return ", ".join(map(text_of, param.choices))
    return f"{param.low!r} to {param.high!r}"


def _written(wanted: Sequence[Value]) -> Value:
    single = len(wanted) == 1 and not isinstance(wanted[0], list | tuple)
    return wanted[0] if single else list(wanted)


# Conditions


def _conditions(param: Param, after: Mapping[str, Param]) -> dict[str, tuple[Value, ...]] | None:
    """A param's conditions once those above it have changed; None where they cannot hold.

    Of a parent that is fixed, its own conditions remain.
    """
    found: dict[str, tuple[Value, ...]] = {}
    for parent, wanted in (param.when or {}).items():
        if parent not in after:
            return None
        left = after[parent]
        values = wanted
        if left.kind in ("fixed", "categorical"):
            values = tuple(value for value in wanted if left.contains(value))
        if not values:
            return None
        implied = left.when or {} if left.kind == "fixed" else {parent: values}
        for name, allowed in implied.items():
            both = tuple(v for v in found.get(name, allowed) if any(same(v, a) for a in allowed))
            if not both:
                return None
            found[name] = both
    return found


# Choices


def _judge_choices(
    param: Param, inside: Sequence[Value], outside: Sequence[Value]
) -> tuple[Param, list[Change]]:
    n, every = len(inside), [*inside, *outside]
    elite = {place: _count(choice, inside) for place, choice in enumerate(param.choices)}
    tried = {place: _count(choice, every) for place, choice in enumerate(param.choices)}
    tests = len(param.choices)

    def change(what: str, after: Param, reason: str, p: float | None) -> tuple[Param, list[Change]]:
        found = Change(param.name, what, shown(param), shown(after), reason, n, p)
        return after, [found]

    if n < ELITE_LEAST:
        return change("kept", param, _too_few(n), None)
    most = max(elite, key=lambda place: elite[place])
    p = _least(stats.hypergeom.sf(n - 1, len(every), tried[most], n), tests)
    if elite[most] == n and p < LEVEL:
        fixed = Param(param.name, "fixed", value=param.choices[most], when=param.when)
        reason = f"all of the elite have it, {tried[most]} of {len(every)} of all"
        return change("fixed", fixed, reason, p)
    chances = {
        place: _least(stats.hypergeom.pmf(0, len(every), tried[place], n), tests)
        for place in elite
        if elite[place] == 0
    }
    unused = [place for place, chance in chances.items() if chance < LEVEL]
    if not unused:
        reason = "no choice that chance would have given the elite is missing from it"
        return change("kept", param, reason, min(chances.values(), default=None))
    left = [place for place in elite if place not in unused]
    weights = None if param.weights is None else tuple(param.weights[place] for place in left)
    narrower = replace(param, choices=tuple(param.choices[p] for p in left), weights=weights)
    told = ", ".join(f"{text_of(param.choices[place])} of {tried[place]} tries" for place in unused)
    reason = f"none of the elite has {told}"
    return change("dropped_choices", narrower, reason, max(chances[place] for place in unused))


def _count(choice: Value, values: Sequence[Value]) -> int:
    return sum(same(choice, value) for value in values)


def _least(p: float, tests: int) -> float:
    """A p for one of several tests."""
    return min(1.0, float(p) * tests)


def _too_few(n: int) -> str:
    return f"the elite has {n} such trials, and nothing is narrowed on fewer than {ELITE_LEAST}"


# Ranges


@dataclass(frozen=True)
class _Range:
    limits: Limits

    def judge(
        self, param: Param, inside: Sequence[Value], outside: Sequence[Value]
    ) -> tuple[Param, list[Change]]:
        """The range after, and what was found."""
        n = len(inside)
        if not n:
            reason = "none of the elite has it"
            return param, [Change(param.name, "kept", shown(param), shown(param), reason, 0, None)]
        elite, every = positions(param, inside), positions(param, [*inside, *outside])
        changes: list[Change] = []
        kept: list[str] = []
        least = 1.0
        after = param
        for side in ("low", "high"):
            beside = _beside(param, side)
            near, next_near = _outer(elite, side, beside)
            among, next_among = _outer(every, side, beside)
            p = _least(stats.hypergeom.sf(near - 1, every.size, among, n), RANGE_TESTS)
            least = min(least, p)
            if p >= LEVEL or near * next_among < RARER * next_near * among:
                continue
            moved = self._extended(param, side)
            if moved == getattr(param, side):
                kept.append(f"the elite leans on {text_of(moved)}, its natural limit")
                continue
            before = after
            after = replace(after, low=moved) if side == "low" else replace(after, high=moved)
            reason = f"{near} of the elite in the outer tenth, {among} of {every.size} of all"
            what = f"extended_{side}"
            changes.append(Change(param.name, what, shown(before), shown(after), reason, n, p))
        if changes:
            return after, changes
        after, reason, p = self._narrowed(param, inside, elite, every)
        what = "kept" if after == param else "narrowed"
        told = "; ".join([*kept, reason])
        p = p if what == "narrowed" else min(p, least)
        return after, [Change(param.name, what, shown(param), shown(after), told, n, p)]

    def _extended(self, param: Param, side: str) -> float:
        """The bound moved out by half the width, as far as the param goes."""
        assert param.low is not None and param.high is not None
        least, greatest = next(
            ((low, high) for name, low, high in self.limits if fnmatchcase(param.name, name)),
            (None, None),
        )
        if side == "high":
            moved = _aligned(param, _at(param, 1 + EXTENSION), up=True)
            if greatest is not None and moved > greatest:
                moved = _aligned(param, greatest, up=False)
            return max(param.high, moved)
        moved = _aligned(param, _at(param, -EXTENSION), up=False)
        if param.low >= 0 and moved <= 0:
            moved = _aligned(param, param.low / 2, up=True)
        if least is not None and moved < least:
            moved = _aligned(param, least, up=True)
        return min(param.low, moved)

    def _narrowed(
        self,
        param: Param,
        inside: Sequence[Value],
        elite: NDArray[np.float64],
        every: NDArray[np.float64],
    ) -> tuple[Param, str, float]:
        """The range about the elite, if it clusters; why, and the p of its closeness."""
        p = _least(closeness(elite, every), RANGE_TESTS)
        low, high = float(elite.min()), float(elite.max())
        span = float(np.ptp(np.quantile(elite, [0.05, 0.95])))
        if p >= LEVEL:
            return param, "the elite lies as chance would have it", p
        if elite.size < ELITE_LEAST:
            return param, _too_few(elite.size), p
        if span >= CLUSTER:
            return param, f"the elite spreads over {span:.0%} of the range", p
        assert param.low is not None and param.high is not None
        # An elite of one value keeps its neighbours.
        margin = MARGIN * (high - low) or (0.0 if _step(param) else MARGIN * CLUSTER)
        bounds = [_at(param, low - margin), _at(param, high + margin)]
        if low == high and _step(param):
            bounds = [bounds[0] - _step(param), bounds[1] + _step(param)]
        after = replace(
            param,
            low=max(param.low, min(_aligned(param, bounds[0], up=False), min(inside))),
            high=min(param.high, max(_aligned(param, bounds[1], up=True), max(inside))),
        )
        return after, f"the elite lies within {high - low:.0%} of the range", p


def closeness(some: NDArray[np.float64], every: NDArray[np.float64]) -> float:
    """How likely as many of all values, drawn blindly, span no more than these (exact).

    Of the sets of n values counted by their least one: those whose others lie within the span above
    it.

    Args:
        some: (n,), part of `every`.
        every: (N,).
    """
    n, ordered = some.size, np.sort(every)
    reach = ordered + (np.ptp(some) + 1e-12)
    above = np.searchsorted(ordered, reach, side="right") - np.arange(ordered.size) - 1
    return sum(math.comb(int(m), n - 1) for m in above) / math.comb(ordered.size, n)


def _beside(param: Param, side: str) -> float:
    """How far from a bound the part next to the outer tenth reaches: over a neighbour at least."""
    assert param.low is not None and param.high is not None
    neighbour = param.low + _step(param) if side == "low" else param.high - _step(param)
    place = float(positions(param, [neighbour])[0])
    return max(2 * OUTER, place if side == "low" else 1 - place)


def _outer(places: NDArray[np.float64], side: str, beside: float) -> tuple[int, int]:
    """How many lie in the outer tenth, and how many in the part next to it."""
    from_bound = places if side == "low" else 1 - places
    near = int(np.count_nonzero(from_bound <= OUTER + 1e-9))
    return near, int(np.count_nonzero(from_bound <= beside + 1e-9)) - near


def _at(param: Param, place: float) -> float:
    """The number at a place of a range, 0 its lower bound, 1 its upper one."""
    assert param.low is not None and param.high is not None
    if param.log:
        low, high = math.log(param.low), math.log(param.high)
        return math.exp(low + place * (high - low))
    return float(param.low + place * (param.high - param.low))


def _step(param: Param) -> float:
    """The distance of neighbouring values; 0 where there is none."""
    return float(param.step or (1 if param.kind == "int" else 0))


def _aligned(param: Param, value: float, up: bool) -> float:
    """A number put on the range's grid, or, without one, to three digits, up or down."""
    assert param.low is not None and param.high is not None
    turn = math.ceil if up else math.floor
    slack = -1e-9 if up else 1e-9
    if _step(param):
        moved = param.low + turn((value - param.low) / _step(param) + slack) * _step(param)
        return round(moved) if param.kind == "int" else round(moved, 12)
    width = param.high - param.low
    size = abs(value) if param.log else min(width, abs(value) or width)
    if not size:
        return value
    digits = 2 - math.floor(math.log10(size))
    return round(turn(value * 10.0**digits + slack) / 10.0**digits, max(digits, 0))
