"""Target encoding: a category as the smoothed mean label of its level, cross-fitted.

Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes in classification
and prediction problems", SIGKDD Explorations 2001: a level's mean is shrunk to the overall mean (the
prior), here with the weight n / (n + smoothing) of that paper's empirical Bayes form. A missing value
is a level of its own; a level that the rows at hand do not hold is the prior.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blendmake.features.label_counts import LabelCounts
from blendmake.labels import Labels
from blendmake.matrix import Floats, Positions


def any_positive(labels: Labels) -> Labels:
    """One label of all targets: (rows,), 1 where any target is positive.

    0 where none of the known ones is, NaN where none is known.
    """
    positive = (labels == 1).any(axis=1)
    return np.where(np.isnan(labels).all(axis=1), np.nan, positive).astype(np.float32)


def level_codes(codes: Floats, levels: int) -> Positions:
    """Codes of a category column as whole numbers, a missing value as `levels`."""
    return np.where(np.isnan(codes), levels, codes).astype(np.intp)


def encodings(
    codes: Positions,
    levels: int,
    counts: LabelCounts,
    inner: NDArray[np.integer],
    folds: int,
    smoothing: float,
) -> Floats:
    """What each level stands for, by inner fold.

    Args:
        codes: (rows,) of level_codes, of the rows that are learned from.
        counts: of their labels.
        inner: (rows,) the inner fold of each, 0 to folds - 1.

    Returns:
        (folds + 1, levels + 1, targets) float32: for inner fold i what is learned from the rows
        outside it, and last what is learned from all rows. NaN where no label is known.
    """
    size = levels + 1
    shape = (folds, size, counts.targets)
    known, positive = (
        part.reshape(shape).astype(np.float64)
        for part in counts(inner.astype(np.int64) * size + codes, folds * size)
    )
    known, positive = _left_out(known), _left_out(positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        prior = positive.sum(axis=1, keepdims=True) / known.sum(axis=1, keepdims=True)
        shrunk = (positive + smoothing * prior) / (known + smoothing)
    values: Floats = np.where(known > 0, shrunk, prior).astype(np.float32)
    return values


def _left_out(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over all inner folds but each, and last over all."""
    total = counts.sum(axis=0, keepdims=True)
    return np.concatenate([total - counts, total])
