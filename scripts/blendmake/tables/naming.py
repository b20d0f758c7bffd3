"""Some of many names or values, as messages show them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

EXAMPLES = 5


def some_of(values: Iterable[Any]) -> str:
    values = list(values)
    text = ", ".join(f"'{value}'" for value in values[:EXAMPLES])
    return text + (f" and {len(values) - EXAMPLES} more" if len(values) > EXAMPLES else "")
