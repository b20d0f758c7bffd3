"""Ids of the user's rows: read, checked and matched.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.tables.naming import EXAMPLES, some_of
from blendmake.tables.user_files import UserTable

POSITION = "row"  # the id column of tables that have none


def read_ids(table: UserTable, id_columns: Sequence[str], first_position: int = 0) -> pa.Table:
    """The id columns, checked: present, without nulls, without duplicates.

    Without id columns the row's position, counted from `first_position`, is its id.
    """
    if not id_columns:
        positions = np.arange(first_position, first_position + table.rows, dtype=np.int64)
        return pa.table({POSITION: positions})
    table.require(id_columns, "the id column")
    ids = pa.table([plain(table.read([name])[name]) for name in id_columns], names=list(id_columns))
    for name in id_columns:
        # NaN is no null to Arrow, but no id either.
        missing = pc.sum(pc.is_null(ids[name], nan_is_null=True)).as_py()
        if missing:
            raise BlendmakeError(
                f"{table.path}: id column '{name}' has {missing} missing values. "
                "Every row needs an id."
            )
    keys = id_keys(ids)
    if pc.count_distinct(keys).as_py() < len(keys):
        counts = pc.value_counts(keys)
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        raise BlendmakeError(
            f"{table.path}: duplicate ids in {'+'.join(id_columns)}: {some_of(shown_ids(twice))} "
            f"({len(twice)} in all). Every id must occur once: drop the repeated rows."
        )
    return ids


def positions_text(rows: int, test_rows: int | None) -> str:
    """What to say where there are no id columns."""
    test = "" if test_rows is None else f", {rows:,} to {rows + test_rows - 1:,} in test"
    return (
        f"by position: data.id is not given, so that the row's number is its id (column '{POSITION}': 0 "
        f"to {rows - 1:,} in train{test}), and files are matched row by row"
    )


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionary and large text as plain text, so that files of different make compare equal."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_integer(column.type) and not _is_beyond_int64(column):
        column = column.cast(pa.int64())
    # Parquet does not keep these as they are, so that artifacts would hold other ids than tables.
    if pa.types.is_timestamp(column.type) and column.type.unit in ("s", "ms"):
        column = column.cast(pa.timestamp("us", column.type.tz))
    if pa.types.is_date64(column.type):
        column = column.cast(pa.date32())
    return column


def _is_beyond_int64(column: pa.ChunkedArray) -> bool:
    return bool(
        pa.types.is_uint64(column.type) and (pc.max(column).as_py() or 0) > np.iinfo(np.int64).max
    )


def id_keys(ids: pa.Table) -> pa.ChunkedArray:
    """One comparable key per row, of one or several id columns."""
    if ids.num_columns == 1:
        return ids.column(0)
    texts = [column.cast(pa.string()) for column in ids.columns]
    return pc.binary_join_element_wise(*texts, "\x1f")


def shown_ids(keys: Any) -> list[str]:
    return [str(key).replace("\x1f", "/") for key in keys[: EXAMPLES + 1].to_pylist()] + [
        "…"
    ] * max(0, len(keys) - EXAMPLES - 1)


def order_by(
    ids: pa.Table, table: UserTable, id_columns: Sequence[str]
) -> NDArray[np.int64] | None:
    """Row positions that put `table` into the order of `ids`; None if it is in order already.

    Raises:
        BlendmakeError: if its ids are not exactly those in `ids`.
    """
    if not id_columns:
        if table.rows != ids.num_rows:
            raise BlendmakeError(
                f"{table.path} has {table.rows} rows, {ids.num_rows} are expected. Rows are matched by "
                "position: give data.id, or files of the same rows in the same order."
            )
        return None
    theirs = read_ids(table, id_columns)
    if theirs.schema.types != ids.schema.types:
        raise BlendmakeError(
            f"{table.path}: ids are of type {', '.join(map(str, theirs.schema.types))}, in the train "
            f"file {', '.join(map(str, ids.schema.types))}. Give them one type."
        )
    if theirs.equals(ids):
        return None
    mine_keys, their_keys = id_keys(ids), id_keys(theirs)
    positions = pc.index_in(mine_keys, value_set=their_keys)
    missing = mine_keys.filter(pc.is_null(positions))
    extra = their_keys.filter(pc.is_null(pc.index_in(their_keys, value_set=mine_keys)))
    if len(missing) or len(extra):
        what = f"lacks ids {some_of(shown_ids(missing))} ({len(missing)})" if len(missing) else ""
        more = f"has unknown ids {some_of(shown_ids(extra))} ({len(extra)})" if len(extra) else ""
        raise BlendmakeError(
            f"{table.path} {' and '.join(filter(None, [what, more]))}. All files of one table must "
            "hold the same ids."
        )
    return np.asarray(positions.combine_chunks()).astype(np.int64)
