"""A user's file as it is opened: what of it is data, and how long that takes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from blendmake.errors import BlendmakeError
from blendmake.tables.facts import facts_of_files
from blendmake.tables.user_files import UserTable
from blendmake.tables.user_labels import read_targets
from helpers import enter_folder, read_user_tables
from plan import Plan

REPO = Path(__file__).resolve().parents[2]

# What pandas adds is no feature


def indexed() -> pd.DataFrame:
    """Rows sorted by label, as they are after a concatenation of the two classes."""
    return pd.DataFrame({"id": range(10), "x": np.ones(10), "y": [0] * 5 + [1] * 5})


def shuffled() -> pd.DataFrame:
    return indexed().take([*range(0, 10, 2), *range(1, 10, 2)])


def _parquet(frame: pd.DataFrame, path: Path) -> str:
    frame.to_parquet(path.with_suffix(".parquet"))
    return str(path.with_suffix(".parquet"))


def _feather(frame: pd.DataFrame, path: Path) -> str:
    table = pa.Table.from_pandas(frame)
    with pa.ipc.new_file(str(path.with_suffix(".feather")), table.schema) as writer:
        writer.write_table(table)
    return str(path.with_suffix(".feather"))


def _csv(frame: pd.DataFrame, path: Path) -> str:
    frame.to_csv(path.with_suffix(".csv"))
    return str(path.with_suffix(".csv"))


def _saved_anew(frame: pd.DataFrame, path: Path) -> str:
    """A CSV with its index, read and saved as parquet by somebody."""
    return _parquet(pd.read_csv(_csv(frame, path)), path)


def _without_metadata(frame: pd.DataFrame, path: Path) -> str:
    table = pa.Table.from_pandas(frame).replace_schema_metadata(None)
    pq.write_table(table, path.with_suffix(".parquet"))
    return str(path.with_suffix(".parquet"))


INDEXED: dict[str, tuple[Any, pd.DataFrame]] = {
    "filtered rows": (_parquet, shuffled()),
    "a named index": (_parquet, indexed().set_index(pd.Index([*range(9), 12], name="order"))),
    "an index of two levels": (
        _parquet,
        indexed().set_index(pd.MultiIndex.from_arrays([list("abcdefghij"), [5] * 10])),
    ),
    "feather": (_feather, shuffled()),
    "csv": (_csv, indexed()),
    "csv saved anew as parquet": (_saved_anew, indexed()),
    "without pandas' metadata": (_without_metadata, shuffled()),
}


@pytest.mark.parametrize("name", INDEXED)
def test_an_index_of_pandas_is_no_feature_and_no_target(tmp_path: Path, name: str) -> None:
    write, frame = INDEXED[name]
    train = write(frame, tmp_path / "train")
    read = read_user_tables(tmp_path, {"main": train}, not_features=["y"])
    assert list(read.columns) == ["x"]
    targets = read_targets(
        write(frame.drop(columns="x"), tmp_path / "y"), None, read.train.table(["id"]), ["id"]
    )
    assert targets.column_names == ["id", "y"]
    assert facts_of_files([train], ["id"], None, ["y"]).columns == 1
    assert "no feature" in UserTable(train).notes[0]


def test_an_index_may_be_the_id(tmp_path: Path) -> None:
    train = _parquet(shuffled().drop(columns="id"), tmp_path / "train")
    read = read_user_tables(
        tmp_path, {"main": train}, ids=["__index_level_0__"], not_features=["y"]
    )
    assert read.train.table(["__index_level_0__"])[0].to_pylist() == list(shuffled()["id"])
    train = _csv(indexed().drop(columns="id"), tmp_path / "train")
    read = read_user_tables(tmp_path, {"main": train}, ids=["Unnamed: 0"], not_features=["y"])
    assert list(read.columns) == ["x"]


def test_a_wrong_target_is_told_with_the_nearest_name(tmp_path: Path) -> None:
    path = _csv(indexed().rename(columns={"y": "income"}), tmp_path / "train")
    table = UserTable(path)
    with pytest.raises(BlendmakeError, match=r"'incom' is not among its.* Did you mean 'income'\?"):
        table.require(["incom"], "the target column")


# Wide files


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_reading_is_linear_in_columns(tmp_path: Path, suffix: str) -> None:
    def seconds(columns: int) -> float:
        values = np.random.default_rng(0).normal(size=(columns, 20))
        table = pa.table({"y": [0, 1] * 10, **{f"x{i}": values[i] for i in range(columns)}})
        path = tmp_path / f"{columns}.{suffix}"
        (pq.write_table if suffix == "parquet" else arrow_csv.write_csv)(table, path)
        begin = time.process_time()
        read_user_tables(
            tmp_path, {"main": str(path)}, {"main": str(path)}, ids=(), not_features=["y"]
        )
        return time.process_time() - begin

    seconds(10)
    # Eight times as many columns: eight times as long, with room for a busy machine; 64 if quadratic.
    assert seconds(4000) < 24 * max(seconds(500), 0.05)


# Files as the UCI archive has them


ADULT_TRAIN = """39, State-gov, 2174, <=50K
50, ?, 0, <=50K
38, Private, 0, >50K
28, Private, 0, <=50K

