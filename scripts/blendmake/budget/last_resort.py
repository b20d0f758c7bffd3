"""What is handed in where no source ends in time: a linear model on a sample of rows, or the prior.

Least squares with a ridge for all targets at once, then one logistic curve for each: seconds at any
size of the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.budget.measure import AUC, key_of, measured
from blendmake.files import read_parquet
from blendmake.labels import Labels, read_groups, read_known
from blendmake.matrix import TableFile
from blendmake.predictions import write_predictions
from blendmake.tasks.base import Target

ROWS = 6000
ASIDE = 0.2  # of the sample, or of its groups: rows that score it
BLOCK = 64  # columns that are held at once
COLUMNS = 1500
LEVELS = 20  # of a category that is spread into a column for each level; others are left out
RIDGE = 0.05  # of the rows, added to the squares of columns of deviation one
STEPS = 15
LEAST = 0.05  # of a class's even share: what it is given at least
Floats = NDArray[np.float64]


def make_prior(test: Path, targets: Path, out: Path, note: Mapping[str, Any]) -> dict[str, Any]:
    """Write what stands in where nothing is learnt as predictions for the test rows.

    Args:
        test: typed table.
        targets, out, note: as for `make_last_resort`.

    Returns:
        What was done, as `make_last_resort` tells it.
    """
    known = read_known(targets)
    ids = TableFile(test).table(known.ids.column_names)
    return write_prior(out, ids, known.targets, prior_of(known.targets, known.labels), note)


def prior_of(targets: Sequence[Target], labels: Labels) -> Floats:
    """The prior (outputs,): rates of positives and of classes, means of numbers.

    Args:
        labels: (rows, targets), NaN where unknown.
    """
    pairs = zip(targets, labels.T, strict=True)
    constants = [t.task.constant(one.astype(np.float64), len(t.outputs)) for t, one in pairs]
    return np.concatenate(constants)


def write_prior(
    out: Path, ids: pa.Table, targets: Sequence[Target], prior: Floats, note: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the same predictions (outputs,) for all rows."""
    told = {"kind": "prior", key_of(targets): None}
    predicted = np.tile(prior, (ids.num_rows, 1))
    made = {**note, "optimistic": [], "last_resort": told}
    write_predictions(out, ids, targets, predicted.astype(np.float32), made)
    return told


def make_last_resort(
    tables: Mapping[str, Path],
    columns: Path,
    targets: Path,
    groups: Path | None,
    out: Path,
    note: Mapping[str, Any],
    seed: int = 0,
) -> dict[str, Any]:
    """Write predictions for the test rows.

    Args:
        tables: `train` and `test`, typed.
        columns: tables/columns.parquet.
        groups: tables/groups.parquet, where rows come in groups: none is split to score the model.
        out: as a source's test.parquet.

    Returns:
        What was done: `kind` (linear or prior), `rows`, and how good it is on held-out rows of the
        sample (`measure.key_of`; None: unknown). The note of `out` says the same under `last_resort`.
    """
    known = read_known(targets)
    of, labels = known.targets, known.labels
    test = TableFile(tables["test"])
    draw = np.random.default_rng(seed)
    sample = np.sort(draw.permutation(len(labels))[:ROWS])
    y = labels[sample].astype(np.float64)
    prior = prior_of(of, labels)
    described = read_parquet(columns).to_pylist()
    described = [described[i] for i in np.sort(draw.permutation(len(described))[:COLUMNS])]
    units = sample if groups is None else np.asarray(read_groups(groups))[sample]
    parts = np.unique(units)
    aside = np.isin(units, draw.permutation(parts)[: round(ASIDE * len(parts))])
    model = _Linear(TableFile(tables["train"]), described, sample, of)
    score = _score(model, y, aside)
    told = {"kind": "prior", "rows": len(sample), key_of(of): score}
    predicted = np.tile(prior, (test.rows, 1))
    if score is not None and score > (0.5 if key_of(of) == AUC else 0.0):
        told["kind"] = "linear"
        model.fit(y, np.ones(len(sample), bool))
        predicted = model.predict(test)
    made = {**note, "optimistic": [], "last_resort": told}
    ids = test.table(known.ids.column_names)
    write_predictions(out, ids, of, predicted.astype(np.float32), made)
    return told


def _score(model: _Linear, labels: Floats, aside: NDArray[np.bool_]) -> float | None:
    """How good a model of the other rows is on those set aside; the model is fitted anew after."""
    if aside.all() or not aside.any():
        return None
    model.fit(labels, ~aside)
    return measured(labels[aside], model.of_sample()[aside], model.targets)


