"""Metrics of probabilities."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.metrics.base import NO_CONTEXT, Floats, Metric, ScoredRows, mean_influence

PROBABILITY_CLIP = float(np.finfo(np.float32).eps)


class _MeanLoss(Metric):
    """The mean of a loss of each row."""

    higher_is_better = False

    @abstractmethod
    def losses(self, labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
        """(n,)."""

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        return mean_influence(self.losses(labels, predictions))[0]

    def influence(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> tuple[float, Floats]:
        return mean_influence(self.losses(labels, predictions))


class Brier(_MeanLoss):
    """Mean squared difference of probability and label; of several classes its sum over them."""

    name, title = "brier", "Brier"
    bounds = (0.0, 2.0)
    tasks = frozenset({"binary", "multiclass"})

    def losses(self, labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
        if predictions.ndim == 1:
            return np.asarray(np.square(predictions.astype(np.float64) - labels))
        truth = labels[:, None] == np.arange(predictions.shape[1])
        squares: Floats = np.square(predictions.astype(np.float64) - truth).sum(axis=1)
        return squares


class LogLoss(_MeanLoss):
    """Mean negative log likelihood of the labels, in nats.

    Probabilities are kept `PROBABILITY_CLIP` away from 0 and 1, as scikit-learn does for float32; of
    several classes their sum is made 1 first.
    """

    name, title = "log_loss", "log loss"
    bounds = (0.0, np.inf)
    tasks = frozenset({"binary", "multiclass"})

    def losses(self, labels: NDArray[Any], predictions: NDArray[Any]) -> Floats:
        given = predictions.astype(np.float64)
        if given.ndim == 1:
            given = np.clip(given, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP)
            return -np.where(labels == 1, np.log(given), np.log1p(-given))
        chosen = given[np.arange(len(given)), labels.astype(np.intp)] / given.sum(axis=1)
        losses: Floats = -np.log(np.clip(chosen, PROBABILITY_CLIP, 1 - PROBABILITY_CLIP))
        return losses


METRICS = {"brier": Brier, "log_loss": LogLoss}
