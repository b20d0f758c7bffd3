"""Audits: planted columns end where they belong, and nothing is looked at that must not be."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from blendmake import window
from blendmake.audits import auditing
from blendmake.audits.auditing import (
    AuditOutputs,
    audit_fold,
    sample_rows,
    shortlisted,
)
from blendmake.audits.drift import COLUMNS, grouped_auc
from blendmake.audits.permuting import Forest, permuted_drops
from blendmake.audits.verdicts import COLUMN_VERDICTS, VERDICTS, assemble_audit, judge_fold
from blendmake.config.audits import Audit
from blendmake.errors import BlendmakeError
from blendmake.features.sets import read_names, select_columns
from blendmake.files import note_of, read_note, read_parquet
from blendmake.matrix import TableFile
from blendmake.reports.audit_figures import (
    TOP,
    draw_drift,
    draw_effects,
    draw_target_effects,
    macro_effects,
)
from blendmake.stats.auc import AucScorer, auc
from blendmake.window import DEADLINE, heed_sigterm
from problems import FOLDS, Problem, with_labels, write_problem

ROWS, TEST_ROWS = 1500, 300
TARGETS = ("a", "b")
NOISE = [f"noise_{i}" for i in range(6)]
USELESS = {"constant", "empty", "twin", "leak"}
DRIFTED = {"shifted", "gappy"}
SIGNAL = {"strong", "medium", "city"}


def planted(seed: int = 0) -> tuple[dict[str, Any], dict[str, Any], np.ndarray[Any, Any]]:
    """Train columns, test columns and labels (rows, targets)."""
    rng = np.random.default_rng(seed)
    every = ROWS + TEST_ROWS
    in_test = np.arange(every) >= ROWS
    numbers = {name: rng.normal(size=every).round(3) for name in ("strong", "medium", *NOISE)}
    city = rng.integers(0, 4, every)
    odds = 2.5 * numbers["strong"] + 2.0 * numbers["medium"] + 4.0 * (city == 1) - 1.0
    a = (odds + rng.logistic(size=every) > 0).astype(float)
    b = (2.0 * numbers["strong"] + rng.logistic(size=every) > 1.5).astype(float)
    columns: dict[str, Any] = {
        **numbers,
        "city": pa.array(np.array(["aachen", "bonn", "celle", "dessau"])[city]),
        "street": pa.array([f"street {i}" for i in rng.integers(0, 150, every)]),
        "constant": np.full(every, 2.5),
        "empty": pa.nulls(every, pa.float64()),
        "twin": numbers["strong"],
        "leak": np.where(rng.random(every) < 0.002, 1 - a, a) + rng.normal(size=every) * 0.1,
        "shifted": rng.normal(size=every) + in_test,
        "gappy": pa.array(rng.normal(size=every), mask=in_test & (rng.random(every) < 0.4)),
    }
    labels = np.column_stack([a, np.where(rng.random(every) < 0.2, np.nan, b)])[:ROWS]
    whole = pa.table(columns)
    parts = (whole.slice(0, ROWS), whole.slice(ROWS))
    train, test = ({name: part[name] for name in part.column_names} for part in parts)
    return train, test, labels


FOLD = np.arange(ROWS) % FOLDS


@dataclass(frozen=True)
class Audited:
    """What an audit left on disk: of every fold, and of all together."""

    folds: Sequence[AuditOutputs]
    folder: Path

    def features(self, fold: int) -> pa.Table:
        return read_parquet(self.folds[fold].features)

    def columns(self, fold: int) -> pa.Table:
        return read_parquet(self.folds[fold].columns)

    def drops(self, fold: int) -> dict[str, set[str]]:
        out = self.folder / f"drop{fold}.parquet"
        paths = (self.folds[fold].features, self.folds[fold].columns)
        judge_fold(*paths, Audit().model_dump(), out, {})
        found: dict[str, set[str]] = {"signal_only": set(), "drift_pruned": set()}
        for row in read_parquet(out).to_pylist():
            found[row["list"]].add(row["feature"])
        return found

    def assemble(self, problem: Problem, files: Sequence[str] = ()) -> dict[str, Any]:
        out = {
            **{part: self.folder / f"{part}.parquet" for part in ("features", "columns")},
            **{part: self.folder / f"{part}.txt" for part in ("keep", "drop")},
        }
        lists = {
            file: {part: self.folder / f"{file}_{part}.txt" for part in ("keep", "drop")}
            for file in files
        }
        parts = [{"features": one.features, "columns": one.columns} for one in self.folds]
        verdict = Audit().model_dump()
        assemble_audit("main", parts, problem.inputs.columns, verdict, out, lists, {})
        return out


def run_audit(
    problem: Problem, out: Path, folds: Sequence[int] = range(FOLDS), **settings: Any
) -> Audited:
    inputs = problem.inputs
    assert inputs.inner is not None
    scratch = settings.pop("scratch", out / "scratch")
    settings = {"rounds": 30, "params": {"num_leaves": 15, "min_data_in_leaf": 10}, **settings}
    audit = Audit(**settings).model_dump()
    outputs = [
        AuditOutputs(out / f"features{k}.parquet", out / f"columns{k}.parquet") for k in folds
    ]
    for k, of_fold in zip(folds, outputs, strict=True):
        audit_fold(
            "main",
            audit,
            {},
            k,
            inputs,
            of_fold,
            seed=1,
            code="code",
            scratch=scratch / f"fold{k}",
            threads=1,
            note={},
        )
    return Audited(outputs, out)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    train, test, labels = planted()
    return write_problem(
        tmp_path_factory.mktemp("problem"), train, test, labels, TARGETS, fold=FOLD
    )


@pytest.fixture(scope="module")
def audited(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Audited:
    return run_audit(problem, tmp_path_factory.mktemp("audit"))


@pytest.fixture(scope="module")
def assembled(problem: Problem, audited: Audited) -> Mapping[str, Path]:
    return audited.assemble(problem, ["main"])


# Verdicts


def test_planted_columns_get_the_right_verdicts(assembled: Mapping[str, Path]) -> None:
    rows = {row["feature"]: row for row in read_parquet(assembled["columns"]).to_pylist()}
    verdicts = {name: row["verdict"] for name, row in rows.items()}
    assert {name for name, verdict in verdicts.items() if verdict == "keep"} == SIGNAL
    assert {name for name in rows if verdicts[name] == "drop"} >= USELESS | set(NOISE)
    assert rows["twin"]["duplicate_of"] == "strong" and rows["strong"]["duplicate_of"] is None
    assert rows["leak"]["label_copy_of"] == "a"
    assert {name for name, row in rows.items() if row["label_copy_of"]} == {"leak"}
    assert [name for name, row in rows.items() if row["constant"]] == ["constant"]
    assert [name for name, row in rows.items() if row["all_null"]] == ["empty"]
    assert {name for name, row in rows.items() if row["drifted"]} == DRIFTED
    assert rows["shifted"]["drift_auc"] == pytest.approx(0.76, abs=0.03)
    assert rows["gappy"]["null_test"] == pytest.approx(0.4, abs=0.1)
    assert rows["shifted"]["adversarial_gain"] > 0.1
    assert rows["strong"]["why"] == "effect on 2 targets"
    assert rows["medium"]["why"] == "effect on 1 targets"


def test_verdicts_by_target(assembled: Mapping[str, Path]) -> None:
    table = read_parquet(assembled["features"])
    assert table.schema.equals(VERDICTS, check_metadata=False)
    kept = {
        (row["target"], row["feature"]) for row in table.to_pylist() if row["verdict"] == "keep"
    }
    assert kept == {("a", "strong"), ("a", "medium"), ("a", "city"), ("b", "strong")}
    first: dict[str, str | None] = dict.fromkeys(TARGETS)
    for row in reversed(table.to_pylist()):
        first[row["target"]] = row["feature"]
        assert 0 <= row["share_positive"] <= row["folds"] / FOLDS <= 1
    assert set(first.values()) == {"strong"}


def test_lists_of_one_fold(audited: Audited) -> None:
    for fold in range(FOLDS):
        drops = audited.drops(fold)
        assert drops["signal_only"] >= USELESS
        assert not drops["signal_only"] & SIGNAL
        assert len(drops["signal_only"] & set(NOISE)) >= 5
        assert drops["drift_pruned"] == USELESS | DRIFTED


def test_a_column_never_tried_is_not_dropped(problem: Problem, tmp_path: Path) -> None:
    audited = run_audit(problem, tmp_path, [0], shortlist=2, targets="a")
    features = audited.features(0).to_pylist()
    assert [row["rank"] for row in features] == [1, 2]
    assert audited.drops(0)["signal_only"] <= USELESS | {row["feature"] for row in features}
    columns = read_parquet(audited.assemble(problem)["columns"]).to_pylist()
    untried = {row["feature"]: row for row in columns if row["why"] == "never tried"}
    assert set(NOISE) <= set(untried)
    assert {row["verdict"] for row in untried.values()} == {"undecided"}


def test_shuffled_labels_leave_nothing_to_keep(problem: Problem, tmp_path: Path) -> None:
    labels = np.random.default_rng(5).permutation(problem.labels)
    shuffled = with_labels(problem, labels, "shuffled")
    audited = run_audit(shuffled, tmp_path)
    table = read_parquet(audited.assemble(shuffled)["features"])
    assert table.num_rows > 20
    assert "keep" not in table["verdict"].to_pylist()
    single = np.concatenate([audited.features(k)["z"].to_numpy() for k in range(FOLDS)])
    assert np.mean(single >= 3) <= 0.05


def test_lists_are_read_by_feature_sets(problem: Problem, assembled: Mapping[str, Path]) -> None:
    assert set(read_names(str(assembled["keep"]))) == SIGNAL
    assert "optimistic" in assembled["keep"].read_text()
    of_file = str(assembled["drop"].with_name("main_drop.txt"))
    assert read_names(of_file) == read_names(str(assembled["drop"]))
    listed = read_parquet(problem.folder / "tables" / "columns.parquet").to_pylist()
    left = select_columns(listed, {"drop": of_file}, "main", lambda _: 0.0)
    assert set(left) >= SIGNAL and not set(left) & USELESS


def test_made_columns_stand_in_lists_as_comments(tmp_path: Path) -> None:
    train, test, labels = planted()
    names = ("strong", "noise_0", "noise_1")
    small = write_problem(
        tmp_path / "problem",
        {name: train[name] for name in names} | {"#odd": train["medium"]},
        {name: test[name] for name in names} | {"#odd": test["medium"]},
        labels[:, :1],
        ("a",),
        fold=FOLD,
        features={"row_stats": ["main"]},
    )
    out = run_audit(small, tmp_path / "out").assemble(small)
    rows = {row["feature"]: row for row in read_parquet(out["columns"]).to_pylist()}
    assert rows["main__row_mean"]["file"] is None
    assert "main__row_null_count" not in read_names(str(out["drop"]))
    assert "'main__row_null_count'" in out["drop"].read_text()
    assert rows["#odd"]["verdict"] == "keep"
    assert "#odd" not in read_names(str(out["keep"]))
    assert "'#odd'" in out["keep"].read_text()


# What is looked at


def test_held_out_rows_change_nothing(problem: Problem, audited: Audited, tmp_path: Path) -> None:
    train, test, labels = planted()
    rng = np.random.default_rng(9)
    held_out = FOLD == 1
    for name, column in train.items():
        values = column.to_numpy(zero_copy_only=False).copy()
        values[held_out] = rng.permutation(values)[held_out]
        train[name] = pa.array(values, column.type, from_pandas=True)
    numbers = train["noise_0"].to_numpy().copy()
    numbers[held_out] = labels[held_out, 0] * 50  # even a leak
    train["noise_0"] = pa.array(numbers)
    labels[held_out] = rng.integers(0, 2, labels[held_out].shape)
    other = write_problem(tmp_path / "problem", train, test, labels, TARGETS, fold=FOLD)
    found = run_audit(other, tmp_path / "out", [1, 0])
    assert found.features(0).equals(audited.features(1))
    assert found.columns(0).equals(audited.columns(1))
    assert not found.features(1).equals(audited.features(0))  # there these rows train
    assert not found.columns(1).equals(audited.columns(0))


def test_runs_repeat_and_targets_do_not_depend_on_each_other(
    problem: Problem, audited: Audited, tmp_path: Path
) -> None:
    again = run_audit(problem, tmp_path / "again", [2])
    alone = run_audit(problem, tmp_path / "alone", [2], targets="b")
    for part in ("features", "columns"):
        assert getattr(again.folds[0], part).read_bytes() == (
            getattr(audited.folds[2], part).read_bytes()
        )
    every = audited.features(2)
    of_b = every.filter(pa.array([target == "b" for target in every["target"].to_pylist()]))
    assert alone.features(0).equals(of_b.combine_chunks())


def test_a_sample_bounds_the_rows(problem: Problem, tmp_path: Path) -> None:
    audited = run_audit(problem, tmp_path, [0], rows=150, targets="a")
    features = audited.features(0).to_pylist()
    assert features[0]["feature"] == "strong" and features[0]["z"] > 3
    assert note_of(audited.columns(0))["adversarial"]["auc"] > 0.5


@pytest.mark.parametrize(
    ("positives", "negatives", "unknown", "expected"),
    [
        (5, 500, 0, (5, 95)),
        (300, 500, 100, (50, 50)),
        (500, 20, 0, (80, 20)),
        (40, 40, 100, (40, 40)),
    ],
)
def test_a_sample_keeps_the_rarer_class(
    positives: int, negatives: int, unknown: int, expected: tuple[int, int]
) -> None:
    labels = np.repeat([1, 0, np.nan], [positives, negatives, unknown]).astype(np.float32)
    labels = np.random.default_rng(0).permutation(labels)
    rows = sample_rows(labels, 100, 3)
    assert len(np.unique(rows)) == len(rows) and (np.diff(rows) > 0).all()
    assert ((labels[rows] == 1).sum(), (labels[rows] == 0).sum()) == expected
    assert np.array_equal(rows, sample_rows(labels, 100, 3))
    assert np.array_equal(sample_rows(labels, len(labels), 3), np.arange(len(labels)))


def test_a_shortlist_takes_no_column_without_gain() -> None:
    assert shortlisted(np.array([0.0, 2.0, 3.0, 2.0, 0.0]), 2) == [2, 1]
    assert shortlisted(np.array([0.0, 2.0, 3.0, 2.0, 0.0]), 9) == [2, 1, 3]


# Resume


def test_finished_targets_are_not_done_again(
    problem: Problem, audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = auditing._Job._target
    checks: list[str] = []
    check = auditing.check_columns
    monkeypatch.setattr(
        auditing, "check_columns", lambda *args: (checks.append("check"), check(*args))[1]
    )
    done: list[str] = []

    def fail_after_one(job: Any, target: str) -> pa.Table:
        if done:
            raise KeyboardInterrupt
        done.append(target)
        return real(job, target)

    monkeypatch.setattr(auditing._Job, "_target", fail_after_one)
    with pytest.raises(KeyboardInterrupt):
        run_audit(problem, tmp_path, [0])
    assert not (tmp_path / "features0.parquet").exists()

    def count(job: Any, target: str) -> pa.Table:
        done.append(target)
        return real(job, target)

    monkeypatch.setattr(auditing._Job, "_target", count)
    found = run_audit(problem, tmp_path, [0])
    assert done == ["a", "b"] and checks == ["check"]
    assert found.features(0).equals(audited.features(0))
    run_audit(problem, tmp_path, [0])  # the outputs stand
    assert done == ["a", "b"]

    found.folds[0].features.unlink()
    kept = sorted((tmp_path / "scratch").rglob("target-*.parquet"))
    kept[0].write_bytes(kept[0].read_bytes()[:-9])
    run_audit(problem, tmp_path, [0])  # one target is damaged in scratch, the other is found
    assert len(done) == 3
    run_audit(problem, tmp_path, [0], repeats=1)  # other settings find nothing
    assert len(done) == 5


def test_sigterm_ends_it_between_targets(
    problem: Problem, audited: Audited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = auditing._Job._target
    done: list[str] = []

    def told_in_the_first(job: Any, target: str) -> pa.Table:
        if not done:
            os.kill(os.getpid(), signal.SIGTERM)
        done.append(target)
        return real(job, target)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(window, "_told_to_end", threading.Event())
    monkeypatch.setattr(auditing._Job, "_target", told_in_the_first)
    try:
        heed_sigterm()
        with pytest.raises(BlendmakeError, match=r"SIGTERM.*main, fold 0: 1 of 2 targets are kept"):
            run_audit(problem, tmp_path, [0])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert done == ["a"] and not (tmp_path / "features0.parquet").exists()
    # A job that is told before it has begun does nothing of it.
    with pytest.raises(BlendmakeError, match=r"SIGTERM.*nothing is done yet"):
        run_audit(problem, tmp_path / "other", [0])
    window._told_to_end.clear()
    assert run_audit(problem, tmp_path, [0]).features(0).equals(audited.features(0))
    assert done == ["a", "b"]


def test_no_target_is_begun_that_would_not_end_in_the_window(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = auditing._Job._target
    monkeypatch.setenv(DEADLINE, str(time.time() + 3600))

    def slow(job: Any, target: str) -> pa.Table:
        table = real(job, target)
        time.sleep(1.0)
        monkeypatch.setenv(DEADLINE, str(time.time() + 0.9))
        return table

    monkeypatch.setattr(auditing._Job, "_target", slow)
    with pytest.raises(BlendmakeError, match=r"window.*the next takes.*1 of 2 targets are kept"):
        run_audit(problem, tmp_path, [0])


# Permuting


def mixed(rows: int, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Columns with gaps, ties, zeros and two categories (the last two), and labels."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, 12)).astype(np.float32)
    values[:, 3] = np.round(values[:, 3])
    values[rng.random(rows) < 0.3, 1] = np.nan
    values[rng.random(rows) < 0.3, 2] = 0.0
    values[:, 10] = rng.integers(0, 5, rows)
    values[:, 11] = rng.integers(0, 70, rows)
    values[rng.random(rows) < 0.1, 11] = np.nan
    odds = np.nan_to_num(values[:, 1]) + values[:, 3] + (values[:, 10] == 2)
    odds += np.nan_to_num(values[:, 11]) % 3 - 1
    return values, (odds + rng.logistic(size=rows) > 0.5).astype(np.float64)


LEVELS = [0] * 10 + [5, 70]
MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "64 leaves": {"num_leaves": 64, "min_data_in_leaf": 5},
    "stumps": {"num_leaves": 2},
    "gaps as zeros": {"use_missing": False},
    "dart": {"boosting": "dart"},
    "forest": {"boosting": "rf", "bagging_fraction": 0.7, "bagging_freq": 1},
    "bundled": {"max_bin": 15, "feature_fraction": 0.5},
    "steep": {"sigmoid": 2.0},
    "no split": {"min_data_in_leaf": 5000},
}


def boosted(tmp_path: Path, gaps: bool = True, **params: Any) -> tuple[lgb.Booster, Path]:
    values, labels = mixed(2000)
    values = values if gaps else np.nan_to_num(values)
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "seed": 1, **params}
    data = lgb.Dataset(values, labels, categorical_feature=[10, 11])
    booster = lgb.train(settings, data, 30)
    booster.save_model(tmp_path / "model.txt")
    return booster, tmp_path / "model.txt"


@pytest.mark.parametrize("gaps", [True, False], ids=["gaps", "gaps only when judged"])
@pytest.mark.parametrize("name", MODELS)
def test_permuting_equals_predicting_anew(tmp_path: Path, name: str, gaps: bool) -> None:
    booster, path = boosted(tmp_path, gaps, **MODELS[name])
    values, labels = mixed(9000, seed=1)  # more than one block of rows
    forest = Forest(path, LEVELS)
    assert np.allclose(forest.gains, booster.feature_importance("gain"), rtol=1e-4)
    scorer = AucScorer(labels)
    wanted = [11, 3, 10, 1, 0, 2]

    def order(column: int, repeat: int) -> np.ndarray[Any, Any]:
        return np.random.default_rng([column, repeat]).permutation(len(values))

    base, drops = permuted_drops(forest, lambda j: values[:, j], wanted, order, 2, scorer)
    plain = scorer(booster.predict(values, raw_score=True))
    if name == "no split":
        assert not forest.columns and not drops.any()
        return
    assert base == pytest.approx(plain, abs=1e-9)
    bins = {column: forest.bins(column, values[:, column]) for column in forest.columns}
    predicted = forest.predictions(forest.scores(bins))
    assert np.allclose(predicted, booster.predict(values), rtol=0, atol=1e-12)
    naive = np.empty(drops.shape)
    for i, column in enumerate(wanted):
        for repeat in range(2):
            other = values.copy()
            other[:, column] = values[order(column, repeat), column]
            naive[i, repeat] = plain - scorer(booster.predict(other, raw_score=True))
    assert np.abs(drops - naive).max() <= 1e-9
    assert np.count_nonzero(naive) >= 4


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"num_leaves": 90, "min_data_in_leaf": 2}, "more than the 64"),
        ({"linear_tree": True}, "linear_tree"),
        ({"zero_as_missing": True}, "zero_as_missing"),
    ],
)
def test_a_model_that_is_not_read_is_refused(
    tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(BlendmakeError, match=message):
        Forest(boosted(tmp_path, **params)[1], LEVELS)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_leaves": 65}, r"audits\.main\.params\.max_leaves: at most 64"),
        ({"linear_trees": True}, r"audits\.main\.params\.linear_trees: .* Leave it out"),
        ({"zero_as_missing": True}, "a zero is a value"),
        ({"n_estimators": 3}, r"audits\.main: .*n_estimators"),
        ({"no_such_param": 3}, r"audits\.main: .*no_such_param"),
    ],
)
def test_params_that_audits_cannot_take(
    problem: Problem, tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(BlendmakeError, match=message):
        run_audit(problem, tmp_path, [0], params=params)


def test_settings_are_checked() -> None:
    for wrong in ({"rows": 5}, {"share": 0}, {"shortlists": 3}, {"drift": 0.5}, {"z": 0}):
        with pytest.raises(ValidationError):
            Audit(**wrong)


# Columns


def test_an_auc_from_counts_is_the_auc() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 8, 400).astype(float)
    labels = rng.random(400) < 0.3
    place = scores.astype(int)
    positives, negatives = np.bincount(place[labels]), np.bincount(place[~labels])
    area, error = grouped_auc(positives, negatives)
    assert area == pytest.approx(auc(labels, scores), abs=1e-12)
    chance = [auc(rng.permutation(labels), scores) for _ in range(3000)]
    assert error == pytest.approx(np.std(chance), rel=0.06)
    assert np.isnan(grouped_auc(positives, positives * 0)[0])


def checked(tmp_path: Path, train: Any, test: Any, labels: Any) -> dict[str, Any]:
    names = tuple("abc"[: labels.shape[1]])
    small = write_problem(
        tmp_path / "problem", train, test, labels, names, fold=np.arange(len(labels)) % FOLDS
    )
    columns = run_audit(small, tmp_path, [0], rounds=2).columns(0)
    assert columns.schema.equals(COLUMNS, check_metadata=False)
    return {row["feature"]: row for row in columns.to_pylist()}


def test_copies_of_labels_in_disguise(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = 600
    labels = (rng.random((rows, 2)) < 0.3).astype(float)
    a, b = labels.T
    labels[:, 1] = np.where(rng.random(rows) < 0.4, np.nan, b)
    noise = rng.normal(size=rows)
    words = np.array(["north", "east", "south", "west"])[(2 * a + (noise > 0)).astype(int)]
    train = {
        "inverse": -b,
        "level": words,
        "gap": pa.array(noise, mask=a == 1),
        "half there": pa.array(a + noise * 0.01, mask=noise > 0.2),
        "identity": [f"row {i}" for i in range(rows)],
        "close": a + noise * 0.5,
        "few": pa.array(a, mask=np.arange(rows) > 60),
    }
    found = checked(tmp_path, train, {name: train[name][:40] for name in train}, labels)
    copied = {name: row["label_copy_of"] for name, row in found.items()}
    assert copied == {
        "inverse": "b",
        "level": "a",
        "gap": "a",
        "half there": "a",
        "identity": None,
        "close": None,
        "few": None,
    }


def test_duplicates_and_gaps(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 3, 300).astype(float)
    gaps = np.arange(300) % 7 == 0
    train = {
        "x": pa.array(numbers, mask=gaps),
        "y": pa.array(numbers, mask=gaps),
        "full": numbers,
        "word": np.array(["p", "q", "r"])[numbers.astype(int)],
        "other word": np.array(["u", "v", "w"])[numbers.astype(int)],
        "one value": pa.array(np.full(300, 1.0), mask=gaps),
        "zero": np.zeros(300),
    }
    labels = (rng.random((300, 1)) < 0.4).astype(float)
    found = checked(tmp_path, train, {name: train[name][:60] for name in train}, labels)
    twins = {name: row["duplicate_of"] for name, row in found.items() if row["duplicate_of"]}
    assert twins == {"y": "x", "other word": "word"}
    assert [name for name, row in found.items() if row["constant"]] == ["zero"]
    assert found["one value"]["null_train"] == pytest.approx(1 / 7, abs=0.02)
    assert abs(found["x"]["drift_z"]) < 3 and abs(found["word"]["drift_z"]) < 3


def test_without_test_rows_drift_is_unknown(tmp_path: Path) -> None:
    train, test, labels = planted()
    names = ("strong", "noise_0", "city")
    small = write_problem(
        tmp_path / "problem",
        {name: train[name] for name in names},
        {name: test[name].slice(0, 0) for name in names},
        labels,
        TARGETS,
        fold=FOLD,
    )
    assert TableFile(small.inputs.tables["test"]).rows == 0
    audited = run_audit(small, tmp_path / "out", [0])
    assert read_note(audited.folds[0].columns)["adversarial"] is None
    for row in audited.columns(0).to_pylist():
        assert row["drift_auc"] is row["null_test"] is row["adversarial_gain"] is None
    assert audited.drops(0)["drift_pruned"] == set()
    columns = read_parquet(audited.assemble(small)["columns"])
    draw_drift("main", columns, [None], tmp_path / "drift.svg")
    assert "no test table" in (tmp_path / "drift.svg").read_text()


def test_one_class_only_is_passed_over(tmp_path: Path) -> None:
    train, test, labels = planted()
    rare = np.zeros((ROWS, 1))
    rare[:FOLDS] = 1  # one a fold: none can be left both inside and outside the inner split
    rare[FOLDS : 2 * FOLDS] = np.nan
    small = write_problem(
        tmp_path / "problem",
        {"strong": train["strong"]},
        {"strong": test["strong"]},
        np.column_stack([labels[:, 0], rare]),
        ("a", "rare"),
        fold=FOLD,
        inner_share=0.05,
    )
    assert set(run_audit(small, tmp_path / "out", [0]).features(0)["target"].to_pylist()) == {"a"}


# Figures


def test_figures_say_what_was_found(
    audited: Audited, assembled: Mapping[str, Path], tmp_path: Path
) -> None:
    folds = [audited.features(k) for k in range(FOLDS)]
    effects = macro_effects([table.to_pylist() for table in folds])
    assert list(effects)[:2] == ["strong", "medium"]
    of_strong = [r["effect"] for r in folds[1].to_pylist() if r["feature"] == "strong"]
    assert effects["strong"][1] == pytest.approx(sum(of_strong) / len(TARGETS))
    columns, features = (read_parquet(assembled[part]) for part in ("columns", "features"))
    drift = note_of(columns)["adversarial"]
    assert len(drift) == FOLDS and all(one["auc"] > 0.6 for one in drift)
    texts = []
    for name in ("once", "twice"):
        out = [tmp_path / name / f"{figure}.svg" for figure in ("effects", "targets", "drift")]
        draw_effects("main", folds, columns, out[0])
        draw_target_effects("main", folds, features, out[1])
        draw_drift("main", columns, drift, out[2])
        texts.append([path.read_text() for path in out])
    assert texts[0] == texts[1]
    for text in texts[0]:
        ET.fromstring(text)
        assert ">shifted<" in text and ">strong<" in text
    assert "all columns together, by a model" in texts[0][2]


def drift_row(feature: str, auc: float | None, z: float | None, null_z: float) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(COLUMN_VERDICTS.names)
    values |= {"feature": feature, "drift_auc": auc, "drift_z": z, "drifted": abs(null_z) > 3}
    return values | {"null_train": 0.0, "null_test": 0.25, "null_z": null_z}


def test_columns_of_hardly_any_values_are_not_first_in_the_figure_of_drift(tmp_path: Path) -> None:
    rows = [
        drift_row("two_values", 1.0, 1.4, 0.0),
        drift_row("void", None, None, 0.5),
        drift_row("shifted", 0.6, 12.0, 0.0),
        drift_row("turned", 0.45, -7.0, 0.0),
        drift_row("missing", 0.5, 0.1, -9.0),
        *(drift_row(f"many_{i:02d}", 0.51, 2.0, 0.0) for i in range(TOP - 3)),
    ]
    columns = pa.Table.from_pylist(rows, schema=COLUMN_VERDICTS)
    draw_drift("main", columns, [None], tmp_path / "drift.svg")
    text = (tmp_path / "drift.svg").read_text()
    shown = re.findall(r">(two_values|void|shifted|turned|missing|many_\d\d)<", text)
    assert shown == ["shifted", "missing", "turned", *(f"many_{i:02d}" for i in range(TOP - 3))]
    assert f"{TOP} of {len(rows)} columns, those that differ most surely" in text


def test_figures_without_anything_to_show(tmp_path: Path) -> None:
    empty = auditing.FEATURES.empty_table()
    nothing = pa.table({"feature": [], "verdict": []})
    draw_effects("main", [empty], nothing, tmp_path / "effects.svg")
    draw_target_effects("main", [empty], VERDICTS.empty_table(), tmp_path / "targets.svg")
    for name in ("effects", "targets"):
        assert "No column was tried" in (tmp_path / f"{name}.svg").read_text()
