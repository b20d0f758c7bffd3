"""Numbers that float32 would make equal stay apart, from the file to the models."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blendmake.audits.auditing import AuditOutputs, audit_fold
from blendmake.audits.drift import adversarial, check_columns
from blendmake.config.audits import Audit
from blendmake.errors import BlendmakeError
from blendmake.features.files import FeatureSetFiles
from blendmake.files import read_parquet
from blendmake.matrix import Column, Rows, TableFile, known_values
from blendmake.stats.auc import auc
from blendmake.tasks.base import as_targets
from helpers import ReadTables, read_user_tables, write_user_file
from problems import Problem, kept_predictions, run_fold, with_fold_features, write_problem

FIRST = 4_000_000_001  # a merchant number
BEYOND = 2**63 - 40  # whole numbers from here differ by less than float64 tells


def _read(folder: Path, train: Any, test: Any = None, **options: Any) -> ReadTables:
    """A table of one column x, in train and in test."""
    columns = {"id": [f"r{i}" for i in range(len(train))], "x": train}
    paths = {"main": write_user_file(folder / "train.parquet", columns)}
    if test is None:
        return read_user_tables(folder, paths, **options)
    columns = {"id": [f"t{i}" for i in range(len(test))], "x": test}
    other = {"main": write_user_file(folder / "test.parquet", columns)}
    return read_user_tables(folder, paths, other, **options)


def _rows(table: TableFile, known: Any = None, **settings: Any) -> Rows:
    rows = Rows({"table": table}, [Column("x", "table", 0)], np.arange(table.rows), **settings)
    rows.known = known or known_values(rows)
    return rows


def _kept(read: ReadTables) -> tuple[str, str | None]:
    return read.columns["x"]["kept"], read.columns["x"]["unit"]


def _same_order(values: Sequence[Any], codes: np.ndarray) -> bool:
    """Whether codes order values as they are, ties and all."""
    ranks = np.unique(np.array([int(value) for value in values], object), return_inverse=True)[1]
    return bool(np.array_equal(np.unique(codes, return_inverse=True)[1], ranks))


# Any whole numbers, from the file to what models read

WHOLE = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "to 2^53": st.integers(-(2**53), 2**53),
    "neighbours": st.integers(FIRST, FIRST + 20),
    "far neighbours": st.integers(BEYOND, 2**63 - 1),
}


@pytest.mark.parametrize("kind", WHOLE)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whole_numbers_keep_their_order_and_their_ties(kind: str, data: st.DataObject) -> None:
    dtype = pa.uint64() if kind == "uint64" else pa.int64()
    train = data.draw(st.lists(WHOLE[kind], min_size=1, max_size=30))
    with tempfile.TemporaryDirectory() as folder:
        read = _read(Path(folder), pa.array(train, dtype), pa.array(train[::-1], dtype))
        rows = _rows(read.train)
        assert _same_order(train, rows.codes(0))
        assert np.array_equal(np.concatenate(list(rows.blocks(8)))[:, 0], rows.codes(0))
        assert np.array_equal(rows.dense()[:, 0], rows.codes(0))
        assert np.array_equal(_rows(read.test, rows.known).codes(0), rows.codes(0)[::-1])


@settings(max_examples=30, deadline=None)
@given(
    train=st.lists(WHOLE["to 2^53"], min_size=1, max_size=20),
    test=st.lists(WHOLE["to 2^53"], min_size=1, max_size=20),
)
def test_unseen_numbers_lie_between_those_of_train(train: list[int], test: list[int]) -> None:
    # One that float32 cannot hold: the column is wide whatever else is drawn.
    train = [*train, FIRST]
    with tempfile.TemporaryDirectory() as folder:
        read = _read(Path(folder), pa.array(train), pa.array(test))
        rows = _rows(read.train)
        codes, unseen = rows.codes(0), _rows(read.test, rows.known).codes(0)
        for value, code in zip(test, unseen, strict=True):
            assert [value < other for other in train] == [code < other for other in codes]
            assert [value > other for other in train] == [code > other for other in codes]


def test_order_beyond_float64_places_unseen_numbers_between(tmp_path: Path) -> None:
    read = _read(tmp_path, pa.array([2**62 + 1, 2**62 + 3, None]), pa.array([2**62 + 2, None, 7]))
    assert _kept(read) == ("order", None)
    assert read.decoded("x") == [0, 1, None]
    assert read.decoded("x", "test") == [0.5, None, -0.5]


HUGE = st.integers(-(10**39), 10**39)  # more digits than a decimal of 16 bytes holds


@settings(max_examples=30, deadline=None)
@given(
    train=st.lists(HUGE, min_size=1, max_size=12),
    test=st.lists(HUGE, min_size=1, max_size=6),
    small=st.booleans(),
)
def test_whole_numbers_of_any_length_keep_their_order_in_csv(
    train: list[int], test: list[int], small: bool
) -> None:
    # With small ones alone the test file holds another type than the train file.
    test = [value % 1000 for value in test] if small else [*test, train[0], train[0] + 1]
    train = [*train, 10**39, 10**39 + 1]
    with tempfile.TemporaryDirectory() as name:
        folder, files = Path(name), {}
        for part, values in (("train", train), ("test", test)):
            rows = "".join(f"{part}{i},{value}\n" for i, value in enumerate(values))
            (folder / f"{part}.csv").write_text(f"id,x\n{rows}{part},\n")
            files[part] = {"main": str(folder / f"{part}.csv")}
        read = read_user_tables(folder, files["train"], files["test"])
    assert read.kinds() == {"x": "number"}
    codes = read.train.values("x")[:-1]
    assert _same_order(train, codes)
    for value, code in zip(test, read.test.values("x")[:-1], strict=True):
        assert [value < other for other in train] == [code < other for other in codes]
        assert [value > other for other in train] == [code > other for other in codes]
    assert np.isnan([read.train.values("x")[-1], read.test.values("x")[-1]]).all()


LONG = [10**18 + i % 50 for i in range(100)]
WRITTEN: dict[str, tuple[list[Any], list[Any], dict[str, Any]]] = {
    "beyond int64": ([10**19 + v for v in LONG], [10**19 + 10**18 + 3], {}),
    "with a sign": ([f"+{10**20 + v}" for v in LONG], [10**20 + 10**18 + 3], {}),
    "negative": ([-(10**20) - 49 + v - 10**18 for v in LONG], [-(10**20) - 46], {}),
    "with NA": ([*(10**20 + v for v in LONG), "NA"], [10**20 + 10**18 + 3], {}),
    "missing by the config": ([*LONG, "?"], [10**18 + 3, "?"], {"missing": ["?"]}),
    "and beyond int64": ([*(10**22 + v for v in LONG), "?"], [10**22 + LONG[3]], {"missing": "?"}),
    "in groups of three": (
        [f'"{10**19 + v:,}"' for v in LONG],
        [f'"{10**19 + LONG[3]:,}"'],
        {"csv_format": {"thousands": ","}},
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_long_whole_numbers_of_csv_files_stay_apart(tmp_path: Path, name: str) -> None:
    files = {}
    train, test, options = WRITTEN[name]
    for part, values in (("train", train), ("test", test)):
        path = tmp_path / f"{part}.csv"
        path.write_text("id,x\n" + "".join(f"{part}{i},{v}\n" for i, v in enumerate(values)))
        files[part] = {"main": str(path)}
    read = read_user_tables(tmp_path, files["train"], files["test"], **options)
    assert _kept(read) == ("order", None)
    assert [v for v in read.decoded("x") if v is not None] == [i % 50 for i in range(100)]
    assert read.decoded("x", "test")[0] == 3


def test_whole_numbers_without_end_are_told(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text("id,x\n" + "".join(f"r{i},{10**90 + i}\n" for i in range(5)))
    with pytest.raises(
        BlendmakeError, match=r"train\.csv: column 'x' holds a whole number of 91 di"
    ):
        read_user_tables(tmp_path, {"main": str(path)})


BETWEEN: dict[str, tuple[Any, Any, list[Any]]] = {
    "decimals": (
        pa.array([Decimal(10**30), Decimal(10**30 + 2)]),
        pa.array([Decimal(10**30 + 1), Decimal(10**30 + 2), None]),
        [0.5, 1, None],
    ),
    "floats": (
        pa.array([Decimal(2), Decimal(10**30 + 2)]),
        pa.array([1.5, 2.0, None, math.nan], from_pandas=False),
        [-0.5, 0, None, None],
    ),
    "beyond int64": (
        pa.array([2**63 - 3, 2**63 - 1]),
        pa.array([2**63 - 2, 2**63 - 1, 2**63], pa.uint64()),
        [0.5, 1, 1.5],
    ),
    "finer times": (
        pa.array([2**53, 2**53 + 2], pa.timestamp("us")),
        pa.array([2**53 * 1000 + 1, 2**53 * 1000 + 2000, None], pa.timestamp("ns")),
        [0.5, 1, None],
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_unseen_values_of_other_types_lie_between(tmp_path: Path, name: str) -> None:
    train, test, places = BETWEEN[name]
    read = _read(tmp_path, train, test)
    assert _kept(read)[0] == "order"
    assert read.decoded("x", "test") == places


def test_distances_are_exact_near_the_median(tmp_path: Path) -> None:
    values = FIRST + np.array([5, 0, 3, 3, 9])
    rows = _rows(_read(tmp_path, pa.array(values)).train).measuring()
    assert np.array_equal(rows.codes(0) - rows.codes(0)[1], values - FIRST)


# How a column is kept

KEPT: dict[str, tuple[Any, str]] = {
    "account numbers": (pa.array([FIRST, FIRST + 1]), "float64"),
    "dates as whole numbers": (pa.array([20240101, 20240102]), "float64"),
    "whole numbers of a column with gaps": (pa.array([FIRST + 0.0, FIRST + 1.0, None]), "float64"),
    "whole numbers that float32 holds": (pa.array([2**24, 2**30, -(2**40)]), "float32"),
    "small whole numbers": (pa.array([1, 2, 3], pa.int64()), "float32"),
    "measurements": (pa.array(np.random.default_rng(0).normal(size=5000)), "float32"),
    "large measurements": (pa.array(1e20 * np.random.default_rng(0).random(5000)), "float32"),
    "prices that hardly differ": (pa.array(100 + np.arange(50) / 10**7), "float64"),
    "decimals that hardly differ": (
        pa.array([Decimal(f"100.00000{i}") for i in range(10, 90)]),
        "float64",
    ),
    "long decimals": (pa.array([Decimal(10**20 + i) for i in range(3)]), "order"),
    "beyond 2^53": (pa.array([2**53 + 1, 2**53 + 2]), "order"),
}


@pytest.mark.parametrize("name", KEPT)
def test_columns_are_as_wide_as_their_values_ask(tmp_path: Path, name: str) -> None:
    values, kept = KEPT[name]
    read = _read(tmp_path, values)
    assert _kept(read) == (kept, None)
    assert read.train.is_wide("x") == (kept == "float64")
    if kept == "float64":
        distinct = len(values.drop_null().unique())
        assert len(np.unique(_rows(read.train).codes(0)[: len(values.drop_null())])) == distinct


def test_test_table_may_hold_other_types(tmp_path: Path) -> None:
    read = _read(tmp_path, pa.array([2**60 + 1, 2**60 + 2]), pa.array([1.5, None, 2.0**61]))
    assert read.decoded("x", "test") == [-0.5, None, 1.5]


# Times

MOON = datetime(1969, 7, 20, 20, 17, 40)
TIMES: dict[str, tuple[Any, list[float | None], str, str]] = {
    "date32": (pa.array([date(1970, 1, 11), None]), [10.0, None], "float32", "days"),
    "date64": (pa.array([date(1970, 1, 11), None], pa.date64()), [10, None], "float32", "days"),
    "timestamp": (
        pa.array([MOON, None], pa.timestamp("s")),
        [(MOON - datetime(1970, 1, 1)).total_seconds(), None],
        "float32",
        "seconds",
    ),
    "late": (
        pa.array([1_700_000_001, 1_700_000_002, None], pa.timestamp("s", "UTC")),
        [1_700_000_001, 1_700_000_002, None],
        "float64",
        "seconds",
    ),
    "microseconds": (
        pa.array([1_700_000_001_000_001, 1_700_000_001_000_002], pa.timestamp("us")),
        [1_700_000_001.000001, 1_700_000_001.000002],
        "float64",
        "seconds",
    ),
    "microseconds as nanoseconds": (
        pa.array([1_700_000_001_000_001_000, 1_700_000_001_000_002_000], pa.timestamp("ns")),
        [1_700_000_001.000001, 1_700_000_001.000002],
        "float64",
        "seconds",
    ),
    "nanoseconds": (
        pa.array([1_700_000_001_000_000_001, 1_700_000_001_000_000_002], pa.timestamp("ns")),
        [0, 1],
        "order",
        "seconds",
    ),
    "time": (pa.array([time(0, 1), None], pa.time32("s")), [60, None], "float32", "seconds"),
    "duration": (pa.array([timedelta(1), None]), [86400, None], "float32", "seconds"),
}


@pytest.mark.parametrize("name", TIMES)
def test_times_are_numbers(tmp_path: Path, name: str) -> None:
    values, expected, kept, unit = TIMES[name]
    read = _read(tmp_path, values, values)
    assert _kept(read) == (kept, unit)
    assert read.kinds()["x"] == "number"
    assert read.decoded("x") == read.decoded("x", "test") == expected


def test_times_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    _read(tmp_path, pa.array([datetime(2024, 1, 1)]))
    assert "times read as seconds (instants since 1970): 'x'" in caplog.text


def test_times_that_are_named_are_categories(tmp_path: Path) -> None:
    read = _read(tmp_path, pa.array([date(2024, 1, 2)]), category_columns=["x"])
    assert read.decoded("x") == ["2024-01-02"]


def test_a_date_in_one_table_and_an_instant_in_the_other_are_both_seconds(tmp_path: Path) -> None:
    read = _read(tmp_path, pa.array([date(1970, 1, 2)]), pa.array([datetime(1970, 1, 3)]))
    assert (read.decoded("x"), read.decoded("x", "test")) == ([86400], [2 * 86400])


@pytest.mark.parametrize(
    "other",
    [
        pa.array([5]),
        pa.array([timedelta(1)]),
        pa.array([5], pa.timestamp("s", "UTC")),
    ],
    ids=["number", "span", "zone"],
)
def test_times_of_other_kinds_are_refused(tmp_path: Path, other: pa.Array) -> None:
    with pytest.raises(BlendmakeError, match=r"test\.parquet: column 'x' is .*Give both one type"):
        _read(tmp_path, pa.array([5], pa.timestamp("s")), other)


# Models

FAMILIES = ["catboost", "extra_trees", "lightgbm", "linear", "mlp", "xgboost", "xgboost_vector"]
ROWS = 600


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """A label that hangs on the account number alone, in numbers that differ by one."""
    rng = np.random.default_rng(4)
    k = rng.integers(0, 20, ROWS + 50)
    labels = (rng.random(ROWS + 50) < np.repeat([0.05, 0.95], 10)[k]).astype(float)
    columns = {"account": FIRST + k, "noise": rng.normal(size=ROWS + 50)}
    train = {name: pa.array(values[:ROWS]) for name, values in columns.items()}
    test = {name: pa.array(values[ROWS:]) for name, values in columns.items()}
    folder = tmp_path_factory.mktemp("account")
    return write_problem(folder, train, test, labels[:ROWS, None], ["y"])


@pytest.mark.parametrize("family", FAMILIES)
def test_models_tell_account_numbers_apart(account: Problem, tmp_path: Path, family: str) -> None:
    rounds = {"linear": {}, "mlp": {"rounds": 20}}.get(family, {"rounds": 20})
    done = run_fold(account, family, tmp_path, keep_models=True, **rounds)
    assert auc(account.column("y")[account.rows(0).valid], done.held_out("y")) > 0.85
    kept = kept_predictions(tmp_path / "models", "y", account.test_files())
    assert np.allclose(kept, done.tested("y"), rtol=0, atol=1e-6)


CUSTOM = """
def fit_fold(fold):
    account = fold.train["account"]
    assert str(account.dtype) == "float64" and account.min() == 4000000001, account
    best = account.groupby(account).agg(lambda rows: fold.labels["y"][rows.index].mean())
    return [rows["account"].map(best).to_numpy() for rows in (fold.valid, fold.test)]
