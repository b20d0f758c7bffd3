"""Bags: which negatives are drawn, what predictions mean then, and that bags are kept one by one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.families.extra_trees import ExtraTrees
from blendmake.family import Fit, Fitted
from blendmake.files import write_parquet
from blendmake.fits.bagging import bag_count, draw_bag, undo_undersampling
from blendmake.fits.models import write_description
from blendmake.fits.store import mean_prediction
from blendmake.folds.file import read_inner
from blendmake.reports.status import read_status, status_text
from blendmake.seeds import derive_seed
from blendmake.stats.auc import auc
from problems import (
    Problem,
    kept_predictions,
    run_fold,
    source,
    stored_fits,
    synthetic,
    with_labels,
    write_problem,
)

LABELS = np.array([1] * 10 + [0] * 60 + [np.nan] * 5, np.float32)
TARGETS = ("full", "other", "gaps", "rare")
TWO_EACH = {"bags": 3, "negatives_per_positive": 2}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240, test_rows=20)


# What is drawn


@pytest.mark.parametrize(
    ("bagging", "negatives"),
    [
        ({"negatives_per_positive": 2.0}, 20),
        ({"negatives_per_positive": 0.25}, 2),  # 2.5, to the even number
        ({"negatives_per_positive": 0.001}, 1),  # never none
        ({"max_negatives": 7}, 7),
        ({"negatives_per_positive": 2.0, "max_negatives": 7}, 7),
        ({"negatives_per_positive": 0.5, "max_negatives": 7}, 5),
        ({"negatives_per_positive": 5.9, "max_negatives": 100}, 59),
    ],
)
def test_every_positive_and_so_many_negatives(bagging: dict[str, Any], negatives: int) -> None:
    given = LABELS.copy()
    drawn, share = draw_bag(given, bagging, 3)
    assert np.array_equal(given, LABELS, equal_nan=True)
    assert (drawn == 1).sum() == 10 and (drawn[:10] == 1).all()
    assert (drawn == 0).sum() == negatives and (drawn[10:70] == 0).sum() == negatives
    assert np.isnan(drawn[70:]).all()
    assert share == negatives / 60


@pytest.mark.parametrize(
    "bagging", [None, {"bags": 3}, {"negatives_per_positive": 6.0}, {"max_negatives": 60}]
)
def test_nothing_is_left_out_that_need_not_be(bagging: dict[str, Any] | None) -> None:
    drawn, share = draw_bag(LABELS, bagging, 3)
    assert np.array_equal(drawn, LABELS, equal_nan=True)
    assert share == 1.0


@pytest.mark.parametrize("value", [0.0, 1.0, np.nan])
def test_one_class_or_none_is_drawn_from_without_harm(value: float) -> None:
    labels = np.full(6, value, np.float32)
    drawn, share = draw_bag(labels, {"negatives_per_positive": 2.0}, 3)
    assert (drawn == 1).sum() == (labels == 1).sum()
    assert (drawn == 0).sum() == (value == 0)
    assert share == (1 / 6 if value == 0 else 1.0)


def test_every_negative_is_drawn_as_often() -> None:
    bagging = {"max_negatives": 15}
    bags = [draw_bag(LABELS, bagging, seed)[0] for seed in range(400)]
    assert np.array_equal(bags[5], draw_bag(LABELS, bagging, 5)[0], equal_nan=True)
    often = np.mean([bag[10:70] == 0 for bag in bags], axis=0)
    # A quarter each; of 60 counts of 400 draws none is five standard deviations off.
    assert np.abs(often - 0.25).max() < 5 * np.sqrt(0.25 * 0.75 / 400)
    assert len({bag.tobytes() for bag in bags}) == 400


def test_number_of_bags() -> None:
    assert [bag_count(bagging) for bagging in (None, {"bags": 1}, {"bags": 7})] == [1, 1, 7]


# What predictions mean


def test_the_odds_shrink_by_the_share() -> None:
    p = np.array([0, 1e-6, 0.1, 0.5, 0.9, 0.99, 1], np.float32)
    for share in (0.5, 0.01):
        corrected = undo_undersampling(p, share).astype(np.float64)
        assert corrected.min() == 0 and corrected.max() == 1
        inside = slice(1, 6)
        odds = p[inside].astype(np.float64) / (1 - p[inside].astype(np.float64))
        assert np.allclose(corrected[inside] / (1 - corrected[inside]), share * odds, rtol=1e-5)
    assert undo_undersampling(p, 1.0) is p


def test_the_order_stays() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(4000) < 0.1
    p = (1 / (1 + np.exp(-rng.normal(size=4000) - 2 * labels))).astype(np.float32)
    corrected = undo_undersampling(p, 0.02)
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()
    assert auc(labels, corrected) == pytest.approx(auc(labels, p), abs=1e-7)


def test_an_undersampled_model_is_calibrated(tmp_path: Path) -> None:
    """As good as one fitted on all rows, decile by decile; without the correction far off."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(9000, 2))
    labels = (1.2 * x[:, 0] - x[:, 1] - 3.2 + rng.logistic(size=9000) > 0).astype(float)
    columns = {f"n{j}": x[:, j] for j in range(2)}
    few = {name: values[:5] for name, values in columns.items()}
    made = write_problem(
        tmp_path / "p", columns, few, labels[:, None], ["y"], fold=np.arange(9000) % 3
    )
    settings: dict[str, Any] = {"params": {"C": 1000.0}}
    whole = run_fold(made, "linear", tmp_path / "whole", **settings)
    drawn = run_fold(
        made,
        "linear",
        tmp_path / "drawn",
        scratch=tmp_path / "scratch",
        bagging={"bags": 4, "negatives_per_positive": 1},
        **settings,
    )
    truth = labels[made.rows(0).valid]
    on_all, on_few = whole.held_out("y"), drawn.held_out("y")
    assert 0.06 < truth.mean() < 0.12
    decile = np.argsort(np.argsort(on_all)) * 10 // len(on_all)
    for k in range(10):
        here = decile == k
        mean = on_all[here].mean()
        assert abs(on_few[here].mean() - mean) < 0.02 + 0.15 * mean
    half = 4 * np.sqrt(truth.mean() * (1 - truth.mean()) / len(truth))
    assert abs(on_few.mean() - truth.mean()) < half
    # Half of the rows that a bag saw were positive: that is what it would have predicted.
    share = stored_fits(made, tmp_path / "scratch")["y", 0].share
    odds = on_few / (1 - on_few) / share
    assert (odds / (1 + odds)).mean() > truth.mean() + 3 * half
    assert abs(drawn.fits["y"]["score"] - whole.fits["y"]["score"]) < 0.02


