"""How an audit judges a model: by the target's metric, more being better."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from blendmake.audits.permuting import Forest
from blendmake.labels import Labels
from blendmake.metrics.base import Metric, ScoredRows
from blendmake.stats.auc import AucScorer

Scores = NDArray[np.float64]
SMALLEST = 1e-12


def judged_by(metric: Metric) -> str:
    """What an effect is, in words."""
    return f"{'fall' if metric.higher_is_better else 'rise'} of the {metric.title}"


class Judge:
    """Scores models of one target on rows with known labels.

    Args:
        metric: what the target goes by.
        labels: (rows,), none unknown.
    """

    def __init__(self, metric: Metric, labels: Labels) -> None:
        self.metric, self._labels = metric, labels
        self._rows = ScoredRows(folds=np.zeros(len(labels), np.int8))
        self._auc = AucScorer(labels) if metric.name == "auc" and labels.max() <= 1 else None

    def of(self, forest: Forest) -> Callable[[Scores], float]:
        """What rates the scores of a model: the metric, more being better."""
        if forest.outputs == 1 and self._auc is not None:
            return self._auc

        def rate(scores: Scores) -> float:
            value = self.metric(self._labels, self._predictions(forest, scores), self._rows)
            return self.metric.utility(value)

        return rate

    def _predictions(self, forest: Forest, scores: Scores) -> Scores:
        # Of the order alone: scores tie exactly where they are equal.
        if forest.outputs == 1 and self.metric.rank_invariant:
            return scores
        return forest.predictions(scores)

    def error_by_chance(self, forest: Forest, scores: Scores, seed: int) -> float:
        """Standard error of the metric where predictions say nothing."""
        if forest.outputs == 1 and self._auc is not None:
            m, n = self._auc.positives, self._auc.negatives
            return math.sqrt((m + n + 1) / (12 * m * n))
        if not len(scores):  # the model is a constant
            return SMALLEST
        order = np.random.default_rng(seed).permutation(len(scores))
        predictions = self._predictions(forest, scores)[order]
        _, phi = self.metric.influence(self._labels, predictions, self._rows)
        error = math.sqrt(float(np.square(phi).sum()))
        return error if error > SMALLEST else SMALLEST
