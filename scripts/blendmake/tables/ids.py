"""Ids of the user's rows: read, given one type over all files, and matched.

An id of a CSV file is text, of which nothing is lost: `007`, `1.10` and `+7` are not 7. Only where all
ids of a file are whole numbers, written as computers write them, are they int64, from which the text
comes back as it was. Files in which the same id is of different types are matched by value where no
two values could be meant.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import free_name
from blendmake.tables.missing import Missing, without_missing
from blendmake.tables.naming import EXAMPLES, POSITION, some_of
from blendmake.tables.user_files import UserTable

WHOLE = r"^(0|-?[1-9][0-9]*)$"  # a whole number as computers write it: 7, not 007 or +7
POINT_ZERO = r"^(-?[0-9]+)\.0+$"  # one that has passed through a column of floats
EXACT = {16: 2.0**11, 32: 2.0**24, 64: 2.0**53}  # floats of so many bits keep whole numbers below


def position_column(tables: Iterable[UserTable], others: Collection[str] = ()) -> str:
    """The name of the id column of tables that have none: no column of theirs, and none of `others`."""
    return free_name(POSITION, {*others, *(name for t in tables for name in t.schema.names)})


def read_ids(
    table: UserTable,
    id_columns: Sequence[str],
    first_position: int = 0,
    position: str = POSITION,
    missing: Missing = (),
) -> pa.Table:
    """The id columns, checked: present, without nulls, without duplicates.

    Without id columns the row's position, counted from `first_position`, is its id, in a column called
    `position`. What the config calls missing (`missing`) is no id.
    """
    if not id_columns:
        positions = np.arange(first_position, first_position + table.rows, dtype=np.int64)
        return pa.table({position: positions})
    table.require(id_columns, "the id column")
    ids = pa.table([plain(table.read([name])[name]) for name in id_columns], names=list(id_columns))
    for name in id_columns:
        # NaN is no null to Arrow, but no id either.
        absent = pc.is_null(without_missing(ids[name], name, missing), nan_is_null=True)
        if count := pc.sum(absent).as_py():
            row = pc.index(absent, True).as_py()
            called = (
                "" if ids[name][row].as_py() is None else f" (data.missing: '{ids[name][row]}')"
            )
            raise BlendmakeError(
                f"{table.path}: id column '{name}' has {count} missing values{called}, the first in row "
                f"{row + 1}. Every row needs an id."
            )
    _check_unique(ids, table)
    return ids


def _check_unique(ids: pa.Table, table: UserTable) -> None:
    keys = id_keys(ids)
    if pc.count_distinct(keys).as_py() < len(keys):
        counts = pc.value_counts(keys)
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        raise BlendmakeError(
            f"{table.path}: duplicate ids in {'+'.join(ids.column_names)}: {some_of(shown_ids(twice))} "
            f"({len(twice)} in all). Every id must occur once: drop the repeated rows."
        )


def positions_text(rows: int, test_rows: int | None, position: str = POSITION) -> str:
    """What to say where there are no id columns."""
    test = "" if test_rows is None else f", {rows:,} to {rows + test_rows - 1:,} in test"
    return (
        f"by position: data.id is not given, so that the row's number is its id (column '{position}': 0 "
        f"to {rows - 1:,} in train{test}), and files are matched row by row"
    )


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionary and large text as plain text, so that files of different make compare equal."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.string())
    if pa.types.is_integer(kind) and not _is_beyond_int64(column):
        column = column.cast(pa.int64())
    # Parquet does not keep these as they are, so that artifacts would hold other ids than tables.
    if pa.types.is_timestamp(kind) and kind.unit in ("s", "ms"):
        column = column.cast(pa.timestamp("us", kind.tz))
    if pa.types.is_date64(kind):
        column = column.cast(pa.date32())
    if pa.types.is_time32(kind) and kind.unit == "s":
        column = column.cast(pa.time32("ms"))
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        column = column.cast(pa.binary())
    return column


def _is_beyond_int64(column: pa.ChunkedArray) -> bool:
    return bool(
        pa.types.is_uint64(column.type) and (pc.max(column).as_py() or 0) > np.iinfo(np.int64).max
    )


# One type over all files


def in_one_type(train: pa.Table, test: pa.Table, table: UserTable) -> tuple[pa.Table, pa.Table]:
    """Ids of the train and of the test rows, each column of one type in both; see `_common`.

    Args:
        table: the test file.

    Raises:
        BlendmakeError: types that have nothing in common.
    """
    for name in train.column_names:
        mine, theirs = train[name], test[name]
        kind = _common(mine, theirs)
        if kind is None:
            raise BlendmakeError(
                f"{table.path}: ids in column '{name}' are of type {theirs.type} ({_example(theirs)}), "
                f"in train {mine.type} ({_example(mine)}). Give them one type."
            )
        at = train.column_names.index(name)
        train = train.set_column(at, name, _as_type(mine, kind))
        test = test.set_column(at, name, _as_type(theirs, kind))
    return train, test


def mixed_text(train: pa.Table, test: pa.Table, table: UserTable) -> str | None:
    """What to say where ids are text in one table, and dates or fractions, say, in the other."""
    for name in train.column_names:
        kinds = train[name].type, test[name].type
        texts = [pa.types.is_string(kind) for kind in kinds]
        if any(texts) and not all(texts) and not any(map(pa.types.is_integer, kinds)):
            return (
                f"{table.path}: ids in column '{name}' are {kinds[1]} ({_example(test[name])}), in "
                f"train {kinds[0]} ({_example(train[name])}); they are taken as text. Give them "
                "one type if they mean the same"
            )
    return None


def _common(a: pa.ChunkedArray, b: pa.ChunkedArray) -> pa.DataType | None:
    """The type that ids of both become, without losing a digit or making two of them equal.

    Whole numbers where both can be; text where one is text that is no such number; else the same
    type, or the finer of two times or decimals; None: there is none.
    """
    if a.type == b.type:
        return a.type
    kinds = (a.type, b.type)
    if any(map(pa.types.is_integer, kinds)):
        whole = next(kind for kind in kinds if pa.types.is_integer(kind))
        if any(map(pa.types.is_uint64, kinds)):
            whole = pa.uint64()
        if all(_as_type(column, whole, as_written=True) is not None for column in (a, b)):
            return whole
    if any(map(pa.types.is_string, kinds)):
        return pa.string() if all(_as_type(x, pa.string()) is not None for x in (a, b)) else None
    if all(map(pa.types.is_floating, kinds)):
        return pa.float64()
    return next((k for k in kinds if None not in (_as_type(a, k), _as_type(b, k))), None)


def _as_type(
    column: pa.ChunkedArray, kind: pa.DataType, as_written: bool = False
) -> pa.ChunkedArray | None:
    """Ids as another type, value by value; None where a value has no exact place in it.

    Args:
        as_written: whether text must come back as it was, 7.0 too.
    """
    mine = column.type
    if mine == kind:
        return column
    if not _are_alike(mine, kind):
        return None
    if pa.types.is_string(mine) and pa.types.is_integer(kind):
        if not as_written:
            column = pc.replace_substring_regex(column, POINT_ZERO, r"\1")
        if not pc.all(pc.match_substring_regex(column, WHOLE)).as_py():
            return None
    floats = pa.types.is_floating(mine) and pa.types.is_integer(kind)
    if floats and pc.any(pc.greater_equal(pc.abs(column), EXACT[mine.bit_width])).as_py():
        return None
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return None


def _are_alike(mine: pa.DataType, kind: pa.DataType) -> bool:
    """Whether a value of one type means the same in the other, where a cast succeeds."""
    if pa.types.is_timestamp(mine) and pa.types.is_timestamp(kind):
        return bool((mine.tz is None) == (kind.tz is None))
    return any(all(map(is_one, (mine, kind))) for is_one in ALIKE) or any(
        map(pa.types.is_string, (mine, kind))
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


ALIKE: tuple[Callable[[pa.DataType], bool], ...] = (
    _is_number,
    pa.types.is_time,
    pa.types.is_duration,
)


def _example(column: pa.ChunkedArray) -> str:
    return f"'{column[0]}'" if len(column) else "none"


def given_id_columns(table: UserTable, ids: pa.Table, id_columns: Sequence[str]) -> list[str]:
    """The id columns of a file about the rows of `ids`.

    Where the config names none, rows go by their position, and the column of positions may be there,
    as it is in what blendmake writes.
    """
    if id_columns or ids.column_names[0] in table.schema.names:
        return list(ids.column_names)
    return []


def check_apart(train: pa.Table, test: pa.Table, table: UserTable) -> None:
    """Raise where an id is in train and in test; `table` is the test file."""
    train_keys, test_keys = id_keys(train), id_keys(test)
    both = test_keys.filter(pc.is_in(test_keys, value_set=train_keys))
    if len(both):
        raise BlendmakeError(
            f"{table.path}: ids {some_of(shown_ids(both))} ({len(both)} in all) are in train and in "
            "test. A row may be in one of them only: drop it from the other; or, where the ids of test "
            "begin again and mean other rows, set data.ids: {distinct: per_table}."
        )


# Matching


def id_keys(ids: pa.Table) -> pa.ChunkedArray:
    """One comparable key per row, of one or several id columns; different ids have different keys."""
    if ids.num_columns == 1:
        return ids.column(0)
    return pc.binary_join_element_wise(*[_escaped(column) for column in ids.columns], "\x1f")


def _escaped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as text without the sign that joins columns in a key."""
    if pa.types.is_binary(column.type) or pa.types.is_fixed_size_binary(column.type):
        return pa.chunked_array([pa.array([value.hex() for value in column.to_pylist()])])
    text = column.cast(pa.string())
    if pa.types.is_string(column.type):
        text = pc.replace_substring(pc.replace_substring(text, "\x1e", "\x1e-"), "\x1f", "\x1e+")
    return text


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
    if not ids.num_rows:
        ids = theirs.slice(0, 0)
    theirs = _typed_like(ids, theirs, table)
    if theirs.equals(ids):
        return None
    positions = _positions(ids, theirs)
    if positions is None:
        # Written 7.0 in one file and 7 in the other, since one of them came out of floats.
        positions = _positions(_without_points(ids), _without_points(theirs))
        if positions is None:
            raise _other_ids(ids, theirs, table)
    return positions


