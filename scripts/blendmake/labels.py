"""Labels and groups as the tables hold them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import note_of, read_parquet

MACRO = "macro"  # stands for the mean over targets in tables of scores

Labels = NDArray[np.float32]  # (rows, targets), NaN where unknown


def labels_of(targets: pa.Table, id_columns: Sequence[str]) -> tuple[list[str], Labels]:
    """Names and labels of a targets table: float32 (rows, targets), NaN where unknown."""
    names = [name for name in targets.column_names if name not in id_columns]
    labels = np.empty((targets.num_rows, len(names)), np.float32, order="F")
    for j, name in enumerate(names):
        labels[:, j] = pc.fill_null(targets[name].cast(pa.float32()), np.nan).to_numpy()
    return names, labels


def read_labels(path: Path) -> tuple[pa.Table, list[str], Labels]:
    """Ids, target names and labels (rows, targets) of a targets artifact."""
    table = read_parquet(path)
    id_columns = note_of(table)["id_columns"]
    names, labels = labels_of(table, id_columns)
    return table.select(id_columns), names, labels


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
