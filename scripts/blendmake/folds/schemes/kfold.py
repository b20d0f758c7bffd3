"""Folds by chance alone, as equal as can be."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blendmake.folds.scheme import FoldTask, Scheme


class KFold(Scheme):
    def assign(self, task: FoldTask) -> NDArray[np.int32]:
        rows = len(task.labels)
        fold = np.empty(rows, np.int32)
        fold[np.random.default_rng(task.seed).permutation(rows)] = np.arange(rows) % task.n
        return fold


SCHEME = KFold()
