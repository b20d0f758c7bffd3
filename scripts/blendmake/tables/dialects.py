"""How a CSV file is written: what the config says of it, and what its first lines tell of the rest."""

from __future__ import annotations

import codecs
import csv
import fnmatch
import io
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.tables.naming import some_of

DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 200  # rows
REMARKS = ("#", "%", "|", "/", "!", "*")  # what lines above the header begin with
MOST_REMARKS = 20  # lines above the header
Rows = list[list[str]]


@dataclass(frozen=True)
class Dialect:
    """How to read a CSV file.

    `header`: whether the first line names the columns, or their names where it does not; `skip`:
    lines above it; `quote` None: quotes are text; `skip_spaces`: spaces around fields do not count.
    """

    delimiter: str = ","
    decimal: str = "."
    thousands: str | None = None
    quote: str | None = '"'
    encoding: str = "utf-8"
    header: bool | tuple[str, ...] = True
    skip: int = 0
    comment: str | None = None
    skip_spaces: bool = False


@dataclass(frozen=True)
class Sniffed:
    """A file's dialect, its columns in order, and what was found that is not plain.

    `header_rows`: rows that name the columns and hold no data, 0 or 1.
    """

    dialect: Dialect
    names: tuple[str, ...]
    header_rows: int
    found: tuple[str, ...]


