"""What artifacts tell of what they are made of, and a fold that is taken over."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendmake import files
from blendmake.digests import sha256
from blendmake.files import note_of, read_note, read_parquet, write_parquet
from blendmake.fits.kept import keep_fold, take_fold
from blendmake.job_digests import params_digest, quick_digest, serialised
from blendmake.made import content_of, made_of, say_made
from blendmake.matrix import TableFile, table_note, writing_table

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
TABLE = pa.table({"x": [1.0, 2.0]})


@pytest.fixture(autouse=True)
def nothing_said() -> Iterator[None]:
    yield
    files.made = {}


def table_file(path: Path, **columns: list[float]) -> TableFile:
    schema = pa.schema([pa.field(name, pa.float32()) for name in columns])
    with writing_table(path, schema) as writer:
        writer.write([pa.array(column, pa.float32()) for column in columns.values()])
    return TableFile(path)


def test_artifacts_tell_what_they_are_made_of(tmp_path: Path) -> None:
    own, other = tmp_path / "own.csv", tmp_path / "in.parquet"
    own.write_text("x\n1\n")
    write_parquet(TABLE, other)
    assert made_of(other) is None and made_of(own) is None
    say_made("rule", [{"a": 1}, "code"], [str(own), str(other)], [str(own)])
    made = {
        "rule": "rule",
        "params": params_digest(map(serialised, ["code", {"a": 1}])),
        "inputs": [f"sha256:{sha256(own)}", f"content:{read_note(other)['content']}"],
    }
    write_parquet(TABLE, tmp_path / "out.parquet", {"config": {}})
    table_file(tmp_path / "out.arrow", x=[1.0])
    assert made_of(tmp_path / "out.parquet") == made_of(tmp_path / "out.arrow") == made


def test_content_is_what_a_file_holds_whatever_its_note(tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.parquet" for name in "abc")
    write_parquet(TABLE, a, {"git_revision": "1"})
    write_parquet(TABLE, b, {"git_revision": "2"})
    write_parquet(TABLE.slice(1), c)
    assert content_of(a) == content_of(b) != content_of(c)
    one, same, other = (
        table_file(tmp_path / f"{name}.arrow", x=[x])
        for name, x in {"a": 1, "b": 1, "c": 2}.items()
    )
    assert table_note(one.path) == {"content": table_note(same.path)["content"]}
    assert content_of(one.path) == content_of(same.path) != content_of(other.path)
    a.write_bytes(a.read_bytes()[:-30])  # damaged: its note is nothing to go by
    assert content_of(a) == f"sha256:{sha256(a)}"


def test_a_table_is_known_by_the_columns_that_are_read(tmp_path: Path) -> None:
    one = table_file(tmp_path / "1.arrow", x=[1.0, 2.0], y=[3.0, 4.0])
    two = table_file(tmp_path / "2.arrow", x=[1.0, 2.0], y=[3.0, 5.0])
    assert one.digest_of(["x"]) == two.digest_of(["x"])
    assert one.digest_of(["x", "y"]) != two.digest_of(["x", "y"])
    moved = table_file(tmp_path / "3.arrow", y=[3.0, 4.0], x=[1.0, 2.0])
    assert one.digest_of(["x"]) == moved.digest_of(["x"])


@given(st.binary(min_size=1, max_size=400), st.integers(0, 399), st.integers(1, 255))
def test_a_quick_digest_sees_every_byte_of_a_small_file(data: bytes, place: int, by: int) -> None:
    with tempfile.NamedTemporaryFile() as file:
        path = Path(file.name)
        path.write_bytes(data)
        before = quick_digest(path)
        changed = bytearray(data)
        changed[place % len(data)] ^= by
        path.write_bytes(changed)
        assert quick_digest(path) != before
        path.write_bytes(data + b"0")
        assert quick_digest(path) != before


def test_a_quick_digest_sees_what_a_large_artifact_holds(tmp_path: Path) -> None:
    path = tmp_path / "wide.parquet"

    def digests(value: float) -> tuple[int, str]:
        columns = {f"column_{j:05d}": [float(j)] for j in range(1500)}
        write_parquet(pa.table({**columns, "column_00700": [value]}), path)
        return path.stat().st_size, quick_digest(path)

    size, digest = digests(1.0)
    assert digests(1.0) == (size, digest)
    others = [digests(float(value)) for value in range(2, 40)]
    alike = [other for other_size, other in others if other_size == size]
    assert alike and digest not in alike  # of one size, so that it is told by what they hold


def test_every_script_that_writes_artifacts_says_what_of() -> None:
    for script in SCRIPTS.glob("*.py"):
        text = script.read_text(encoding="utf-8")
        if "with job(" in text and ("provenance(" in text or "write_parquet(" in text):
            assert re.search(r"script=snakemake|fit_job\(snakemake\)", text), script.name


def test_a_kept_fold_is_taken_over_with_a_note_of_now(tmp_path: Path) -> None:
    outputs = {name: tmp_path / "out" / f"{name}.parquet" for name in ("oof", "fits")}
    for path in outputs.values():
        write_parquet(TABLE, path, {"fits": "k", "id_columns": ["x"], "code": "old"})
    keep_fold(outputs, tmp_path / "kept", "k")
    for path in outputs.values():
        path.unlink()
    say_made("fit", [1], [])
    notes = {name: {"fits": "k", "code": "new"} for name in outputs}
    assert not take_fold(outputs, tmp_path / "kept", "other", notes)
    assert take_fold(outputs, tmp_path / "kept", "k", notes)
    for path in outputs.values():
        table = read_parquet(path)
        assert table.equals(TABLE)
        assert note_of(table)["code"] == "new" and note_of(table)["id_columns"] == ["x"]
        assert note_of(table)["made"] == files.made


def test_a_damaged_fold_is_not_taken_over_and_the_last_one_is_kept(tmp_path: Path) -> None:
    out = {"oof": tmp_path / "oof.parquet"}
    for key in ("a", "b"):
        write_parquet(TABLE, out["oof"], {"fits": key})
        keep_fold(out, tmp_path / "kept", key)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["b"]
    kept = tmp_path / "kept" / "b" / "oof"
    kept.write_bytes(kept.read_bytes()[:-9])
    assert not take_fold(out, tmp_path / "kept", "b", {"oof": {}})
