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
from pydantic import ValidationError
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import StandardScaler

from blendmake.config.features import FeatureSet
from blendmake.errors import BlendmakeError
from blendmake.features.files import FeatureSetFiles, features_digest
from blendmake.features.quantiles import quantile_bins, quantile_edges
from blendmake.features.recipes import STATISTICS, row_statistics
from blendmake.features.sets import make_features, read_names, select_columns, variance
from blendmake.matrix import Rows, known_values
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
    monkeypatch.setattr("blendmake.tables.tables.BATCH_ROWS", 6)
    monkeypatch.setattr("blendmake.tables.user_files.BATCH_ROWS", 6)
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
    rows.known = known_values(made.rows("train"))
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


# Coarser copies, flags, pairs and components


def test_rounded_copies(tables: ReadTables) -> None:
    settings = {"files": {"main": {}}, "quantise": {"columns": ["x[02]", "grade"], "decimals": 1}}
    made = MadeSet(tables, settings)
    assert made.names == [*MAIN, "x0__rounded", "x2__rounded", "grade__rounded"]
    for part in SIZES:
        for name in ("x0", "x2", "grade"):
            expected = made.column(name, part).astype(np.float64).round(1).astype(np.float32)
            np.testing.assert_array_equal(made.column(f"{name}__rounded", part), expected)
            assert not np.signbit(made.column(f"{name}__rounded", part)[expected == 0]).any()


def test_quantile_bins_are_those_of_the_train_rows(tables: ReadTables) -> None:
    settings = {"files": {"main": {}}, "quantise": {"columns": "x*", "bins": 4}}
    made = MadeSet(tables, settings)
    edges = np.quantile(made.column("x3"), [0.25, 0.5, 0.75], method="inverted_cdf")
    for part in SIZES:
        values = made.column("x3", part)
        expected = [sum(value > edge for edge in edges) for value in values]
        np.testing.assert_array_equal(made.column("x3__bin", part), expected)
    assert np.bincount(made.column("x3__bin").astype(int)).tolist() == [5, 5, 5, 5]
    settings["quantise"] = {"columns": "grade", "bins": 3}
    grade = MadeSet(tables, settings)
    bins = {1: 0, 2: 1, 3: 2, 5: 2, 9: 2}
    for part in SIZES:
        expected = [bins.get(value, np.nan) for value in tables.decoded("grade", part)]
        np.testing.assert_array_equal(grade.column("grade__bin", part), expected)


@pytest.mark.parametrize("bins", [2, 3, 10, 32])
def test_bins_hold_like_shares(bins: int) -> None:
    rng = np.random.default_rng(bins)
    values = rng.normal(size=960).astype(np.float32)
    edges = quantile_edges(values, bins)
    assert len(edges) == bins - 1
    counts = np.bincount(quantile_bins(values, edges))
    assert counts.sum() == 960 and counts.max() - counts.min() <= 1
    values[rng.random(960) < 0.1] = np.nan
    codes = quantile_bins(values, quantile_edges(values, bins))
    np.testing.assert_array_equal(codes == bins, np.isnan(values))


def test_a_frequent_value_has_a_bin_to_itself() -> None:
    values = np.concatenate([np.zeros(900), np.linspace(-2, -1, 50), np.linspace(1, 2, 50)])
    codes = quantile_bins(values.astype(np.float32), quantile_edges(values.astype(np.float32), 8))
    assert [set(codes[values == 0]), set(codes[values < 0]), set(codes[values > 0])] == [
        {1},
        {0},
        {2},
    ]
    few = np.array([3, 1, 1, 2, np.nan], np.float32)
    np.testing.assert_array_equal(quantile_edges(few, 32), [1, 2])
    np.testing.assert_array_equal(quantile_bins(few, quantile_edges(few, 32)), [2, 0, 0, 1, 3])
    for constant in (np.ones(5, np.float32), np.full(5, np.nan, np.float32)):
        assert len(quantile_edges(constant, 4)) == 0


def _read_pair(
    tmp_path: Path, train: Mapping[str, Any], test: Mapping[str, Any] | None = None
) -> ReadTables:
    """Tables of one file `main`, ids added."""
    rows = len(next(iter(train.values())))
    paths = {"main": write_user_file(tmp_path / "a.parquet", {"id": list(range(rows)), **train})}
    others = None
    if test is not None:
        ids = [1000 + i for i in range(len(next(iter(test.values()))))]
        others = {"main": write_user_file(tmp_path / "b.parquet", {"id": ids, **test})}
    return read_user_tables(tmp_path, paths, others)


