"""Prediction files (oof.parquet, test.parquet): written checked, read checked.

Format: the id columns, then one column per covered target, in the order of the targets table: float32,
or all float64 where float32 would make different predictions equal (1 - 1e-9 and 1 - 2e-9, say).
Within what it covers a file holds no null, no NaN, no infinity, no missing or repeated id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import damaged, note_of, read_parquet, write_parquet

Values = NDArray[np.floating[Any]]  # (rows, targets), float32 or float64

SCALE = "scale"
"""Key of a prediction file's note: what its values are. Without it they are probabilities."""
PROBABILITY, RANK = "probability", "rank"


@dataclass(frozen=True)
class Predictions:
    """Predictions of some targets: `values` (rows, targets), float32 or float64, for `ids`."""

    ids: pa.Table
    targets: tuple[str, ...]
    values: Values
    note: Mapping[str, Any] = field(default_factory=dict)

    @property
    def are_probabilities(self) -> bool:
        """Whether the values can be probabilities: within [0, 1], and not known to be ranks."""
        if self.note.get(SCALE, PROBABILITY) != PROBABILITY:
            return False
        return bool(self.values.size == 0 or (self.values.min() >= 0 and self.values.max() <= 1))


def write_predictions(
    path: Path,
    ids: pa.Table,
    targets: Sequence[str],
    values: Values,
    note: Mapping[str, Any],
) -> None:
    """Write a prediction file.

    Raises:
        BlendmakeError: values that are not finite, naming the target; ids missing or repeated.
    """
    assert values.shape == (ids.num_rows, len(targets))
    if not _are_unique(ids):
        raise BlendmakeError(f"{path}: its ids are not all known and different.")
    for j, target in enumerate(targets):
        wrong = ~np.isfinite(values[:, j])
        if wrong.any():
            raise BlendmakeError(
                f"{path}: {int(wrong.sum())} of {len(wrong)} predictions of target '{target}' are not "
                "finite numbers. Check the params of the source (a learning rate too high?)."
            )
    if values.dtype != np.float32 and not loses_values(values):
        values = values.astype(np.float32)
    columns = [pa.array(np.ascontiguousarray(values[:, j])) for j in range(len(targets))]
    table = pa.table([*ids.columns, *columns], names=[*ids.column_names, *targets])
    write_parquet(table, path, {**note, "id_columns": ids.column_names})


def read_predictions(path: Path, ids: pa.Table | None = None) -> Predictions:
    """Read a prediction file, checking what was checked when it was written.

    Args:
        ids: what the ids must be, in this order.

    Raises:
        BlendmakeError: the file is missing, damaged, or of other rows.
    """
    table = read_parquet(path)
    note = note_of(table)
    if "id_columns" not in note:
        raise damaged(path, "it does not say which of its columns are ids")
    found = table.select(note["id_columns"])
    if ids is None and not _are_unique(found):
        raise damaged(path, "its ids are not all known and different")
    if ids is not None and not found.equals(ids):
        raise BlendmakeError(
            f"{path} holds predictions of other rows than the tables. Delete it and run the same "
            "command again to rebuild it."
        )
    targets = [name for name in table.column_names if name not in note["id_columns"]]
    exact = any(pa.types.is_float64(table[name].type) for name in targets)
    kind = np.float64 if exact else np.float32
    values: Values = np.empty((table.num_rows, len(targets)), kind, order="F")
    for j, name in enumerate(targets):
        if table[name].null_count or (
            not pc.all(pc.is_finite(table[name])).as_py() and table.num_rows
        ):
            raise damaged(path, f"predictions of target '{name}' are not all finite")
        values[:, j] = table[name].to_numpy()
    return Predictions(found, tuple(targets), values, note)


def loses_values(values: Values) -> bool:
    """Whether float32 would make different values of a column equal, or one of them 0 or 1.

    Near 1 it knows steps of 6e-8 only, near 0 a thousand millionth of that and less.
    """
    return any(map(_loses, values.T))


def _loses(column: NDArray[np.floating]) -> bool:
    ordered = np.sort(column)
    with np.errstate(over="ignore"):
        rounded = ordered.astype(np.float32)
    bound = (rounded == 0) | (rounded == 1)
    merged = (ordered[1:] != ordered[:-1]) & (rounded[1:] == rounded[:-1])
    return bool(merged.any() or (bound & (rounded != ordered)).any() or np.isinf(rounded).any())


def _are_unique(ids: pa.Table) -> bool:
    distinct = ids.group_by(ids.column_names).aggregate([]).num_rows
    return distinct == ids.num_rows and not any(column.null_count for column in ids.columns)