"""
ADULT_TEST = """|1x3 Cross validator
25, Private, 0, <=50K.
38, Local-gov, 7688, >50K.

"""


def test_raw_files_without_header_and_id(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = {"train": tmp_path / "adult.data", "test": tmp_path / "adult.test"}
    files["train"].write_text(ADULT_TRAIN)
    files["test"].write_text(ADULT_TEST)
    train, test = (str(path) for path in files.values())
    csv = {"header": ["age", "workclass", "gain", "income"]}
    with caplog.at_level("INFO"):
        read = read_user_tables(
            tmp_path,
            {"main": train},
            {"main": test},
            ids=(),
            csv_format=csv,
            not_features=["income"],
        )
    assert read.kinds() == {"age": "number", "workclass": "category", "gain": "number"}
    assert read.decoded("workclass") == ["State-gov", "?", "Private", "Private"]
    assert read.decoded("age", "test") == [25, 38]
    assert caplog.text.count("by position: data.id is not given") == 1
    assert "(column 'row': 0 to 3 in train, 4 to 5 in test)" in caplog.text
    assert "adult.test is read so: 1 line above the header left out, spaces around" in caplog.text
    ids = {part: getattr(read, part).table(["row"]) for part in files}
    given: dict[str, Any] = {"csv_format": csv, "one_class_allowed": True}
    labels = read_targets(train, ["income"], ids["train"], (), positive=[">50K"], **given)
    assert labels["income"].to_pylist() == [0, 0, 1, 0]
    with pytest.raises(
        BlendmakeError, match=r"adult\.test: target 'income' holds '<=50K\.', '>50K\.'"
    ):
        read_targets(test, ["income"], ids["test"], (), positive=[">50K"], **given)
    both = [">50K", ">50K."]
    labels = read_targets(test, ["income"], ids["test"], (), positive=both, **given)
    assert labels.to_pydict() == {"row": [4, 5], "income": [0, 1]}


# A folder of parquet files is one table


def part(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def test_a_folder_is_one_table_in_the_order_of_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("blendmake.tables.user_files.BATCH_ROWS", 2)
    folder = tmp_path / "train.parquet"
    part(folder / "part-1.parquet", x=[3, 4, 5], c=pa.array(["b", None, "b"]).dictionary_encode())
    part(folder / "part-0.parquet", c=pa.nulls(2), x=[1, 2])
    part(
        folder / "part-2.parquet",
        x=pa.array([], pa.int64()),
        c=pa.array([], pa.string()).dictionary_encode(),
    )
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").touch()
    found = UserTable(folder)
    assert found.rows == 5
    assert content(found) == {"c": [None, None, "b", None, "b"], "x": [1, 2, 3, 4, 5]}
    batches = list(found.batches(["x"]))
    assert [batch.num_rows for batch in batches] == [2, 2, 1]
    read = read_user_tables(tmp_path, {"main": str(folder)}, ids=())
    assert read.decoded("x") == [1, 2, 3, 4, 5]
    assert read.decoded("c") == [None, None, "b", None, "b"]


def content(table: UserTable) -> dict[str, list[Any]]:
    return table.read(table.names).to_pydict()


def test_names_of_folders_are_columns(tmp_path: Path) -> None:
    for year, city, x in ((2020, "K%C3%B6ln", 1), (2021, "__HIVE_DEFAULT_PARTITION__", 2)):
        part(tmp_path / "t" / f"year={year}" / f"city={city}" / "a.parquet", x=[x])
    found = UserTable(tmp_path / "t")
    assert content(found) == {"x": [1, 2], "year": [2020, 2021], "city": ["Köln", None]}
    assert found.schema.field("year").type == pa.int64()


def test_an_index_of_some_files_of_a_folder(tmp_path: Path) -> None:
    shuffled().to_parquet(_made(tmp_path / "t" / "a.parquet"))
    indexed().to_parquet(tmp_path / "t" / "b.parquet")
    assert UserTable(tmp_path / "t").names == ["id", "x", "y"]


def _made(path: Path) -> Path:
    path.parent.mkdir()
    return path


FOLDERS: dict[str, tuple[dict[str, dict[str, Any]], str]] = {
    "another type": (
        {"b.parquet": {"x": ["1"]}},
        r"b\.parquet: column 'x' is string, in .*a\.parquet int64",
    ),
    "a column less": (
        {"b.parquet": {"y": [1]}},
        r"b\.parquet lacks column 'x', unlike .*a\.parquet",
    ),
    "a column more": ({"b.parquet": {"x": [1], "y": [1]}}, r"b\.parquet has column 'y'"),
    "other folders": ({"k=1/b.parquet": {"x": [1]}}, r"b\.parquet does not stand in folders as"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_files_of_a_folder_that_do_not_fit(tmp_path: Path, name: str) -> None:
    parts, says = FOLDERS[name]
    part(tmp_path / "t" / "a.parquet", x=[1])
    for file, columns in parts.items():
        part(tmp_path / "t" / file, **columns)
    with pytest.raises(BlendmakeError, match=says):
        UserTable(tmp_path / "t")


def test_folders_that_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    with pytest.raises(BlendmakeError, match="t is a folder and is empty"):
        UserTable(tmp_path / "t")
    (tmp_path / "t" / "a.csv").write_text("x\n1\n")
    with pytest.raises(BlendmakeError, match=r"t is a folder and holds 'a\.csv'"):
        UserTable(tmp_path / "t")
    (tmp_path / "t" / "a.csv").rename(tmp_path / "t" / "a.parquet")
    with pytest.raises(BlendmakeError, match=r"a\.parquet cannot be read"):
        UserTable(tmp_path / "t")


def test_thousands_of_targets_are_planned_and_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter_folder(tmp_path, monkeypatch)

    def seconds(count: int) -> float:
        names = [f"t{i}" for i in range(count)]
        labels = dict.fromkeys(names, np.arange(20) % 2)
        table = pa.table({"id": np.arange(20), "x": np.arange(20.0), **labels})
        pq.write_table(table, f"{count}.parquet")
        data = {"train": f"{count}.parquet", "id": "id", "targets": names}
        sources = {name: {"family": name} for name in ("linear", "lightgbm")}
        blends = {"champion": {"method": "greedy", "sources": "all"}}
        config = {"problem": "p", "data": data, "sources": sources, "blends": blends}
        begin = time.process_time()
        plan = Plan(config, str(REPO))
        assert plan.slices["targets"]["columns"] == names and plan.everything
        read_targets(f"{count}.parquet", names, table.select(["id"]), ["id"])
        return time.process_time() - begin

    seconds(10)
    assert seconds(2000) < 24 * max(seconds(250), 0.05)
