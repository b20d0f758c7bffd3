from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blendmake.errors import BlendmakeError
from blendmake.files import read_note, read_parquet, write_parquet
from blendmake.matrix import TableFile
from blendmake.tables.naming import POSITION
from blendmake.tables.user_files import UserTable
from blendmake.tables.user_labels import group_codes, read_column, read_targets
from helpers import WRITERS, ReadTables, files_below, read_user_tables, write_user_file

BATCH = 7

MIXED = {
    "id": ["a", "b", "c", "d"],
    "whole": pa.array([1, None, 3, 4], pa.int64()),
    "number": pa.array([0.5, -1.25, None, 2.0]),
    "city": pa.array(["Bonn", "Aachen", None, "Bonn"]),
    "flag": pa.array([True, False, None, True]),
}
DECODED = {
    "whole": [1, None, 3, 4],
    "number": [0.5, -1.25, None, 2.0],
    "city": ["Bonn", "Aachen", None, "Bonn"],
    "flag": [1, 0, None, 1],
}


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendmake.tables.tables.BATCH_ROWS", BATCH)
    monkeypatch.setattr("blendmake.tables.user_files.BATCH_ROWS", BATCH)


def _take(columns: Mapping[str, Any], rows: Any) -> pa.Table:
    return pa.table(dict(columns)).take(pa.array(rows))


# What is read


@pytest.mark.parametrize("suffix", WRITERS)
def test_formats_give_the_same_table(tmp_path: Path, suffix: str) -> None:
    read = read_user_tables(tmp_path, {"main": write_user_file(tmp_path / f"t.{suffix}", MIXED)})
    assert read.train.table(["id"]).to_pydict() == {"id": MIXED["id"]}
    assert {name: read.decoded(name) for name in read.columns} == DECODED
    assert read.kinds() == {
        "whole": "number",
        "number": "number",
        "city": "category",
        "flag": "number",
    }


