"""Bins of equal frequency."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.matrix import Positions

Values = NDArray[np.floating[Any]]


def quantile_edges(values: Values, bins: int) -> Values:
    """Ascending upper edges of at most `bins` bins of about equal frequency; the last has none.

    Edges are quantiles of the present values (inverse of the empirical distribution), so values.
    One that fills a bin or more has a bin to itself. No bin is empty of `values`.

    Returns:
        At most `bins - 1` edges; none for a constant column or one without a value.
    """
    present = np.sort(values[~np.isnan(values)])
    if not len(present):
        return present
    ranks = -(-np.arange(1, bins) * len(present) // bins) - 1
    edges, counts = np.unique(present[ranks.clip(min=0)], return_counts=True)
    # The value before a frequent one closes the bin below it.
    before = np.searchsorted(present, edges[counts > 1]) - 1
    edges = np.union1d(edges, present[before[before >= 0]])
    return np.asarray(edges[edges < present[-1]], values.dtype)


def quantile_bins(values: Values, edges: Values) -> Positions:
    """Index of each value's bin, 0 to len(edges); a missing value gives len(edges) + 1."""
    bins = np.searchsorted(edges, values)  # NaN sorts after everything
    return np.asarray(np.where(np.isnan(values), len(edges) + 1, bins), np.intp)
