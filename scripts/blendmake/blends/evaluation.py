"""Exact scores of blends of one target's candidates, on the fitting rows of every split at once.

A search for weights asks for the score of thousands of blends, once for each split. The rows of
splits overlap: all but one fold, and all rows. So rows are cut into blocks that every split takes
whole or not at all. For the AUC, pairs of a positive and a negative are counted for each pair of blocks,
for a metric that is of the mean of the rows' losses, these are added up by block; the score on any split
is then a sum over its blocks. One ordering of the rows serves all splits, blocks fit the processor's
cache, and what one split has asked of the rows another need not ask again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from blendmake.blends.scales import Scale
from blendmake.metrics.base import Metric, ScoredRows
from blendmake.stats.auc import AucScorer, doubled_ranks
from blendmake.tasks.base import Task

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Parts = tuple[int, ...]

KEPT = 4  # sums of candidates that are kept to add others to


class SetScorer(Protocol):
    """Scores of blends of candidates on several sets of rows, by one metric.

    Attributes:
        columns: (s, n), of several outputs (s, n, outputs): the candidates on one scale.
        labels: (n,), NaN where unknown.
        sets: positions of the rows of each set.
    """

    columns: Floats
    labels: NDArray[np.floating]
    sets: Sequence[NDArray[np.integer]]

    def defined(self, one: int) -> bool:
        """Whether there is something to choose by on a set."""

    def solo(self, one: int) -> Floats:
        """Values (s,) of each candidate alone on a set."""

    def value(self, parts: Parts, one: int, base: Parts | None = None) -> float:
        """The value on a set of the mean of candidates, each as often as `parts` (s,) says; see
        `BlendScorer.value`."""

    def of_weights(self, candidates: Sequence[int], weights: Floats, one: int) -> float:
        """The value on a set of some candidates with weights (len(candidates),)."""


class MetricScorer:
    """Scores of blends by any metric; see SetScorer.

    Args:
        metric, usable, scale: of the target: what is measured, whether labels tell enough
            (`Task.usable`), the scale of the columns.
        columns, labels, sets, order: as for BlendScorer, columns perhaps of several outputs.
        folds: (n,), for metrics that need them.
    """

    def __init__(
        self,
        metric: Metric,
        usable: Callable[[NDArray[np.floating]], bool],
        back: Callable[[Floats], Floats],
        columns: Floats,
        labels: NDArray[np.floating],
        sets: Sequence[NDArray[np.integer]],
        order: Sequence[int] | None = None,
        folds: NDArray[np.integer] | None = None,
    ) -> None:
        self.columns, self.labels, self.sets = columns, labels, sets
        self._metric, self._back = metric, back
        self._order = list(range(len(columns)) if order is None else order)
        known = np.isfinite(labels)
        self._rows = [rows[known[rows]] for rows in sets]
        self._defined = [bool(len(rows)) and usable(labels[rows]) for rows in self._rows]
        member = np.zeros((len(sets), len(labels)), bool)
        for mask, rows in zip(member, self._rows, strict=True):
            mask[rows] = True
        self._used = np.flatnonzero(member.any(axis=0))
        block = np.zeros(len(self._used), np.intp)
        for mask in member:
            block = np.unique(2 * block + mask[self._used], return_inverse=True)[1]
        _, firsts = np.unique(block, return_index=True)
        self._block, self._sizes = block, np.bincount(block, minlength=len(firsts))
        self._within = [mask[self._used[firsts]] for mask in member]
        self._folds = folds
        self._sums: dict[Parts, NDArray[Any] | None] = {}
        self._values: dict[tuple[Parts, int], float] = {}

    def defined(self, one: int) -> bool:
        return self._defined[one]

    def solo(self, one: int) -> Floats:
        count = len(self.columns)
        alone = [tuple(int(i == j) for j in range(count)) for i in range(count)]
        return np.array([self.value(parts, one) for parts in alone])

    def value(self, parts: Parts, one: int, base: Parts | None = None) -> float:
        if parts not in self._sums:
            blended = self._back(self._mixed(parts, self._used) / sum(parts))
            losses = self._metric.losses(self.labels[self._used], blended)
            if losses is not None:
                losses = np.bincount(self._block, losses, len(self._sizes)).astype(np.float64)
            self._sums[parts] = losses
        sums = self._sums[parts]
        if sums is not None:
            within = self._within[one]
            rows = int(self._sizes[within].sum())
            return self._metric.of_mean(float(sums[within].sum()) / rows) if rows else float("nan")
        if (parts, one) not in self._values:
            blended = self._back(self._mixed(parts, self._rows[one]) / sum(parts))
            self._values[parts, one] = self._measured(blended, one)
        return self._values[parts, one]

    def of_weights(self, candidates: Sequence[int], weights: Floats, one: int) -> float:
        every = np.zeros(len(self.columns))
        every[list(candidates)] = weights
        return self._measured(self._back(self._mixed(every, self._rows[one])), one)

    def _mixed(self, weights: Sequence[float] | Floats, rows: NDArray[np.integer]) -> Floats:
        total = np.zeros(self.columns[0][rows].shape)
        for i in self._order:
            if weights[i]:
                total += weights[i] * self.columns[i][rows]
        return total

    def _measured(self, predictions: Floats, one: int) -> float:
        rows = self._rows[one]
        about = ScoredRows(None if self._folds is None else self._folds[rows])
        return self._metric(self.labels[rows], predictions, about)


class BlendScorer:
    """The AUC of blends: counts of ordered pairs, on several sets of rows; see SetScorer.

    Args:
        columns: (s, n) predictions of the candidates, finite, on one scale.
        labels: (n,), 0, 1 or NaN, where unknown: such rows are in no set.
        sets: positions of the rows of each set.
        order: (s,), the order in which candidates are added up.
    """

    def __init__(
        self,
        columns: Floats,
        labels: NDArray[np.floating],
        sets: Sequence[NDArray[np.integer]],
        order: Sequence[int] | None = None,
    ) -> None:
        self.columns, self.labels, self.sets = columns, labels, sets
        self._order = range(len(columns)) if order is None else order
        member = np.zeros((len(sets), len(labels)), bool)
        for mask, rows in zip(member, sets, strict=True):
            mask[rows] = True
        used = np.flatnonzero(member.any(axis=0) & np.isfinite(labels))
        block = np.zeros(len(used), np.intp)
        for mask in member:  # a block more for each part of one that this set does not take
            block = np.unique(2 * block + mask[used], return_inverse=True)[1]
        _, firsts = np.unique(block, return_index=True)
        self._within = [mask[used[firsts]] for mask in member]
        positive = labels[used] > 0.5
        # Of the rarer class every value is looked up in the sorted values of the commoner one.
        self._rare_is_positive = 2 * int(positive.sum()) <= len(used)
        rare = positive == self._rare_is_positive
        self._rare = np.bincount(block[rare], minlength=len(firsts))
        self._common = np.bincount(block[~rare], minlength=len(firsts))
        rows = used[np.lexsort((block, ~rare))]
        self._values = np.ascontiguousarray(columns[:, rows])
        # Blocks of the rarer class, then blocks of the commoner one.
        self._starts = np.concatenate([[0], np.cumsum(np.concatenate([self._rare, self._common]))])
        self._counts: dict[Parts, Counts] = {}
        self._sums: dict[Parts, Floats] = {}
        self._buffer = np.empty(max(int(self._rare.sum()), int(self._common.max(initial=0))))

    def defined(self, one: int) -> bool:
        """Whether a set has rows of both classes."""
        within = self._within[one]
        return bool(self._rare[within].any() and self._common[within].any())

    def solo(self, one: int) -> Floats:
        """AUC (s,) of each candidate alone on a set, of its own values (not rounded)."""
        return np.array([self._auc(counts, one) for counts in self._alone])

    @cached_property
    def _alone(self) -> list[Counts]:
        return [self._count(column.__getitem__) for column in self._values]

    def value(self, parts: Parts, one: int, base: Parts | None = None) -> float:
        """AUC on a set of the mean of candidates, in float32, the precision a blend is written in.

        Sums of ranks are often equal; in float64 the rounding of the sum would order them by chance.

        Args:
            parts: (s,) how often each candidate is in the mean.
            one: position of the set.
            base: parts less one of a candidate, if their sum is worth keeping for others.

        Returns:
            The AUC, ties counted half.
        """
        if parts not in self._counts:
            size = sum(parts)
            total, added = None, 0
            if base is not None:
                total = self._kept(base)
                added = next(i for i, (a, b) in enumerate(zip(parts, base, strict=True)) if a > b)

            def blended(part: slice) -> NDArray[Any]:
                buffer = self._buffer[: part.stop - part.start]
                if total is None:
                    self._add_up(parts, part, buffer)
                else:
                    np.add(total[part], self._values[added, part], out=buffer)
                buffer /= size
                return buffer.astype(np.float32)

            self._counts[parts] = self._count(blended)
        return self._auc(self._counts[parts], one)

    def of_weights(self, candidates: Sequence[int], weights: Floats, one: int) -> float:
        """AUC on a set of candidates with weights, in float32 as for `value`."""
        rows = self.sets[one]
        rows = rows[np.isfinite(self.labels[rows])]
        blended = self.columns[np.ix_(candidates, rows)].T @ weights
        return AucScorer(self.labels[rows] > 0.5)(blended.astype(np.float32))

    def _kept(self, parts: Parts) -> Floats:
        found = self._sums.pop(parts, None)
        if found is None:
            found = np.empty(self._values.shape[1])
            self._add_up(parts, slice(0, len(found)), found)
        self._sums[parts] = found  # now the latest
        while len(self._sums) > KEPT:
            del self._sums[next(iter(self._sums))]
        return found

    def _add_up(self, parts: Parts, rows: slice, out: Floats) -> None:
        out[:] = 0.0
        for i in self._order:
            if parts[i] == 1:
                out += self._values[i, rows]
            elif parts[i]:
                out += parts[i] * self._values[i, rows]

    def _count(self, values: Callable[[slice], NDArray[Any]]) -> Counts:
        """(blocks, blocks): twice the pairs (rarer, commoner) in which the rarer one is higher.

        Ties count once.
        """
        blocks = len(self._rare)
        starts = self._starts
        rare = values(slice(0, int(starts[blocks]))).copy()
        for b in range(blocks):
            rare[starts[b] : starts[b + 1]].sort()
        doubled = np.zeros((blocks, blocks), np.int64)
        for b in range(blocks):
            first, last = int(starts[blocks + b]), int(starts[blocks + b + 1])
            if first == last or not len(rare):
                continue
            common = np.sort(values(slice(first, last)))
            beaten = np.concatenate([[0], np.cumsum(doubled_ranks(rare, common))])
            doubled[:, b] = beaten[starts[1 : blocks + 1]] - beaten[starts[:blocks]]
        return doubled

    def _auc(self, counts: Counts, one: int) -> float:
        within = self._within[one]
        pairs = int(self._rare[within].sum()) * int(self._common[within].sum())
        if not pairs:
            return float("nan")
        doubled = int(counts[np.ix_(within, within)].sum())
        return (doubled if self._rare_is_positive else 2 * pairs - doubled) / (2 * pairs)


class FittingRows:
    """What a method finds weights on: some candidates, on one set of rows that tell enough.

    Args:
        scorer: of all candidates.
        one: position of the set of rows.
        candidates: those to weigh, best alone first.
        metric: what the scorer measures.
        task, scale: of the target.

    Attributes:
        rows: (n,), positions of those whose label is known.
        labels: (n,).
    """

    def __init__(
        self,
        scorer: SetScorer,
        one: int,
        candidates: Sequence[int],
        metric: Metric,
        task: Task,
        scale: Scale,
    ) -> None:
        self._scorer, self._one, self._candidates = scorer, one, list(candidates)
        self.metric, self.task, self.scale = metric, task, scale
        rows = scorer.sets[one]
        self.rows = rows[np.isfinite(scorer.labels[rows])]
        self.labels = scorer.labels[self.rows]

    def __len__(self) -> int:
        return len(self._candidates)

    @property
    def scores(self) -> Floats:
        """(s, n), of several outputs (s, n, outputs): the candidates' predictions on one scale."""
        return self._scorer.columns[np.ix_(self._candidates, self.rows)]

    def utility_of_parts(self, parts: Sequence[int], base: Sequence[int] | None = None) -> float:
        """How good the mean of candidates is, more being better; see `BlendScorer.value`.

        Args:
            parts: (s,) how often each is in the mean.
            base: parts less one of a candidate, to which other candidates will be added too.
        """
        found = None if base is None else self._spread(base)
        return self.metric.utility(self._scorer.value(self._spread(parts), self._one, found))

    def utility_of_weights(self, weights: Floats) -> float:
        """How good candidates with weights (s,) are, more being better."""
        return self.metric.utility(self._scorer.of_weights(self._candidates, weights, self._one))

    def _spread(self, parts: Sequence[int]) -> Parts:
        every = [0] * len(self._scorer.columns)
        for candidate, part in zip(self._candidates, parts, strict=True):
            every[candidate] = part
        return tuple(every)
