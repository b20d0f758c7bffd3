"""Vector leaves: one XGBoost model of all targets, splits searched in fewer dimensions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.families.xgboost_matrix import FoldMatrices
from blendmake.families.xgboost_vector import (
    SKETCHES,
    Gradients,
    Sketch,
    XGBoostVector,
    predict_saved,
)
from blendmake.family import Fitted, FoldData
from blendmake.link import Link
from blendmake.stats.auc import auc
from blendmake.tasks.base import Target
from blendmake.tasks.binary import TASK as BINARY
from fold_data import changed, fold_data, joint_fit, labels_at
from problems import Problem, run_fold, synthetic, with_labels

PLAIN = {"split_dimensions": 0}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"))


@pytest.fixture(scope="module")
def data(problem: Problem) -> FoldData:
    return fold_data(problem)


@pytest.fixture(scope="module")
def inner(problem: Problem) -> FoldData:
    return fold_data(problem, inner=True)


def fit(problem: Problem, data: FoldData, tmp_path: Path, **settings: Any) -> Fitted:
    return XGBoostVector(data, 1).fit(joint_fit(problem, data, tmp_path, **settings))


def scores(problem: Problem, rows: Any, predicted: NDArray[np.float32]) -> NDArray[np.float64]:
    """AUC of every target over its known rows; nan where a class is absent."""
    truth = labels_at(problem, rows)
    known = ~np.isnan(truth)
    return np.array(
        [auc(truth[known[:, j], j], predicted[known[:, j], j]) for j in range(truth.shape[1])]
    )


# what it predicts


@pytest.mark.parametrize(
    "params",
    [
        PLAIN,
        *({"sketch": name} for name in SKETCHES),
        {"split_dimensions": 2},
        {"split_dimensions": 3, "sketch": "random_sampling", "max_bin": 16},
        {"subsample": 0.7, "colsample_bytree": 0.8, "colsample_bylevel": 0.8},
        {"split_dimensions": 0, "colsample_bynode": 0.6, "reg_lambda": 3.0, "reg_alpha": 0.1},
        {"grow_policy": "lossguide", "max_leaves": 8, "max_depth": 0, "min_child_weight": 2.0},
    ],
)
def test_every_target_is_learnt_and_repeats(
    params: dict[str, Any], problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    settings = {"params": {"learning_rate": 0.2, **params}, "rounds": 25}
    fitted = fit(problem, data, tmp_path, **settings)
    assert fitted.valid.shape == (120, 4) and fitted.test.shape == (60, 4)
    assert fitted.valid.dtype == fitted.test.dtype == np.float32
    both = np.concatenate([fitted.valid, fitted.test])
    assert both.min() > 0 and both.max() < 1
    assert scores(problem, data.valid, fitted.valid).min() > 0.65
    # `other` has the opposite signal: predictions are of their own target.
    assert np.corrcoef(fitted.test[:, 0], fitted.test[:, 1])[0, 1] < -0.5
    assert fitted.rounds == 25 and fitted.stop_scores is None
    again = fit(problem, data, tmp_path, **settings)
    assert np.array_equal(again.valid, fitted.valid) and np.array_equal(again.test, fitted.test)
    # What is kept says the same, of levels that training does not hold too.
    path = fitted.save(tmp_path / "model")
    assert path.suffix == ".ubj"
    saved = predict_saved(path, data.test)
    assert saved.shape == (60, 4) and saved.dtype == np.float32
    assert np.abs(saved - fitted.test).max() < 1e-6
    none = replace(data.test, positions=data.test.positions[:0])
    assert predict_saved(path, none).shape == (0, 4)


def test_plain_is_what_xgboost_does_itself(
    problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    labels = np.nan_to_num(labels_at(problem, data.train))
    fitted = fit(problem, data, tmp_path, params=PLAIN, labels=labels, rounds=10)
    matrix = FoldMatrices(data, 1, 256, categories=False).matrix("train")
    matrix.set_info(label=labels)
    settings = {
        "multi_strategy": "multi_output_tree",
        "objective": "binary:logistic",
        "base_score": ((labels.sum(axis=0) + 0.5) / (len(labels) + 1)).tolist(),
        "learning_rate": 0.05,
        "nthread": 1,
    }
    theirs = xgb.train(settings, matrix, 10)
    assert (
        np.abs(
            theirs.predict(matrix) - predict_saved(fitted.save(tmp_path / "model"), data.train)
        ).max()
        < 1e-4
    )


def test_as_many_dimensions_as_targets_are_none(
    problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    plain = fit(problem, data, tmp_path, params=PLAIN)
    for dimensions in (4, 9):
        params = {"split_dimensions": dimensions}
        assert np.array_equal(fit(problem, data, tmp_path, params=params).valid, plain.valid)
    assert not np.array_equal(fit(problem, data, tmp_path, params={}).valid, plain.valid)


def test_seeds(problem: Problem, data: FoldData, tmp_path: Path) -> None:
    one, two, other = (fit(problem, data, tmp_path, seed=seed).valid for seed in (1, 1, 2))
    assert np.array_equal(one, two) and not np.array_equal(one, other)
    # Without anything drawn at random a seed changes nothing.
    plain = [fit(problem, data, tmp_path, seed=seed, params=PLAIN).valid for seed in (1, 2)]
    assert np.array_equal(*plain)


def test_one_target(problem: Problem, data: FoldData, tmp_path: Path) -> None:
    task = joint_fit(problem, data, tmp_path)
    task = changed(task, targets=task.targets[:1], labels=task.labels[:, :1])
    fitted = XGBoostVector(data, 1).fit(task)
    assert fitted.valid.shape == (120, 1)
    assert auc(labels_at(problem, data.valid)[:, 0], fitted.valid[:, 0]) > 0.7
    saved = predict_saved(fitted.save(tmp_path / "model"), data.test)
    assert saved.shape == (60, 1) and np.abs(saved - fitted.test).max() < 1e-6


# gradients


def gradients_of(labels: NDArray[np.float32], positive_weights: NDArray[np.float64]) -> Gradients:
    """Of binary targets."""
    targets = tuple(Target(f"t{j}", BINARY) for j in range(labels.shape[1]))
    weights = np.where(labels == 1, positive_weights, 1.0)
    return Gradients(Link("binary", (1,) * len(targets)), targets, labels, weights)


def loss(labels: Any, weights: Any, margins: Any) -> Any:
    """Weighted logistic loss of each entry, 0 where the label is unknown."""
    y = np.nan_to_num(labels)
    each = np.logaddexp(0, margins) - y * margins
    return np.where(np.isnan(labels), 0, each * np.where(y == 1, weights, 1))


def test_gradients_are_those_of_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blendmake.families.vector_losses.BLOCK", 7)
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 3)) < 0.4).astype(np.float32)
    labels[rng.random((40, 3)) < 0.3] = np.nan
    weights = np.array([1.0, 4.0, 0.5])
    margins = rng.normal(scale=3, size=(40, 3))
    grad, hess = gradients_of(labels, weights)(margins.astype(np.float32))
    step = 1e-4
    around = [loss(labels, weights, margins + step * k) for k in (-1, 0, 1)]
    assert grad == pytest.approx((around[2] - around[0]) / (2 * step), abs=1e-5)
    assert hess == pytest.approx((around[2] - 2 * around[1] + around[0]) / step**2, abs=1e-5)
    unknown = np.isnan(labels)
    assert (grad[unknown] == 0).all() and (hess[unknown] == 0).all()
    assert (hess[~unknown] > 0).all()
    for margin in (-1e5, 1e5):
        ends = gradients_of(labels, weights)(np.full((40, 3), margin, np.float32))
        assert np.isfinite(ends).all()


def test_priors_are_where_gradients_vanish() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((4000, 2)) < [0.02, 0.6]).astype(np.float32)
    labels[:1500, 0] = np.nan
    gradients = gradients_of(labels, np.array([5.0, 1.0]))
    odds = np.log(gradients.priors / (1 - gradients.priors))
    grad, hess = gradients(np.broadcast_to(odds, labels.shape).astype(np.float32).copy())
    assert np.abs(grad.sum(axis=0) / hess.sum(axis=0)).max() < 0.02
    assert gradients.priors[0] > 0.05, "the weight of positives counts"


def test_a_target_of_one_class_has_no_say() -> None:
    labels = np.array([[1, 0, np.nan], [1, 1, np.nan], [1, 0, np.nan]], np.float32)
    gradients = gradients_of(labels, np.ones(3))
    grad, hess = gradients(np.zeros((3, 3), np.float32))
    assert (grad[:, [0, 2]] == 0).all() and (hess[:, [0, 2]] == 0).all()
    assert (grad[:, 1] != 0).all()
    assert (gradients.priors > 0).all() and (gradients.priors < 1).all()


def test_sketches() -> None:
    rng = np.random.default_rng(2)
    grad = rng.normal(size=(30, 6)).astype(np.float32) * np.array([1, 5, 0.1, 2, 1, 0], np.float32)
    hess = rng.random((30, 6)).astype(np.float32)
    norms = (grad**2).sum(axis=0)
    outer = grad @ grad.T
    for kind in SKETCHES:
        for k in (1, 2):
            sketch = Sketch(kind, k, 7)
            split_grad, split_hess = sketch(3, grad, hess)
            assert split_grad.shape == split_hess.shape == (30, k)
            assert split_grad.dtype == split_hess.dtype == np.float32
            for column in split_hess.T:
                assert column == pytest.approx(hess.mean(axis=1), rel=1e-5)
            # Drawn from the round and the seed alone.
            assert np.array_equal(Sketch(kind, k, 7)(3, grad, hess)[0], split_grad)
            differs = [
                not np.array_equal(other, split_grad)
                for other in (
                    *(Sketch(kind, k, 7)(r, grad, hess)[0] for r in range(4, 14)),
                    *(Sketch(kind, k, seed)(3, grad, hess)[0] for seed in range(8, 18)),
                )
            ]
            assert any(differs) == (kind != "top_outputs")
            if kind == "top_outputs":
                assert np.array_equal(split_grad, grad[:, [1, 3][:k]])
                continue
            # Products between rows, of which the gain is made, are kept on average.
            drawn = [sketch(r, grad, hess)[0].astype(float) for r in range(3000)]
            mean = np.mean([one @ one.T for one in drawn], axis=0)
            assert np.abs(mean - outer).max() < 0.12 * np.abs(outer).max()
    nothing = np.zeros_like(grad)
    assert norms.sum() > 0 and (Sketch("random_sampling", 2, 1)(0, nothing, hess)[0] == 0).all()


# labels


def test_unknown_labels_do_not_count(problem: Problem, data: FoldData, tmp_path: Path) -> None:
    """Where half of a target is unknown, its model is of the other half."""
    labels = labels_at(problem, data.train)
    wrong = labels.copy()
    half = np.random.default_rng(0).random(len(labels)) < 0.5
    wrong[half, 0] = 1 - wrong[half, 0]
    unknown = labels.copy()
    unknown[half, 0] = np.nan
    params = {"learning_rate": 0.2}
    learnt, misled = (
        scores(
            problem,
            data.valid,
            fit(problem, data, tmp_path, labels=given, params=params, rounds=25).valid,
        )
        for given in (unknown, wrong)
    )
    assert learnt[0] > 0.75 > 0.65 > misled[0]


def test_rows_without_any_label_are_left_out(
    problem: Problem, data: FoldData, inner: FoldData, tmp_path: Path
) -> None:
    labels = labels_at(problem, data.train)
    few = np.flatnonzero(np.random.default_rng(0).random(len(labels)) < 0.4)
    sparse = np.full_like(labels, np.nan)
    sparse[few] = labels[few]
    family = XGBoostVector(data, 1)
    task = joint_fit(problem, data, tmp_path, labels=sparse, params={"learning_rate": 0.2})
    prepared = family._matrices.of(task, 256)
    assert prepared.matrices.matrix("train").num_row() == len(few) == len(prepared.labels)
    assert family._matrices._shared is None, "the matrix of all rows is not made for it"
    fitted = family.fit(task)
    only = replace(data, train=replace(data.train, positions=data.train.positions[few]))
    same = XGBoostVector(only, 1).fit(changed(task, labels=labels[few]))
    assert np.abs(fitted.valid - same.valid).max() < 1e-6
    assert scores(problem, data.valid, fitted.valid)[0] > 0.7
    # With rows to watch, of which some have no label.
    watched = labels_at(problem, inner.stop)
    watched[::4] = np.nan
    start = labels_at(problem, inner.train)
    start[np.arange(len(start)) % 5 > 1] = np.nan
    stopped = fit(
        problem, inner, tmp_path, labels=start, stop_labels=watched, stop_rounds=3, rounds=50
    )
    assert np.isfinite(stopped.stop_scores[:2]).all() and stopped.rounds < 50


def test_class_weights_are_of_their_targets(
    problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    params = {**PLAIN, "learning_rate": 0.2}
    none, some, more = (
        fit(
            problem, data, tmp_path, params=params, positive_weights=np.array([1, 1, 1, w])
        ).test.mean(axis=0)
        for w in (1.0, 4.0, 16.0)
    )
    assert none[3] + 0.05 < some[3] < more[3] - 0.05
    assert np.abs(none[:3] - more[:3]).max() < 0.05


def test_a_target_of_one_class_among_others(
    problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    labels = labels_at(problem, data.train)
    labels[:, 3] = 0
    labels[:, 1] = np.nan
    fitted = fit(problem, data, tmp_path, labels=labels, rounds=20, params={"learning_rate": 0.2})
    assert np.isfinite(fitted.valid).all()
    assert scores(problem, data.valid, fitted.valid)[[0, 2]].min() > 0.65
    assert fitted.valid[:, 3].max() < 0.05 and np.ptp(fitted.valid[:, 1]) == 0


# early stopping


@pytest.mark.parametrize("every", [1, 4])
@pytest.mark.parametrize("dimensions", [0, 1])
def test_early_stopping_takes_the_best_round(
    every: int, dimensions: int, problem: Problem, inner: FoldData, tmp_path: Path
) -> None:
    params = {"learning_rate": 0.3, "split_dimensions": dimensions, "eval_every": every}
    stopped = fit(problem, inner, tmp_path, params=params, rounds=90, stop_rounds=8)
    best = stopped.rounds
    assert 1 <= best < 80 and best % every == 0
    assert inner.stop is not None
    saved = predict_saved(stopped.save(tmp_path / "model"), inner.stop)
    assert stopped.stop_scores == pytest.approx(scores(problem, inner.stop, saved), abs=1e-9)
    macro = np.mean(stopped.stop_scores)

    def run_to(rounds: int) -> Fitted:
        return fit(problem, inner, tmp_path, params=params, rounds=rounds)

    again = run_to(best)
    assert np.array_equal(again.valid, stopped.valid) and np.array_equal(again.test, stopped.test)
    for rounds in {*range(every, best + 9, every)} - {best}:
        path = run_to(rounds).save(tmp_path / "other")
        other = scores(problem, inner.stop, predict_saved(path, inner.stop)).mean()
        assert other <= macro if rounds > best else other < macro


def test_the_last_round_is_looked_at(problem: Problem, inner: FoldData, tmp_path: Path) -> None:
    params = {"learning_rate": 0.01, "eval_every": 50}
    fitted = fit(problem, inner, tmp_path, params=params, rounds=7, stop_rounds=3)
    assert fitted.rounds == 7 and np.isfinite(fitted.stop_scores).all()


def test_targets_without_two_classes_to_watch_do_not_stop(
    problem: Problem, inner: FoldData, tmp_path: Path
) -> None:
    watched = labels_at(problem, inner.stop)
    watched[:, 3], watched[:, 1] = 0, np.nan
    fitted = fit(problem, inner, tmp_path, stop_labels=watched, stop_rounds=2, rounds=40)
    assert np.array_equal(np.isnan(fitted.stop_scores), [False, True, False, True])
    assert fitted.rounds < 40
    watched[:] = 0
    fitted = fit(problem, inner, tmp_path, stop_labels=watched, stop_rounds=2, rounds=9)
    assert fitted.rounds == 9 and np.isnan(fitted.stop_scores).all()


# within the workflow's unit of work


def test_a_source_of_vector_leaves(problem: Problem, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "rounds": 60,
        "early_stopping": {"rounds": 5},
        "params": {"eta": 0.3, "split_dimensions": 2},
    }
    one = run_fold(problem, "xgboost_vector", tmp_path / "one", **settings)
    rounds = {row["rounds"] for row in one.fits.values()}
    assert len(rounds) == 1 and rounds.pop() < 60
    assert {row["stopped_on"] for row in one.fits.values()} == {"inner"}
    labels = problem.labels.copy()
    rows = problem.rows(0)
    labels[rows.valid] = 1 - labels[rows.valid]
    flipped = with_labels(problem, labels, "flipped")
    other = run_fold(flipped, "xgboost_vector", tmp_path / "other", **settings)
    assert np.array_equal(one.oof.values, other.oof.values), "labels of the fold do not reach it"
    # Those of the targets' own columns.
    for j, target in enumerate(problem.targets):
        truth = problem.labels[rows.valid, j]
        known = ~np.isnan(truth)
        assert one.fits[target]["score"] == pytest.approx(
            auc(truth[known], one.held_out(target)[known])
        )


# what is refused


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"monotone_constraints": "(1)"}, "'monotone_constraints: .1.' does not go with vector"),
        ({"interaction_constraints": "[[0]]"}, "does not go with vector leaves; leave it out"),
        ({"booster": "dart"}, "'booster: dart' does not go with vector leaves"),
        ({"tree_method": "approx"}, "'tree_method: approx' does not go"),
        ({"sketch": "svd"}, "sketch is one of random_projection, .*; found 'svd'"),
        ({"split_dimensions": -1}, "split_dimensions is a whole number from 0 on"),
        ({"split_dimensions": 1.5}, "split_dimensions is a whole number from 0 on"),
        ({"eval_every": 0}, "eval_every is a whole number from 1 on"),
        ({"no_such_param": 1}, "Unknown param.*no_such_param"),
        ({"max_depth": "deep"}, "max_depth"),
    ],
)
def test_params_that_are_refused(
    params: dict[str, Any], reason: str, problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    with pytest.raises(
        BlendmakeError, match=f"target 'full, other, gaps …' was refused: .*{reason}"
    ):
        fit(problem, data, tmp_path, params=params)


@pytest.mark.parametrize(
    "name", ["base_score", "multi_strategy", "num_target", "scale_pos_weight", "seed"]
)
def test_reserved_params(name: str, problem: Problem, data: FoldData, tmp_path: Path) -> None:
    with pytest.raises(BlendmakeError, match=f"Param '{name}' .* is set by blendmake: "):
        fit(problem, data, tmp_path, params={name: 1})


def test_params_that_say_what_is_so_anyway(
    problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    params = {"booster": "gbtree", "tree_method": "hist"}
    same = fit(problem, data, tmp_path, params=params)
    assert np.array_equal(same.valid, fit(problem, data, tmp_path).valid)


def test_an_xgboost_without_the_interface(
    problem: Problem, data: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("xgboost.objective.TreeObjective")
    with pytest.raises(BlendmakeError, match=r"lacks TreeObjective.*split_dimensions to 0"):
        fit(problem, data, tmp_path)
    assert fit(problem, data, tmp_path, params=PLAIN).rounds == 12
