"""The user's files: opened and read.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from blendmake.errors import BlendmakeError
from blendmake.matrix import BATCH_ROWS
from blendmake.tables.csv_files import read_csv, read_csv_as_text
from blendmake.tables.naming import some_of


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
        self.is_csv = False  # types are guessed, so that others may be better
        name = self.path.name.lower()
        try:
            if name.endswith((".parquet", ".pq")):
                self._parquet = pq.ParquetFile(self.path)
                self.schema: pa.Schema = self._parquet.schema_arrow
                self.rows: int = self._parquet.metadata.num_rows
            elif name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
                self.is_csv = True
                self._table = read_csv(self.path, self._delimiter, id_columns)
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
            close = get_close_matches(missing[0], self.schema.names, n=1)
            hint = f" Did you mean '{close[0]}'?" if close else ""
            raise BlendmakeError(
                f"{self.path}: {what} {some_of(missing)} is not among its columns "
                f"({some_of(self.schema.names)}).{hint} Correct the config or the file."
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

    def read_as_text(self, names: Sequence[str]) -> None:
        """Have some columns of a CSV file as they are written there from now on, not as guessed."""
        assert self.is_csv and self._table is not None
        table = self._table
        guessed = [n for n in names if not pa.types.is_string(table.schema.field(n).type)]
        if not guessed:
            return
        texts = read_csv_as_text(self.path, self._delimiter, guessed)
        columns = dict(zip(table.column_names, table.columns, strict=True))
        columns |= dict(zip(texts.column_names, texts.columns, strict=True))
        self._table = pa.table(columns)
        self.schema = self._table.schema

    @property
    def _delimiter(self) -> str:
        return "\t" if ".tsv" in self.path.name.lower() else ","

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
