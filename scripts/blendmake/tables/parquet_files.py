"""Parquet: a file, or a folder of files that is one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from blendmake.errors import BlendmakeError
from blendmake.tables.folders import is_parquet, parts_of
from blendmake.tables.naming import some_of
from blendmake.tables.pandas_index import pandas_index

NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class _Part:
    path: Path
    schema: pa.Schema
    rows: int
    keys: dict[str, str | None]  # what the names of its folders say (`year=2020`)


class ParquetTable:
    """The columns and rows of a parquet file, or of all files of a folder in the order of their names.

    What folders below it are named after (`year=2020`) is a column: whole numbers if all are, else text.

    Attributes:
        schema, rows: of all files together.

    Raises:
        BlendmakeError: the folder holds no parquet file, or a file of another kind; a file lacks a
            column, has one more, or of another type: names the file and the column.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts = [self._part(file) for file in _files(path)]
        self.rows = sum(part.rows for part in self._parts)
        self.schema = self._parts[0].schema if path.is_file() else self._common_schema()
        self._names = [set(part.schema.names) for part in self._parts]

    def read(self, names: Sequence[str]) -> pa.Table:
        """Some columns, whole."""
        tables = [
            self._whole(i, pq.ParquetFile(part.path).read(columns=self._own(i, names)), names)
            for i, part in enumerate(self._parts)
        ]
        return tables[0] if len(tables) == 1 else pa.concat_tables(tables)

    def batches(self, rows: int, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns in tables of at most so many rows, file by file."""
        for i, part in enumerate(self._parts):
            file = pq.ParquetFile(part.path)
            for batch in file.iter_batches(rows, columns=self._own(i, names)):
                yield self._whole(i, pa.Table.from_batches([batch]), names)

    def _part(self, file: Path) -> _Part:
        try:
            opened = pq.ParquetFile(file)
        except (pa.ArrowException, OSError) as error:
            if file == self.path:
                raise
            first = str(error).strip().split("\n")[0]
            raise BlendmakeError(
                f"{file} cannot be read: {first}. It may be cut off or damaged: write it again."
            ) from error
        keys: dict[str, str | None] = {}
        for folder in file.relative_to(self.path).parts[:-1] if file != self.path else ():
            name, equals, value = folder.partition("=")
            if equals:
                keys[unquote(name)] = None if value == NO_VALUE else unquote(value)
        return _Part(file, opened.schema_arrow, opened.metadata.num_rows, keys)

    def _own(self, part: int, names: Sequence[str]) -> list[str]:
        return [name for name in names if name in self._names[part]]

    def _whole(self, part: int, table: pa.Table, names: Sequence[str]) -> pa.Table:
        """A part's table with all columns that are asked for, in the types of the whole."""
        if self.path.is_file():
            return table
        found = dict(zip(table.column_names, table.columns, strict=True))
        kinds = dict(zip(self.schema.names, self.schema.types, strict=True))
        rows = table.num_rows if found else self._parts[part].rows
        columns = []
        for name in names:
            column = found.get(name)
            if column is None:
                value = self._parts[part].keys[name]
                column = pa.chunked_array([pa.repeat(pa.scalar(value, pa.string()), rows)])
            columns.append(column if column.type == kinds[name] else column.cast(kinds[name]))
        return pa.table(columns, names=list(names))

    # One schema

    def _common_schema(self) -> pa.Schema:
        kinds: dict[str, pa.DataType] = {}
        named_by: dict[str, _Part] = {}
        first = self._parts[0]
        shared = set.intersection(*(set(part.schema.names) for part in self._parts))
        for part in self._parts:
            fields = _without_own_index(part.schema, shared)
            self._check_names(part, fields, first, _without_own_index(first.schema, shared))
            for name, kind in fields.items():
                kind = _plain_dictionary(kind)
                known = kinds.setdefault(name, kind)
                named_by.setdefault(name, part)
                if pa.types.is_null(known):
                    kinds[name], named_by[name] = kind, part
                elif kind != known and not pa.types.is_null(kind):
                    raise BlendmakeError(
                        f"{part.path}: column '{name}' is {kind}, in {named_by[name].path} {known}. "
                        "Files of one folder are one table: give them the same types."
                    )
        for name in first.keys:
            values = [part.keys[name] for part in self._parts]
            kinds[name] = pa.int64() if all(map(_is_whole, values)) else pa.string()
        return pa.schema(list(kinds.items()), metadata=first.schema.metadata)

    def _check_names(
        self,
        part: _Part,
        fields: dict[str, pa.DataType],
        first: _Part,
        wanted: dict[str, pa.DataType],
    ) -> None:
        for here, there, what in ((wanted, fields, "lacks"), (fields, wanted, "has")):
            odd = [name for name in here if name not in there]
            if odd:
                raise BlendmakeError(
                    f"{part.path} {what} column {some_of(odd)}, unlike {first.path}. Files of one "
                    "folder are one table: give them the same columns."
                )
        if part.keys.keys() != first.keys.keys():
            raise BlendmakeError(
                f"{part.path} does not stand in folders as {first.path} does (`name=value`). Move it."
            )
        twice = [name for name in part.keys if name in fields]
        if twice:
            raise BlendmakeError(
                f"{part.path}: column {some_of(twice)} is also the name of its folder. Rename one."
            )


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = [Path(file) for file in parts_of(path)]
    odd = [file.name for file in files if not is_parquet(file.name)]
    if odd or not files:
        what = f"holds {some_of(odd)}" if odd else "is empty"
        raise BlendmakeError(
            f"{path} is a folder and {what}. A folder is one table of parquet files: name a file, or a "
            "folder of .parquet files alone."
        )
    return files


def _without_own_index(schema: pa.Schema, shared: set[str]) -> dict[str, pa.DataType]:
    """Types by name, without an index of pandas that not every file has."""
    index = pandas_index(schema) - shared
    return {field.name: field.type for field in schema if field.name not in index}


def _plain_dictionary(kind: pa.DataType) -> pa.DataType:
    """A dictionary's type whatever the number of its values, which differs from file to file."""
    if pa.types.is_dictionary(kind):
        return pa.dictionary(pa.int32(), kind.value_type, kind.ordered)
    return kind


def _is_whole(value: str | None) -> bool:
    return value is None or (value.isascii() and str(value).isdigit() and str(int(value)) == value)
