"""Extremely randomised trees (Geurts, Ernst and Wehenkel 2006), by scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from blendmake.family import Family, Fit, Fitted, FoldData, Predictions, known_rows, refused
from blendmake.files import note_of, read_parquet, write_parquet
from blendmake.lean.forests import ExtraTreesClassifier, ExtraTreesRegressor
from blendmake.matrix import Floats, Rows


class ExtraTrees(Family):
    """Missing numbers get the median of the fold's training rows, categories are ordered codes."""

    PACKAGES = ("scikit-learn",)
    ROUNDS = 300  # trees
    STOPS = False
    DEFAULTS: ClassVar[dict[str, Any]] = {"min_samples_leaf": 2}
    RESERVED: ClassVar[dict[str, str]] = {
        "random_state": "use the problem's seed",
        "n_jobs": "threads belong to the profile (set-threads)",
        "n_estimators": "use the source's key 'rounds'",
        "class_weight": "use the source's key 'class_weight'",
        "warm_start": "it would tie the targets together",
    }

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        dense = data.train.dense()
        self.fill = fill_values(dense, data.train)
        self._train = _filled(dense, self.fill)
        del dense  # the copy by rows is what is kept
        self._valid = _filled(data.valid.dense(), self.fill)
        self._test = _filled(data.test.dense(), self.fill)

    def fit(self, asked: Fit) -> Fitted:
        known = known_rows(asked.label)
        x = self._train if known is None else self._train[known]
        y = asked.label if known is None else asked.label[known]
        weight = asked.weight if known is None or asked.weight is None else asked.weight[known]
        settings = {
            **self.params(asked),
            "n_estimators": asked.rounds,
            "n_jobs": self.threads,
            "random_state": asked.seed,
        }
        is_number = asked.task == "regression"
        # Sums of squares of large numbers would lose what sets them apart.
        by = float(np.mean(y)) if is_number and settings.get("criterion") != "poisson" else 0.0
        try:
            if is_number:
                model = ExtraTreesRegressor(**settings).fit(x, y - by, weight)
            else:
                model = ExtraTreesClassifier(**settings).fit(x, y.astype(np.int32), weight)
        except (TypeError, ValueError) as error:
            raise refused(asked, error) from error
        # Threads would add the trees' votes in the order they finish; the last bit would vary.
        model.set_params(n_jobs=1)

        def predict(rows: Floats) -> Predictions:
            if is_number:
                found = model.predict(rows)[:, None] + by if len(rows) else np.empty((0, 1))
                return np.asarray(found, np.float64)
            found = np.zeros((len(rows), max(asked.outputs, 2)), np.float32)
            if len(rows):
                found[:, model.classes_] = model.predict_proba(rows)
            return found[:, 1:] if asked.task == "binary" else found

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".parquet")
            note = {"fill": self.fill.tolist(), "numbers": is_number, "by": by}
            write_parquet(_nodes(model, asked), path, note)
            return path

        return Fitted(predict(self._valid), predict(self._test), asked.rounds, save)


def fill_values(values: Floats, rows: Rows) -> Floats:
    """What stands for a missing value: the median of a number, -1 for a category. (columns,)"""
    fill = np.zeros(values.shape[1], np.float32)
    for j, column in enumerate(rows.columns):
        present = values[~np.isnan(values[:, j]), j]
        if column.is_category:
            fill[j] = -1
        elif len(present):
            fill[j] = np.median(present)
    return fill


def _filled(values: Floats, fill: Floats) -> Floats:
    """`values` (changed in place) without missing ones, in the order that the trees want."""
    for j, value in enumerate(fill):
        column = values[:, j]
        column[np.isnan(column)] = value
    return np.ascontiguousarray(values)  # once here instead of in every fit


def _nodes(model: ExtraTreesClassifier | ExtraTreesRegressor, asked: Fit) -> pa.Table:
    """The forest as a table of nodes: scikit-learn has no format of its own but pickle."""
    parts = []
    for number, estimator in enumerate(model.estimators_):
        tree = estimator.tree_
        votes = tree.value[:, 0, :]
        if asked.task != "regression":
            shares = np.zeros((len(votes), max(asked.outputs, 2)))
            shares[:, model.classes_] = votes / votes.sum(axis=1, keepdims=True)
            votes = shares[:, 1:] if asked.task == "binary" else shares
        values = {f"output{j}": np.ascontiguousarray(column) for j, column in enumerate(votes.T)}
        parts.append(
            pa.table(
                {
                    "tree": np.full(tree.node_count, number, np.int32),
                    "left": tree.children_left.astype(np.int32),
                    "right": tree.children_right.astype(np.int32),
                    "feature": tree.feature.astype(np.int32),
                    "threshold": tree.threshold,
                    **values,
                }
            )
        )
    return pa.concat_tables(parts)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Predictions:
    """Predictions (rows, outputs) of a saved model for rows of its feature set."""
    table = read_parquet(path)
    note = note_of(table)
    x = _filled(rows.dense(), np.array(note["fill"], np.float32))
    column = {name: np.asarray(table[name].to_numpy()) for name in table.column_names}
    values = np.column_stack([column[name] for name in column if name.startswith("output")])
    starts = np.flatnonzero(np.diff(column["tree"], prepend=-1))
    total = np.zeros((len(x), values.shape[1]))
    for start in starts:
        node = np.full(len(x), start)
        while True:
            inner = np.flatnonzero(column["left"][node] >= 0)
            if not len(inner):
                break
            at = node[inner]
            goes_left = x[inner, column["feature"][at]] <= column["threshold"][at]
            node[inner] = start + np.where(goes_left, column["left"][at], column["right"][at])
        total += values[node]
    total /= len(starts)
    return total + note["by"] if note["numbers"] else total.astype(np.float32)


FAMILY = ExtraTrees
