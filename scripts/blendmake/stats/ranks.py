"""Ranks as a scale on which predictions of any kind may be averaged, and their correlations.

A boosted tree's 0.02 and a linear model's 0.3 may mean the same; averaged as they are, the model
with the wider spread would decide alone. No label is looked at.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
