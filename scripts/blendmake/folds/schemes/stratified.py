"""Folds balanced over all targets at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blendmake.folds.scheme import FoldTask, Scheme, indicators
from blendmake.labels import Labels


class Stratified(Scheme):
    def assign(self, task: FoldTask) -> NDArray[np.int32]:
        return stratified_folds(task.labels, task.n, task.seed)


def stratified_folds(labels: Labels, n: int, seed: int) -> NDArray[np.int32]:
    """Folds balanced over all targets at once.

    Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML 2011, as in
    the package iterative-stratification.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    balanced = indicators(labels)
    if balanced.shape[1] == 1:
        # The package wants two labels at least; the complement changes nothing in the balance.
        balanced = np.hstack([balanced, 1 - balanced])
    fold = np.empty(len(labels), np.int32)
    splitter = MultilabelStratifiedKFold(n_splits=n, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(splitter.split(balanced, balanced)):
        fold[held_out] = k
    return fold


SCHEME = Stratified()