def _typed_like(ids: pa.Table, theirs: pa.Table, table: UserTable) -> pa.Table:
    """`theirs` in the types of `ids`, matched by value."""
    columns = []
    for name, other in zip(ids.column_names, theirs.column_names, strict=True):
        wanted, given = ids[name], theirs[other]
        column = _as_type(given, wanted.type)
        if column is None:
            raise BlendmakeError(
                f"{table.path}: ids in column '{other}' are of type {given.type} "
                f"({_odd(given, wanted)}), in the train or test file {wanted.type} "
                f"({_example(wanted)}). Give them one type, and write them alike."
            )
        columns.append(column)
    made = pa.table(columns, names=theirs.column_names)
    if made.schema.types != theirs.schema.types:
        _check_unique(made, table)
    return made.rename_columns(ids.column_names)


def _odd(given: pa.ChunkedArray, wanted: pa.ChunkedArray) -> str:
    """An id that has no place in the type of `wanted`."""
    if pa.types.is_string(given.type) and pa.types.is_integer(wanted.type):
        odd = given.filter(pc.invert(pc.match_substring_regex(given, WHOLE)))
        return _example(odd if len(odd) else given)
    return _example(given)


def _positions(ids: pa.Table, theirs: pa.Table) -> NDArray[np.int64] | None:
    """Where each of `ids` is among `theirs`; None unless they are the same, each once."""
    mine_keys, their_keys = id_keys(ids), id_keys(theirs)
    if len(mine_keys) != len(their_keys):
        return None
    positions = pc.index_in(mine_keys, value_set=their_keys)
    if positions.null_count or len(pc.unique(mine_keys)) < len(mine_keys):
        return None
    return np.asarray(positions.combine_chunks()).astype(np.int64)


