"""Log odds as a scale on which probabilities may be averaged, and the way back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FAR = float(np.log(999_999))  # log odds of 1 - 1e-6


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
