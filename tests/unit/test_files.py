from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blendmake.errors import BlendmakeError
from blendmake.files import (
    HOST,
    content_digest,
    note_of,
    read_note,
    read_parquet,
    replacing,
    write_parquet,
    write_text,
)
from blendmake.matrix import TableFile, writing_table
from helpers import files_below, flip_byte

TABLE = pa.table(
    {
        "id": [f"gene_{i}" for i in range(200)],
        "x": np.random.default_rng(0).random(200).astype(np.float32),
        "label": pa.array([None, 1, 0, 1] * 50, pa.int8()),
    }
)
SCHEMA = pa.schema([("id", pa.string()), ("x", pa.float32())])


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    path = tmp_path / "artifact.parquet"
    write_parquet(TABLE, path, {"n": 5, "by_rank": {10: "a", 9: "b"}})
    return path


@pytest.fixture
def table_file(tmp_path: Path) -> Path:
    path = tmp_path / "train.arrow"
    with writing_table(path, SCHEMA) as writer:
        for start in range(0, 200, 80):
            part = TABLE.slice(start, 80)
            writer.write([part[name].combine_chunks() for name in SCHEMA.names])
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


# Writing


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text("old", path)

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half of the n")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert path.read_text() == "old"
    assert files_below(tmp_path) == ["a.txt"]


def test_the_new_file_appears_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.txt"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "new"
    assert files_below(tmp_path) == ["folder/a.txt"]


def _write_large_parquet(path: Path) -> None:
    write_parquet(pa.table({"x": np.random.default_rng(0).random(50_000)}), path)


def _write_large_table_file(path: Path) -> None:
    values = pa.array(np.random.default_rng(0).random(50_000, np.float32))
    with writing_table(path, pa.schema([("x", pa.float32())])) as writer:
        writer.write([values])


@pytest.mark.parametrize(
    "write",
    [_write_large_parquet, _write_large_table_file, lambda path: write_text("x" * 200_000, path)],
    ids=["parquet", "table file", "text"],
)
def test_full_device(small_disk: Path, write: Any) -> None:
    path = small_disk / "a.file"
    path.write_text("old")
    with pytest.raises(BlendmakeError, match=r"a\.file cannot be written: no space left") as error:
        write(path)
    assert "run the same command again" in str(error.value)
    assert path.read_text() == "old"
    assert files_below(small_disk) == ["a.file"]