@pytest.mark.parametrize("suffix", ["parquet", "csv", "arrow"])
def test_files_are_joined_by_id(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    rows = 40
    main = {"id": np.arange(rows), "x": np.arange(rows) / 4}
    extra = {"id": np.arange(rows), "y": np.arange(rows) * 2.0, "c": [f"c{i}" for i in range(rows)]}
    train = {
        "main": write_user_file(tmp_path / f"main.{suffix}", _take(main, rng.permutation(rows))),
        "extra": write_user_file(tmp_path / f"extra.{suffix}", _take(extra, rng.permutation(rows))),
    }
    moved = {**main, "id": np.arange(rows) + 100}, {**extra, "id": np.arange(rows) + 100}
    test = {
        "main": write_user_file(tmp_path / f"tm.{suffix}", _take(moved[0], rng.permutation(rows))),
        "extra": write_user_file(tmp_path / f"te.{suffix}", _take(moved[1], rng.permutation(rows))),
    }
    read = read_user_tables(tmp_path, train, test)
    assert {name: c["file"] for name, c in read.columns.items()} == {
        "x": "main",
        "y": "extra",
        "c": "extra",
    }
    for part, shift in (("train", 0), ("test", 100)):
        table = read.train if part == "train" else read.test
        ids = np.array(table.table(["id"])["id"]) - shift
        assert sorted(ids) == list(range(rows))
        np.testing.assert_array_equal(table.values("x"), ids / 4)
        np.testing.assert_array_equal(table.values("y"), ids * 2)
        assert read.decoded("c", part) == [f"c{i}" for i in ids]


def test_without_id_rows_go_by_position(tmp_path: Path) -> None:
    main = write_user_file(tmp_path / "main.csv", {"x": [3, 1, 2]})
    extra = write_user_file(tmp_path / "extra.parquet", {"y": [30, 10, 20]})
    test = {
        "main": write_user_file(tmp_path / "tm.csv", {"x": [5, 6]}),
        "extra": write_user_file(tmp_path / "te.parquet", {"y": [50, 60]}),
    }
    read = read_user_tables(tmp_path, {"main": main, "extra": extra}, test, ids=())
    assert read.train.table([POSITION]).to_pydict() == {POSITION: [0, 1, 2]}
    assert read.test.table([POSITION]).to_pydict() == {POSITION: [3, 4]}
    assert read.decoded("y") == [30, 10, 20]
    assert read.decoded("y", "test") == [50, 60]
    assert read_note(read.columns_path)["id_columns"] == [POSITION]


def test_several_id_columns(tmp_path: Path) -> None:
    days = [date(2024, 1, 1), date(2024, 1, 2)]
    main = {"who": ["a", "a", "b"], "day": [days[0], days[1], days[0]], "x": [1, 2, 3]}
    extra = {"day": [days[0], days[0], days[1]], "y": [30, 10, 20], "who": ["b", "a", "a"]}
    read = read_user_tables(
        tmp_path,
        {
            "main": write_user_file(tmp_path / "main.parquet", main),
            "extra": write_user_file(tmp_path / "extra.csv", extra),
        },
        ids=("who", "day"),
    )
    assert read.train.table(["day", "who"]).to_pydict() == {k: main[k] for k in ("day", "who")}
    assert read.decoded("y") == [10, 20, 30]


ID_TYPES = {
    "narrow integer": (pa.int16(), [5, 6, 7]),
    "beyond int64": (pa.uint64(), [2**64 - 1, 1, 2]),
    "large text": (pa.large_string(), ["a", "b", "c"]),
    "dictionary": (pa.dictionary(pa.int8(), pa.string()), ["a", "b", "c"]),
    "seconds": (pa.timestamp("s"), [datetime(2024, 1, day) for day in (1, 2, 3)]),
    "nanoseconds": (pa.timestamp("ns"), [datetime(2024, 1, day) for day in (1, 2, 3)]),
    "date64": (pa.date64(), [date(2024, 1, day) for day in (1, 2, 3)]),
}


@pytest.mark.parametrize("kind", ID_TYPES)
def test_ids_of_every_type_agree_with_the_targets_artifact(tmp_path: Path, kind: str) -> None:
    dtype, values = ID_TYPES[kind]
    ids = pa.array(values).cast(dtype) if kind == "dictionary" else pa.array(values, dtype)
    main = write_user_file(tmp_path / "main.arrow", {"id": ids, "x": [1, 2, 3]})
    labels = {"id": ids.take(pa.array([2, 0, 1])), "t": [0, 1, 0]}
    read = read_user_tables(tmp_path, {"main": main})
    found = read.train.table(["id"])
    assert [str(v)[:10] for v in found["id"].to_pylist()] == [str(v)[:10] for v in values]
    targets = read_targets(write_user_file(tmp_path / "targets.arrow", labels), None, found, ["id"])
    assert targets["t"].to_pylist() == [1, 0, 0]
    write_parquet(targets, tmp_path / "targets.parquet")
    assert read_parquet(tmp_path / "targets.parquet").select(["id"]).equals(found)


# Kinds of columns


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (pa.array(["2", "1", None]), {}),
        (pa.array(["2", "1", None], pa.large_string()), {}),
        (pa.array(["2", "1", None]).dictionary_encode(), {}),
        (pa.array([2, 1, None]).dictionary_encode(), {}),
        (pa.array([2, 1, None], pa.int8()), {"category_columns": ["cat_1"]}),
        (pa.array([2.0, 1.0, float("nan")]), {"category_columns": ["cat_1"]}),
        (pa.array([2, 1, None]), {"category_patterns": ["cat_*"]}),
    ],
)
def test_categories_by_dtype_list_and_pattern(
    tmp_path: Path, values: pa.Array, options: dict[str, Any]
) -> None:
    columns = {"id": [1, 2, 3], "cat_1": values, "plain": [1, 2, 3]}
    read = read_user_tables(
        tmp_path, {"main": write_user_file(tmp_path / "a.arrow", columns)}, **options
    )
    assert read.columns["cat_1"]["levels"] == ["1", "2"]
    assert read.decoded("cat_1") == ["2", "1", None]
    assert read.kinds()["plain"] == "number"


