"""The one fold assignment of a problem, and the inner splits for early stopping.

Code asks for the (training rows, validation rows) of a fold and never computes `fold != k` itself:
schemes in which some rows belong to neither need no change anywhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import free_name, note_of, read_parquet, write_parquet
from blendmake.labels import Labels
from blendmake.matrix import Positions


@dataclass(frozen=True)
class FoldRows:
    """Row positions of one fold, ascending: what trains, and what is predicted and scored."""

    train: Positions
    valid: Positions


@dataclass(frozen=True)
class Folds:
    """A frozen fold assignment: `fold` (rows,) int32."""

    fold: NDArray[np.int32]
    n: int
    digest: str

    def rows(self, k: int, within: Collection[int] | None = None) -> FoldRows:
        """The rows of fold `k`.

        Args:
            within: folds whose rows alone train, `k` among them; left out: all.
        """
        if not 0 <= k < self.n:
            raise BlendmakeError(f"There is no fold {k}: the problem has folds 0 to {self.n - 1}.")
        train = self.fold != k
        if within is not None:
            train &= np.isin(self.fold, list(within))
        return FoldRows(np.flatnonzero(train), np.flatnonzero(self.fold == k))


def read_folds(path: Path) -> Folds:
    """Read folds.parquet."""
    table = read_parquet(path)
    note = note_of(table)
    fold = np.asarray(table[note["column"]].to_numpy(), np.int32)
    return Folds(fold, int(note["n"]), note["content"])


def make_folds(
    ids: pa.Table,
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
        scheme: stratified, group, kfold or column.
        groups: group code per row, for `group`; given folds must keep them whole too.
        given: fold per row, for `column`.

    Raises:
        BlendmakeError: a target with fewer positives than folds, folds that leave a target without
            positives to train on, a given column that is not 0 … n-1 or of another n.
    """
    rows = ids.num_rows
    if scheme == "column":
        assert given is not None
        fold = _given_folds(given, n)
        if groups is not None:
            _check_groups_whole(fold, groups)
    else:
        _check_positives(labels, target_names, n)
        if scheme == "kfold":
            fold = np.empty(rows, np.int32)
            fold[np.random.default_rng(seed).permutation(rows)] = np.arange(rows) % n
        elif scheme == "group":
            assert groups is not None
            fold = group_folds(labels, groups, n, seed)
        else:
            fold = stratified_folds(labels, n, seed)
    _check_trainable(fold, n, labels, target_names)
    return fold


def _check_groups_whole(fold: NDArray[np.int32], groups: NDArray[np.int64]) -> None:
    pairs = np.unique(np.stack([groups, fold], axis=1), axis=0)
    split = len(pairs) - len(np.unique(groups))
    if split:
        raise BlendmakeError(
            f"folds.column splits groups between folds ({split} times), so that rows of one group "
            "would train and score. Correct the column, or leave out data.groups."
        )


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


def _indicators(labels: Labels) -> NDArray[np.int8]:
    """What is balanced over folds: each target's positives, and its known rows if some are not."""
    positive = (labels == 1).astype(np.int8)
    known = ~np.isnan(labels)
    some_unknown = ~known.all(axis=0)
    return np.hstack([positive, known[:, some_unknown].astype(np.int8)])


def stratified_folds(labels: Labels, n: int, seed: int) -> NDArray[np.int32]:
    """Folds balanced over all targets at once.

    Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", ECML 2011, as in
    the package iterative-stratification.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    indicators = _indicators(labels)
    if indicators.shape[1] == 1:
        # The package wants two labels at least; the complement changes nothing in the balance.
        indicators = np.hstack([indicators, 1 - indicators])
    fold = np.empty(len(labels), np.int32)
    splitter = MultilabelStratifiedKFold(n_splits=n, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(splitter.split(indicators, indicators)):
        fold[held_out] = k
    return fold


def group_folds(labels: Labels, groups: NDArray[np.int64], n: int, seed: int) -> NDArray[np.int32]:
    """Folds that never split a group, with rows and every target's positives balanced.

    Groups go, those hardest to place first, each to the fold where the summed squared excess over
    the equal share, relative per target, grows least. Rare targets weigh as much as common ones.
    """
    codes, group = np.unique(groups, return_inverse=True)
    indicators = _indicators(labels)
    counts = np.zeros((len(codes), indicators.shape[1] + 1))
    for j in range(indicators.shape[1]):
        counts[:, j] = np.bincount(group, weights=indicators[:, j], minlength=len(codes))
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


def write_folds(
    path: Path, ids: pa.Table, fold: NDArray[np.int32], note: Mapping[str, Any]
) -> None:
    """Write folds.parquet: the ids and `fold`, by another name (in the note) if an id has this one."""
    column = free_name("fold", ids.column_names)
    table = ids.append_column(column, pa.array(fold))
    about = {"id_columns": ids.column_names, "column": column, "n": int(fold.max()) + 1}
    write_parquet(table, path, {**note, **about})


def inner_split(
    labels: Labels,
    train: Positions,
    share: float,
    seed: int,
    groups: NDArray[np.int64] | None = None,
) -> NDArray[np.bool_]:
    """Which of a fold's training rows are set aside for early stopping: bool (len(train),).

    Stratified over all targets; whole groups at a time where rows come in groups.

    Args:
        share: at most one half; met as nearly as a few equal parts allow.
    """
    # So many of so many parts; a share too small for twenty is one part of more.
    part = Fraction(share).limit_denominator(20) or Fraction(1, round(1 / share))
    parts = part.denominator
    inside = labels[train]
    if groups is not None:
        fold = group_folds(inside, groups[train], parts, seed)
    else:
        fold = stratified_folds(inside, parts, seed)
    aside: NDArray[np.bool_] = fold < part.numerator
    return aside


def write_inner(
    path: Path,
    ids: pa.Table,
    inner: Sequence[tuple[Positions, NDArray[np.bool_]]],
    note: Mapping[str, Any],
) -> None:
    """Write inner.parquet: ids and one column `fold<k>` per fold, true for rows set aside."""
    table = ids
    columns = []
    for k, (train, aside) in enumerate(inner):
        column = np.zeros(ids.num_rows, bool)
        column[train[aside]] = True
        columns.append(free_name(f"fold{k}", table.column_names))
        table = table.append_column(columns[-1], pa.array(column))
    write_parquet(table, path, {**note, "id_columns": ids.column_names, "columns": columns})


def read_inner(path: Path, k: int) -> NDArray[np.bool_]:
    """Rows set aside for early stopping in fold `k`: bool (rows,)."""
    table = read_parquet(path)
    return np.asarray(table[note_of(table)["columns"][k]].to_numpy(), bool)
