"""Target encoding: a category as the smoothed mean label of its level, cross-fitted.

What is averaged is said by the target's task (Task.moments): whether it is positive, the number, for
each class whether it is that.

Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes in classification
and prediction problems", SIGKDD Explorations 2001: a level's mean is shrunk to the overall mean (the
prior), here with the weight n / (n + smoothing) of that paper's empirical Bayes form. A missing value
is a level of its own; a level that the rows at hand do not hold is the prior.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.features.label_sums import LabelSums
from blendmake.labels import Labels
from blendmake.matrix import Doubles, Positions

Values = NDArray[np.floating[Any]]


def any_positive(labels: Labels) -> Labels:
    """One label of binary targets: (rows,), 1 where any target is positive.

    0 where none of the known ones is, NaN where none is known.
    """
    positive = (labels == 1).any(axis=1)
    return np.where(np.isnan(labels).all(axis=1), np.nan, positive).astype(np.float32)


def level_codes(codes: Values, levels: int) -> Positions:
    """Codes of a category column as whole numbers, a missing value as `levels`."""
    return np.where(np.isnan(codes), levels, codes).astype(np.intp)


def encodings(
    codes: Positions,
    levels: int,
    sums: LabelSums,
    inner: NDArray[np.integer],
    folds: int,
    smoothing: float,
) -> Doubles:
    """What each level stands for, by inner fold.

    Args:
        codes: (rows,) of level_codes, of the rows that are learned from.
        sums: of their labels.
        inner: (rows,) the inner fold of each, 0 to folds - 1.

    Returns:
        (folds + 1, levels + 1, sums): for inner fold i what is learned from the rows outside it, and
        last what is learned from all rows. NaN where no label is known.
    """
    size = levels + 1
    shape = (folds, size, len(sums.target_of))
    known, found = (
        _left_out(part.reshape(shape).astype(np.float64))
        for part in sums(inner.astype(np.int64) * size + codes, folds * size)
    )
    with np.errstate(invalid="ignore", divide="ignore"):
        prior = found.sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
        shrunk = (found + smoothing * prior) / (known + smoothing)
    values: Doubles = np.where(known > 0, shrunk, prior)
    return values


def _left_out(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over all inner folds but each, and last over all.

    They are added up, never all less one: what is rounded there would tell of the one.
    """
    none = np.zeros((1, *sums.shape[1:]))
    before = np.concatenate([none, np.cumsum(sums, axis=0)])
    after = np.concatenate([np.cumsum(sums[::-1], axis=0)[::-1][1:], none])
    return np.concatenate([before[:-1] + after, before[-1:]])


def needs_doubles(values: Values) -> NDArray[np.bool_]:
    """Of encodings (…, sums) those of which float32 would leave fewer than half of the values."""
    flat = values.reshape(-1, values.shape[-1])
    return np.array([_is_crowded(column[~np.isnan(column)]) for column in flat.T], bool)


def _is_crowded(values: Values) -> bool:
    if not len(values) or np.abs(values).max() <= 1:  # a share has room
        return False
    return 2 * len(np.unique(values.astype(np.float32))) < len(np.unique(values))
