"""CSV files: read whole into a table of Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.tables.naming import some_of


def read_csv(path: Path, delimiter: str, id_columns: Sequence[str]) -> pa.Table:
    """Every column of a CSV file, its type inferred; ids as text where numbers would change them."""
    # Types are inferred from the first block only, so the first block is the whole file; what is
    # still of two minds is read as text.
    size = path.stat().st_size * (20 if path.name.endswith(".gz") else 1)
    options = {
        "read_options": csv.ReadOptions(block_size=min(max(size, 1 << 20), 1 << 30)),
        "parse_options": csv.ParseOptions(delimiter=delimiter),
    }
    convert = csv.ConvertOptions(strings_can_be_null=True)
    table = csv.read_csv(path, convert_options=convert, **options)
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
        kept = {name: pa.string() for name in numbers}
        convert = csv.ConvertOptions(
            strings_can_be_null=True, include_columns=numbers, column_types=kept
        )
        texts = csv.read_csv(path, convert_options=convert, **options)
        for name in numbers:
            if not table[name].cast(pa.string()).equals(texts[name]):
                table = table.set_column(table.column_names.index(name), name, texts[name])
    return table