def test_missing_flags(tmp_path: Path) -> None:
    gaps = [1.0, None, 3.0, None, 5.0]
    train: dict[str, Any] = {
        "full": [1.0, 2, 3, 4, 5],
        "gaps": gaps,
        "alike": [None if g is None else -g for g in gaps],
        "other": [None, 1.0, 2, 3, 4],
        "empty": pa.nulls(5, pa.float64()),
        "text": ["a", None, "b", None, "c"],
    }
    test = {**{name: [1.0, None] for name in train if name != "text"}, "text": ["a", "b"]}
    test["full"] = [None, 1.0]
    made = MadeSet(_read_pair(tmp_path, train, test), {"missing_flags": "main"})
    assert made.names == [*train, "gaps__missing", "other__missing"]
    assert made.column("gaps__missing").tolist() == [0, 1, 0, 1, 0]
    assert made.column("other__missing").tolist() == [1, 0, 0, 0, 0]
    assert made.column("gaps__missing", "test").tolist() == [0, 1]
    (tmp_path / "whole").mkdir()
    nothing = _read_pair(tmp_path / "whole", {"x": [1.0, 2.0]})
    assert MadeSet(nothing, {"missing_flags": "main"}).names == ["x"]


def test_pairs_of_categories(tmp_path: Path) -> None:
    train = {"a": ["x", "x", "y", None, "y", "x"], "b": ["1", "2", "1", "1", None, "1"]}
    test = {"a": ["y", "y", "x", None], "b": ["2", "1", "1", "2"]}
    tables = _read_pair(
        tmp_path,
        {k: [f"_{v}" if v else None for v in vs] for k, vs in train.items()},
        {k: [f"_{v}" if v else None for v in vs] for k, vs in test.items()},
    )
    made = MadeSet(tables, {"pairs": [["a", "b"]]})
    assert made.names == ["a", "b", "a__x__b"]
    assert made.files["train"].level_names["a__x__b"] == [
        '["_x", "_1"]',
        '["_x", "_2"]',
        '["_y", "_1"]',
    ]
    assert made.levels("a__x__b") == 3
    nan = np.nan
    np.testing.assert_array_equal(made.column("a__x__b"), [0, 1, 2, nan, nan, 0])
    np.testing.assert_array_equal(made.column("a__x__b", "test"), [nan, 2, 0, nan])
    # The most frequent pair, then the first of equally frequent ones.
    fewer = MadeSet(tables, {"pairs": [["a", "b"]], "pair_levels": 2})
    np.testing.assert_array_equal(fewer.column("a__x__b"), [0, 1, nan, nan, nan, 0])
    every = MadeSet(tables, {"pairs": [["*", "*"], ["b", "a"]]})
    assert every.names == ["a", "b", "a__x__b"]


def test_a_pair_without_a_row_is_refused(tmp_path: Path) -> None:
    tables = _read_pair(tmp_path, {"a": ["x", None], "b": [None, "y"]})
    with pytest.raises(BlendmakeError, match="no train row has both 'a' and 'b'"):
        MadeSet(tables, {"pairs": [["a", "b"]]})


def test_components_against_scikit_learn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendmake.tables.tables.BATCH_ROWS", 30)
    monkeypatch.setattr("blendmake.features.recipes.BLOCK_BYTES", 8 * 6 * 7)  # blocks of seven rows
    rng = np.random.default_rng(1)
    values = rng.normal(size=(100, 3)) @ rng.normal(size=(3, 5)) + rng.normal(size=(100, 5))
    values = values * [1, 100, 0.01, 3, 5] + [0, 1000, 0, -3, 5]
    values[rng.random(values.shape) < 0.15] = np.nan

    def columns(rows: slice) -> dict[str, Any]:
        made: dict[str, Any] = {
            f"n{j}": pa.array(values[rows, j], from_pandas=True) for j in range(5)
        }
        return {**made, "c": np.full(len(values[rows]), 2.5), "text": ["a"] * len(values[rows])}

    tables = _read_pair(tmp_path, columns(slice(0, 70)), columns(slice(70, 100)))
    made = MadeSet(tables, {"svd": {"files": ["main"], "components": 4}})
    names = [f"svd__main__{i}" for i in (1, 2, 3, 4)]
    assert made.names[-4:] == names
    values = values.astype(np.float32).astype(np.float64)
    fill, scale = SimpleImputer().fit(values[:70]), StandardScaler()
    pca = PCA(4).fit(scale.fit_transform(fill.transform(values[:70])))
    signs = np.sign(pca.components_[range(4), np.abs(pca.components_).argmax(axis=1)])
    for part, rows in (("train", slice(0, 70)), ("test", slice(70, 100))):
        expected = pca.transform(scale.transform(fill.transform(values[rows]))) * signs
        found = np.column_stack([made.column(name, part) for name in names])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_more_components_than_the_rank_are_refused(tmp_path: Path) -> None:
    ramp = np.arange(8.0)
    tables = _read_pair(tmp_path, {"a": ramp, "b": 3 - 2 * ramp, "c": ramp**2, "d": np.ones(8)})
    assert MadeSet(tables, {"svd": {"files": "main", "components": 2}}).names[-1] == "svd__main__2"
    with pytest.raises(BlendmakeError, match=r"svd\.components: 3 .*'main' have rank 2"):
        MadeSet(tables, {"svd": {"files": "main", "components": 3}})


