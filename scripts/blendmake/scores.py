"""Tables of scores with intervals, per target and for their mean (the macro row).

The only place that knows which metrics belong to a task.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from blendmake.honest import folds_text, honest_rows
from blendmake.labels import MACRO
from blendmake.stats.intervals import dense_codes, influence, interval, standard_error

"""Name of the row that is the mean over targets; no target may have it."""

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

PROBABILITY_CLIP = float(np.finfo(np.float32).eps)

Floats = NDArray[np.float64]
Codes = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """A measure of predictions on rows with known labels.

    `measure(labels, scores, folds, groups)`, each (n,), gives the value and its (n,) influence
    values; a value of nan means undefined. One that `needs_probabilities` is of probabilities, the
    others of the predictions' order alone.
    """

    name: str
    measure: Callable[
        [NDArray[Any], NDArray[Any], Codes | None, Codes | None], tuple[float, Floats]
    ]
    needs_folds: bool = False
    needs_probabilities: bool = False
    bounds: tuple[float, float] = (0.0, 1.0)


def pooled_auc(
    labels: NDArray[Any], scores: NDArray[Any], folds: Codes | None, groups: Codes | None
) -> tuple[float, Floats]:
    """AUC over all rows together and its influence values (n,); folds do not matter."""
    return influence(labels, scores, groups)


def fold_mean_auc(
    labels: NDArray[Any], scores: NDArray[Any], folds: Codes | None, groups: Codes | None
) -> tuple[float, Floats]:
    """Mean of the AUCs within folds, over the folds in which both classes occur, and its influence
    values (n,): those within the folds, divided by their number; 0 in the other folds.

    Raises:
        ValueError: there are no folds.
    """
    if folds is None:
        raise ValueError("the mean over folds needs folds")
    values: list[float] = []
    phi = np.zeros(len(labels))
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        within = None if groups is None else groups[rows]
        value, phi[rows] = influence(labels[rows], scores[rows], within)
        if not math.isnan(value):
            values.append(value)
    return (math.fsum(values) / len(values), phi / len(values)) if values else (math.nan, phi)


def brier_score(
    labels: NDArray[Any], scores: NDArray[Any], folds: Codes | None, groups: Codes | None
) -> tuple[float, Floats]:
    """Mean squared difference of probability and label, and its influence values (n,)."""
    return _mean_loss(np.square(scores.astype(np.float64) - labels))


def log_loss(
    labels: NDArray[Any], scores: NDArray[Any], folds: Codes | None, groups: Codes | None
) -> tuple[float, Floats]:
    """Mean negative log likelihood of the labels (nats), and its influence values (n,).

    Probabilities are kept `PROBABILITY_CLIP` away from 0 and 1, as scikit-learn does for float32.
    """
    given = np.clip(scores.astype(np.float64), PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
    return _mean_loss(-np.where(labels == 1, np.log(given), np.log1p(-given)))


def _mean_loss(losses: Floats) -> tuple[float, Floats]:
    """The mean of (n,) losses; influence values whose sum of squares is its variance, s² / n."""
    n = losses.size
    if n == 0:
        return math.nan, losses
    value = float(np.sum(losses)) / n
    correction = math.sqrt(n / (n - 1)) if n > 1 else math.nan
    return value, (losses - value) * (correction / n)


METRICS: dict[str, tuple[Metric, ...]] = {
    "binary": (
        Metric("auc", pooled_auc),
        Metric("auc_fold_mean", fold_mean_auc, needs_folds=True),
        Metric("brier", brier_score, needs_probabilities=True),
        Metric("log_loss", log_loss, needs_probabilities=True, bounds=(0.0, math.inf)),
    ),
}
"""The metrics of each task; the first is the one that choices are made by."""


def metrics_of(task: str) -> tuple[Metric, ...]:
    """The metrics of a task.

    Raises:
        ValueError: no metrics are known for the task.
    """
    if task not in METRICS:
        raise ValueError(f"no metrics for task {task!r}; known: {', '.join(sorted(METRICS))}")
    return METRICS[task]


def score_predictions(
    predictions: ArrayLike,
    labels: ArrayLike,
    targets: Sequence[str],
    *,
    probabilities: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    honest: Sequence[int] | None = None,
    estimate: str,
    optimistic: Collection[str] = (),
    fell_back: Collection[str] = (),
    task: str = "binary",
) -> pa.Table:
    """Scores of predictions, per target and for the mean over targets, with 95% intervals.

    Intervals are DeLong's (1988), clustered (Obuchowski 1997) where groups are given. The macro
    interval is made from the mean of the targets' influence values, since targets known on the same
    rows are not independent.

    Args:
        predictions: (n, T) floats, of any scale: their order is measured.
        labels: (n, T) floats, nan where unknown; such a row is not used for that target.
        targets: T names.
        probabilities: (n, T) within [0, 1], measured by the metrics that need probabilities; None:
            there are none, and these metrics are left out.
        folds: (n,) integers, or None: then metrics within folds are left out.
        groups: (n,) integer codes of rows that belong together, or None if rows are independent.
        honest: the folds whose rows are measured, the others left out; None: all.
        estimate: how the predictions were made (`oof`, `cross_fitted`, `in_sample`, ...).
        optimistic: targets for which something was chosen with the labels that score it.
        fell_back: targets with a fit made otherwise than asked for, for lack of GPU memory.
        task: the targets' task, which decides the metrics.

    Returns:
        A long table, one row per (target, metric), the macro rows last: target, metric, value,
        ci_low, ci_high, n, positives, estimate, optimistic, fell_back, folds (`all`, or the honest
        ones). n counts measured rows with a label (macro: with any label), positives those with label 1
        (macro: summed over targets). A target on which a metric is undefined has null value and
        interval and is not in the macro mean. An interval alone is null where its variance cannot
        be estimated (a class with one row or one group).

    Raises:
        ValueError: shapes do not agree, a target is called `macro`, a label of a binary target is
            not 0 or 1, a prediction with a known label is NaN, the task is unknown, or there are
            honest folds without `folds`.
    """
    rows = []
    codes = _codes(groups)
    for result in _results(predictions, labels, targets, folds, honest, codes, task, probabilities):
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
    targets: Sequence[str],
    *,
    groups: ArrayLike | None = None,
    folds: ArrayLike | None = None,
    honest: Sequence[int] | None = None,
    optimistic: Collection[str] = (),
    task: str = "binary",
) -> pa.Table:
    """Paired differences a - b on the same rows, per target and macro, with 95% intervals.

    The interval is made from the difference of the influence values, which is DeLong's (1988) for
    two correlated curves: what a and b have in common cancels.

    Args:
        a: (n, T) floats.
        b: (n, T) floats, for the same rows and targets.
        labels, targets, groups, folds, honest, task: as for `score_predictions`.
        optimistic: targets for which that holds of a or b.

    Returns:
        A long table in the order of `score_predictions`: target, metric, difference, ci_low,
        ci_high, a and b (the two values), n, optimistic, folds. Null where undefined.

    Raises:
        ValueError: as for `score_predictions`.
    """
    rows = []
    codes = _codes(groups)
    results_a = _results(a, labels, targets, folds, honest, codes, task)
    results_b = _results(b, labels, targets, folds, honest, codes, task)
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
    positives: int


def _results(
    predictions: ArrayLike,
    labels: ArrayLike,
    targets: Sequence[str],
    folds: ArrayLike | None,
    honest: Sequence[int] | None,
    codes: Codes | None,
    task: str,
    probabilities: ArrayLike | None = None,
) -> Iterator[_Result]:
    """Every target's results, then the macro's; one at a time, since influence values are long."""
    scores, truth = np.asarray(predictions), np.asarray(labels)
    fold_of = None if folds is None else np.asarray(folds)
    _check(scores, truth, targets, fold_of, codes)
    if honest is not None and fold_of is None:
        raise ValueError("honest folds need the fold of each row")
    measured = None if fold_of is None else honest_rows(fold_of, honest)
    chances = None if probabilities is None else np.asarray(probabilities)
    if chances is not None and chances.shape != truth.shape:
        raise ValueError(f"probabilities have shape {chances.shape}, labels {truth.shape}")
    metrics = [
        m
        for m in metrics_of(task)
        if (fold_of is not None or not m.needs_folds)
        and (chances is not None or not m.needs_probabilities)
    ]
    values: dict[str, list[float]] = {m.name: [] for m in metrics}
    total = {m.name: np.zeros(len(truth)) for m in metrics}
    any_label = np.zeros(len(truth), np.bool_)
    all_positives = 0
    for column, target in enumerate(targets):
        known = ~np.isnan(truth[:, column])
        if measured is not None:
            known &= measured
        rows = np.flatnonzero(known)
        y, x = truth[rows, column], scores[rows, column]
        chance = None if chances is None else chances[rows, column]
        within_folds = None if fold_of is None else fold_of[rows]
        within_groups = None if codes is None else codes[rows]
        positives = int(np.count_nonzero(y == 1))
        any_label |= known
        all_positives += positives
        for metric in metrics:
            measured_by = chance if metric.needs_probabilities and chance is not None else x
            try:
                value, part = metric.measure(y, measured_by, within_folds, within_groups)
            except ValueError as error:
                raise ValueError(f"target {target}: {error}") from error
            phi = np.zeros(len(truth))
            phi[rows] = part
            if not math.isnan(value):
                values[metric.name].append(value)
                total[metric.name] += phi
            yield _Result(target, metric, value, phi, rows.size, positives)
    labelled = int(np.count_nonzero(any_label))
    for metric in metrics:
        kept = values[metric.name]
        value = math.fsum(kept) / len(kept) if kept else math.nan
        phi = total[metric.name] / max(len(kept), 1)
        yield _Result(MACRO, metric, value, phi, labelled, all_positives)


def _check(
    scores: NDArray[Any],
    truth: NDArray[Any],
    targets: Sequence[str],
    folds: Codes | None,
    codes: Codes | None,
) -> None:
    if truth.ndim != 2 or truth.shape[1] != len(targets):
        raise ValueError(f"labels have shape {truth.shape}, not (rows, {len(targets)})")
    if scores.shape != truth.shape:
        raise ValueError(f"predictions have shape {scores.shape}, labels {truth.shape}")
    if MACRO in targets:
        raise ValueError(f"a target may not be called {MACRO!r}: that is the mean's row")
    for name, array in (("folds", folds), ("groups", codes)):
        if array is not None and array.shape != truth.shape[:1]:
            raise ValueError(f"{name} have shape {array.shape}, not ({len(truth)},)")


def _codes(groups: ArrayLike | None) -> Codes | None:
    return None if groups is None else dense_codes(groups, np.asarray(groups).size)


def _nullable(value: float) -> float | None:
    return None if math.isnan(value) else value
