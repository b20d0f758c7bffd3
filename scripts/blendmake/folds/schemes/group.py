"""Folds that never split a group of rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blendmake.folds.scheme import FoldTask, Scheme, indicators
from blendmake.labels import Labels
from blendmake.tasks.base import Target


class Group(Scheme):
    def assign(self, task: FoldTask) -> NDArray[np.int32]:
        assert task.groups is not None
        return group_folds(task.labels, task.groups, task.n, task.seed, task.targets)


def group_folds(
    labels: Labels,
    groups: NDArray[np.int64],
    n: int,
    seed: int,
    targets: Sequence[Target] | None = None,
) -> NDArray[np.int32]:
    """Folds that never split a group, with rows and every target's labels balanced.

    Groups go, those hardest to place first, each to the fold where the summed squared excess over
    the equal share, relative per target, grows least. Rare targets weigh as much as common ones.

    Args:
        targets: what labels (rows, targets) are of; None: all binary.
    """
    codes, group = np.unique(groups, return_inverse=True)
    balanced = indicators(labels, targets)
    counts = np.zeros((len(codes), balanced.shape[1] + 1))
    for j in range(balanced.shape[1]):
        counts[:, j] = np.bincount(group, weights=balanced[:, j], minlength=len(codes))
    counts[:, -1] = np.bincount(group, minlength=len(codes))
    totals = np.maximum(counts.sum(axis=0), 1)
    share = counts / totals  # each column sums to one
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(-(share[order] ** 2).sum(axis=1), kind="stable")]
    load = np.zeros((n, share.shape[1]))
    place = np.empty(len(codes), np.int32)
    for index in order:
        # Growth of sum(load^2) by adding `share` to a fold: 2·load·share + a constant.
        best = int(np.argmin(load @ share[index]))
        load[best] += share[index]
        place[index] = best
    return place[group]


SCHEME = Group()
