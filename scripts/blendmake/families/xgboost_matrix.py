"""What the families built on XGBoost share: names of params, and the matrices of a fold's rows."""

from __future__ import annotations

import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from blendmake.family import Fit, FoldData, Labels, Smaller, Stop, Weights, refused
from blendmake.heap import give_back_freed
from blendmake.lean.xgboost import xgb
from blendmake.matrix import Floats, Positions, Rows, joined

log = logging.getLogger(__name__)

MAX_BIN = 256
SMALLER = Smaller("max_bin", MAX_BIN, 16)
# Params and values that XGBoost has for the CPU alone.
CPU_ONLY = {"booster": "gblinear", "tree_method": "exact"}
DEFAULTS: dict[str, Any] = {"learning_rate": 0.05}
ALIASES: dict[str, str] = {
    "alpha": "reg_alpha",
    "eta": "learning_rate",
    "lambda": "reg_lambda",
    "min_split_loss": "gamma",
}
RESERVED: dict[str, str] = {
    "eval_metric": "early stopping watches the problem's metric (key 'metric')",
    "num_class": "it is the number of the target's classes",
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


class _Blocks(xgb.DataIter):  # type: ignore[misc]
    """Feeds rows to XGBoost block by block, so that the table is never held twice."""

    def __init__(self, rows: Rows, types: list[str]) -> None:
        self.rows, self.types = rows, types
        self._blocks: Iterator[Floats] = iter(())
        super().__init__(release_data=True)

    def reset(self) -> None:
        self._blocks = self.rows.blocks()

    def next(self, input_data: Callable[..., Any]) -> bool:
        give_back_freed()  # the sketches of the columns, say, before what comes after them
        block = next(self._blocks, None)
        if block is None:
            return False
        input_data(data=block, feature_types=self.types)
        return True


def _types(rows: Rows, categories: bool) -> list[str]:
    return ["c" if categories and column.is_category else "q" for column in rows.columns]


class FoldMatrices:
    """The quantile matrices of one fold, each built when it is first asked for.

    Bins are those of the training rows; rows that a fit watches are cut at the same places.

    Args:
        categories: whether categories are split as sets of levels; otherwise their codes are
            numbers.
    """

    def __init__(self, data: FoldData, threads: int, max_bin: int, categories: bool) -> None:
        self.data, self.threads = data, threads
        self.max_bin, self.categories = max_bin, categories
        self._made: dict[str, xgb.QuantileDMatrix] = {}

    def matrix(self, part: str) -> xgb.QuantileDMatrix:
        """The matrix of the rows `train` or `stop`, which must not be empty."""
        if part not in self._made:
            rows = getattr(self.data, part)
            self._made[part] = xgb.QuantileDMatrix(
                _Blocks(rows, _types(rows, self.categories)),
                max_bin=self.max_bin,
                ref=None if part == "train" else self.matrix("train"),
                nthread=self.threads,
                enable_categorical=True,
            )
        return self._made[part]

    def predict(self, booster: xgb.Booster, rows: Rows, in_place: bool) -> Floats:
        """Predictions (rows,) or (rows, targets), the same from values as from bins.

        Binning the rows first would take longer than all that they are predicted for, and be held
        beside the training matrix.

        Args:
            in_place: whether the model can read the blocks as they are: on the CPU, and of trees.
        """
        if not in_place:
            return predict_blocks(booster, rows, self.threads, self.categories)
        return joined([booster.inplace_predict(block) for block in rows.blocks()])


class Prepared(NamedTuple):
    """What one fit stands on: its matrices, labels and weights of their rows, and what is watched."""

    matrices: FoldMatrices
    labels: Labels
    weights: Weights | None
    stop: Stop | None


class Matrices:
    """The matrices of a fold, shared by all fits whose bins are alike."""

    def __init__(self, data: FoldData, threads: int, categories: bool = True) -> None:
        self._data, self._threads, self._categories = data, threads, categories
        self._shared: FoldMatrices | None = None

    def drop(self) -> None:
        """Let the matrices go, with what of them is on a GPU; they are made again when asked for."""
        self._shared = None

    def of(self, asked: Fit, max_bin: int) -> Prepared:
        """The matrices for a fit.

        Where fewer than half of the training rows have a label that counts (undersampling), the fit
        gets matrices of those rows alone, with bins of their own. The bins of all rows would
        serve as well, but must then be made for it, or what it gives would depend on the fits
        before it.
        """
        give_back_freed()  # what the fit before this one took
        known = _labelled(asked.labels)
        if 2 * len(known) < len(asked.labels):
            rows, stop = self._data.stop, asked.stop
            if rows is not None and stop is not None:
                watched = _labelled(stop.labels)
                rows, stop = rows.at(watched), replace(stop, labels=stop.labels[watched])
            data = replace(self._data, train=self._data.train.at(known), stop=rows)
            alone = FoldMatrices(data, self._threads, max_bin, self._categories)
            weights = None if asked.weights is None else asked.weights[known]
            return Prepared(alone, asked.labels[known], weights, stop)
        if self._shared is None or self._shared.max_bin != max_bin:
            self._shared = None  # the old matrices go before the new ones come
            self._shared = FoldMatrices(self._data, self._threads, max_bin, self._categories)
        return Prepared(self._shared, asked.labels, asked.weights, asked.stop)


def device_of(gpu: float, params: Mapping[str, Any]) -> dict[str, str]:
    """The settings that put a fit on the GPU, if it has one; the bins are cut on the CPU either way."""
    for name, value in CPU_ONLY.items():
        if gpu and params.get(name) == value:
            log.warning("'%s: %s' is for the CPU alone: the GPU given is not used", name, value)
            return {}
    return {"device": "cuda"} if gpu else {}


def ran_on(booster: xgb.Booster, settings: Mapping[str, Any]) -> str:
    """Where a fit really ran: where XGBoost sees no GPU, it goes on without one."""
    if "device" not in settings:
        return "cpu"
    found = json.loads(booster.save_config())["learner"]["generic_param"]["device"]
    if str(found).startswith("cuda"):
        return "cuda"
    log.warning("XGBoost %s sees no GPU: on the CPU", xgb.__version__)
    return "cpu"


def _labelled(labels: Labels) -> Positions:
    """The rows of a known label, of any target: where they are."""
    return np.flatnonzero(np.any(~np.isnan(labels), axis=1))


@contextmanager
def refusing(asked: Fit) -> Iterator[None]:
    """Turn what XGBoost refuses, or warns of as unknown, into the error that names the target."""
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        try:
            yield
        except (xgb.core.XGBoostError, TypeError, ValueError) as error:
            raise refused(asked, error) from error
    for complaint in complaints:
        # An unknown param is only a warning there, and cannot be raised out of its callback.
        unused = re.search(r"Parameters: \{ (.*) \} are not used", str(complaint.message))
        if unused:
            raise refused(asked, ValueError(f"Unknown param {unused[1]}"))


def trained(booster: xgb.Booster, rounds: int) -> xgb.Booster:
    """The model of the first rounds, without what training kept beside it (histograms, say)."""
    booster.reset()
    give_back_freed()
    return booster[:rounds] if rounds < booster.num_boosted_rounds() else booster


def saver(booster: xgb.Booster) -> Callable[[Path], Path]:
    """A way to write a model in XGBoost's own format (base.Fitted.save)."""

    def save(stem: Path) -> Path:
        path = stem.with_name(stem.name + ".ubj")
        booster.save_model(path)
        return path

    return save


def predict_blocks(
    booster: xgb.Booster, rows: Rows, threads: int, categories: bool = True
) -> Floats:
    """Predictions (rows,) or (rows, targets), the rows read in blocks."""
    values = []
    for block in rows.blocks():
        matrix = xgb.DMatrix(
            block,
            feature_types=_types(rows, categories),
            nthread=threads,
            enable_categorical=True,
        )
        values.append(booster.predict(matrix))
    return joined(values)
