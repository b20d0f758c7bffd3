"""The shape of a problem, told from its files before anything is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blendmake.errors import BlendmakeError
from blendmake.files import note_of, read_parquet
from blendmake.labels import labels_of
from blendmake.tables.user_files import UserTable, kind_of


@dataclass(frozen=True)
class Facts:
    """Train rows, numeric and category columns, and each target's number of positives."""

    rows: int
    numbers: int
    categories: int
    positives: tuple[int, ...]

    @property
    def columns(self) -> int:
        return self.numbers + self.categories

    @property
    def targets(self) -> int:
        return len(self.positives)


def facts_of_tables(tables: Path) -> Facts | None:
    """The facts of the typed tables under results/<problem>/tables, if they stand."""
    if not all((tables / name).exists() for name in ("columns.parquet", "targets.parquet")):
        return None
    try:
        kinds = read_parquet(tables / "columns.parquet")["kind"].to_pylist()
        targets = read_parquet(tables / "targets.parquet")
    except BlendmakeError:
        return None  # a job may be replacing them right now
    _, labels = labels_of(targets, note_of(targets)["id_columns"])
    positives = tuple(int(count) for count in np.nansum(labels, axis=0))
    numbers = kinds.count("number")
    return Facts(targets.num_rows, numbers, len(kinds) - numbers, positives)


def facts_of_files(
    train: Sequence[str],
    ids: Sequence[str],
    targets: str | None,
    target_columns: Sequence[str] | None,
) -> Facts:
    """The facts of the user's files; of parquet, only the labels are read.

    Args:
        train: the feature files.
        ids: id columns.
        targets: file of the labels; None: they are in the first train file.
        target_columns: None: every column of `targets` but the ids.

    Raises:
        BlendmakeError: a file is absent or cannot be read, or a target is not among its columns.
    """
    labelled = UserTable(targets or train[0], ids)
    names = list(target_columns or [n for n in labelled.schema.names if n not in ids])
    labelled.require(names, "the target column")
    labels = labelled.read(names)
    positives = tuple(
        int(pc.sum(pc.equal(labels[name].cast(pa.float64()), 1)).as_py() or 0) for name in names
    )
    numbers = categories = 0
    for file in train:
        for field in UserTable(file, ids).schema:
            if field.name in ids or field.name in names:
                continue
            kind = kind_of(field.type, False)
            numbers += kind == "number"
            categories += kind == "category"
    return Facts(labelled.rows, numbers, categories, positives)
