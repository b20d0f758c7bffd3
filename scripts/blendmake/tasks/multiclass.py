"""Several classes; the predictions are their probabilities, whose sum is 1."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.tasks.base import Column, Floats, Labels, Task

SUM = 1e-3  # how far the sum of a row's probabilities may be from 1 (they are written as float32)


class Multiclass(Task):
    """See the module. Labels are codes of the classes: 0, 1, …"""

    name = "multiclass"
    title = "classification"
    metric = "log_loss"
    also = ("accuracy", "balanced_accuracy", "auc")
    scales = ("probability", "log")
    low, high = 0.0, 1.0

    def read(self, column: Column) -> Labels:
        return column.values_as_classes()

    def outputs(self, target: str, classes: Sequence[str]) -> tuple[str, ...]:
        return tuple(f"{target}={name}" for name in classes)

    def usable(self, labels: Floats) -> bool:
        known = labels[~np.isnan(labels)]
        return bool(known.size and known.min() != known.max())

    def constant(self, labels: Floats, outputs: int) -> NDArray[np.float64]:
        known = labels[~np.isnan(labels)].astype(np.intp)
        if not known.size:
            return np.full(outputs, 1 / outputs)
        counts = np.bincount(known, minlength=outputs).astype(np.float64)
        shares: NDArray[np.float64] = counts / counts.sum()
        return shares

    def row_weights(self, labels: Floats, class_weight: str | float) -> NDArray[np.float64] | None:
        """`balanced`: all classes that occur weigh the same, a row 1 in the mean."""
        if class_weight == "none":
            return None
        if class_weight != "balanced":
            raise BlendmakeError(
                f"'class_weight: {class_weight}' is the weight of positives, of two classes; with "
                "several, ask for balanced (or none)."
            )
        known = ~np.isnan(labels)
        codes = labels[known].astype(np.intp)
        counts = np.bincount(codes)
        weights = np.ones(len(labels))
        weights[known] = len(codes) / (np.count_nonzero(counts) * counts[codes])
        return weights

    def strata(self, labels: Floats) -> NDArray[np.int8]:
        classes = np.unique(labels[~np.isnan(labels)])
        strata: NDArray[np.int8] = (labels[:, None] == classes).astype(np.int8)
        return strata

    def as_classes(self, labels: Floats) -> NDArray[np.float64]:
        return np.asarray(labels, np.float64)

    def moments(self, labels: Floats, outputs: int) -> NDArray[np.float64]:
        shares: NDArray[np.float64] = (labels[:, None] == np.arange(outputs)).astype(np.float64)
        shares[np.isnan(labels)] = np.nan
        return shares

    def wrong(self, predictions: Floats) -> str | None:
        complaint = super().wrong(predictions)
        if complaint is None and len(predictions):
            off = float(np.abs(predictions.sum(axis=1, dtype=np.float64) - 1).max())
            if off > SUM:
                return f"the probabilities of a row must have the sum 1 (one is off by {off:.3g})"
        return complaint


TASK = Multiclass()