@pytest.mark.parametrize(
    "test_values",
    [
        pa.array([3.0, None, 1.0]),
        pa.array([3.0, None, 1.0], pa.float32()),
        pa.array([3, None, 1], pa.int8()),
        pa.array(["3", None, "1"]),
        pa.array(["3", None, "1"]).dictionary_encode(),
    ],
    ids=lambda array: str(array.type),
)
def test_category_values_are_alike_whatever_their_type(
    tmp_path: Path, test_values: pa.Array
) -> None:
    train = write_user_file(tmp_path / "a.parquet", {"id": [1, 2], "c": pa.array([1, 2])})
    test = write_user_file(tmp_path / "b.parquet", {"id": [3, 4, 5], "c": test_values})
    read = read_user_tables(tmp_path, {"main": train}, {"main": test}, category_columns=["c"])
    assert read.columns["c"]["levels"] == ["1", "2", "3"]
    assert read.decoded("c", "test") == ["3", None, "1"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (pa.array([True, None, False]), [1, None, 0]),
        (pa.array([1, None, 2], pa.uint16()), [1, None, 2]),
        (pa.array([Decimal("1.5"), None, Decimal("2.5")]), [1.5, None, 2.5]),
        (pa.array(np.array([1, np.nan, 2], np.float16)), [1, None, 2]),
        (pa.nulls(3), [None, None, None]),
        (pa.nulls(3, pa.float64()), [None, None, None]),
        (pa.nulls(3, pa.string()), [None, None, None]),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_missing_values_of_every_type(tmp_path: Path, values: Any, expected: list[Any]) -> None:
    path = write_user_file(tmp_path / "a.parquet", {"id": [1, 2, 3], "x": values})
    assert read_user_tables(tmp_path, {"main": path}).decoded("x") == expected


def test_a_column_without_values_takes_the_kind_of_the_other_table(tmp_path: Path) -> None:
    train = {"id": [1, 2], "c": pa.nulls(2), "x": [1.0, 2.0]}
    test = {"id": [3, 4], "c": ["u", "v"], "x": pa.nulls(2)}
    read = read_user_tables(
        tmp_path,
        {"main": write_user_file(tmp_path / "a.parquet", train)},
        {"main": write_user_file(tmp_path / "b.parquet", test)},
    )
    assert read.kinds() == {"c": "category", "x": "number"}
    assert read.decoded("c", "test") == ["u", "v"]


def test_ignored_columns_and_targets_are_no_features(tmp_path: Path) -> None:
    columns = {"id": [1, 2], "x": [1, 2], "day": [datetime(2024, 1, 1)] * 2, "t": [0, 1]}
    path = write_user_file(tmp_path / "a.parquet", columns)
    read = read_user_tables(tmp_path, {"main": path}, ignore=["da*"], not_features=["t"])
    assert list(read.columns) == ["x"]


# Batches


def _long_table(rows: int) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "id": [f"row{i}" for i in range(rows)],
        "x": rng.random(rows).astype(np.float32),
        "c": rng.choice(["u", "v", "w"], rows),
    }


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("row_group", [3, 5, 7, 8, 1000])
@pytest.mark.parametrize("rows", [BATCH, 5 * BATCH, 5 * BATCH + 2])
def test_row_groups_and_batches_of_any_size(tmp_path: Path, row_group: int, rows: int) -> None:
    main, extra = _long_table(rows), {"id": [f"row{i}" for i in range(rows)], "y": range(rows)}
    pq.write_table(pa.table(main), tmp_path / "a.parquet", row_group_size=row_group)
    shuffled = _take(extra, np.random.default_rng(0).permutation(rows))
    pq.write_table(shuffled, tmp_path / "b.parquet", row_group_size=row_group)
    train = {"main": str(tmp_path / "a.parquet"), "extra": str(tmp_path / "b.parquet")}
    read = read_user_tables(tmp_path, train)
    assert np.diff(read.train.offsets).max() <= BATCH
    assert read.train.table(["id"])["id"].to_pylist() == main["id"]
    np.testing.assert_array_equal(read.train.values("x"), main["x"])
    np.testing.assert_array_equal(read.train.values("y"), np.arange(rows))
    assert read.decoded("c") == list(main["c"])


def test_more_rows_than_a_batch(tmp_path: Path) -> None:
    rows = 140_000
    columns = {"id": pa.array(range(rows)).cast(pa.string()), "x": np.arange(rows) % 1000}
    read = read_user_tables(tmp_path, {"main": write_user_file(tmp_path / "a.parquet", columns)})
    assert read.train.rows == rows
    assert len(read.train.offsets) == 4
    assert read.train.table(["id"])["id"].to_pylist() == columns["id"].to_pylist()
    np.testing.assert_array_equal(read.train.values("x"), columns["x"])


