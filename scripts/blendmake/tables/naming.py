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


def shown(text: str, most: int = 40) -> str:
    """A value as it stands in a message: quoted, and cut if it is long."""
    quoted = repr(text)
    return quoted if len(quoted) <= most else quoted[: most - 4] + "...'"
