"""Each weight method against brute force, or an optimum known by construction."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import check_grad

from blendmake.blends.evaluation import BlendScorer, FittingRows
from blendmake.blends.scales import SCALES
from blendmake.blends.surrogates import smooth_auc
from blendmake.blends.weights import METHODS
from blendmake.errors import BlendmakeError
from blendmake.metrics.finding import find_metric
from blendmake.stats.auc import auc
from blendmake.stats.ranks import rank_scale
from blendmake.tasks.base import find_task

Floats = NDArray[np.float64]


def problem(
    strengths: tuple[float, ...], n: int = 400, seed: int = 0
) -> tuple[Floats, NDArray[np.bool_], Floats]:
    """Independent noisy views of one label, on ranks, best solo AUC first."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.25
    raw = np.stack([k * labels + rng.normal(size=n) for k in strengths], axis=1)
    scores = rank_scale(raw, None)
    solo = np.array([auc(labels, column) for column in scores.T])
    order = np.argsort(-solo, kind="stable")
    return scores[:, order], labels, solo[order]


def single(blended: Floats) -> NDArray[np.float32]:
    """As a blend is written."""
    return blended.astype(np.float32)


def run(method: str, data: tuple[Floats, Any, Floats], **options: Any) -> Floats:
    return METHODS[method](rows_of(*data), options)


def rows_of(scores: Floats, labels: Any, solo: Floats) -> FittingRows:
    """All rows; candidates as they stand are the best first."""
    scorer = BlendScorer(
        np.ascontiguousarray(scores.T), labels.astype(float), [np.arange(len(labels))]
    )
    assert scorer.solo(0) == pytest.approx(solo)
    candidates = range(scores.shape[1])
    task, scale = find_task("binary"), SCALES["rank"]
    return FittingRows(scorer, 0, candidates, find_metric("auc"), task, scale)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_weights_are_a_share_of_one_and_repeatable(method: str, count: int) -> None:
    data = problem((1.2, 0.9, 0.7, 0.3, 0.0)[:count])
    before = data[0].copy()
    weights = run(method, data)
    assert weights.shape == (count,)
    assert weights.dtype == np.float64
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert weights.tobytes() == run(method, data).tobytes()
    assert np.array_equal(before, data[0])
    if count == 1:
        assert weights.tolist() == [1.0]


def test_fixed_weights() -> None:
    data = problem((1.2, 0.9, 0.7, 0.3))
    assert run("mean", data).tolist() == [0.25] * 4
    assert run("winner", data).tolist() == [1, 0, 0, 0]
    assert run("top2_weighted", data) == pytest.approx([0.65, 0.35, 0, 0])
    assert run("top3_weighted", data) == pytest.approx([0.45, 0.35, 0.20, 0])
    given = (0.5, 0.3, 0.2)
    assert run("top3_weighted", data, top_weights=given) == pytest.approx([*given, 0])
    assert run("top2_weighted", data, top_weights=(0.8, 0.2)) == pytest.approx([0.8, 0.2, 0, 0])
    two = problem((1.2, 0.9))
    assert run("top3_weighted", two) == pytest.approx([0.65, 0.35])
    assert run("top3_weighted", two, top_weights=given) == pytest.approx([0.65, 0.35])


@pytest.mark.parametrize(
    "given", [(0.5, 0.5), (0.5, 0.4, 0.2), (1.2, -0.4, 0.2), (0.0, 0.5, 0.5), (float("nan"), 1, 0)]
)
def test_wrong_top_weights_are_refused(given: tuple[float, ...]) -> None:
    with pytest.raises(BlendmakeError, match="top_weights"):
        run("top3_weighted", problem((1.0, 0.8, 0.6)), top_weights=given)