class _Linear:
    """A linear model of all targets on a sample of the train rows.

    Args:
        described: rows of tables/columns.parquet: name, kind, levels.
        sample: positions of the rows.
        targets: what is predicted.
    """

    def __init__(
        self,
        table: TableFile,
        described: list[dict[str, Any]],
        sample: Any,
        targets: Sequence[Target],
    ) -> None:
        self.described, self.targets = described, targets
        columns = [column[sample] for column in self._columns(table)]
        x = np.column_stack(columns) if columns else np.zeros((len(sample), 0), np.float32)
        self.middle, self.scale = _moments(x)
        self.x = self._scaled(x, slice(None))

    def _columns(self, table: TableFile) -> Iterator[NDArray[np.float32]]:
        """The columns (rows,) one after another, NaN where missing: all of a large table is too much."""
        for column in self.described:
            values = table.values(column["name"])
            if column["kind"] != "category":
                yield values
            elif len(column["levels"]) <= LEVELS:
                for level in range(len(column["levels"])):
                    yield np.asarray(values == level, np.float32)

    def _scaled(self, x: NDArray[np.float32], which: slice) -> Floats:
        """Some columns with deviation one, missing values at the mean, far ones drawn in."""
        scaled = (x - self.middle[which]) / self.scale[which]
        return np.clip(np.nan_to_num(scaled, nan=0.0, posinf=5.0, neginf=-5.0), -5, 5)

    def fit(self, labels: Floats, rows: NDArray[np.bool_]) -> None:
        """Fit on some rows of the sample; labels (sample, targets), NaN where unknown."""
        x = self.x[rows]
        pairs = [*zip(self.targets, labels[rows].T, strict=True)]
        y = np.column_stack([t.task.moments(one, len(t.outputs)) for t, one in pairs])
        rates = prior_of(self.targets, labels[rows])
        centred = np.where(np.isnan(y), 0.0, y - rates)
        squares = x.T @ x
        squares[np.diag_indices_from(squares)] += RIDGE * len(x) + 1e-6
        self.weights = np.linalg.solve(squares, x.T @ centred)
        self.curves, first = list[_Curve](), 0
        for target, known in pairs:
            last = first + len(target.outputs)
            of = slice(first, last)
            self.curves.append(_curve_of(target, x @ self.weights[:, of], known, rates[of]))
            first = last

    def of_sample(self) -> Floats:
        return self._curved(self.x @ self.weights)

    def predict(self, table: TableFile) -> Floats:
        """Predictions (rows, outputs)."""
        raw = np.zeros((table.rows, self.weights.shape[1]))
        columns = self._columns(table)
        for start in range(0, len(self.weights), BLOCK):
            block = np.column_stack(list(islice(columns, BLOCK)))
            which = slice(start, start + block.shape[1])
            raw += self._scaled(block, which) @ self.weights[which]
        return self._curved(raw)

    def _curved(self, raw: Floats) -> Floats:
        parts, first = [], 0
        for target, curve in zip(self.targets, self.curves, strict=True):
            last = first + len(target.outputs)
            parts.append(curve(raw[:, first:last]))
            first = last
        return np.hstack(parts)


_Curve = Callable[[Floats], Floats]


def _curve_of(target: Target, raw: Floats, labels: Floats, rates: Floats) -> _Curve:
    """From raw values (rows, outputs), which are about 0, to predictions of a target.

    Args:
        raw, labels: of the rows that were fitted.
        rates: the prior (outputs,).
    """
    if target.task.name == "binary":
        slope, start = _curve(raw[:, 0], labels)
        return lambda new: 1 / (1 + np.exp(-np.clip(slope * new + start, -30, 30)))
    if target.classes:

        def shares(new: Floats) -> Floats:
            floor = LEAST / new.shape[1]
            clipped = np.clip(rates + new, floor, 1.0)
            found: Floats = clipped / clipped.sum(axis=1, keepdims=True)
            return found

        return shares
    if np.isnan(labels).all():
        return lambda new: np.broadcast_to(rates, new.shape)
    low, high = float(np.nanmin(labels)), float(np.nanmax(labels))
    return lambda new: np.clip(rates + new, low, high)


def _moments(x: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Mean and deviation of each column, without what is missing."""
    known = np.isfinite(x)
    count = np.maximum(1, known.sum(axis=0))
    values = np.where(known, x, 0).astype(np.float64)
    mean = values.sum(axis=0) / count
    spread = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 0, spread, 1.0)


def _curve(raw: Floats, labels: Floats) -> tuple[float, float]:
    """Slope (never below 0) and start of a logistic curve from raw values to labels."""
    known = ~np.isnan(labels)
    x, y = raw[known], labels[known]
    rate = float(np.clip(y.mean() if len(y) else 0.5, 1e-6, 1 - 1e-6))
    start = float(np.log(rate / (1 - rate)))
    deviation = float(x.std()) if len(x) else 0.0
    if deviation == 0 or len(np.unique(y)) < 2:
        return 0.0, start
    z = np.column_stack([x / deviation, np.ones(len(x))])
    beta = np.array([1.0, start])
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-np.clip(z @ beta, -30, 30)))
        slope = z.T @ (y - p) - 1e-3 * beta
        bend = (z * (p * (1 - p))[:, None]).T @ z + 1e-3 * np.eye(2)
        beta = beta + np.clip(np.linalg.solve(bend, slope), -2, 2)
    return max(0.0, float(beta[0]) / deviation), float(beta[1])
