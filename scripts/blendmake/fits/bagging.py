"""Bags: which negatives a fit sees, and what its predictions mean for all rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from blendmake.family import Labels, Predictions


def bag_count(bagging: Mapping[str, Any] | None) -> int:
    """How many fits there are of a target."""
    return int(bagging["bags"]) if bagging else 1


def draw_bag(labels: Labels, bagging: Mapping[str, Any] | None, seed: int) -> tuple[Labels, float]:
    """The labels that one bag is fitted with.

    Args:
        labels: (rows,) 0, 1 or NaN; of other tasks too, where nothing is left out.
        bagging: config.sources.Bagging as a mapping, or None: every row.
        seed: of the draw.

    Returns:
        The labels (rows,), NaN for negatives that were not drawn, and the share of negatives that
        were.
    """
    negatives = np.flatnonzero(labels == 0)
    wanted = len(negatives)
    ratio = (bagging or {}).get("negatives_per_positive")
    if ratio is not None:
        wanted = min(wanted, max(1, round(ratio * int((labels == 1).sum()))))
    wanted = min(wanted, (bagging or {}).get("max_negatives") or wanted)
    if wanted == len(negatives):
        return labels, 1.0
    left_out = np.random.default_rng(seed).permutation(negatives)[wanted:]
    drawn = labels.copy()
    drawn[left_out] = np.nan
    return drawn, wanted / len(negatives)


def undo_undersampling(predictions: Predictions, share: float) -> Predictions:
    """Probabilities among all rows from those of a model that saw a share of the negatives.

    The odds shrink by that share (Elkan 2001, "The foundations of cost-sensitive learning"; Dal Pozzolo
    et al. 2015), so that bags, folds and targets stay on one scale. The order does not change.

    Args:
        predictions: (rows, outputs) in [0, 1]; of other tasks too, where the share is 1.
        share: in (0, 1].
    """
    if share == 1:
        return predictions
    p = predictions.astype(np.float64)
    return (share * p / (share * p + (1 - p))).astype(np.float32)