@pytest.mark.parametrize("seed", range(4))
def test_simplex_grid_is_the_brute_force_optimum(seed: int) -> None:
    data = problem((0.9, 0.8, 0.7, 0.6), n=150, seed=seed)
    weights = run("simplex_grid", data, step=0.1)
    points = [p for p in itertools.product(range(11), repeat=3) if sum(p) == 10]
    values = {p: auc(data[1], single(data[0][:, :3] @ np.array(p) / 10)) for p in points}
    best = max(values.values())
    winners = [p for p in points if values[p] > best - 1e-12]
    nearest = min(sum((x / 10 - 1 / 3) ** 2 for x in p) for p in winners)
    found = tuple(int(x) for x in np.rint(weights * 10))[:3]
    assert weights[3] == 0  # outside the best three
    assert found in winners
    assert sum((x / 10 - 1 / 3) ** 2 for x in found) == pytest.approx(nearest)


def test_simplex_grid_ties_go_to_the_point_nearest_uniform() -> None:
    scores, labels, solo = problem((0.9,))
    same = (np.repeat(scores, 3, axis=1), labels, np.repeat(solo, 3))
    assert run("simplex_grid", same) == pytest.approx([0.35, 0.35, 0.30])
    assert run("simplex_grid", same, grid_sources=2) == pytest.approx([0.5, 0.5, 0])


@pytest.mark.parametrize("step", [0.0, 0.3, -0.1, 2.0])
def test_a_step_that_does_not_divide_one_is_refused(step: float) -> None:
    with pytest.raises(BlendmakeError, match="step"):
        run("simplex_grid", problem((1.0, 0.8)), step=step)


def test_smooth_auc_has_the_right_gradient_and_limit() -> None:
    scores, labels, _ = problem((1.0, 0.7, 0.4), n=120)
    positive, negative = scores[labels], scores[~labels]
    at = np.array([0.2, 0.5, 0.3])
    error = check_grad(
        lambda w: smooth_auc(w, positive, negative, 0.1)[0],
        lambda w: smooth_auc(w, positive, negative, 0.1)[1],
        at,
    )
    assert error < 1e-6
    assert np.linalg.norm(smooth_auc(at, positive, negative, 0.1)[1]) > 1e-3
    sharp = smooth_auc(at, positive, negative, 1e-9)[0]
    assert sharp == pytest.approx(auc(labels, scores @ at), abs=1e-9)


def test_optimize_weights_comes_near_the_best_of_a_fine_grid() -> None:
    data = problem((1.6, 0.8, 0.0), n=3000, seed=3)
    weights = run("optimize_weights", data, shrinkage=0.0)
    reached = auc(data[1], data[0] @ weights)
    points = [p for p in itertools.product(range(41), repeat=3) if sum(p) == 40]
    best = max(auc(data[1], data[0] @ np.array(p, dtype=float)) for p in points)
    uniform = auc(data[1], data[0].mean(axis=1))
    assert best - uniform > 0.02  # there is something to find
    assert best - reached < 0.001


def test_optimize_weights_gives_the_planted_proportions() -> None:
    # With equal variances the likelihood ratio, hence the best AUC, weighs by the shifts: 2 to 1.
    rng = np.random.default_rng(5)
    labels = rng.random(6000) < 0.3
    scores = np.stack([k * labels + rng.normal(size=6000) for k in (1.4, 0.7)], axis=1)
    solo = np.array([auc(labels, column) for column in scores.T])
    weights = run("optimize_weights", (scores, labels, solo), shrinkage=0.0)
    assert weights == pytest.approx([2 / 3, 1 / 3], abs=0.06)


def test_shrinkage_pulls_towards_uniform() -> None:
    data = problem((1.6, 0.6, 0.2), n=1500)
    away = [
        np.abs(run("optimize_weights", data, shrinkage=pull) - 1 / 3).max()
        for pull in (0.0, 0.1, 100.0)
    ]
    assert away[0] > away[1] > away[2]
    assert away[2] < 0.01


