"""Rank correlations between the OOF predictions of sources, and which are the same twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import damaged, read_note, read_parquet, write_parquet
from blendmake.stats.ranks import DUPLICATE, rank_correlations, rank_scale

_CORRELATIONS: list[tuple[str, pa.DataType]] = [
    ("a", pa.string()),
    ("b", pa.string()),
    ("target", pa.string()),
    ("rank_correlation", pa.float64()),
    ("identical", pa.bool_()),
]
HELD_VALUES = 1 << 24  # predictions held at a time, of all files
CORRELATIONS = pa.schema(_CORRELATIONS)
"""Columns of `write_correlations`."""


class DuplicatePair(NamedTuple):
    """Two names whose predictions are the same on all targets that both cover.

    `rank_correlation` is the least over the targets, nan where none has one (constant columns);
    `identical` says whether all values are equal.
    """

    a: str
    b: str
    targets: int
    rank_correlation: float
    identical: bool


def write_correlations(
    names_and_oofs: Sequence[tuple[str, Path]],
    folds: NDArray[np.integer],
    out: Path,
    note: Mapping[str, Any],
) -> None:
    """Write the rank correlation of every pair, on every target that both cover.

    Predictions are ranked within folds, since each fold has a model of its own. Some targets are held
    in memory at a time: opening a file costs by its columns, so that one read per target would be
    quadratic in targets.

    Args:
        names_and_oofs: names and their oof.parquet; in every pair, a stands before b here.
        folds: (n,), fold of each row of the files.
        out: a, b, target, rank_correlation (null if a column is constant), identical; by pair, then
            by target in the order of a's file.

    Raises:
        BlendmakeError: a file is missing, damaged, or of another number of rows.
    """
    targets = {name: _targets_of(path) for name, path in names_and_oofs}
    every = list(dict.fromkeys(target for of in targets.values() for target in of))
    held = {name: set(of) for name, of in targets.items()}
    found: dict[tuple[int, int, str], tuple[float | None, bool]] = {}
    at_once = max(1, HELD_VALUES // (max(1, len(folds)) * max(1, len(names_and_oofs))))
    tables: list[pa.Table] = []
    for place, target in enumerate(every):
        if place % at_once == 0:
            wanted = every[place : place + at_once]
            tables = [
                read_parquet(path, columns=[t for t in wanted if t in held[name]])
                for name, path in names_and_oofs
            ]
        holders = [i for i, (name, _) in enumerate(names_and_oofs) if target in held[name]]
        if len(holders) < 2:
            continue
        columns = [_column(tables[i], names_and_oofs[i][1], target, len(folds)) for i in holders]
        ranks = np.stack([rank_scale(column, folds) for column in columns])
        correlations = rank_correlations(ranks)
        for x, i in enumerate(holders):
            for y, j in enumerate(holders[x + 1 :], start=x + 1):
                value = float(correlations[x, y])
                same = bool(np.array_equal(columns[x], columns[y]))
                found[i, j, target] = (None if np.isnan(value) else value, same)
    rows = []
    for i, (a, _) in enumerate(names_and_oofs):
        for j, (b, _) in enumerate(names_and_oofs[i + 1 :], start=i + 1):
            for target in targets[a]:
                if (i, j, target) in found:
                    value_or_none, same = found[i, j, target]
                    rows.append(
                        {
                            "a": a,
                            "b": b,
                            "target": target,
                            "rank_correlation": value_or_none,
                            "identical": same,
                        }
                    )
    write_parquet(pa.Table.from_pylist(rows, schema=CORRELATIONS), out, note)


def duplicate_pairs(table: pa.Table, threshold: float = DUPLICATE) -> list[DuplicatePair]:
    """Pairs that are duplicates on all their common targets, in the order of the table.

    A duplicate has identical values or a rank correlation of at least `threshold`.

    Args:
        table: of `write_correlations`.
    """
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        pairs.setdefault((row["a"], row["b"]), []).append(row)
    duplicates = []
    for (a, b), rows in pairs.items():
        values = [row["rank_correlation"] for row in rows if row["rank_correlation"] is not None]
        if all(
            row["identical"]
            or (row["rank_correlation"] is not None and row["rank_correlation"] >= threshold)
            for row in rows
        ):
            same = all(row["identical"] for row in rows)
            least = min(values, default=float("nan"))
            duplicates.append(DuplicatePair(a, b, len(rows), least, same))
    return duplicates


def _targets_of(path: Path) -> list[str]:
    note = read_note(path)
    if "id_columns" not in note:
        raise damaged(path, "it does not say which of its columns are ids")
    return [name for name in pq.read_schema(path).names if name not in note["id_columns"]]


def _column(table: pa.Table, path: Path, target: str, n: int) -> NDArray[Any]:
    column = table[target]
    if len(column) != n:
        raise BlendmakeError(
            f"{path} has {len(column)} rows, the folds have {n}. Delete it and run the same "
            "command again to rebuild it."
        )
    values: NDArray[Any] = column.to_numpy()
    if not np.isfinite(values).all():
        raise damaged(path, f"predictions of target '{target}' are not all finite")
    return values
