"""CSV files: read whole into a table of Arrow, whatever dialect they are written in."""

from __future__ import annotations

import codecs
import csv
import io
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv as arrow_csv

from blendmake.errors import BlendmakeError
from blendmake.tables.dialects import CP1252, Dialect, Sniffed, bad_encoding, settings_for, sniff
from blendmake.tables.naming import some_of
from blendmake.tables.written_numbers import (
    USUAL,
    digits_of_whole,
    numbers_of,
    type_of_whole,
)

SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".data", ".dat", ".test")
PACKED = (".gz", ".bz2", ".zst", ".zip")
HEAD, LARGEST_HEAD = 1 << 20, 64 << 20  # bytes that the dialect is told from
BLOCK = 32 << 20  # bytes that are parsed at a time; a type that does not hold later is corrected


def is_csv(name: str) -> bool:
    """Whether a file is text in columns, by its name."""
    name = name.lower()
    for packing in PACKED:
        name = name.removesuffix(packing)
    return name.endswith(SUFFIXES)


class CsvFile:
    """A CSV file, its dialect told from its first lines where the config leaves it open.

    Args:
        settings: `data.csv` of the config.
        ids: columns that may not lose a letter: text where numbers would change them.

    Attributes:
        found: in words, what was found of how the file is written that is not plain.

    Raises:
        BlendmakeError: here or on reading: rows of different lengths, an encoding that it is not
            written in, a header that may be data; names the file, the line and the key.
    """

    def __init__(
        self, path: Path, settings: Mapping[str, Any] | None = None, ids: Sequence[str] = ()
    ) -> None:
        self.path, self._ids = path, list(ids)
        self._asked = settings_for(str(path), settings)
        self._sniffed = _sniffed(path, self._asked, ids)

    @property
    def found(self) -> list[str]:
        found = self._sniffed.found
        if not found:
            return []
        return [f"{self.path} is read so: {', '.join(found)}. Keys of data.csv say otherwise"]

    def read(self) -> pa.Table:
        """Every column, its type inferred from all rows; ids as text where numbers would change them.

        Among numbers NA, NaN, null, N/A and the like are missing; in text only the empty field is.
        """
        table = self._parsed(None)
        if _ends_in_many_lines(table):  # as it does where a quote is not closed
            _raise_ragged(self.path, self._sniffed)
        guessed = [
            name
            for name, kind in zip(table.column_names, table.schema.types, strict=True)
            if name in self._ids and not pa.types.is_string(kind)
        ]
        if guessed:
            # An id 007 is not 7, nor 1.10 1.1: only whole numbers that lose nothing are numbers.
            texts = self.read_as_text(guessed)
            for name in guessed:
                whole = pa.types.is_integer(table[name].type)
                if not whole or not table[name].cast(pa.string()).equals(texts[name]):
                    table = table.set_column(table.column_names.index(name), name, texts[name])
        if self._sniffed.dialect.thousands:
            table = _without_thousands(table, self._sniffed.dialect, self._ids)
        return self._with_every_digit(table)

    def _with_every_digit(self, table: pa.Table) -> pa.Table:
        """Whole numbers beyond int64, which were read as floats, as what holds them; text if nothing."""
        names = [
            name
            for name, column in zip(table.column_names, table.columns, strict=True)
            if pa.types.is_float64(column.type) and _may_be_long(column)
        ]
        texts = self.read_as_text(names) if names else pa.table({})
        for name in names:
            usual = pc.is_in(texts[name], value_set=pa.array(USUAL))
            digits = digits_of_whole(texts[name].filter(pc.fill_null(pc.invert(usual), False)))
            if digits:
                dtype = type_of_whole(digits)
                column = numbers_of(texts[name], USUAL, dtype) if dtype else texts[name]
                table = table.set_column(table.column_names.index(name), name, column)
        return table

    def read_as_text(self, names: Sequence[str]) -> pa.Table:
        """Some columns as they are written; an empty field, quoted or not, is missing."""
        return self._parsed(names)

    def _parsed(self, texts: Sequence[str] | None) -> pa.Table:
        try:
            return _empty_as_missing(_parsed(self.path, self._sniffed, texts))
        except _NotUTF8 as error:
            if "encoding" in self._asked:
                raise bad_encoding(str(self.path), "utf-8", error) from error
        asked = {**self._asked, "encoding": "cp1252"}
        sniffed = _sniffed(self.path, asked, self._ids)
        self._sniffed = replace(sniffed, found=(*sniffed.found, CP1252))
        return _empty_as_missing(_parsed(self.path, self._sniffed, texts))


def _may_be_long(column: pa.ChunkedArray) -> bool:
    """Whether a float may stand for a whole number that has more digits than it holds."""
    ends = pc.min_max(column)
    return any(abs(ends[key].as_py() or 0) >= 2**53 for key in ("min", "max"))