def test_without_test_rows_the_test_table_is_empty(tmp_path: Path) -> None:
    read = read_user_tables(tmp_path, {"main": write_user_file(tmp_path / "a.csv", MIXED)})
    assert read.test.rows == 0
    assert read.test.names == ["id", *DECODED]


# Labels, groups, folds

IDS = pa.table({"id": ["a", "b", "c", "d"]})


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 1, None, 1], pa.int64()),
        pa.array([0.0, 1.0, None, 1.0]),
        pa.array([0.0, 1.0, float("nan"), 1.0], pa.float32()),
        pa.array([False, True, None, True]),
    ],
    ids=lambda array: str(array.type),
)
@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_targets_in_the_order_of_the_ids(tmp_path: Path, values: pa.Array, order: Any) -> None:
    columns = {"id": ["a", "b", "c", "d"], "t": values, "u": [1, 0, 0, 1]}
    path = write_user_file(tmp_path / "t.parquet", _take(columns, order))
    targets = read_targets(path, None, IDS, ["id"])
    assert targets.schema.field("t").type == pa.int8()
    assert targets.to_pydict() == {
        "id": IDS["id"].to_pylist(),
        "t": [0, 1, None, 1],
        "u": [1, 0, 0, 1],
    }
    assert read_targets(path, ["u"], IDS, ["id"]).column_names == ["id", "u"]


@pytest.mark.parametrize("values", [[0, 0], [1, 1], pa.nulls(2), pa.nulls(2, pa.string())])
def test_test_labels_may_be_of_one_class(tmp_path: Path, values: Any) -> None:
    path = write_user_file(tmp_path / "t.parquet", {"t": values})
    ids = pa.table({POSITION: [4, 5]})
    found = read_targets(path, None, ids, [], one_class_allowed=True)
    assert found["t"].to_pylist() == (values if isinstance(values, list) else [None, None])
    with pytest.raises(BlendmakeError, match=r"target 't' has no (positives|negatives)"):
        read_targets(path, None, ids, [])


def test_column_in_the_order_of_the_ids(tmp_path: Path) -> None:
    columns = {"id": ["d", "c", "b", "a"], "g": ["x", "y", "x", "z"]}
    path = write_user_file(tmp_path / "g.csv", columns)
    groups = read_column(path, "g", IDS, ["id"], "The group")
    assert groups.to_pylist() == ["z", "x", "y", "x"]
    assert group_codes(groups).to_pylist() == [2, 0, 1, 0]


# What is refused

Write = Callable[[Path], str]


def table_of(**columns: Any) -> Write:
    return lambda path: write_user_file(path.with_suffix(".parquet"), columns)


def text_of(text: str, suffix: str = ".csv", encoding: str = "utf-8") -> Write:
    def write(path: Path) -> str:
        path = path.with_suffix(suffix)
        content = text.encode(encoding)
        path.write_bytes(gzip.compress(content) if suffix == ".csv.gz" else content)
        return str(path)

    return write


def cut(write: Write, share: float = 0.6) -> Write:
    def write_part(path: Path) -> str:
        name = write(path)
        content = Path(name).read_bytes()
        Path(name).write_bytes(content[: int(len(content) * share)])
        return name

    return write_part


GOOD = table_of(id=[1, 2, 3], x=[1.0, 2.0, 3.0])
GOOD_TEST = table_of(id=[4, 5], x=[1.0, 2.0])
LINES = "id,x\n" + "".join(f"{i},{i * 37 % 11}.5\n" for i in range(2000))


@dataclass(frozen=True)
class Bad:
    """A bad input: the files, and what the message must say of them."""

    says: tuple[str, ...]
    train: Write = GOOD
    test: Write | None = None
    extra: Write | None = None
    ids: tuple[str, ...] = ("id",)
    options: Mapping[str, Any] = field(default_factory=dict)


