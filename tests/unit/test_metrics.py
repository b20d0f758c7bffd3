"""Metrics, over the registry: against scikit-learn, and their influence values against resampling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from blendmake.errors import BlendmakeError
from blendmake.metrics import DEFAULTS, METRICS
from blendmake.metrics.base import NO_CONTEXT, Metric, ScoredRows, jackknife
from blendmake.metrics.finding import find_metric
from blendmake.stats.intervals import standard_error
from blendmake.tasks import AUTO, TASKS
from blendmake.tasks.base import find_task

CLASSES = 4


def _mean_over_folds(labels: Any, predictions: Any, folds: Any) -> float:
    return float(
        np.mean(
            [
                reference.roc_auc_score(labels[folds == k], predictions[folds == k])
                for k in np.unique(folds)
            ]
        )
    )


def _one_hot(labels: Any) -> Any:
    return (labels[:, None] == np.arange(CLASSES)).astype(int)


ORACLES: dict[tuple[str, str], Callable[..., float]] = {
    ("auc", "binary"): lambda y, p, f: reference.roc_auc_score(y, p),
    ("auc", "multiclass"): lambda y, p, f: reference.roc_auc_score(y, p, multi_class="ovr"),
    ("auc_fold_mean", "binary"): _mean_over_folds,
    ("average_precision", "binary"): lambda y, p, f: reference.average_precision_score(y, p),
    ("average_precision", "multiclass"): lambda y, p, f: reference.average_precision_score(
        _one_hot(y), p
    ),
    ("spearman", "regression"): lambda y, p, f: stats.spearmanr(y, p).statistic,
    ("brier", "binary"): lambda y, p, f: reference.brier_score_loss(y, p),
    ("brier", "multiclass"): lambda y, p, f: np.square(p - _one_hot(y)).sum(axis=1).mean(),
    ("log_loss", "binary"): lambda y, p, f: reference.log_loss(y, p),
    ("log_loss", "multiclass"): lambda y, p, f: reference.log_loss(y, p),
    ("accuracy", "binary"): lambda y, p, f: reference.accuracy_score(y, p >= 0.5),
    ("accuracy", "multiclass"): lambda y, p, f: reference.accuracy_score(y, p.argmax(axis=1)),
    ("balanced_accuracy", "binary"): lambda y, p, f: reference.balanced_accuracy_score(y, p >= 0.5),
    ("balanced_accuracy", "multiclass"): lambda y, p, f: reference.balanced_accuracy_score(
        y, p.argmax(axis=1)
    ),
    ("rmse", "regression"): lambda y, p, f: reference.root_mean_squared_error(y, p),
    ("mae", "regression"): lambda y, p, f: reference.mean_absolute_error(y, p),
    ("r2", "regression"): lambda y, p, f: reference.r2_score(y, p),
}
EVERY = [(name, task) for name in METRICS for task in sorted(find_metric(name).tasks)]


def _drawn(
    task: str, n: int, seed: int, noise: float = 1.0, ties: bool = False
) -> tuple[Any, Any, ScoredRows]:
    """Labels and predictions of a task that are better the less noise there is."""
    rng = np.random.default_rng(seed)
    signal = rng.normal(size=n)
    seen = signal + noise * rng.normal(size=n)
    if ties:
        seen = np.round(seen, 1)
    rows = ScoredRows(folds=rng.integers(0, 3, n))
    if task == "binary":
        labels = (rng.random(n) < 1 / (1 + np.exp(-2 * signal))).astype(float)
        return labels, 1 / (1 + np.exp(-seen)), rows
    if task == "multiclass":
        logits = signal[:, None] * np.linspace(-1, 1, CLASSES)
        labels = (logits + rng.gumbel(size=(n, CLASSES))).argmax(axis=1).astype(float)
        given = np.exp(seen[:, None] * np.linspace(-1, 1, CLASSES))
        return labels, given / given.sum(axis=1, keepdims=True), rows
    assert task == "regression"
    labels = signal + 0.3 * rng.normal(size=n)
    return np.round(labels, 1) if ties else labels, seen, rows


def test_every_metric_has_an_oracle_and_every_task_a_default() -> None:
    assert set(ORACLES) == set(EVERY)
    for name in TASKS:
        task = __import__(TASKS[name], fromlist=["TASK"]).TASK
        assert task.name == name
        for metric in (task.metric, *task.also):
            assert name in find_metric(metric).tasks
            assert find_metric(metric).name == metric


@pytest.mark.parametrize(("name", "task"), EVERY)
@pytest.mark.parametrize("ties", [False, True])
def test_value_is_that_of_a_library(name: str, task: str, ties: bool) -> None:
    metric = find_metric(name)
    labels, predictions, rows = _drawn(task, 500, seed=1, ties=ties)
    expected = ORACLES[name, task](labels, predictions, rows.folds)
    assert metric(labels, predictions, rows) == pytest.approx(expected, abs=1e-9)
    assert metric.influence(labels, predictions, rows)[0] == pytest.approx(expected, abs=1e-9)
    assert metric.bounds[0] <= expected <= metric.bounds[1]


@pytest.mark.parametrize(("name", "task"), EVERY)
@pytest.mark.parametrize("ties", [False, True])
def test_standard_error_is_that_of_leaving_rows_out(name: str, task: str, ties: bool) -> None:
    metric = find_metric(name)
    labels, predictions, rows = _drawn(task, 200, seed=2, ties=ties)
    own = standard_error(metric.influence(labels, predictions, rows)[1])
    left_out = standard_error(jackknife(metric, labels, predictions, rows)[1])
    assert own == pytest.approx(left_out, rel=0.04)


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_influence_of_a_row_is_what_leaving_it_out_does(name: str, task: str) -> None:
    """Row by row, not only their sum of squares: differences of two models rest on it."""
    metric = find_metric(name)
    labels, predictions, rows = _drawn(task, 200, seed=3)
    phi = metric.influence(labels, predictions, rows)[1]
    left_out = jackknife(metric, labels, predictions, rows)[1]
    assert np.corrcoef(phi, left_out)[0, 1] > 0.995


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_interval_holds_what_it_promises(name: str, task: str) -> None:
    """The spread of the value over samples is what one sample says it is."""
    metric = find_metric(name)
    values, told = [], []
    for seed in range(200):
        value, phi = metric.influence(*_drawn(task, 300, seed=100 + seed))
        values.append(value)
        told.append(standard_error(phi))
    assert np.mean(told) == pytest.approx(np.std(values), rel=0.2)


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_groups_of_equal_rows_widen_the_interval(name: str, task: str) -> None:
    """Each row four times tells no more than once, if the rows are known to be a group."""
    metric = find_metric(name)
    labels, predictions, rows = _drawn(task, 300, seed=4)
    once = standard_error(metric.influence(labels, predictions, rows)[1])
    groups = np.repeat(np.arange(300), 4)
    four = ScoredRows(np.repeat(rows.folds, 4), groups)  # type: ignore[arg-type]
    value, phi = metric.influence(np.repeat(labels, 4), np.repeat(predictions, 4, axis=0), four)
    assert value == pytest.approx(metric(labels, predictions, rows), abs=1e-9)
    assert standard_error(phi, groups) == pytest.approx(once, rel=0.02)
    assert standard_error(phi) < 0.6 * once


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_direction_is_as_said(name: str, task: str) -> None:
    metric = find_metric(name)
    good = metric(*_drawn(task, 2000, seed=5, noise=0.3))
    bad = metric(*_drawn(task, 2000, seed=5, noise=3.0))
    assert metric.is_better(good, bad) and not metric.is_better(bad, good)
    assert metric.is_better(good, math.nan) and not metric.is_better(math.nan, good)
    assert metric.utility(good) > metric.utility(bad)


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_rank_invariance_is_as_said(name: str, task: str) -> None:
    metric = find_metric(name)
    labels, predictions, rows = _drawn(task, 400, seed=6)
    raised = np.cbrt(predictions) if task == "regression" else predictions**3
    same = metric(labels, raised, rows) == pytest.approx(
        metric(labels, predictions, rows), abs=1e-12
    )
    assert same is metric.rank_invariant or name in ("accuracy", "balanced_accuracy")


@pytest.mark.parametrize(("name", "task"), EVERY)
def test_value_is_of_the_mean_of_the_rows_where_a_metric_says_so(name: str, task: str) -> None:
    metric = find_metric(name)
    labels, predictions, _ = _drawn(task, 300, seed=11)
    losses = metric.losses(labels, predictions)
    if losses is None:
        assert name in ("auc", "auc_fold_mean", "average_precision", "spearman") or (
            name in ("balanced_accuracy", "r2")
        )
    else:
        assert losses.shape == (300,)
        assert metric.of_mean(float(losses.mean())) == pytest.approx(metric(labels, predictions))


def test_modules_of_default_metrics_are_listed() -> None:
    tasks = [find_task(name) for name in AUTO]
    named = {name for task in tasks for name in (task.metric, *task.also)}
    assert {METRICS[name] for name in named} == set(DEFAULTS)


@pytest.mark.parametrize("name", ["auc", "average_precision", "auc_fold_mean"])
def test_one_class_has_no_value(name: str) -> None:
    metric = find_metric(name)
    rows = ScoredRows(folds=np.zeros(3, int))
    value, phi = metric.influence(np.ones(3), np.array([0.1, 0.2, 0.3]), rows)
    assert math.isnan(value) and not phi.any()


def test_a_constant_has_no_rank_correlation_and_no_variance_to_explain() -> None:
    numbers = np.array([1.0, 2.0, 3.0])
    assert math.isnan(find_metric("spearman")(numbers, np.ones(3)))
    assert math.isnan(find_metric("r2")(np.ones(3), numbers))


def test_class_that_does_not_occur_is_not_in_the_mean() -> None:
    labels, predictions, rows = _drawn("multiclass", 300, seed=7)
    kept = labels != 2
    value = find_metric("auc")(labels[kept], predictions[kept], rows.take(kept))
    each = [reference.roc_auc_score(labels[kept] == k, predictions[kept][:, k]) for k in (0, 1, 3)]
    assert value == pytest.approx(np.mean(each))


@pytest.mark.parametrize("text", ["acu", "nothing", "auc(3)", "rmse(x)", "", "auc)"])
def test_what_is_no_metric_is_refused(text: str) -> None:
    with pytest.raises(BlendmakeError, match="etric"):
        find_metric(text)


def test_near_name_is_named() -> None:
    with pytest.raises(BlendmakeError, match="did you mean 'log_loss'"):
        find_metric("logloss")


class _Mean(Metric):
    name, title, higher_is_better, bounds = "mean", "mean", True, (-math.inf, math.inf)
    tasks = frozenset({"regression"})

    def __call__(self, labels: Any, predictions: Any, rows: ScoredRows = NO_CONTEXT) -> float:
        return float(predictions.mean())


@pytest.mark.parametrize("n", [50, 5000])
def test_jackknife_of_a_mean_is_its_standard_error(n: int) -> None:
    values = np.random.default_rng(8).normal(size=n)
    value, phi = jackknife(_Mean(), values, values, ScoredRows())
    assert value == pytest.approx(values.mean())
    rel = 1e-9 if n <= 200 else 0.15  # of more rows, blocks of them are left out
    assert standard_error(phi) == pytest.approx(values.std(ddof=1) / math.sqrt(n), rel=rel)


@pytest.mark.parametrize("groups", [40, 900])
def test_jackknife_leaves_out_whole_groups(groups: int) -> None:
    rng = np.random.default_rng(9)
    codes = np.repeat(np.arange(groups), 5)
    values = np.repeat(rng.normal(size=groups), 5)
    phi = jackknife(_Mean(), values, values, ScoredRows(groups=codes))[1]
    expected = values[::5].std(ddof=1) / math.sqrt(groups)
    assert standard_error(phi, codes) == pytest.approx(expected, rel=1e-9 if groups <= 200 else 0.2)


OWN = """
title = "within a half"
higher_is_better = True
bounds = (0, 1)
tasks = ["regression"]

