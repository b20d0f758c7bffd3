"""Metrics of numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.metrics.base import NO_CONTEXT, Floats, Metric, ScoredRows, mean_influence


class Rmse(Metric):
    """The root of the mean squared error."""

    name, title = "rmse", "RMSE"
    higher_is_better, bounds = False, (0.0, math.inf)
    tasks = frozenset({"regression"})
    has_unit = True

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        return self.influence(labels, predictions, rows)[0]

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        value, phi = mean_influence(self.losses(labels, predictions))
        root = self.of_mean(value)
        return root, phi / (2 * root) if root > 0 else np.zeros(len(labels))

    def losses(self, labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
        return np.asarray(np.square(_residuals(labels, predictions)))

    def of_mean(self, mean: float) -> float:
        return math.sqrt(mean) if mean >= 0 else math.nan


class Mae(Metric):
    """The mean absolute error."""

    name, title = "mae", "MAE"
    higher_is_better, bounds = False, (0.0, math.inf)
    tasks = frozenset({"regression"})
    has_unit = True

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        return self.influence(labels, predictions, rows)[0]

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        return mean_influence(self.losses(labels, predictions))

    def losses(self, labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
        return np.asarray(np.abs(_residuals(labels, predictions)))


class R2(Metric):
    """The share of the labels' variance that the predictions explain: 1 - Σ error² / Σ (y - mean)²."""

    name, title = "r2", "R²"
    higher_is_better, bounds = True, (-math.inf, 1.0)
    tasks = frozenset({"regression"})

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        return self.influence(labels, predictions, rows)[0]

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        truth = labels.astype(np.float64)
        if len(truth) < 2 or truth.min() == truth.max():
            return math.nan, np.zeros(len(labels))
        error, of_error = mean_influence(np.square(_residuals(labels, predictions)))
        spread, of_spread = mean_influence(np.square(truth - truth.mean()))
        ratio = error / spread
        return 1 - ratio, (ratio * of_spread - of_error) / spread


METRICS = {"rmse": Rmse, "mae": Mae, "r2": R2}


def _residuals(labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
    residuals: Floats = labels.astype(np.float64) - predictions.astype(np.float64)
    return residuals
