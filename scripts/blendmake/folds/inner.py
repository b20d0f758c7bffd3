"""Sets aside training rows of a fold for early stopping."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from blendmake.folds.schemes.group import group_folds
from blendmake.folds.schemes.stratified import stratified_folds
from blendmake.labels import Labels
from blendmake.matrix import Positions
from blendmake.tasks.base import Target


def inner_split(
    labels: Labels,
    train: Positions,
    share: float,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    targets: Sequence[Target] | None = None,
) -> NDArray[np.bool_]:
    """Which of a fold's training rows are set aside for early stopping: bool (len(train),).

    Stratified over all targets; whole groups at a time where rows come in groups.

    Args:
        targets: what labels (rows, targets) are of; None: all binary.
        share: at most one half; met as nearly as a few equal parts allow.
    """
    # So many of so many parts; a share too small for twenty is one part of more.
    part = Fraction(share).limit_denominator(20) or Fraction(1, round(1 / share))
    parts = part.denominator
    inside = labels[train]
    if groups is not None:
        fold = group_folds(inside, groups[train], parts, seed, targets)
    else:
        fold = stratified_folds(inside, parts, seed, targets)
    aside: NDArray[np.bool_] = fold < part.numerator
    return aside
