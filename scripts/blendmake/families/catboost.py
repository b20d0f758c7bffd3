"""CatBoost through its native interface: borders computed once per fold, used for every target."""

from __future__ import annotations

import logging
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from catboost import CatBoost, CatBoostError, Pool
from catboost.utils import get_gpu_device_count
from numpy.typing import NDArray
from scipy.special import expit, softmax

from blendmake.families.objectives import Shift, known_stop, take_objective, watched
from blendmake.family import (
    Family,
    Fit,
    Fitted,
    FoldData,
    Labels,
    Predictions,
    Reports,
    Smaller,
    Stop,
    Weights,
    known_rows,
    refused,
)
from blendmake.files import digest_of
from blendmake.matrix import Rows

log = logging.getLogger(__name__)

BORDERS = 254
# Params that shape the borders, computed once for each combination of them.
BORDER_PARAMS = (
    "border_count",
    "feature_border_type",
    "nan_mode",
    "per_float_feature_quantization",
)
_REGRESSION = "RMSE MAE Huber Quantile Expectile LogCosh MAPE Poisson Tweedie Lq"
OBJECTIVES = {
    "binary": {"Logloss": "Logloss"},
    "multiclass": {"MultiClass": "MultiClass"},
    "regression": {name: name for name in _REGRESSION.split()},
}
SHIFTABLE = ("RMSE", "MAE", "Huber", "Quantile", "Expectile", "LogCosh", "Lq")
LOG_LINK = ("Poisson", "Tweedie")  # what these models give is the logarithm
# Metrics that CatBoost has itself, as it calls them, and of which it may leave out the training rows.
METRICS = {
    ("binary", "auc"): "AUC:hints=skip_train~true",
    ("binary", "log_loss"): "Logloss",
    ("multiclass", "log_loss"): "MultiClass",
    ("regression", "rmse"): "RMSE",
    ("regression", "mae"): "MAE",
}
KIND = "blendmake_kind"  # key of a model's metadata: what its predictions are


