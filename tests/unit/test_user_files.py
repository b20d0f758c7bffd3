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
from helpers import read_user_tables

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