BAD = {
    "duplicate ids": Bad(
        ("train.parquet", "duplicate ids in id", "'2'", "1 in all"),
        table_of(id=[1, 2, 2], x=[1, 2, 3]),
    ),
    "duplicate ids of two columns": Bad(
        ("train.parquet", "duplicate ids in id+day", "'1/7'"),
        table_of(id=[1, 1, 2], day=[7, 7, 7], x=[1, 2, 3]),
        ids=("id", "day"),
    ),
    "duplicate ids in test": Bad(
        ("test.parquet", "duplicate ids", "'4'"), test=table_of(id=[4, 4], x=[1.0, 2.0])
    ),
    "ids in train and test": Bad(
        ("test.parquet", "'3'", "in train and in test"), test=table_of(id=[3, 4], x=[1.0, 2.0])
    ),
    "missing id column": Bad(
        ("train.parquet", "id column 'id'", "'key', 'x'"), table_of(key=[1], x=[1])
    ),
    "missing id column in test": Bad(
        ("test.parquet", "id column 'id'"), test=table_of(key=[4], x=[1.0])
    ),
    "null ids": Bad(
        ("train.parquet", "id column 'id' has 1 missing"), table_of(id=[1, None, 3], x=[1, 2, 3])
    ),
    "ids of another type in test": Bad(
        ("test.parquet", "column 'id' are of type date32", "int64"),
        test=table_of(id=[date(2020, 1, 31)], x=[1.0]),
    ),
    "ids of another type in extra": Bad(
        ("extra.parquet", "are of type string ('02')", "int64 ('1')"),
        extra=table_of(id=["1", "02", "3"], y=[1, 2, 3]),
    ),
    "target column absent": Bad(
        ("train.parquet", "column 't'", "target"), options={"not_features": ["t"]}
    ),
    "unknown category column": Bad(
        ("data.categories.columns", "'kind'"), options={"category_columns": ["kind"]}
    ),
    "feature absent from test": Bad(
        ("test.parquet", "feature 'x'", "absent from test"), test=table_of(id=[4], z=[1.0])
    ),
    "different dtypes": Bad(
        ("test.parquet", "column 'x' is string", "double in", "train.parquet"),
        test=table_of(id=[4], x=["much"]),
    ),
    "infinity": Bad(
        ("train.parquet", "column 'x'", "infinity", "(inf)"),
        table_of(id=[1, 2], x=[1.0, float("inf")]),
    ),
    "infinity in test": Bad(
        ("test.parquet", "column 'x'", "infinity"), test=table_of(id=[4], x=[float("-inf")])
    ),
    "infinity in a csv": Bad(
        ("train.csv", "column 'x'", "infinity"), text_of("id,x\n1,2.5\n2,inf\n")
    ),
    "beyond float32": Bad(("train.parquet", "'x'", "1e+300"), table_of(id=[1], x=[1e300])),
    "empty file": Bad(("train.csv", "empty (0 bytes)"), text_of("")),
    "empty parquet": Bad(("train.parquet", "empty (0 bytes)"), text_of("", ".parquet")),
    "header only": Bad(("train.csv", "header but no rows"), text_of("id,x\n")),
    "parquet without rows": Bad(
        ("train.parquet", "no rows"),
        table_of(id=pa.array([], pa.int64()), x=pa.array([], pa.int8())),
    ),
    "truncated parquet": Bad(("train.parquet", "cannot be read", "cut off"), cut(GOOD)),
    "truncated arrow": Bad(
        ("train.arrow", "cannot be read", "cut off"),
        cut(lambda path: write_user_file(path.with_suffix(".arrow"), {"id": [1], "x": [1]}), 0.3),
    ),
    "truncated gzip": Bad(
        ("train.csv.gz", "cannot be read", "cut off"), cut(text_of(LINES, ".csv.gz"))
    ),
    "text called parquet": Bad(("train.parquet", "cannot be read"), text_of("id,x", ".parquet")),
    "ragged line": Bad(
        ("train.csv", "line 3: 3 fields, 2 are expected: '2,3,4'"),
        text_of("id,x\n1,2\n2,3,4\n"),
    ),
    "csv in another encoding": Bad(
        ("train.csv", "cannot be read as cp1252", "data.csv.encoding"),
        text_of("id,city\n1,大阪\n", encoding="shift_jis"),
    ),
    "header in another encoding": Bad(
        ("train.csv", "cannot be read as cp1252", "data.csv.encoding"),
        text_of("id,大阪\n1,2\n", encoding="shift_jis"),
    ),
    "unknown kind of file": Bad(("train.xlsx", "unknown kind of file"), text_of("x", ".xlsx")),
    "no such file": Bad(("nowhere.csv", "does not exist"), lambda path: "nowhere.csv"),
    "column twice in a file": Bad(
        ("train.csv", "column 'x' occurs more than once"), text_of("id,x,x\n1,2,3\n")
    ),
    "unsupported type": Bad(
        ("train.parquet", "column 'parts' is of type list", "data.ignore"),
        table_of(id=[1], parts=[[1, 2]], x=[1]),
    ),
    "unsupported type in test only": Bad(
        ("test.parquet", "column 'x' is of type list"), test=table_of(id=[4], x=[[1]])
    ),
    "unmatched ids": Bad(
        ("extra.parquet", "lacks ids '3' (1)", "unknown ids '7', '8' (2)"),
        extra=table_of(id=[1, 2, 7, 8], y=[1, 2, 3, 4]),
    ),
    "other rows without ids": Bad(
        ("extra.parquet has 2 rows, 3 are expected", "data.id"),
        extra=table_of(y=[1, 2]),
        ids=(),
        options={"ignore": ["id"]},
    ),
    "column in two files": Bad(
        ("extra.parquet", "column 'x' is also in file 'main'"),
        extra=table_of(id=[1, 2, 3], x=[1, 2, 3]),
    ),
    "no feature": Bad(("train.parquet", "no feature column"), table_of(id=[1])),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_refused(tmp_path: Path, name: str) -> None:
    bad = BAD[name]
    train = {"main": bad.train(tmp_path / "train")}
    test = {"main": bad.test(tmp_path / "test")} if bad.test else None
    if bad.extra:
        train["extra"] = bad.extra(tmp_path / "extra")
    with pytest.raises(BlendmakeError) as error:
        read_user_tables(tmp_path, train, test, bad.ids, **bad.options)
    for part in bad.says:
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    # Nothing half-written: what stands, if anything, is a whole table.
    left = files_below(tmp_path / "tables")
    assert set(left) <= {"train.arrow"}
    for file in left:
        assert TableFile(tmp_path / "tables" / file).rows == 3


BAD_TARGETS = {
    "column absent": (
        {"id": [1, 2], "t": [0, 1]},
        ["u"],
        ("the target column 'u'", "'id', 't'"),
    ),
    "no column": ({"id": [1, 2]}, None, ("no target column",)),
    "two": ({"id": [1, 2], "t": [0, 2]}, None, ("target 't' holds 2.0", "0, 1 or missing")),
    "half": ({"id": [1, 2], "t": [0.5, 1]}, None, ("target 't' holds 0.5",)),
    "minus one": ({"id": [1, 2], "t": [-1, 1]}, None, ("target 't' holds -1.0",)),
    "infinity": ({"id": [1, 2], "t": [0.0, float("inf")]}, None, ("target 't' holds inf",)),
    "text": ({"id": [1, 2], "t": ["a", "b"]}, None, ("target 't' holds 'a' (1), 'b' (1)",)),
    "text and null": ({"id": [1, 2], "t": [None, "x"]}, None, ("target 't' holds 'x'",)),
    "timestamp": ({"id": [1, 2], "t": [date(2024, 1, 1)] * 2}, None, ("target 't' holds",)),
    "no positives": ({"id": [1, 2], "t": [0, 0]}, None, ("target 't' has no positives",)),
    "no negatives": ({"id": [1, 2], "t": [1, None]}, None, ("target 't' has no negatives",)),
    "nothing": ({"id": [1, 2], "t": pa.nulls(2)}, None, ("target 't' has no positives",)),
    "missing id column": ({"t": [0, 1]}, None, ("id column 'id'",)),
    "other ids": ({"id": [1, 3], "t": [0, 1]}, None, ("lacks ids '2'", "unknown ids '3'")),
    "repeated ids": ({"id": [1, 1], "t": [0, 1]}, None, ("duplicate ids", "'1'")),
}


@pytest.mark.parametrize("name", BAD_TARGETS)
def test_bad_targets_are_refused(tmp_path: Path, name: str) -> None:
    columns, names, says = BAD_TARGETS[name]
    path = write_user_file(tmp_path / "targets.parquet", columns)
    with pytest.raises(BlendmakeError) as error:
        read_targets(path, names, pa.table({"id": [1, 2]}), ["id"])
    assert str(error.value).startswith(f"{path}:") or "ids" in name
    for part in says:
        assert part in str(error.value)
    assert "np." not in str(error.value)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"id": IDS["id"], "h": [1, 2, 3, 4]}, "The group 'g' is not among its columns"),
        ({"id": IDS["id"], "g": ["x", None, "y", None]}, "column 'g' has 2 missing values"),
        ({"id": ["a", "b", "c", "x"], "g": [1, 2, 3, 4]}, "lacks ids 'd' .* unknown ids 'x'"),
    ],
)
def test_bad_group_columns_are_refused(tmp_path: Path, columns: dict[str, Any], says: str) -> None:
    path = write_user_file(tmp_path / "groups.parquet", columns)
    with pytest.raises(BlendmakeError, match=f"groups.parquet.*{says}"):
        read_column(path, "g", IDS, ["id"], "The group")


