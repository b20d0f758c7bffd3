"""Numbers as people write them in columns of text: told from categories, and read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.tables.levels import NUMBER

MANY, FEW = 20, 10  # from how many numbers on, and up to how many other texts, it is no category
MOST_DIGITS = 76  # of a whole number: no type holds more
USUAL = tuple(text for text in csv.ConvertOptions().null_values if text)  # NA, NaN, null, N/A, …
_MISSING = r"(?i)^\s*([^\pL\pN]+|n/?a|nan|none|null|nil|unknown|unk|missing|not available)\s*$"
_STRICT = f"^({NUMBER})$"
_GROUPS = r"[0-9]{1,3}([,.' \x{a0}\x{202f}][0-9]{3})+([.,][0-9]+)?"
_MONEY = r"[$€£¥%]"
_LOOSE = (
    rf"^[\s\x{{a0}}]*[-+(\x{{2212}}]?\s*{_MONEY}?\s*[-+]?({NUMBER}|{_GROUPS}|[0-9]+,[0-9]+)"
    rf"[\s\x{{a0}}]*{_MONEY}?\)?[\s\x{{a0}}]*$"
)
_PADDED = r"^[+-]?0[0-9]"
_COMMA = r"^\s*[-+]?[0-9.' ]*[0-9],[0-9]+\s*$|^\s*[-+]?[0-9]{1,3}([.,' ][0-9]{3})+([.,][0-9]+)?\s*$"


@dataclass(frozen=True)
class Judged:
    """What the distinct texts of a column are.

    `numbers`: all of them are, and `digits` those of the longest if all are whole. Otherwise `odd` are
    those that are no numbers among `count` that are, those first that are furthest from one; and `told`
    says what is to be done: an `error` where the column can only be meant as numbers, a `warning` where
    it may be a category, else nothing.
    """

    numbers: bool
    digits: int = 0
    told: str | None = None
    count: int = 0
    odd: tuple[str, ...] = ()


def judge(texts: pa.Array, *, guessed: bool, relieved: bool) -> Judged:
    """Judge a column by its distinct texts.

    Args:
        texts: without those that the config calls missing.
        guessed: whether types are guessed (CSV): then NA, NaN and the like among numbers are missing,
            and a column of nothing but numbers is one.
        relieved: whether the config calls some of its texts missing.
    """
    if guessed:
        texts = texts.filter(pc.invert(pc.is_in(texts, value_set=pa.array(USUAL))))
    strict = pc.match_substring_regex(texts, _STRICT)
    padded = pc.sum(pc.match_substring_regex(texts, _PADDED)).as_py() or 0
    numbers = pc.sum(strict).as_py() or 0
    if numbers == len(texts):
        is_number = numbers > 0 and (guessed or (relieved and not padded))
        return Judged(is_number, digits_of_whole(texts), count=numbers)
    loose = pc.match_substring_regex(texts, _LOOSE)
    far = texts.filter(pc.invert(loose))
    near = texts.filter(pc.and_not(loose, strict))
    odd = (*far.to_pylist()[: FEW + 1], *near.to_pylist()[: FEW + 1])
    others = len(far)
    told = None
    if len(texts) - others > MANY and others <= FEW and 10 * others <= len(texts):
        # More codes with leading zeros than other texts: K1A 0B1 among zip codes, say.
        told = "error" if padded <= max(others, len(near)) else None
    elif numbers >= 3 and len(texts) - numbers <= max(1, numbers // 3):
        alike = pc.match_substring_regex(pa.array(odd), _MISSING)
        told = "warning" if pc.all(alike).as_py() else None
    return Judged(False, told=told, count=numbers, odd=odd)


def mend_of(odd: Sequence[str], *, is_csv: bool) -> str:
    """What to do about texts among numbers, as the config or the file can be mended."""
    mends = []
    texts = pa.array(odd, pa.string())
    commas = pc.match_substring_regex(texts, _COMMA)
    if pc.any(commas).as_py():
        first = texts.filter(commas)[0].as_py()
        mends.append(f"{_comma_key(first)} reads it" if is_csv else "store it as a number")
    near = pc.and_not(pc.match_substring_regex(texts, _LOOSE), commas)
    if pc.any(near).as_py():
        mends.append("write plain numbers into the file, without signs and blanks")
    far = texts.filter(pc.invert(pc.match_substring_regex(texts, _LOOSE))).to_pylist()
    far = [text for text in far if len(text) <= 40]
    if far:
        mends.append(f"if it means missing, data.missing: [{', '.join(map(_quoted, far[:3]))}]")
    mends.append("if the column is a category, list it under data.categories.columns")
    return "; ".join(mends)


def _comma_key(text: str) -> str:
    if re.search(r"\..*,", text):
        return 'data.csv: {decimal: ",", thousands: "."}'
    grouped = re.search(r"^\s*[-+]?[0-9]{1,3}(,[0-9]{3})+(\.|\s*$)", text)
    return f'data.csv: {{{"thousands" if grouped else "decimal"}: ","}}'


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def digits_of_whole(texts: pa.Array | pa.ChunkedArray) -> int:
    """Digits of the longest, where all texts are whole numbers as they are written; else 0."""
    if not pc.all(pc.match_substring_regex(texts, r"^[+-]?[0-9]+$")).as_py():
        return 0
    return int(
        pc.max(pc.utf8_length(pc.replace_substring_regex(texts, "^[+-]?0*", ""))).as_py() or 1
    )


def type_of_whole(digits: int) -> pa.DataType | None:
    """The type that holds whole numbers of so many digits, none of them lost; None: there is none."""
    if digits <= 18:
        return pa.int64()
    if digits <= MOST_DIGITS:
        return pa.decimal128(38, 0) if digits <= 38 else pa.decimal256(MOST_DIGITS, 0)
    return None


def type_of_texts(judged: Judged, name: str, path: Path) -> pa.DataType:
    """What a column of text that was judged to hold numbers becomes.

    Raises:
        BlendmakeError: no type holds its numbers; names file and column.
    """
    dtype = type_of_whole(judged.digits) if judged.digits else pa.float64()
    if dtype is None:
        raise BlendmakeError(
            f"{path}: column '{name}' holds a whole number of {judged.digits} digits, more than are "
            "read as a number. List it under data.categories.columns, or data.ignore."
        )
    return dtype


def numbers_of(
    texts: pa.ChunkedArray, missing: Sequence[str], dtype: pa.DataType
) -> pa.ChunkedArray:
    """A column of text that was judged to hold numbers as such, texts that mean missing as null."""
    if pa.types.is_dictionary(texts.type):
        texts = texts.cast(texts.type.value_type)
    texts = texts.cast(pa.string())
    drop = pc.is_in(texts, value_set=pa.array(missing, pa.string()))
    kept = pc.if_else(drop, pa.scalar(None, pa.string()), texts)
    if not pa.types.is_floating(dtype):
        kept = pc.replace_substring_regex(kept, r"^\+", "")
    return kept.cast(dtype)
