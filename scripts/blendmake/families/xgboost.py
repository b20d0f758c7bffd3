"""XGBoost through its native interface: one quantile matrix per fold, labels swapped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from blendmake.families.xgboost_matrix import (
    ALIASES,
    DEFAULTS,
    MAX_BIN,
    RESERVED,
    SMALLER,
    Matrices,
    device_of,
    predict_blocks,
    ran_on,
    refusing,
    saver,
    trained,
)
from blendmake.family import Family, Fit, Fitted, FoldData, Reports, known_rows, refused
from blendmake.lean.xgboost import xgb
from blendmake.matrix import Floats, Rows

NO_BEST_ROUND = (
    "with 'booster: dart' later rounds rescale earlier trees, so that no best round can be cut out: "
    "leave early_stopping out (or set it to false for this target)"
)


class XGBoost(Family):
    PACKAGES = ("xgboost",)
    ROUNDS = 300
    REPORTS = True
    GPU = True
    SMALLER = SMALLER
    DEFAULTS: ClassVar[dict[str, Any]] = DEFAULTS
    ALIASES: ClassVar[dict[str, str]] = ALIASES
    RESERVED: ClassVar[dict[str, str]] = RESERVED

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        self._matrices = Matrices(data, threads)

    def fit(self, task: Fit) -> Fitted:
        params = self.params(task)
        if params.get("booster") == "dart" and task.stop_rounds is not None:
            raise refused(task, ValueError(NO_BEST_ROUND))
        matrices, labels, stop_labels = self._matrices.of(task, int(params.get("max_bin", MAX_BIN)))
        train = matrices.matrix("train")
        _set_labels(train, labels)
        reports = Reports(task)
        watch, callbacks = [], []
        if reports.watching:
            stop = matrices.matrix("stop")
            _set_labels(stop, stop_labels)
            watch = [(stop, "stop")] if task.stop_rounds is not None else []
            callbacks = [_Telling(reports, stop)] if reports.wanted else []
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
            **device_of(self.gpu, params),
        }
        with refusing(task):
            booster = xgb.train(
                settings,
                train,
                num_boost_round=task.rounds,
                evals=watch,
                early_stopping_rounds=task.stop_rounds,
                verbose_eval=False,
                callbacks=callbacks,
            )
        reports.settle()
        device = ran_on(booster, settings)
        stop_auc = float(booster.best_score) if watch else None
        rounds = booster.best_iteration + 1 if watch else task.rounds
        booster = trained(booster, rounds)

        # Outside of training no tree is dropped, with `booster: dart` neither.
        in_place = device == "cpu" and params.get("booster") != "gblinear"
        valid = matrices.predict(booster, self.data.valid, in_place)
        test = matrices.predict(booster, self.data.test, in_place)
        return Fitted(valid, test, rounds, saver(booster), stop_auc, device)

    def release(self) -> None:
        self._matrices.drop()


class _Telling(xgb.callback.TrainingCallback):  # type: ignore[misc]
    """Tells the AUC on the watched rows: of early stopping, or else evaluated where it is due."""

    def __init__(self, reports: Reports, watched: xgb.DMatrix) -> None:
        super().__init__()
        self.reports, self.watched = reports, watched

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: Any) -> bool:
        done = epoch + 1
        if not self.reports.due(done):
            return False
        if evals_log:
            return self.reports.ends(done, evals_log["stop"]["auc"][-1])
        told = model.eval(self.watched, "stop", epoch)  # "[9]\tstop-auc:0.75"
        return self.reports.ends(done, float(told.rpartition(":")[2]))


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
    return predict_blocks(booster, rows, threads)


FAMILY = XGBoost
