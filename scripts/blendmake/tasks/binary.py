"""Two classes, 0 and 1; the prediction is the probability of 1, or what orders rows like it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blendmake.tasks.base import Column, Floats, Labels, Task


class Binary(Task):
    """See the module."""

    name = "binary"
    title = "binary classification"
    metric = "auc"
    also = ("auc_fold_mean", "brier", "log_loss")
    scales = ("rank", "logit")
    low, high = 0.0, 1.0
    undersamples = True

    def read(self, column: Column) -> Labels:
        return column.two_values()

    def usable(self, labels: Floats) -> bool:
        return bool((labels == 0).any() and (labels == 1).any())

    def constant(self, labels: Floats, outputs: int) -> NDArray[np.float64]:
        known = ~np.isnan(labels)
        return np.full(outputs, float(np.nanmean(labels)) if known.any() else 0.5)

    def row_weights(self, labels: Floats, class_weight: str | float) -> NDArray[np.float64] | None:
        """`balanced`: positives weigh as much as negatives; a number: so much each; negatives 1."""
        if class_weight == "none":
            return None
        weight = 1.0
        if class_weight != "balanced":
            weight = float(class_weight)
        elif self.usable(labels):
            weight = float((labels == 0).sum() / (labels == 1).sum())
        return None if weight == 1 else np.where(labels == 1, weight, 1.0)

    def strata(self, labels: Floats) -> NDArray[np.int8]:
        strata: NDArray[np.int8] = (labels == 1).astype(np.int8)[:, None]
        return strata

    def as_classes(self, labels: Floats) -> NDArray[np.float64]:
        return np.asarray(labels, np.float64)

    def moments(self, labels: Floats, outputs: int) -> NDArray[np.float64]:
        return np.asarray(labels, np.float64)[:, None]


TASK = Binary()
