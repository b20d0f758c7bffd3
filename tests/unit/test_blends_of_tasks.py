"""Blends of numbers and of classes: every method, metric and scale against plain computations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad
from sklearn import metrics as reference

from blendmake.blends.blending import Blended, blend
from blendmake.blends.evaluation import FittingRows, MetricScorer
from blendmake.blends.members import BLEND_METHODS, CROSS_TARGET, BlendOptions, Member, Split
from blendmake.blends.scales import SCALES, STACKED, scale_of, softmax
from blendmake.blends.stacking import fit_pool, fit_ridge
from blendmake.blends.surrogates import surrogate_of
from blendmake.errors import BlendmakeError
from blendmake.metrics.choice import metrics_of
from blendmake.metrics.finding import find_metric
from blendmake.tasks.base import Target, find_task

N, M, FOLDS = 600, 50, 4
METHODS = [method for method in BLEND_METHODS if method != CROSS_TARGET]
NUMBERS = Target("r", find_task("regression"))
CLASSES = Target("c", find_task("multiclass"), ("a", "b", "d"))
TWO = Target("y", find_task("binary"))


def _given(target: Target, seed: int = 0, noises: tuple[float, ...] = (0.5, 0.8, 2.0)) -> Any:
    """Labels (N,) and members of a target whose errors are independent, the first the best."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=N + M)
    if target.task.name == "regression":
        labels = 1e5 + signal + 0.2 * rng.normal(size=N + M)
    elif target.task.name == "multiclass":
        labels = np.digitize(signal + 0.3 * rng.normal(size=N + M), [-0.4, 0.6]).astype(float)
    else:
        labels = (rng.random(N + M) < 1 / (1 + np.exp(-2 * signal))).astype(float)
    members = []
    for place, noise in enumerate(noises):
        seen = signal + noise * rng.normal(size=N + M)
        if target.task.name == "regression":
            made = (1e5 + seen)[:, None]
        elif target.task.name == "multiclass":
            made = softmax(np.outer(seen, [-2.0, 0.2, 2.0]))
        else:
            made = (1 / (1 + np.exp(-2 * seen)))[:, None]
        members.append(Member(f"m{place}", [target], made[:N], made[N:]))
    known = labels[:N].copy()
    known[rng.random(N) < 0.1] = np.nan
    return known, members


