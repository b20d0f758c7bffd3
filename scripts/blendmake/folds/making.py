"""Assigns every row of a problem to a fold, by the scheme that the config names."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.folds.scheme import FoldTask, Scheme
from blendmake.labels import Labels
from blendmake.tasks.base import Target

log = logging.getLogger(__name__)


def make_folds(
    labels: Labels,
    targets: Sequence[Target],
    *,
    n: int,
    scheme: str,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    given: NDArray[Any] | None = None,
    warn: Callable[[str], None] | None = None,
) -> NDArray[np.int32]:
    """Assign every row to a fold.

    Args:
        labels: (rows, targets), NaN where unknown.
        scheme: module of the scheme, as the registry names it.
        groups: group code per row, for `group`; given folds must keep them whole too.
        given: fold per row, for `column`.
        warn: is told of classes that some model will not have seen; left out: the log is.

    Raises:
        BlendmakeError: a binary target with fewer positives than folds, folds that leave a target
            nothing to learn, a given column that is not 0 … n-1 or of another n.
    """
    found: Scheme = importlib.import_module(scheme).SCHEME
    if found.CHOOSES:
        check_positives(labels, targets, n)
    fold = found.assign(FoldTask(labels, n, seed, groups, given, targets))
    _check_trainable(fold, n, labels, targets)
    for text in unseen_classes(fold, n, labels, targets):
        warn(text) if warn is not None else log.warning("WARNING: %s", text)
    return fold


def check_positives(labels: Labels, targets: Sequence[Target], n: int) -> None:
    """Raise where a binary target has fewer positives than there are folds."""
    few = [
        f"'{target.name}' ({int((column == 1).sum())})"
        for target, column in zip(targets, labels.T, strict=True)
        if target.task.name == "binary" and (column == 1).sum() < n
    ]
    if few:
        raise BlendmakeError(
            f"Fewer positives than the {n} folds in target {', '.join(few[:5])}"
            f"{' …' if len(few) > 5 else ''}. Ways out: fewer folds (folds.n), leave the target out "
            "(data.targets.columns), or give the folds yourself (folds.column)."
        )


def _check_trainable(
    fold: NDArray[np.int32], n: int, labels: Labels, targets: Sequence[Target]
) -> None:
    for k in range(n):
        inside = labels[fold != k]
        for target, column in zip(targets, inside.T, strict=True):
            if target.task.usable(column):
                continue
            nothing = "nothing to learn from"
            if target.task.name == "binary":
                nothing = f"no {'negatives' if (column == 1).any() else 'positives'} to train on"
            raise BlendmakeError(
                f"Fold {k} leaves target '{target.name}' {nothing}: its labels, but for those of one "
                "value, all lie in that fold. Ways out: another folds.seed or folds.n, leave the target "
                "out (data.targets.columns), or give the folds yourself (folds.column)."
            )


def unseen_classes(
    fold: NDArray[np.int32], n: int, labels: Labels, targets: Sequence[Target]
) -> Iterator[str]:
    """In sentences: the classes that have fewer rows than there are folds, or lie in one fold whole,
    so that the model which predicts them has not seen them."""
    for target, column in zip(targets, labels.T, strict=True):
        if not target.classes:
            continue
        known = ~np.isnan(column)
        table = np.zeros((len(target.classes), n), np.int64)
        np.add.at(table, (column[known].astype(np.intp), fold[known]), 1)
        counts, most = table.sum(axis=1), table.max(axis=1)
        unseen = [
            f"'{name}' ({count:,} rows)"
            for name, count, top in zip(target.classes, counts.tolist(), most.tolist(), strict=True)
            if 0 < count == top
        ]
        few = [
            f"'{name}' ({count:,} rows)"
            for name, count, top in zip(target.classes, counts.tolist(), most.tolist(), strict=True)
            if top < count < n
        ]
        if unseen:
            yield (
                f"target '{target.name}': all rows of class {_first(unseen)} lie in one fold, whose "
                "model has not seen it"
            )
        if few:
            yield (
                f"target '{target.name}': class {_first(few)} has fewer rows than the {n} folds, so "
                "that some folds have none to score it by"
            )


def _first(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
