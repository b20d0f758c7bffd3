"""A user's column of labels, read as two values, as numbers or as classes; and told which it is.

Told from the column (`task: auto`): two values are binary; text, or at most `FEW` whole numbers of
`EACH` rows each and more, are classes; other numbers are regression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.tables.label_values import is_plain_pair, label_values
from blendmake.tables.levels import is_number, level_key, merged_order, number_text, texts_of
from blendmake.tables.naming import shown
from blendmake.tables.numbers import as_doubles
from blendmake.tables.user_files import kind_of
from blendmake.tables.written_numbers import USUAL
from blendmake.tasks.base import Labels

FEW, EACH = 20, 10  # different whole numbers, and rows of each on average, that are classes
MOST_CLASSES = 1000
LARGEST = float(np.finfo(np.float32).max)  # predictions are float32


class LabelColumn:
    """A column of labels (tasks.base.Column).

    Args:
        name, file: as messages have them.
        positive: the values that are 1, of a binary target.
        classes: those of a target whose labels were read before; others are refused then.
    """

    def __init__(
        self,
        column: pa.ChunkedArray,
        name: str,
        file: Any,
        positive: Sequence[str] | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.column, self.name, self.file = column, name, file
        self.positive, self.classes = positive, tuple(classes)
        self.warnings: list[str] = []

    @property
    def _where(self) -> str:
        return f"{self.file}: target '{self.name}'"

    # The ways to read it

    def two_values(self) -> Labels:
        """As 0 and 1."""
        values, says = label_values(self.column, self.name, self.file, self.positive)
        return Labels(values, says=says)

    def numbers(self) -> Labels:
        """As numbers, those that are written as text too."""
        kind = kind_of(self.column.type, False)
        if kind == "time" or kind is None:
            raise BlendmakeError(
                f"{self._where} is of type {self.column.type}, which is no number. Write it as one "
                "(days since a date, say), or name other columns under data.targets.columns."
            )
        values = self._written_numbers() if kind == "category" else as_doubles(self.column, None)
        self._refuse(values, np.abs(values) > LARGEST)
        return Labels(values)

    def _refuse(self, values: NDArray[np.float64], wrong: NDArray[np.bool_]) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise BlendmakeError(
                f"{self._where} holds {values[row]:g} in row {row + 1:,}: a label must be a number "
                "within float32. Leave the field empty if it is unknown, or divide the column."
            )

    def values_as_classes(self) -> Labels:
        """As codes of its distinct values: numbers by value, others by their letters; ordered
        categories as they are ordered."""
        texts = self._texts
        if kind_of(self.column.type, False) is None:
            raise BlendmakeError(
                f"{self._where} is of type {self.column.type}, of which there are no classes. Turn it "
                "into text or numbers."
            )
        if kind_of(self.column.type, False) == "number":
            values = as_doubles(self.column, None)
            self._refuse(values, np.isinf(values))
        classes = self.classes or self._found_classes()
        found = self._as_known(texts) if self.classes else texts
        codes = pc.index_in(found, value_set=pa.array(classes, pa.string()))
        values = np.asarray(pc.fill_null(codes.cast(pa.float64()), np.nan).to_numpy())
        return Labels(values, tuple(classes))

    # Which it is

    def told(self) -> tuple[str, str | None]:
        """The task that the column is told to be, and in words why, where it is not binary."""
        kind = kind_of(self.column.type, False)
        if self.positive is not None:
            return "binary", None
        if kind == "number":
            return self._told_of_numbers(self._distinct_numbers)
        counts = self._counts
        if len(counts) <= 2 or is_plain_pair(counts):
            return "binary", None
        if kind == "time":
            return "regression", None  # which refuses it
        if self._is_text_of_numbers:
            known = [float(text) for text in counts if text not in USUAL]
            return self._told_of_numbers(np.unique(known))
        return "multiclass", self._said_of_classes("classes", False)

    def _told_of_numbers(self, values: NDArray[np.float64]) -> tuple[str, str | None]:
        """Of the distinct values: two are binary, few whole ones are classes."""
        if len(values) <= 2:
            return "binary", None
        whole = bool((np.isfinite(values) & (values == np.floor(values))).all())
        if not whole or len(values) > FEW or sum(self._counts.values()) < EACH * len(values):
            says = f"{len(values):,} different numbers, regression"
            return "regression", self._said(says, "multiclass", len(values) <= MOST_CLASSES)
        counts = self._counts
        if {"0", "1"} <= counts.keys() and len(counts) == 3:
            odd = next(value for value in counts if value not in ("0", "1"))
            self.warnings.append(
                f"{self._where} holds '{odd}' ({counts[odd]:,} rows) beside 0 and 1, so that it has "
                "three classes. If it means unknown, leave these fields empty: the target is binary then"
            )
        return "multiclass", self._said_of_classes("whole numbers, taken for classes", True)

    def _said_of_classes(self, what: str, may_be_numbers: bool) -> str:
        counts = self._counts
        first = ", ".join(f"'{value}' ({counts[value]:,})" for value in self._found_classes()[:5])
        says = f"{len(counts):,} {what}: {first}{', …' if len(counts) > 5 else ''}"
        return self._said(says, "regression", may_be_numbers)

    def _said(self, what: str, other: str, may_be: bool) -> str:
        mend = f"; otherwise, task: {{{self.name}: {other}}}" if may_be else ""
        return f"{self._where}: {what}{mend}"

    @cached_property
    def _is_text_of_numbers(self) -> bool:
        """Whether all its texts are numbers, none with leading zeros, as codes have."""
        texts = [text for text in self._counts if text not in USUAL]
        padded = any(
            text.lstrip("+-")[:1] == "0" and text.lstrip("+-")[1:2].isdigit() for text in texts
        )
        return bool(texts) and not padded and all(map(is_number, texts))

    @cached_property
    def _distinct_numbers(self) -> NDArray[np.float64]:
        column = self.column
        if not pa.types.is_float16(column.type):  # which has no `unique`
            column = pa.chunked_array([pc.unique(column)])
        values = np.unique(as_doubles(column, None))
        found: NDArray[np.float64] = values[~np.isnan(values)]
        return found

    # What it holds

    @cached_property
    def _texts(self) -> pa.ChunkedArray:
        """Its values as text, one text for each value whatever its type; null where unknown."""
        column = self.column
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_boolean(column.type) or kind_of(column.type, False) is None:
            return (
                column.cast(pa.string()) if pa.types.is_boolean(column.type) else _no_texts(column)
            )
        texts = pc.utf8_trim_whitespace(texts_of(column))
        return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)

    @cached_property
    def _counts(self) -> dict[str, int]:
        """How many rows each value has, in the order of first rows."""
        pairs = pc.value_counts(self._texts).to_pylist()
        return {one["values"]: one["counts"] for one in pairs if one["values"] is not None}

    def _found_classes(self) -> list[str]:
        found = self._counts
        if len(found) > MOST_CLASSES:
            raise BlendmakeError(
                f"{self._where} holds {len(found):,} different values, and a target may have "
                f"{MOST_CLASSES:,} classes. If they are numbers, write them so (or task: "
                f"{{{self.name}: regression}}); if they are names of rows, it is no target: list the "
                "target columns under data.targets.columns."
            )
        ordered = [text for text in self._order() if text in found]
        return [*ordered, *sorted(found.keys() - set(ordered), key=level_key)]

    def _order(self) -> list[str]:
        """Of an ordered dictionary, its texts in their order."""
        order: list[str] = []
        for chunk in self.column.chunks:
            if pa.types.is_dictionary(chunk.type) and chunk.type.ordered:
                own = texts_of(pa.chunked_array([chunk.dictionary]))
                texts = pc.utf8_trim_whitespace(own).drop_null().to_pylist()
                order = merged_order(self.name, order, texts, str(self.file), "an earlier part")
        return order

    def _as_known(self, texts: pa.ChunkedArray) -> pa.ChunkedArray:
        """Its texts as the known classes are written; raises of one that is none of them."""
        alike = {_plain(name): name for name in self.classes}
        known = set(self.classes)
        spelled = {
            text: text if text in known else alike.get(_plain(text)) for text in self._counts
        }
        for text, name in spelled.items():
            if name is None:
                row = pc.index(texts, text).as_py() + 1
                raise BlendmakeError(
                    f"{self._where} holds {shown(text)} ({self._counts[text]:,} rows, first row "
                    f"{row:,}), which is no class of the train rows, so that nothing can predict it. "
                    "Correct it, or leave the field empty."
                )
        if all(text == name for text, name in spelled.items()):
            return texts
        place = pc.index_in(texts, value_set=pa.array(list(spelled), pa.string()))
        return pa.chunked_array(
            [pa.array(list(spelled.values()), pa.string()).take(place.combine_chunks())]
        )

    def _written_numbers(self) -> NDArray[np.float64]:
        """Numbers that are written as text; NA, NaN and the like are missing among them."""
        for text, count in self._counts.items():
            if text not in USUAL and not is_number(text):
                row = pc.index(self._texts, text).as_py() + 1
                comma = text.count(",") == 1 and is_number(text.replace(",", "."))
                mend = (
                    'Numbers with a comma: data.csv: {decimal: ","}.'
                    if comma
                    else f"Correct it, leave the field empty, or task: {{{self.name}: multiclass}}."
                )
                raise BlendmakeError(
                    f"{self._where} holds {shown(text)} ({count:,} rows, first row {row:,}), which is "
                    f"no number, as labels of regression are. {mend}"
                )
        every = list(self._counts)
        worth = np.array([float(text) if is_number(text) else np.nan for text in every])
        place = pc.index_in(self._texts, value_set=pa.array(every, pa.string()))
        codes = np.asarray(pc.fill_null(place, len(every)).to_numpy(), np.intp)
        found: NDArray[np.float64] = np.append(worth, np.nan)[codes]
        return found


def _plain(text: str) -> str:
    return number_text(text) if is_number(text) else text.casefold()


def _no_texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([pa.nulls(len(column), pa.string())])


def count_of(labels: Labels) -> Mapping[str, int]:
    """Rows of each class."""
    known = labels.values[~np.isnan(labels.values)].astype(np.intp)
    counts = np.bincount(known, minlength=len(labels.classes))
    return dict(zip(labels.classes, counts.tolist(), strict=True))
