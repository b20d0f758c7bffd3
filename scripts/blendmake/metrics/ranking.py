"""Metrics of the order of predictions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.metrics.base import NO_CONTEXT, Floats, Metric, ScoredRows
from blendmake.stats.auc import auc
from blendmake.stats.intervals import influence
from blendmake.stats.ranks import rank_scale


class Auc(Metric):
    """The area under the ROC curve; of several classes the mean over each against the rest.

    Influence values are DeLong's (1988), clustered as of Obuchowski (1997). Classes that do not occur,
    or alone occur, are not in the mean.
    """

    name, title = "auc", "AUC"
    higher_is_better, bounds = True, (0.0, 1.0)
    tasks = frozenset({"binary", "multiclass"})
    rank_invariant = True

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        if predictions.ndim == 1:
            return auc(labels, predictions)
        values = [auc(labels == k, column) for k, column in enumerate(predictions.T)]
        return _mean([value for value in values if not math.isnan(value)])

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        if predictions.ndim == 1:
            return influence(labels, predictions, rows.groups)
        found = [
            influence(labels == k, column, rows.groups) for k, column in enumerate(predictions.T)
        ]
        return _mean_of(found, len(labels))


class AucFoldMean(Metric):
    """The mean of the AUCs within folds, over folds in which both classes occur."""

    name, title = "auc_fold_mean", "AUC, mean over folds"
    higher_is_better, bounds = True, (0.0, 1.0)
    tasks = frozenset({"binary"})
    rank_invariant = True
    needs_folds = True

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        return self.influence(labels, predictions, rows)[0]

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        """Influence values are those within the folds, divided by their number; 0 in other folds.

        Raises:
            ValueError: there are no folds.
        """
        if rows.folds is None:
            raise ValueError("the mean over folds needs folds")
        values: list[float] = []
        phi = np.zeros(len(labels))
        for fold in np.unique(rows.folds):
            inside = np.flatnonzero(rows.folds == fold)
            within = None if rows.groups is None else rows.groups[inside]
            value, phi[inside] = influence(labels[inside], predictions[inside], within)
            if not math.isnan(value):
                values.append(value)
        return (math.fsum(values) / len(values), phi / len(values)) if values else (math.nan, phi)


class AveragePrecision(Metric):
    """The mean, over positives, of the precision among rows that score as high; ties count whole.

    Of several classes the mean over each against the rest. Influence values are the infinitesimal
    jackknife (Jaeckel 1972): the derivative in a row's weight.
    """

    name, title = "average_precision", "average precision"
    higher_is_better, bounds = True, (0.0, 1.0)
    tasks = frozenset({"binary", "multiclass"})
    rank_invariant = True

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        return self.influence(labels, predictions, rows)[0]

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        if predictions.ndim == 1:
            return _average_precision(labels == 1, predictions)
        found = [_average_precision(labels == k, column) for k, column in enumerate(predictions.T)]
        return _mean_of(found, len(labels))


class Spearman(Metric):
    """Spearman's rank correlation, tied values sharing a rank.

    Influence values are Pearson's of the ranks, and what a row does to the ranks of the others
    (Croux and Dehon 2010).
    """

    name, title = "spearman", "Spearman's ρ"
    higher_is_better, bounds = True, (-1.0, 1.0)
    tasks = frozenset({"regression"})
    rank_invariant = True

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        first, second = _standard_ranks(labels), _standard_ranks(predictions)
        if first is None or second is None:
            return math.nan
        return float(np.clip(np.mean(first[0] * second[0]), -1, 1))

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        n = len(labels)
        first, second = _standard_ranks(labels), _standard_ranks(predictions)
        if first is None or second is None:
            return math.nan, np.zeros(n)
        (x, x_spread), (y, y_spread) = first, second
        value = float(np.clip(np.mean(x * y), -1, 1))
        phi = x * y - value / 2 * (x**2 + y**2)
        # A row of weight w moves the ranks of those above it by w, of its equals by w / 2.
        phi += _above(labels, y - value * x) / x_spread
        phi += _above(predictions, x - value * y) / y_spread
        return value, phi / n * math.sqrt(n / (n - 1))


METRICS = {
    "auc": Auc,
    "auc_fold_mean": AucFoldMean,
    "average_precision": AveragePrecision,
    "spearman": Spearman,
}


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _mean_of(found: list[tuple[float, Floats]], rows: int) -> tuple[float, Floats]:
    """The mean over classes of those that are defined, and its influence values."""
    defined = [(value, phi) for value, phi in found if not math.isnan(value)]
    total = np.zeros(rows)
    for _, phi in defined:
        total += phi
    return _mean([value for value, _ in defined]), total / max(len(defined), 1)


def _average_precision(positive: NDArray[np.bool_], scores: NDArray[Any]) -> tuple[float, Floats]:
    n, count = len(scores), int(np.count_nonzero(positive))
    if np.isnan(scores).any():
        raise ValueError("scores contain NaN; the average precision needs an order")
    if count == 0 or count == n:
        return math.nan, np.zeros(n)
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], positive[order].astype(np.float64)
    last = np.append(ordered[1:] != ordered[:-1], True)  # the last row of each block of ties
    ends = np.flatnonzero(last)
    tie = np.concatenate([[0], np.cumsum(last)[:-1]])  # the block of each row
    taken = (ends + 1).astype(np.float64)  # rows that score as high, block by block
    found = np.cumsum(hits)[ends]
    precision = found / taken
    value = float(np.sum(precision[tie] * hits)) / count
    # d/dw of Σ w·[positive]·TP/N / Σ w·[positive], TP and N being sums of weights of rows as high.
    hits_in = np.bincount(tie, weights=hits, minlength=len(ends))
    below = np.cumsum((hits_in / taken)[::-1])[::-1]
    below_squared = np.cumsum((hits_in * found / taken**2)[::-1])[::-1]
    phi = np.empty(n)
    phi[order] = (hits * (precision[tie] - value) + hits * below[tie] - below_squared[tie]) / count
    return value, phi * math.sqrt(n / (n - 1))


def _standard_ranks(values: NDArray[Any]) -> tuple[Floats, float] | None:
    """Ranks of mean 0 and variance 1, and by what they were divided; None where all are equal."""
    if len(values) < 2:
        return None
    ranks = rank_scale(values, None)
    spread = float(np.std(ranks))
    return ((ranks - ranks.mean()) / spread, spread) if spread > 0 else None


def _above(values: NDArray[Any], pull: Floats) -> Floats:
    """For each row the mean of `pull` over rows of greater value, half of those of equal value; less
    its mean."""
    n = len(values)
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    sums = np.concatenate([[0.0], np.cumsum(pull[order])])
    less = np.searchsorted(ordered, values, "left")
    at_most = np.searchsorted(ordered, values, "right")
    above = (sums[n] - sums[at_most]) + (sums[at_most] - sums[less]) / 2
    result: Floats = (above - above.mean()) / n
    return result
