"""Folds that a column of the user's gives."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.folds.scheme import FoldTask, Scheme


class Given(Scheme):
    CHOOSES: ClassVar[bool] = False

    def assign(self, task: FoldTask) -> NDArray[np.int32]:
        assert task.given is not None
        fold = _given_folds(task.given, task.n)
        if task.groups is not None:
            _check_groups_whole(fold, task.groups)
        return fold


def _given_folds(given: NDArray[Any], n: int) -> NDArray[np.int32]:
    try:
        fold = given.astype(np.int32)
        whole = bool((fold == given).all())
    except (TypeError, ValueError):
        whole = False
    if not whole or fold.min() != 0 or len(np.unique(fold)) != fold.max() + 1 or fold.max() == 0:
        raise BlendmakeError(
            f"folds.column: the folds must be the whole numbers 0 to n-1, each in use; found "
            f"{sorted(map(str, np.unique(given)))[:8]}."
        )
    found = int(fold.max()) + 1
    if found != n:
        raise BlendmakeError(
            f"folds.column holds {found} folds, but folds.n is {n}. Correct the column, or set "
            f"folds.n: {found}"
        )
    return fold


def _check_groups_whole(fold: NDArray[np.int32], groups: NDArray[np.int64]) -> None:
    pairs = np.unique(np.stack([groups, fold], axis=1), axis=0)
    split = len(pairs) - len(np.unique(groups))
    if split:
        raise BlendmakeError(
            f"folds.column splits groups between folds ({split} times), so that rows of one group "
            "would train and score. Correct the column, or leave out data.groups."
        )


SCHEME = Given()
