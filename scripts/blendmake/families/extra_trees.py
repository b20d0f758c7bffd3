"""Extremely randomised trees (Geurts, Ernst and Wehenkel 2006), by scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from blendmake.family import Family, Fit, Fitted, FoldData, known_rows, refused
from blendmake.files import note_of, read_parquet, write_parquet
from blendmake.lean.forests import ExtraTreesClassifier
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

    def fit(self, task: Fit) -> Fitted:
        known = known_rows(task.labels)
        x = self._train if known is None else self._train[known]
        y = task.labels if known is None else task.labels[known]
        try:
            model = ExtraTreesClassifier(
                **self.params(task),
                n_estimators=task.rounds,
                class_weight={0: 1.0, 1: task.positive_weight},
                n_jobs=self.threads,
                random_state=task.seed,
            ).fit(x, y.astype(np.int8))
        except (TypeError, ValueError) as error:
            raise refused(task, error) from error
        # Threads would add the trees' votes in the order they finish; the last bit would vary.
        model.set_params(n_jobs=1)

        def predict(rows: Floats) -> Floats:
            if not len(rows):
                return np.empty(0, np.float32)
            return np.asarray(model.predict_proba(rows)[:, 1], np.float32)

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".parquet")
            write_parquet(_nodes(model), path, {"fill": self.fill.tolist()})
            return path

        return Fitted(predict(self._valid), predict(self._test), task.rounds, save)


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


def _nodes(model: ExtraTreesClassifier) -> pa.Table:
    """The forest as a table of nodes: scikit-learn has no format of its own but pickle."""
    parts = []
    for number, estimator in enumerate(model.estimators_):
        tree = estimator.tree_
        votes = tree.value[:, 0, :]
        parts.append(
            pa.table(
                {
                    "tree": np.full(tree.node_count, number, np.int32),
                    "left": tree.children_left.astype(np.int32),
                    "right": tree.children_right.astype(np.int32),
                    "feature": tree.feature.astype(np.int32),
                    "threshold": tree.threshold,
                    "probability": votes[:, 1] / votes.sum(axis=1),
                }
            )
        )
    return pa.concat_tables(parts)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Floats:
    """Predictions (rows,) of a saved model for rows of its feature set."""
    table = read_parquet(path)
    x = _filled(rows.dense(), np.array(note_of(table)["fill"], np.float32))
    column = {name: np.asarray(table[name].to_numpy()) for name in table.column_names}
    starts = np.flatnonzero(np.diff(column["tree"], prepend=-1))
    total = np.zeros(len(x))
    for start in starts:
        node = np.full(len(x), start)
        while True:
            inner = np.flatnonzero(column["left"][node] >= 0)
            if not len(inner):
                break
            at = node[inner]
            goes_left = x[inner, column["feature"][at]] <= column["threshold"][at]
            node[inner] = start + np.where(goes_left, column["left"][at], column["right"][at])
        total += column["probability"][node]
    return (total / len(starts)).astype(np.float32)


FAMILY = ExtraTrees