def score(labels, predictions):
    return (abs(labels - predictions) < 0.5).mean()
"""


def test_own_metric_of_a_file(tmp_path: Any) -> None:
    path = tmp_path / "within.py"
    path.write_text(OWN)
    metric = find_metric(str(path))
    labels, predictions, rows = _drawn("regression", 400, seed=10)
    near = np.abs(labels - predictions) < 0.5
    value, phi = metric.influence(labels, predictions, rows)
    assert (metric.name, metric.title, metric.tasks) == (
        "within",
        "within a half",
        frozenset({"regression"}),
    )
    assert value == near.mean()
    assert standard_error(phi) == pytest.approx(near.std() / 20, rel=0.2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1", "score"),
        ("def score(", "SyntaxError"),
        ("higher_is_better = 'yes'\ndef score(a, b): return 1", "higher_is_better"),
        ("tasks = ['clustering']\ndef score(a, b): return 1", "clustering"),
        ("def score(a, b): raise KeyError('k')", "KeyError"),
    ],
)
def test_faulty_file_of_a_metric_is_told(tmp_path: Any, text: str, told: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(BlendmakeError, match=told):
        find_metric(str(path))(np.ones(2), np.ones(2))


GOOD = "def score(labels, predictions):\n    return 0.5\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("def score(:\n", r"SyntaxError: invalid syntax.* \(line 1\)"),
        ("import no_such_module\n", r"ModuleNotFoundError: .*\(line 1 in <module>: import no_such"),
        ("import sys\nsys.exit(3)\n", r"SystemExit: 3 \(line 2 in <module>: sys\.exit\(3\)\)"),
        ("raise ValueError('one\\ntwo')\n", r"ValueError: one \(line 1 in <module>: raise"),
        (GOOD + "bounds = 3\n", "bounds must be two numbers"),
        (GOOD + "bounds = 'ab'\n", "bounds must be two numbers"),
        (GOOD + "tasks = 3\n", "tasks a list of names"),
        (
            GOOD.replace("return 0.5", "raise SystemExit"),
            r"score failed: SystemExit \(line 2 in sc",
        ),
        (
            GOOD.replace("0.5", "1 / 0"),
            r"ZeroDivisionError: division by zero \(line 2 in score: re",
        ),
        (GOOD.replace("0.5", "[1, 2]"), "score failed: ValueError: "),
        (
            "class E(Exception):\n    def __str__(self): raise E()\n"
            + GOOD.replace("return 0.5", "raise E()"),
            r"score failed: E: \(its message cannot be had",
        ),
    ],
)
def test_what_a_metric_of_a_file_raises_is_one_message(tmp_path: Any, text: str, told: str) -> None:
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(BlendmakeError, match=told) as caught:
        find_metric(str(path))(np.array([0.0, 1.0]), np.array([0.5, 0.5]))
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
