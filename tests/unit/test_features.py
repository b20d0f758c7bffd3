from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from blendmake.config import FeatureSet
from blendmake.errors import BlendmakeError
from blendmake.feature_files import FeatureSetFiles, features_digest
from blendmake.features import (
    STATISTICS,
    make_features,
    read_names,
    row_statistics,
    select_columns,
    variance,
)
from blendmake.matrix import Rows, known_codes
from helpers import ReadTables, files_below, flip_byte, read_user_tables, write_user_file

# Spread of the columns, so that their variance ranks are x2, x0, x3, x1.
SPREAD = {"x0": 3.0, "x1": 1.0, "x2": 4.0, "x3": 2.0}
SIZES = {"train": 20, "test": 11}


def _columns(part: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Columns of the files main and extra."""
    rows = SIZES[part]
    shift = 0 if part == "train" else 100
    rng = np.random.default_rng(shift)
    ids = [shift + i for i in range(rows)]
    ramp = np.linspace(-1, 1, rows)
    main: dict[str, Any] = {"id": ids, **{name: spread * ramp for name, spread in SPREAD.items()}}
    main["city"] = ["b", "a", "b", None] * (rows // 4) + ["b", "new", "new"][: rows % 4]
    main["grade"] = [1, 2, 5, None] * (rows // 4) + [1, 3, 9][: rows % 4]
    zeros = rng.integers(0, 3, (rows, 3)).astype(float)
    zeros[rng.random((rows, 3)) < 0.3] = np.nan
    zeros[0] = np.nan
    extra = {f"e{j}": pa.array(zeros[:, j], from_pandas=True) for j in range(3)}
    return main, {"id": ids, **extra, "kind": ["k", "l"] * (rows // 2) + ["k"] * (rows % 2)}


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReadTables:
    """Two files of 20 train and 11 test rows, in batches of 6 rows."""
    monkeypatch.setattr("blendmake.tables.BATCH_ROWS", 6)
    monkeypatch.setattr("blendmake.user_files.BATCH_ROWS", 6)
    paths = {
        part: {
            label: write_user_file(tmp_path / f"{part}_{label}.parquet", columns)
            for label, columns in zip(("main", "extra"), _columns(part), strict=True)
        }
        for part in SIZES
    }
    return read_user_tables(tmp_path, paths["train"], paths["test"])


class MadeSet:
    """A feature set made and read back."""

    def __init__(self, tables: ReadTables, settings: Mapping[str, Any]) -> None:
        folder = tables.columns_path.parent.parent / "set"
        made = {part: folder / f"{part}.arrow" for part in SIZES}
        self.columns_path = folder / "columns.parquet"
        make_features(
            tables.paths,
            tables.columns_path,
            FeatureSet.model_validate(settings).model_dump(),
            out_columns=self.columns_path,
            out=made,
        )
        self.files = {
            part: FeatureSetFiles(self.columns_path, tables.paths[part], made[part])
            for part in SIZES
        }
        self.names = [column.name for column in self.files["train"].columns]

    def rows(self, part: str = "train") -> Rows:
        files = self.files[part]
        return Rows(files.files, files.columns, np.arange(files.rows))

    def column(self, name: str, part: str = "train") -> NDArray[np.float32]:
        return self.rows(part).codes(self.names.index(name))

    def levels(self, name: str) -> int:
        return self.files["train"].columns[self.names.index(name)].levels


MAIN = ["x0", "x1", "x2", "x3", "city", "grade"]
EXTRA = ["e0", "e1", "e2", "kind"]


# Selection


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (None, MAIN + EXTRA),
        ({"main": {}}, MAIN),
        ({"extra": {}, "main": {}}, EXTRA + MAIN),
        ({"main": {"first": 2}}, ["x0", "x1"]),
        ({"main": {"first": 100}}, MAIN),
        ({"main": {"first": 5}, "extra": {"first": 1}}, ["x0", "x1", "x2", "x3", "city", "e0"]),
        ({"main": {"top_variance": 3}}, ["x0", "x2", "grade"]),
        ({"main": {"first": 4, "top_variance": 3}}, ["x0", "x2", "x3"]),
        ({"main": {"first": 4, "ranks": [2, 3]}}, ["x0", "x3"]),
        ({"main": {"first": 4, "ranks": [4, 99]}}, ["x1"]),
        ({"main": {"first": 4, "top_variance": 1}, "extra": {}}, ["x2", *EXTRA]),
        ({"main": {"first": 0}, "extra": {"first": 2}}, ["e0", "e1"]),
    ],
)
def test_selections(tables: ReadTables, selection: Any, expected: list[str]) -> None:
    made = MadeSet(tables, {"files": selection})
    assert made.names == expected
    for name in expected:
        for part, table in (("train", tables.train), ("test", tables.test)):
            np.testing.assert_array_equal(made.column(name, part), table.values(name))


@pytest.mark.parametrize(
    ("lists", "expected"),
    [
        ({"keep": ["x3", "x0"]}, ["x0", "x3"]),
        ({"drop": ["x3", "x0", "city"]}, ["x1", "x2", "grade"]),
        ({"keep": ["x3", "x0", "x1"], "drop": ["x0"], "first": 1}, ["x1"]),
        ({"keep": ["x3", "x0", "city"], "top_variance": 1}, ["x0"]),
    ],
)
def test_keep_and_drop_lists(
    tables: ReadTables, tmp_path: Path, lists: dict[str, Any], expected: list[str]
) -> None:
    selection = dict(lists)
    for key in ("keep", "drop"):
        if key in lists:
            (tmp_path / f"{key}.txt").write_text("\n".join(lists[key]))
            selection[key] = str(tmp_path / f"{key}.txt")
    assert MadeSet(tables, {"files": {"main": selection}}).names == expected


@pytest.mark.parametrize("suffix", ["txt", "json", "parquet"])
def test_formats_of_lists(tmp_path: Path, suffix: str) -> None:
    path, names = tmp_path / f"list.{suffix}", ["a", "b c", "7"]
    if suffix == "txt":
        path.write_text("# kept\na\n\n  b c\n7\n")
    elif suffix == "json":
        path.write_text(json.dumps(["a", "b c", 7]))
    else:
        pq.write_table(pa.table({"feature": names, "rank": [1, 2, 3]}), path)
    assert read_names(str(path)) == names


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("a.txt", None, "does not exist"),
        ("a.json", b"{", "cannot be read"),
        ("a.json", b'{"x": 1}', "must be a list of column names"),
        ("a.txt", "größe".encode("latin-1"), "cannot be read"),
        ("a.parquet", b"PAR1", "cannot be read"),
        ("a.txt", b"x0\nx9\ny\n", r"'x9', 'y' \(2 in all\) is no column of file 'main'"),
    ],
)
@pytest.mark.parametrize("key", ["keep", "drop"])
def test_bad_lists_are_refused(
    tables: ReadTables, tmp_path: Path, key: str, file: str, content: bytes | None, says: str
) -> None:
    path = tmp_path / file
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BlendmakeError, match=f"{file}.*{says}"):
        MadeSet(tables, {"files": {"main": {key: str(path)}}})
    assert not (tmp_path / "set").exists()


def test_a_list_in_parquet_needs_its_column(tmp_path: Path) -> None:
    pq.write_table(pa.table({"name": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(BlendmakeError, match="needs a column 'feature'"):
        read_names(str(tmp_path / "a.parquet"))


def test_variance_counts_present_values_in_full_precision() -> None:
    values = np.array([1e6, 1e6 + 1, np.nan, 1e6 + 2], np.float32)
    assert variance(values) == pytest.approx(2 / 3)
    assert variance(np.array([np.nan], np.float32)) == 0


def test_variance_is_asked_for_only_where_it_counts() -> None:
    columns = [{"name": "x", "kind": "number"}, {"name": "c", "kind": "category"}]

    def never(name: str) -> float:
        raise AssertionError(name)

    assert select_columns(columns, {"first": 1}, "main", never) == ["x"]
    assert select_columns(columns, {"top_variance": 5}, "main", lambda name: 1.0) == ["x"]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"files": {"main": {"first": 0}}}, "selects no column"),
        ({"files": {}}, "selects no column"),
        ({"files": {"extra": {"ranks": [9, 9]}}}, "selects no column"),
        ({"files": {"main": {"first": 0}, "extra": {}}, "row_stats": "main"}, "row_stats.*'main'"),
    ],
)
def test_empty_sets_are_refused(tables: ReadTables, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(BlendmakeError, match=says):
        MadeSet(tables, settings)
    assert files_below(tables.columns_path.parent.parent / "set") == []


# Columns that a set makes


def naive_statistics(row: NDArray[Any]) -> list[float]:
    """The eight statistics of one row, spelled out."""
    present = [float(value) for value in row if not np.isnan(value)]
    nulls, zeros = len(row) - len(present), sum(value == 0 for value in present)
    known = [np.mean(present), min(present), max(present)] if present else [np.nan] * 3
    return [*known, sum(present), nulls, zeros, nulls / len(row), zeros / len(row)]


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_row_statistics_against_a_naive_reference(columns: int) -> None:
    rng = np.random.default_rng(columns)
    values = rng.integers(-2, 3, (300, columns)).astype(np.float32) * np.float32(1.5)
    values[rng.random(values.shape) < 0.3] = np.nan
    values[0], values[1] = np.nan, 0
    found = row_statistics(values)
    assert found.shape == (300, len(STATISTICS))
    np.testing.assert_allclose(found, [naive_statistics(row) for row in values], rtol=1e-6)
    null, zero = (
        dict(zip(STATISTICS, found[0], strict=True)),
        dict(zip(STATISTICS, found[1], strict=True)),
    )
    assert (null["null_share"], null["zero_share"], null["sum"]) == (1, 0, 0)
    assert (zero["null_share"], zero["zero_share"], zero["mean"]) == (0, 1, 0)
    assert np.isnan(null["mean"]) and np.isnan(null["min"]) and np.isnan(null["max"])


@pytest.mark.parametrize("part", SIZES)
def test_row_statistics_of_selected_numeric_columns(tables: ReadTables, part: str) -> None:
    settings = {"files": {"main": {"first": 1}, "extra": {}}, "row_stats": "extra"}
    made = MadeSet(tables, settings)
    assert made.names == ["x0", *EXTRA, *(f"extra__row_{name}" for name in STATISTICS)]
    table = tables.train if part == "train" else tables.test
    values = np.stack([table.values(f"e{j}") for j in range(3)], axis=1)
    expected = row_statistics(values)
    for j, name in enumerate(STATISTICS):
        np.testing.assert_array_equal(made.column(f"extra__row_{name}", part), expected[:, j])


def test_native_and_ordinal_categories_hold_the_same_codes(tables: ReadTables) -> None:
    native = MadeSet(tables, {"categories": "native"})
    ordinal = MadeSet(tables, {"categories": "ordinal"})
    assert native.levels("city") == len(tables.columns["city"]["levels"]) == 3
    assert ordinal.levels("city") == 0
    for part in SIZES:
        np.testing.assert_array_equal(native.column("city", part), ordinal.column("city", part))


def test_frequency_is_the_share_among_train_rows(tables: ReadTables) -> None:
    made = MadeSet(tables, {"categories": "frequency"})
    assert "city" not in made.names
    assert made.levels("city__frequency") == 0
    shares = {"b": 0.5, "a": 0.25, None: 0.25, "new": 0.0}
    for part in SIZES:
        expected = [shares[value] for value in tables.decoded("city", part)]
        assert made.column("city__frequency", part).tolist() == expected


def test_few_distinct_values_become_categories(tables: ReadTables) -> None:
    made = MadeSet(tables, {"files": {"main": {}}, "categorical_below": 3})
    assert made.names == ["x0", "x1", "x2", "x3", "city", "grade__category"]
    assert made.levels("grade__category") == 3
    codes = {1: 0, 2: 1, 5: 2}
    for part in SIZES:
        expected = [codes.get(value, np.nan) for value in tables.decoded("grade", part)]
        np.testing.assert_array_equal(made.column("grade__category", part), expected)
    fewer = MadeSet(tables, {"files": {"main": {}}, "categorical_below": 2})
    assert fewer.names == MAIN


def test_levels_unseen_in_training_read_as_missing(tables: ReadTables) -> None:
    made = MadeSet(tables, {"files": {"main": {}}})
    rows, index = made.rows("test"), made.names.index("city")
    rows.known = known_codes(made.rows("train"))
    expected = [{"a": 0, "b": 1}.get(v, np.nan) for v in tables.decoded("city", "test")]
    assert "new" in tables.decoded("city", "test")
    np.testing.assert_array_equal(rows.codes(index), expected)
    np.testing.assert_array_equal(rows.dense()[:, index], expected)
    np.testing.assert_array_equal(np.vstack(list(rows.blocks(64)))[:, index], expected)


def test_rows_are_read_alike_at_once_and_in_blocks(tables: ReadTables) -> None:
    made = MadeSet(tables, {"row_stats": "extra", "categories": "frequency"})
    files = made.files["train"]
    positions = np.array([0, 3, 5, 6, 11, 12, 19])
    rows = Rows(files.files, files.columns, positions)
    whole = made.rows().dense()
    np.testing.assert_array_equal(rows.dense(), whole[positions])
    for size in (1, 200, 1 << 20):
        np.testing.assert_array_equal(np.vstack(list(rows.blocks(size))), whole[positions])


def test_digest_follows_the_columns_and_their_content(tables: ReadTables) -> None:
    def digest(settings: Mapping[str, Any]) -> Any:
        return features_digest(MadeSet(tables, settings).columns_path)

    base = digest({})
    assert digest({"files": {"main": {}, "extra": {}}}) == base
    assert digest({"files": {"main": {"first": 3}}}) != base
    assert digest({"categories": "frequency"}) != base


def test_a_damaged_table_is_named(tables: ReadTables) -> None:
    path = tables.paths["train"]
    value = np.float32(tables.train.values("x2")[13]).tobytes()
    flip_byte(path, path.read_bytes().index(value))
    with pytest.raises(BlendmakeError, match=f"{path} is damaged"):
        MadeSet(tables, {"files": {"main": {"top_variance": 2}}})


def test_a_made_column_must_not_hide_one_of_the_table(tmp_path: Path) -> None:
    columns = {"id": [1, 2, 3], "x": [1.0, 2.0, 3.0], "main__row_mean": [0.0, 1.0, 2.0]}
    path = write_user_file(tmp_path / "a.parquet", columns)
    tables = read_user_tables(tmp_path / "tables", {"main": path})
    with pytest.raises(BlendmakeError, match="makes a column 'main__row_mean'"):
        MadeSet(tables, {"row_stats": ["main"]})
