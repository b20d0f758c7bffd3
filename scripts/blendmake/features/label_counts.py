"""How many known and positive labels each code of a column has, for all targets at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blendmake.labels import Labels

Counts = NDArray[np.int64]


class LabelCounts:
    """Counts of labels by code, for many columns of codes over the same rows.

    Positives are few as a rule, and unknown labels too: the work per column goes with them, not with
    rows times targets.

    Args:
        labels: (rows, targets), NaN where unknown.
    """

    def __init__(self, labels: Labels) -> None:
        self.rows, self.targets = labels.shape
        self._positive = _places(labels == 1)
        self._unknown = _places(np.isnan(labels))

    def __call__(self, codes: NDArray[np.integer], n_codes: int) -> tuple[Counts, Counts]:
        """Known and positive labels (n_codes, targets) of the rows with each of `codes` (rows,)."""
        rows = np.bincount(codes, minlength=n_codes)[:, None]
        return rows - self._table(codes, n_codes, self._unknown), self._table(
            codes, n_codes, self._positive
        )

    def _table(
        self,
        codes: NDArray[np.integer],
        n_codes: int,
        places: tuple[NDArray[np.int32], NDArray[np.int32]],
    ) -> Counts:
        rows, targets = places
        cells = codes[rows].astype(np.int64) * self.targets + targets
        counts = np.bincount(cells, minlength=n_codes * self.targets)
        return counts.reshape(n_codes, self.targets)


def _places(chosen: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    rows, targets = np.nonzero(chosen)
    return rows.astype(np.int32), targets.astype(np.int32)
