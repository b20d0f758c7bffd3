"""Families of one model for all targets: what they are given, and what becomes of what they give."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import joint_family
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES, FOREIGN, JOINT
from blendmake.family import Fit, Fitted
from blendmake.files import read_parquet
from blendmake.fits.store import mean_prediction
from blendmake.folds.file import read_inner, write_inner
from blendmake.scratch import dates
from blendmake.seeds import derive_seed
from blendmake.stats.auc import auc
from joint_family import Together
from problems import Done, Problem, kept_predictions, run_fold, stored_fits, synthetic, with_labels

TARGETS = ("full", "other", "gaps", "rare")
BAGS = {"bags": 3}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240, test_rows=20)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "joint_family", "joint_family")


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[Fit]:
    """Every fit that is asked for, as it is asked."""
    asked: list[Fit] = []
    fit = Together.fit

    def listed(family: Together, task: Fit) -> Fitted:
        asked.append(task)
        return fit(family, task)

    monkeypatch.setattr(Together, "fit", listed)
    return asked


def fitted(problem: Problem, out: Path, **settings: Any) -> Done:
    return run_fold(problem, "joint_family", out, **settings)


def contents(done: Done) -> tuple[bytes, bytes]:
    return done.outputs.oof.read_bytes(), done.outputs.test.read_bytes()


def with_inner(problem: Problem, fold: int, aside: Any) -> Problem:
    """The same problem with other rows of a fold set aside: bool (training rows,)."""
    path = problem.folder / f"other_inner{fold}.parquet"
    ids = read_parquet(problem.inputs.targets).select(["id"])
    asides = [(problem.rows(k).train, np.zeros(len(problem.rows(k).train), bool)) for k in range(3)]
    asides[fold] = (asides[fold][0], aside)
    write_inner(path, ids, asides, {})
    return replace(problem, inputs=replace(problem.inputs, inner=path))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_registry_knows_which_families_are_joint(name: str) -> None:
    family = importlib.import_module(FAMILIES[name]).FAMILY
    assert (name in JOINT) == family.MULTI_OUTPUT
    assert (name not in FOREIGN) == family.SAVES


# What it is given


def test_all_targets_are_fitted_at_once(problem: Problem, tmp_path: Path, tasks: list[Fit]) -> None:
    done = fitted(problem, tmp_path, bagging=BAGS, class_weight="balanced", params={"eta": 0.5})
    rows = problem.rows(0)
    labels = problem.labels[rows.train]
    assert len(tasks) == 3
    for bag, task in enumerate(tasks):
        assert tuple(target.name for target in task.targets) == TARGETS
        assert np.array_equal(task.labels, labels.astype(np.float32), equal_nan=True)
        assert np.isnan(task.labels[:, 2]).any()
        balance = (labels == 0).sum(axis=0) / (labels == 1).sum(axis=0)
        positive = task.labels == 1
        assert np.allclose(task.weights, np.where(positive, balance, 1.0))
        assert (task.rounds, task.stop) == (20, None)
        assert task.params == {"learning_rate": 0.5}
        assert task.seed == derive_seed(1, "source", "*", 0, bag)
    assert len({task.scratch for task in tasks}) == 3
    fits = done.every_fit()
    assert [(row["target"], row["bag"]) for row in fits] == [
        (t, b) for t in TARGETS for b in (0, 1, 2)
    ]
    for row in fits:
        known = ~np.isnan(labels[:, TARGETS.index(row["target"])])
        assert row["rows"] == known.sum()
        assert row["positives"] == np.nansum(labels[:, TARGETS.index(row["target"])])
        assert row["seed"] == tasks[row["bag"]].seed
        assert (row["rounds"], row["stopped_on"], row["stop_score"]) == (20, None, None)
    assert done.fits["full"]["score"] > 0.7
    # The time of a fit is shared out among its targets.
    seconds = {row["seconds"] for row in fits if row["bag"] == 1}
    assert len(seconds) == 1


def test_the_same_seed_gives_the_same_bytes(problem: Problem, tmp_path: Path) -> None:
    first, again, other = (
        fitted(problem, tmp_path / str(i), seed=seed) for i, seed in enumerate((1, 1, 2))
    )
    assert contents(first) == contents(again)
    assert not np.array_equal(first.oof.values, other.oof.values)


def test_labels_of_the_fold_have_no_say(problem: Problem, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"early_stopping": {"rounds": 3}}
    before = fitted(problem, tmp_path / "before", **settings)
    labels = problem.labels.copy()
    held_out = problem.rows(0).valid
    labels[held_out] = 1 - labels[held_out]
    changed = with_labels(problem, labels, "turned")
    after = fitted(changed, tmp_path / "after", **settings)
    assert np.array_equal(before.oof.values, after.oof.values)
    assert np.array_equal(before.test.values, after.test.values)
    assert before.fits["full"]["stop_score"] == after.fits["full"]["stop_score"]
    assert before.fits["full"]["score"] == pytest.approx(1 - after.fits["full"]["score"])


def test_some_targets_are_a_model_of_their_own(
    problem: Problem, tmp_path: Path, tasks: list[Fit]
) -> None:
    scratch = tmp_path / "scratch"
    fitted(problem, tmp_path / "all", scratch=scratch)
    done = fitted(problem, tmp_path / "two", scratch=scratch, targets=["rare", "full"])
    assert [tuple(one.name for one in task.targets) for task in tasks] == [
        TARGETS,
        ("full", "rare"),
    ]
    assert done.oof.targets == ("full", "rare")
    assert len(stored_fits(problem, scratch)) == 4
    fitted(problem, tmp_path / "again", scratch=scratch, targets=["full", "rare"])
    assert len(tasks) == 2


def test_params_that_blendmake_sets(problem: Problem, tmp_path: Path) -> None:
    told = (
        r"sources\.source: Param 'seed' \(target 'full, other, gaps …'\) is set by blendmake: use"
    )
    with pytest.raises(BlendmakeError, match=told):
        fitted(problem, tmp_path, params={"seed": 3})


# Early stopping


def test_early_stopping_watches_the_inner_rows(
    problem: Problem, tmp_path: Path, tasks: list[Fit]
) -> None:
    done = fitted(problem, tmp_path, rounds=200, early_stopping={"rounds": 5}, keep_models=True)
    assert problem.inputs.inner is not None
    train = problem.rows(0).train
    aside = read_inner(problem.inputs.inner, 0)[train]
    (task,) = tasks
    assert task.stop is not None
    assert np.array_equal(
        task.labels, problem.labels[train[~aside]].astype(np.float32), equal_nan=True
    )
    assert np.array_equal(
        task.stop.labels, problem.labels[train[aside]].astype(np.float32), equal_nan=True
    )
    assert task.stop_rounds == 5
    assert done.note["optimistic"] == []
    # What is recorded is what the kept model has on those rows.
    rounds = {row["rounds"] for row in done.fits.values()}
    assert len(rounds) == 1 and 0 < rounds.pop() < 200
    for target, row in done.fits.items():
        predicted = kept_predictions(
            done.outputs.models, target, problem.inputs.feature_files("train")
        )[train[aside]]
        truth = problem.column(target)[train[aside]]
        known = ~np.isnan(truth)
        assert row["stop_score"] == pytest.approx(auc(truth[known], predicted[known]), abs=1e-6)
        assert row["stopped_on"] == "inner"


def test_stopping_on_the_fold_is_marked_for_all(problem: Problem, tmp_path: Path) -> None:
    done = fitted(problem, tmp_path, early_stopping={"rounds": 5, "watch": "fold"})
    assert done.note["optimistic"] == list(TARGETS)
    assert {row["stopped_on"] for row in done.fits.values()} == {"fold"}
    for row in done.fits.values():
        assert row["stop_score"] == pytest.approx(row["score"], abs=1e-6)


def test_a_target_without_two_classes(
    problem: Problem, tmp_path: Path, tasks: list[Fit], caplog: pytest.LogCaptureFixture
) -> None:
    """All positives of `rare` are set aside, and none of `other`: constants, and no stop AUC."""
    train = problem.rows(0).train
    aside = (problem.column("rare")[train] == 1) | (np.arange(len(train)) % 4 == 0)
    aside &= problem.column("other")[train] == 0
    labels = problem.labels.copy()
    labels[train[problem.column("other")[train] == 1], TARGETS.index("rare")] = 0
    changed = with_labels(problem, labels, "apart")
    assert changed.labels[train[aside], 3].sum() > 2
    done = fitted(
        with_inner(changed, 0, aside),
        tmp_path,
        early_stopping={"rounds": 5},
        keep_models=True,
        class_weight="balanced",
        bagging={"bags": 2},
    )
    assert "rare: one value only among the training rows, predicted as such" in caplog.text
    assert tasks[0].weights is None or (tasks[0].weights[:, 3] == 1).all()
    rare, other = done.fits["rare"], done.fits["other"]
    assert (rare["rounds"], rare["stopped_on"], rare["stop_score"]) == (0, None, None)
    assert (rare["positives"], rare["rows"], rare["score"]) == (0, (~aside).sum(), 0.5)
    assert (other["stopped_on"], other["stop_score"]) == ("inner", None)
    assert done.fits["full"]["stop_score"] > 0.5
    assert (done.held_out("rare") == 0).all() and (done.tested("rare") == 0).all()
    assert done.held_out("other").std() > 0.1
    kept = json.loads((done.outputs.models / "models.json").read_text())["models"]
    assert [Path(one["file"]).name.split(".", 1)[1] for one in kept["rare"]] == [
        "constant.json"
    ] * 2
    for target in TARGETS:
        saved = kept_predictions(done.outputs.models, target, problem.test_files())
        assert np.array_equal(saved, done.tested(target)), target


def test_nothing_to_watch(
    problem: Problem, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No row is set aside: every round is run, on all rows."""
    nothing = with_inner(problem, 0, np.zeros(len(problem.rows(0).train), bool))
    done = fitted(nothing, tmp_path / "nothing", early_stopping={"rounds": 1})
    assert "4 targets: no early stopping, its rows hold one value only" in caplog.text
    assert {row["stopped_on"] for row in done.fits.values()} == {None}
    assert np.array_equal(done.oof.values, fitted(problem, tmp_path / "plain").oof.values)


