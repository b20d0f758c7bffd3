"""CSV files: read whole into a table of Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.tables.naming import some_of


def read_csv(path: Path, delimiter: str, id_columns: Sequence[str]) -> pa.Table:
    """Every column of a CSV file, its type inferred; ids as text where numbers would change them.

    Among numbers NA, NaN, null, N/A and the like are missing; in text only the empty field is.
    """
    options = _options(path, delimiter)
    table = csv.read_csv(path, convert_options=csv.ConvertOptions(), **options)
    kinds = zip(table.column_names, table.schema.types, strict=True)
    unreadable = [name for name, kind in kinds if pa.types.is_binary(kind)]
    if unreadable:
        raise BlendmakeError(
            f"{path}: column {some_of(unreadable)} holds text that is not UTF-8. Save the file as UTF-8."
        )
    numbers = [
        name
        for name in table.column_names
        if name in id_columns and pa.types.is_integer(table[name].type)
    ]
    if numbers:
        # An id 007 is not 7: where reading ids as numbers loses anything, they are text.
        texts = read_csv_as_text(path, delimiter, numbers)
        for name in numbers:
            if not table[name].cast(pa.string()).equals(texts[name]):
                table = table.set_column(table.column_names.index(name), name, texts[name])
    return _empty_as_missing(table)


def read_csv_as_text(path: Path, delimiter: str, names: Sequence[str]) -> pa.Table:
    """Some columns of a CSV file as they are written; an empty field, quoted or not, is missing."""
    convert = csv.ConvertOptions(
        include_columns=list(names), column_types=dict.fromkeys(names, pa.string())
    )
    table = csv.read_csv(path, convert_options=convert, **_options(path, delimiter))
    return _empty_as_missing(table)


def _options(path: Path, delimiter: str) -> dict[str, Any]:
    # Types are inferred from the first block only, so the first block is the whole file; what is
    # still of two minds is read as text.
    size = path.stat().st_size * (20 if path.name.endswith(".gz") else 1)
    return {
        "read_options": csv.ReadOptions(block_size=min(max(size, 1 << 20), 1 << 30)),
        "parse_options": csv.ParseOptions(delimiter=delimiter),
    }


def _empty_as_missing(table: pa.Table) -> pa.Table:
    columns = [
        pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)
