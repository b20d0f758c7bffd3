"""Columns that tell a target of classes or numbers by themselves; see `tellers`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.matrix import Rows
from blendmake.stats.ranks import rank_scale
from blendmake.tasks.base import Target

TELLS = 0.995  # share of rows whose class a column says, or rank correlation with the numbers
LEAST_Z = 6.0  # standard errors that it must lie from chance
MOST, LEAST = 2000, 50  # rows that are looked at
Floats = NDArray[np.float64]


def find_tellers_of(rows: Rows, labels: NDArray[Any], target: Target) -> Iterator[dict[str, Any]]:
    """The columns that alone tell a target.

    Args:
        rows: of a feature set; a sample of them is read, a column at a time.
        labels: (rows,) of a target that is not binary, NaN where unknown.

    Yields:
        column, target, `targets` (1), and how well: `right` (share of rows) of classes, `correlation`
        (of ranks) of numbers.
    """
    known = np.flatnonzero(~np.isnan(labels))
    if len(known) < LEAST:
        return
    if len(known) > MOST:
        known = known[np.linspace(0, len(known) - 1, MOST).astype(np.intp)]
    truth, part = labels[known].astype(np.float64), rows.at(known)
    measure, key = (_right, "right") if target.classes else (_correlation, "correlation")
    for index, column in enumerate(rows.columns):
        values = part.values(index).astype(np.float64)
        score = measure(values, truth, column.is_category)
        if score >= TELLS:
            told = {"column": column.name, "target": target.name, "targets": 1}
            yield {**told, key: round(score, 4)}


def _halves(n: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Two halves (n,): what is said of the rows of one comes from the other."""
    half = np.random.default_rng(0).permutation(n) % 2 == 0
    return half, ~half


def _right(values: Floats, truth: Floats, is_category: bool) -> float:
    """The share of rows whose class is the commonest at their value, or the nearest, in the other half;
    0 where as much may be chance."""
    n = len(truth)
    values = np.where(np.isnan(values), np.fmin.reduce(values, initial=0.0) - 1, values)
    right = 0
    for half in _halves(n):
        other = ~half
        pairs, counts = np.unique(
            np.column_stack([values[other], truth[other]]), axis=0, return_counts=True
        )
        order = np.lexsort((counts, pairs[:, 0]))
        last = np.append(np.flatnonzero(np.diff(pairs[order, 0])), len(order) - 1)
        distinct, commonest = pairs[order[last], 0], pairs[order[last], 1]
        above = np.searchsorted(distinct, values[half]).clip(0, len(distinct) - 1)
        below = (above - 1).clip(0)
        nearer = np.abs(values[half] - distinct[below]) < np.abs(distinct[above] - values[half])
        place = np.where(nearer, below, above)
        hit = commonest[place] == truth[half]
        if is_category:  # of levels none is near another
            hit &= distinct[place] == values[half]
        right += int(hit.sum())
    share = right / n
    most = float(np.unique(truth, return_counts=True)[1].max()) / n
    error = math.sqrt(most * (1 - most) / n)
    return share if error and share - most >= LEAST_Z * error else 0.0


def _correlation(values: Floats, truth: Floats, is_category: bool) -> float:
    """The rank correlation, either way round; levels go by their means in the other half. 0 where as
    much may be chance, or where most of the column is missing."""
    known = ~np.isnan(values)
    n = int(known.sum())
    if n < LEAST or n < len(truth) / 2:
        return 0.0
    values, truth = values[known], truth[known]
    if is_category:
        codes = values.astype(np.intp)
        values = np.empty(n)
        for half in _halves(n):
            count = np.bincount(codes[~half], minlength=codes.max() + 1)
            total = np.bincount(codes[~half], truth[~half], minlength=codes.max() + 1)
            means = np.where(count > 0, total / np.maximum(1, count), truth.mean())
            values[half] = means[codes[half]]
    a, b = (rank_scale(one, None) - 0.5 for one in (values, truth))
    norm = math.sqrt(float(a @ a) * float(b @ b))
    found = abs(float(a @ b)) / norm if norm else 0.0
    return found if found * math.sqrt(n - 1) >= LEAST_Z else 0.0