# Bags, kept models and scratch


def test_bags_are_averaged(problem: Problem, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    done = fitted(problem, tmp_path / "out", bagging=BAGS, scratch=scratch)
    stored = stored_fits(problem, scratch)
    assert sorted(stored) == sorted((t, b) for t in TARGETS for b in range(3))
    for target in TARGETS:
        bags = [stored[target, bag] for bag in range(3)]
        assert len({one.valid.tobytes() for one in bags}) == 3
        assert np.array_equal(
            mean_prediction([one.valid for one in bags])[:, 0], done.held_out(target)
        )
        assert np.array_equal(
            mean_prediction([one.test for one in bags])[:, 0], done.tested(target)
        )
    single = fitted(problem, tmp_path / "single")
    assert np.array_equal(single.held_out("full"), stored["full", 0].valid[:, 0])


def test_kept_models_predict_what_the_fit_did(problem: Problem, tmp_path: Path) -> None:
    done = fitted(problem, tmp_path, bagging={"bags": 2}, keep_models=True)
    models = done.outputs.models
    # One file per bag, whatever the number of targets.
    assert len(list(models.iterdir())) == 3
    train = problem.inputs.feature_files("train")
    for target in TARGETS:
        assert np.array_equal(
            kept_predictions(models, target, problem.test_files()), done.tested(target)
        )
        again = kept_predictions(models, target, train)[problem.rows(0).valid]
        assert np.abs(again - done.held_out(target)).max() < 1e-6


def test_models_wanted_later_are_fitted_for(
    problem: Problem, tmp_path: Path, tasks: list[Fit]
) -> None:
    scratch = tmp_path / "scratch"
    first = fitted(problem, tmp_path / "1", scratch=scratch)
    second = fitted(problem, tmp_path / "2", scratch=scratch, keep_models=True)
    assert len(tasks) == 2
    third = fitted(problem, tmp_path / "3", scratch=scratch, keep_models=True)
    assert len(tasks) == 2
    assert contents(second) == contents(third)
    assert np.array_equal(first.oof.values, third.oof.values)


def test_a_kill_between_bags_costs_no_finished_bag(
    problem: Problem, tmp_path: Path, tasks: list[Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = fitted(problem, tmp_path / "undisturbed", bagging=BAGS)
    tasks.clear()
    scratch = tmp_path / "scratch"
    fit = Together.fit

    def killed(family: Together, task: Fit) -> Fitted:
        if len(tasks) == 2:
            raise KeyboardInterrupt
        return fit(family, task)

    with monkeypatch.context() as patch:
        patch.setattr(Together, "fit", killed)
        with pytest.raises(KeyboardInterrupt):
            fitted(problem, tmp_path / "killed", bagging=BAGS, scratch=scratch)
    before = stored_fits(problem, scratch)
    assert {bag for _, bag in before} == {0, 1} and len(before) == 8
    done = fitted(problem, tmp_path / "done", bagging=BAGS, scratch=scratch)
    assert [task.seed for task in tasks] == [derive_seed(1, "source", "*", 0, b) for b in range(3)]
    assert contents(done) == contents(undisturbed)
    after = stored_fits(problem, scratch)
    assert all(after[key].row == one.row for key, one in before.items())


def test_a_kill_within_a_fit_resumes_from_its_checkpoint(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"bagging": {"bags": 2}, "early_stopping": {"rounds": 40}}
    undisturbed = fitted(problem, tmp_path / "undisturbed", **settings)
    scratch = tmp_path / "scratch"
    rounds: list[int] = []

    def killing(number: int) -> None:
        rounds.append(number)
        if len(rounds) in (7, 28):  # in the first bag, in the second
            raise KeyboardInterrupt

    monkeypatch.setattr(joint_family, "after_round", killing)
    for bags_done in (0, 1):
        with pytest.raises(KeyboardInterrupt):
            fitted(problem, tmp_path / "killed", scratch=scratch, **settings)
        assert len(stored_fits(problem, scratch)) == 4 * bags_done
        assert len(list(scratch.glob("*/*/state.json"))) == 1
    done = fitted(problem, tmp_path / "done", scratch=scratch, **settings)
    assert rounds == [*range(1, 21), *range(1, 21)]  # none twice
    assert contents(done) == contents(undisturbed)
    assert not list(scratch.glob("*/*/state.json")), "a checkpoint outlived its fit"
    assert [path.name for path in scratch.glob("*/*") if path.is_dir()] == []


def test_a_lost_target_is_fitted_again_with_the_others(
    problem: Problem, tmp_path: Path, tasks: list[Fit]
) -> None:
    scratch = tmp_path / "scratch"
    first = fitted(problem, tmp_path / "1", bagging=BAGS, scratch=scratch)
    (lost,) = scratch.glob("*/gaps-*-bag1.parquet")
    lost.unlink()
    again = fitted(problem, tmp_path / "2", bagging=BAGS, scratch=scratch)
    assert [task.seed for task in tasks[3:]] == [derive_seed(1, "source", "*", 0, 1)]
    assert contents(first) == contents(again)


def test_outputs_of_one_run_stand_for_one_that_waits(
    problem: Problem, tmp_path: Path, tasks: list[Fit], monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    first = fitted(problem, tmp_path / "out", bagging=BAGS, scratch=scratch)
    shutil.rmtree(scratch)
    seen = iter([()])  # nothing stands when it begins to wait for the other run

    def dates_of(files: Iterable[Path]) -> Any:
        return next(seen, dates(files))

    monkeypatch.setattr("blendmake.fits.fitting.dates", dates_of)
    again = fitted(problem, tmp_path / "out", bagging=BAGS, scratch=scratch)
    assert len(tasks) == 3
    assert again.every_fit() == first.every_fit()
    fitted(problem, tmp_path / "out", bagging={"bags": 2}, scratch=scratch)
    assert len(tasks) == 5
