"""CatBoost through its native interface: borders computed once per fold, used for every target."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from catboost import CatBoost, CatBoostError, Pool

from blendmake.families.base import Family, Fit, Fitted, FoldData, known_rows, refused
from blendmake.matrix import Floats, Rows

BORDERS = 254


class CatBoostFamily(Family):
    PACKAGES = ("catboost",)
    ROUNDS = 500
    DEFAULTS: ClassVar[dict[str, Any]] = {"learning_rate": 0.05}
    ALIASES: ClassVar[dict[str, str]] = {
        "eta": "learning_rate",
        "max_bin": "border_count",
        "reg_lambda": "l2_leaf_reg",
        "max_depth": "depth",
    }
    RESERVED: ClassVar[dict[str, str]] = {
        "loss_function": "targets are binary",
        "objective": "targets are binary",
        "eval_metric": "early stopping watches AUC",
        "random_seed": "use the problem's seed",
        "random_state": "use the problem's seed",
        "thread_count": "threads belong to the profile (set-threads)",
        "iterations": "use the source's key 'rounds'",
        "n_estimators": "use the source's key 'rounds'",
        "num_boost_round": "use the source's key 'rounds'",
        "scale_pos_weight": "use the source's key 'class_weight'",
        "auto_class_weights": "use the source's key 'class_weight'",
    }

    def __init__(self, data: FoldData, threads: int) -> None:
        super().__init__(data, threads)
        self._train = _frame(data.train)
        self._stop = None if data.stop is None else _frame(data.stop)
        self._valid = _pool(_frame(data.valid), data.valid)
        self._test = _pool(_frame(data.test), data.test) if len(data.test) else None
        self._folder = tempfile.TemporaryDirectory()

    def _labelled(self, frame: Any, labels: Any, border_count: int) -> Pool:
        rows = self.data.train
        known = known_rows(labels)
        if known is not None:
            frame = frame.iloc[known] if isinstance(frame, pd.DataFrame) else frame[known]
            labels = labels[known]
        pool = _pool(frame, rows, labels)
        if all(column.is_category for column in rows.columns):
            return pool  # there is no number to find borders of
        borders = Path(self._folder.name) / f"borders_{border_count}"
        if not borders.exists():
            whole = _pool(self._train, rows)
            whole.quantize(border_count=border_count)
            whole.save_quantization_borders(str(borders))
        pool.quantize(input_borders=str(borders))
        return pool

    def fit(self, task: Fit) -> Fitted:
        params = self.params(task)
        border_count = int(params.setdefault("border_count", BORDERS))
        settings = {
            **params,
            "loss_function": "Logloss",
            "eval_metric": "AUC:hints=skip_train~true",
            "iterations": task.rounds,
            "scale_pos_weight": task.positive_weight,
            "random_seed": task.seed,
            "thread_count": self.threads,
            "allow_writing_files": False,
            "logging_level": "Silent",
        }
        try:
            pool = self._labelled(self._train, task.labels, border_count)
            if task.stop_rounds is None:
                model = CatBoost(settings).fit(pool)
            else:
                watch = self._labelled(self._stop, task.stop_labels, border_count)
                model = CatBoost(settings).fit(
                    pool,
                    eval_set=watch,
                    early_stopping_rounds=task.stop_rounds,
                    use_best_model=True,
                )
        except (CatBoostError, TypeError) as error:
            raise refused(task, error) from error

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".cbm")
            model.save_model(str(path))
            return path

        valid = _predict(model, self._valid, self.threads)
        return Fitted(valid, _predict(model, self._test, self.threads), model.tree_count_, save)


def _frame(rows: Rows) -> Any:
    """The rows as CatBoost takes them without a copy: float32 by columns, categories as integers."""
    values = rows.dense()
    if not any(column.is_category for column in rows.columns):
        return values
    series = {
        i: np.nan_to_num(values[:, i], nan=-1).astype(np.int32)
        if column.is_category
        else values[:, i]
        for i, column in enumerate(rows.columns)
    }
    return pd.DataFrame(series, copy=False)


def _pool(frame: Any, rows: Rows, labels: Any = None) -> Pool:
    categories = [i for i, column in enumerate(rows.columns) if column.is_category]
    names = [str(i) for i in range(len(rows.columns))]
    return Pool(frame, label=labels, cat_features=categories or None, feature_names=names)


def _predict(model: CatBoost, pool: Pool | None, threads: int = -1) -> Floats:
    if pool is None:
        return np.empty(0, np.float32)
    both = model.predict(pool, prediction_type="Probability", thread_count=threads)
    return np.asarray(both[:, 1], np.float32)


def predict_saved(path: Path, rows: Rows) -> Floats:
    """Predictions (rows,) of a saved model for rows of its feature set."""
    model = CatBoost()
    model.load_model(str(path))
    return _predict(model, _pool(_frame(rows), rows))


FAMILY = CatBoostFamily
