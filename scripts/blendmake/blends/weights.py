"""Methods that find the weights of one target's candidates.

Each takes ``(rows, options)`` and returns weights (s,), float64, not negative, of sum 1:

- ``rows``: FittingRows: s candidates, best alone first, on rows whose labels tell enough;
- ``options``: the settings named in each method's docstring; what is absent takes its default.

None draws at random: the same input gives the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.blends.evaluation import FittingRows
from blendmake.blends.surrogates import Loss, surrogate_of
from blendmake.errors import BlendmakeError

Floats = NDArray[np.float64]
Options = Mapping[str, Any]
WeightMethod = Callable[[FittingRows, Options], Floats]

TOP2_WEIGHTS = (0.65, 0.35)
TOP3_WEIGHTS = (0.45, 0.35, 0.20)
STEP = 0.05
GRID_SOURCES = 3
STEPS = 20
SHRINKAGE = 0.01
BOUNDS = (0.0, 1.0)

# AUCs are ratios of whole numbers below 1e12 in practice: closer than this, they are the same. Other
# metrics are sums, whose last digits are rounding.
SAME = 1e-12


def mean(rows: FittingRows, options: Options) -> Floats:
    """The same weight for every candidate."""
    return uniform(len(rows))


def winner(rows: FittingRows, options: Options) -> Floats:
    """Everything on the candidate that is best alone."""
    return _leading((1.0,), len(rows))


def top2_weighted(rows: FittingRows, options: Options) -> Floats:
    """The two best alone at 0.65 and 0.35, or at ``top_weights``; a lone one takes all."""
    return _leading(_top_weights(options, TOP2_WEIGHTS), len(rows))


def top3_weighted(rows: FittingRows, options: Options) -> Floats:
    """The three best alone at 0.45, 0.35 and 0.20, or at ``top_weights``.

    Two candidates take the weights of ``top2_weighted``; a lone one takes all.
    """
    weights = _top_weights(options, TOP3_WEIGHTS)
    return _leading(weights if len(rows) > 2 else TOP2_WEIGHTS, len(rows))


def simplex_grid(rows: FittingRows, options: Options) -> Floats:
    """The best exact score among all weights that are multiples of a step.

    Searches the best ``grid_sources`` (3) candidates at ``step`` (0.05): 231 points for three.
    Among equals the point nearest to uniform wins, and then the one that favours the better
    candidate.

    Raises:
        BlendmakeError: ``step`` does not divide 1.
    """
    units = _units(float(options.get("step", STEP)))
    count = min(int(options.get("grid_sources", GRID_SOURCES)), len(rows))
    others = (0,) * (len(rows) - count)
    best: tuple[int, ...] | None = None
    best_value, best_distance = -np.inf, 0
    for point in _compositions(units, count):
        value = rows.utility_of_parts((*point, *others))
        distance = sum((count * part - units) ** 2 for part in point)  # whole, hence exact
        better = _exceeds(value, best_value)
        if better or (not _exceeds(best_value, value) and distance < best_distance):
            # A tie keeps the higher figure: a chain of ties must not creep downwards.
            best, best_value, best_distance = point, max(best_value, value), distance
    assert best is not None
    return _leading(np.array(best) / units, len(rows))


def optimize_weights(rows: FittingRows, options: Options) -> Floats:
    """The weights of the best smooth stand-in for the metric, found by SLSQP and pulled towards uniform.

    Most metrics are piecewise constant in the weights, or have a corner, so that they have no useful
    gradient; what stands in for each is told in `surrogates`. ``shrinkage`` (0.01) x ||w - 1/s||^2 is
    added to it. The result is kept only if its exact score on all rows is not below that of uniform
    weights.

    ``bounds`` (0, 1) hold for every candidate; where the number of candidates makes them
    impossible (0.5 each for three), they are widened just so far that uniform weights obey.

    Raises:
        BlendmakeError: bounds that are not 0 <= lower <= upper <= 1.
    """
    from scipy.optimize import minimize

    start = uniform(len(rows))
    if len(start) == 1:
        return start
    lower, upper = _bounds(options, len(start))
    shrinkage = float(options.get("shrinkage", SHRINKAGE))
    stand_in: Loss | None = surrogate_of(rows)
    if stand_in is None:
        return start

    def loss(weights: Floats) -> tuple[float, Floats]:
        value, slope = stand_in(weights)
        away = weights - start
        return shrinkage * float(away @ away) + value, 2 * shrinkage * away + slope

    found = minimize(
        loss,
        start,
        jac=True,
        method="SLSQP",
        bounds=[(lower, upper)] * len(start),
        constraints={
            "type": "eq",
            "fun": lambda weights: weights.sum() - 1.0,
            "jac": np.ones_like,
        },
        options={"maxiter": 100, "ftol": 1e-8},
    )
    weights = np.clip(np.asarray(found.x, dtype=np.float64), lower, upper)
    weights[weights < 1e-9] = 0.0
    total = weights.sum()
    if not np.isfinite(total) or total <= 0.0:
        return start
    weights /= total
    reached, least = (rows.utility_of_weights(one) for one in (weights, start))
    return weights if reached >= least else start


def greedy(rows: FittingRows, options: Options) -> Floats:
    """Ensemble selection with replacement (Caruana et al., ICML 2004).

    Starts from the best candidate, then adds again and again the one that makes the mean of the
    selected best by the exact metric, until ``steps`` (20) are selected; the earlier candidate
    wins a tie. The weights are the shares in the selection at its best size, the smallest of
    equals.
    """
    counts = np.zeros(len(rows), np.int64)
    counts[0] = 1
    best_value, best_counts = rows.utility_of_parts(counts.tolist()), counts.copy()
    for _ in range(int(options.get("steps", STEPS)) - 1):
        pick, pick_value = 0, -np.inf
        for candidate in range(len(rows)):
            trial = counts.copy()
            trial[candidate] += 1
            value = rows.utility_of_parts(trial.tolist(), base=counts.tolist())
            if _exceeds(value, pick_value):
                pick, pick_value = candidate, value
        counts[pick] += 1
        if _exceeds(pick_value, best_value):
            best_value, best_counts = pick_value, counts.copy()
    shares: Floats = best_counts / best_counts.sum()
    return shares


METHODS: dict[str, WeightMethod] = {
    "mean": mean,
    "winner": winner,
    "top2_weighted": top2_weighted,
    "top3_weighted": top3_weighted,
    "simplex_grid": simplex_grid,
    "optimize_weights": optimize_weights,
    "greedy": greedy,
}


def uniform(count: int) -> Floats:
    """Equal weights (count,)."""
    return np.full(count, 1.0 / count)


def _exceeds(value: float, other: float) -> bool:
    """Whether a score is more than another, by more than rounding."""
    return value > other + SAME * (max(1.0, abs(other)) if np.isfinite(other) else 1.0)


def _leading(weights: Sequence[float] | Floats, count: int) -> Floats:
    """The given weights for the leading candidates, zero for the rest; cut short, they make one."""
    result = np.zeros(count)
    head = np.asarray(weights, dtype=np.float64)[:count]
    result[: len(head)] = head
    result /= result.sum()
    return result


def _top_weights(options: Options, default: Sequence[float]) -> Sequence[float]:
    given = options.get("top_weights")
    if given is None:
        return default
    weights = [float(weight) for weight in given]
    if len(weights) != len(default):
        raise BlendmakeError(f"top_weights must have {len(default)} numbers, not {len(weights)}.")
    if not (min(weights) >= 0 and weights[0] > 0 and abs(sum(weights) - 1) <= 1e-6):
        raise BlendmakeError(
            f"top_weights must not be negative, start above 0 and have the sum 1: {weights}."
        )
    return weights


def _units(step: float) -> int:
    units = round(1 / step) if step > 0 else 0
    if units < 1 or abs(units * step - 1) > 1e-9:
        raise BlendmakeError(f"step must divide 1 (0.05, 0.1, 0.25, ...), not {step}.")
    return units


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Every way to split ``total`` into ``parts`` whole numbers, the greatest first part first."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total, -1, -1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _bounds(options: Options, count: int) -> tuple[float, float]:
    lower, upper = (float(bound) for bound in options.get("bounds", BOUNDS))
    if not 0.0 <= lower <= upper <= 1.0:
        raise BlendmakeError(f"bounds must obey 0 <= lower <= upper <= 1, not {lower}, {upper}.")
    return min(lower, 1.0 / count), max(upper, 1.0 / count)
