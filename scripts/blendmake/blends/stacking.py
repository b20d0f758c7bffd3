"""The stacker of one target: a logistic regression on log odds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Log odds of several good models of one target are nearly the same column. On standardised
# inputs, C = 0.1 (a prior of standard deviation 0.32 per input) shares the weight among them
# rather than setting one against another, and still lets a thousand rows speak.
STACK_C = 0.1
CHUNK_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class StackModel:
    """A fitted stacker, in units of its inputs.

    Attributes:
        coefficients: (p,), change in log odds per unit of each input.
        intercept: the log odds where every input is zero.
    """

    coefficients: Floats
    intercept: float


def fit_stack(inputs: Floats, labels: NDArray[np.bool_], c: float = STACK_C) -> StackModel:
    """Logistic regression with an L2 penalty on standardised inputs (Wolpert 1992; lbfgs).

    Args:
        inputs: (n, p), log odds.
        labels: (n,), both classes present.
        c: scikit-learn's C; smaller is stiffer.

    Returns:
        Coefficients for the inputs as they came, not standardised. A constant input gets 0.
    """
    from sklearn.linear_model import LogisticRegression

    centre = inputs.mean(axis=0)
    spread = inputs.std(axis=0)
    constant = np.ptp(inputs, axis=0) == 0
    spread[constant] = 1.0
    standard = (inputs - centre) / spread
    standard[:, constant] = 0.0
    model = LogisticRegression(C=c, solver="lbfgs", max_iter=1000, tol=1e-6)
    model.fit(standard, labels)
    coefficients = np.asarray(model.coef_[0], dtype=np.float64) / spread
    return StackModel(coefficients, float(model.intercept_[0]) - float(coefficients @ centre))


def label_correlations(labels: NDArray[np.floating], rows: NDArray[np.integer]) -> Floats:
    """Pearson's correlation (phi) of every two targets' labels over ``rows`` where both are known.

    Args:
        labels: (n, T), 0/1, NaN where unknown.
        rows: positions of the rows that count; the others are not looked at.

    Returns:
        (T, T); NaN where one of the two does not vary on their common rows.
    """
    width = labels.shape[1]
    both = np.zeros((width, width))  # rows known for i and j
    ones = np.zeros((width, width))  # sum of i's labels on them
    joint = np.zeros((width, width))  # rows where both are 1
    for start in range(0, len(rows), CHUNK_ROWS):
        chunk = np.asarray(labels[rows[start : start + CHUNK_ROWS]], dtype=np.float64)
        known = np.isfinite(chunk).astype(np.float64)
        filled = np.where(known > 0, chunk, 0.0)
        both += known.T @ known
        ones += filled.T @ known
        joint += filled.T @ filled
    # Sums of whole numbers, hence exact; a label is its own square.
    covariance = both * joint - ones * ones.T
    variance = both * ones - ones * ones
    with np.errstate(divide="ignore", invalid="ignore"):
        return covariance / np.sqrt(variance * variance.T)


def nearest_targets(correlations: Floats, eligible: NDArray[np.bool_], k: int) -> list[int]:
    """The k targets whose labels go most with one target's, whatever the sign.

    Args:
        correlations: (T,), of the one target with each.
        eligible: (T,), which may be taken (covered by some candidate, not the target itself).
        k: how many at most.

    Returns:
        Positions, strongest first, the earlier target first among equals; targets without a
        correlation, or with one of zero, are left out.
    """
    strength = np.where(eligible & np.isfinite(correlations), np.abs(correlations), 0.0)
    order = np.argsort(-strength, kind="stable")[:k]
    return [int(target) for target in order if strength[target] > 0]
