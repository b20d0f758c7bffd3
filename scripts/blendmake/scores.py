"""Tables of scores with intervals, per target and for their mean (the macro row)."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from blendmake.honest import folds_text, honest_rows
from blendmake.metrics.base import Metric, ScoredRows
from blendmake.metrics.choice import Chosen, metrics_of
from blendmake.score_names import MACRO
from blendmake.stats.intervals import dense_codes, interval, standard_error
from blendmake.tasks.base import Target

_SCORES: list[tuple[str, pa.DataType]] = [
    ("target", pa.string()),
    ("metric", pa.string()),
    ("value", pa.float64()),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("n", pa.int64()),
    ("positives", pa.int64()),
    ("estimate", pa.string()),
    ("optimistic", pa.bool_()),
    ("fell_back", pa.bool_()),
    ("folds", pa.string()),
]
SCORES = pa.schema(_SCORES)
"""Columns of `score_predictions`."""

_COMPARISON: list[tuple[str, pa.DataType]] = [
    ("target", pa.string()),
    ("metric", pa.string()),
    ("difference", pa.float64()),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("a", pa.float64()),
    ("b", pa.float64()),
    ("n", pa.int64()),
    ("optimistic", pa.bool_()),
    ("folds", pa.string()),
]
COMPARISON = pa.schema(_COMPARISON)
"""Columns of `compare_predictions`."""

Floats = NDArray[np.float64]
Codes = NDArray[Any]


def score_predictions(
    predictions: ArrayLike,
    labels: ArrayLike,
    targets: Sequence[Target],
    *,
    metrics: Chosen | None = None,
    values: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    honest: Sequence[int] | None = None,
    estimate: str,
    optimistic: Collection[str] = (),
    fell_back: Collection[str] = (),
) -> pa.Table:
    """Scores of predictions, per target and for the mean over targets, with 95% intervals.

    Intervals stand on the metrics' influence values (`metrics.base`), summed within groups where such
    are given. The macro interval is made from the mean of the targets' influence values, since targets
    known on the same rows are not independent.

    Args:
        predictions: (n, outputs) floats, the targets' outputs one after another, of any scale: what
            metrics of their order measure.
        labels: (n, T) floats, nan where unknown; such a row is not used for that target.
        targets: T of them.
        metrics: which are measured of each target; None: those of its task.
        values: (n, outputs), what the other metrics measure: probabilities, numbers in units of the
            label; None: there are none, and these metrics are left out.
        folds: (n,) integers, or None: then metrics within folds are left out.
        groups: (n,) integer codes of rows that belong together, or None if rows are independent.
        honest: the folds whose rows are measured, the others left out; None: all.
        estimate: how the predictions were made (`oof`, `cross_fitted`, `in_sample`, ...).
        optimistic: targets for which something was chosen with the labels that score it.
        fell_back: targets with a fit made otherwise than asked for, for lack of GPU memory.

    Returns:
        A long table, one row per (target, metric), the macro rows last: target, metric, value,
        ci_low, ci_high, n, positives, estimate, optimistic, fell_back, folds (`all`, or the honest
        ones). n counts measured rows with a label (macro: with any label of a target that the metric is
        measured of), positives those with label 1 of binary targets (macro: summed; null without such).
        A target on which a metric is undefined has null value and interval and is not in the macro
        mean. An interval alone is null where its variance cannot be estimated (a class with one row or
        one group).

    Raises:
        ValueError: shapes do not agree, a target is called `macro`, a label of a binary target is
            not 0 or 1, a prediction with a known label is NaN, or there are honest folds without
            `folds`.
    """
    rows = []
    codes = _codes(groups)
    scored = _Scored(labels, targets, folds, honest, codes, metrics)
    for result in scored.results(predictions, values):
        error = standard_error(result.phi, codes)
        low, high = interval(result.value, error, bounds=result.metric.bounds)
        rows.append(
            {
                "target": result.target,
                "metric": result.metric.name,
                "value": _nullable(result.value),
                "ci_low": _nullable(low),
                "ci_high": _nullable(high),
                "n": result.rows,
                "positives": result.positives,
                "estimate": estimate,
                "optimistic": _is_marked(result.target, optimistic),
                "fell_back": _is_marked(result.target, fell_back),
                "folds": folds_text(honest),
            }
        )
    return pa.Table.from_pylist(rows, schema=SCORES)


def _is_marked(target: str, marked: Collection[str]) -> bool:
    return target in marked or (target == MACRO and bool(marked))


def compare_predictions(
    a: ArrayLike,
    b: ArrayLike,
    labels: ArrayLike,
    targets: Sequence[Target],
    *,
    metrics: Chosen | None = None,
    values: tuple[ArrayLike, ArrayLike] | None = None,
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    honest: Sequence[int] | None = None,
    optimistic: Collection[str] = (),
) -> pa.Table:
    """Paired differences a - b on the same rows, per target and macro, with 95% intervals.

    The interval is made from the difference of the influence values, which for an AUC is DeLong's
    (1988) for two correlated curves: what a and b have in common cancels.

    Args:
        a: (n, outputs) floats.
        b: (n, outputs) floats, for the same rows and targets.
        values: of a and of b, as for `score_predictions`.
        labels, targets, metrics, groups, folds, honest: as for `score_predictions`.
        optimistic: targets for which that holds of a or b.

    Returns:
        A long table in the order of `score_predictions`: target, metric, difference, ci_low,
        ci_high, a and b (the two values), n, optimistic, folds. Null where undefined.

    Raises:
        ValueError: as for `score_predictions`.
    """
    rows = []
    codes = _codes(groups)
    scored = _Scored(labels, targets, folds, honest, codes, metrics)
    results_a = scored.results(a, None if values is None else values[0])
    results_b = scored.results(b, None if values is None else values[1])
    for one, other in zip(results_a, results_b, strict=True):
        difference = one.value - other.value
        error = standard_error(one.phi - other.phi, codes)
        width = one.metric.bounds[1] - one.metric.bounds[0]
        low, high = interval(difference, error, bounds=(-width, width))
        rows.append(
            {
                "target": one.target,
                "metric": one.metric.name,
                "difference": _nullable(difference),
                "ci_low": _nullable(low),
                "ci_high": _nullable(high),
                "a": _nullable(one.value),
                "b": _nullable(other.value),
                "n": one.rows,
                "optimistic": _is_marked(one.target, optimistic),
                "folds": folds_text(honest),
            }
        )
    return pa.Table.from_pylist(rows, schema=COMPARISON)


@dataclass(frozen=True)
class _Result:
    target: str
    metric: Metric
    value: float
    phi: Floats  # over all rows of the table, so that results can be combined row by row
    rows: int
    positives: int | None


class _Scored:
    """What predictions are scored against."""

    def __init__(
        self,
        labels: ArrayLike,
        targets: Sequence[Target],
        folds: ArrayLike | None,
        honest: Sequence[int] | None,
        codes: Codes | None,
        metrics: Chosen | None,
    ) -> None:
        self.truth, self.targets = np.asarray(labels), tuple(targets)
        fold_of = None if folds is None else np.asarray(folds)
        _check(self.truth, self.targets, fold_of, codes)
        if honest is not None and fold_of is None:
            raise ValueError("honest folds need the fold of each row")
        self.rows = ScoredRows(fold_of, codes)
        self.measured = None if fold_of is None else honest_rows(fold_of, honest)
        chosen = metrics or {target.name: metrics_of(target.task) for target in targets}
        self.metrics: Mapping[str, tuple[Metric, ...]] = {
            target.name: tuple(
                m for m in chosen[target.name] if fold_of is not None or not m.needs_folds
            )
            for target in targets
        }

    def results(self, predictions: ArrayLike, values: ArrayLike | None) -> Iterator[_Result]:
        """Every target's results, then the macro's; one at a time, since influence values are long."""
        scores = self._checked(predictions, "predictions")
        numbers = None if values is None else self._checked(values, "values")
        macros: dict[str, _Macro] = {}
        first = 0
        for column, target in enumerate(self.targets):
            last = first + len(target.outputs)
            # One output is (n,), as libraries have it.
            part: Any = first if last - first == 1 else slice(first, last)
            first = last
            known = ~np.isnan(self.truth[:, column])
            if self.measured is not None:
                known &= self.measured
            rows = np.flatnonzero(known)
            y, about = self.truth[rows, column], self.rows.take(rows)
            positives = int(np.count_nonzero(y == 1)) if target.task.name == "binary" else None
            for metric in self.metrics[target.name]:
                measured_by = scores if metric.rank_invariant else numbers
                if measured_by is None:
                    continue
                try:
                    value, own = metric.influence(y, measured_by[rows, part], about)
                except ValueError as error:
                    raise ValueError(f"target {target.name}: {error}") from error
                phi = np.zeros(len(self.truth))
                phi[rows] = own
                macro = macros.setdefault(metric.name, _Macro(metric, len(self.truth)))
                macro.add(value, phi, known, positives)
                yield _Result(target.name, metric, value, phi, rows.size, positives)
        for macro in macros.values():
            yield macro.result()

    def _checked(self, given: ArrayLike, what: str) -> NDArray[Any]:
        array = np.asarray(given)
        shape = (len(self.truth), sum(len(target.outputs) for target in self.targets))
        if array.shape != shape:
            raise ValueError(f"{what} have shape {array.shape}, not {shape}")
        return array


class _Macro:
    """The mean of a metric over targets, in the making."""

    def __init__(self, metric: Metric, rows: int) -> None:
        self.metric, self.values = metric, list[float]()
        self.phi, self.labelled = np.zeros(rows), np.zeros(rows, np.bool_)
        self.positives: int | None = None

    def add(
        self, value: float, phi: Floats, known: NDArray[np.bool_], positives: int | None
    ) -> None:
        """A target's result; one that is undefined is counted, but not in the mean."""
        self.labelled |= known
        if positives is not None:
            self.positives = (self.positives or 0) + positives
        if not math.isnan(value):
            self.values.append(value)
            self.phi += phi

    def result(self) -> _Result:
        """The macro's row."""
        count = len(self.values)
        value = math.fsum(self.values) / count if count else math.nan
        labelled = int(np.count_nonzero(self.labelled))
        phi = self.phi / max(count, 1)
        return _Result(MACRO, self.metric, value, phi, labelled, self.positives)


def _check(
    truth: NDArray[Any],
    targets: Sequence[Target],
    folds: Codes | None,
    codes: Codes | None,
) -> None:
    if truth.ndim != 2 or truth.shape[1] != len(targets):
        raise ValueError(f"labels have shape {truth.shape}, not (rows, {len(targets)})")
    if MACRO in [target.name for target in targets]:
        raise ValueError(f"a target may not be called {MACRO!r}: that is the mean's row")
    for name, array in (("folds", folds), ("groups", codes)):
        if array is not None and array.shape != truth.shape[:1]:
            raise ValueError(f"{name} have shape {array.shape}, not ({len(truth)},)")


def _codes(groups: ArrayLike | None) -> Codes | None:
    return None if groups is None else dense_codes(groups, np.asarray(groups).size)


def _nullable(value: float) -> float | None:
    return None if math.isnan(value) else value
