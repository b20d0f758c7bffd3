"""CSV files as people have them: every dialect gives the same table, or one clear message."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blendmake.errors import BlendmakeError
from blendmake.tables import csv_files
from blendmake.tables.dialects import Dialect
from blendmake.tables.user_files import UserTable


def table(path: Path, text: str | bytes, csv: dict[str, Any] | None = None) -> UserTable:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return UserTable(path, (), csv)


def content(found: UserTable) -> dict[str, list[Any]]:
    return found.read(found.names).to_pydict()


# Told from the file

PLAIN = {"x": [1, 2, 3], "y": [0.5, 1.5, None], "city": ["Köln", "Bonn", "Ulm"]}
TEXT = "x,y,city\n1,0.5,Köln\n2,1.5,Bonn\n3,,Ulm\n"
ALIKE: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "plain": ("t.csv", TEXT.encode(), ()),
    "byte order mark": ("t.csv", TEXT.encode("utf-8-sig"), ()),
    "utf-16": ("t.csv", TEXT.encode("utf-16"), ("utf-16",)),
    "utf-16 without a mark": ("t.csv", TEXT.encode("utf-16-le"), ("utf-16-le",)),
    "cp1252": ("t.csv", TEXT.encode("cp1252"), ("cp1252",)),
    "semicolons": ("t.csv", TEXT.replace(",", ";").encode(), ("delimiter ';'",)),
    "German": (
        "t.csv",
        TEXT.replace(",", ";").replace(".", ",").encode("cp1252"),
        ("delimiter ';'", "decimal comma", "cp1252"),
    ),
    "tabs": ("t.tsv", TEXT.replace(",", "\t").encode(), ()),
    "tabs in .txt": ("t.txt", TEXT.replace(",", "\t").encode(), ("delimiter tab",)),
    "pipes": ("t.csv", TEXT.replace(",", "|").encode(), ("delimiter '|'",)),
    "spaces": ("t.csv", TEXT.replace(",", ", ").encode(), ("spaces",)),
    "spaces before quotes": (
        "t.csv",
        TEXT.replace(",", ", ").replace("Ulm", '"Ulm"').encode(),
        ("spaces",),
    ),
    "remark above": ("t.csv", b"|1x3 Cross validator\n" + TEXT.encode(), ("1 line above",)),
    "what Excel writes": ("t.csv", b"sep=;\r\n" + TEXT.replace(",", ";").encode(), ("1 line",)),
    "blank lines": ("t.csv", ("\n" + TEXT + "\n\n").encode(), ()),
    "Windows": ("t.csv", TEXT.replace("\n", "\r\n").encode(), ()),
    "quotes": ("t.csv", b'"x","y","city"\n"1","0.5","K\xc3\xb6ln"\n2,1.5,Bonn\n3,,"Ulm"', ()),
    "gz": ("t.csv.gz", gzip.compress(TEXT.encode()), ()),
    "bz2": ("t.csv.bz2", bz2.compress(TEXT.encode()), ()),
}


@pytest.mark.parametrize("name", ALIKE)
def test_a_dialect_is_told_from_the_file(tmp_path: Path, name: str) -> None:
    file, text, says = ALIKE[name]
    found = table(tmp_path / file, text)
    assert content(found) == PLAIN
    assert len(found.notes) == bool(says)
    for part in says:
        assert part in found.notes[0]


def test_zip_holds_one_file(tmp_path: Path) -> None:
    for names in (["a.csv"], ["a.csv", "b.csv"]):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name in names:
                archive.writestr(name, TEXT)
        if len(names) == 1:
            assert content(table(tmp_path / "t.zip.csv.zip", packed.getvalue())) == PLAIN
        else:
            with pytest.raises(BlendmakeError, match=r"t\.csv\.zip holds 2 files"):
                table(tmp_path / "t.csv.zip", packed.getvalue())


def test_text_that_turns_out_not_to_be_utf8_far_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "HEAD", 64)
    found = table(tmp_path / "t.csv", b"x,city\n" + b"1,Bonn\n" * 100 + b"2,K\xf6ln\n")
    assert content(found)["city"][-1] == "Köln"
    assert "cp1252" in found.notes[0]


def test_types_hold_for_all_rows_whatever_is_parsed_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "BLOCK", 64)
    rows = [f"{i},{'' if i < 50 else i},007" for i in range(100)]
    found = table(tmp_path / "t.csv", "\n".join(["a,b,c", *rows, '1.5,2,"x\ny,z"']) + "\n")
    kinds = dict(zip(found.names, found.schema.types, strict=True))
    assert kinds == {"a": pa.float64(), "b": pa.int64(), "c": pa.string()}
    assert content(found)["c"] == ["007"] * 100 + ["x\ny,z"]
    assert content(found)["b"][:50] == [None] * 50


# The header

HEADERS: dict[str, tuple[str, list[str], int]] = {
    "names above numbers": ("a,b\n1,2\n", ["a", "b"], 1),
    "names above text": ("a,b\nx,y\n", ["a", "b"], 1),
    "numbered columns": ("0,1,2\n5,6,7\n8,9,9\n", ["0", "1", "2"], 2),
    "years beside an id of numbers": ("id,2019,2021\n1,5,6\n", ["id", "2019", "2021"], 1),
    "none: decimals": ("x,0.5\ny,1.5\n", ["c1", "c2"], 2),
    "none: a number twice": (
        "39, Bachelors, 0, 0\n50, Masters, 1, 0\n",
        ["c1", "c2", "c3", "c4"],
        2,
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_whether_the_first_row_is_a_header(tmp_path: Path, name: str) -> None:
    text, names, rows = HEADERS[name]
    found = table(tmp_path / "t.csv", text)
    assert (found.names, found.rows) == (names, rows)
    assert any("no header" in note for note in found.notes) == (names[0] == "c1")


def test_a_first_row_that_may_be_either_is_asked_about(tmp_path: Path) -> None:
    text = "name,2019,2025\nx,5,6\ny,7,8\n"
    with pytest.raises(BlendmakeError, match=r"t\.csv.*'2019'.*data\.csv\.header: true"):
        table(tmp_path / "t.csv", text)
    assert table(tmp_path / "t.csv", text, {"header": True}).rows == 2
    assert table(tmp_path / "t.csv", text, {"header": False}).rows == 3
    # Who names the id, names the header.
    assert UserTable(tmp_path / "t.csv", ["name"]).names == ["name", "2019", "2025"]


def test_names_are_given_to_files_without_a_header_only(tmp_path: Path) -> None:
    asked = {"header": ["age", "work"]}
    for text in ("39, Private\n50, ?\n", "age, work\n39, Private\n50, ?\n"):
        assert content(table(tmp_path / "t.csv", text, asked)) == {
            "age": [39, 50],
            "work": ["Private", "?"],
        }
    with pytest.raises(BlendmakeError, match=r"has 3 columns, data\.csv\.header names 2"):
        table(tmp_path / "t.csv", "1,2,3\n", asked)


# Told by the config


def test_keys_of_the_config(tmp_path: Path) -> None:
    text = "made by hand\n# a remark;;\nx|y\n'1.234,5'|a\n# the end\n2,5|'b|c'\n"
    found = table(
        tmp_path / "t.csv",
        text,
        {
            "skip": 1,
            "comment": "#",
            "delimiter": "|",
            "decimal": ",",
            "thousands": ".",
            "quote": "'",
        },
    )
    assert content(found) == {"x": [1234.5, 2.5], "y": ["a", "b|c"]}
    assert not found.notes


def test_one_file_may_be_otherwise(tmp_path: Path) -> None:
    asked = {"delimiter": ";", "files": {"*/test.csv": {"delimiter": ",", "header": False}}}
    assert table(tmp_path / "train.csv", "a;b\n1;2\n", asked).names == ["a", "b"]
    assert content(table(tmp_path / "test.csv", "a,b\nc,d\n", asked)) == {
        "c1": ["a", "c"],
        "c2": ["b", "d"],
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1,234", "12", "-1,234,567"], [1234, 12, -1234567]),
        (["1,234.5", "7", ""], [1234.5, 7.0, None]),
        (["1,23", "4", "5"], ["1,23", "4", "5"]),
        (["1,234", "x", "5"], ["1,234", "x", "5"]),
    ],
)
def test_thousands_are_groups_of_three(
    tmp_path: Path, values: list[str], expected: list[Any]
) -> None:
    text = "x;k\n" + "".join(f"{value};k\n" for value in values)
    asked = {"thousands": ",", "decimal": "."}
    assert content(table(tmp_path / "t.csv", text, asked))["x"] == expected


# What is wrong

WRONG: dict[str, tuple[bytes, dict[str, Any], str]] = {
    "too many fields": (
        b"a,b\n1,2\n\n1,2,3\n",
        {},
        r"t\.csv, line 4: 3 fields, 2 are expected: '1,2,3'",
    ),
    "too few": (b"a,b\n1,2\n1\n", {}, r"line 3: 1 field, 2 are expected: '1'.*data\.csv\.comment"),
    "below lines left out": (b"x\ny\na,b\n1,2\n1\n", {"skip": 2}, "line 5: 1 field"),
    "a quote without end": (b'a,b\n1,"2\n3,4\n', {}, r"line 2 to 3 \(a quote that is not closed"),
    "a quote without end before others": (
        b'a,b\n"1,2\n3,4\n',
        {},
        r"line 2 to 3 \(a quote.*: 1 field",
    ),
    "row names of R": (
        b"a,b\nr1,1,2\nr2,1,2\n",
        {},
        "header has 2 fields, every row 3.*row's name",
    ),
    "not what the config says": (
        b"a\n\xf6\n",
        {"encoding": "utf-8"},
        r"utf-8.*data\.csv\.encoding",
    ),
    "no encoding that we know": (b"a\n\xf6\x81\n", {}, r"cp1252.*data\.csv\.encoding"),
    "column twice": (b"a,a\n1,2\n", {}, "'a' occurs more than once"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_with_line_and_mend(tmp_path: Path, name: str) -> None:
    text, asked, says = WRONG[name]
    with pytest.raises(BlendmakeError, match=says):
        table(tmp_path / "t.csv", text, asked)


# What pandas adds


@pytest.mark.parametrize(
    ("text", "names", "index"),
    [
        (",x\n0,5\n1,6\n", ["x"], ["Unnamed: 0"]),
        (",,x\na,0,5\nb,1,6\n", ["x"], ["Unnamed: 0", "Unnamed: 1"]),
        ("Unnamed: 0.1,Unnamed: 0,x\n0,0,5\n", ["x"], ["Unnamed: 0", "Unnamed: 0.1"]),
        ("x,Unnamed: 0\n5,0\n", ["x"], ["Unnamed: 0"]),
        ("x,y,\n5,6,\n", ["x", "y"], ["Unnamed: 2"]),
        ("x,,y\n5,6,7\n", ["x", "Unnamed: 1", "y"], []),
        ("x,Unnamed: 1\n5,6\n", ["x", "Unnamed: 1"], []),
    ],
)
def test_an_index_of_pandas_is_told_and_left_out(
    tmp_path: Path, text: str, names: list[str], index: list[str]
) -> None:
    found = table(tmp_path / "t.csv", text)
    assert (found.names, sorted(found.index_columns)) == (names, index)
    assert [note for note in found.notes if "index of a pandas table" in note] == found.notes
    assert len(found.notes) == bool(index)


# Any table in any dialect comes back

FIELDS = st.text(st.sampled_from("abö \",;|'\n01.-"), max_size=6).map(str.strip)
NUMBERS = st.one_of(st.none(), st.integers(-(10**12), 10**12), st.floats(-1e6, 1e6))


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, list[Any]], str, dict[str, Any], str]:
    """Columns, the text of a file, what the config says of it, and its encoding."""
    rows = draw(st.integers(1, 6))
    names = [f"n{i}" for i in range(draw(st.integers(2, 4)))]
    columns: dict[str, list[Any]] = {}
    for name in names:
        of_numbers = draw(st.booleans())
        values = draw(st.lists(NUMBERS if of_numbers else FIELDS, min_size=rows, max_size=rows))
        # A letter, so that text is text.
        columns[name] = values if of_numbers else [f"t{value}" for value in values]
    delimiter = draw(st.sampled_from(",;\t|"))
    decimal = "." if delimiter == "," else draw(st.sampled_from(".,"))
    style = {
        "delimiter": delimiter,
        "decimal": decimal,
        "quote": draw(st.sampled_from("\"'")),
        "encoding": draw(st.sampled_from(["utf-8", "utf-16", "cp1252"])),
        "header": True,
    }
    out = io.StringIO(newline="")
    writer = csv.writer(
        out,
        delimiter=delimiter,
        quotechar=style["quote"],
        quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])),
        lineterminator=draw(st.sampled_from(["\n", "\r\n"])),
    )
    writer.writerow(names)
    for row in zip(*columns.values(), strict=True):
        writer.writerow([repr(v).replace(".", decimal) if isinstance(v, float) else v for v in row])
    return columns, out.getvalue(), style, style["encoding"]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(files(), st.booleans())
def test_what_is_written_in_a_dialect_is_read(
    tmp_path: Path, file: tuple[dict[str, list[Any]], str, dict[str, Any], str], spaces: bool
) -> None:
    columns, text, style, encoding = file
    asked = {**style, "skip_spaces": True} if spaces else style
    found = table(tmp_path / "t.csv", text.encode(encoding), asked)
    assert content(found) == columns


@given(st.text(st.sampled_from("ab ,;\n#"), max_size=40), st.sampled_from(["#", None]))
def test_lines_without_quotes_are_read_alike(text: str, comment: str | None) -> None:
    """By the short way that is taken for them, and by that which heeds quotes."""
    dialect = Dialect(comment=comment, skip_spaces=True)
    lines = text.encode()
    pattern = csv_files._to_leave_out(dialect)
    assert pattern is not None
    assert csv_files._without_quotes(lines, dialect) == pattern.sub(csv_files._kept, lines)
