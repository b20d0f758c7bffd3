"""Audits of targets of every task: models read as LightGBM reads them, effects by the metric, copies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.metrics import log_loss, root_mean_squared_error

from blendmake.audits.auditing import AuditOutputs, audit_fold, sample_rows
from blendmake.audits.drift import copies_label
from blendmake.audits.judging import Judge
from blendmake.audits.permuting import Forest, permuted_drops
from blendmake.audits.verdicts import COLUMN_VERDICTS
from blendmake.config.audits import Audit
from blendmake.errors import BlendmakeError
from blendmake.files import read_parquet
from blendmake.matrix import Column
from blendmake.metrics.finding import find_metric
from blendmake.reports.audit_figures import draw_effects
from blendmake.tasks.base import Target, find_task
from problems import CLASSES, Problem, typed

KIND = Target("kind", find_task("multiclass"), CLASSES)
LEVEL = Target("level", find_task("regression"))
NUMBER, CITY = Column("x", "table", 0), Column("city", "table", 12)
OBJECTIVES: dict[str, Any] = {
    "rmse": ({"objective": "regression"}, root_mean_squared_error),
    "log_loss": (
        {"objective": "multiclass", "num_class": 3},
        lambda y, p: log_loss(y, p, labels=[0, 1, 2]),
    ),
}


@pytest.mark.parametrize("metric", sorted(OBJECTIVES))
def test_permuting_equals_predicting_anew(tmp_path: Path, metric: str) -> None:
    params, score = OBJECTIVES[metric]
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(400, 4)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    signal = np.nan_to_num(rows[:, 0]) + rng.normal(size=400) * 0.3
    labels = signal if metric == "rmse" else np.digitize(signal, [-0.5, 0.5]).astype(float)
    settings = {**params, "num_leaves": 8, "verbosity": -1, "num_threads": 1}
    booster = lgb.train(settings, lgb.Dataset(rows, labels), 12)
    path = tmp_path / "model.txt"
    booster.save_model(path)
    forest = Forest(path, [0] * 4)
    bins = {column: forest.bins(column, rows[:, column]) for column in forest.columns}
    plain = booster.predict(rows)
    np.testing.assert_allclose(forest.predictions(forest.scores(bins)), plain, atol=1e-6)
    orders = [rng.permutation(400) for _ in range(2)]
    judge = Judge(find_metric(metric), labels)
    base, drops = permuted_drops(
        forest, lambda c: rows[:, c], range(4), lambda _, r: orders[r], 2, judge.of(forest)
    )
    assert base == pytest.approx(-score(labels, plain), rel=1e-5)
    for column in range(4):
        for repeat, order in enumerate(orders):
            moved = rows.copy()
            moved[:, column] = moved[order, column]
            expected = score(labels, booster.predict(moved)) - score(labels, plain)
            assert drops[column, repeat] == pytest.approx(expected, abs=1e-6)
    assert drops[0].min() > 3 * abs(drops[1:]).max()


def audited(problem: Problem, out: Path, **more: Any) -> list[dict[str, Any]]:
    out.mkdir()
    files = AuditOutputs(out / "features.parquet", out / "columns.parquet")
    keys = {"rounds": 25, "params": {"num_leaves": 7, "min_data_in_leaf": 5}, "null_repeats": 2}
    audit = Audit(**keys, targets=more.pop("targets", ["all"])).model_dump()
    rest = {"seed": 1, "code": "code", "scratch": out / "scratch", "threads": 1, "note": {}}
    audit_fold("main", audit, {}, 0, problem.inputs, files, **rest, **more)
    rows: list[dict[str, Any]] = read_parquet(files.features).to_pylist()
    return rows


def test_signal_is_told_from_noise_for_every_task(tmp_path: Path) -> None:
    """Labels of the problem follow n0; n2 and n3 say nothing."""
    problem = typed(tmp_path / "problem", rows=900, test_rows=6)
    rows = audited(problem, tmp_path / "out")
    for target in problem.targets:
        z = {row["feature"]: row["z"] for row in rows if row["target"] == target}
        assert z["n0"] > 3 and z["n0"] > max(z.get("n2", 0), z.get("n3", 0))
    # By another metric the effects are another's.
    level = {"targets": ["level"], "metric": {"level": "spearman"}}
    other = audited(problem, tmp_path / "other", **level)
    effects = {row["feature"]: row["effect"] for row in other}
    assert 0 < effects["n0"] < 1
    assert (
        effects["n0"] != {r["feature"]: r["effect"] for r in rows if r["target"] == "level"}["n0"]
    )
    draw_effects("main", [], COLUMN_VERDICTS.empty_table(), tmp_path / "none.svg")
    table = read_parquet(tmp_path / "other" / "features.parquet")
    draw_effects("main", [table.slice(0, 0)], COLUMN_VERDICTS.empty_table(), tmp_path / "a.svg")
    assert "fall of the Spearman" in (tmp_path / "a.svg").read_text(encoding="utf-8")
    with pytest.raises(BlendmakeError, match=r"audits\.main: target 'level'.*'auc' is not of"):
        audited(problem, tmp_path / "wrong", targets=["level"], metric="auc")


def test_copies_of_classes_and_of_numbers() -> None:
    rng = np.random.default_rng(3)
    halves = rng.random(600) < 0.5
    classes = rng.integers(0, 3, 600).astype(float)
    classes[::7] = np.nan
    known = np.nan_to_num(classes)

    def copies(column: Column, values: Any, target: Target, labels: Any) -> bool:
        return copies_label(column, np.asarray(values, np.float32), target, labels, halves)

    order = np.array([5.0, -1.0, 2.0])
    assert copies(NUMBER, order[known.astype(int)], KIND, classes)
    assert copies(NUMBER, known + 0.01 * rng.normal(size=600), KIND, classes)
    assert copies(CITY, (known + 3 * rng.integers(0, 4, 600)), KIND, classes)
    assert not copies(NUMBER, known == 1, KIND, classes)  # of one class alone: it may be a symptom
    assert not copies(NUMBER, known + rng.normal(size=600), KIND, classes)
    assert not copies(NUMBER, np.where(known == 2, 0, known), KIND, classes)
    numbers = rng.normal(size=600)
    numbers[::5] = np.nan
    gaps = np.where(rng.random(600) < 0.3, np.nan, -np.exp(np.nan_to_num(numbers)))
    assert copies(NUMBER, gaps, LEVEL, numbers)
    assert not copies(NUMBER, np.nan_to_num(numbers) + 0.3 * rng.normal(size=600), LEVEL, numbers)
    assert not copies(CITY, rng.integers(0, 12, 600), LEVEL, numbers)
    whole = np.floor(4 * rng.random(600))
    assert copies(CITY, np.array([7, 2, 9, 4])[whole.astype(int)], LEVEL, whole)


def test_a_sample_has_equally_many_rows_of_each_class_as_far_as_there_are() -> None:
    rng = np.random.default_rng(4)
    classes = np.repeat([0.0, 1.0, 2.0, np.nan], [900, 20, 300, 500])
    rng.shuffle(classes)
    rows = sample_rows(classes, 200, 1)
    assert len(rows) == 200 and (np.diff(rows) > 0).all()
    assert np.bincount(classes[rows].astype(int)).tolist() == [90, 20, 90]
