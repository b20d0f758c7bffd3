"""Texts that the config calls missing: which of them hold in a column, and what they leave of it."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from blendmake.tables.levels import is_number

Missing = Sequence[str] | Mapping[str, Sequence[str]]
"""Texts that mean missing, of all columns or by column (names or shell patterns)."""


def missing_texts(missing: Missing, name: str) -> list[str]:
    """The texts that mean missing in a feature column."""
    if not isinstance(missing, Mapping):
        return list(missing)
    found = [
        text
        for key, texts in missing.items()
        if key == name or fnmatch.fnmatchcase(name, key)
        for text in texts
    ]
    return list(dict.fromkeys(found))


def without_missing(
    column: pa.ChunkedArray, name: str, missing: Missing, but: Collection[str] = ()
) -> pa.ChunkedArray:
    """A column that is no feature, with nulls where the config calls its value missing.

    What the config says of all columns is said with features in mind: there 0 may mean missing, or
    `no`, and be a label here. So of that only texts count that are no numbers, nor one of `but`.
    """
    texts = missing_texts(missing, name)
    if not isinstance(missing, Mapping):
        texts = [text for text in texts if not is_number(text) and text not in but]
    return as_missing(column, texts) if texts else column


def as_missing(column: pa.ChunkedArray, texts: Sequence[str]) -> pa.ChunkedArray:
    """A column with nulls for some texts; in a column of numbers, for those that are numbers.

    Where there are none of them it stays as it is, an ordered dictionary too.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    plain = column if kind == column.type else column.cast(kind)
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    if numeric:
        values = pa.array([float(text) for text in texts if is_number(text)], pa.float64())
        drop = pc.is_in(plain.cast(pa.float64(), safe=False), value_set=values)
    elif (
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    ):
        plain = plain.cast(pa.string())
        drop = pc.is_in(plain, value_set=pa.array(list(texts), pa.string()))
    else:
        return column
    if not pc.any(drop).as_py():
        return column
    return pc.if_else(drop, pa.scalar(None, plain.type), plain)
