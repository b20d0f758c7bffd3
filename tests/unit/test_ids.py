"""Ids: what is written comes back, one type over all files, and no name that cannot be an id's."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blendmake.errors import BlendmakeError
from blendmake.files import read_note
from blendmake.folds.file import read_folds, read_inner, write_folds, write_inner
from blendmake.labels import read_groups
from blendmake.predictions import read_predictions, write_predictions
from blendmake.submission import write_submission
from blendmake.tables.ids import id_keys, order_by
from blendmake.tables.user_files import UserTable
from blendmake.tables.user_labels import read_targets, write_groups
from blendmake.tasks.base import targets_of_note
from helpers import read_user_tables, write_user_file

# Texts as a CSV file may hold them; an empty field is a missing id.
TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r\n"), min_size=1)
LIKE_NUMBERS = st.from_regex(r"\A[+-]?0{0,2}[0-9]{1,20}(\.[0-9]{1,3})?([eE][0-9])?\Z")
WORDS = st.sampled_from(["NA", "null", "nan", "true", "1e5", "2020-01-31", "10:20", "inf", "-0"])
IDS = st.lists(TEXTS | LIKE_NUMBERS | WORDS, min_size=4, max_size=12, unique=True)


def write_csv(path: Path, columns: Mapping[str, Sequence[Any]]) -> str:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


def read_csv(path: Path) -> dict[str, list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return {name: [row[i] for row in rows] for i, name in enumerate(head)}


def submitted(
    folder: Path, ids: pa.Table, id_columns: Sequence[str], sample: str | None = None
) -> dict[str, list[str]]:
    """What is handed in of predictions 0, 1, 2, … for `ids`, as the CSV file says it."""
    values = np.arange(ids.num_rows, dtype=np.float32)[:, None]
    write_predictions(folder / "test.parquet", ids, ["y"], values, {})
    assert read_predictions(folder / "test.parquet", ids).ids.equals(ids)
    out = folder / "submission.parquet"
    write_submission(
        folder / "test.parquet",
        sample,
        out,
        id_columns=id_columns,
        targets=targets_of_note(["y"], {}),
        rename=None,
        note={},
        out_csv=out.with_suffix(".csv"),
    )
    return read_csv(out.with_suffix(".csv"))


@settings(deadline=None, max_examples=25)
@given(ids=IDS, data=st.data())
def test_ids_of_csv_files_come_back_as_they_were_written(ids: list[str], data: Any) -> None:
    cut = len(ids) // 2
    train, test = ids[:cut], ids[cut:]
    mixed = data.draw(st.permutations(test))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        read = read_user_tables(
            folder,
            {"main": write_csv(folder / "train.csv", {"id": train, "x": range(cut)})},
            {"main": write_csv(folder / "test.csv", {"id": test, "x": range(len(test))})},
        )
        labels = {"id": train[::-1], "y": [0, 1, *[1] * (cut - 2)]}
        targets = read_targets(
            write_csv(folder / "y.csv", labels), None, read.train.table(["id"]), ["id"]
        )
        assert targets["y"].to_pylist() == labels["y"][::-1]
        numbers = [str(i) for i in range(len(test))]
        found = submitted(folder, read.test.table(["id"]), ["id"])
        assert found == {"id": test, "y": numbers}
        sample = write_csv(folder / "sample.csv", {"id": mixed, "y": [0] * len(test)})
        found = submitted(folder, read.test.table(["id"]), ["id"], sample)
        assert found == {"id": mixed, "y": [str(test.index(one)) for one in mixed]}


@settings(deadline=None, max_examples=25)
@given(rows=st.lists(st.tuples(*[st.text(max_size=3)] * 2), unique=True, min_size=2))
def test_ids_of_several_columns_are_never_mistaken(rows: list[tuple[str, str]]) -> None:
    first, second = zip(*rows, strict=True)
    keys = id_keys(pa.table({"a": list(first), "b": list(second)}))
    assert len(set(keys.to_pylist())) == len(rows)


def test_signs_that_join_keys_may_be_in_ids() -> None:
    keys = id_keys(pa.table({"a": ["x\x1f", "x", "x\x1e+", "x"], "b": ["", "\x1f", "", "+"]}))
    assert len(set(keys.to_pylist())) == 4


BERLIN = ZoneInfo("Europe/Berlin")
TYPED = {
    "int8": pa.array([1, 2, 3, 4], pa.int8()),
    "beyond 2^63": pa.array([2**63, 2**63 + 1, 2**64 - 1, 5], pa.uint64()),
    "floats": pa.array([1.5, 2.0, 0.1, 1e300]),
    "whole floats": pa.array([1.0, 2.0, 3.0, 4.0]),
    "decimals": pa.array([Decimal("1.10"), Decimal("1.20"), Decimal("2.00"), Decimal("0.01")]),
    "dates": pa.array([date(2020, 1, d) for d in (1, 2, 3, 4)]),
    "times": pa.array([time(1, 2, s) for s in (1, 2, 3, 4)], pa.time32("s")),
    "nanoseconds": pa.array([1, 2, 3, 10**18], pa.timestamp("ns")),
    "seconds in a zone": pa.array([datetime(2020, 1, d, tzinfo=BERLIN) for d in (1, 2, 3, 4)]).cast(
        pa.timestamp("s", "Europe/Berlin")
    ),
    "durations": pa.array([1, 2, 3, 4], pa.duration("s")),
    "bytes": pa.array([b"\xff\x00", b"\xfe", b"a", b"b"]),
    "bytes of one size": pa.array([b"\xff\x00", b"\xfe\x01", b"ab", b"cd"], pa.binary(2)),
    "levels": pa.array(["a", "b", "07", "7"]).dictionary_encode(),
    "text like numbers": pa.array(["1", "2", "3", "4"]),
    "truth": pa.array([True, False, None, None]),
}


@pytest.mark.parametrize("name", [name for name in TYPED if name != "truth"])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_typed_ids_stay(tmp_path: Path, name: str, suffix: str) -> None:
    ids = TYPED[name]
    parts = {"train": ids.slice(0, 2), "test": ids.slice(2)}
    files = {
        part: write_user_file(
            tmp_path / f"{part}.{suffix}", pa.table({"id": some, "k": [1, 2], "x": [1.0, 2.0]})
        )
        for part, some in parts.items()
    }
    for columns in (["id"], ["k", "id"]):
        read = read_user_tables(
            tmp_path, {"main": files["train"]}, {"main": files["test"]}, ids=columns
        )
        found = read.test.table(columns)
        assert found["id"].to_pylist() == parts["test"].to_pylist()
        write_predictions(tmp_path / "p.parquet", found, ["y"], np.zeros((2, 1), np.float32), {})
        assert read_predictions(tmp_path / "p.parquet", found).ids.equals(found)
        back = pa.table({name: found[name].take(pa.array([1, 0])) for name in columns})
        turned = UserTable(write_user_file(tmp_path / f"turned.{suffix}", back), columns)
        order = order_by(found, turned, columns)
        assert order is not None and order.tolist() == [1, 0]


def order_of(folder: Path, ids: Any, suffix: str, theirs: Any) -> Any:
    """Where the ids of a first file are in another, for both are read as the workflow does."""
    path = write_user_file(folder / "t.parquet", pa.table({"id": ids, "x": [1.0] * len(ids)}))
    read = read_user_tables(folder, {"main": path}).train.table(["id"])
    if suffix == "csv":
        other = write_csv(folder / "o.csv", {"id": theirs, "z": [0] * len(theirs)})
    else:
        other = write_user_file(folder / f"o.{suffix}", pa.table({"id": theirs}))
    order = order_by(read, UserTable(other, ["id"]), ["id"])
    return list(range(len(ids))) if order is None else order.tolist()


INSTANTS = [datetime(2020, 1, d, 12) for d in (1, 2)]
ALIKE: dict[str, tuple[Any, str, Any]] = {
    "numbers and text": ([7, 1000], "csv", ["1000", "7"]),
    "numbers and text of parquet": ([7, 1000], "parquet", ["1000", "7"]),
    "text and numbers": (["1000", "7"], "parquet", [7, 1000]),
    "numbers and floats made by a missing value": ([7, 1000], "parquet", [1000.0, 7.0]),
    "the same in a CSV file": ([7, 1000], "csv", ["1000.0", "7.0"]),
    "text and what floats made of it": (["7", "1000"], "csv", ["1000.0", "7.0"]),
    "floats and numbers": ([7.0, 1000.5], "parquet", [1000.5, 7.0]),
    "floats and text": ([1.5, 2.25], "csv", ["2.250", "1.50"]),
    "beyond 2^63": (pa.array([2**64 - 1, 2**63], pa.uint64()), "csv", [2**63, 2**64 - 1]),
    "dates": ([date(2020, 1, 31), date(2020, 2, 1)], "csv", ["2020-02-01", "2020-01-31"]),
    "times of two units": (
        pa.array(INSTANTS, pa.timestamp("us")),
        "parquet",
        pa.array(INSTANTS[::-1], pa.timestamp("ns")),
    ),
    "times as pandas writes them": (pa.array(INSTANTS, pa.timestamp("us")), "csv", INSTANTS[::-1]),
    "decimals": (
        [Decimal("1.10"), Decimal("2.25")],
        "parquet",
        [Decimal("2.250"), Decimal("1.100")],
    ),
    "levels": (["a", "b"], "parquet", pa.array(["b", "a"]).dictionary_encode()),
    "bytes that are text": (["a", "b"], "parquet", [b"b", b"a"]),
}


@pytest.mark.parametrize("name", ALIKE)
def test_ids_are_matched_by_value(tmp_path: Path, name: str) -> None:
    assert order_of(tmp_path, *ALIKE[name]) == [1, 0]


APART: dict[str, tuple[Any, str, Any, str]] = {
    "padded": ([7, 8], "csv", ["007", "008"], r"o\.csv: .*string \('007'\).*int64 \('7'\)"),
    "padded text": (["7", "8"], "csv", ["07", "8"], "written alike.*'7' elsewhere is '07' here"),
    "spaces": (["a", "b"], "csv", ["a ", "b"], "written alike.*'a' elsewhere is 'a ' here"),
    "signs": ([7, 8], "csv", ["+7", "8"], r"\('\+7'\)"),
    "one value written twice": ([7, 8], "csv", ["7", "7.0"], "duplicate ids in id: '7'"),
    "a fraction": ([7, 8], "parquet", [7.0, 8.5], r"double \('7.0'\).*int64"),
    "what floats have lost": ([2**53, 2**53 + 1], "parquet", [2.0**53, 1.0], "double.*int64"),
    "no numbers": ([7, 8], "csv", ["seven", "8"], r"\('seven'\)"),
    "bytes": (["a", "b"], "parquet", [b"\xff", b"b"], "binary.*string"),
    "a zone and none": (
        pa.array(INSTANTS, pa.timestamp("us")),
        "parquet",
        pa.array(INSTANTS, pa.timestamp("us", "UTC")),
        r"timestamp\[us, tz=UTC\].*timestamp\[us\]",
    ),
}


@pytest.mark.parametrize("name", APART)
def test_ids_that_may_be_others_are_refused(tmp_path: Path, name: str) -> None:
    *case, told = APART[name]
    with pytest.raises(BlendmakeError, match=told):
        order_of(tmp_path, *case)


@pytest.mark.parametrize(
    ("train", "test", "kind"),
    [
        (["1", "2"], ["3", "4"], pa.int64()),
        (["0001", "0002"], ["1003", "1004"], pa.string()),
        (["1", "2"], ["x3", "4"], pa.string()),
        (["1", "2"], ["3.0", "4.0"], pa.string()),
        (["1", "2"], ["99999999999999999999", "4"], pa.string()),
        (["2020-01-01", "2020-01-02"], ["3", "4"], pa.string()),
        (["1.10", "1.1"], ["1.20", "1.2"], pa.string()),
        (["true", "false"], ["True", "False"], pa.string()),
    ],
)
def test_csv_ids_have_one_type_in_train_and_test(
    tmp_path: Path, train: list[str], test: list[str], kind: pa.DataType
) -> None:
    read = read_user_tables(
        tmp_path,
        {"main": write_csv(tmp_path / "train.csv", {"id": train, "x": [1, 2]})},
        {"main": write_csv(tmp_path / "test.csv", {"id": test, "x": [1, 2]})},
    )
    for table, written in ((read.train, train), (read.test, test)):
        found = table.table(["id"])["id"]
        assert found.type == kind
        assert found.cast(pa.string()).to_pylist() == written


def test_numbers_of_one_file_and_text_of_the_other_become_text(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [
        write_user_file(tmp_path / "train.parquet", {"id": [1, 2], "x": [1, 2]}),
        write_csv(tmp_path / "test.csv", {"id": ["A1", "2"], "x": [1, 2]}),
    ]
    with pytest.raises(BlendmakeError, match=r"'2'.*in train and in test"):
        read_user_tables(tmp_path, {"main": files[0]}, {"main": files[1]})
    write_csv(tmp_path / "test.csv", {"id": ["A1", "02"], "x": [1, 2]})
    read = read_user_tables(tmp_path, {"main": files[0]}, {"main": files[1]})
    assert read.train.table(["id"])["id"].to_pylist() == ["1", "2"]
    assert read.test.table(["id"])["id"].to_pylist() == ["A1", "02"]


def test_dates_of_one_file_and_text_of_the_other_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    days = [date(2020, 1, 30), date(2020, 1, 31)]
    main = {"main": write_user_file(tmp_path / "train.parquet", {"id": days, "x": [1, 2]})}
    test = {"main": write_csv(tmp_path / "test.csv", {"id": ["x1", "x2"], "x": [1, 2]})}
    read = read_user_tables(tmp_path, main, test)
    assert read.train.table(["id"])["id"].to_pylist() == ["2020-01-30", "2020-01-31"]
    assert "test.csv: ids in column 'id' are string ('x1'), in train date32" in caplog.text
    caplog.clear()
    read_user_tables(tmp_path, main)
    assert "taken as text" not in caplog.text


def test_ids_of_test_may_begin_again(tmp_path: Path) -> None:
    files = [
        write_user_file(tmp_path / f"{part}.parquet", {"id": [0, 1, 2], "x": x})
        for part, x in (("train", [1.0, 2.0, 3.0]), ("test", [4.0, 5.0, 6.0]))
    ]
    with pytest.raises(BlendmakeError, match=r"data\.ids: \{distinct: per_table\}"):
        read_user_tables(tmp_path, {"main": files[0]}, {"main": files[1]})
    read = read_user_tables(tmp_path, {"main": files[0]}, {"main": files[1]}, distinct="per_table")
    assert read.decoded("x", "test") == [4, 5, 6]
    sample = write_csv(tmp_path / "sample.csv", {"id": [2, 0, 1], "y": [0, 0, 0]})
    found = submitted(tmp_path, read.test.table(["id"]), ["id"], sample)
    assert found == {"id": ["2", "0", "1"], "y": ["2", "0", "1"]}


# Names


@pytest.mark.parametrize("name", ["fold", "group", "row", "fold0", "target", "y_", "__index__"])
def test_an_id_may_be_called_like_columns_of_ours(tmp_path: Path, name: str) -> None:
    ids = pa.table({name: ["a", "b", "c", "d"]})
    fold = np.array([0, 1, 0, 1], np.int32)
    write_folds(tmp_path / "folds.parquet", ids, fold, {})
    assert read_folds(tmp_path / "folds.parquet").fold.tolist() == fold.tolist()
    assert read_note(tmp_path / "folds.parquet")["id_columns"] == [name]
    write_groups(tmp_path / "groups.parquet", ids, pa.array([3, 1, 3, 2]), {})
    groups = read_groups(tmp_path / "groups.parquet")
    assert groups is not None and groups.tolist() == [3, 1, 3, 2]
    inner = [
        (np.array([0, 1]), np.array([True, False])),
        (np.array([2, 3]), np.array([False, True])),
    ]
    write_inner(tmp_path / "inner.parquet", ids, inner, {})
    assert read_inner(tmp_path / "inner.parquet", 0).tolist() == [True, False, False, False]
    assert read_inner(tmp_path / "inner.parquet", 1).tolist() == [False, False, False, True]
    for part in ("folds", "groups", "inner"):
        table = pq.read_table(tmp_path / f"{part}.parquet")
        assert len(set(table.column_names)) == table.num_columns


def test_a_feature_may_be_called_like_the_position(tmp_path: Path) -> None:
    path = write_user_file(tmp_path / "train.parquet", {"row": [9.0, 8.0], "row_": [1.0, 2.0]})
    read = read_user_tables(tmp_path, {"main": path}, ids=())
    assert read.decoded("row") == [9, 8]
    assert read_note(read.columns_path)["id_columns"] == ["row__"]
    assert read.train.table(["row__"])["row__"].to_pylist() == [0, 1]


def test_a_target_may_be_called_like_the_position(tmp_path: Path) -> None:
    path = write_user_file(tmp_path / "train.parquet", {"x": [9.0, 8.0]})
    read = read_user_tables(tmp_path, {"main": path}, ids=(), taken=["row"])
    ids = read.train.table(["row_"])
    labels = write_user_file(tmp_path / "y.parquet", {"row": [0, 1]})
    assert read_targets(labels, ["row"], ids, []).column_names == ["row_", "row"]
    found = submitted(tmp_path, ids, [])
    assert list(found) == ["row_", "y"]


def test_a_target_called_like_the_ids_is_named(tmp_path: Path) -> None:
    labels = write_user_file(tmp_path / "y.parquet", {"row": [0, 1], "id": [0, 1]})
    with pytest.raises(BlendmakeError, match=r"y\.parquet: a target may not be called 'row'"):
        read_targets(labels, ["row"], pa.table({"row": [0, 1]}), [])
    with pytest.raises(BlendmakeError, match="called 'id', like an id column"):
        read_targets(labels, ["id"], pa.table({"id": [0, 1]}), ["id"])


def test_an_id_called_row_is_not_taken_for_the_position(tmp_path: Path) -> None:
    """Files without the id are refused, not matched by the order of their rows."""
    ids = pa.table({"row": [5, 6]})
    sample = write_user_file(tmp_path / "sample.parquet", {"y": [0.0, 0.0]})
    with pytest.raises(BlendmakeError, match="id column 'row' is not among"):
        submitted(tmp_path, ids, ["row"], sample)
    assert submitted(tmp_path, ids, [], sample) == {"y": ["0", "1"]}
