"""A record holds for the file that it is of; of any other the file's own note is asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from blendmake import files
from blendmake.files import write_parquet
from blendmake.made import say_made
from snakemake_records import UNKNOWN, ContentRecords, Record

FUTURE, PAST = 4_000_000_000, 1_000_000_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    files.made = {}


def store() -> Any:
    return ContentRecords(nolock=True, path=Path(".snakemake").absolute())


def recorded(name: str) -> None:
    store()._write_record(name, Record(rule="fit", params=["1"], input=[], input_checksums={}))


def test_dates_are_no_matter_where_the_content_is_the_same() -> None:
    write_parquet(pa.table({"x": [1.0]}), Path("a.parquet"))
    recorded("a.parquet")
    for date in (FUTURE, PAST):
        os.utime("a.parquet", (date, date))
        assert store()._read_record("a.parquet").rule == "fit"


@pytest.mark.parametrize("date", [None, FUTURE, PAST])
def test_another_file_of_the_same_size_is_not_the_recorded_one(date: int | None) -> None:
    Path("a.txt").write_text("12345")
    recorded("a.txt")
    Path("a.txt").write_text("12346")
    if date:
        os.utime("a.txt", (date, date))
    found = store()._read_record("a.txt")
    assert (found.rule, found.params) == (None, [UNKNOWN])


@pytest.mark.parametrize("damage", ["lost", "torn", "of another moment"])
def test_without_its_record_a_file_goes_by_its_own_note(damage: str) -> None:
    say_made("fit", ["1"], [])
    write_parquet(pa.table({"x": [1.0]}), Path("a.parquet"))
    recorded("a.parquet")
    (record,) = [path for path in Path(".snakemake/metadata").rglob("*") if path.is_file()]
    if damage == "lost":
        record.unlink()
    elif damage == "torn":
        record.write_text(record.read_text()[:40])
    else:
        say_made("fit", ["2"], [])
        write_parquet(pa.table({"x": [2.0]}), Path("a.parquet"))
    found = store()._read_record("a.parquet")
    assert found.rule is None
    assert found.made == files.made


def test_what_has_neither_record_nor_note_is_made_anew() -> None:
    write_parquet(pa.table({"x": [1.0]}), Path("a.parquet"))
    assert store()._read_record("a.parquet").params == [UNKNOWN]
    assert store()._read_record("nothing.parquet") is None


def test_an_input_that_is_replaced_while_a_job_runs_is_not_what_it_read() -> None:
    Path("in.txt").write_text("1")
    Path("out.txt").write_text("out")
    records = store()
    records._begun["out.txt"] = {"in.txt": records._stat_now("in.txt")}
    Path("in.txt").write_text("22")
    sums = {"in.txt": "sha256:of what stands at the end"}
    given = Record(rule="fit", params=[], input=["in.txt"], input_checksums=sums)
    records._write_record("out.txt", given)
    found = store()._read_record("out.txt")
    assert found.input_checksums == {}
    assert found.seen["in.txt"][0] == 1
