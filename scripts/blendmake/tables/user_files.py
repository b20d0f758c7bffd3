"""The user's files: opened, their ids read and matched.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.matrix import BATCH_ROWS
from blendmake.tables.csv_files import read_csv
from blendmake.tables.naming import EXAMPLES, some_of

POSITION = "row"  # the id column of tables that have none


class UserTable:
    """A user's file, opened by its suffix: .parquet, .csv, .csv.gz, .arrow or .feather."""

    def __init__(self, path: str | Path, id_columns: Sequence[str] = ()) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise BlendmakeError(
                f"{path} does not exist. Check the path in the config's data section."
            )
        if self.path.stat().st_size == 0:
            raise BlendmakeError(f"{path} is empty (0 bytes). Write or download it again.")
        self._parquet: pq.ParquetFile | None = None
        self._table: pa.Table | None = None
        name = self.path.name.lower()
        try:
            if name.endswith((".parquet", ".pq")):
                self._parquet = pq.ParquetFile(self.path)
                self.schema: pa.Schema = self._parquet.schema_arrow
                self.rows: int = self._parquet.metadata.num_rows
            elif name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
                self._table = read_csv(self.path, "\t" if ".tsv" in name else ",", id_columns)
            elif name.endswith((".arrow", ".feather", ".ipc")):
                self._table = _read_arrow(self.path)
            else:
                raise BlendmakeError(
                    f"{path}: unknown kind of file. Use .parquet, .csv, .csv.gz, .tsv or .arrow."
                )
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error
        if self._table is not None:
            self.schema, self.rows = self._table.schema, self._table.num_rows
        twice = sorted({n for n in self.schema.names if self.schema.names.count(n) > 1})
        if twice:
            raise BlendmakeError(
                f"{path}: column {some_of(twice)} occurs more than once. Rename it."
            )
        if self.rows == 0:
            raise BlendmakeError(f"{path} has a header but no rows. Write or download it again.")

    def _unreadable(self, error: Exception) -> BlendmakeError:
        first = str(error).strip().split("\n")[0]
        return BlendmakeError(
            f"{self.path} cannot be read: {first}. It may be cut off or damaged: write or download it "
            "again."
        )

    def require(self, names: Iterable[str], what: str) -> None:
        """Raise unless every column in `names` is there."""
        missing = [name for name in names if name not in self.schema.names]
        if missing:
            raise BlendmakeError(
                f"{self.path}: {what} {some_of(missing)} is not among its columns "
                f"({some_of(self.schema.names)}). Correct the config or the file."
            )

    def read(self, names: Sequence[str]) -> pa.Table:
        """Some columns, whole; no names: a table of no columns."""
        try:
            if self._parquet is not None:
                return self._parquet.read(columns=list(names))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        assert self._table is not None
        return self._table.select(list(names))

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns in tables of exactly BATCH_ROWS rows (the last may be shorter)."""
        if self._table is not None:
            table = self._table.select(list(names))
            for start in range(0, self.rows, BATCH_ROWS):
                yield table.slice(start, BATCH_ROWS)
            return
        assert self._parquet is not None
        held: list[pa.Table] = []
        count = 0
        try:
            for batch in self._parquet.iter_batches(BATCH_ROWS, columns=list(names)):
                held.append(pa.Table.from_batches([batch]))
                count += batch.num_rows
                while count >= BATCH_ROWS:
                    table = pa.concat_tables(held)
                    yield table.slice(0, BATCH_ROWS)
                    held, count = [table.slice(BATCH_ROWS)], count - BATCH_ROWS
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        if count:
            yield pa.concat_tables(held)


def _read_arrow(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


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


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def kind_of(dtype: pa.DataType, named_category: bool) -> str | None:
    """number, category, `any` (nothing but nulls) or None (unusable)."""
    if pa.types.is_null(dtype):
        return "any"
    if pa.types.is_dictionary(dtype):
        return "category"
    if _is_text(dtype):
        return "category"
    if (
        pa.types.is_integer(dtype)
        or pa.types.is_floating(dtype)
        or pa.types.is_boolean(dtype)
        or pa.types.is_decimal(dtype)
    ):
        return "category" if named_category else "number"
    return None
