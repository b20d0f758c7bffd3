"""What is handed in where no source ends in time: a linear model on a sample of rows, or the prior.

Least squares with a ridge for all targets at once, then one logistic curve for each: seconds at any
size of the tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.files import read_parquet
from blendmake.labels import Labels, read_groups, read_labels
from blendmake.matrix import TableFile
from blendmake.predictions import write_predictions
from blendmake.stats.auc import auc

ROWS = 6000
ASIDE = 0.2  # of the sample, or of its groups: rows that score it
BLOCK = 64  # columns that are held at once
COLUMNS = 1500
LEVELS = 20  # of a category that is spread into a column for each level; others are left out
RIDGE = 0.05  # of the rows, added to the squares of columns of deviation one
STEPS = 15
Floats = NDArray[np.float64]


def make_prior(test: Path, targets: Path, out: Path, note: Mapping[str, Any]) -> dict[str, Any]:
    """Write the rates of positives as predictions for the test rows.

    Args:
        test: typed table.
        targets, out, note: as for `make_last_resort`.

    Returns:
        What was done, as `make_last_resort` tells it.
    """
    ids, names, labels = read_labels(targets)
    table = TableFile(test)
    return write_prior(out, table.table(ids.column_names), names, _rates(labels), note)


def write_prior(
    out: Path,
    ids: pa.Table,
    names: Sequence[str],
    rates: Sequence[float] | Floats,
    note: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the same predictions for all rows: the rate of positives of each target."""
    told = {"kind": "prior", "macro_auc": None}
    predicted = np.tile(np.asarray(rates, np.float32), (ids.num_rows, 1))
    write_predictions(out, ids, names, predicted, {**note, "optimistic": [], "last_resort": told})
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
        What was done: `kind` (linear or prior), `rows`, `macro_auc` on held-out rows of the sample
        (None: unknown). The note of `out` says the same under `last_resort`.
    """
    ids, names, labels = read_labels(targets)
    test = TableFile(tables["test"])
    draw = np.random.default_rng(seed)
    sample = np.sort(draw.permutation(len(labels))[:ROWS])
    y = labels[sample].astype(np.float64)
    prior = _rates(labels.astype(np.float64))
    described = read_parquet(columns).to_pylist()
    described = [described[i] for i in np.sort(draw.permutation(len(described))[:COLUMNS])]
    of = sample if groups is None else np.asarray(read_groups(groups))[sample]
    parts = np.unique(of)
    aside = np.isin(of, draw.permutation(parts)[: round(ASIDE * len(parts))])
    model = _Linear(TableFile(tables["train"]), described, sample)
    score = _score(model, y, aside)
    told = {"kind": "prior", "rows": len(sample), "macro_auc": score}
    predicted = np.tile(prior, (test.rows, 1))
    if score is not None and score > 0.5:
        told["kind"] = "linear"
        model.fit(y, np.ones(len(sample), bool))
        predicted = model.predict(test)
    made = {**note, "optimistic": [], "last_resort": told}
    write_predictions(out, test.table(ids.column_names), names, predicted.astype(np.float32), made)
    return told


def _rates(labels: Labels) -> Floats:
    """Share of positives (targets,) among known labels."""
    known = ~np.isnan(labels)
    total = np.nansum(labels, axis=0, dtype=np.float64)
    return np.where(known.any(axis=0), total / np.maximum(1, known.sum(0)), 0.5)


def _score(model: _Linear, labels: Floats, aside: NDArray[np.bool_]) -> float | None:
    """Macro AUC of a model of the other rows on those set aside; the model is fitted anew after."""
    if aside.all() or not aside.any():
        return None
    model.fit(labels, ~aside)
    return macro_auc(labels[aside], model.of_sample()[aside])


def macro_auc(labels: Labels, predicted: NDArray[np.floating[Any]]) -> float | None:
    """Mean AUC over the targets that have both classes among these rows; None where none has.

    Args:
        labels: (rows, targets), NaN where unknown.
        predicted: (rows, targets).
    """
    scores = []
    for truth, guess in zip(labels.T, predicted.T, strict=True):
        known = ~np.isnan(truth)
        if len(np.unique(truth[known])) == 2:
            scores.append(auc(truth[known], guess[known]))
    return float(np.mean(scores)) if scores else None


class _Linear:
    """A linear model of all targets on a sample of the train rows.

    Args:
        described: rows of tables/columns.parquet: name, kind, levels.
        sample: positions of the rows.
    """

    def __init__(self, table: TableFile, described: list[dict[str, Any]], sample: Any) -> None:
        self.described = described
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
        x, y = self.x[rows], labels[rows]
        self.rates = _rates(y)
        centred = np.where(np.isnan(y), 0.0, y - self.rates)
        squares = x.T @ x
        squares[np.diag_indices_from(squares)] += RIDGE * len(x) + 1e-6
        self.weights = np.linalg.solve(squares, x.T @ centred)
        self.curves = [_curve(x @ self.weights[:, j], y[:, j]) for j in range(y.shape[1])]

    def of_sample(self) -> Floats:
        return self._curved(self.x @ self.weights)

    def predict(self, table: TableFile) -> Floats:
        """Probabilities (rows, targets)."""
        raw = np.zeros((table.rows, self.weights.shape[1]))
        columns = self._columns(table)
        for start in range(0, len(self.weights), BLOCK):
            block = np.column_stack(list(islice(columns, BLOCK)))
            which = slice(start, start + block.shape[1])
            raw += self._scaled(block, which) @ self.weights[which]
        return self._curved(raw)

    def _curved(self, raw: Floats) -> Floats:
        curved = np.empty_like(raw)
        for j, (slope, start) in enumerate(self.curves):
            curved[:, j] = 1 / (1 + np.exp(-np.clip(slope * raw[:, j] + start, -30, 30)))
        return curved


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