def test_bounds_hold_and_are_widened_only_where_impossible() -> None:
    data = problem((1.8, 0.5, 0.1), n=1500)
    free = run("optimize_weights", data, shrinkage=0.0)
    assert free.max() > 0.6
    weights = run("optimize_weights", data, shrinkage=0.0, bounds=(0.1, 0.6))
    assert weights.min() >= 0.1 - 1e-9
    assert weights.max() == pytest.approx(0.6, abs=1e-6)
    assert run("optimize_weights", data, bounds=(0.5, 1.0)) == pytest.approx([1 / 3] * 3)
    assert run("optimize_weights", data, bounds=(0.0, 0.2)) == pytest.approx([1 / 3] * 3)
    with pytest.raises(BlendmakeError, match="bounds"):
        run("optimize_weights", data, bounds=(0.6, 0.4))


def test_optimize_weights_solves_the_shrunk_problem() -> None:
    scores, labels, solo = problem((1.6, 0.8), n=300)  # few enough rows that none is left out
    width = 0.1 * scores.mean(axis=1).std()

    def value(first: float, shrinkage: float) -> float:
        weights = np.array([first, 1 - first])
        smooth, _ = smooth_auc(weights, scores[labels], scores[~labels], width)
        return smooth - shrinkage * float(((weights - 0.5) ** 2).sum())

    for shrinkage in (0.02, 0.1, 0.5):
        best = max(np.linspace(0, 1, 2001), key=lambda first: value(first, shrinkage))
        assert 0.5 < best < 1
        found = run("optimize_weights", (scores, labels, solo), shrinkage=shrinkage)
        assert found[0] == pytest.approx(best, abs=2e-3)


def test_optimize_weights_never_falls_below_uniform(monkeypatch: pytest.MonkeyPatch) -> None:
    data = problem((1.5, 1.5, 0.1))
    for answer, expected in (
        ([0.0, 0.0, 1.0], [1 / 3] * 3),  # worse than uniform: not taken
        ([0.5, 0.5, 0.0], [0.5, 0.5, 0.0]),
        ([np.nan] * 3, [1 / 3] * 3),
    ):
        found = SimpleNamespace(x=np.array(answer))
        monkeypatch.setattr("scipy.optimize.minimize", lambda *_, found=found, **__: found)
        assert run("optimize_weights", data) == pytest.approx(expected)


def test_optimize_weights_on_constant_scores_stays_uniform() -> None:
    labels = np.array([True, False] * 10)
    scores = np.full((20, 2), 0.5)
    assert run("optimize_weights", (scores, labels, np.full(2, 0.5))).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("seed", range(4))
def test_greedy_is_caruanas_selection(seed: int) -> None:
    scores, labels, solo = problem((0.9, 0.8, 0.8, 0.5, 0.2), n=200, seed=seed)
    chosen = [0]
    trail = [(auc(labels, scores[:, 0]), [0])]
    for _ in range(11):
        means = [single(scores[:, [*chosen, c]].mean(axis=1)) for c in range(5)]
        values = [auc(labels, column) for column in means]
        chosen = [*chosen, int(np.argmax(np.array(values) > max(values) - 1e-12))]
        trail.append((max(values), chosen))
    best = max(value for value, _ in trail)
    prefix = next(picks for value, picks in trail if value > best - 1e-12)
    expected = np.bincount(prefix, minlength=5) / len(prefix)
    weights = run("greedy", (scores, labels, solo), steps=12)
    assert weights == pytest.approx(expected)
    assert auc(labels, single(scores @ weights)) == pytest.approx(best, abs=1e-12)
    assert best > solo[0]


def test_greedy_keeps_the_best_alone_where_others_are_noise_or_copies() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3 == 0
    perfect = rank_scale(labels + 0.1 * rng.random(60), None)
    noise = rank_scale(rng.random(60), None)
    scores = np.stack([perfect, perfect, noise], axis=1)
    solo = np.array([1.0, 1.0, auc(labels, noise)])
    assert run("greedy", (scores, labels, solo)).tolist() == [1, 0, 0]
    assert run("greedy", problem((0.9, 0.8)), steps=1).tolist() == [1, 0]
