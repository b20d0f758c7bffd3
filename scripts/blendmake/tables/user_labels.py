"""The user's labels, groups and given folds, in the order of the tables.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.labels import MACRO
from blendmake.tables.ids import order_by, plain
from blendmake.tables.user_files import UserTable, kind_of


def read_column(
    file: str,
    column: str,
    ids: pa.Table,
    id_columns: Sequence[str],
    what: str,
    csv_format: Mapping[str, Any] | None = None,
) -> pa.ChunkedArray:
    """One column of a user's file in the order of `ids`, without missing values."""
    table = UserTable(file, id_columns, csv_format)
    table.require([column], what)
    values = plain(table.read([column])[column])
    order = order_by(ids, table, id_columns)
    values = values if order is None else values.take(pa.array(order))
    if values.null_count:
        raise BlendmakeError(
            f"{file}: column '{column}' has {values.null_count} missing values. {what} of every row "
            "must be known."
        )
    return values


def read_targets(
    file: str,
    columns: Sequence[str] | None,
    ids: pa.Table,
    id_columns: Sequence[str],
    *,
    one_class_allowed: bool = False,
    features: Collection[str] = (),
    csv_format: Mapping[str, Any] | None = None,
) -> pa.Table:
    """The labels in the order of `ids`: id columns, then one int8 column per target (0, 1, null).

    Raises:
        BlendmakeError: a column absent, a value other than 0, 1 or missing, a target of one class.
    """
    table = UserTable(file, id_columns, csv_format)
    names = list(columns) if columns else [n for n in table.names if n not in id_columns]
    leaked = [name for name in names if name in features]
    if leaked:
        raise BlendmakeError(
            f"{file}: target '{leaked[0]}' is also a feature column of that name: a model would read "
            "its answer. List it under data.ignore, or rename one of them."
        )
    if MACRO in names:
        raise BlendmakeError(f"{file}: a target may not be called '{MACRO}'. Rename it.")
    table.require(names, "the target column")
    if not names:
        raise BlendmakeError(f"{file}: there is no target column beside the id.")
    order = order_by(ids, table, id_columns)
    labels = table.read(names)
    if order is not None:
        labels = labels.take(pa.array(order))
    arrays = [_as_labels(labels[name], name, file, one_class_allowed) for name in names]
    return pa.table([*ids.columns, *arrays], names=[*ids.column_names, *names])


def _as_labels(column: pa.ChunkedArray, name: str, file: str, one_class_allowed: bool) -> pa.Array:
    kind = kind_of(column.type, False)
    if kind == "any" or (kind == "category" and column.null_count == len(column)):
        column, kind = pa.chunked_array([pa.nulls(len(column), pa.float64())]), "number"
    if kind == "number":
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        values = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
        unknown = np.isnan(values)
        wrong = ~unknown & (values != 0) & (values != 1)
        if not wrong.any():
            if not one_class_allowed:
                _check_classes(values, name, file)
            return pa.array(np.where(unknown, 0, values).astype(np.int8), mask=unknown)
        example: Any = values[wrong][0].item()
    else:
        example = next((value.as_py() for value in column if value.is_valid), None)
    raise BlendmakeError(
        f"{file}: target '{name}' holds {example!r}. A target must be 0, 1 or missing: recode it, or "
        "list the target columns under data.targets.columns."
    )


def _check_classes(values: NDArray[np.float64], name: str, file: str) -> None:
    for label, word in ((1, "positives"), (0, "negatives")):
        if not (values == label).any():
            raise BlendmakeError(
                f"{file}: target '{name}' has no {word}. Nothing can be learnt of it: leave it out "
                "with data.targets.columns."
            )


def group_codes(groups: pa.ChunkedArray) -> pa.Array:
    """Groups as codes 0, 1, … (int64) in the order of their sorted names."""
    _, codes = np.unique(
        np.asarray(groups.to_numpy(zero_copy_only=False)).astype(str), return_inverse=True
    )
    return pa.array(codes.astype(np.int64))