def test_equal_input_gives_equal_digests_and_a_change_another(tmp_path: Path) -> None:
    def digests(folder: str, **changes: Any) -> Any:
        (tmp_path / folder).mkdir()
        path = write_user_file(tmp_path / folder / "a.parquet", {**MIXED, **changes})
        read: ReadTables = read_user_tables(tmp_path / folder, {"main": path})
        return read_note(read.columns_path)["digests"]["train"]

    first = digests("a")
    assert digests("b") == first
    assert digests("c", whole=[1, None, 3, 5]) != first
    assert digests("d", id=["a", "b", "c", "e"]) != first


def test_nan_is_no_id(tmp_path: Path) -> None:
    path = write_user_file(tmp_path / "a.parquet", {"id": np.array([1.0, np.nan]), "x": [1, 2]})
    with pytest.raises(BlendmakeError, match="'id' has 1 missing"):
        read_user_tables(tmp_path / "out", {"main": path})


def test_a_category_pattern_that_matches_nothing(tmp_path: Path) -> None:
    path = write_user_file(tmp_path / "a.parquet", {"id": [1, 2], "x": [1, 2]})
    with pytest.raises(BlendmakeError, match=r"patterns: no train column matches 'cat_\*'"):
        read_user_tables(tmp_path / "out", {"main": path}, category_patterns=["cat_*"])


