"""Smooth stand-ins for metrics, as functions of a blend's weights, each with its gradient.

- metrics of a binary target's order: the mean of sigmoid((positive's score - negative's score) / h)
  over pairs (cf. Yan et al., ICML 2003), less than 0 as it is to be great;
- absolute errors: themselves;
- other metrics of numbers: the squared error, in units of the labels' variance;
- other metrics of probabilities: the log loss.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from blendmake.blends.evaluation import FittingRows
from blendmake.blends.scales import softmax
from blendmake.stats.logits import expit

Floats = NDArray[np.float64]
Loss = Callable[[Floats], tuple[float, Floats]]
"""Of weights (s,): the value, to be made small, and its gradient (s,)."""

SAMPLED_POSITIVES = 512
SAMPLED_NEGATIVES = 1024
# Width of the sigmoid that stands in for AUC's step, in standard deviations of the mean score.
# Narrow enough to follow AUC, wide enough that a pair out of order still pulls.
SIGMOID_WIDTH = 0.1
LEAST = 1e-12  # of a probability, before its logarithm is taken


def surrogate_of(rows: FittingRows) -> Loss | None:
    """What stands in for the metric of some rows; None where no weights are better than others."""
    if rows.task.name == "regression":
        return _absolute(rows) if rows.metric.name == "mae" else _squared(rows)
    if rows.task.name == "multiclass":
        return _log_loss_of_classes(rows)
    return _pairs(rows) if rows.metric.rank_invariant else _log_loss(rows)


def _pairs(rows: FittingRows) -> Loss | None:
    positive, negative, width = sampled_pairs(rows.scores.T, rows.labels > 0.5)
    if width == 0.0:
        return None

    def loss(weights: Floats) -> tuple[float, Floats]:
        value, slope = smooth_auc(weights, positive, negative, width)
        return -value, -slope

    return loss


def _centred(rows: FittingRows) -> tuple[Floats, Floats]:
    """Scores (s, n) and labels (n,) less the labels' mean: weights of sum 1 make the same errors."""
    labels = rows.labels.astype(np.float64)
    return rows.scores - labels.mean(), labels - labels.mean()


def _squared(rows: FittingRows) -> Loss | None:
    scores, labels = _centred(rows)
    unit = float(labels.var()) * len(labels)

    def loss(weights: Floats) -> tuple[float, Floats]:
        residual = weights @ scores - labels
        return float(residual @ residual) / unit, 2 * (scores @ residual) / unit

    return loss if unit > 0 else None


def _absolute(rows: FittingRows) -> Loss | None:
    scores, labels = _centred(rows)
    unit = float(labels.std()) * len(labels)

    def loss(weights: Floats) -> tuple[float, Floats]:
        residual = weights @ scores - labels
        return float(np.abs(residual).sum()) / unit, (scores @ np.sign(residual)) / unit

    return loss if unit > 0 else None


def _log_loss(rows: FittingRows) -> Loss:
    """Of log odds."""
    scores, labels = rows.scores, rows.labels.astype(np.float64)

    def loss(weights: Floats) -> tuple[float, Floats]:
        logits = weights @ scores
        value = float(np.mean(np.logaddexp(0.0, logits) - labels * logits))
        return value, scores @ (expit(logits) - labels) / len(labels)

    return loss


def _log_loss_of_classes(rows: FittingRows) -> Loss:
    """Of probabilities, or of their logarithms."""
    scores, codes = rows.scores, rows.labels.astype(np.intp)
    places = np.arange(len(codes))
    if rows.scale.name == "probability":
        own = scores[:, places, codes]  # of the class that a row has

        def of_probabilities(weights: Floats) -> tuple[float, Floats]:
            chosen = np.maximum(weights @ own, LEAST)
            return float(-np.mean(np.log(chosen))), -(own / chosen).mean(axis=1)

        return of_probabilities

    def of_logs(weights: Floats) -> tuple[float, Floats]:
        shares = softmax(np.tensordot(weights, scores, 1))
        value = float(-np.mean(np.log(np.maximum(shares[places, codes], LEAST))))
        shares[places, codes] -= 1.0
        slope: Floats = np.tensordot(scores, shares, 2) / len(codes)
        return value, slope

    return of_logs


def smooth_auc(
    weights: Floats, positive: Floats, negative: Floats, width: float
) -> tuple[float, Floats]:
    """The smooth stand-in for AUC and its gradient in the weights.

    Args:
        weights: (s,).
        positive: (p, s), scores of positives.
        negative: (q, s), scores of negatives.
        width: h, the width of the sigmoid.

    Returns:
        The mean of sigmoid((positive - negative) / h) over the p x q pairs, and its gradient (s,).
    """
    order = expit(((positive @ weights)[:, None] - (negative @ weights)[None, :]) / width)
    value = float(order.mean())
    order *= 1.0 - order  # the sigmoid's own slope
    slope = order.sum(axis=1) @ positive - order.sum(axis=0) @ negative
    return value, slope / (width * order.size)


def sampled_pairs(scores: Floats, labels: NDArray[np.bool_]) -> tuple[Floats, Floats, float]:
    """Positives (p, s) and negatives (q, s) spread evenly over the mean score, and the width."""
    middle = scores.mean(axis=1)
    sampled = []
    for rows, most in ((labels, SAMPLED_POSITIVES), (~labels, SAMPLED_NEGATIVES)):
        members = np.flatnonzero(rows)
        members = members[np.argsort(middle[members], kind="stable")]
        if len(members) > most:
            # The middle of each of `most` equal stretches.
            members = members[((np.arange(most) + 0.5) * len(members) / most).astype(np.intp)]
        sampled.append(scores[members])
    width = SIGMOID_WIDTH * float(middle.std()) if np.ptp(middle) > 0 else 0.0
    return sampled[0], sampled[1], width
