"""XGBoost through its native interface: one quantile matrix per fold, labels swapped."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xgboost as xgb

from blendmake.families.base import Family, Fit, Fitted, FoldData, known_rows, refused
from blendmake.matrix import Floats, Rows

MAX_BIN = 256


class _Blocks(xgb.DataIter):  # type: ignore[misc]
    """Feeds rows to XGBoost block by block, so that the table is never held twice."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self._blocks: Iterator[Floats] = iter(())
        super().__init__(release_data=True)

    def reset(self) -> None:
        self._blocks = self.rows.blocks()

    def next(self, input_data: Callable[..., Any]) -> bool:
        block = next(self._blocks, None)
        if block is None:
            return False
        input_data(data=block, feature_types=_types(self.rows))
        return True


def _types(rows: Rows) -> list[str]:
    return ["c" if column.is_category else "q" for column in rows.columns]


class XGBoost(Family):
    PACKAGES = ("xgboost",)
    ROUNDS = 300
    DEFAULTS: ClassVar[dict[str, Any]] = {"learning_rate": 0.05}
    ALIASES: ClassVar[dict[str, str]] = {
        "alpha": "reg_alpha",
        "eta": "learning_rate",
        "lambda": "reg_lambda",
        "min_split_loss": "gamma",
    }
    RESERVED: ClassVar[dict[str, str]] = {
        "objective": "targets are binary",
        "eval_metric": "early stopping watches AUC",
        "seed": "use the problem's seed",
        "random_state": "use the problem's seed",
        "nthread": "threads belong to the profile (set-threads)",
        "n_jobs": "threads belong to the profile (set-threads)",
        "n_estimators": "use the source's key 'rounds'",
        "num_boost_round": "use the source's key 'rounds'",
        "early_stopping_rounds": "use the source's key 'early_stopping'",
        "scale_pos_weight": "use the source's key 'class_weight'",
        "validate_parameters": "it is always on",
        "verbosity": "the log has a line per fit",
    }

    def __init__(self, data: FoldData, threads: int) -> None:
        super().__init__(data, threads)
        self._matrices: dict[int, dict[str, xgb.QuantileDMatrix | None]] = {}

    def _binned(self, max_bin: int) -> dict[str, xgb.QuantileDMatrix | None]:
        if max_bin not in self._matrices:
            self._matrices.clear()
            train = self._matrix(self.data.train, max_bin, None)
            self._matrices[max_bin] = {
                "train": train,
                "stop": self._matrix(self.data.stop, max_bin, train),
                "valid": self._matrix(self.data.valid, max_bin, train),
                "test": self._matrix(self.data.test, max_bin, train),
            }
        return self._matrices[max_bin]

    def _matrix(
        self, rows: Rows | None, max_bin: int, reference: xgb.QuantileDMatrix | None
    ) -> xgb.QuantileDMatrix | None:
        if rows is None or len(rows) == 0:
            return None
        return xgb.QuantileDMatrix(
            _Blocks(rows),
            max_bin=max_bin,
            ref=reference,
            nthread=self.threads,
            enable_categorical=True,
        )

    def fit(self, task: Fit) -> Fitted:
        params = self.params(task)
        matrices = self._binned(int(params.get("max_bin", MAX_BIN)))
        train = matrices["train"]
        assert train is not None
        _set_labels(train, task.labels)
        watch = []
        if task.stop_rounds is not None:
            assert task.stop_labels is not None
            _set_labels(matrices["stop"], task.stop_labels)
            watch = [(matrices["stop"], "stop")]
        settings = {
            "max_bin": MAX_BIN,
            **params,
            "objective": "binary:logistic",
            "eval_metric": "auc",
            "scale_pos_weight": task.positive_weight,
            "nthread": self.threads,
            "seed": task.seed,
            "validate_parameters": True,
            "verbosity": 1,
        }
        with warnings.catch_warnings(record=True) as complaints:
            warnings.simplefilter("always")
            try:
                booster = xgb.train(
                    settings,
                    train,
                    num_boost_round=task.rounds,
                    evals=watch,
                    early_stopping_rounds=task.stop_rounds,
                    verbose_eval=False,
                )
            except (xgb.core.XGBoostError, TypeError, ValueError) as error:
                raise refused(task, error) from error
        for complaint in complaints:
            # An unknown param is only a warning there, and cannot be raised out of its callback.
            unused = re.search(r"Parameters: \{ (.*) \} are not used", str(complaint.message))
            if unused:
                raise refused(task, ValueError(f"Unknown param {unused[1]}"))
        rounds = booster.best_iteration + 1 if watch else task.rounds
        if rounds < booster.num_boosted_rounds():
            booster = booster[:rounds]

        def predict(name: str) -> Floats:
            matrix = matrices[name]
            if matrix is None:
                return np.empty(0, np.float32)
            return np.asarray(booster.predict(matrix), np.float32)

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".ubj")
            booster.save_model(path)
            return path

        return Fitted(predict("valid"), predict("test"), rounds, save)


def _set_labels(matrix: Any, labels: Any) -> None:
    # XGBoost refuses NaN labels. A row of weight 0 adds nothing to gradients, hessians (so to
    # min_child_weight), the intercept or the AUC; only the bins have seen its features.
    known = known_rows(labels)
    weights = np.ones(len(labels), np.float32)
    if known is not None:
        weights[:] = 0
        weights[known] = 1
    matrix.set_info(label=np.nan_to_num(labels), weight=weights)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Floats:
    """Predictions (rows,) of a saved model for rows of its feature set."""
    booster = xgb.Booster({"nthread": threads}, model_file=path)
    values = [np.empty(0, np.float32)]
    for block in rows.blocks():
        matrix = xgb.DMatrix(
            block, feature_types=_types(rows), nthread=threads, enable_categorical=True
        )
        values.append(booster.predict(matrix))
    return np.concatenate(values).astype(np.float32)


FAMILY = XGBoost
