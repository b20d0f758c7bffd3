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
