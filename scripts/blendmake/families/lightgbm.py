"""LightGBM through its native interface: one binned data set per fold, labels swapped."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import lightgbm as lgb
import numpy as np

from blendmake.errors import BlendmakeError
from blendmake.families.base import Family, Fit, Fitted, FoldData, known_rows, refused
from blendmake.matrix import Floats, Rows

# Params that shape the bins: a data set is built once for each combination of them.
BIN_PARAMS = (
    "max_bin",
    "max_bin_by_feature",
    "min_data_in_bin",
    "bin_construct_sample_cnt",
    "enable_bundle",
    "use_missing",
    "zero_as_missing",
    "linear_tree",
)


class _Complaints:
    """A logger that keeps LightGBM's warnings: an unknown param is only a warning there."""

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def info(self, message: str) -> None:
        """Not of interest."""

    def warning(self, message: str) -> None:
        if "Unknown parameter" in message:
            self.unknown.append(message.strip())


class LightGBM(Family):
    PACKAGES = ("lightgbm",)
    ROUNDS = 300
    DEFAULTS: ClassVar[dict[str, Any]] = {"learning_rate": 0.05}
    ALIASES: ClassVar[dict[str, str]] = {"eta": "learning_rate", "shrinkage_rate": "learning_rate"}
    RESERVED: ClassVar[dict[str, str]] = {
        "objective": "targets are binary",
        "metric": "early stopping watches AUC",
        "seed": "use the problem's seed",
        "random_state": "use the problem's seed",
        "num_threads": "threads belong to the profile (set-threads)",
        "n_jobs": "threads belong to the profile (set-threads)",
        "n_estimators": "use the source's key 'rounds'",
        "num_iterations": "use the source's key 'rounds'",
        "scale_pos_weight": "use the source's key 'class_weight'",
        "is_unbalance": "use the source's key 'class_weight'",
        "deterministic": "it is always on",
    }

    def __init__(self, data: FoldData, threads: int) -> None:
        super().__init__(data, threads)
        self._sets: dict[str, tuple[lgb.Dataset, lgb.Dataset | None]] = {}
        self._complaints = _Complaints()
        lgb.register_logger(self._complaints)

    def _fixed(self, params: dict[str, Any]) -> dict[str, Any]:
        # The two layouts give sums in different order; a choice by timing would not repeat.
        layout = {} if params.get("force_row_wise") else {"force_col_wise": True}
        return {
            **layout,
            "deterministic": True,
            "num_threads": self.threads,
            "feature_pre_filter": False,  # else min_data_in_leaf could not differ between targets
            "verbosity": 0,
        }

    def _binned(self, params: dict[str, Any]) -> tuple[lgb.Dataset, lgb.Dataset | None]:
        shape = {name: params[name] for name in BIN_PARAMS if name in params}
        key = repr(sorted(shape.items()))
        if key not in self._sets:
            self._sets.clear()
            settings = {**shape, **self._fixed(params)}
            rows = self.data.train
            categories = [i for i, column in enumerate(rows.columns) if column.is_category]
            train = lgb.Dataset(
                rows.dense(),
                label=np.zeros(len(rows), np.float32),
                categorical_feature=categories,
                params=settings,
            ).construct()
            stop = None
            if self.data.stop is not None:
                stop = lgb.Dataset(
                    self.data.stop.dense(),
                    label=np.zeros(len(self.data.stop), np.float32),
                    reference=train,
                    categorical_feature=categories,
                    params=settings,
                ).construct()
            self._sets[key] = (train, stop)
        return self._sets[key]

    def fit(self, task: Fit) -> Fitted:
        params = self.params(task)
        settings = {
            **params,
            **self._fixed(params),
            "objective": "binary",
            "metric": "auc",
            "scale_pos_weight": task.positive_weight,
            "seed": task.seed,
        }
        try:
            train, stop = self._binned(params)
            callbacks = []
            if task.stop_rounds is not None:
                callbacks = [lgb.early_stopping(task.stop_rounds, verbose=False)]
            booster = lgb.train(
                settings,
                _labelled(train, task.labels),
                num_boost_round=task.rounds,
                valid_sets=[_labelled(stop, task.stop_labels)] if callbacks else None,
                callbacks=callbacks,
            )
        except lgb.basic.LightGBMError as error:
            raise refused(task, error) from error
        if self._complaints.unknown:
            raise BlendmakeError(
                f"The fit of target '{task.target}' was refused: {self._complaints.unknown[0]}. "
                "Correct its params."
            )
        rounds = booster.best_iteration if callbacks else task.rounds

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".txt")
            booster.save_model(path, num_iteration=rounds)
            return path

        valid = self._predict(booster, self.data.valid, rounds)
        return Fitted(valid, self._predict(booster, self.data.test, rounds), rounds, save)

    def _predict(self, booster: lgb.Booster, rows: Rows, rounds: int) -> Floats:
        return _predict(booster, rows, num_iteration=rounds, num_threads=self.threads)


def _labelled(data: Any, labels: Any) -> Any:
    """The data set with these labels: the shared one, or a subset of known rows, bins reused.

    Rows of weight 0 would count in min_data_in_leaf, so unknown rows are taken out.
    """
    known = known_rows(labels)
    if known is None:
        return data.set_label(labels)
    subset = data.subset(known)
    subset.construct()
    return subset.set_label(labels[known])


def _predict(booster: lgb.Booster, rows: Rows, **options: Any) -> Floats:
    parts = [booster.predict(block, **options) for block in rows.blocks()]
    return np.concatenate(parts).astype(np.float32) if parts else np.empty(0, np.float32)


def predict_saved(path: Path, rows: Rows) -> Floats:
    """Predictions (rows,) of a saved model for rows of its feature set."""
    return _predict(lgb.Booster(model_file=path), rows)


FAMILY = LightGBM
