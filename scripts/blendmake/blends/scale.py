"""Puts predictions of different scale on one scale, so that they may be averaged.

A boosted tree's 0.02 and a linear model's 0.3 may mean the same; averaged as they are, the model
with the wider spread would decide alone. Neither scale here looks at a label.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAR = float(np.log(999_999))  # log odds of 1 - 1e-6
DUPLICATE = 0.9999  # rank correlation from which two columns count as the same


def rank_scale(
    values: NDArray[np.floating], folds: NDArray[np.integer] | None
) -> NDArray[np.float64]:
    """Average ranks divided by the number of rows: (rank - 0.5) / n, strictly inside (0, 1).

    Out-of-fold predictions come from one model per fold, so that each fold is ranked by itself;
    a test table is ranked as a whole (``folds=None``).

    Args:
        values: (n,) or (n, T), any real scale; each column is ranked alone.
        folds: (n,), the block of each row; every distinct value, -1 too, is a block. None: one.

    Returns:
        Same shape as ``values``. The mean is 0.5 in every block; tied values share a rank.

    Raises:
        ValueError: NaN among the values (it has no rank), or ``folds`` of another length.
    """
    if np.isnan(values).any():
        raise ValueError("NaN cannot be ranked")
    columns = values[:, None] if values.ndim == 1 else values
    ranks = np.empty(columns.shape, dtype=np.float64)
    for block in _blocks(folds, len(values)):
        for column in range(columns.shape[1]):
            ranks[block, column] = _rank_share(columns[block, column])
    return ranks.reshape(values.shape)


def logit_scale(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log odds of probabilities; same shape as ``values``.

    Beyond those of 1e-6 and 1 - 1e-6 they grow by the logarithm of the excess only, so that a few
    predictions of an all too certain model do not outweigh the others in a mean, and yet different
    predictions stay different. 0 and 1 stand half a step of the type of ``values`` from their
    neighbours: what float32 rounds to 1 may have been 1 - 2.9e-8.
    """
    kind = np.finfo(values.dtype)
    p = np.asarray(values, dtype=np.float64)
    inside = np.clip(p, np.nextafter(0, 1), np.nextafter(1, 0))
    odds = np.log(inside) - np.log1p(-inside)
    odds[p == 0] = np.log(float(kind.smallest_subnormal)) - np.log(2)
    odds[p == 1] = np.log(2) - np.log(float(kind.epsneg))
    excess = np.maximum(np.abs(odds) - FAR, 0)
    tamed: NDArray[np.float64] = np.where(
        excess > 0, np.copysign(FAR + np.log1p(excess), odds), odds
    )
    return tamed


def expit(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of the logit, without overflow; same shape as ``logits``."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def rank_correlations(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spearman's correlations (s, s) of s columns already ranked, given as rows (s, n).

    Ranks within folds will do: every block of ``rank_scale`` has the same mean. A constant column
    has no correlation with anything: NaN.
    """
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    products = centred @ centred.T
    # A constant column leaves rounding noise, not zero, after centring.
    variances = np.where(np.ptp(ranks, axis=1) > 0, np.diag(products), np.nan)
    norms = np.sqrt(variances)
    correlations: NDArray[np.float64] = np.clip(products / np.outer(norms, norms), -1.0, 1.0)
    return correlations


def _blocks(folds: NDArray[np.integer] | None, n: int) -> list[slice | NDArray[np.intp]]:
    if folds is None:
        return [slice(None)]
    if folds.shape != (n,):
        raise ValueError(f"folds of shape {folds.shape} for {n} rows")
    return [np.flatnonzero(folds == fold) for fold in np.unique(folds)]


def _rank_share(column: NDArray[np.floating]) -> NDArray[np.float64]:
    n = len(column)
    shares = np.empty(n, dtype=np.float64)
    if n == 0:
        return shares
    # Tied values get one rank, so that the order a fast unstable sort leaves them in is no matter.
    order = np.argsort(column)
    ordered = column[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    ends = np.append(starts[1:], n)
    shares[order] = np.repeat((starts + ends) / (2 * n), ends - starts)
    return shares
