"""Losses of linear models: of some margins of every row, and their gradient by these."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

Vector = NDArray[np.float64]
Loss = Callable[[Vector, Vector, Vector], tuple[float, Vector]]
"""Of margins (rows, m), labels (rows,) without NaN and weights (rows,): the weighted sum of the losses,
and its gradient by the margins, (m, rows)."""


def logistic(margins: Vector, labels: Vector, weights: Vector) -> tuple[float, Vector]:
    """Of labels 0 and 1, by the log odds of 1."""
    margin = margins[:, 0]
    loss = float(weights @ (np.logaddexp(0, margin) - labels * margin))
    return loss, (weights * (expit(margin) - labels))[None]


def softmax(margins: Vector, labels: Vector, weights: Vector) -> tuple[float, Vector]:
    """Of codes of classes, by the logarithms of their chances, up to a constant of each row."""
    codes = labels.astype(np.intp)
    rows = np.arange(len(codes))
    total = logsumexp(margins, axis=1)
    loss = float(weights @ (total - margins[rows, codes]))
    gradient = np.exp(margins - total[:, None])
    gradient[rows, codes] -= 1
    return loss, np.ascontiguousarray((gradient * weights[:, None]).T)


def squares(margins: Vector, labels: Vector, weights: Vector) -> tuple[float, Vector]:
    """Half the squared error of numbers."""
    error = margins[:, 0] - labels
    return 0.5 * float(weights @ error**2), (weights * error)[None]
