"""What a good prediction is: a number for labels and predictions, and how sure it is.

A metric is a class in a module of this package and a line in the registry, or a function in a file of
the user's (`own`). It takes what one target has: labels (n,) without NaN (0 and 1; codes of classes;
numbers) and predictions, (n,) where the target has one output, (n, classes) otherwise.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]
BLOCKS = 200  # of rows left out one after another where a metric has no influence values of its own


@dataclass(frozen=True)
class ScoredRows:
    """What a metric may want to know of the rows beside labels and predictions, each (n,) or None.

    `folds`: which model predicted a row. `groups`: codes of rows that belong together.
    """

    folds: Codes | None = None
    groups: Codes | None = None

    def take(self, rows: NDArray[Any]) -> ScoredRows:
        """Of some rows: positions or a mask."""
        return ScoredRows(
            None if self.folds is None else self.folds[rows],
            None if self.groups is None else self.groups[rows],
        )


NO_CONTEXT = ScoredRows()


class Metric(ABC):
    """A measure of predictions.

    Attributes:
        name: as in the config, with its arguments.
        title: as people read it.
        higher_is_better: direction.
        bounds: least and greatest possible value.
        tasks: names of the tasks whose predictions it measures.
        needs_folds: whether it is of the predictions within folds.
        rank_invariant: whether it stays the same where predictions are replaced by what a strictly
            rising map makes of them (then ranks, and scores of any scale, can be measured).
        has_unit: whether it is in units of the label, so that a mean over targets mixes units.
    """

    name: str
    title: str
    higher_is_better: bool
    bounds: tuple[float, float]
    tasks: frozenset[str]
    needs_folds: bool = False
    rank_invariant: bool = False
    has_unit: bool = False

    @abstractmethod
    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        """The value; NaN where it is undefined (an AUC of one class)."""

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        """The value and influence values (n,), whose sum of squares (of sums within groups, where
        there are groups) is its variance; see `stats.intervals`.

        Here: the jackknife over at most `BLOCKS` blocks of rows, whole groups at a time (Efron and
        Stein 1981; Künsch 1989). A block's influence is shared among its rows.
        """
        return jackknife(self, labels, predictions, rows)

    def losses(self, labels: NDArray[Any], predictions: NDArray[Any]) -> Floats | None:
        """What rows (n,) have each, where the value is of their mean (`of_mean`); None where it is not.

        Then the value on many sets of rows is found by adding up.
        """
        return None

    def of_mean(self, mean: float) -> float:
        """The value, where the mean of `losses` is known."""
        return mean

    def utility(self, value: float) -> float:
        """The value turned so that more is better."""
        return value if self.higher_is_better else -value

    def is_better(self, value: float, other: float) -> bool:
        """Whether a value is better than another; NaN is better than nothing."""
        return self.utility(value) > self.utility(other) or (
            math.isnan(other) and not math.isnan(value)
        )


def jackknife(
    metric: Metric, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows
) -> tuple[float, Floats]:
    """Value and influence values of a metric by leaving out one block of rows after another."""
    n = len(labels)
    value = metric(labels, predictions, rows)
    phi = np.zeros(n)
    if math.isnan(value):
        return value, phi
    if rows.groups is None:
        block = np.arange(n) % min(n, BLOCKS)  # interleaved: neighbours may be alike
        is_group = False
    else:
        codes = np.unique(rows.groups, return_inverse=True)[1]
        block = codes % min(int(codes.max()) + 1, BLOCKS)
        is_group = True
    blocks = int(block.max()) + 1
    if blocks < 2:
        return value, np.full(n, math.nan)
    without = np.empty(blocks)
    for one in range(blocks):
        kept = np.flatnonzero(block != one)
        without[one] = metric(labels[kept], predictions[kept], rows.take(kept))
    if np.isnan(without).any():  # a block holds the last row of a class
        return value, np.full(n, math.nan)
    # Variance (b - 1) / b · Σ (without - mean)², as a sum of squares over blocks.
    moved = (without.mean() - without) * math.sqrt((blocks - 1) / blocks)
    sizes = np.bincount(block, minlength=blocks)
    if is_group:
        # Sums within groups are squared: the shares of a block's groups must make its square.
        groups_of = np.zeros(int(codes.max()) + 1, np.intp)
        groups_of[codes] = block
        groups = np.bincount(groups_of, minlength=blocks)
        rows_of = np.bincount(codes)
        phi = moved[block] / np.sqrt(groups[block]) / rows_of[codes]
    else:
        phi = moved[block] / np.sqrt(sizes[block])
    return value, phi


def mean_influence(losses: Floats) -> tuple[float, Floats]:
    """The mean of losses (n,) and influence values whose sum of squares is its variance, s² / n."""
    n = losses.size
    if n == 0:
        return math.nan, losses
    value = float(np.sum(losses)) / n
    correction = math.sqrt(n / (n - 1)) if n > 1 else math.nan
    return value, (losses - value) * (correction / n)
