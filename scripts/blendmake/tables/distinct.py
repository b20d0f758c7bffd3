"""The distinct values of a category in one table, and what pandas says of categories."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from blendmake.tables.levels import Found, form_of, merged_order, texts_of
from blendmake.tables.user_files import UserTable


class DistinctValues:
    """The distinct values of a category in one table, gathered batch by batch."""

    def __init__(self, table: UserTable, name: str, dtype: pa.DataType) -> None:
        self.path, self.name, self.form = table.path, name, form_of(dtype)
        self.rows = 0
        self._parts: list[pa.Array] = []
        self._order: list[str] | None = None
        self._last: pa.Array | None = None
        self.texts: pa.Array = pa.array([], pa.string())

    def add(self, column: pa.ChunkedArray) -> None:
        self.rows += len(column) - column.null_count
        for chunk in column.chunks:
            if pa.types.is_dictionary(chunk.type):
                if chunk.type.ordered:
                    self._add_order(chunk.dictionary)
                chunk = chunk.dictionary.take(pc.unique(chunk.indices))
            # Types that have no `unique` of their own are turned first.
            texts = texts_of(pa.chunked_array([chunk]))
            self._parts.append(pc.unique(texts).drop_null())

    def _add_order(self, dictionary: pa.Array) -> None:
        if self._last is not None and dictionary.equals(self._last):
            return
        self._last = dictionary
        texts = texts_of(pa.chunked_array([dictionary])).drop_null().to_pylist()
        where = (f"{self.path} (a later part)", f"{self.path} (an earlier part)")
        self._order = merged_order(self.name, self._order or [], texts, *where)

    def closed(self) -> DistinctValues:
        if self._parts:
            self.texts, self._parts = pc.unique(pa.concat_arrays(self._parts)), []
        return self

    def found(self, missing: set[str]) -> Found:
        """What is left without the texts that mean missing."""
        texts = tuple(text for text in self.texts.to_pylist() if text not in missing)
        order = None
        if self._order is not None:
            order = tuple(text for text in self._order if text not in missing)
        return Found(texts, self.form, order, str(self.path))


def pandas_categories(schema: pa.Schema) -> dict[str, bool]:
    """The columns that pandas says are categorical, and whether ordered.

    Parquet keeps dictionary types of text alone.
    """
    about = schema.pandas_metadata or {}
    return {
        column["field_name"] or column["name"]: bool((column.get("metadata") or {}).get("ordered"))
        for column in about.get("columns", [])
        if column.get("pandas_type") == "categorical"
        and (column.get("field_name") or column.get("name")) in schema.names
    }
