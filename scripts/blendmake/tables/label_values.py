"""What a column of labels says: which of its two values is 1."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.tables.missing import Missing, missing_texts, without_missing
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import kind_of

# Pairs that say it themselves: what is 0, what is 1, in any mix of large and small letters.
PLAIN = (("0", "1"), ("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"))
Positive = Sequence[str] | Mapping[str, Sequence[str]] | None


def positive_of(positive: Positive, target: str) -> Sequence[str] | None:
    """The values of one target that are 1, where the config names them."""
    return positive.get(target) if isinstance(positive, Mapping) else positive


def known_labels(
    column: pa.ChunkedArray, name: str, missing: Missing, positive: Sequence[str] | None
) -> pa.ChunkedArray:
    """A column of labels with nulls where the config calls its value missing (without_missing).

    Said of all columns, it is not said of what is a label by itself (`no`), or is named as one.
    """
    texts = missing_texts(missing, name)
    words = {word for pair in PLAIN for word in pair}
    plain = [text for text in texts if text.casefold() in words or text in (positive or ())]
    return without_missing(column, name, missing, plain)


def label_values(
    column: pa.ChunkedArray, name: str, file: Any, positive: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], str | None]:
    """Labels as 0, 1 and NaN (rows,), and in words what they were taken from, where it is no 0 and 1.

    Args:
        column: numbers, truth values or text.
        name, file: as messages have them.
        positive: the values that are 1, as they are written; None: 0 and 1, or one of PLAIN.

    Raises:
        BlendmakeError: another value, or text that does not say which value is 1; names them.
    """
    kind = kind_of(column.type, False)
    if positive is None and kind in ("number", "any"):
        return _of_numbers(column, name, file), None
    if kind is None:
        example = next((value.as_py() for value in column if value.is_valid), None)
        raise BlendmakeError(_must_be(file, name, repr(example)))
    texts = _canonical(column)
    counts = {
        value["values"]: value["counts"]
        for value in pc.value_counts(texts).to_pylist()
        if value["values"] is not None
    }
    ones = _plain_ones(counts, name, file) if positive is None else _named(counts, positive)
    if positive is not None:
        _check_named(texts, counts, ones, positive, name, file)
    known = np.asarray(pc.is_valid(texts))
    one = np.asarray(pc.fill_null(pc.is_in(texts, pa.array(list(ones), pa.string())), False))
    values = np.where(known, one.astype(np.float64), np.nan)
    zeros = [value for value in counts if value not in ones]
    parts = [f"{_listed(ones, counts)} is 1"] if ones else []
    parts += [f"{_listed(zeros, counts)} is 0"] if zeros else []
    says = f"{file}: target '{name}': {', '.join(parts)}" if parts else None
    return values, says


def _of_numbers(column: pa.ChunkedArray, name: str, file: Any) -> NDArray[np.float64]:
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    values = np.array(column.cast(pa.float64()).to_numpy(), np.float64)
    wrong = ~np.isnan(values) & (values != 0) & (values != 1)
    if wrong.any():
        raise BlendmakeError(_must_be(file, name, repr(values[wrong][0].item())))
    return values


def _must_be(file: Any, name: str, found: str) -> str:
    return (
        f"{file}: target '{name}' holds {found}. A binary target must be 0, 1 or missing: recode it, "
        "name the value that is 1 (data.targets.positive), say what else it is (task: "
        f"{{{name}: multiclass}}), or list the target columns under data.targets.columns."
    )


def _canonical(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values as text: 1 and 1.0 alike, truth values as `true` and `false`; the empty text is missing."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_boolean(column.type) or pa.types.is_null(column.type):
        return column.cast(pa.string())
    if kind_of(column.type, False) == "number":
        numbers = column.cast(pa.float64()).to_numpy()
        return pa.chunked_array(
            [pa.array([None if v != v else _number(v) for v in numbers.tolist()], pa.string())]
        )
    texts = pc.utf8_trim_whitespace(column.cast(pa.string()))
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def is_plain_pair(values: Collection[str]) -> bool:
    """Whether some texts say themselves what is 0 and what is 1."""
    plain = set(map(_as_plain, values))
    return any(plain <= set(pair) for pair in PLAIN)


def _plain_ones(counts: Mapping[str, int], name: str, file: Any) -> set[str]:
    """Of text: the values that are 1, where they say it themselves."""
    plain = {value: _as_plain(value) for value in counts}
    for pair in PLAIN:
        if set(plain.values()) <= set(pair):
            return {value for value, word in plain.items() if word == pair[1]}
    shown = ", ".join(f"'{value}' ({count:,})" for value, count in list(counts.items())[:5])
    if len(counts) == 2:
        rare = min(counts, key=lambda value: counts[value])
        raise BlendmakeError(
            f"{file}: target '{name}' holds {shown}. Say which of them is 1: "
            f"data.targets.positive: {rare!r}, or by target: {{{name}: {rare!r}}}."
        )
    raise BlendmakeError(_must_be(file, name, shown + (", …" if len(counts) > 5 else "")))


def _as_plain(value: str) -> str:
    try:
        return _number(float(value))
    except (ValueError, OverflowError):
        return value.casefold()


def _named(counts: Mapping[str, int], positive: Sequence[str]) -> set[str]:
    """The values among those in the file that the config names: as written, else alike."""
    named = {text.strip() for text in positive}
    alike = {_as_plain(text) for text in named if text not in counts}
    return {value for value in counts if value in named or _as_plain(value) in alike}


def _check_named(
    texts: pa.ChunkedArray,
    counts: Mapping[str, int],
    ones: Collection[str],
    positive: Sequence[str],
    name: str,
    file: Any,
) -> None:
    """Raise where more than one value is left to be 0."""
    zeros = [value for value in counts if value not in ones]
    if len(zeros) < 2:
        return
    if not ones:
        close = get_close_matches(positive[0], zeros, n=1, cutoff=0.6)
        also = close[0] if close else zeros[0]
        raise BlendmakeError(
            f"{file}: target '{name}' holds {some_of(zeros)}, none of which is named as 1 "
            f"({some_of(positive)}). If '{also}' is 1 too: data.targets.positive: {[*positive, also]!r}."
        )
    odd = min(zeros, key=lambda value: counts[value])
    raise BlendmakeError(
        f"{file}: target '{name}' holds a third value, '{odd}' ({counts[odd]:,} times, first in row "
        f"{pc.index(texts, odd).as_py() + 1:,}), beside {some_of(v for v in counts if v != odd)}. A "
        "target has two values, or is missing: correct the file, or list all values that are 1 under "
        "data.targets.positive."
    )


def _listed(values: Any, counts: Mapping[str, int]) -> str:
    return " or ".join(f"'{value}' ({counts[value]:,} rows)" for value in sorted(values))
