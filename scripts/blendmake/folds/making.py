"""Assigns every row of a problem to a fold, by the scheme that the config names."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.folds.scheme import FoldTask, Scheme
from blendmake.labels import Labels


def make_folds(
    labels: Labels,
    target_names: Sequence[str],
    *,
    n: int,
    scheme: str,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    given: NDArray[Any] | None = None,
) -> NDArray[np.int32]:
    """Assign every row to a fold.

    Args:
        labels: (rows, targets), NaN where unknown.
        scheme: module of the scheme, as the registry names it.
        groups: group code per row, for `group`; given folds must keep them whole too.
        given: fold per row, for `column`.

    Raises:
        BlendmakeError: a target with fewer positives than folds, folds that leave a target without
            positives to train on, a given column that is not 0 … n-1 or of another n.
    """
    found: Scheme = importlib.import_module(scheme).SCHEME
    if found.CHOOSES:
        _check_positives(labels, target_names, n)
    fold = found.assign(FoldTask(labels, n, seed, groups, given))
    _check_trainable(fold, n, labels, target_names)
    return fold


def _check_positives(labels: Labels, names: Sequence[str], n: int) -> None:
    positives = np.nansum(labels, axis=0)
    counts = zip(names, positives, strict=True)
    few = [f"'{name}' ({int(count)})" for name, count in counts if count < n]
    if few:
        raise BlendmakeError(
            f"Fewer positives than the {n} folds in target {', '.join(few[:5])}"
            f"{' …' if len(few) > 5 else ''}. Ways out: fewer folds (folds.n), leave the target out "
            "(data.targets.columns), or give the folds yourself (folds.column)."
        )


def _check_trainable(fold: NDArray[np.int32], n: int, labels: Labels, names: Sequence[str]) -> None:
    for k in range(n):
        inside = labels[fold != k]
        for value, word in ((1, "positives"), (0, "negatives")):
            without = np.flatnonzero((inside == value).sum(axis=0) == 0)
            if len(without):
                raise BlendmakeError(
                    f"Fold {k} leaves target '{names[without[0]]}' no {word} to train on: they all lie "
                    "in that fold. Ways out: another folds.seed or folds.n, leave the target out "
                    "(data.targets.columns), or give the folds yourself (folds.column)."
                )
