"""LightGBM through its native interface: one binned data set per fold, labels swapped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from blendmake.families.lightgbm_matrix import BinnedRows
from blendmake.families.objectives import (
    Shift,
    known_stop,
    positive_weight,
    take_objective,
    watched,
)
from blendmake.family import (
    Family,
    Fit,
    Fitted,
    FoldData,
    Labels,
    Predictions,
    Reports,
    Weights,
    known_rows,
    refused,
)
from blendmake.lean.lightgbm import lgb
from blendmake.matrix import Rows

# Params that shape the bins: a data set is built once for each combination of them.
BIN_PARAMS = (
    "max_bin",
    "max_bin_by_feature",
    "min_data_in_bin",
    "bin_construct_sample_cnt",
    "data_random_seed",
    "enable_bundle",
    "is_enable_sparse",
    "use_missing",
    "zero_as_missing",
    "forcedbins_filename",
    "linear_tree",
)

_ALIASES = {
    "bagging_fraction": "subsample sub_row bagging",
    "bagging_freq": "subsample_freq",
    "bin_construct_sample_cnt": "subsample_for_bin",
    "boosting": "boosting_type boost",
    "data_random_seed": "data_seed",
    "enable_bundle": "is_enable_bundle bundle",
    "feature_fraction": "colsample_bytree sub_feature",
    "is_enable_sparse": "is_sparse enable_sparse sparse",
    "lambda_l1": "reg_alpha l1_regularization",
    "lambda_l2": "reg_lambda lambda l2_regularization",
    "learning_rate": "eta shrinkage_rate",
    "linear_tree": "linear_trees",
    "max_bin": "max_bins",
    "min_data_in_leaf": "min_data_per_leaf min_data min_child_samples min_samples_leaf",
    "min_sum_hessian_in_leaf": "min_sum_hessian_per_leaf min_sum_hessian min_hessian "
    "min_child_weight",
    "num_leaves": "num_leaf max_leaves max_leaf max_leaf_nodes",
    "objective": "objective_type app application loss",
}
_REGRESSION = {
    "regression": "regression regression_l2 l2 mean_squared_error mse l2_root rmse",
    "regression_l1": "regression_l1 l1 mean_absolute_error mae",
    "huber": "huber",
    "fair": "fair",
    "poisson": "poisson",
    "quantile": "quantile",
    "mape": "mape mean_absolute_percentage_error",
    "gamma": "gamma",
    "tweedie": "tweedie",
}
OBJECTIVES = {
    "binary": {"binary": "binary"},
    "multiclass": {"multiclass": "multiclass", "softmax": "multiclass"},
    "regression": {
        alias: name for name, aliases in _REGRESSION.items() for alias in aliases.split()
    },
}
SHIFTABLE = ("regression", "regression_l1", "huber", "fair", "quantile")
# Metrics that LightGBM has itself, as it calls them.
METRICS = {
    ("binary", "auc"): "auc",
    ("binary", "log_loss"): "binary_logloss",
    ("multiclass", "log_loss"): "multi_logloss",
    ("regression", "rmse"): "rmse",
    ("regression", "mae"): "l1",
}
SHIFT = "blendmake_shift:"  # a last line of a model of numbers, which LightGBM does not read
NO_BEST_ROUND = (
    "with 'boosting: dart' LightGBM never stops early, as later rounds rescale earlier trees: leave "
    "early_stopping out (or set it to false for this target)"
)
# Under every name that LightGBM takes them by: an alias would otherwise win without a word.
_RESERVED = {
    "metric metrics metric_types": "early stopping watches the problem's metric (key 'metric')",
    "num_class num_classes": "it is the number of the target's classes",
    "seed random_seed random_state": "use the problem's seed",
    "num_threads num_thread nthread nthreads n_jobs": "threads belong to the profile (set-threads)",
    "num_iterations num_iteration n_iter num_tree num_trees num_round num_rounds nrounds "
    "num_boost_round n_estimators max_iter": "use the source's key 'rounds'",
    "early_stopping_round early_stopping_rounds early_stopping n_iter_no_change": (
        "use the source's key 'early_stopping'"
    ),
    "scale_pos_weight is_unbalance unbalance unbalanced_sets": (
        "use the source's key 'class_weight'"
    ),
    "deterministic": "it is always on",
    "feature_pre_filter": "it is always off",
    "verbosity verbose": "the log has a line per fit",
}


class _Complaints:
    """A logger that keeps LightGBM's word on unknown params: it warns of them, but goes on.

    It does so on the logger's level `info`; only what its Python part says comes as a warning.
    """

    def __init__(self) -> None:
        self.unknown: list[str] = []

    def info(self, message: str) -> None:
        self.warning(message)

    def warning(self, message: str) -> None:
        if "Unknown parameter" in message:
            self.unknown.append(message.replace("[LightGBM] [Warning]", "").strip())


class LightGBM(Family):
    PACKAGES = ("lightgbm",)
    ROUNDS = 300
    REPORTS = True
    DEFAULTS: ClassVar[dict[str, Any]] = {"learning_rate": 0.05}
    ALIASES: ClassVar[dict[str, str]] = {
        alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()
    }
    RESERVED: ClassVar[dict[str, str]] = {
        name: mend for names, mend in _RESERVED.items() for name in names.split()
    }

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        self._sets: dict[str, tuple[BinnedRows, BinnedRows | None]] = {}

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

    def _binned(self, params: dict[str, Any]) -> tuple[BinnedRows, BinnedRows | None]:
        shape = {name: params[name] for name in BIN_PARAMS if name in params}
        key = repr(sorted(shape.items()))
        if key not in self._sets:
            self._sets.clear()
            settings = {**shape, **self._fixed(params)}
            train = BinnedRows(self.data.train, settings)
            stop = None
            if self.data.stop is not None:
                stop = BinnedRows(self.data.stop, settings, reference=train)
            self._sets[key] = (train, stop)
        return self._sets[key]

    def fit(self, asked: Fit) -> Fitted:
        params = self.params(asked)
        objective = take_objective(asked, params, OBJECTIVES, "objective")
        fixed = not params.get("boost_from_average", True) or bool(params.get("reg_sqrt"))
        shift = Shift.of(asked, objective, SHIFTABLE, fixed=fixed)
        positive = positive_weight(asked)
        stop, reports = asked.stop, Reports(asked)
        stops = asked.stop_rounds is not None
        if params.get("boosting") == "dart" and stops:
            raise refused(asked, ValueError(NO_BEST_ROUND))
        metric = None if stop is None else METRICS.get((asked.task, stop.metric.name))
        settings = {
            **params,
            **self._fixed(params),
            "objective": objective,
            "metric": metric or "None",
            "seed": asked.seed,
            **({"num_class": asked.outputs} if asked.task == "multiclass" else {}),
            **({"scale_pos_weight": positive} if positive is not None else {}),
        }
        complaints = _Complaints()  # of this fit: the logger is one for the process
        lgb.register_logger(complaints)
        try:
            train, watch = self._binned(params)
            callbacks = [_telling(reports)] if reports.wanted else []
            if stops:
                callbacks.append(lgb.early_stopping(asked.stop_rounds, verbose=False))
            watches: dict[str, Any] = {}
            if stop is not None and reports.watching:
                watches["valid_sets"] = [_labelled(watch, shift.off(stop.labels[:, 0]))]
                watches["feval"] = None if metric else _measuring(asked, shift)
            booster = lgb.train(
                settings,
                _labelled(
                    train, shift.off(asked.label), None if positive is not None else asked.weight
                ),
                num_boost_round=asked.rounds,
                callbacks=callbacks,
                **watches,
            )
        except lgb.basic.LightGBMError as error:
            raise refused(asked, error) from error
        if complaints.unknown:
            raise refused(asked, ValueError(complaints.unknown[0]))
        reports.settle()
        rounds = booster.best_iteration if stops else asked.rounds
        scores = np.array(list(booster.best_score["valid_0"].values())) if stops else None

        def save(stem: Path) -> Path:
            path = stem.with_name(stem.name + ".txt")
            booster.save_model(path, num_iteration=rounds)
            if shift.numbers:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(f"\n{SHIFT}{shift.by!r}\n")
            return path

        valid = self._predict(booster, self.data.valid, shift, rounds)
        test = self._predict(booster, self.data.test, shift, rounds)
        return Fitted(valid, test, rounds, save, scores)

    def _predict(self, booster: lgb.Booster, rows: Rows, shift: Shift, rounds: int) -> Predictions:
        return _predict(booster, rows, shift, num_iteration=rounds, num_threads=self.threads)


def _telling(reports: Reports) -> Callable[[Any], None]:
    """A callback that tells the metric on the watched rows, which LightGBM has from every round."""

    def tell(env: lgb.callback.CallbackEnv) -> None:
        found = env.evaluation_result_list
        if reports.ends(env.iteration + 1, found[0][2]):
            raise lgb.EarlyStopException(env.iteration, found)

    return tell


def _measuring(asked: Fit, shift: Shift) -> Callable[[Any, Any], tuple[str, float, bool]]:
    """The metric as LightGBM asks for it, of the watched rows whose label is known."""
    assert asked.stop is not None
    stop = known_stop(asked.stop)

    def measure(predictions: Any, data: Any) -> tuple[str, float, bool]:
        value = watched(asked, stop, shift, predictions)
        return stop.metric.name, value, stop.metric.higher_is_better

    return measure


def _labelled(data: Any, labels: Labels, weights: Weights | None = None) -> Any:
    """The data set with labels and weights: the shared one, or a subset of known rows, bins reused.

    Rows of weight 0 would count in min_data_in_leaf, so unknown rows are taken out.
    """
    known = known_rows(labels)
    if known is not None:
        subset = data.subset(known)
        subset.construct()
        data, labels = subset, labels[known]
        weights = None if weights is None else weights[known]
    data.set_label(labels)
    data.set_field("weight", weights)  # set_weight would leave those of the fit before this one
    return data


def _predict(booster: lgb.Booster, rows: Rows, shift: Shift, **options: Any) -> Predictions:
    outputs = booster.num_model_per_iteration()
    found = [np.empty((0, outputs), np.float64 if shift.numbers else np.float32)]
    found += [shift.back(booster.predict(block, **options)) for block in rows.blocks()]
    return np.concatenate(found)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Predictions:
    """Predictions (rows, outputs) of a saved model for rows of its feature set."""
    last = path.read_text(encoding="utf-8").rstrip().rpartition("\n")[2]
    shift = Shift(float(last.removeprefix(SHIFT)), True) if last.startswith(SHIFT) else Shift()
    return _predict(lgb.Booster(model_file=path), rows, shift, num_threads=threads)


FAMILY = LightGBM
