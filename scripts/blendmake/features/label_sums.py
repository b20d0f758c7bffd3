"""How many known labels each code of a column has, and the sums of their moments, for all targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.labels import Labels
from blendmake.tasks.base import Target

BLOCK = 65_536  # rows whose moments are held at a time: there are many of many classes

Sums = NDArray[np.number[Any]]
Moments = Callable[[Labels], NDArray[np.float64]]
"""From labels (rows,) of a target what is summed of them (rows, m): nothing where it is 0 or NaN."""


def moments_of(targets: Sequence[Target]) -> list[Moments]:
    """What a target encoding averages, by target (Task.moments)."""
    return [partial(target.task.moments, outputs=len(target.outputs)) for target in targets]


class LabelSums:
    """Sums of labels by code, for many columns of codes over the same rows.

    Positives are few as a rule, a row is of one class, and unknown labels are few too: the work per
    column goes with what is not 0, not with rows times targets.

    Args:
        labels: (rows, targets), NaN where unknown.
        moments: of each target; left out: the label itself.

    Attributes:
        target_of: (sums,) the target that each sum is of.
    """

    def __init__(self, labels: Labels, moments: Sequence[Moments] | None = None) -> None:
        self.rows, self.targets = labels.shape
        unknown, of = np.nonzero(np.isnan(labels))
        self._unknown = _Entries(unknown, of, None, self.targets)
        rows, columns = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
        values = [np.empty(0, np.float64)]
        target_of: list[int] = []
        for j in range(self.targets):
            own = moments[j] if moments else _itself
            for start in range(0, self.rows, BLOCK):
                table = np.nan_to_num(own(labels[start : start + BLOCK, j]), nan=0.0)
                where, which = np.nonzero(table)
                rows.append(where + start)
                columns.append(which + len(target_of))
                values.append(table[where, which])
            target_of += [j] * own(labels[:0, j]).shape[1]
        every = np.concatenate(values)
        self._entries = _Entries(
            np.concatenate(rows),
            np.concatenate(columns),
            None if (every == 1).all() else every,
            len(target_of),
        )
        self.target_of = np.array(target_of, np.intp)

    def __call__(self, codes: NDArray[np.integer], n_codes: int) -> tuple[Sums, Sums]:
        """Known labels and sums (n_codes, sums) of the rows with each of `codes` (rows,)."""
        rows = np.bincount(codes, minlength=n_codes)[:, None]
        known = rows - self._unknown.table(codes, n_codes)
        return known[:, self.target_of], self._entries.table(codes, n_codes)


class _Entries:
    """What is not 0 in a table of rows and columns; `values` None: all of it is 1."""

    def __init__(
        self,
        rows: NDArray[np.integer],
        columns: NDArray[np.integer],
        values: NDArray[np.float64] | None,
        width: int,
    ) -> None:
        self._rows, self._columns = rows.astype(np.int32), columns.astype(np.int32)
        self._values, self._width = values, width

    def table(self, codes: NDArray[np.integer], n_codes: int) -> Sums:
        """The sums (n_codes, width) over the rows of each code."""
        cells = codes[self._rows].astype(np.int64) * self._width + self._columns
        sums = np.bincount(cells, self._values, minlength=n_codes * self._width)
        return sums.reshape(n_codes, self._width)


def _itself(labels: Labels) -> NDArray[np.float64]:
    return np.asarray(labels, np.float64)[:, None]
