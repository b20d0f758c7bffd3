"""The scales on which predictions are averaged: a scale is a class here and a line in SCALES.

A boosted tree's 0.02 and a linear model's 0.3 may mean the same; averaged as they are, the model with
the wider spread would decide alone. No scale looks at a label.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.metrics.base import Metric
from blendmake.stats.logits import expit, logit_scale
from blendmake.stats.ranks import rank_scale
from blendmake.tasks.base import Task

Floats = NDArray[np.float64]
LEAST = 1e-12  # of a probability, before its logarithm is taken


class Scale(ABC):
    """A scale. Values are (n,), of several outputs (n, outputs).

    Attributes:
        name: as in the config and the registry.
        tasks: names of the tasks whose predictions have it.
        is_rank: whether only the order is left, so that it is found within folds, and what is blended
            on it has to be calibrated.
    """

    name: ClassVar[str]
    tasks: ClassVar[frozenset[str]]
    is_rank: ClassVar[bool] = False

    @abstractmethod
    def into(self, values: NDArray[np.floating], folds: NDArray[np.integer] | None) -> Floats:
        """Predictions on the scale; `folds` (n,): the model that made each, None: one made all."""

    @abstractmethod
    def back(self, blended: Floats) -> Floats:
        """From the scale to predictions."""

    def refused(self, values: NDArray[np.floating]) -> str | None:
        """Why values have no place on the scale; None: they have."""
        return None


class Rank(Scale):
    """Average ranks within folds, or within a test table."""

    name, tasks, is_rank = "rank", frozenset({"binary"}), True

    def into(self, values: NDArray[np.floating], folds: NDArray[np.integer] | None) -> Floats:
        return rank_scale(values, folds)

    def back(self, blended: Floats) -> Floats:
        return np.clip(blended, 0.0, 1.0)


class Logit(Scale):
    """Log odds."""

    name, tasks = "logit", frozenset({"binary"})

    def into(self, values: NDArray[np.floating], folds: NDArray[np.integer] | None) -> Floats:
        return logit_scale(values)

    def back(self, blended: Floats) -> Floats:
        return np.clip(expit(blended), 0.0, 1.0)

    def refused(self, values: NDArray[np.floating]) -> str | None:
        if values.size and (values.min() < 0 or values.max() > 1):
            return "outside [0, 1], which have no logit; blend on scale: rank"
        return None


class Value(Scale):
    """Numbers as they are."""

    name, tasks = "value", frozenset({"regression"})

    def into(self, values: NDArray[np.floating], folds: NDArray[np.integer] | None) -> Floats:
        return values.astype(np.float64)

    def back(self, blended: Floats) -> Floats:
        return blended


class Probability(Scale):
    """Probabilities as they are: the arithmetic mean."""

    name, tasks = "probability", frozenset({"multiclass"})

    def into(self, values: NDArray[np.floating], folds: NDArray[np.integer] | None) -> Floats:
        given = values.astype(np.float64)
        shares: Floats = given / given.sum(axis=1, keepdims=True)
        return shares

    def back(self, blended: Floats) -> Floats:
        inside = np.clip(blended, 0.0, 1.0)
        shares: Floats = inside / inside.sum(axis=1, keepdims=True)
        return shares


class Log(Scale):
    """Logarithms of probabilities: the geometric mean, made to sum to 1."""

    name, tasks = "log", frozenset({"multiclass"})

    def into(self, values: NDArray[np.floating], folds: NDArray[np.integer] | None) -> Floats:
        return np.asarray(np.log(np.maximum(values.astype(np.float64), LEAST)))

    def back(self, blended: Floats) -> Floats:
        return softmax(blended)


SCALES: dict[str, Scale] = {
    scale.name: scale for scale in (Rank(), Logit(), Value(), Probability(), Log())
}
STACKED = {"binary": "logit", "multiclass": "log", "regression": "value"}
"""The scale that a stacker reads, by task."""


def scale_of(task: Task, metric: Metric, asked: str | None) -> Scale:
    """The scale of a target of a blend.

    Args:
        metric: by which weights are chosen; one that is not of the order needs values.
        asked: the config's scale; None: the task's first that the metric can measure.

    Raises:
        BlendmakeError: the scale is not of the task, or not for the metric.
    """
    fit = [SCALES[name] for name in task.scales]
    able = [scale for scale in fit if metric.rank_invariant or not scale.is_rank]
    if asked is None:
        return able[0]
    named = next((scale for scale in fit if scale.name == asked), None)
    if named is None:
        raise BlendmakeError(
            f"scale {asked} is not of {task.title}; its scales are {', '.join(task.scales)}."
        )
    if named not in able:
        raise BlendmakeError(
            f"scale {asked} leaves only the order, which {metric.title} does not measure; blend on "
            f"scale: {able[0].name}."
        )
    return named


def softmax(logits: Floats) -> Floats:
    """exp(logits) (n, k), each row divided by its sum."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: NDArray[Any] = powers / powers.sum(axis=1, keepdims=True)
    return shares