class CatBoostFamily(Family):
    PACKAGES = ("catboost",)
    ROUNDS = 500
    REPORTS = True  # but on a GPU, where CatBoost takes no callbacks
    GPU = True
    SMALLER = Smaller("border_count", BORDERS, 16)
    DEFAULTS: ClassVar[dict[str, Any]] = {"learning_rate": 0.05}
    ALIASES: ClassVar[dict[str, str]] = {
        "colsample_bylevel": "rsm",
        "eta": "learning_rate",
        "max_bin": "border_count",
        "reg_lambda": "l2_leaf_reg",
        "max_depth": "depth",
        "min_child_samples": "min_data_in_leaf",
        "num_leaves": "max_leaves",
        "objective": "loss_function",
    }
    RESERVED: ClassVar[dict[str, str]] = {
        "classes_count": "it is the number of the target's classes",
        "class_names": "they are those of the target",
        "eval_metric": "early stopping watches the problem's metric (key 'metric')",
        "custom_metric": "early stopping watches the problem's metric (key 'metric')",
        "random_seed": "use the problem's seed",
        "random_state": "use the problem's seed",
        "thread_count": "threads belong to the profile (set-threads)",
        "iterations": "use the source's key 'rounds'",
        "n_estimators": "use the source's key 'rounds'",
        "num_boost_round": "use the source's key 'rounds'",
        "num_trees": "use the source's key 'rounds'",
        "early_stopping_rounds": "use the source's key 'early_stopping'",
        "od_type": "use the source's key 'early_stopping'",
        "od_wait": "use the source's key 'early_stopping'",
        "od_pval": "use the source's key 'early_stopping'",
        "use_best_model": "use the source's key 'early_stopping'",
        "scale_pos_weight": "use the source's key 'class_weight'",
        "class_weights": "use the source's key 'class_weight'",
        "auto_class_weights": "use the source's key 'class_weight'",
        "logging_level": "the log has a line per fit",
        "verbose": "the log has a line per fit",
    }

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        self._train = _frame(data.train)
        self._stop = None if data.stop is None else _frame(data.stop)
        self._valid = _pool(_frame(data.valid), data.valid, threads)
        self._test = _pool(_frame(data.test), data.test, threads) if len(data.test) else None
        self._folder = tempfile.mkdtemp()
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def _labelled(self, frame: Any, labels: Labels, weights: Weights | None = None) -> Pool:
        known = known_rows(labels)
        if known is not None:
            frame = frame.iloc[known] if isinstance(frame, pd.DataFrame) else frame[known]
            labels = labels[known]
            weights = None if weights is None else weights[known]
        return _pool(frame, self.data.train, self.threads, labels, weights)

    def _quantized(self, labels: Labels, weights: Weights | None, shape: dict[str, Any]) -> Pool:
        rows = self.data.train
        pool = self._labelled(self._train, labels, weights)
        if all(column.is_category for column in rows.columns):
            return pool  # there is no number to find borders of
        borders = Path(self._folder) / digest_of(shape)
        if not borders.exists():
            whole = _pool(self._train, rows, self.threads)
            _quantize(whole, self.threads, shape)
            whole.save_quantization_borders(str(borders))
        _quantize(pool, self.threads, {"input_borders": str(borders)})
        return pool

    def fit(self, asked: Fit) -> Fitted:
        params = self.params(asked)
        params.setdefault("border_count", BORDERS)
        objective = take_objective(asked, params, OBJECTIVES, "loss_function")
        fixed = not params.get("boost_from_average", True)
        shift = Shift.of(asked, objective, SHIFTABLE, fixed=fixed)
        shape = {name: params[name] for name in BORDER_PARAMS if name in params}
        place = self._place(params)
        stop = asked.stop
        if stop is not None and not _may_be_watched(asked, params, on_gpu=bool(place)):
            stop = replace(stop, report=None)
        reports = Reports(replace(asked, stop=stop))
        settings = {
            **params,
            "loss_function": objective,
            "iterations": asked.rounds,
            "random_seed": asked.seed,
            "thread_count": self.threads,
            "allow_writing_files": False,
            "logging_level": "Silent",
            **({"classes_count": asked.outputs} if asked.task == "multiclass" else {}),
            **place,
        }
        labels = shift.off(asked.label)
        name = ""
        try:
            if place:  # the GPU's part cuts the columns itself
                pool = self._labelled(self._train, labels, asked.weight)
            else:
                pool = self._quantized(labels, asked.weight, shape)
            watching: dict[str, Any] = {}
            if stop is not None and reports.watching:
                # Not quantized: levels would be numbered anew, other than those of `pool`.
                watching["eval_set"] = self._labelled(self._stop, shift.off(stop.labels[:, 0]))
                watching["early_stopping_rounds"] = asked.stop_rounds
                watching["use_best_model"] = asked.stop_rounds is not None
                own = _own_metric(asked, stop, objective)
                settings["eval_metric"] = own or _Measure(asked, known_stop(stop), shift, objective)
                name = _Measure.__name__ if own is None else own.partition(":")[0]
            if reports.wanted:
                watching["callbacks"] = [_Telling(reports, name)]
                watching["metric_period"] = 1
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Failed to import numba")
                model = CatBoost(settings).fit(pool, **watching)
        except (CatBoostError, TypeError) as error:
            raise refused(asked, error) from error
        reports.settle()
        scores = None
        if asked.stop_rounds is not None:
            scores = np.array([float(model.get_best_score()["validation"][name])])
        _tell_kind(model, asked.task, objective, shift)

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".cbm")
            model.save_model(str(path))
            return path

        valid = _predict(model, self._valid, self.threads)
        test = _predict(model, self._test, self.threads)
        device = "cuda" if place else "cpu"
        return Fitted(valid, test, model.tree_count_, save, scores, device)

    def _place(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that put a fit on the GPU, if it has one that CatBoost can use."""
        if not self.gpu:
            return {}
        why = None
        if params.get("rsm", 1) != 1:
            why = "CatBoost has 'rsm' for the CPU alone"
        elif get_gpu_device_count() == 0:
            why = "CatBoost sees no GPU"
        if why:
            log.warning("%s: on the CPU", why)
            return {}
        # It takes its part of the memory at once.
        part = {"gpu_ram_part": 0.95 * self.gpu} if self.gpu < 1 else {}
        return {"task_type": "GPU", "devices": "0", **part}


def _own_metric(asked: Fit, stop: Stop, objective: str) -> str | None:
    """The metric as CatBoost calls it; None where it has none, or reads it otherwise: of logarithms, or
    where a class does not occur in training."""
    if objective.partition(":")[0] in LOG_LINK:
        return None
    if asked.task == "multiclass" and len(_classes(asked)) < asked.outputs:
        return None
    return METRICS.get((asked.task, stop.metric.name))


def _classes(asked: Fit) -> NDArray[np.intp]:
    """Codes of the classes that occur in training."""
    return np.unique(asked.label[~np.isnan(asked.label)]).astype(np.intp)


class _Telling:
    """Tells the metric on the watched rows, which CatBoost has from every round."""

    def __init__(self, reports: Reports, metric: str) -> None:
        self.reports, self.metric = reports, metric

    def after_iteration(self, info: Any) -> bool:
        return not self.reports.ends(info.iteration, info.metrics["validation"][self.metric][-1])


class _Measure:
    """A metric that CatBoost does not have, as it asks for it."""

    def __init__(self, asked: Fit, stop: Stop, shift: Shift, objective: str) -> None:
        self._asked, self._stop, self._shift, self._objective = asked, stop, shift, objective

    def is_max_optimal(self) -> bool:
        return self._stop.metric.higher_is_better

    def evaluate(self, approxes: Any, target: Any, weight: Any) -> tuple[float, float]:
        if len(target) != len(self._stop.labels):
            return 0.0, 1.0  # of the training rows, which nobody looks at
        raw = np.stack([np.asarray(one) for one in approxes], axis=1)
        values = _linked(raw, self._asked.task, self._objective)
        if self._asked.task == "multiclass" and values.shape[1] < self._asked.outputs:
            every = np.zeros((len(values), self._asked.outputs))
            every[:, _classes(self._asked)] = values
            values = every
        return watched(self._asked, self._stop, self._shift, values), 1.0

    def get_final_error(self, error: float, weight: float) -> float:
        return error


def _linked(raw: Any, task: str, objective: str) -> Any:
    """Predictions from what a model gives, (rows, 1) or (rows, classes)."""
    if task == "binary":
        return expit(raw)
    if task == "multiclass":
        return softmax(raw, axis=1)
    return np.exp(raw) if objective.partition(":")[0] in LOG_LINK else raw


def _tell_kind(model: CatBoost, task: str, objective: str, shift: Shift) -> None:
    """Note in the model what its predictions are; it learns what was taken off its labels."""
    is_exponent = objective.partition(":")[0] in LOG_LINK
    kind = task if task != "regression" else "exponent" if is_exponent else "number"
    model.get_metadata()[KIND] = kind
    if shift.by:
        scale, bias = model.get_scale_and_bias()
        model.set_scale_and_bias(scale, bias + shift.by)


def _may_be_watched(asked: Fit, params: Mapping[str, Any], *, on_gpu: bool = False) -> bool:
    """Whether a report can be told, and rows that are watched for it alone change nothing."""
    alone = asked.stop_rounds is None
    counted = params.get("counter_calc_method") == "Full"  # in the watched rows too
    return not on_gpu and not (alone and counted)


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


def _pool(
    frame: Any, rows: Rows, threads: int, labels: Any = None, weights: Weights | None = None
) -> Pool:
    categories = [i for i, column in enumerate(rows.columns) if column.is_category]
    names = [str(i) for i in range(len(rows.columns))]
    return Pool(
        frame,
        label=labels,
        weight=weights,
        cat_features=categories or None,
        feature_names=names,
        thread_count=threads,
    )


def _quantize(pool: Pool, threads: int, settings: dict[str, Any]) -> None:
    # What stands behind Pool.quantize, which takes no thread count and would use every core.
    pool._quantize({**settings, "thread_count": threads})


def _predict(model: CatBoost, pool: Pool | None, threads: int) -> Predictions:
    """(rows, outputs)."""
    kind = model.get_metadata()[KIND]
    ways = {"number": "RawFormulaVal", "exponent": "Exponent"}
    way, is_number = ways.get(kind, "Probability"), kind in ways
    outputs = 1 if kind != "multiclass" else len(model.classes_)
    if pool is None:
        return np.empty((0, outputs), np.float64 if is_number else np.float32)
    found = np.asarray(model.predict(pool, prediction_type=way, thread_count=threads))
    if kind == "binary":
        return found[:, 1:].astype(np.float32)
    return found.astype(np.float32) if kind == "multiclass" else found[:, None]


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Predictions:
    """Predictions (rows, outputs) of a saved model for rows of its feature set."""
    model = CatBoost()
    model.load_model(str(path))
    pool = _pool(_frame(rows), rows, threads) if len(rows) else None
    return _predict(model, pool, threads)


FAMILY = CatBoostFamily
