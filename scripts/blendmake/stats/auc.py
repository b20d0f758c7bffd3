"""The area under the ROC curve, exact with ties, and the placement values behind its variance.

The AUC is the Mann-Whitney statistic: the share of (positive, negative) pairs in which the positive
scores higher, a tie counting half. Pairs are counted with integers by sorting one class and looking
up the other (the O(n log n) form of Sun & Xu 2014, "Fast implementation of DeLong's algorithm").
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_NAN_SCORE = "scores contain NaN; the AUC needs an order"


class AucScorer:
    """AUC on fixed rows, for many evaluations: the split into classes is made once.

    Args:
        labels: (n,) bool, or numbers that are all 0 or 1.

    Raises:
        ValueError: labels are not one-dimensional, or hold anything but 0 and 1 (NaN included).

    Attributes:
        positives: number of positive rows.
        negatives: number of negative rows.
        defined: whether both classes occur; where not, every AUC is nan.
    """

    def __init__(self, labels: ArrayLike) -> None:
        array = np.asarray(labels)
        if array.ndim != 1:
            raise ValueError(f"labels must have one dimension, not shape {array.shape}")
        positive = array if array.dtype == np.bool_ else array == 1
        if positive is not array and not np.all(positive | (array == 0)):
            raise ValueError("labels must be 0 or 1")
        self._rows = len(array)
        self._positive_rows = np.flatnonzero(positive)
        self._negative_rows = np.flatnonzero(~positive)
        self.positives = len(self._positive_rows)
        self.negatives = len(self._negative_rows)
        self.defined = self.positives > 0 and self.negatives > 0

    def __call__(self, scores: ArrayLike) -> float:
        """AUC of scores (n,), between 0 and 1; nan if a class is absent.

        Raises:
            ValueError: scores do not have the labels' shape, or contain NaN.
        """
        values = self._checked(scores)
        if not self.defined:
            return float("nan")
        positive_is_rare = self.positives <= self.negatives
        few = np.sort(values.take(self._positive_rows if positive_is_rare else self._negative_rows))
        # Sorting is the cost, and picking the commoner class comes next: the rarer one is looked up
        # among all rows, and what it beats of itself, half of its own pairs, is taken off.
        every = np.sort(values)
        if np.isnan(every[-1]):
            raise ValueError(_NAN_SCORE)
        doubled = int(doubled_ranks(few, every).sum()) - few.size**2
        pairs = self.positives * self.negatives
        return (doubled if positive_is_rare else 2 * pairs - doubled) / (2 * pairs)

    def evaluate(self, scores: ArrayLike) -> tuple[float, NDArray[np.float64]]:
        """AUC and placement values (n,) of scores (n,); see `placements`.

        Raises:
            ValueError: as for a call.
        """
        values = self._checked(scores)
        shares = np.full(self._rows, np.nan)
        if not self.defined:
            return float("nan"), shares
        positive, negative = values.take(self._positive_rows), values.take(self._negative_rows)
        few, many = self._ordered(positive, negative)
        few_beaten, many_beaten = _doubled_beaten(few, many)
        beaten, beaten_by_negatives = self._ordered(few_beaten, many_beaten)
        shares[self._positive_rows] = beaten / (2 * self.negatives)
        shares[self._negative_rows] = 1.0 - beaten_by_negatives / (2 * self.positives)
        return int(beaten.sum()) / (2 * self.positives * self.negatives), shares

    def _ordered(self, first: NDArray[Any], second: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """(positive, negative) as (rarer, commoner); being a swap, it also undoes itself."""
        return (first, second) if self.positives <= self.negatives else (second, first)

    def _checked(self, scores: ArrayLike) -> NDArray[Any]:
        values = np.asarray(scores)
        if values.dtype not in (np.float32, np.float64):
            values = values.astype(np.float64)
        if values.shape != (self._rows,):
            raise ValueError(f"scores have shape {values.shape}, labels ({self._rows},)")
        # Where both classes occur, sorting brings NaN to the end, where it is seen for free.
        if not self.defined and np.isnan(values).any():
            raise ValueError(_NAN_SCORE)
        return values


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Exact area under the ROC curve.

    Args:
        labels: (n,) bool, or numbers that are all 0 or 1.
        scores: (n,) floats, higher meaning more positive; float32 is sorted as it is.

    Returns:
        The AUC between 0 and 1, ties counted half; nan if a class is absent.

    Raises:
        ValueError: shapes differ, labels are not 0 or 1, or scores contain NaN.
    """
    return AucScorer(labels)(scores)


def placements(labels: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """Placement values, the V10 and V01 of DeLong, DeLong & Clarke-Pearson (1988).

    Args:
        labels: (n,) bool, or numbers that are all 0 or 1.
        scores: (n,) floats.

    Returns:
        (n,) shares between 0 and 1: for a positive the share of negatives that it beats, for a
        negative the share of positives that beat it, ties counted half. The mean over either class
        is the AUC. nan everywhere if a class is absent.

    Raises:
        ValueError: shapes differ, labels are not 0 or 1, or scores contain NaN.
    """
    return AucScorer(labels).evaluate(scores)[1]


def doubled_ranks(few: NDArray[Any], many: NDArray[Any]) -> NDArray[np.int64]:
    """For each of the sorted `few`, twice the number of the sorted `many` below it, a tie counting once.

    Sorted queries walk through `many` instead of jumping in it; only what is tied with several is
    looked up twice.
    """
    below, last = np.searchsorted(many, few, "left"), len(many) - 1
    tied = (many[np.minimum(below, last)] == few) & (below <= last)
    doubled: NDArray[np.int64] = 2 * below + tied
    several = np.flatnonzero(tied & (many[np.minimum(below + 1, last)] == few) & (below < last))
    if several.size:
        doubled[several] = below[several] + np.searchsorted(many, few[several], "right")
    return doubled


def _look_up(few: NDArray[Any], many: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """For each of the sorted `few`: how many of the sorted `many` are less, how many not more."""
    if np.isnan(few[-1]) or np.isnan(many[-1]):
        raise ValueError(_NAN_SCORE)
    return np.searchsorted(many, few, "left"), np.searchsorted(many, few, "right")


def _doubled_beaten(
    few: NDArray[Any], many: NDArray[Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each value of either array, twice the number of values of the other that it beats."""
    few_order, many_order = np.argsort(few), np.argsort(many)
    below, at_most = _look_up(few[few_order], many[many_order])
    few_beaten = np.empty(few.size, np.int64)
    few_beaten[few_order] = below + at_most
    # Value j of the sorted `many` beats those of `few` with at most j of `many` not above them, and
    # beats or ties with those with at most j below them. These are running counts, much cheaper
    # than a search for every one of `many`.
    strict = np.cumsum(np.bincount(at_most, minlength=many.size + 1))[: many.size]
    loose = np.cumsum(np.bincount(below, minlength=many.size + 1))[: many.size]
    many_beaten = np.empty(many.size, np.int64)
    many_beaten[many_order] = strict + loose
    return few_beaten, many_beaten