def test_read_only_file_system(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(BlendmakeError, match="read-only"):
        write_parquet(TABLE, small_disk / "results" / "a.parquet")


# Reading parquet


def test_parquet_round_trip(artifact: Path) -> None:
    table = read_parquet(artifact)
    assert table.equals(TABLE)
    assert note_of(table)["n"] == read_note(artifact)["n"] == 5
    assert note_of(table)["content"] == content_digest(TABLE)
    assert read_parquet(artifact, ["x"]).equals(TABLE.select(["x"]))


def test_missing_artifact_names_the_command(tmp_path: Path) -> None:
    path = tmp_path / "absent.parquet"
    for read in (read_parquet, read_note, TableFile):
        with pytest.raises(BlendmakeError, match=f"does not exist. Build it: snakemake {path}"):
            read(path)


def _data_page(path: Path) -> int:
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(1)
    start = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
    return int(start) + int(chunk.total_compressed_size) // 2


def _truncate(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


DAMAGES: dict[str, Any] = {
    "byte of a data page": lambda path: flip_byte(path, _data_page(path)),
    "byte of the footer": lambda path: flip_byte(path, path.stat().st_size - 7),
    "last byte": lambda path: flip_byte(path, path.stat().st_size - 1),
    "first half only": lambda path: _truncate(path, 0.5),
    "last bytes cut": lambda path: _truncate(path, 0.99),
    "empty": lambda path: path.write_bytes(b""),
    "not parquet": lambda path: path.write_text("id,x\n1,2\n"),
    "parquet of something else": lambda path: pq.write_table(TABLE, path),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_parquet_is_named_with_the_mend(artifact: Path, damage: str) -> None:
    DAMAGES[damage](artifact)
    with pytest.raises(BlendmakeError) as error:
        read_parquet(artifact)
    assert str(error.value).startswith(f"{artifact} is damaged (")
    assert str(error.value).endswith(f"to rebuild it: rm {artifact}")


def test_a_damaged_page_is_found_when_only_its_column_is_read(artifact: Path) -> None:
    flip_byte(artifact, _data_page(artifact))
    assert read_parquet(artifact, ["id"]).num_rows == 200
    with pytest.raises(BlendmakeError, match="is damaged"):
        read_parquet(artifact, ["x"])


def test_altered_note_is_found_by_reading_the_note_alone(artifact: Path) -> None:
    table = pq.read_table(artifact)
    note = {k: v.replace(b'"n": 5', b'"n": 4') for k, v in table.schema.metadata.items()}
    pq.write_table(table.replace_schema_metadata(note), artifact)
    with pytest.raises(BlendmakeError, match="its metadata is not what blendmake wrote"):
        read_note(artifact)


def test_no_flipped_byte_gives_other_content(tmp_path: Path) -> None:
    path, damaged = tmp_path / "good.parquet", tmp_path / "bad.parquet"
    write_parquet(TABLE.slice(0, 20), path, {"n": 5})
    good = read_parquet(path)
    for position in range(0, path.stat().st_size, 7):
        shutil.copy(path, damaged)
        flip_byte(damaged, position)
        try:
            table = read_parquet(damaged)
        except BlendmakeError:
            continue
        assert table.equals(good), f"byte {position}"
        assert note_of(table) == note_of(good), f"byte {position}"


# Table files


def test_table_file_round_trip(table_file: Path) -> None:
    file = TableFile(table_file)
    assert file.rows == 200
    assert file.names == ["id", "x"]
    assert file.table(["id"]).equals(TABLE.select(["id"]))
    np.testing.assert_array_equal(file.values("x"), TABLE["x"].to_numpy())


@pytest.mark.parametrize(
    ("column", "value"),
    [("x", TABLE["x"][130].as_py()), ("id", b"gene_130")],
    ids=["number", "text"],
)
def test_flipped_byte_is_found_when_its_column_is_read(
    table_file: Path, column: str, value: Any
) -> None:
    raw = value if isinstance(value, bytes) else np.float32(value).tobytes()
    flip_byte(table_file, table_file.read_bytes().index(raw))
    file = TableFile(table_file)
    sound = "id" if column == "x" else "x"
    assert file.table([sound]).num_rows == 200
    with pytest.raises(BlendmakeError, match=f"column '{column}' does not match") as error:
        file.table([column])
    assert f"rm {table_file}" in str(error.value)


@pytest.mark.parametrize("damage", ["first half only", "last bytes cut", "empty", "not parquet"])
def test_damaged_table_file_does_not_open(table_file: Path, damage: str) -> None:
    DAMAGES[damage](table_file)
    with pytest.raises(BlendmakeError, match=rf"train\.arrow is damaged .*rm {table_file}"):
        TableFile(table_file)


def test_no_flipped_byte_gives_another_table(table_file: Path, tmp_path: Path) -> None:
    def read(path: Path) -> tuple[pa.Table, bytes, int]:
        file = TableFile(path)
        return file.table(["id"]), file.values("x").tobytes(), file.rows

    good, damaged = read(table_file), tmp_path / "bad.arrow"
    size = table_file.stat().st_size
    # The structure rather than the data: around the schema, and the footer.
    for position in [*range(0, 600, 11), *range(size - 1100, size, 5)]:
        shutil.copy(table_file, damaged)
        flip_byte(damaged, position)
        try:
            assert read(damaged) == good, f"byte {position}"
        except BlendmakeError:
            continue


@pytest.mark.parametrize("kept", [[0, 1, 3], [0, 1, 2], [1, 0, 2, 3], [0, 0, 2, 3], [3], []])
def test_batches_missing_or_out_of_order_are_found(table_file: Path, kept: list[int]) -> None:
    with pa.OSFile(str(table_file)) as source:
        reader = pa.ipc.open_file(source)
        batches = [reader.get_batch_with_custom_metadata(i) for i in range(4)]
    with pa.ipc.new_file(str(table_file), SCHEMA) as writer:
        for i in kept:
            writer.write_batch(batches[i].batch, custom_metadata=batches[i].custom_metadata)
    with pytest.raises(BlendmakeError, match="is damaged"):
        TableFile(table_file).values("x")


def test_slices_are_written_as_they_are_read(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.string()), ("known", pa.bool_())])
    whole = pa.table({"id": TABLE["id"], "known": pa.array([True, None, False, True] * 50)})
    with writing_table(tmp_path / "a.arrow", schema) as writer:
        for start in range(0, 200, 33):
            writer.write([column.chunk(0) for column in whole.slice(start, 33).columns])
    assert TableFile(tmp_path / "a.arrow").table(["id", "known"]).equals(whole)


def test_digest_of_a_table_file_tells_contents_apart(tmp_path: Path) -> None:
    def digest(values: list[float], name: str = "x") -> str:
        with writing_table(tmp_path / "a.arrow", pa.schema([(name, pa.float32())])) as writer:
            writer.write([pa.array(values, pa.float32())])
        return writer.digest

    same = digest([1, 2, float("nan")])
    assert digest([1, 2, float("nan")]) == same
    others = [digest([1, 2, 3]), digest([2, 1, float("nan")]), digest([1, 2, float("nan")], "y")]
    assert len({same, *others}) == 4


# Content digest

SAMPLES = {
    "int8": pa.array([1, None, 0, 3], pa.int8()),
    "int64": pa.array([1, 2, 3, 4]),
    "uint64": pa.array([2**64 - 1, None, 0, 1], pa.uint64()),
    "float32": pa.array([0.5, None, float("nan"), -0.0], pa.float32()),
    "float64": pa.array([0.1, 0.2, 0.3, None]),
    "bool": pa.array([True, None, False, True]),
    "text": pa.array(["a", None, "", "éß"]),
    "large text": pa.array(["a", None, "", "b"], pa.large_string()),
    "dictionary": pa.array(["b", None, "a", "b"]).dictionary_encode(),
    "dictionary of numbers": pa.array([7, None, 5, 7]).dictionary_encode(),
    "date": pa.array([0, 1, None, 3], pa.date32()),
    "timestamp": pa.array([0, 1, None, 3], pa.timestamp("us", "UTC")),
    "list": pa.array([["a"], [], None, ["b", "c"]]),
    "nulls": pa.nulls(4),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_digest_is_stable_over_chunks_slices_and_parquet(tmp_path: Path, name: str) -> None:
    column = SAMPLES[name]
    digest = content_digest(pa.table({"x": column}))
    chunked = pa.chunked_array([column.slice(0, 1), column.slice(1, 2), column.slice(3)])
    assert content_digest(pa.table({"x": chunked})) == digest
    padded = pa.concat_arrays([column, column]).slice(4)
    assert content_digest(pa.table({"x": padded})) == digest
    write_parquet(pa.table({"x": chunked}), tmp_path / "a.parquet")
    assert content_digest(read_parquet(tmp_path / "a.parquet")) == digest


def test_digest_of_dictionaries_made_differently() -> None:
    parts = [pa.array(["a", "b"]), pa.array(["b", "c"])]
    apart = pa.chunked_array([part.dictionary_encode() for part in parts])
    at_once = pa.concat_arrays(parts).dictionary_encode()
    assert content_digest(pa.table({"x": apart})) == content_digest(pa.table({"x": at_once}))


def test_digest_ignores_what_lies_under_a_null() -> None:
    mask = np.array([False, True])
    one, other = (pa.array(np.array([1.0, x]), mask=mask) for x in (2.0, 3.0))
    assert content_digest(pa.table({"x": one})) == content_digest(pa.table({"x": other}))


def test_digest_differs_on_any_change() -> None:
    base: dict[str, Any] = {"x": pa.array([1.0, 2.0, None]), "y": pa.array(["ab", "c", ""])}
    tables = [
        base,
        {**base, "x": pa.array([1.0, 2.5, None])},
        {**base, "x": pa.array([2.0, 1.0, None])},
        {**base, "x": pa.array([1.0, None, 2.0])},
        {**base, "x": pa.array([1.0, 2.0, float("nan")])},
        {**base, "x": pa.array([1.0, 2.0, None], pa.float32())},
        {**base, "y": pa.array(["a", "bc", ""])},
        {**base, "y": pa.array(["ab", "c", None])},
        {"y": base["y"], "x": base["x"]},
        {"z": base["x"], "y": base["y"]},
        {"x": base["x"]},
        {name: column.slice(0, 2) for name, column in base.items()},
    ]
    assert len({content_digest(pa.table(columns)) for columns in tables}) == len(tables)


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = tmp_path / f".a.parquet.{HOST}-{gone.pid}.tmp"
    alive = tmp_path / f".a.parquet.{HOST}-{os.getppid()}.tmp"
    elsewhere = tmp_path / f".a.parquet.another-host-{gone.pid}.tmp"
    for one in (left, alive, elsewhere):
        one.write_bytes(b"half")
    write_text("whole", path)
    assert not left.exists()
    assert alive.exists()
    assert elsewhere.exists()
