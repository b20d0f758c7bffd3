"""CatBoost through its native interface: borders computed once per fold, used for every target."""

from __future__ import annotations

import logging
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from catboost import CatBoost, CatBoostError, Pool
from catboost.utils import get_gpu_device_count

from blendmake.family import Family, Fit, Fitted, FoldData, Reports, Smaller, known_rows, refused
from blendmake.files import digest_of
from blendmake.matrix import Floats, Rows

log = logging.getLogger(__name__)

BORDERS = 254
# Params that shape the borders, computed once for each combination of them.
BORDER_PARAMS = (
    "border_count",
    "feature_border_type",
    "nan_mode",
    "per_float_feature_quantization",
)


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

    def _labelled(self, frame: Any, labels: Any) -> Pool:
        known = known_rows(labels)
        if known is not None:
            frame = frame.iloc[known] if isinstance(frame, pd.DataFrame) else frame[known]
            labels = labels[known]
        return _pool(frame, self.data.train, self.threads, labels)

    def _quantized(self, labels: Any, shape: dict[str, Any]) -> Pool:
        rows = self.data.train
        pool = self._labelled(self._train, labels)
        if all(column.is_category for column in rows.columns):
            return pool  # there is no number to find borders of
        borders = Path(self._folder) / digest_of(shape)
        if not borders.exists():
            whole = _pool(self._train, rows, self.threads)
            _quantize(whole, self.threads, shape)
            whole.save_quantization_borders(str(borders))
        _quantize(pool, self.threads, {"input_borders": str(borders)})
        return pool

    def fit(self, task: Fit) -> Fitted:
        params = self.params(task)
        params.setdefault("border_count", BORDERS)
        shape = {name: params[name] for name in BORDER_PARAMS if name in params}
        place = self._place(params)
        watchable = _may_be_watched(task, params, on_gpu=bool(place))
        reports = Reports(task if watchable else replace(task, report=None))
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
            **place,
        }
        try:
            if place:  # the GPU's part cuts the columns itself
                pool = self._labelled(self._train, task.labels)
            else:
                pool = self._quantized(task.labels, shape)
            watching: dict[str, Any] = {}
            if reports.watching:
                # Not quantized: levels would be numbered anew, other than those of `pool`.
                watching["eval_set"] = self._labelled(self._stop, task.stop_labels)
                watching["early_stopping_rounds"] = task.stop_rounds
                watching["use_best_model"] = task.stop_rounds is not None
            if reports.wanted:
                watching["callbacks"] = [_Telling(reports)]
                watching["metric_period"] = 1
            model = CatBoost(settings).fit(pool, **watching)
        except (CatBoostError, TypeError) as error:
            raise refused(task, error) from error
        reports.settle()

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".cbm")
            model.save_model(str(path))
            return path

        stop_auc = None
        if task.stop_rounds is not None:
            stop_auc = float(model.get_best_score()["validation"]["AUC"])
        valid = _predict(model, self._valid, self.threads)
        test = _predict(model, self._test, self.threads)
        device = "cuda" if place else "cpu"
        return Fitted(valid, test, model.tree_count_, save, stop_auc, device)

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


class _Telling:
    """Tells the AUC on the watched rows, which CatBoost has from every round."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports

    def after_iteration(self, info: Any) -> bool:
        return not self.reports.ends(info.iteration, info.metrics["validation"]["AUC"][-1])


def _may_be_watched(task: Fit, params: Mapping[str, Any], *, on_gpu: bool = False) -> bool:
    """Whether a report can be told, and rows that are watched for it alone change nothing."""
    alone = task.stop_rounds is None
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


def _pool(frame: Any, rows: Rows, threads: int, labels: Any = None) -> Pool:
    categories = [i for i, column in enumerate(rows.columns) if column.is_category]
    names = [str(i) for i in range(len(rows.columns))]
    return Pool(
        frame,
        label=labels,
        cat_features=categories or None,
        feature_names=names,
        thread_count=threads,
    )


def _quantize(pool: Pool, threads: int, settings: dict[str, Any]) -> None:
    # What stands behind Pool.quantize, which takes no thread count and would use every core.
    pool._quantize({**settings, "thread_count": threads})


def _predict(model: CatBoost, pool: Pool | None, threads: int) -> Floats:
    if pool is None:
        return np.empty(0, np.float32)
    both = model.predict(pool, prediction_type="Probability", thread_count=threads)
    return np.asarray(both[:, 1], np.float32)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Floats:
    """Predictions (rows,) of a saved model for rows of its feature set."""
    model = CatBoost()
    model.load_model(str(path))
    pool = _pool(_frame(rows), rows, threads) if len(rows) else None
    return _predict(model, pool, threads)


FAMILY = CatBoostFamily