class _NotUTF8(Exception):
    """Bytes that are no UTF-8, in a file that begins as if it were."""


# Opened


def _opened(path: Path) -> Any:
    """The file's bytes, unpacked, as a stream."""
    if path.suffix.lower() != ".zip":
        return pa.input_stream(str(path), compression="detect")
    archive = zipfile.ZipFile(path)
    inside = [name for name in archive.namelist() if not name.endswith("/")]
    if len(inside) != 1:
        raise BlendmakeError(
            f"{path} holds {len(inside)} files ({some_of(inside)}). Unpack it, or pack one file alone."
        )
    return archive.open(inside[0])


def _sniffed(path: Path, asked: Mapping[str, Any], known: Collection[str]) -> Sniffed:
    with _opened(path) as stream:
        head = stream.read(HEAD)
        while len(head) < LARGEST_HEAD and head.count(b"\n") < 20 and (more := stream.read(HEAD)):
            head += more
        whole = not stream.read(1)
    return sniff(str(path), head, whole, asked, known)


# Parsed


def _parsed(path: Path, sniffed: Sniffed, texts: Sequence[str] | None) -> pa.Table:
    """All columns with types inferred, or some as text.

    Types are inferred block by block; one that a later block belies is inferred anew.
    """
    dialect, names = sniffed.dialect, list(sniffed.names)
    if not names:
        return pa.table({})
    # By their numbers: names may be repeated or empty.
    places = {name: str(i) for i, name in enumerate(names)}
    taken = {} if texts is None else {places[name]: pa.string() for name in texts}
    options: dict[str, Any] = {
        "read_options": arrow_csv.ReadOptions(
            block_size=BLOCK,
            column_names=[str(i) for i in range(len(names))],
            skip_rows=dialect.skip,
            skip_rows_after_names=sniffed.header_rows,
        ),
        "parse_options": arrow_csv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            newlines_in_values=True,
        ),
        "convert_options": arrow_csv.ConvertOptions(
            column_types=taken, include_columns=list(taken), decimal_point=dialect.decimal
        ),
    }
    try:
        with _opened(path) as stream:
            source = stream
            if dialect.encoding != "utf-8" or dialect.comment or dialect.skip_spaces:
                source = _Stream(_rewritten(stream, dialect))
            table = arrow_csv.read_csv(source, **options)
    except pa.ArrowInvalid as error:
        if "invalid UTF8" in str(error):
            raise _NotUTF8(str(error)) from error
        if "columns, got" in str(error):
            _raise_ragged(path, sniffed)
        raise
    except UnicodeDecodeError as error:
        raise bad_encoding(str(path), dialect.encoding, error) from error
    shown = names if texts is None else list(texts)
    broken = [n for n, k in zip(shown, table.schema.types, strict=True) if pa.types.is_binary(k)]
    if broken:
        raise _NotUTF8(f"column {some_of(broken)}")
    return table.rename_columns(shown)