"""


def test_custom_sources_are_given_the_values(account: Problem, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(CUSTOM, encoding="utf-8")
    done = run_fold(account, "custom", tmp_path, file=str(tmp_path / "own.py"))
    assert auc(account.column("y")[account.rows(0).valid], done.held_out("y")) > 0.85


# Audits, recipes, selection


def test_drift_sees_the_values(tmp_path: Path) -> None:
    """Test rows hold the higher account numbers: neither check nor model may miss it."""
    rows = 300
    low, high = (FIRST + np.arange(rows) % 10 + shift for shift in (0, 10))
    labels = (np.arange(rows) // 2 % 2)[:, None]
    other = {"noise": pa.array(np.arange(rows) % 7)}
    train, test = ({"account": pa.array(part), **other} for part in (low, high))
    problem = write_problem(tmp_path, train, test, labels, ["y"])
    files = problem.inputs.feature_files("train"), problem.test_files()
    given = as_targets(["y"]), labels.astype(np.float32)
    found = check_columns(*files, np.arange(rows), *given, {}, 1)
    assert found["drift_auc"].to_pylist()[0] == 1
    told = adversarial(
        *files, np.arange(rows), 400, params={}, rounds=5, threads=1, seed=1, scratch=tmp_path
    )
    assert told is not None
    assert told.auc == 1


def test_selection_sees_the_values(account: Problem) -> None:
    chosen = with_fold_features(account, 0, {"select": {"top": 1, "sample": ROWS}})
    assert read_parquet(chosen.inputs.columns)["name"].to_pylist() == ["account"]


def test_recipes_see_the_values(tmp_path: Path) -> None:
    first, last = FIRST + np.arange(40) % 20, 1_700_000_001 + np.arange(40) % 17
    train = {"account": pa.array(first), "noise": pa.array(np.arange(40.0)), "gap": pa.array(last)}
    train["gap"] = pa.array(last, mask=np.arange(40) % 3 == 0)
    recipes = {
        "quantise": {"columns": ["account"], "decimals": 0},
        "files": {"main": {"drop": write_names(tmp_path, "noise")}},
        "missing_flags": ["main"],
        "row_stats": ["main"],
        "svd": {"files": ["main"], "components": 1},
    }
    labels = (np.arange(40) % 2)[:, None]
    problem = write_problem(tmp_path, train, train, labels, ["y"], features=recipes)
    inputs = problem.inputs
    files = FeatureSetFiles(inputs.columns, inputs.tables["train"], inputs.made["train"])
    made = files.files["set"]
    assert np.array_equal(made.values("account__rounded"), first)
    both = np.where(np.arange(40) % 3 == 0, np.nan, last)
    assert np.array_equal(made.values("main__row_max"), first)
    assert np.array_equal(made.values("main__row_min"), np.fmin(first, both))
    assert np.array_equal(made.values("main__row_sum"), first + np.nan_to_num(both))
    assert np.array_equal(made.values("gap__missing"), np.isnan(both))
    # One component of the two columns, standardised, a missing value at the mean.
    filled = np.where(np.isnan(both), np.nanmean(both), both)
    columns = np.column_stack([first, filled]) - [first.mean(), np.nanmean(both)]
    columns /= columns.std(axis=0)
    sign = np.sign(columns[:, 0] @ columns[:, 1])
    expected = columns @ [1, sign] / np.sqrt(2)
    found = made.values("svd__main__1")
    assert np.allclose(found * np.sign(found @ expected), expected, atol=1e-5)


def write_names(folder: Path, *names: str) -> str:
    path = folder / "names.txt"
    path.write_text("\n".join(names), encoding="utf-8")
    return str(path)


def test_encodings_and_pairs_see_the_levels(tmp_path: Path) -> None:
    """Account numbers as categories, whose codes must be as many as there are numbers."""
    k = np.arange(400) % 20
    train = {"account": pa.array((FIRST + k).astype(str)), "flag": pa.array((k % 2).astype(str))}
    labels = (k < 10).astype(float)[:, None]
    features = {"pairs": [["account", "flag"]]}
    problem = write_problem(tmp_path, train, train, labels, ["y"], features=features)
    assert len(np.unique(problem.test_files().files["set"].values("account__x__flag"))) == 20
    encoding = {"columns": ["account"], "smoothing": 0.0}
    encoded = with_fold_features(problem, 0, {"target_encoding": encoding})
    files = encoded.inputs.feature_files("test")
    assert np.array_equal(files.files["fold"].values("account__encoded"), labels[:, 0])


def test_audits_permute_the_values(account: Problem, tmp_path: Path) -> None:
    """What hangs on neighbouring numbers has an effect; places of numbers are permuted, not rounded."""
    outputs = AuditOutputs(tmp_path / "features.parquet", tmp_path / "columns.parquet")
    settings = Audit(rounds=20, repeats=2, null_repeats=1).model_dump()
    audit_fold(
        "all",
        settings,
        {},
        0,
        account.inputs,
        outputs,
        seed=1,
        code="code",
        scratch=tmp_path / "scratch",
        threads=1,
        note={},
    )
    found = {row["feature"]: row for row in read_parquet(outputs.features).to_pylist()}
    assert found["account"]["effect"] > 0.3
    assert found["account"]["z"] > 5


@pytest.mark.parametrize(
    ("features", "name", "levels"),
    [
        ({"quantise": {"columns": ["account"], "bins": 20}}, "account__bin", 0),
        ({"categorical_below": 20}, "account__category", 20),
    ],
)
def test_bins_and_codes_tell_neighbours_apart(
    tmp_path: Path, features: dict[str, Any], name: str, levels: int
) -> None:
    train = {"account": pa.array(FIRST + np.arange(40) % 20), "noise": pa.array(np.arange(40.0))}
    labels = (np.arange(40) % 2)[:, None]
    problem = write_problem(tmp_path, train, train, labels, ["y"], features=features)
    files = problem.test_files()
    assert np.array_equal(files.files["set"].values(name), np.arange(40) % 20)
    assert {c.name: c.levels for c in files.columns}[name] == levels
