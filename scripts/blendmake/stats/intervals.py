"""Standard errors and intervals from influence values.

An influence value says how far a row moves an estimate from its mean. Estimates on the same rows
are combined by combining their influence values row by row (a mean over targets, a difference of
two models), which keeps every correlation between them; one sum of squares then gives the variance.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from blendmake.stats.auc import AucScorer


def influence(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None
) -> tuple[float, NDArray[np.float64]]:
    """AUC and its influence values.

    For m positives and n negatives with placement values V10 and V01 (see `auc.placements`), a
    positive has (V10 - AUC) / m * sqrt(m / (m - 1)) and a negative the same with V01 and n.
    The sum of squares is exactly the variance of DeLong, DeLong & Clarke-Pearson (1988).

    With groups, m / (m - 1) becomes k / (k - 1) for the k groups that hold a positive, and likewise
    for negatives, as in Obuchowski (1997): the groups are then the independent units. Groups of one
    row give DeLong's values again.

    Args:
        labels: (n,) bool, or numbers that are all 0 or 1.
        scores: (n,) floats.
        groups: (n,) integer codes, or None where rows are independent. Give the same groups to
            `standard_error`, which makes no small-sample correction of its own.

    Returns:
        The AUC and (n,) influence values, in units of the AUC. If a class is absent, nan and zeros.
        If a class has a single row (or lies in a single group), its variance cannot be estimated:
        its values are nan, and so is any standard error made from them.

    Raises:
        ValueError: shapes differ, labels are not 0 or 1, or scores contain NaN.
    """
    scorer = AucScorer(labels)
    value, shares = scorer.evaluate(scores)
    phi = np.zeros(shares.size)
    if not scorer.defined:
        return value, phi
    positive = np.asarray(labels) == 1
    codes = None if groups is None else dense_codes(groups, phi.size)
    for rows in (np.flatnonzero(positive), np.flatnonzero(~positive)):
        units = rows.size if codes is None else np.count_nonzero(np.bincount(codes[rows]))
        correction = math.sqrt(units / (units - 1)) if units > 1 else math.nan
        phi[rows] = (shares[rows] - value) * (correction / rows.size)
    return value, phi


def standard_error(phi: NDArray[np.float64], groups: ArrayLike | None = None) -> float:
    """Standard error of the estimate with influence values phi.

    Without groups: the root of the sum of squares. With groups, influence values are summed within
    each group before they are squared: the estimator of Obuchowski (1997, "Nonparametric analysis
    of clustered ROC curve data"), S10/m + S01/n + 2 S11/(mn). Its small-sample factors are those
    that `influence` has put into phi and are not applied again here. The covariance S11 of a
    group's positives with its negatives thereby has sqrt(k10/(k10-1) * k01/(k01-1)), for k10 and
    k01 groups with positives and with negatives, where the paper has k/(k-1) for all k groups; they
    differ by order 1/k10 + 1/k01.

    Args:
        phi: (n,) influence values; a row that takes no part has 0.
        groups: (n,) integer codes, or None where rows are independent.

    Returns:
        The standard error, in units of the estimate; nan if phi has a nan.

    Raises:
        ValueError: groups do not have phi's shape or are not integers.
    """
    parts = phi
    if groups is not None:
        parts = np.bincount(dense_codes(groups, phi.size), weights=phi).astype(
            np.float64, copy=False
        )
    # Not a dot product: its order of summation, and so the last bit, depends on BLAS threads.
    return math.sqrt(float(np.sum(np.square(parts))))


def interval(
    value: float,
    se: float,
    level: float = 0.95,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """Wald interval, value -/+ z * se, clipped to the bounds of what can occur.

    Where the estimate is at a bound (an AUC of 1), all influence values are 0 and the interval has
    no width; with few positives and an AUC near 1 it is too narrow.

    Args:
        value: the estimate.
        se: its standard error.
        level: coverage, between 0 and 1.
        bounds: least and greatest possible value: (0, 1) for an AUC, (-1, 1) for a difference.

    Returns:
        (low, high), both nan if value or se is nan.

    Raises:
        ValueError: level is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, not {level}")
    if math.isnan(value) or math.isnan(se):
        return math.nan, math.nan
    reach = NormalDist().inv_cdf(0.5 + level / 2) * se
    return max(bounds[0], value - reach), min(bounds[1], value + reach)


def dense_codes(groups: ArrayLike, rows: int) -> NDArray[np.intp]:
    """Group codes fit for counting: integers from 0, not far above the number of rows.

    Args:
        groups: (rows,) integers of any size and sign, equal within a group.
        rows: the length that is asked for.

    Returns:
        (rows,) codes: the groups themselves where they will do, otherwise renumbered.

    Raises:
        ValueError: groups have another shape or are not integers.
    """
    codes = np.asarray(groups)
    if codes.shape != (rows,):
        raise ValueError(f"groups have shape {codes.shape}, not ({rows},)")
    if not np.issubdtype(codes.dtype, np.integer):
        raise ValueError(f"groups must be integer codes, not {codes.dtype}")
    if rows and (codes.min() < 0 or codes.max() >= 2 * rows):
        codes = np.unique(codes, return_inverse=True)[1]
    return codes.astype(np.intp, copy=False)
