"""What the margins of a model of several targets stand for (of a network, its logits)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import numpy as np
from scipy.special import softmax

from blendmake.family import Fit, Labels, Predictions
from blendmake.matrix import Floats


@dataclass(frozen=True)
class Link:
    """What the margins of a model stand for.

    `task`: of its targets. `sizes`: outputs of each. `centers`, `spreads`: of targets that are numbers,
    whose margins are their labels less the center, in units of the spread.
    """

    task: str
    sizes: tuple[int, ...]
    centers: tuple[float, ...] = ()
    spreads: tuple[float, ...] = ()

    @staticmethod
    def of(asked: Fit) -> Link:
        """Of the targets of a fit, by its labels."""
        sizes = tuple(len(target.outputs) for target in asked.targets)
        if asked.task != "regression":
            return Link(asked.task, sizes)
        centers, spreads = [], []
        for column in asked.labels.T:
            known = column[~np.isnan(column)].astype(np.float64)
            centers.append(float(known.mean()) if len(known) else 0.0)
            spreads.append((float(np.std(known - centers[-1])) if len(known) else 0.0) or 1.0)
        return Link(asked.task, sizes, tuple(centers), tuple(spreads))

    @property
    def slices(self) -> list[slice]:
        """By target, which outputs are its own."""
        ends = np.cumsum(self.sizes).tolist()
        return [slice(end - size, end) for end, size in zip(ends, self.sizes, strict=True)]

    def from_margins(self, margins: Floats) -> Predictions:
        """Predictions (rows, outputs) at margins."""
        if self.task == "binary":
            return sigmoid(margins)
        if self.task == "regression":
            numbers: Predictions = margins * np.array(self.spreads) + np.array(self.centers)
            return numbers
        found = np.empty_like(margins)
        for part in self.slices:
            found[:, part] = softmax(margins[:, part], axis=1)
        return found

    def given(self, labels: Labels) -> Floats:
        """Labels (rows, targets) as they are fitted: numbers in units of their spread."""
        if self.task == "regression":
            labels = (labels - np.array(self.centers)) / np.array(self.spreads)
        given: Floats = labels.astype(np.float32)
        return given

    def to_json(self) -> str:
        """As a model keeps it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(stored: str) -> Link:
        """The inverse of to_json."""
        told = json.loads(stored)
        parts = (tuple(told[name]) for name in ("sizes", "centers", "spreads"))
        return Link(str(told["task"]), *parts)


def sigmoid(margins: Floats) -> Floats:
    """The logistic function."""
    # Below, the exponential of a float32 would run over.
    shares: Floats = np.reciprocal(1 + np.exp(-np.maximum(margins, np.float32(-80))))
    return shares
