"""Folds balanced over all targets at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blendmake.folds.scheme import FoldTask, Scheme, indicators
from blendmake.labels import Labels
from blendmake.tasks.base import Target

DRAWN_AT_ONCE = 4096


class Stratified(Scheme):
    def assign(self, task: FoldTask) -> NDArray[np.int32]:
        return stratified_folds(task.labels, task.n, task.seed, task.targets)


def stratified_folds(
    labels: Labels, n: int, seed: int, targets: Sequence[Target] | None = None
) -> NDArray[np.int32]:
    """Folds balanced over all targets at once: rows are shuffled and dealt out by `deal`.

    Args:
        targets: what labels (rows, targets) are of; None: all binary.
    """
    rng = np.random.RandomState(seed)
    order = np.arange(len(labels))
    rng.shuffle(order)
    balanced = indicators(labels, targets)
    if balanced.shape[1] == 1:
        balanced = np.hstack([balanced, 1 - balanced])
    fold = np.empty(len(labels), np.int32)
    fold[order] = deal(balanced[order].astype(bool), n, rng)
    return fold


def deal(marks: NDArray[np.bool_], n: int, rng: np.random.RandomState) -> NDArray[np.int32]:
    """Deal out rows so that every fold gets its share of every mark.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label
    data", ECML 2011): the rows of the rarest mark first, each to the fold that lacks most of this mark,
    of those to the one that lacks most rows, of those to one drawn. Rows without a mark come last. The
    folds are those of the package iterative-stratification, to the row, and are made many times as fast:
    that needs minutes for half a million rows.

    Args:
        marks: (rows, marks).
        n: number of folds.
        rng: draws where folds are level.

    Returns:
        (rows,) the fold of each row.
    """
    rows = len(marks)
    table = _Table(rows, marks.sum(axis=0).tolist(), n, rng)
    fold = np.empty(rows, np.int32)
    left = np.ones(rows, bool)
    counts = marks.sum(axis=0)
    while counts.any():
        rarest = np.flatnonzero(counts == counts[counts > 0].min())
        mark = int(rarest[table.draw(len(rarest))])
        chosen = np.flatnonzero(marks[:, mark] & left)
        where, which = np.nonzero(marks[chosen])
        ends = np.searchsorted(where, np.arange(len(chosen)), "right")
        fold[chosen] = table.place(mark, which.tolist(), ends.tolist())
        left[chosen] = False
        counts = counts - np.bincount(which, minlength=len(counts))
    unmarked = np.flatnonzero(left)
    fold[unmarked] = table.place(None, [], [0] * len(unmarked))
    return fold


class _Table:
    """What each fold lacks; plain lists, as a handful of numbers per row are no work for arrays."""

    def __init__(
        self, rows: int, counts: Sequence[int], n: int, rng: np.random.RandomState
    ) -> None:
        share = 1 / n
        self.lacks = [share * rows] * n
        self.lacks_of = [[share * count] * n for count in counts]
        self._rng, self._drawn, self._next = rng, list[int](), 0

    def draw(self, count: int) -> int:
        """One of 0 … count - 1: what rng.randint(0, count) would draw; nothing is drawn of one."""
        if count == 1:
            return 0
        mask = (1 << (count - 1).bit_length()) - 1
        while True:
            if self._next == len(self._drawn):
                drawn = self._rng.randint(0, 1 << 32, size=DRAWN_AT_ONCE, dtype=np.uint32)
                self._drawn, self._next = drawn.tolist(), 0
            value = self._drawn[self._next] & mask
            self._next += 1
            if value < count:
                return value

    def place(self, mark: int | None, which: Sequence[int], ends: Sequence[int]) -> list[int]:
        """The folds of rows, one after another, each to the fold that lacks most of `mark`.

        Args:
            mark: None: to that which lacks most rows.
            which: the marks of the first row, then those of the second, …
            ends: where the marks of each row end in `which`.
        """
        lacks, lacks_of = self.lacks, self.lacks_of
        by = lacks if mark is None else lacks_of[mark]
        folds, placed, start = range(len(lacks)), list[int](), 0
        for end in ends:
            most = max(by)
            if by.count(most) == 1:
                k = by.index(most)
            else:
                best = [k for k in folds if by[k] == most]
                most = max([lacks[k] for k in best])
                best = [k for k in best if lacks[k] == most]
                k = best[self.draw(len(best))]
            placed.append(k)
            for other in which[start:end]:
                lacks_of[other][k] -= 1
            lacks[k] -= 1
            start = end
        return placed


SCHEME = Stratified()
