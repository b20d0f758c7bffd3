"""The user's files: opened and read.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from blendmake.errors import BlendmakeError
from blendmake.matrix import BATCH_ROWS
from blendmake.spelling import closest
from blendmake.tables.csv_files import CsvFile, is_csv
from blendmake.tables.folders import is_parquet
from blendmake.tables.naming import some_of
from blendmake.tables.pandas_index import pandas_index
from blendmake.tables.parquet_files import ParquetTable

log = logging.getLogger(__name__)

Reading = Callable[[pa.ChunkedArray], pa.ChunkedArray]  # what is made of a column as it is read


class UserTable:
    """A user's file, opened by its suffix: parquet, CSV in any dialect and packing, or Arrow; or a
    folder of parquet files, which is one table.

    Args:
        id_columns: the ids: in CSV read letter by letter; never taken for what pandas added.
        csv: `data.csv` of the config: how CSV files are written.

    Attributes:
        schema, rows: all columns, and how many rows.
        index_columns: columns that pandas has added and that hold no data: its index.
        notes: in words, what of the file is not plain; logged too.
    """

    schema: pa.Schema
    rows: int

    def __init__(
        self,
        path: str | Path,
        id_columns: Sequence[str] = (),
        csv: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise BlendmakeError(
                f"{path} does not exist. Check the path in the config's data section."
            )
        if self.path.is_file() and self.path.stat().st_size == 0:
            raise BlendmakeError(f"{path} is empty (0 bytes). Write or download it again.")
        self._parquet: ParquetTable | None = None
        self._table: pa.Table | None = None
        self._csv: CsvFile | None = None
        self.notes: list[str] = []
        self._readings: dict[str, Reading] = {}
        try:
            self._open(id_columns, csv)
        except (pa.ArrowException, OSError, UnicodeDecodeError, EOFError) as error:
            raise self._unreadable(error) from error
        if self._table is not None:
            self.schema, self.rows = self._table.schema, self._table.num_rows
        names = self.schema.names
        self._known = frozenset(names)
        if len(self._known) < len(names):
            twice = sorted(name for name, count in Counter(names).items() if count > 1)
            raise BlendmakeError(
                f"{path}: column {some_of(twice)} occurs more than once. Rename it."
            )
        if self.rows == 0:
            raise BlendmakeError(f"{path} has a header but no rows. Write or download it again.")
        self.index_columns = pandas_index(self.schema) - set(id_columns)
        if self.index_columns:
            self.notes.append(
                f"{path}: {some_of(sorted(self.index_columns))} is the index of a pandas table, no "
                "feature. Rename it if it is one"
            )
        for note in self.notes:
            log.info("%s", note)

    def _open(self, id_columns: Sequence[str], csv: Mapping[str, Any] | None) -> None:
        name = self.path.name.lower()
        if self.path.is_dir() or is_parquet(name):
            self._parquet = ParquetTable(self.path)
            self.schema, self.rows = self._parquet.schema, self._parquet.rows
        elif is_csv(name):
            self._csv = CsvFile(self.path, csv, id_columns)
            self._table = self._csv.read()
            self.notes += self._csv.found
        elif name.endswith((".arrow", ".feather", ".ipc")):
            self._table = _read_arrow(self.path)
        else:
            raise BlendmakeError(
                f"{self.path}: unknown kind of file. Use .parquet (or a folder of them), .csv, .tsv, "
                ".txt (also packed: .gz, .bz2, .zst, .zip) or .arrow."
            )

    @property
    def is_csv(self) -> bool:
        """Whether types are guessed, so that others may be better."""
        return self._csv is not None

    @property
    def names(self) -> list[str]:
        """The columns that hold data: all but an index of pandas."""
        return [name for name in self.schema.names if name not in self.index_columns]

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._known

    def _unreadable(self, error: Exception) -> BlendmakeError:
        first = str(error).strip().split("\n")[0]
        return BlendmakeError(
            f"{self.path} cannot be read: {first}. It may be cut off or damaged: write or download it "
            "again."
        )

    def require(self, names: Iterable[str], what: str) -> None:
        """Raise unless every column in `names` is there."""
        missing = [name for name in names if name not in self._known]
        if missing:
            close = closest(missing[0], self.schema.names)
            hint = "" if close is None else f" Did you mean '{close}'?"
            raise BlendmakeError(
                f"{self.path}: {what} {some_of(missing)} is not among its columns "
                f"({some_of(self.names)}).{hint} Correct the config or the file."
            )

    def read(self, names: Sequence[str]) -> pa.Table:
        """Some columns, whole; no names: a table of no columns."""
        try:
            if self._parquet is not None:
                return self._read(self._parquet.read(names))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        assert self._table is not None
        return self._read(self._table.select(list(names)))

    def read_through(self, readings: Mapping[str, Reading]) -> None:
        """Have columns pass through functions as they are read; `schema` tells what comes of them."""
        fields = dict(zip(self.schema.names, self.schema, strict=True))
        self._readings.update(readings)
        for name, reading in readings.items():
            empty = pa.chunked_array([], fields[name].type)
            fields[name] = fields[name].with_type(reading(empty).type)
        if readings:
            self.schema = pa.schema(list(fields.values()), self.schema.metadata)

    def _read(self, table: pa.Table) -> pa.Table:
        if self._readings.keys().isdisjoint(table.column_names):
            return table
        columns = [
            self._readings[name](column) if name in self._readings else column
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
        return pa.table(columns, names=table.column_names)

    def read_as_text(self, names: Sequence[str]) -> None:
        """Have some columns of a CSV file as they are written there from now on, not as guessed."""
        assert self._csv is not None and self._table is not None
        table = self._table
        guessed = [n for n in names if not pa.types.is_string(table.schema.field(n).type)]
        if not guessed:
            return
        texts = self._csv.read_as_text(guessed)
        columns = dict(zip(table.column_names, table.columns, strict=True))
        columns |= dict(zip(texts.column_names, texts.columns, strict=True))
        self._table = pa.table(columns)
        self.schema = self._table.schema

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns in tables of exactly BATCH_ROWS rows (the last may be shorter)."""
        if self._table is not None:
            table = self._table.select(list(names))
            for start in range(0, self.rows, BATCH_ROWS):
                yield self._read(table.slice(start, BATCH_ROWS))
            return
        assert self._parquet is not None
        held: list[pa.Table] = []
        count = 0
        try:
            for batch in self._parquet.batches(BATCH_ROWS, names):
                held.append(batch)
                count += batch.num_rows
                while count >= BATCH_ROWS:
                    table = pa.concat_tables(held)
                    yield self._read(table.slice(0, BATCH_ROWS))
                    held, count = [table.slice(BATCH_ROWS)], count - BATCH_ROWS
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        if count:
            yield self._read(pa.concat_tables(held))


def _read_arrow(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is text, large or not."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def kind_of(dtype: pa.DataType, named_category: bool) -> str | None:
    """number, time, category, `any` (nothing but nulls) or None (unusable)."""
    if pa.types.is_null(dtype):
        return "any"
    if pa.types.is_dictionary(dtype):
        return "category"
    if is_text(dtype):
        return "category"
    if (
        pa.types.is_integer(dtype)
        or pa.types.is_floating(dtype)
        or pa.types.is_boolean(dtype)
        or pa.types.is_decimal(dtype)
    ):
        return "category" if named_category else "number"
    if pa.types.is_temporal(dtype) and not pa.types.is_interval(dtype):
        return "category" if named_category else "time"
    return None
