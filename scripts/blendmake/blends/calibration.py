"""From a blend's ranks to probabilities, in the same order.

What a blend averages on the rank scale has a mean of 0.5 whatever the target; log loss and Brier
score want probabilities. A map of three parameters (beta calibration: Kull, Silva Filho and Flach,
"Beyond sigmoids", 2017) turns one into the other. It rises strictly, so that no AUC within a fold
changes, and it is cross-fitted: a row is mapped by what was fitted without its fold's labels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import minimize

from blendmake.blends.members import Predictions, Split
from blendmake.stats.logits import expit

Floats = NDArray[np.float64]

LOGISTIC, NONE = "logistic", "none"
CALIBRATIONS = (LOGISTIC, NONE)
FEW = 10  # positives or negatives, below which a map is told to be shrunk
RIDGE = 1.0  # pull of both slopes towards 0, as a normal prior of variance 1 has it
LEAST_SLOPE = 1e-3  # strictly above 0, so that the order stays
EDGE = 2.0**-25  # half the distance of the last float32 below 1
LEAST = 1e-30  # far from where float32 has no more digits
BINS = 4096

_MAPS: list[tuple[str, pa.DataType]] = [
    ("target", pa.string()),
    ("fold", pa.int32()),
    ("method", pa.string()),
    ("intercept", pa.float64()),
    ("low", pa.float64()),
    ("high", pa.float64()),
    ("rows", pa.int64()),
    ("positives", pa.int64()),
    ("why", pa.string()),
]
MAPS_SCHEMA = pa.schema(_MAPS)


@dataclass(frozen=True)
class CalibrationMap:
    """log odds = intercept + low * ln(rank) - high * ln(1 - rank), both slopes above 0."""

    intercept: float
    low: float
    high: float

    def __call__(self, ranks: NDArray[np.floating]) -> Floats:
        """Probabilities (n,) of ranks (n,) within [0, 1]."""
        low, high = _inputs(ranks)
        return expit(self.intercept + self.low * low + self.high * high)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A blend's predictions as probabilities: shapes as in `blending.Blended`.

    Attributes:
        oof, in_sample, test: None where there was none.
        maps: one row per target and fold: target, fold (the position of the split that the map
            serves; null: fitted on all rows, serves test and in_sample), method, intercept, low,
            high, rows and positives that it was fitted on, and why it is as it is.
    """

    oof: Predictions
    in_sample: Predictions | None
    test: Predictions | None
    maps: pa.Table