def _without_points(ids: pa.Table) -> pa.Table:
    columns = [
        pc.replace_substring_regex(column, POINT_ZERO, r"\1")
        if pa.types.is_string(column.type)
        else column
        for column in ids.columns
    ]
    return pa.table(columns, names=ids.column_names)


def _other_ids(ids: pa.Table, theirs: pa.Table, table: UserTable) -> BlendmakeError:
    mine_keys, their_keys = id_keys(ids), id_keys(theirs)
    missing = mine_keys.filter(pc.is_null(pc.index_in(mine_keys, value_set=their_keys)))
    extra = their_keys.filter(pc.is_null(pc.index_in(their_keys, value_set=mine_keys)))
    what = f"lacks ids {some_of(shown_ids(missing))} ({len(missing)})" if len(missing) else ""
    more = f"has unknown ids {some_of(shown_ids(extra))} ({len(extra)})" if len(extra) else ""
    return BlendmakeError(
        f"{table.path} {' and '.join(filter(None, [what, more]))}. All files of one table must "
        f"hold the same ids{_written_otherwise(missing, extra)}."
    )


def _written_otherwise(missing: pa.ChunkedArray, extra: pa.ChunkedArray) -> str:
    """A pair of ids that would be one but for how they are written, as the end of a sentence."""

    def core(key: Any) -> str:
        return str(key).strip().casefold().removeprefix("+").lstrip("0").removesuffix(".0")

    some = {core(key): key for key in missing[:1000].to_pylist()}
    pairs = [(some[core(key)], key) for key in extra[:1000].to_pylist() if core(key) in some]
    told = [f"{ours!r} elsewhere is {theirs!r} here" for ours, theirs in pairs[:1]]
    return f", written alike ({told[0]})" if told else ""