def _splits() -> tuple[Any, list[Split]]:
    fold = np.arange(N) % FOLDS
    splits = [Split(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]
    return fold, splits


def _blended(target: Target, metric: str | None = None, seed: int = 0, **options: Any) -> Blended:
    labels, members = _given(target, seed)
    fold, splits = _splits()
    chosen = {target.name: metrics_of(target.task, metric)[0]}
    return blend(
        members, labels[:, None], [target], splits, fold, BlendOptions(**options), metrics=chosen
    )


def _squeezed(values: Any) -> Any:
    return values[:, 0] if values.shape[1] == 1 else values


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [NUMBERS, CLASSES], ids=["regression", "multiclass"])
def test_a_blend_is_a_prediction_of_its_task_and_better_than_its_best_member(
    target: Target, method: str
) -> None:
    labels, members = _given(target)
    done = _blended(target, method=method)
    known = np.isfinite(labels)
    metric = find_metric(target.task.metric)
    best = metric(labels[known], _squeezed(members[0].oof)[known])
    assert target.task.wrong(done.oof) is None and target.task.wrong(done.test) is None
    assert done.oof.shape == (N, len(target.outputs)) and done.test.shape == (M, done.oof.shape[1])
    value = metric(labels[known], _squeezed(done.oof)[known])
    if method in ("greedy", "optimize_weights", "simplex_grid", "stack", "top2_weighted"):
        assert metric.is_better(value, best)
    if method == "winner":
        assert value == pytest.approx(best)
    rows = [row for row in done.weights.to_pylist() if row["fold"] is None and row["rank"]]
    assert {row["metric"] for row in rows} == {target.task.metric}
    solo = [metric(labels[known], _squeezed(m.oof)[known]) for m in members]
    if method != "mean":
        assert [row["solo"] for row in rows] == pytest.approx(solo)
        assert [row["rank"] for row in rows] == [1, 2, 3]
    if method != "stack":
        assert sum(row["weight"] for row in rows) == pytest.approx(1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", [NUMBERS, CLASSES], ids=["regression", "multiclass"])
def test_no_row_is_blended_by_what_saw_its_label(target: Target, method: str) -> None:
    labels, members = _given(target)
    fold, splits = _splits()
    options = BlendOptions(method=method)
    changed = labels.copy()
    held = fold == 1
    shuffled = np.random.default_rng(9).permutation(np.flatnonzero(held))
    changed[held] = labels[shuffled]
    first, second = (
        blend(members, given[:, None], [target], splits, fold, options)
        for given in (labels, changed)
    )
    assert first.oof[held].tobytes() == second.oof[held].tobytes()
    if method not in ("mean", "winner", "top2_weighted", "top3_weighted"):
        assert first.oof[~held].tobytes() != second.oof[~held].tobytes()


@pytest.mark.parametrize("name", ["rmse", "mae", "r2", "spearman"])
def test_weights_of_numbers_go_by_the_metric(name: str) -> None:
    metric = find_metric(name)
    labels, members = _given(NUMBERS)
    known = np.isfinite(labels)
    done = _blended(NUMBERS, name, method="simplex_grid", step=0.25)
    by_hand = {}
    for a in range(5):
        for b in range(5 - a):
            weights = np.array([a, b, 4 - a - b]) / 4
            mixed = sum(w * m.oof[known, 0] for w, m in zip(weights, members, strict=True))
            by_hand[tuple(weights)] = metric.utility(metric(labels[known], mixed))
    best = max(by_hand, key=lambda point: by_hand[point])
    rows = [row for row in done.weights.to_pylist() if row["fold"] is None]
    assert tuple(row["weight"] for row in rows) == pytest.approx(best)


def test_the_geometric_mean_is_on_the_log_scale() -> None:
    _, members = _given(CLASSES)
    done = _blended(CLASSES, method="mean", scale="log")
    product = np.prod([m.test for m in members], axis=0) ** (1 / 3)
    assert done.test == pytest.approx(product / product.sum(axis=1, keepdims=True))
    plain = _blended(CLASSES, method="mean")
    assert plain.test == pytest.approx(np.mean([m.test for m in members], axis=0))


@pytest.mark.parametrize(
    ("target", "metric", "scale"),
    [
        (TWO, "auc", "rank"),
        (TWO, "average_precision", "rank"),
        (TWO, "log_loss", "logit"),
        (TWO, "brier", "logit"),
        (NUMBERS, "rmse", "value"),
        (NUMBERS, "mae", "value"),
        (CLASSES, "log_loss", "probability"),
        (CLASSES, "log_loss", "log"),
    ],
)
def test_what_stands_in_for_a_metric_has_its_gradient_and_its_optimum(
    target: Target, metric: str, scale: str
) -> None:
    labels, members = _given(target)
    measured, on = find_metric(metric), SCALES[scale]
    columns = np.stack([on.into(_squeezed(m.oof), None) for m in members])
    scorer = MetricScorer(
        measured, target.task.usable, on.back, columns, labels, [np.arange(N)], None, None
    )
    rows = FittingRows(scorer, 0, range(3), measured, target.task, on)
    loss = surrogate_of(rows)
    assert loss is not None
    at = np.array([0.5, 0.3, 0.2])
    size = np.linalg.norm(loss(at)[1])
    assert check_grad(lambda w: loss(w)[0], lambda w: loss(w)[1], at) < 2e-4 * max(size, 1e-3)
    # Downhill on the stand-in, at equal sum, the metric itself gets better.
    slope = loss(at)[1]
    step = at - 0.05 * (slope - slope.mean()) / np.abs(slope - slope.mean()).max()
    assert rows.utility_of_weights(step) > rows.utility_of_weights(at)


@pytest.mark.parametrize("name", ["rmse", "mae", "r2", "spearman"])
def test_scores_on_many_sets_are_those_of_each_alone(name: str) -> None:
    metric = find_metric(name)
    labels, members = _given(NUMBERS)
    rng = np.random.default_rng(3)
    sets = [np.flatnonzero(rng.random(N) < 0.6) for _ in range(4)] + [np.array([], np.intp)]
    columns = np.stack([m.oof[:, 0] for m in members])
    scorer = MetricScorer(metric, NUMBERS.task.usable, SCALES["value"].back, columns, labels, sets)
    for one, rows in enumerate(sets):
        assert scorer.defined(one) == (one < 4)
        if one == 4:
            continue
        known = rows[np.isfinite(labels[rows])]
        for parts in ((1, 0, 0), (2, 1, 0), (3, 4, 5)):
            mixed = np.array(parts) @ columns[:, known] / sum(parts)
            assert scorer.value(parts, one) == pytest.approx(metric(labels[known], mixed))
        expected = [metric(labels[known], column[known]) for column in columns]
        assert scorer.solo(one) == pytest.approx(expected)


def test_a_stack_of_numbers_is_ridge_regression() -> None:
    rng = np.random.default_rng(4)
    inputs = rng.normal(size=(400, 3)) * [1, 5, 0.2] + [0, 100, 3]
    labels = inputs @ [2.0, -0.5, 7.0] + 11 + 0.1 * rng.normal(size=400)
    found = fit_ridge(inputs, labels, c=1e6)
    plain = np.linalg.lstsq(np.column_stack([inputs, np.ones(400)]), labels, rcond=None)[0]
    assert [*found.coefficients, found.intercept] == pytest.approx(plain, rel=1e-4)
    stiff = fit_ridge(inputs, labels, c=1e-9)
    assert stiff.coefficients == pytest.approx(np.zeros(3), abs=1e-3)
    assert stiff.intercept == pytest.approx(labels.mean(), abs=1e-2)


def test_a_pool_of_classes_finds_planted_coefficients() -> None:
    rng = np.random.default_rng(5)
    logs = np.log(softmax(rng.normal(size=(20_000, 2, 3)).reshape(-1, 3))).reshape(-1, 2, 3)
    weights, bias = np.array([1.5, 0.3]), np.array([0.5, -0.2, -0.3])
    truth = softmax(np.einsum("npk,p->nk", logs, weights) + bias)
    labels = (rng.random((20_000, 1)) > truth.cumsum(axis=1)).sum(axis=1).astype(float)
    found = fit_pool(logs, labels, c=100.0)
    assert found.coefficients == pytest.approx(weights, abs=0.06)
    assert np.asarray(found.intercept) - np.mean(found.intercept) == pytest.approx(bias, abs=0.06)
    # Where nothing can be learnt the pool is the geometric mean.
    stiff = fit_pool(logs[:30], labels[:30], c=1e-6)
    assert stiff.coefficients == pytest.approx([0.5, 0.5], abs=1e-2)


def test_targets_of_several_tasks_are_blended_in_one() -> None:
    fold, splits = _splits()
    targets = [TWO, CLASSES, NUMBERS]
    given = [_given(target) for target in targets]
    labels = np.column_stack([one[0] for one in given])
    members = [
        Member(
            f"m{i}",
            targets,
            np.hstack([one[1][i].oof for one in given]),
            np.hstack([one[1][i].test for one in given]),
        )
        for i in range(3)
    ]
    for method in METHODS:
        done = blend(members, labels, targets, splits, fold, BlendOptions(method=method))
        assert done.targets == ("y", "c", "r")
        assert done.on_ranks == (() if method == "stack" else ("y",))
        for target, part in zip(targets, (slice(0, 1), slice(1, 4), slice(4, 5)), strict=True):
            alone = _blended(target, method=method)
            assert done.oof[:, part] == pytest.approx(alone.oof, rel=1e-6)


@pytest.mark.parametrize(
    ("target", "metric", "options", "told"),
    [
        (NUMBERS, "rmse", {"scale": "rank"}, "its scales are value"),
        (CLASSES, "log_loss", {"scale": "logit"}, "its scales are probability, log"),
        (TWO, "log_loss", {"scale": "rank"}, "blend on scale: logit"),
        (NUMBERS, "rmse", {"max_auc_gap": 0.1}, "max_auc_gap is of the AUC"),
        (NUMBERS, "rmse", {"method": "cross_target"}, "has not"),
        (CLASSES, "log_loss", {"method": "stack", "stack_neighbours": 2}, "has not"),
    ],
)
def test_what_is_of_other_tasks_is_refused(
    target: Target, metric: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(BlendmakeError, match=told):
        _blended(target, metric, **options)


def test_every_scale_is_of_a_task_that_names_it() -> None:
    for scale in SCALES.values():
        assert all(scale.name in find_task(task).scales for task in scale.tasks)
    for name, stacked in STACKED.items():
        task = find_task(name)
        assert stacked in task.scales
        assert name in scale_of(task, find_metric(task.metric), None).tasks


def test_classes_that_no_row_has_do_no_harm() -> None:
    labels, members = _given(CLASSES)
    labels[labels == 1] = np.nan
    fold, splits = _splits()
    for method in METHODS:
        done = blend(members, labels[:, None], [CLASSES], splits, fold, BlendOptions(method=method))
        known = np.isfinite(labels)
        assert CLASSES.task.wrong(done.oof) is None
        assert reference.log_loss(labels[known], done.oof[known], labels=[0, 1, 2]) < 1.0