def _empty_as_missing(table: pa.Table) -> pa.Table:
    columns = [
        pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def _ends_in_many_lines(table: pa.Table) -> bool:
    last = table.column(table.num_columns - 1) if table.num_rows else None
    return last is not None and pa.types.is_string(last.type) and "\n" in (last[-1].as_py() or "")


def _raise_ragged(path: Path, sniffed: Sniffed) -> None:
    """Raise with the first row that has not as many fields as there are columns, or does not end."""
    dialect, width = sniffed.dialect, len(sniffed.names)
    style: dict[str, Any] = (
        {"quotechar": dialect.quote} if dialect.quote else {"quoting": csv.QUOTE_NONE}
    )
    with _opened(path) as stream:
        text = io.TextIOWrapper(stream, dialect.encoding, errors="replace", newline="")
        for _ in range(dialect.skip):
            text.readline()
        lines = _Remembering(text)
        reader = csv.reader(
            lines, delimiter=dialect.delimiter, skipinitialspace=dialect.skip_spaces, **style
        )
        begins = dialect.skip + 1
        for row in reader:
            ends = dialect.skip + reader.line_num
            if row and len(row) != width and not row[0].startswith(dialect.comment or "\0"):
                raise _ragged(path, begins, ends, row, width, dialect)
            last, begins = (begins, ends, row), ends + 1
        begins, ends, row = last
        if ends > begins and not lines.last.rstrip().endswith(dialect.quote or ""):
            raise _ragged(path, begins, ends, row, width, dialect)


def _ragged(
    path: Path, begins: int, ends: int, row: list[str], width: int, dialect: Dialect
) -> BlendmakeError:
    shown = dialect.delimiter.join(row).strip()
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    where = f"{begins} to {ends} (a quote that is not closed?)" if ends > begins else str(begins)
    return BlendmakeError(
        f"{path}, line {where}: {len(row)} field{'s' * (len(row) != 1)}, {width} are expected: "
        f"{shown!r}. Put text that holds the delimiter in quotes, or correct the line; of lines that "
        "are no rows tell data.csv.comment (how they begin) or data.csv.skip (how many stand above the "
        "header)."
    )


class _Remembering:
    """Lines of a file, the last of which is remembered."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.last = lines, ""

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.last = line
            yield line


# Rewritten as plain UTF-8


class _Stream(io.RawIOBase):
    """Chunks of bytes as a file to read."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._held = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._held = chunk
        part = self._held[: len(buffer)]
        buffer[: len(part)] = part
        self._held = self._held[len(part) :]
        return len(part)


def _rewritten(stream: Any, dialect: Dialect) -> Iterator[bytes]:
    """The file in UTF-8, without comments and without spaces around its fields where asked."""
    decoder = codecs.getincrementaldecoder(dialect.encoding)()
    pattern, quote = _to_leave_out(dialect), (dialect.quote or "").encode()
    held, first = b"", True
    while True:
        data = stream.read(BLOCK // 8)
        text = decoder.decode(data, final=not data)
        if first and text:
            text, first = text.removeprefix("\ufeff"), False
        held += text.encode()
        cut = len(held) if not data else _whole_lines(held, quote)
        part, held = held[:cut], held[cut:]
        if pattern is not None and quote and quote in part:
            part = pattern.sub(_kept, part)
        elif pattern is not None:
            part = _without_quotes(part, dialect)
        if part:
            yield part
        if not data:
            return


def _whole_lines(text: bytes, quote: bytes) -> int:
    """Where the last line ends that does not end within quotes; 0 if there is none."""
    cut = text.rfind(b"\n") + 1
    while quote and cut and text.count(quote, 0, cut) % 2:
        cut = text.rfind(b"\n", 0, cut - 1) + 1
    return cut


def _to_leave_out(dialect: Dialect) -> re.Pattern[bytes] | None:
    """Quoted fields, which stay, as the group `field`; else what is left out."""
    begin = f"(?:^|(?<={re.escape(dialect.delimiter)}))"
    end = f"(?={re.escape(dialect.delimiter)}|\\r?$)"
    spaces = " *" if dialect.skip_spaces else ""
    parts = []
    if dialect.quote:
        q = re.escape(dialect.quote)
        parts.append(f"{begin}{spaces}(?P<field>{q}(?:[^{q}]|{q}{q})*{q}){spaces}")
    if dialect.comment:
        parts.append(f"^{re.escape(dialect.comment)}[^\\n]*\\n?")
    if dialect.skip_spaces:
        parts.append(f"{begin} +| +{end}")
    if not (dialect.comment or dialect.skip_spaces):
        return None
    return re.compile("|".join(parts).encode(), re.MULTILINE)


def _without_quotes(lines: bytes, dialect: Dialect) -> bytes:
    """What the pattern leaves of lines without a quote, in a twentieth of its time."""
    if dialect.comment:
        lines = re.sub(f"(?m)^{re.escape(dialect.comment)}[^\\n]*\\n?".encode(), b"", lines)
    if not dialect.skip_spaces:
        return lines
    sign = dialect.delimiter.encode()
    lines = lines.strip(b" ")
    for left_out, kept in (
        (sign + b" ", sign),
        (b" " + sign, sign),
        (b"\n ", b"\n"),
        (b" \n", b"\n"),
        (b" \r\n", b"\r\n"),
    ):
        while left_out in lines:
            lines = lines.replace(left_out, kept)
    return lines


def _kept(match: re.Match[bytes]) -> bytes:
    return match.groupdict().get("field") or b""


# Thousands


def _without_thousands(table: pa.Table, dialect: Dialect, texts: Collection[str]) -> pa.Table:
    """Columns of text whose values are all numbers in groups of three digits, as numbers."""
    sign, point = re.escape(str(dialect.thousands)), re.escape(dialect.decimal)
    number = rf"^[+-]?(\d{{1,3}}({sign}\d{{3}})+|\d+)({point}\d+)?$"
    for i, name in enumerate(table.column_names):
        column = table.column(i)
        if name in texts or not pa.types.is_string(column.type) or column.null_count == len(column):
            continue
        if pc.all(pc.match_substring_regex(column, number)).as_py():
            plain = pc.replace_substring(column, dialect.thousands, "")
            plain = pc.replace_substring(plain, dialect.decimal, ".")
            plain = pc.replace_substring_regex(plain, r"^\+", "")
            digits = digits_of_whole(plain)
            dtype = type_of_whole(digits) if digits else pa.float64()
            table = table.set_column(i, name, plain.cast(dtype) if dtype else plain)
    return table
