"""A number; the prediction is its mean given the features, or what the loss asks for instead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blendmake.tasks.base import Column, Floats, Labels, Task

BANDS = 10  # of equal numbers of rows: what folds balance


class Regression(Task):
    """See the module."""

    name = "regression"
    title = "regression"
    metric = "rmse"
    also = ("mae", "r2", "spearman")
    scales = ("value",)

    def read(self, column: Column) -> Labels:
        return column.numbers()

    def usable(self, labels: Floats) -> bool:
        known = labels[~np.isnan(labels)]
        return bool(known.size and known.min() != known.max())

    def constant(self, labels: Floats, outputs: int) -> NDArray[np.float64]:
        known = ~np.isnan(labels)
        mean = float(np.nanmean(labels, dtype=np.float64)) if known.any() else 0.0
        return np.full(outputs, mean)

    def strata(self, labels: Floats) -> NDArray[np.int8]:
        """The bands of the label; of many equal values, which one band holds, there are fewer."""
        known = np.flatnonzero(~np.isnan(labels))
        if not known.size:
            return np.zeros((len(labels), 0), np.int8)
        edges = np.unique(np.quantile(labels[known], np.linspace(0, 1, BANDS + 1)[1:-1]))
        band = np.full(len(labels), -1)
        band[known] = np.searchsorted(edges, labels[known], "left")
        strata: NDArray[np.int8] = (band[:, None] == np.unique(band[known])).astype(np.int8)
        return strata

    def moments(self, labels: Floats, outputs: int) -> NDArray[np.float64]:
        return np.asarray(labels, np.float64)[:, None]


TASK = Regression()
