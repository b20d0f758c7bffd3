"""The files of the one fold assignment of a problem, and of the inner splits for early stopping.

Code asks for the (training rows, validation rows) of a fold and never computes `fold != k` itself:
schemes in which some rows belong to neither need no change anywhere else. How the files come about is
not here: all that fits, blends or scores imports this, and a new scheme is no change to any of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import free_name, note_of, read_parquet, write_parquet
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


def write_folds(
    path: Path, ids: pa.Table, fold: NDArray[np.int32], note: Mapping[str, Any]
) -> None:
    """Write folds.parquet: the ids and `fold`, by another name (in the note) if an id has this one."""
    column = free_name("fold", ids.column_names)
    table = ids.append_column(column, pa.array(fold))
    about = {"id_columns": ids.column_names, "column": column, "n": int(fold.max()) + 1}
    write_parquet(table, path, {**note, **about})


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
