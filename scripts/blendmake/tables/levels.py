"""Levels of categories: one identity of a value whatever its type, and one order.

A value of a typed column goes by what it is worth: 1, 1.0 and the decimal 1.00 are the level `1`,
0.1 is `0.1` in four bytes as in eight, midnight is its date. Text goes by its letters. Where one file
types what another holds as text, the text is read as such a value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Context, Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError

NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_NUMBER = re.compile(NUMBER)
_INTEGER = re.compile(r"[+-]?[0-9]{1,1000}")
_WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
_MIDNIGHT = re.compile(r"(\d{4,}-\d\d-\d\d)[T ]00:00(:00(\.0+)?)?")
_FRACTION = re.compile(r"(:\d\d)\.(\d*?)0*(?=Z|[+-]|$)")
_EXACT = Context(prec=400)
_TRUTH = {"false": "False", "true": "True"}
_DIGITS = {"0": "False", "1": "True"}


@dataclass(frozen=True)
class Found:
    """The distinct values of a category in one table.

    Args:
        texts: them as text (`texts_of`), in any order.
        form: what they were: text, number, truth or time.
        order: of an ordered dictionary, all its texts in their order.
        path: of the file, for messages.
    """

    texts: tuple[str, ...]
    form: str = "text"
    order: tuple[str, ...] | None = None
    path: str = ""


@dataclass(frozen=True)
class Spelling:
    """How a table spells a category: text i (`texts_of`) stands for the level of code i."""

    texts: pa.Array
    codes: NDArray[np.int32]

    def codes_of(self, column: pa.ChunkedArray) -> pa.Array:
        """(rows,) int32; null where the value is missing or counts as missing."""
        places = pc.index_in(texts_of(column), value_set=self.texts)
        return pa.array(self.codes).take(places.combine_chunks())


def form_of(dtype: pa.DataType) -> str:
    """text, number, truth or time: how values of a type are compared."""
    if pa.types.is_dictionary(dtype):
        return form_of(dtype.value_type)
    if pa.types.is_boolean(dtype):
        return "truth"
    if pa.types.is_temporal(dtype):
        return "time"
    if pa.types.is_integer(dtype) or pa.types.is_floating(dtype) or pa.types.is_decimal(dtype):
        return "number"
    return "text"


def texts_of(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Category values as text (string): numbers by value, truth as 0 and 1, NaN missing."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    if pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
        return _by_value(column, _number_of)
    if pa.types.is_temporal(column.type):
        return _by_value(column.cast(pa.string()), time_text)
    return column.cast(pa.string())


def _by_value(column: pa.ChunkedArray, text: Any) -> pa.ChunkedArray:
    encoded = column.combine_chunks().dictionary_encode()
    if pa.types.is_float16(column.type):
        values: list[Any] = list(encoded.dictionary.to_numpy(zero_copy_only=False))
    else:
        values = encoded.dictionary.to_pylist()
    texts = [None if value is None else text(value) for value in values]
    return pa.chunked_array([pa.array(texts, pa.string()).take(encoded.indices)])


def _number_of(value: float | Decimal | np.float16) -> str | None:
    return None if value != value else number_text(str(value))


def number_text(text: str) -> str:
    """A number's one spelling: no sign, zeros or exponent that it could do without.

    What four bytes hold exactly is told in as many digits as tell it apart in four bytes: 0.1 of a
    column of four bytes stays 0.1 in one of eight.
    """
    if len(text) > 300:
        return text
    try:
        number = Decimal(text)
        if not number.is_finite():
            return str(float(text))
        plain = number.normalize(_EXACT)
        if plain != plain.to_integral_value():
            with np.errstate(over="ignore", under="ignore"):
                narrow = np.float32(text)
            if float(narrow) == float(text) and Decimal(repr(float(text))) == number:
                plain = Decimal(str(narrow)).normalize(_EXACT)
    except ArithmeticError:  # an exponent of a million
        return text
    if not plain:
        return "0"
    return format(plain, "f") if -10 < plain.adjusted() < 40 else str(plain)


def time_text(text: str) -> str:
    """A date or a time as text: midnight as its date, a fraction without closing zeros."""
    if found := _MIDNIGHT.fullmatch(text):
        return found[1]
    return _FRACTION.sub(lambda f: f"{f[1]}.{f[2]}" if f[2] else f[1], text)


def is_number(text: str) -> bool:
    """Whether a text is a number as programs write it; `nan`, `inf` and `1_000` are none."""
    return _NUMBER.fullmatch(text) is not None


def level_key(level: str) -> tuple[int, float, str]:
    """Sort key of levels: numbers ascending, then text by its letters; no two levels are equal."""
    if not is_number(level):
        return 1, 0, level
    return 0, int(level) if _INTEGER.fullmatch(level) else float(level), level


def levels_of(
    name: str, tables: Mapping[str, Found]
) -> tuple[tuple[str, ...], dict[str, Spelling]]:
    """The levels of a category in their order, and how each table spells them.

    Levels of an ordered dictionary stand in its order, others in that of `level_key`.

    Args:
        tables: what was found, by name of the table.

    Raises:
        BlendmakeError: two files order the same levels differently.
    """
    every = [
        replace(found, texts=tuple(dict.fromkeys((*found.texts, *(found.order or ())))))
        for found in tables.values()
    ]
    spelled = dict(zip(tables, _spelled(every), strict=True))
    order: list[str] = []
    origin = ""
    for table, found in tables.items():
        if found.order is None:
            continue
        theirs = list(dict.fromkeys(spelled[table][text] for text in found.order))
        order = merged_order(name, order, theirs, found.path, origin)
        origin = origin or found.path
    found_levels = {spelled[table][text] for table, found in tables.items() for text in found.texts}
    ordered = [level for level in order if level in found_levels]
    levels = (*ordered, *sorted(found_levels.difference(ordered), key=level_key))
    code = {level: i for i, level in enumerate(levels)}
    spellings = {
        table: Spelling(
            pa.array(found.texts, pa.string()),
            np.array([code[spelled[table][text]] for text in found.texts], np.int32),
        )
        for table, found in tables.items()
    }
    return levels, spellings


def merged_order(
    name: str, order: Sequence[str], more: Sequence[str], path: str, origin: str
) -> list[str]:
    """Two orders of a category in one: what is new comes right after what it follows in `more`.

    Args:
        path, origin: where `more` and `order` are from.

    Raises:
        BlendmakeError: they order the same levels differently.
    """
    known, theirs = {level: i for i, level in enumerate(order)}, set(more)
    if [x for x in order if x in theirs] != [x for x in more if x in known]:
        raise BlendmakeError(
            f"{path}: the ordered category '{name}' goes {_line(more)}, but {_line(order)} in "
            f"{origin}. Give both the same order."
        )
    merged, place, added = list(order), 0, 0
    for level in more:
        if level in known:
            place = known[level] + added + 1
        else:
            merged.insert(place, level)
            place, added = place + 1, added + 1
    return merged


def _line(order: Sequence[str]) -> str:
    return " < ".join(order[:8]) + (" < …" if len(order) > 8 else "")


def _spelled(tables: Sequence[Found]) -> list[dict[str, str]]:
    """By table: the level of each of its texts."""
    typed = {found.form for found in tables if found.texts}
    truths = [found for found in tables if _is_truth(found)]
    if "text" not in typed:
        return [{text: text for text in found.texts} for found in tables]
    if truths:
        return [_as_truth(found) for found in tables]
    if "number" in typed:
        return [_as_numbers(found) for found in tables]
    if "time" in typed:
        return [{text: time_text(text) for text in found.texts} for found in tables]
    return _without_point_zero(tables)


def _is_truth(found: Found) -> bool:
    words = (text.casefold() in _TRUTH for text in found.texts)
    return bool(found.texts) and (found.form == "truth" or (found.form == "text" and all(words)))


def _as_truth(found: Found) -> dict[str, str]:
    """Where another table holds truth values: True, TRUE, true; 1 where these do not occur."""
    words = {text: _TRUTH[text.casefold()] for text in found.texts if text.casefold() in _TRUTH}
    if not words:
        words = {
            text: _DIGITS[number_text(text)]
            for text in found.texts
            if is_number(text) and number_text(text) in _DIGITS
        }
    return {text: words.get(text, text) for text in found.texts}


def _as_numbers(found: Found) -> dict[str, str]:
    """Where another table holds numbers: by value, but for texts that would be taken for another's."""
    own = set(found.texts)
    names: dict[str, str] = {}
    for text in found.texts:
        value = number_text(text) if is_number(text) else text
        names[text] = text if value in own else value
    return names


def _without_point_zero(tables: Sequence[Found]) -> list[dict[str, str]]:
    """Text in all tables: as written, but for whole numbers that all end in .0 in one table alone.

    A column of whole numbers with missing values is one of floats to pandas, which writes them so.
    """
    numbers = [[text for text in found.texts if is_number(text)] for found in tables]
    whole = [bool(own) and all(map(_WHOLE.fullmatch, own)) for own in numbers]
    names = []
    for found, own in zip(tables, numbers, strict=True):
        floats = bool(own) and all(
            text.endswith(".0") and _WHOLE.fullmatch(text[:-2]) for text in own
        )
        cut = set(own) if floats and any(whole) else set()
        names.append({text: text[:-2] if text in cut else text for text in found.texts})
    return names