def calibrate_columns(
    oof: Predictions,
    in_sample: Predictions | None,
    test: Predictions | None,
    labels: NDArray[np.floating],
    targets: Sequence[str],
    splits: Sequence[Split],
    threads: int = 1,
) -> Calibrated:
    """Calibrate a blend, target by target, and warn of targets whose maps say little.

    Args:
        oof, in_sample, test: (n, T), (n, T) and (m, T), within [0, 1].
        labels: (n, T), 0/1, NaN where unknown, in the order of `targets`.
        targets: the T targets.
        splits: a split's map is fitted on its `fit` rows and serves its `apply` rows.
        threads: how many targets are calibrated side by side; no bit depends on it.
    """
    crossed, whole, tested = (
        None if part is None else np.empty(part.shape, np.float32, order="F")
        for part in (oof, in_sample, test)
    )
    assert crossed is not None
    outside = np.ones(len(oof), np.bool_)
    for split in splits:
        outside[split.apply] = False
    alone = np.flatnonzero(outside)

    def put(j: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        target = targets[j]
        for fold, split in enumerate(splits):
            found = _fit(rows, target, fold, oof[split.fit, j], labels[split.fit, j])
            crossed[split.apply, j] = _mapped(found, oof[split.apply, j])
        found = _fit(rows, target, None, oof[:, j], labels[:, j])
        crossed[alone, j] = _mapped(found, oof[alone, j])
        for given, made in ((in_sample, whole), (test, tested)):
            if given is not None and made is not None:
                made[:, j] = _mapped(found, given[:, j])
        return rows

    with ThreadPoolExecutor(threads) as pool:
        rows = [row for told in pool.map(put, range(len(targets))) for row in told]
    _warn(rows)
    return Calibrated(crossed, whole, tested, pa.Table.from_pylist(rows, schema=MAPS_SCHEMA))


def fit_map(
    ranks: NDArray[np.floating], labels: NDArray[np.floating]
) -> tuple[CalibrationMap, str]:
    """The map of the greatest penalised likelihood, and a word on how far to trust it.

    The slopes are pulled to 0 (`RIDGE`), which says nothing with many rows and with few keeps the map
    near the share of positives, (positives + 0.5) / (rows + 1).

    Args:
        ranks: (n,) within [0, 1].
        labels: (n,) 0/1, without NaN.

    Returns:
        The map, and `fitted`, or why it says little: few rows of a class, one class only, an order
        that is no better than chance.
    """
    positives = int(np.count_nonzero(labels == 1))
    fewer = min(positives, len(labels) - positives)
    low, high = _inputs(ranks)
    inputs, rows, hits = _binned(low, high, labels)
    centre = np.sum(inputs * rows, axis=1) / max(len(labels), 1)
    inputs = inputs - centre[:, None]
    # Half a positive and half a negative at the centre keep the intercept finite.
    rows, hits = np.append(rows, 1.0), np.append(hits, 0.5)
    inputs = np.append(inputs, np.zeros((2, 1)), axis=1)

    def loss(given: Floats) -> tuple[float, Floats]:
        logits = given[0] + given[1] * inputs[0] + given[2] * inputs[1]
        value = float(np.sum(rows * np.logaddexp(0.0, logits) - hits * logits))
        error = rows * expit(logits) - hits
        slope = np.array([np.sum(error), np.sum(error * inputs[0]), np.sum(error * inputs[1])])
        slope[1:] += RIDGE * given[1:]
        return value + 0.5 * RIDGE * float(np.sum(np.square(given[1:]))), slope

    start = np.array([np.log((positives + 0.5) / (len(labels) - positives + 0.5)), 0.5, 0.5])
    bounds = [(None, None), (LEAST_SLOPE, None), (LEAST_SLOPE, None)]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    slopes = (float(found[1]), float(found[2]))
    intercept = float(found[0] - slopes[0] * centre[0] - slopes[1] * centre[1])
    return CalibrationMap(intercept, *slopes), _why(fewer, slopes)


def in_order(ranks: NDArray[np.floating], values: Floats) -> Predictions:
    """Values as float32 in exactly the order of the ranks: equal where they are equal only.

    Args:
        ranks: (n,) floats.
        values: (n,) that do not fall as ranks rise, within [0, 1].
    """
    distinct, where = np.unique(ranks, return_inverse=True)
    first = np.empty(len(distinct))
    first[where] = values
    # The bits of positive floats, read as integers, count them in their order.
    steps = np.arange(len(distinct))
    bits = np.clip(first, LEAST, 1.0).astype(np.float32).view(np.int32).astype(np.int64)
    bits = np.maximum.accumulate(bits - steps) + steps
    one = int(np.float32(1.0).view(np.int32))
    bits = np.minimum(bits, one - steps[::-1])
    made: Predictions = bits.astype(np.int32).view(np.float32)[where]
    return made


def _mapped(found: CalibrationMap, ranks: Predictions) -> Predictions:
    return in_order(ranks, found(ranks))


def _fit(
    rows: list[dict[str, Any]],
    target: str,
    fold: int | None,
    ranks: Predictions,
    labels: NDArray[np.floating],
) -> CalibrationMap:
    """The map of the rows whose label is known; told in `rows`."""
    known = np.isfinite(labels)
    found, why = fit_map(ranks[known], labels[known])
    rows.append(
        {
            "target": target,
            "fold": fold,
            "method": LOGISTIC,
            "intercept": found.intercept,
            "low": found.low,
            "high": found.high,
            "rows": int(np.count_nonzero(known)),
            "positives": int(np.count_nonzero(labels[known] == 1)),
            "why": why,
        }
    )
    return found


def _inputs(ranks: NDArray[np.floating]) -> tuple[Floats, Floats]:
    inside = np.clip(np.asarray(ranks, np.float64), EDGE, 1 - EDGE)
    return np.log(inside), -np.log1p(-inside)


def _binned(
    low: Floats, high: Floats, labels: NDArray[np.floating]
) -> tuple[Floats, Floats, Floats]:
    """Mean inputs (2, b), rows (b,) and positives (b,) of narrow bins of the log odds.

    A bin is so narrow that what the likelihood loses cannot be seen, and a fit takes milliseconds at
    any number of rows.
    """
    logits = low + high
    width = 2 * np.log(1 / EDGE) / BINS
    bins = np.floor(logits / width).astype(np.int64)
    bins -= bins.min(initial=0)
    rows = np.bincount(bins).astype(np.float64)
    filled = np.flatnonzero(rows)
    sums = np.stack([np.bincount(bins, part) for part in (low, high, labels == 1)])[:, filled]
    return sums[:2] / rows[filled], rows[filled], sums[2]


def _why(fewer: int, slopes: tuple[float, float]) -> str:
    if fewer == 0:
        return "one class: near the share of positives"
    if max(slopes) <= LEAST_SLOPE:
        return "no better than chance: near the share of positives"
    return "fitted" if fewer >= FEW else f"few of a class ({fewer}): shrunk"


def _warn(rows: Sequence[Mapping[str, Any]]) -> None:
    """Tell of the targets of which some map says little."""
    doubted: dict[str, str] = {}
    for row in rows:
        if row["why"] != "fitted":
            doubted.setdefault(row["target"], row["why"])
    for target, why in doubted.items():
        logging.getLogger(__name__).warning("calibration of %s: %s", target, why)
