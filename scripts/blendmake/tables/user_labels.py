"""The user's labels, groups and given folds, in the order of the tables.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import free_name, write_parquet
from blendmake.score_names import MACRO
from blendmake.tables.ids import order_by, plain
from blendmake.tables.label_values import Positive, label_values, positive_of
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import UserTable

log = logging.getLogger(__name__)


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
    positive: Positive = None,
    say: Callable[[str], None] = log.info,
) -> pa.Table:
    """The labels in the order of `ids`: id columns, then one int8 column per target (0, 1, null).

    Args:
        positive: values that are 1, for all targets or by target, where labels are no 0 and 1.
        say: is told which values were taken for 0 and 1, where they are others.

    Raises:
        BlendmakeError: a column absent, a third value, text that does not say which value is 1, a target
            of one class.
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
    taken = [name for name in names if name in ids.column_names]
    if taken:
        raise BlendmakeError(
            f"{file}: a target may not be called '{taken[0]}', like "
            + ("an id column" if id_columns else "the column of positions, which are the ids here")
            + ". List the target columns under data.targets.columns."
        )
    table.require(names, "the target column")
    if not names:
        raise BlendmakeError(f"{file}: there is no target column beside the id.")
    unknown = sorted(set(positive) - set(names)) if isinstance(positive, Mapping) else []
    if unknown:
        raise BlendmakeError(
            f"data.targets.positive names {some_of(unknown)}, which is no target ({some_of(names)})."
        )
    order = order_by(ids, table, id_columns)
    labels = table.read(names)
    arrays = []
    for name in names:
        values, says = label_values(labels[name], name, file, positive_of(positive, name))
        if says:
            say(says)
        if not one_class_allowed:
            _check_classes(values, name, file)
        values = values if order is None else values[order]
        missing = np.isnan(values)
        arrays.append(pa.array(np.where(missing, 0, values).astype(np.int8), mask=missing))
    return pa.table([*ids.columns, *arrays], names=[*ids.column_names, *names])


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


def write_groups(path: Path, ids: pa.Table, codes: pa.Array, note: Mapping[str, Any]) -> None:
    """Write groups.parquet: the ids and `group`, by another name (in the note) if an id has this one."""
    column = free_name("group", ids.column_names)
    about = {"id_columns": ids.column_names, "column": column}
    write_parquet(ids.append_column(column, codes), path, {**note, **about})