def settings_for(path: str, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `data.csv` says of one file: what holds for all, and what its `files` say of this one."""
    asked = dict(asked or {})
    files = asked.pop("files", {})
    for pattern, own in files.items():
        if pattern == path or fnmatch.fnmatchcase(path, pattern):
            asked |= own
    return asked


def sniff(
    path: str, head: bytes, whole: bool, asked: Mapping[str, Any], known: Collection[str] = ()
) -> Sniffed:
    """Tell how a file is written.

    Args:
        path: as messages and `files` of data.csv name it.
        head: its first bytes, unpacked.
        whole: whether there are no more.
        asked: what the config says of this file (`settings_for`); the rest is told from the head.
        known: names of columns that the config knows: a first row that holds one is the header.

    Raises:
        BlendmakeError: the encoding is none that is known; a header that may as well be a row of data;
            names that are not as many as columns.
    """
    found: list[str] = []
    encoding = asked.get("encoding") or _encoding(head, found)
    text = _decoded(path, head, whole, encoding)
    dialect = Dialect(
        encoding=encoding,
        thousands=asked.get("thousands"),
        quote=(asked.get("quote", '"') or None),
        comment=asked.get("comment"),
    )
    text, skip, told = _without_remarks(text, asked, dialect.comment)
    delimiter = asked.get("delimiter") or told
    if delimiter is None:
        delimiter = _delimiter(text, whole, path, dialect.quote)
        if delimiter != _plain_delimiter(path):
            found.append(f"delimiter {_shown(delimiter)}")
    dialect = replace(dialect, delimiter=delimiter)
    rows = _rows(text, whole, delimiter, dialect.quote)
    if not rows:
        return Sniffed(replace(dialect, skip=skip), (), 0, tuple(found))
    above = _remarks_above(rows) if "skip" not in asked and told is None else 0
    skip, rows = skip + above, rows[above:]
    if above or told is not None:
        found.append(f"{skip} line{'s' * (skip > 1)} above the header left out")
    dialect = replace(dialect, skip=skip, skip_spaces=bool(asked.get("skip_spaces")))
    if "skip_spaces" not in asked and _has_spaces(text, whole, dialect, len(rows[0])):
        dialect = replace(dialect, skip_spaces=True)
        found.append("spaces around fields left out")
    decimal = asked.get("decimal") or _decimal(rows[1:], dialect)
    if decimal != "." and "decimal" not in asked:
        found.append("decimal comma")
    dialect = replace(dialect, decimal=decimal)
    is_header = asked.get("header")
    if is_header is None and {field.strip() for field in rows[0]} & set(known):
        is_header = True
    names, header_rows = _header(path, rows, is_header, dialect, found)
    _check_width(path, rows, header_rows, len(names), dialect)
    return Sniffed(replace(dialect, header=header_rows == 1), names, header_rows, tuple(found))


# Encoding and lines above the header


def _encoding(head: bytes, found: list[str]) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF32_BE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if head.startswith(mark):
            if encoding != "utf-8":
                found.append(f"encoding {encoding}")
            return encoding
    some = head[:4096]
    for first, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        # Letters of the Latin alphabet have a zero byte each in UTF-16.
        if len(some) > 3 and some[first::2].count(0) > len(some) // 4:
            found.append(f"encoding {encoding}")
            return encoding
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        found.append(CP1252)
        return "cp1252"
    return "utf-8"


CP1252 = "encoding cp1252 (Windows), as it is not UTF-8"


def _decoded(path: str, head: bytes, whole: bool, encoding: str) -> str:
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head, whole)
    except (UnicodeDecodeError, LookupError) as error:
        raise bad_encoding(path, encoding, error) from error
    return text.removeprefix("\ufeff")


def bad_encoding(path: str, encoding: str, error: Exception) -> BlendmakeError:
    """What to say of a file that is not written in an encoding."""
    return BlendmakeError(
        f"{path} cannot be read as {encoding}: {error}. Save it as UTF-8, or name its encoding in "
        "data.csv.encoding (latin-1, cp1250, utf-16, shift_jis, gb18030, …)."
    )


def _without_remarks(
    text: str, asked: Mapping[str, Any], comment: str | None
) -> tuple[str, int, str | None]:
    """The text from the first row on, the lines above it, and the delimiter that they name."""
    lines = text.splitlines(keepends=True)
    named = re.match(r"sep=(.)\s*$", lines[0]) if lines else None
    skip = asked.get("skip", 1 if named else 0)
    while skip < len(lines) and not lines[skip].strip():
        skip += 1
    kept = lines[skip:]
    if comment:
        kept = [line for line in kept if not line.startswith(comment)]
    return "".join(kept), skip, named[1] if named and "skip" not in asked else None


def _remarks_above(rows: Rows) -> int:
    """How many lines above the header are remarks: fewer fields than all rows have, and marked."""
    width = Counter(map(len, rows)).most_common(1)[0][0]
    for i, row in enumerate(rows[: MOST_REMARKS + 1]):
        if len(row) == width:
            return i
        if width < 2 or not row[0].lstrip().startswith(REMARKS):
            return 0
    return 0


# Delimiter, spaces, decimal sign


def _plain_delimiter(path: str) -> str:
    return "\t" if re.search(r"\.(tsv|tab)(\.\w+)?$", path.lower()) else ","


def _shown(delimiter: str) -> str:
    return {"\t": "tab"}.get(delimiter, f"'{delimiter}'")


def _rows(
    text: str, whole: bool, delimiter: str, quote: str | None, skip_spaces: bool = True
) -> Rows:
    """The first rows; the last of a text that goes on may be cut off and is left out."""
    style: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        skipinitialspace=skip_spaces and delimiter != " ",
        **style,
    )
    rows: Rows = []
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > LOOKED_AT:
                return rows[:-1]
    except csv.Error:  # a field without end: not this delimiter
        return rows
    return rows if whole or len(rows) < 2 else rows[:-1]


def _delimiter(text: str, whole: bool, path: str, quote: str | None) -> str:
    """That which gives the header and most rows one number of fields, two at least."""
    plain = _plain_delimiter(path)
    best, best_score = plain, (0.0, 0.0, 0.0)
    for delimiter in DELIMITERS:
        rows = _rows(text, whole, delimiter, quote)
        if not rows:
            continue
        width, count = Counter(map(len, rows)).most_common(1)[0]
        if width < 2:
            continue
        agree = float(len(rows[0]) == width) + count / len(rows)
        # With `1,5;2,5` a comma divides as regularly; with ';' its fields are numbers.
        numbers = _share_of_numbers(rows, delimiter)
        score = (round(agree, 1), numbers, float(delimiter == plain))
        if score > best_score:
            best, best_score = delimiter, score
    return best


def _share_of_numbers(rows: Rows, delimiter: str) -> float:
    """Of the fields below the first row that hold a decimal comma as others write a point."""
    if delimiter == ",":
        return 0.0
    fields = [field for row in rows[1:] or rows for field in row if "," in field]
    return sum(bool(COMMA_NUMBER.fullmatch(f.strip())) for f in fields) / max(1, len(fields))


NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


def _has_spaces(text: str, whole: bool, dialect: Dialect, width: int) -> bool:
    """Whether every value of some column but the first follows a space."""
    if width < 2:
        return False
    rows = _rows(text, whole, dialect.delimiter, dialect.quote, skip_spaces=False)
    fitting = [row for row in rows if len(row) == width]
    if 2 * len(fitting) < len(rows):
        return True  # it takes the spaces away to make them rows of one width: `1, "a, b"`
    columns = list(zip(*fitting[1:], strict=True))[1:]
    return any(all(field.startswith(" ") for field in column) for column in columns)


def _decimal(rows: Rows, dialect: Dialect) -> str:
    """A comma where some column's numbers are written with it, and none with a point."""
    if dialect.delimiter == ",":
        return "."
    fields = [field.strip() for row in rows for field in row]
    if any(NUMBER.fullmatch(field) and "." in field for field in fields):
        return "."
    columns = zip(*(row for row in rows if len(row) == len(rows[0])), strict=True)
    for column in columns:
        values = [field.strip() for field in column if field.strip()]
        commas = [value for value in values if COMMA_NUMBER.fullmatch(value)]
        if commas and all(COMMA_NUMBER.fullmatch(v) or NUMBER.fullmatch(v) for v in values):
            return ","
    return "."


# The header


def is_number(field: str, decimal: str = ".") -> bool:
    """Whether a field is written as a number."""
    field = field.strip()
    return bool(NUMBER.fullmatch(field.replace(",", ".") if decimal == "," else field))


def _header(
    path: str, rows: Rows, asked: Any, dialect: Dialect, found: list[str]
) -> tuple[tuple[str, ...], int]:
    """The columns' names, and how many rows hold them."""
    first = [field.strip() if dialect.skip_spaces else field for field in rows[0]]
    if isinstance(asked, list | tuple):
        names = tuple(map(str, asked))
        if len(names) != len(first):
            raise BlendmakeError(
                f"{path} has {len(first)} columns, data.csv.header names {len(names)}. Correct it; "
                "names for some files only go under data.csv.files."
            )
        return names, int(tuple(name.strip() for name in first) == names)
    if asked is None:
        asked = _first_row_names(path, rows, dialect, found)
    if asked:
        # An index of pandas, or the row names of R, have no name in the header.
        return tuple(name or f"Unnamed: {i}" for i, name in enumerate(first)), 1
    return tuple(f"c{i + 1}" for i in range(len(first))), 0


def _first_row_names(path: str, rows: Rows, dialect: Dialect, found: list[str]) -> bool:
    """Whether the first row holds names: it does unless numbers stand where numbers follow.

    Raises:
        BlendmakeError: it may be either.
    """
    first, below = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    numbers = []
    for field, *column in zip(first, *below, strict=True):
        values = [value for value in column if value.strip()]
        of_numbers = bool(values) and all(is_number(v, dialect.decimal) for v in values)
        if of_numbers and field.strip() and not is_number(field, dialect.decimal):
            return True  # a name above numbers
        if of_numbers and field.strip():
            numbers.append(field.strip())
    if not numbers:
        return True
    whole = all(re.fullmatch(r"\d+", field) for field in numbers)
    values = [int(field) for field in numbers] if whole else []
    if len(set(numbers)) < len(numbers) or not whole:
        found.append(
            f"no header (columns c1 to c{len(first)}, as line 1 holds {some_of(numbers[:3])})"
        )
        return False
    if all(b - a == 1 for a, b in pairwise(values)) and len(values) > 1:
        return True  # columns that are numbered
    raise BlendmakeError(
        f"{path}: its first line may be names of columns or a row of data ({some_of(first[:5])}). Say "
        "which: data.csv.header: true (names), false (none: columns are called c1, c2, …), or the list "
        "of the names."
    )


def _check_width(path: str, rows: Rows, header_rows: int, width: int, dialect: Dialect) -> None:
    """Raise where all rows have more or fewer fields than the header: a header of another kind."""
    widths = {len(row) for row in rows[header_rows:]}
    if len(rows) < header_rows + 2 or len(widths) != 1 or widths == {width}:
        return
    (other,) = widths
    mend = (
        "The first field may be the row's name, as R writes it: put a name for it into the header."
        if other == width + 1
        else f"Correct the file, or data.csv: delimiter is {_shown(dialect.delimiter)}."
    )
    raise BlendmakeError(
        f"{path}, line {dialect.skip + 1}: the header has {width} fields, every row {other}. {mend}"
    )
