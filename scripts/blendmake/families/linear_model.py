"""What the margins of a linear model stand for: from labels to them, and from them to predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from blendmake.families import linear_losses
from blendmake.families.linear_lbfgs import Solution
from blendmake.families.linear_losses import Loss
from blendmake.families.linear_rows import Regressors
from blendmake.family import Fit, Labels, Predictions


@dataclass(frozen=True)
class Outcome:
    """How a target's labels are fitted.

    `link`: `logistic` (one margin, the log odds of class 1), `softmax` (one for each of `classes`,
    those that occur in training), `one_against_rest` (each of them by itself), `numbers` (one margin,
    the label less `center`, in units of `spread`). `outputs`: columns of the predictions.
    """

    link: str
    outputs: int = 1
    classes: tuple[int, ...] = ()
    center: float = 0.0
    spread: float = 1.0

    @staticmethod
    def of(asked: Fit) -> Outcome:
        """Of the labels of a fit of one target."""
        if asked.task == "binary":
            return Outcome("logistic")
        known = asked.label[~np.isnan(asked.label)]
        if asked.task == "multiclass":
            classes = tuple(int(one) for one in np.unique(known))
            return Outcome("softmax", asked.outputs, classes)
        center = float(known.mean(dtype=np.float64))
        spread = float(np.std(known - center)) or 1.0
        return Outcome("numbers", center=center, spread=spread)

    def linked(self, link: str | None, margins: int) -> Outcome:
        """The same of a model that was fitted elsewhere, with so many margins."""
        if self.link != "softmax":
            return self
        if margins == 1:
            return replace(self, link="logistic")
        return replace(self, link=link or self.link)

    @property
    def loss(self) -> Loss:
        """Of the margins."""
        return {
            "logistic": linear_losses.logistic,
            "softmax": linear_losses.softmax,
            "numbers": linear_losses.squares,
        }[self.link]

    @property
    def margins(self) -> int:
        """How many there are of a row."""
        return max(len(self.classes), 1)

    def given(self, labels: Labels) -> Labels:
        """Labels (rows,) as the loss takes them; NaN stays, and so are classes without training rows."""
        if self.link == "numbers":
            return (labels.astype(np.float64) - self.center) / self.spread
        if self.link == "logistic":
            return labels
        codes = np.full(len(labels), np.nan)
        for code, one in enumerate(self.classes):
            codes[labels == one] = code
        return codes

    def of_library(self, labels: Labels) -> NDArray[Any]:
        """Labels (rows,) without NaN as scikit-learn takes them."""
        return self.given(labels) if self.link == "numbers" else labels.astype(np.int32)

    def predictions(self, margins: NDArray[np.float64]) -> Predictions:
        """Predictions (rows, outputs) at margins (rows, margins)."""
        if self.link == "numbers":
            return np.asarray(margins * self.spread + self.center, np.float64)
        if not self.classes:
            return np.asarray(expit(margins), np.float32)
        if self.link == "softmax":
            shares = softmax(margins, axis=1)
        elif self.link == "logistic":
            shares = np.hstack([expit(-margins), expit(margins)])
        else:
            shares = expit(margins) + 1e-300  # that some are not 0
            shares /= shares.sum(axis=1, keepdims=True)
        found = np.zeros((len(margins), self.outputs), np.float32)
        found[:, list(self.classes)] = shares
        return found

    def to_json(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Outcome:
        """The inverse of to_json."""
        return Outcome(**{**stored, "classes": tuple(stored["classes"])})


def predict_rows(rows: Regressors, solution: Solution, outcome: Outcome) -> Predictions:
    """Predictions (rows, outputs) of a model."""
    return outcome.predictions(rows.times(solution.weights) + solution.intercepts)