@pytest.mark.parametrize("suffix", ["csv", "csv.gz"])
def test_ids_keep_their_leading_zeros(tmp_path: Path, suffix: str) -> None:
    path = write_user_file(tmp_path / f"a.{suffix}", {"id": ["001", "002", "100"], "x": [1, 2, 3]})
    tables = read_user_tables(tmp_path / "out", {"main": path})
    assert tables.train.table(["id"])["id"].to_pylist() == ["001", "002", "100"]


def test_test_files_named_in_another_order_are_not_swapped(tmp_path: Path) -> None:
    paths = {
        part: {
            label: write_user_file(
                tmp_path / f"{part}_{label}.parquet", {"id": ids, label: [x * scale for x in ids]}
            )
            for label, scale in (("main", 1), ("extra", 10))
        }
        for part, ids in (("train", [1, 2]), ("test", [3, 4]))
    }
    swapped = dict(reversed(paths["test"].items()))
    tables = read_user_tables(tmp_path / "out", paths["train"], swapped)
    assert tables.decoded("main", "test") == [3, 4]
    assert tables.decoded("extra", "test") == [30, 40]


def test_numeric_levels_stand_in_numeric_order(tmp_path: Path) -> None:
    path = write_user_file(tmp_path / "a.parquet", {"id": [1, 2, 3], "code": [10, 9, 100]})
    tables = read_user_tables(tmp_path / "out", {"main": path}, category_columns=["code"])
    assert tables.columns["code"]["levels"] == ["9", "10", "100"]


# CSV text


def test_a_csv_column_as_it_is_written(tmp_path: Path) -> None:
    text = 'a,b,c\n007,NA,1\n"",yes,NA\n1.50,,3\n'
    (tmp_path / "t.csv").write_text(text)
    table = UserTable(tmp_path / "t.csv")
    assert table.read(["a", "b", "c"]).to_pydict() == {
        "a": [7.0, None, 1.5],
        "b": ["NA", "yes", None],
        "c": [1, None, 3],
    }
    table.read_as_text(["a", "b"])
    assert table.schema.names == ["a", "b", "c"]
    assert table.read(["a"])["a"].to_pylist() == ["007", None, "1.50"]
    assert table.read(["c"])["c"].to_pylist() == [1, None, 3]
