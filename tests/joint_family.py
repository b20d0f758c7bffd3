"""A family of one model for all targets: logistic regressions that share rows and batches.

By batch gradient descent on the numbers of the feature set, imputed by their medians and put on one
scale. Small enough for tests, and with all that the contract asks for: seeds, unknown labels, early
stopping, checkpoints, saved models.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blendmake.family import Family, Fit, Fitted, FoldData
from blendmake.files import write_text
from blendmake.matrix import Floats, Rows
from blendmake.seeds import derive_seed
from blendmake.stats.logits import expit

Numbers = NDArray[np.float64]

after_round: Callable[[int], None] = lambda _: None  # noqa: E731  (what a test does meanwhile)


def numbers_of(rows: Rows) -> Numbers:
    """The columns that are no categories, (rows, numbers)."""
    kept = [j for j, column in enumerate(rows.columns) if not column.is_category]
    return rows.dense()[:, kept].astype(np.float64)


def standard(x: Numbers, centre: Numbers, spread: Numbers) -> Numbers:
    """Imputed, scaled, and a column of ones: (rows, numbers + 1)."""
    filled = (np.where(np.isnan(x), centre, x) - centre) / spread
    return np.column_stack([filled, np.ones(len(x))])


class Together(Family):
    """One gradient step per round, on half of the rows."""

    MULTI_OUTPUT = True
    ROUNDS = 20
    DEFAULTS: ClassVar[dict[str, Any]] = {"learning_rate": 1.0, "l2": 1e-3}
    ALIASES: ClassVar[dict[str, str]] = {"eta": "learning_rate"}
    RESERVED: ClassVar[dict[str, str]] = {"seed": "use the problem's seed"}

    def __init__(self, data: FoldData, threads: int, options: Any = None) -> None:
        super().__init__(data, threads, options)
        x = numbers_of(data.train)
        known = ~np.isnan(x).all(axis=0)
        self.centre, self.spread = np.zeros(x.shape[1]), np.ones(x.shape[1])
        self.centre[known] = np.nanmedian(x[:, known], axis=0)
        self.spread[known] = np.nanstd(x[:, known], axis=0)
        self.spread[self.spread == 0] = 1.0

    def _x(self, rows: Rows) -> Numbers:
        return standard(numbers_of(rows), self.centre, self.spread)

    @staticmethod
    def _step(
        asked: Fit, x: Numbers, weights: Numbers, params: dict[str, Any], seed: int
    ) -> Numbers:
        half = np.random.default_rng(seed).permutation(len(x))[: len(x) // 2]
        labels = asked.labels[half].astype(np.float64)
        push = expit(x[half] @ weights) - labels
        if asked.weights is not None:
            push *= asked.weights[half]
        push[np.isnan(labels)] = 0.0
        slope = x[half].T @ push / len(half) + params["l2"] * weights
        return np.asarray(weights - params["learning_rate"] * slope)

    def fit(self, asked: Fit) -> Fitted:
        params = self.params(asked)
        x = self._x(self.data.train)
        stop = None if self.data.stop is None else self._x(self.data.stop)
        weights = np.random.default_rng(asked.seed).normal(size=(x.shape[1], len(asked.targets)))
        best: dict[str, Any] = {
            "score": -1.0,
            "round": 0,
            "weights": weights.tolist(),
            "stop_scores": None,
        }
        start, checkpoint = 0, _folder(asked) / "state.json"
        if checkpoint.exists():
            state = json.loads(checkpoint.read_text(encoding="utf-8"))
            start, weights, best = state["round"], np.array(state["weights"]), state["best"]
        for number in range(start + 1, asked.rounds + 1):
            if asked.stop_rounds and number - 1 - best["round"] >= asked.stop_rounds:
                break
            weights = self._step(asked, x, weights, params, derive_seed(asked.seed, number))
            if stop is not None:
                assert asked.stop is not None
                scores = asked.stop.scores(asked.targets, stop @ weights).tolist()
                if np.nanmean(scores) > best["score"]:
                    best["score"], best["round"] = float(np.nanmean(scores)), number
                    best["weights"], best["stop_scores"] = weights.tolist(), scores
            state = {"round": number, "weights": weights.tolist(), "best": best}
            write_text(json.dumps(state), checkpoint)
            after_round(number)
        rounds, stop_scores = asked.rounds, None
        if stop is not None:
            rounds, weights = best["round"], np.array(best["weights"])
            stop_scores = np.array(best["stop_scores"])

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".json")
            scale = {"centre": self.centre.tolist(), "spread": self.spread.tolist()}
            write_text(json.dumps({"weights": weights.tolist(), **scale}), path)
            return path

        valid, test = (
            predicted(self._x(part), weights) for part in (self.data.valid, self.data.test)
        )
        return Fitted(valid, test, rounds, save, stop_scores)


def _folder(asked: Fit) -> Path:
    assert asked.scratch is not None
    return asked.scratch


def predicted(x: Numbers, weights: Numbers) -> Floats:
    return np.asarray(expit(x @ weights), np.float32)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Floats:
    """Predictions (rows, outputs) of a saved model."""
    stored = {k: np.array(v) for k, v in json.loads(path.read_text(encoding="utf-8")).items()}
    return predicted(
        standard(numbers_of(rows), stored["centre"], stored["spread"]), stored["weights"]
    )


FAMILY = Together
