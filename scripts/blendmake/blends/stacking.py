"""The stacker of one target: a regression on its candidates, by task.

- binary: a logistic regression on log odds;
- regression: ridge regression on the predictions;
- multiclass: a logarithmic opinion pool with intercepts: log p of class k is b_k + Σ w_i log p_ik, but
  for a constant. All classes share a candidate's coefficient, so that few rows of a class do no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.blends.scales import softmax

Floats = NDArray[np.float64]

# Log odds of several good models of one target are nearly the same column. On standardised
# inputs, C = 0.1 (a prior of standard deviation 0.32 per input) shares the weight among them
# rather than setting one against another, and still lets a thousand rows speak.
STACK_C = 0.1
CHUNK_ROWS = 65_536
LEAST = 1e-300  # of a probability, before its logarithm is taken
RIDGE = 1e-3  # of the intercepts of classes, of which one is free and some may not occur


@dataclass(frozen=True, eq=False)
class StackModel:
    """A fitted stacker, in units of its inputs.

    Attributes:
        coefficients: (p,), change in log odds (in the prediction) per unit of each input.
        intercept: the log odds (the prediction) where every input is zero; of classes (classes,).
    """

    coefficients: Floats
    intercept: float | Floats


def fit_stack(inputs: Floats, labels: NDArray[Any], c: float = STACK_C) -> StackModel:
    """Logistic regression with an L2 penalty on standardised inputs (Wolpert 1992; lbfgs).

    Args:
        inputs: (n, p), log odds.
        labels: (n,), 0/1 or bool, both classes present.
        c: scikit-learn's C; smaller is stiffer.

    Returns:
        Coefficients for the inputs as they came, not standardised. A constant input gets 0.
    """
    from sklearn.linear_model import LogisticRegression

    standard, centre, spread = _standardised(inputs)
    model = LogisticRegression(C=c, solver="lbfgs", max_iter=1000, tol=1e-6)
    model.fit(standard, np.asarray(labels) > 0.5)
    coefficients = np.asarray(model.coef_[0], dtype=np.float64) / spread
    return StackModel(coefficients, float(model.intercept_[0]) - float(coefficients @ centre))


def fit_ridge(inputs: Floats, labels: NDArray[Any], c: float = STACK_C) -> StackModel:
    """Ridge regression on standardised inputs.

    Args:
        inputs: (n, p), predictions.
        labels: (n,), numbers that differ.
        c: 1 / scikit-learn's alpha; smaller is stiffer, as for `fit_stack`.
    """
    from sklearn.linear_model import Ridge

    standard, centre, spread = _standardised(inputs)
    model = Ridge(alpha=1 / c, solver="cholesky")
    model.fit(standard, labels.astype(np.float64))
    coefficients = np.asarray(model.coef_, dtype=np.float64) / spread
    return StackModel(coefficients, float(model.intercept_) - float(coefficients @ centre))


def fit_pool(inputs: Floats, labels: NDArray[Any], c: float = STACK_C) -> StackModel:
    """The logarithmic opinion pool of the greatest penalised likelihood (Heskes 1998; L-BFGS).

    The penalty, as in `fit_stack`, is of the coefficients per standard deviation of the inputs, whose
    prior mean is the equal share 1/p here: with few rows the pool is the geometric mean.

    Args:
        inputs: (n, p, classes), logarithms of probabilities.
        labels: (n,), codes of the classes, of which two occur.
        c: as for `fit_stack`.
    """
    from scipy.optimize import minimize

    count, classes = inputs.shape[1:]
    codes, places = labels.astype(np.intp), np.arange(len(labels))
    centred = inputs - inputs.mean(axis=2, keepdims=True)
    spread = centred.std(axis=(0, 2))
    spread[spread == 0] = 1.0
    prior = np.full(count, 1 / count)

    def loss(given: Floats) -> tuple[float, Floats]:
        weights, intercepts = given[:count], given[count:]
        shares = softmax(np.einsum("npk,p->nk", centred, weights) + intercepts)
        pulled = (weights - prior) * spread
        value = -float(np.log(np.maximum(shares[places, codes], LEAST)).sum())
        shares[places, codes] -= 1.0
        slope = np.einsum("npk,nk->p", centred, shares) + pulled * spread / c
        # Intercepts are free but for a constant, and for classes that do not occur.
        value += 0.5 * float(pulled @ pulled) / c + 0.5 * RIDGE * float(intercepts @ intercepts)
        return value, np.concatenate([slope, shares.sum(axis=0) + RIDGE * intercepts])

    start = np.concatenate([prior, np.zeros(classes)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}).x
    return StackModel(found[:count], found[count:])


STACKER_OF = {"binary": fit_stack, "regression": fit_ridge, "multiclass": fit_pool}


def _standardised(inputs: Floats) -> tuple[Floats, Floats, Floats]:
    """Inputs (n, p) of mean 0 and deviation 1, what was taken off, what divided by; constants are 0."""
    centre = inputs.mean(axis=0)
    spread = inputs.std(axis=0)
    constant = np.ptp(inputs, axis=0) == 0
    spread[constant] = 1.0
    standard = (inputs - centre) / spread
    standard[:, constant] = 0.0
    return standard, centre, spread


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
