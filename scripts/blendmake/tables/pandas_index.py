"""What pandas adds to a table as it is saved, and that is no data."""

from __future__ import annotations

import re

import pyarrow as pa


def pandas_index(schema: pa.Schema) -> frozenset[str]:
    """Columns that pandas has added: an index that was saved as if it were data.

    They are named in the metadata of parquet and Arrow, or are called as pandas calls them: a CSV's
    columns without a name are `Unnamed: 0`, …; an index is those at its beginning, and one that has
    no values is what a delimiter at the end of each line makes.
    """
    about = schema.pandas_metadata or {}
    found = {name for name in about.get("index_columns", []) if isinstance(name, str)}
    leading = True
    for i, field in enumerate(schema):
        unnamed = re.fullmatch(r"Unnamed: (\d+)(\.\d+)*", field.name)
        leading = leading and unnamed is not None and int(unnamed[1]) == i
        if re.fullmatch(r"__index_level_\d+__", field.name) or (
            unnamed and (leading or unnamed[1] == "0" or pa.types.is_null(field.type))
        ):
            found.add(field.name)
    return frozenset(found & set(schema.names))
