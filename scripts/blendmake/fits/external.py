"""External sources: predictions that somebody else made, checked and put into the project's form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.errors import BlendmakeError
from blendmake.folds import read_folds
from blendmake.labels import read_labels
from blendmake.matrix import Floats, TableFile
from blendmake.predictions import write_predictions
from blendmake.tables.ids import POSITION, order_by
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import UserTable, kind_of


def read_external(
    files: Mapping[str, str],
    targets: Path,
    test_table: Path,
    folds: Path,
    out: Mapping[str, Path],
    *,
    rename: Mapping[str, str] | None,
    note: Mapping[str, Any],
    csv_format: Mapping[str, Any] | None = None,
) -> None:
    """Check two files of predictions and write a source's oof and test.

    Args:
        files: `oof` and `test`, any kind of table with the id columns and a column per target; columns
            may be named as in a submission.
        targets: targets.parquet, whose ids oof must hold, in any order.
        test_table: tables/test.arrow, whose ids test must hold.
        out: `oof`, `test`.
        rename: the submission's naming rule.
        csv_format: `data.csv` of the config.

    Raises:
        BlendmakeError: an id missing, extra or repeated; a column that is no target, or not in both
            files; a value that is not a finite number. Names the file and the column.
    """
    ids, names, _ = read_labels(targets)
    test_ids = TableFile(test_table).table(ids.column_names)
    oof, covered = _read(files["oof"], ids, names, rename, csv_format)
    test, covered_in_test = _read(files["test"], test_ids, names, rename, csv_format)
    if covered != covered_in_test:
        odd = sorted(set(covered) ^ set(covered_in_test))
        raise BlendmakeError(
            f"{files['oof']} and {files['test']} must hold the same targets; only one of them has "
            f"{some_of(odd)}."
        )
    made = {**note, "optimistic": [], "folds": read_folds(folds).digest}
    write_predictions(out["test"], test_ids, covered, test, made)
    write_predictions(out["oof"], ids, covered, oof, made)


def _read(
    file: str,
    ids: pa.Table,
    names: list[str],
    rename: Mapping[str, str] | None,
    csv_format: Mapping[str, Any] | None,
) -> tuple[Floats, list[str]]:
    """Predictions (rows, targets) in the order of `ids`, and the targets, in the problem's order."""
    id_columns = ids.column_names
    table = UserTable(file, [name for name in id_columns if name != POSITION], csv_format)
    if id_columns == [POSITION] and not table.has(POSITION):
        id_columns = []  # rows go by their position
    others = [n for n in table.names if n not in id_columns and n != "fold"]
    renamed = names
    if rename and not set(others) & set(names):
        renamed = [re.sub(rename["pattern"], rename["replace"], name) for name in names]
    column_of = {
        name: column for name, column in zip(names, renamed, strict=True) if column in others
    }
    strange = [column for column in others if column not in column_of.values()]
    if strange or not column_of:
        raise BlendmakeError(
            f"{file}: column {some_of(strange)} is no target."
            if strange
            else f"{file}: there is no column of a target ({', '.join(renamed[:3])}, …)."
        )
    order = order_by(ids, table, id_columns)
    read = table.read(list(column_of.values()))
    values = np.empty((ids.num_rows, len(column_of)), np.float32, order="F")
    for j, column in enumerate(column_of.values()):
        if kind_of(read[column].type, False) != "number":
            raise BlendmakeError(f"{file}: column '{column}' holds no numbers.")
        numbers = np.asarray(read[column].cast(pa.float64()).to_numpy(), np.float64)
        if not np.isfinite(numbers).all():
            raise BlendmakeError(
                f"{file}: {int((~np.isfinite(numbers)).sum())} values of column '{column}' are missing "
                "or not finite. Every row must have a prediction."
            )
        values[:, j] = numbers if order is None else numbers[order]
    return values, list(column_of)
