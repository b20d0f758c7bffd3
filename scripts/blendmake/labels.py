"""Labels and groups as the tables hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import METADATA_KEY, note_of, read_note, read_parquet
from blendmake.tasks.base import Target, targets_of_note

Labels = NDArray[np.floating[Any]]
"""(rows, targets), NaN where unknown: 0 and 1, codes of classes, numbers. float32 where that will do."""


def labels_of(targets: pa.Table, id_columns: Sequence[str]) -> tuple[list[str], Labels]:
    """Names and labels of a targets table: (rows, targets), NaN where unknown.

    They are float32; all float64 where the table holds a float64 column.
    """
    names = [name for name in targets.column_names if name not in id_columns]
    exact = any(pa.types.is_float64(targets[name].type) for name in names)
    kind = np.float64 if exact else np.float32
    labels: Labels = np.empty((targets.num_rows, len(names)), kind, order="F")
    classes = {one.name: one.classes for one in targets_of(targets, names)}
    for j, name in enumerate(names):
        column = targets[name]
        if classes[name]:
            column = pc.index_in(column, value_set=pa.array(classes[name], pa.string()))
        labels[:, j] = pc.fill_null(column.cast(pa.from_numpy_dtype(kind)), np.nan).to_numpy()
    return names, labels


def targets_of(table: pa.Table, names: Sequence[str]) -> tuple[Target, ...]:
    """What some targets of a targets table are, by its note."""
    known = (table.schema.metadata or {}).get(METADATA_KEY)
    return targets_of_note(names, note_of(table) if known else {})


def read_targets_of(path: Path) -> tuple[Target, ...]:
    """What the targets of a targets artifact are, by its note; no labels are read.

    Raises:
        BlendmakeError: it is missing or damaged.
    """
    note = read_note(path)
    names = [name for name in pq.read_schema(path).names if name not in note["id_columns"]]
    return targets_of_note(names, note)


@dataclass(frozen=True, eq=False)
class KnownLabels:
    """A targets artifact: `ids`, `targets`, and `labels` (rows, targets) as `labels_of` has them."""

    ids: pa.Table
    targets: tuple[Target, ...]
    labels: Labels

    @property
    def names(self) -> list[str]:
        """The targets' names."""
        return [target.name for target in self.targets]


def read_known(path: Path) -> KnownLabels:
    """Read a targets artifact.

    Raises:
        BlendmakeError: it is missing or damaged.
    """
    table = read_parquet(path)
    id_columns = note_of(table)["id_columns"]
    names, labels = labels_of(table, id_columns)
    return KnownLabels(table.select(id_columns), targets_of(table, names), labels)


def read_labels(path: Path) -> tuple[pa.Table, list[str], Labels]:
    """Ids, target names and labels (rows, targets) of a targets artifact."""
    known = read_known(path)
    return known.ids, known.names, known.labels


def read_groups(path: Path | None) -> NDArray[np.int64] | None:
    """Group code per row, or None where rows are independent."""
    if path is None:
        return None
    table = read_parquet(path)
    return np.asarray(table[note_of(table)["column"]].to_numpy(), np.int64)


def label_columns(targets: Sequence[str], names: Sequence[str], path: Path) -> list[int]:
    """Where the columns of some targets are among the labels of the file at `path`."""
    missing = [target for target in targets if target not in names]
    if missing:
        raise BlendmakeError(f"{path} has no labels of target '{missing[0]}'.")
    return [list(names).index(target) for target in targets]
