"""Logistic regression on imputed, scaled and one-hot columns, all fitted on the fold's own rows."""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from blendmake.families.base import Family, Fit, Fitted, FoldData, known_rows, refused
from blendmake.matrix import Floats, Rows

CLIP = 10.0  # standard deviations: one wild value must not rule the fit


@dataclass(frozen=True)
class Preparation:
    """How columns become regressors.

    Numbers: the median for missing ones, a flag column where some were missing in training,
    standardised and clipped. Categories: one column per level seen in training; a missing or unseen
    one has none.
    """

    numbers: NDArray[np.intp]
    medians: Floats
    means: Floats
    scales: Floats
    flagged: NDArray[np.intp]  # indices into `numbers`
    categories: NDArray[np.intp]
    levels: tuple[NDArray[np.intp], ...]  # codes seen, per category column

    @staticmethod
    def learn(rows: Rows) -> Preparation:
        """Learn from training rows, without labels."""
        values = rows.dense()
        is_category = np.array([column.is_category for column in rows.columns], bool)
        numbers, categories = np.flatnonzero(~is_category), np.flatnonzero(is_category)
        medians = np.zeros(len(numbers), np.float32)
        means, scales = np.zeros(len(numbers), np.float32), np.ones(len(numbers), np.float32)
        flagged = []
        for j, index in enumerate(numbers):
            column = values[:, index]
            null = np.isnan(column)
            if null.any():
                flagged.append(j)
            present = column[~null]
            if len(present) == 0:
                continue
            medians[j] = np.median(present)
            filled = np.where(null, medians[j], column).astype(np.float64)
            means[j] = filled.mean()
            deviation = np.float32(filled.std())
            # A constant column stays at zero instead of being blown up.
            scales[j] = deviation if deviation > 0 and np.isfinite(deviation) else 1
        levels = []
        for index in categories:
            codes = values[:, index]
            levels.append(np.unique(codes[~np.isnan(codes)]).astype(np.intp))
        return Preparation(
            numbers, medians, means, scales, np.array(flagged, np.intp), categories, tuple(levels)
        )

    def apply(self, rows: Rows) -> Any:
        """Regressors (rows, k): a float32 array, or a CSR matrix where there are categories."""
        parts: list[Any] = [self._apply(block) for block in rows.blocks()]
        if not parts:
            return None
        if len(self.categories):
            return sparse.vstack(parts, format="csr")
        return np.concatenate(parts)

    def _apply(self, block: Floats) -> Any:
        numbers = block[:, self.numbers]
        null = np.isnan(numbers)
        filled = np.where(null, self.medians, numbers)
        with np.errstate(over="ignore"):  # clipped in the next step
            scaled = np.clip((filled - self.means) / self.scales, -CLIP, CLIP)
        dense = np.hstack([scaled, null[:, self.flagged]]).astype(np.float32)
        if not len(self.categories):
            return dense
        hot = []
        for index, levels in zip(self.categories, self.levels, strict=True):
            codes = np.nan_to_num(block[:, index], nan=-1).astype(np.intp)
            place = np.searchsorted(levels, codes).clip(max=max(len(levels) - 1, 0))
            seen = np.flatnonzero(levels[place] == codes) if len(levels) else np.empty(0, np.intp)
            shape = (len(block), len(levels))
            hot.append(
                sparse.csr_matrix(
                    (np.ones(len(seen), np.float32), (seen, place[seen])), shape=shape
                )
            )
        return sparse.hstack([sparse.csr_matrix(dense), *hot], format="csr")

    def to_json(self) -> dict[str, Any]:
        """Everything needed to apply it to new rows."""
        return {
            name: [part.tolist() for part in value] if name == "levels" else value.tolist()
            for name, value in vars(self).items()
        }

    @staticmethod
    def from_json(stored: dict[str, Any]) -> Preparation:
        """The inverse of to_json."""
        return Preparation(
            numbers=np.array(stored["numbers"], np.intp),
            medians=np.array(stored["medians"], np.float32),
            means=np.array(stored["means"], np.float32),
            scales=np.array(stored["scales"], np.float32),
            flagged=np.array(stored["flagged"], np.intp),
            categories=np.array(stored["categories"], np.intp),
            levels=tuple(np.array(part, np.intp) for part in stored["levels"]),
        )


class Linear(Family):
    PACKAGES = ("scikit-learn", "scipy")
    ROUNDS = 300  # iterations at most
    STOPS = False
    DEFAULTS: ClassVar[dict[str, Any]] = {"C": 0.1, "solver": "lbfgs"}
    RESERVED: ClassVar[dict[str, str]] = {
        "random_state": "use the problem's seed",
        "n_jobs": "threads belong to the profile (set-threads)",
        "max_iter": "use the source's key 'rounds'",
        "class_weight": "use the source's key 'class_weight'",
    }

    def __init__(self, data: FoldData, threads: int) -> None:
        super().__init__(data, threads)
        self._blas = ThreadpoolController()
        self.preparation = Preparation.learn(data.train)
        self._train = self.preparation.apply(data.train)
        self._valid = self.preparation.apply(data.valid)
        self._test = self.preparation.apply(data.test)

    def fit(self, task: Fit) -> Fitted:
        known = known_rows(task.labels)
        x = self._train if known is None else self._train[known]
        y = task.labels if known is None else task.labels[known]
        params = self.params(task)
        # BLAS would otherwise take every core, and its sums depend on the number of threads.
        with self._blas.limit(limits=self.threads), warnings.catch_warnings():
            # Stopping at `rounds` is what was asked for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                model = LogisticRegression(
                    **params,
                    max_iter=task.rounds,
                    class_weight={0: 1.0, 1: task.positive_weight},
                    random_state=task.seed,
                ).fit(x, y.astype(np.int8))
            except (TypeError, ValueError) as error:
                raise refused(task, error) from error
        coefficients, intercept = model.coef_[0].astype(np.float64), float(model.intercept_[0])

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".json")
            stored = {
                "coefficients": coefficients.tolist(),
                "intercept": intercept,
                "preparation": self.preparation.to_json(),
            }
            path.write_text(json.dumps(stored), encoding="utf-8")
            return path

        with self._blas.limit(limits=self.threads):
            valid = _predict(self._valid, coefficients, intercept)
            test = _predict(self._test, coefficients, intercept)
        return Fitted(valid, test, int(np.max(model.n_iter_)), save)


def _predict(x: Any, coefficients: NDArray[np.float64], intercept: float) -> Floats:
    if x is None:
        return np.empty(0, np.float32)
    margin = np.clip(np.asarray(x @ coefficients) + intercept, -500, 500)
    return (1 / (1 + np.exp(-margin))).astype(np.float32)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Floats:
    """Predictions (rows,) of a saved model for rows of its feature set."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    x = Preparation.from_json(stored["preparation"]).apply(rows)
    with ThreadpoolController().limit(limits=threads):
        return _predict(x, np.array(stored["coefficients"]), stored["intercept"])


FAMILY = Linear
