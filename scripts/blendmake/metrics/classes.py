"""Metrics of the class that is most probable."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.metrics.base import NO_CONTEXT, Floats, Metric, ScoredRows, mean_influence


class Accuracy(Metric):
    """The share of rows whose most probable class is theirs; of two classes 1 is predicted from 0.5."""

    name, title = "accuracy", "accuracy"
    higher_is_better, bounds = True, (0.0, 1.0)
    tasks = frozenset({"binary", "multiclass"})

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        return self.influence(labels, predictions, rows)[0]

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        return mean_influence(_are_right(labels, predictions))

    def losses(self, labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
        return _are_right(labels, predictions)


class BalancedAccuracy(Metric):
    """The mean, over the classes that occur, of the share of their rows that are recognised."""

    name, title = "balanced_accuracy", "balanced accuracy"
    higher_is_better, bounds = True, (0.0, 1.0)
    tasks = frozenset({"binary", "multiclass"})

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        return self.influence(labels, predictions, rows)[0]

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        right = _are_right(labels, predictions)
        classes, codes = np.unique(labels, return_inverse=True)
        phi = np.zeros(len(labels))
        recalls = []
        for k in range(len(classes)):
            inside = np.flatnonzero(codes == k)
            recall, phi[inside] = mean_influence(right[inside])
            recalls.append(recall)
        if not recalls:
            return math.nan, phi
        return math.fsum(recalls) / len(recalls), phi / len(recalls)


METRICS = {"accuracy": Accuracy, "balanced_accuracy": BalancedAccuracy}


def _are_right(labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
    if predictions.ndim == 1:
        chosen = (predictions >= 0.5).astype(np.intp)
    else:
        chosen = predictions.argmax(axis=1)
    right: Floats = (chosen == labels).astype(np.float64)
    return right