# Fits


def test_bags_of_a_source(problem: Problem, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    done = run_fold(problem, "linear", tmp_path / "out", bagging=TWO_EACH, scratch=scratch)
    labels = problem.labels[problem.rows(0).train]
    fits = done.every_fit()
    assert [(row["target"], row["bag"]) for row in fits] == [
        (t, b) for t in TARGETS for b in range(3)
    ]
    for row in fits:
        own = labels[:, TARGETS.index(row["target"])]
        positives, negatives = int((own == 1).sum()), int((own == 0).sum())
        assert row["positives"] == positives
        assert row["rows"] == positives + min(negatives, 2 * positives)
        assert row["seed"] == derive_seed(1, "source", row["target"], 0, row["bag"])
    stored = stored_fits(problem, scratch)
    shares = {target: stored[target, 0].share for target in TARGETS}
    assert shares["full"] == 1.0 and shares["rare"] < 0.3
    truth = problem.labels[problem.rows(0).valid]
    for j, target in enumerate(TARGETS):
        bags = [stored[target, bag] for bag in range(3)]
        assert np.array_equal(
            mean_prediction([one.valid for one in bags])[:, 0], done.held_out(target)
        )
        assert np.array_equal(
            mean_prediction([one.test for one in bags])[:, 0], done.tested(target)
        )
        differ = len({one.valid.tobytes() for one in bags})
        assert differ == (1 if shares[target] == 1 else 3)  # the same rows give the same model
        known = ~np.isnan(truth[:, j])
        for one in bags:
            # Written as fitted, before the correction; the order is the same.
            assert one.row["score"] == pytest.approx(
                auc(truth[known, j], one.valid[known, 0]), abs=1e-6
            )


def test_the_same_seed_draws_the_same_bags(problem: Problem, tmp_path: Path) -> None:
    runs = [
        run_fold(problem, "linear", tmp_path / str(i), bagging=TWO_EACH, seed=seed)
        for i, seed in enumerate((1, 1, 2))
    ]
    first, again, other = (done.outputs.oof.read_bytes() for done in runs)
    assert first == again != other
    assert not np.array_equal(runs[0].held_out("rare"), runs[2].held_out("rare"))


def test_one_bag_of_everything_is_no_bagging(problem: Problem, tmp_path: Path) -> None:
    plain = run_fold(problem, "linear", tmp_path / "plain")
    bag = run_fold(
        problem, "linear", tmp_path / "bag", bagging={"bags": 1, "negatives_per_positive": 1000}
    )
    assert np.array_equal(plain.oof.values, bag.oof.values)
    assert np.array_equal(plain.test.values, bag.test.values)


def test_labels_of_the_fold_have_no_say(problem: Problem, tmp_path: Path) -> None:
    labels = problem.labels.copy()
    held_out = problem.rows(0).valid
    labels[held_out] = 1 - labels[held_out]
    changed = with_labels(problem, labels, "turned")
    before, after = (
        run_fold(p, "linear", tmp_path / name, bagging=TWO_EACH)
        for p, name in ((problem, "before"), (changed, "after"))
    )
    assert np.array_equal(before.oof.values, after.oof.values)
    assert before.fits["full"]["score"] != after.fits["full"]["score"]


def test_bags_by_target_and_group(problem: Problem, tmp_path: Path) -> None:
    overrides = {
        "groups": {"odd": {"bagging": {"bags": 3, "max_negatives": 20}}},
        "targets": {"rare": {"bagging": {"bags": 1}}},
    }
    done = run_fold(
        problem,
        "linear",
        tmp_path,
        groups={"odd": ["gaps", "rare"]},
        bagging={"bags": 2},
        overrides=overrides,
    )
    bags: dict[str, list[int]] = {}
    for row in done.every_fit():
        bags.setdefault(row["target"], []).append(row["bag"])
    assert bags == {"full": [0, 1], "other": [0, 1], "gaps": [0, 1, 2], "rare": [0]}
    labels = problem.labels[problem.rows(0).train]
    assert done.fits["gaps"]["rows"] == (labels[:, 2] == 1).sum() + 20
    assert done.fits["rare"]["rows"] == len(labels)


def test_rows_that_stop_are_not_drawn_from(problem: Problem, tmp_path: Path) -> None:
    done = run_fold(
        problem,
        "lightgbm",
        tmp_path,
        rounds=30,
        params={"num_leaves": 4, "min_data_in_leaf": 5},
        early_stopping={"rounds": 5},
        bagging={"bags": 2, "max_negatives": 12},
        keep_models=True,
    )
    assert problem.inputs.inner is not None
    train = problem.rows(0).train
    aside = read_inner(problem.inputs.inner, 0)[train]
    truth = problem.column("rare")
    row = done.fits["rare"]
    assert row["rows"] == (truth[train[~aside]] == 1).sum() + 12
    models = json.loads((done.outputs.models / "models.json").read_text())
    models["models"]["rare"] = models["models"]["rare"][1:]  # the bag of that row alone
    write_description(models, done.outputs.models)
    predicted = kept_predictions(done.outputs.models, "rare", problem.inputs.feature_files("train"))
    expected = auc(truth[train[aside]], predicted[train[aside]])
    assert row["stop_score"] == pytest.approx(expected, abs=1e-6)
    assert (truth[train[aside]] == 0).sum() > 12


@pytest.mark.parametrize("family", ["linear", "lightgbm", "xgboost", "extra_trees"])
def test_kept_models_predict_what_the_fit_did(
    family: str, problem: Problem, tmp_path: Path
) -> None:
    done = run_fold(
        problem, family, tmp_path, rounds=8, bagging={**TWO_EACH, "bags": 2}, keep_models=True
    )
    kept = json.loads((done.outputs.models / "models.json").read_text())["models"]
    labels = problem.labels[problem.rows(0).train]
    train = problem.inputs.feature_files("train")
    for j, target in enumerate(TARGETS):
        positives, negatives = (labels[:, j] == 1).sum(), (labels[:, j] == 0).sum()
        share = min(1.0, 2 * positives / negatives)
        assert [one["negatives_kept"] for one in kept[target]] == [share] * 2
        assert len({one["file"] for one in kept[target]}) == 2
        saved = kept_predictions(done.outputs.models, target, problem.test_files())
        assert np.abs(saved - done.tested(target)).max() < 1e-6
        again = kept_predictions(done.outputs.models, target, train)[problem.rows(0).valid]
        assert np.abs(again - done.held_out(target)).max() < 1e-6


def test_a_kill_between_bags_costs_no_finished_bag(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"bagging": TWO_EACH, "rounds": 4}
    undisturbed = run_fold(problem, "extra_trees", tmp_path / "undisturbed", **settings)
    scratch = tmp_path / "scratch"
    asked: list[int] = []
    fit = ExtraTrees.fit

    def killed(family: ExtraTrees, task: Fit) -> Fitted:
        asked.append(task.seed)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return fit(family, task)

    monkeypatch.setattr(ExtraTrees, "fit", killed)
    with pytest.raises(KeyboardInterrupt):
        run_fold(problem, "extra_trees", tmp_path / "killed", **settings, scratch=scratch)
    before = stored_fits(problem, scratch)
    assert len(before) == 4
    done = run_fold(problem, "extra_trees", tmp_path / "done", **settings, scratch=scratch)
    assert len(asked) == 12 + 1 and len(set(asked)) == 12
    after = stored_fits(problem, scratch)
    assert all(after[key].row == one.row for key, one in before.items())
    for part in ("oof", "test"):
        assert (
            getattr(done.outputs, part).read_bytes()
            == getattr(undisturbed.outputs, part).read_bytes()
        )


def test_other_bags_are_other_fits(problem: Problem, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    for i, bagging in enumerate((TWO_EACH, {**TWO_EACH, "negatives_per_positive": 3})):
        run_fold(problem, "linear", tmp_path / str(i), bagging=bagging, scratch=scratch)
    assert len(list(scratch.glob("*/*.parquet"))) == 24


def test_status_counts_bags(problem: Problem, tmp_path: Path) -> None:
    """From the files of finished folds, and from scratch."""
    bagging = {"bags": 2}
    overrides = {"groups": {"odd": {"bagging": {"bags": 4}}}}
    odd = ["gaps", "rare"]
    folder, scratch = tmp_path / "sources" / "bagged", tmp_path / "scratch"
    groups = {"odd": odd}
    settings: dict[str, Any] = {"groups": groups, "bagging": bagging, "overrides": overrides}
    config = {"family": "linear", **source("linear", bagging=bagging, overrides=overrides)}
    entry = {
        "name": "bagged",
        "kind": "source",
        "folder": str(folder),
        "scratch": str(scratch),
        "source": config,
        "groups": groups,
        "group_files": [],
    }

    def fits(**changed: Any) -> tuple[str, str]:
        (row,) = read_status([{**entry, **changed}], problem.inputs.targets, 3)
        return row.state, row.fits

    assert fits() == ("missing", "0/36")
    run_fold(problem, "linear", folder / "fold1", fold=1, **settings)
    run_fold(problem, "linear", tmp_path / "out", scratch=scratch / "fold0", **settings)
    assert fits() == ("partly", "24/36")
    for path in (scratch / "fold0").glob("*/*-bag3.parquet"):
        path.unlink()
    assert fits() == ("partly", "22/36")
    # A group that a job has yet to build: nobody knows how many fits there are.
    built = tmp_path / "groups" / "odd.parquet"
    assert fits(groups={}, group_files=[str(built)]) == ("partly", "22/?")
    built.parent.mkdir()
    write_parquet(pa.table({"target": odd}), built)
    assert fits(groups={}, group_files=[str(built)]) == ("partly", "22/36")
    made = {"name": "given", "kind": "source", "folder": str(tmp_path / "sources" / "given")}
    rows = read_status([entry, made], problem.inputs.targets, 3)
    assert (rows[1].state, rows[1].fits) == ("missing", "")
    assert "22/36" in status_text(rows)
    # Fits kept in scratch that are newer than the fold's file: it is being fitted again.
    run_fold(problem, "linear", tmp_path / "again", fold=1, scratch=scratch / "fold1", **settings)
    assert fits() == ("refitting", "22/36")
    os.utime(folder / "fold1" / "oof.parquet")
    assert fits() == ("partly", "22/36")
