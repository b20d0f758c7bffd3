"""The contest twin: what it is made of, that it repeats, and that its signal is as it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from blendmake.adapters import ADAPTERS, contest_twin, twin_profile, twin_tables
from blendmake.adapters.contest_twin import TARGETS, facts, write
from blendmake.adapters.twin_profile import Profile, read_profile
from blendmake.adapters.twin_rows import Rows
from blendmake.adapters.twin_tables import calibration
from blendmake.config.data import Data
from blendmake.errors import BlendmakeError
from helpers import read_user_tables

ROWS, TEST_ROWS, EXTRA = 12_000, 4_000, 60
DRIFTED = ("num_feature_7", "cat_feature_48", "num_feature_140")
EXCLUSIVE = "target_10_1"


@pytest.fixture(scope="module")
def profile() -> Profile:
    return read_profile()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin")
    write(folder, rows=ROWS, test_rows=TEST_ROWS, seed=3, extra_columns=EXTRA)
    return folder


@pytest.fixture(scope="module")
def tables(folder: Path) -> dict[str, pd.DataFrame]:
    """Every file by name, rows by customer; `train` and `test` hold both feature files."""
    found = {
        path.stem: pq.read_table(path).to_pandas().set_index("customer_id")
        for path in folder.glob("*.parquet")
    }
    for part in ("train", "test"):
        files = [found[f"{part}_{name}_features"] for name in contest_twin.FILES]
        found[part] = pd.concat(files, axis=1)
    return found


def test_names_shapes_and_keys(folder: Path, tables: dict[str, pd.DataFrame]) -> None:
    published = [row["name"] for row in calibration("columns.csv")]
    assert list(tables["train"]) == list(tables["test"]) == published[: 199 + EXTRA]
    assert len(published) == 2440
    assert tables["train_main_features"].shape == (ROWS, 199)
    assert tables["test_extra_features"].shape == (TEST_ROWS, EXTRA)
    assert list(tables["train_target"]) == [row["name"] for row in calibration("targets.csv")]
    assert tuple(tables["train_target"]) == tuple(tables["test_target"]) == TARGETS
    assert set(tables["train_target"].dtypes) == {np.dtype("int8")}
    sample = tables["sample_submit"]
    assert list(sample) == [name.replace("target_", "predict_") for name in TARGETS]
    assert set(sample.dtypes) == {np.dtype("float64")} and not sample.to_numpy().any()
    ids = {part: tables[part].index for part in ("train", "test")}
    assert ids["train"].dtype == np.int64
    assert len({*ids["train"], *ids["test"]}) == ROWS + TEST_ROWS
    assert not ids["train"].is_monotonic_increasing
    assert ids["train"].equals(tables["train_target"].index)
    assert ids["test"].equals(sample.index) and ids["test"].equals(tables["test_target"].index)
    types = {str(field.type) for field in pq.read_schema(folder / "train_main_features.parquet")}
    assert types == {"int64", "int32", "float"}


def test_the_workflow_reads_what_is_written(folder: Path, tmp_path: Path) -> None:
    section = Data(adapter="contest_twin")
    assert section.adapter in ADAPTERS
    paths = {
        part: {name: path.format(folder=folder) for name, path in contest_twin.DATA[part].items()}
        for part in ("train", "test")
    }
    patterns = contest_twin.DATA["categories"]["patterns"]
    read = read_user_tables(
        tmp_path, paths["train"], paths["test"], ("customer_id",), category_patterns=patterns
    )
    kinds = list(read.kinds().values())
    told = facts(rows=ROWS, extra_columns=EXTRA, seed=3, drift=[])
    assert (told["numbers"], told["categories"]) == (
        kinds.count("number"),
        kinds.count("category"),
    )


def test_the_same_options_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    again, other = tmp_path / "again", tmp_path / "other"
    options: dict[str, Any] = {"rows": ROWS, "test_rows": TEST_ROWS}
    write(again, **options, seed=3, extra_columns=2)
    write(other, **options, seed=4, extra_columns=2)
    for name in ("train_main_features", "test_main_features", "train_target", "sample_submit"):
        first, second, third = (
            (place / f"{name}.parquet").read_bytes() for place in (folder, again, other)
        )
        assert first == second, name
        assert first != third, name


def test_rows_do_not_depend_on_chunks_nor_on_how_many_there_are(profile: Profile) -> None:
    chosen = [column for column in profile.columns if column.name in DRIFTED + LOOKED_AT]
    few, many = (Rows(profile, 5, "train", rows) for rows in (700, 1900))
    whole = next(many.chunks(chosen))
    pieces = list(many.chunks(chosen, size=313))
    (start,) = few.chunks(chosen)
    for j, (values, null) in enumerate(whole):
        joined = np.concatenate([piece[j][0] for piece in pieces])
        assert np.array_equal(values, joined)
        assert np.array_equal(values[:700], start[j][0])
        if null is not None:
            assert np.array_equal(null, np.concatenate([piece[j][1] for piece in pieces]))
            assert np.array_equal(null[:700], start[j][1])
    np.testing.assert_array_equal(many.scores()[:, :700], few.scores())


# A category that is like another, one that repeats another, many levels, null rates low and high.
LOOKED_AT = (
    "cat_feature_5",
    "cat_feature_24",
    "cat_feature_39",
    "num_feature_98",
    "num_feature_854",
    "num_feature_923",
)


def test_null_rates_and_columns_missing_together(tables: dict[str, pd.DataFrame]) -> None:
    null = tables["train"].isna()
    rates = {row["name"]: float(row["null_rate"]) for row in calibration("columns.csv")}
    for name in null:
        spread = np.sqrt(rates[name] * (1 - rates[name]) / ROWS)
        assert abs(null[name].mean() - rates[name]) <= 5 * spread, name
    assert rates["num_feature_1"] == rates["num_feature_7"] > 0
    assert null["num_feature_1"].equals(null["num_feature_7"])
    assert not null["num_feature_1"].equals(null["num_feature_2"])


def test_levels_and_unseen_ones(profile: Profile, tables: dict[str, pd.DataFrame]) -> None:
    categories = [row for row in calibration("columns.csv") if row["levels"]]
    assert len(categories) == 67
    for row in categories:
        codes, levels = tables["train"][row["name"]], int(row["levels"])
        assert codes.min() >= 0 and codes.max() < levels
        if levels <= ROWS // 50:
            assert codes.nunique() == levels, row["name"]
        unseen = ~tables["test"][row["name"]].isin(range(levels))
        expected = max(round(float(row["unseen_rate"] or 0) * TEST_ROWS), 1)
        assert unseen.sum() == (expected if row["unseen_levels"] else 0), row["name"]
    # At full size the rates themselves, and levels of test as published.
    shares = {c.name: c.shares for c in profile.columns}["cat_feature_39"]
    assert shares is not None
    occurring = (1 - (1 - shares) ** twin_tables.TEST_ROWS).sum()
    assert occurring == pytest.approx(1895 - 38, rel=0.01)


def test_columns_that_repeat_others(tables: dict[str, pd.DataFrame]) -> None:
    train = tables["train"]
    assert train["cat_feature_24"].equals(train["cat_feature_20"])
    same = (train["cat_feature_5"] == train["cat_feature_8"]).mean()
    assert 0.85 < same < 1  # alike, not equal


def test_positives_and_the_exclusive_target(tables: dict[str, pd.DataFrame]) -> None:
    labels, test = tables["train_target"], tables["test_target"]
    published = {row["name"]: int(row["positives"]) for row in calibration("targets.csv")}
    for name in TARGETS:
        assert labels[name].sum() == max(round(published[name] / 750_000 * ROWS), 12), name
        assert test[name].sum() >= 4, name
    told = dict(zip(TARGETS, facts(rows=ROWS)["positives"], strict=True))
    assert told == labels.sum().to_dict()
    assert facts()["positives"] == tuple(published.values())
    for table in (labels, test):
        alone = table[table[EXCLUSIVE] == 1]
        assert len(alone) > 0.2 * len(table)
        assert alone.drop(columns=EXCLUSIVE).to_numpy().sum() == 0


def test_targets_correlate_as_published(tables: dict[str, pd.DataFrame]) -> None:
    rows = calibration("targets.csv")
    published = np.array([[float(row[name]) for name in TARGETS] for row in rows])
    found = tables["train_target"].corr().to_numpy()
    # Of rarer targets a small table has more positives than their rate.
    common = np.array([int(row["positives"]) > 750_000 * 15 / ROWS for row in rows])
    pairs = np.triu(np.outer(common, common), 1)
    strong = pairs & (np.abs(published) > 0.1)
    assert strong.sum() > 15
    assert (np.sign(found[strong]) == np.sign(published[strong])).all()
    assert np.corrcoef(found[pairs], published[pairs])[0, 1] > 0.85
    assert np.polyfit(published[strong], found[strong], 1)[0] == pytest.approx(0.85, abs=0.2)


def test_columns_correlate_with_targets_as_published(tables: dict[str, pd.DataFrame]) -> None:
    names = [row["name"] for row in calibration("columns.csv")][: 199 + EXTRA]
    texts = {row["name"]: row["correlations"] for row in calibration("columns.csv")}
    published, found = [], []
    for name in names:
        for text in texts[name].split():
            target, value = text.split(":")
            if abs(float(value)) > 0.08:
                published.append(float(value))
                label = tables["train_target"][f"target_{target}"]
                found.append(tables["train"][name].corr(label))
    assert len(published) > 100
    assert (np.sign(found) == np.sign(published)).mean() > 0.98
    assert np.corrcoef(found, published)[0, 1] > 0.93
    assert np.polyfit(published, found, 1)[0] == pytest.approx(0.85, abs=0.2)


def test_how_much_is_filled_tells_the_exclusive_target(
    profile: Profile, tables: dict[str, pd.DataFrame]
) -> None:
    extra = [column for column in profile.columns if column.file == "extra"]
    one_a_rate = {column.null_rate: column for column in extra}
    weights = {rate: sum(c.null_rate == rate for c in extra) for rate in one_a_rate}
    (chunk,) = Rows(profile, 3, "train", ROWS).chunks(list(one_a_rate.values()))
    filled = sum(
        weight * (1 - null.astype(int))
        for (_, null), weight in zip(chunk, weights.values(), strict=True)
        if null is not None
    )
    area = roc_auc_score(tables["train_target"][EXCLUSIVE], filled)
    assert area == pytest.approx(0.652, abs=0.02)


def test_trees_see_more_than_a_linear_model(tables: dict[str, pd.DataFrame]) -> None:
    train, test = tables["train"], tables["test"]
    categories = [name for name in train if name.startswith("cat")]
    numbers = [name for name in train if name.startswith("num")]
    few = [name for name in categories if train[name].nunique() <= 60]
    mean, spread = train[numbers].mean(), train[numbers].std().replace(0, 1)
    levels = pd.get_dummies(pd.concat([train, test])[few].astype("category")).to_numpy()
    linear = [
        np.hstack([((part[numbers] - mean) / spread).clip(-5, 5).fillna(0), part[numbers].isna()])
        for part in (train, test)
    ]
    linear = [np.hstack([linear[0], levels[:ROWS]]), np.hstack([linear[1], levels[ROWS:]])]
    params = {
        "objective": "binary",
        "learning_rate": 0.1,
        "num_leaves": 15,
        "feature_fraction": 0.5,
        "num_threads": 1,
        "verbose": -1,
        "seed": 1,
    }
    areas = []
    for name in ("target_1_3", "target_2_2", "target_8_1", EXCLUSIVE):
        known, held = tables["train_target"][name], tables["test_target"][name]
        trees = lgb.train(params, lgb.Dataset(train, known), 50)
        model = LogisticRegression(C=0.01, tol=0.01, max_iter=200).fit(linear[0], known)
        told = model.decision_function(linear[1])
        areas.append([roc_auc_score(held, trees.predict(test)), roc_auc_score(held, told)])
    by_trees, by_line = np.mean(areas, axis=0)
    assert 0.75 < by_trees < 0.9
    assert by_line > 0.65
    assert by_trees > by_line + 0.05


def _shift(tables: dict[str, pd.DataFrame], name: str, test: pd.Series | None = None) -> float:
    """How far test's mean rank lies from train's: 0.5 where they cannot be told apart."""
    first, second = tables["train"][name], tables["test"][name] if test is None else test
    values = pd.concat([first, second]).to_numpy()
    known = ~np.isnan(values)
    part = np.repeat([0, 1], [len(first), len(second)])
    return float(roc_auc_score(part[known], values[known]))


def test_drift_is_absent_unless_asked_for(tmp_path: Path, tables: dict[str, pd.DataFrame]) -> None:
    filled = [name for name in tables["train"] if tables["train"][name].notna().mean() > 0.2]
    apart = [abs(_shift(tables, name) - 0.5) for name in filled]
    assert max(apart) < 0.035  # of 200 columns; the standard error of one is about 0.006
    write(
        tmp_path,
        rows=ROWS,
        test_rows=TEST_ROWS,
        seed=3,
        extra_columns=EXTRA,
        drift=list(DRIFTED),
    )
    moved = pd.concat(
        [
            pq.read_table(tmp_path / f"test_{name}_features.parquet").to_pandas()
            for name in contest_twin.FILES
        ],
        axis=1,
    )
    for name in filled:
        before, after = tables["test"][name].to_numpy(), moved[name].to_numpy()
        assert (name in DRIFTED) != np.array_equal(before, after, equal_nan=True), name
    for name in DRIFTED:
        assert _shift(tables, name, moved[name]) > 0.58, name
    for kind in ("train_main_features", "train_extra_features", "test_target"):
        table = pq.read_table(tmp_path / f"{kind}.parquet").to_pandas().set_index("customer_id")
        pd.testing.assert_frame_equal(table, tables[kind])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rows": 999}, "rows is 999; give a number from 1,000"),
        ({"rows": 1000, "test_rows": 10}, "test_rows is 10; give a number from 250"),
        ({"rows": 1000, "extra_columns": 2242}, "extra_columns is 2,242; .* to 2,241"),
        (
            {"rows": 1000, "extra_columns": 8, "drift": ["num_feature_1", "num_feature_141"]},
            "drift names 'num_feature_141', which is not written; .* num_feature_1 … 140",
        ),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(BlendmakeError, match=told):
        write(tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_the_least_size_is_whole(tmp_path: Path) -> None:
    write(tmp_path, rows=1000, extra_columns=1)
    labels = pq.read_table(tmp_path / "train_target.parquet").to_pandas()
    assert labels[list(TARGETS)].sum().min() == 12
    assert pq.read_metadata(tmp_path / "test_extra_features.parquet").num_rows == 333


def test_options_are_those_of_write() -> None:
    known = write.__kwdefaults__
    assert known is not None
    assert contest_twin.OPTIONS.keys() == known.keys()
    assert facts(**contest_twin.OPTIONS) == facts()


def test_another_calibration_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = tmp_path / "targets.csv"
    changed.write_bytes((twin_tables.FOLDER / "targets.csv").read_bytes() + b"\n")
    monkeypatch.setattr(twin_tables, "FOLDER", tmp_path)
    with pytest.raises(BlendmakeError, match=r"targets\.csv is not the table that"):
        twin_profile.read_profile()