RECIPES: dict[str, Any] = {
    "row_stats": "main",
    "quantise": {"columns": "n?", "bins": 5},
    "missing_flags": "main",
    "pairs": [["city", "street"]],
    "svd": {"files": "main", "components": 3},
}


def test_recipes_learn_from_train_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)

    def columns(rows: int, shift: float) -> dict[str, Any]:
        values = rng.normal(size=(rows, 4)) + shift
        values[::3, 1] = np.nan
        made: dict[str, Any] = {f"n{j}": pa.array(values[:, j], from_pandas=True) for j in range(4)}
        # The same levels in either: they belong to the tables.
        return {**made, "city": ["a", "b", "c"] * (rows // 3), "street": ["x", "y"] * (rows // 2)}

    train = columns(60, 0)
    files = []
    for name, test in (("one", columns(12, 0)), ("two", columns(30, 50))):
        (tmp_path / name).mkdir()
        MadeSet(_read_pair(tmp_path / name, train, test), RECIPES)
        files.append({p: (tmp_path / name / "set" / f"{p}.arrow").read_bytes() for p in SIZES})
    assert files[0]["train"] == files[1]["train"]
    assert files[0]["test"] != files[1]["test"]


def test_settings_may_leave_out_what_is_not_set(tables: ReadTables) -> None:
    """Jobs are given slices without what is not set."""
    folder = tables.columns_path.parent.parent / "sliced"
    for k, settings in enumerate(
        ({}, {"files": {"main": {"top_variance": 2}, "extra": {}}}, {"row_stats": ["extra"]})
    ):
        whole = MadeSet(tables, settings)
        made = {part: folder / f"{part}{k}.arrow" for part in SIZES}
        make_features(
            tables.paths,
            tables.columns_path,
            FeatureSet.model_validate(settings).slice_without_labels(),
            out_columns=folder / f"columns{k}.parquet",
            out=made,
        )
        assert features_digest(folder / f"columns{k}.parquet") == features_digest(
            whole.columns_path
        )
    make_features(tables.paths, tables.columns_path, {}, out_columns=folder / "c.parquet", out=made)
    files = FeatureSetFiles(folder / "c.parquet", tables.paths["test"], made["test"])
    assert [column.name for column in files.columns] == MAIN + EXTRA


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"quantise": {"columns": ["x*", "y*"], "bins": 4}},
            r"quantise\.columns: 'y\*' .* numeric",
        ),
        ({"quantise": {"columns": "city", "bins": 4}}, r"quantise\.columns: 'city' .* numeric"),
        ({"files": {"extra": {}}, "quantise": {"columns": "x0", "bins": 4}}, "quantise.*'x0'"),
        ({"pairs": [["city", "x0"]]}, "pairs: 'x0' matches no category column"),
        ({"files": {"extra": {"first": 0}, "main": {}}, "svd": {"files": "extra"}}, "svd.*'extra'"),
        ({"files": {"extra": {"first": 0}, "main": {}}, "missing_flags": "extra"}, "'extra'"),
    ],
)
def test_recipes_over_nothing_are_refused(
    tables: ReadTables, settings: dict[str, Any], says: str
) -> None:
    with pytest.raises(BlendmakeError, match=rf"features\.set\..*{says}"):
        MadeSet(tables, settings)
    assert files_below(tables.columns_path.parent.parent / "set") == []


@pytest.mark.parametrize("keys", [{}, {"decimals": 1, "bins": 4}])
def test_quantise_needs_one_way(keys: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="either decimals or bins"):
        FeatureSet.model_validate({"quantise": {"columns": "x", **keys}})
