"""Names that tables and config share, and some of many names as messages show them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

EXAMPLES = 5
ACROSS = "across_tables"  # over which rows an id occurs once; else per table
POSITION = "row"  # the id column of tables that have none, unless a column is called so


def some_of(values: Iterable[Any]) -> str:
    values = list(values)
    text = ", ".join(f"'{value}'" for value in values[:EXAMPLES])
    return text + (f" and {len(values) - EXAMPLES} more" if len(values) > EXAMPLES else "")
