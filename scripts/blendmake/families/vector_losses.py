"""What vector leaves are fitted by: gradients of several targets of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from blendmake.family import Labels, Weights
from blendmake.link import Link, sigmoid
from blendmake.matrix import Floats
from blendmake.tasks.base import Target

BLOCK = 65_536  # rows whose gradients are computed at a time
SMALL = 1e-16  # hessians are not less, as in XGBoost


class Gradients:
    """The loss of every target: gradients and hessians, 0 where a label is unknown.

    Logistic; of several classes the cross-entropy (hessians as XGBoost has them, twice the diagonal);
    of numbers half the squared error. A target of whose labels nothing can be learnt is left out: it
    would have nothing to say about splits.

    Args:
        labels: (rows, targets), NaN unknown; not changed.
        weights: (rows, targets), how much a label counts; None: all the same.

    Attributes:
        priors: (outputs,) float32, where the fit starts: shares of two classes, else margins.
    """

    def __init__(
        self, link: Link, targets: Sequence[Target], labels: Labels, weights: Weights | None
    ) -> None:
        self._link, self._parts = link, link.slices
        self._labels: Floats = link.given(labels)
        self._weights = None if weights is None else weights.astype(np.float32)
        self._used = [
            target.task.usable(column) for target, column in zip(targets, labels.T, strict=True)
        ]
        outputs = self._parts[-1].stop
        self.priors = np.zeros(outputs, np.float32)
        for j, part in enumerate(self._parts):
            own = None if weights is None else weights[:, j]
            self.priors[part] = self._prior(labels[:, j], own, part.stop - part.start)
        self._grad = np.zeros((len(labels), outputs), np.float32)
        self._hess = np.zeros((len(labels), outputs), np.float32)

    def _prior(
        self, labels: Labels, weights: NDArray[np.float64] | None, outputs: int
    ) -> NDArray[np.float64]:
        """Where one target starts."""
        if self._link.task == "regression":
            return np.zeros(1)
        every = np.ones(len(labels)) if weights is None else weights
        # Half a row of each class, so that one without any has log odds too.
        counts = np.array(
            [every[labels == k].sum() + 0.5 for k in range(max(outputs, 2))], np.float64
        )
        shares: NDArray[np.float64] = (counts / counts.sum()).clip(1e-6, 1 - 1e-6)
        return shares[1:] if self._link.task == "binary" else np.log(shares)

    def __call__(self, margins: Floats) -> tuple[Floats, Floats]:
        """Gradients and hessians (rows, outputs) at margins; valid until the next call."""
        margins = margins.reshape(self._grad.shape)
        for start in range(0, len(margins), BLOCK):
            rows = slice(start, start + BLOCK)
            y = self._labels[rows]
            weights = np.ones(y.shape, np.float32)
            if self._weights is not None:
                weights = self._weights[rows].copy()
            weights[np.isnan(y) | ~np.array(self._used)] = 0
            self._block(rows, margins[rows], np.nan_to_num(y), weights)
        return self._grad, self._hess

    def _block(self, rows: slice, margins: Floats, y: Floats, weights: Floats) -> None:
        """Fill in what some rows have."""
        if self._link.task == "binary":
            p = sigmoid(margins)
            self._grad[rows] = (p - y) * weights
            self._hess[rows] = np.maximum(p * (1 - p), np.float32(SMALL)) * weights
        elif self._link.task == "regression":
            self._grad[rows], self._hess[rows] = (margins - y) * weights, weights
        else:
            for j, part in enumerate(self._parts):
                p, weight = softmax(margins[:, part], axis=1), weights[:, j : j + 1]
                truth = y[:, j : j + 1] == np.arange(p.shape[1])
                self._grad[rows, part] = (p - truth) * weight
                self._hess[rows, part] = np.maximum(2 * p * (1 - p), np.float32(SMALL)) * weight

    def plain(self, margins: Floats, matrix: Any) -> tuple[Floats, Floats]:
        """As a custom objective of XGBoost: splits and leaves by the gradients of all outputs."""
        return self(margins)
