"""XGBoost through its native interface: one quantile matrix per fold, labels swapped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from blendmake.families.objectives import Shift, positive_weight, take_objective, watched
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
from blendmake.family import (
    Family,
    Fit,
    Fitted,
    FoldData,
    Labels,
    Predictions,
    Reports,
    Stop,
    Weights,
    known_rows,
    refused,
)
from blendmake.lean.xgboost import xgb
from blendmake.matrix import Rows

NO_BEST_ROUND = (
    "with 'booster: dart' later rounds rescale earlier trees, so that no best round can be cut out: "
    "leave early_stopping out (or set it to false for this target)"
)
_REGRESSION = (
    "reg:squarederror reg:absoluteerror reg:pseudohubererror reg:quantileerror reg:squaredlogerror "
    "count:poisson reg:gamma reg:tweedie"
)
OBJECTIVES = {
    "binary": {"binary:logistic": "binary:logistic"},
    "multiclass": {"multi:softprob": "multi:softprob"},
    "regression": {name: name for name in _REGRESSION.split()},
}
SHIFTABLE = ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror", "reg:quantileerror")
# Metrics that XGBoost has itself, as it calls them.
METRICS = {
    ("binary", "auc"): "auc",
    ("binary", "log_loss"): "logloss",
    ("multiclass", "log_loss"): "mlogloss",
    ("regression", "rmse"): "rmse",
    ("regression", "mae"): "mae",
}
SHIFT = "blendmake_shift"  # attribute of a model of numbers: what was taken off the labels


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

    def fit(self, asked: Fit) -> Fitted:
        params = self.params(asked)
        if params.get("booster") == "dart" and asked.stop_rounds is not None:
            raise refused(asked, ValueError(NO_BEST_ROUND))
        objective = take_objective(asked, params, OBJECTIVES, "objective")
        shift = Shift.of(asked, objective, SHIFTABLE, fixed="base_score" in params)
        positive = positive_weight(asked)
        prepared = self._matrices.of(asked, int(params.get("max_bin", MAX_BIN)))
        matrices, stop = prepared.matrices, prepared.stop
        train = matrices.matrix("train")
        weights = None
        if prepared.weights is not None and positive is None:
            weights = prepared.weights[:, 0]
        _set_labels(train, prepared.labels[:, 0], shift, weights)
        own = None if stop is None else METRICS.get((asked.task, stop.metric.name))
        settings = {
            "max_bin": MAX_BIN,
            **params,
            "objective": objective,
            **({"eval_metric": own} if own else {"disable_default_eval_metric": True}),
            **({"num_class": asked.outputs} if asked.task == "multiclass" else {}),
            **({"scale_pos_weight": positive} if positive is not None else {}),
            "nthread": self.threads,
            "seed": asked.seed,
            "validate_parameters": True,
            "verbosity": 1,
            **device_of(self.gpu, params),
        }
        reports = Reports(asked)
        watching: dict[str, Any] = {}
        if stop is not None and reports.watching:
            matrix = matrices.matrix("stop")
            _set_labels(matrix, stop.labels[:, 0], shift, None)
            measure = None if own else _measuring(asked, stop, shift)
            if asked.stop_rounds is not None:
                watching["evals"] = [(matrix, "stop")]
                watching["custom_metric"] = measure
                watching["maximize"] = stop.metric.higher_is_better
            if reports.wanted:
                watching["callbacks"] = [_Telling(reports, matrix, measure)]
        with refusing(asked):
            booster = xgb.train(
                settings,
                train,
                num_boost_round=asked.rounds,
                early_stopping_rounds=asked.stop_rounds,
                verbose_eval=False,
                **watching,
            )
        reports.settle()
        device = ran_on(booster, settings)
        stops = asked.stop_rounds is not None
        scores = np.array([float(booster.best_score)]) if stops else None
        rounds = booster.best_iteration + 1 if stops else asked.rounds
        booster = trained(booster, rounds)
        if shift.numbers:
            booster.set_attr(**{SHIFT: repr(shift.by)})

        # Outside of training no tree is dropped, with `booster: dart` neither.
        in_place = device == "cpu" and params.get("booster") != "gblinear"
        valid, test = (
            _outputs(matrices.predict(booster, rows, in_place), shift, asked.outputs)
            for rows in (self.data.valid, self.data.test)
        )
        return Fitted(valid, test, rounds, saver(booster), scores, device)

    def release(self) -> None:
        self._matrices.drop()


class _Telling(xgb.callback.TrainingCallback):  # type: ignore[misc]
    """Tells the metric on the watched rows: of early stopping, or else evaluated where it is due."""

    def __init__(self, reports: Reports, watched: xgb.DMatrix, measure: Any) -> None:
        super().__init__()
        self.reports, self.watched, self.measure = reports, watched, measure

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: Any) -> bool:
        done = epoch + 1
        if not self.reports.due(done):
            return False
        if evals_log:
            (values,) = evals_log["stop"].values()
            return self.reports.ends(done, values[-1])
        if self.measure is not None:
            return self.reports.ends(done, self.measure(model.predict(self.watched), None)[1])
        told = model.eval(self.watched, "stop", epoch)  # "[9]\tstop-auc:0.75"
        return self.reports.ends(done, float(told.rpartition(":")[2]))


def _measuring(asked: Fit, stop: Stop, shift: Shift) -> Callable[[Any, Any], tuple[str, float]]:
    """The metric as XGBoost asks for it, of the watched rows."""

    def measure(predictions: Any, matrix: Any) -> tuple[str, float]:
        return stop.metric.name, watched(asked, stop, shift, predictions)

    return measure


def _set_labels(matrix: Any, labels: Labels, shift: Shift, weights: Weights | None) -> None:
    # XGBoost refuses NaN labels. A row of weight 0 adds nothing to gradients, hessians (so to
    # min_child_weight), the intercept or the metric; only the bins have seen its features.
    known = known_rows(labels)
    own = np.ones(len(labels), np.float32) if weights is None else weights.astype(np.float32)
    if known is not None:
        every, own = own, np.zeros(len(labels), np.float32)
        own[known] = every[known]
    given = shift.off(labels)
    # A loss may refuse 0.
    filled = given[known[0]] if shift.numbers and known is not None and len(known) else 0.0
    matrix.set_info(label=np.nan_to_num(given, nan=filled), weight=own)


def _outputs(values: Any, shift: Shift, outputs: int) -> Predictions:
    return shift.back(values.reshape(-1, outputs))


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Predictions:
    """Predictions (rows, outputs) of a saved model for rows of its feature set."""
    booster = xgb.Booster({"nthread": threads}, model_file=path)
    told = booster.attr(SHIFT)
    shift = Shift() if told is None else Shift(float(told), True)
    param = json.loads(booster.save_config())["learner"]["learner_model_param"]
    outputs = max(int(param["num_class"]), 1)
    return _outputs(predict_blocks(booster, rows, threads), shift, outputs)


FAMILY = XGBoost
