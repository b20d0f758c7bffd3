"""Losses of families against their definition, and families against the plain use of their library."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from catboost import CatBoostClassifier, CatBoostRegressor
from numpy.typing import NDArray
from scipy.special import expit, log_softmax
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from blendmake.families import FAMILIES, linear_losses
from blendmake.families.linear_lbfgs import Regression, solve
from blendmake.families.linear_rows import Preparation
from blendmake.families.vector_losses import Gradients
from blendmake.family import Fit, FoldData, Stop
from blendmake.foreign import automl
from blendmake.link import Link
from blendmake.metrics.finding import find_metric
from blendmake.tasks.base import Target, find_task
from fold_data import fold_data
from problems import TYPED, Problem, synthetic_columns, write_problem

RNG = np.random.default_rng
KIND = Target("kind", find_task("multiclass"), ("a", "b", "c"))
TARGETS = {
    "binary": Target("flag", find_task("binary")),
    "multiclass": KIND,
    "regression": Target("level", find_task("regression")),
}


def by_definition(task: str, margins: NDArray[Any], label: float) -> float:
    """The loss of one label at its margins."""
    if task == "regression":
        return 0.5 * float(margins[0] - label) ** 2
    if task == "binary":
        chance = expit(margins[0])
        return -float(np.log(chance if label else 1 - chance))
    return -float(log_softmax(margins)[int(label)])


def around(of: Callable[[NDArray[Any]], float], at: NDArray[Any], step: float) -> NDArray[Any]:
    """The gradient of a function by differences."""
    gradient = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        for sign in (1, -1):
            moved = at.copy()
            moved[index] += sign * step
            gradient[index] += sign * of(moved) / (2 * step)
    return gradient


def some_labels(task: str, rows: int, targets: int = 1) -> NDArray[Any]:
    drawn = RNG(1)
    if task == "regression":
        return drawn.normal(size=(rows, targets))
    return drawn.integers(0, 2 if task == "binary" else 3, (rows, targets)).astype(float)


@pytest.mark.parametrize("task", TARGETS)
def test_gradients_of_linear_models(task: str) -> None:
    loss = {
        "binary": linear_losses.logistic,
        "multiclass": linear_losses.softmax,
        "regression": linear_losses.squares,
    }[task]
    m = 3 if task == "multiclass" else 1
    labels, weights = some_labels(task, 6)[:, 0], RNG(2).uniform(0.5, 2, 6)
    margins = RNG(3).normal(size=(6, m))

    def total(at: NDArray[Any]) -> float:
        return sum(
            w * by_definition(task, row, y) for w, row, y in zip(weights, at, labels, strict=True)
        )

    value, gradient = loss(margins, labels, weights)
    assert value == pytest.approx(total(margins))
    assert pytest.approx(around(total, margins, 1e-5), abs=1e-6) == gradient.T


@pytest.mark.parametrize("task", TARGETS)
def test_gradients_of_vector_leaves(task: str) -> None:
    labels, weights = some_labels(task, 8, 2), RNG(2).uniform(0.5, 2, (8, 2))
    labels[3, 1] = np.nan
    target = TARGETS[task]
    targets = (target, replace(target, name="other"))
    numbers = ((0.5, 0.0), (2.0, 1.0)) if task == "regression" else ((), ())
    link = Link(task, (len(target.outputs),) * 2, *numbers)
    gradients = Gradients(link, targets, labels, weights)
    margins = RNG(3).normal(size=(8, sum(link.sizes)))
    given = link.given(labels)

    def total(at: NDArray[Any]) -> float:
        found = 0.0
        for j, part in enumerate(link.slices):
            for row in np.flatnonzero(~np.isnan(labels[:, j])):
                found += weights[row, j] * by_definition(task, at[row, part], given[row, j])
        return found

    grad, hess = gradients(margins.astype(np.float32))
    assert grad == pytest.approx(around(total, margins, 1e-4), abs=1e-5)
    assert (hess[3, link.slices[1]] == 0).all() and (hess[:3] > 0).all()


@pytest.mark.parametrize("members", [None, 2])
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("task", TARGETS)
def test_gradients_of_networks(task: str, weighed: bool, members: int | None) -> None:
    torch = pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    from blendmake.neural.losses import Loss

    labels, weights = some_labels(task, 5, 2), RNG(2).uniform(0.5, 2, (5, 2))
    labels[3, 1] = np.nan
    size = len(TARGETS[task].outputs)
    link = Link(task, (size, size))
    shape = (5, 2 * size) if members is None else (5, members, 2 * size)
    logits = RNG(3).normal(size=shape)
    batch = np.hstack([labels, weights]) if weighed else labels
    given = torch.tensor(logits, requires_grad=True)
    loss = Loss(link, None, 0.0, weighed=weighed)(given, torch.tensor(batch))
    torch.autograd.backward(loss)

    def mean(at: NDArray[Any]) -> float:
        terms = []
        for j, part in enumerate(link.slices):
            for row in np.flatnonzero(~np.isnan(labels[:, j])):
                for own in np.atleast_2d(at[row]):
                    one = by_definition(task, own[part], labels[row, j])
                    one *= 2 if task == "regression" else 1
                    terms.append(one * (weights[row, j] if weighed else 1))
        return float(np.mean(terms))

    assert loss.item() == pytest.approx(mean(logits))
    assert given.grad.numpy() == pytest.approx(around(mean, logits, 1e-5), abs=1e-6)


# Against the plain use of the library


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """Numbers without gaps alone, which every library takes as they are."""
    folder, rows = tmp_path_factory.mktemp("plain"), 300
    fold = np.arange(rows) % 3
    train, test, odds = synthetic_columns(rows, 30, fold)
    kept = ("n0", "n2", "n3")
    labels = np.column_stack(
        [
            odds + RNG(1).logistic(size=rows) > 0,
            np.digitize(odds, [-1, 1]),
            odds + RNG(2).normal(size=rows),
        ]
    ).astype(float)
    made = write_problem(
        folder,
        {name: train[name] for name in kept},
        {name: test[name] for name in kept},
        (labels > 0).astype(float),
        TYPED,
        fold=fold,
    )
    return replace(made, labels=labels)


PLAIN: dict[str, tuple[dict[str, Any], dict[str, Callable[[], Any]]]] = {
    "lightgbm": (
        {"learning_rate": 0.2, "num_leaves": 7},
        {
            "multiclass": lambda: lightgbm.LGBMClassifier(
                n_estimators=12, learning_rate=0.2, num_leaves=7, verbose=-1, n_jobs=1
            ),
            "regression": lambda: lightgbm.LGBMRegressor(
                n_estimators=12, learning_rate=0.2, num_leaves=7, verbose=-1, n_jobs=1
            ),
        },
    ),
    "xgboost": (
        {"learning_rate": 0.2, "max_depth": 3},
        {
            "multiclass": lambda: xgboost.XGBClassifier(
                n_estimators=12, learning_rate=0.2, max_depth=3, n_jobs=1
            ),
            "regression": lambda: xgboost.XGBRegressor(
                n_estimators=12, learning_rate=0.2, max_depth=3, n_jobs=1
            ),
        },
    ),
    "catboost": (
        {"learning_rate": 0.2, "depth": 3},
        {
            "multiclass": lambda: CatBoostClassifier(
                iterations=12, learning_rate=0.2, depth=3, verbose=0, random_seed=1, thread_count=1,
                allow_writing_files=False,
            ),
            "regression": lambda: CatBoostRegressor(
                iterations=12, learning_rate=0.2, depth=3, verbose=0, random_seed=1, thread_count=1,
                allow_writing_files=False,
            ),
        },
    ),
    "extra_trees": (
        {},
        {
            "multiclass": lambda: ExtraTreesClassifier(12, min_samples_leaf=2, random_state=1),
            "regression": lambda: ExtraTreesRegressor(12, min_samples_leaf=2, random_state=1),
        },
    ),
}  # fmt: skip


@pytest.mark.parametrize("task", ["multiclass", "regression"])
@pytest.mark.parametrize("family", PLAIN)
def test_as_the_library_by_itself(family: str, task: str, problem: Problem) -> None:
    params, models = PLAIN[family]
    data = fold_data(problem)
    j = list(TARGETS).index(task)
    labels = problem.labels[data.train.positions][:, [j]]
    asked = Fit((TARGETS[task],), labels, params, rounds=12, seed=1)
    fitted = importlib.import_module(FAMILIES[family]).FAMILY(data, 1).fit(asked)
    rows = data.valid.dense()
    if task == "regression":
        # Less their mean, or a tie of two splits may be settled otherwise by the last bit.
        by = labels.mean()
        model = models[task]().fit(data.train.dense(), labels[:, 0] - by)
        theirs = model.predict(rows)[:, None] + by
    else:
        theirs = models[task]().fit(data.train.dense(), labels[:, 0]).predict_proba(rows)
    assert fitted.valid == pytest.approx(theirs, abs=2e-4)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_linear_models_are_those_of_scikit_learn(task: str, problem: Problem) -> None:
    data = fold_data(problem)
    labels = problem.labels[data.train.positions][:, [list(TARGETS).index(task)]]
    params = {"alpha": 5.0} if task == "regression" else {"C": 0.5, "tol": 1e-7}
    asked = Fit((TARGETS[task],), labels, params, rounds=500, seed=1)
    fitted = importlib.import_module(FAMILIES["linear"]).FAMILY(data, 1).fit(asked)
    apply = Preparation.learn(data.train).apply
    x, rows = (apply(part).whole().astype(float) for part in (data.train, data.valid))
    if task == "regression":
        theirs = Ridge(alpha=5.0).fit(x, labels[:, 0]).predict(rows)[:, None]
    else:
        model = LogisticRegression(C=0.5, tol=1e-9, max_iter=5000).fit(x, labels[:, 0])
        theirs = model.predict_proba(rows)
    assert fitted.valid == pytest.approx(theirs, abs=1e-3)
    # And by any solver of its own.
    solver = "svd" if task == "regression" else "newton-cg"
    other = replace(asked, params={**params, "solver": solver})
    found = importlib.import_module(FAMILIES["linear"]).FAMILY(data, 1).fit(other).valid
    assert found == pytest.approx(theirs, abs=1e-3)


def test_company_of_other_losses_changes_no_byte(problem: Problem) -> None:
    data = fold_data(problem)
    x = Preparation.learn(data.train).apply(data.train)
    labels = problem.labels[data.train.positions]
    asked = [
        Regression(labels[:, 0], 1.0, 1e-4, 50),
        Regression(labels[:, 1], 1.0, 1e-4, 50, linear_losses.softmax, 3),
        Regression(labels[:, 2], 1.0, 1e-4, 50, linear_losses.squares),
    ]
    together = solve(x, asked)
    for one, other in zip(asked, together, strict=True):
        (alone,) = solve(x, [one])
        assert np.array_equal(alone.vector, other.vector)


# What is watched


def test_targets_are_counted_in_their_own_spread() -> None:
    """A metric in units of the label is not the mean of dollars and of millions of them."""
    target = TARGETS["regression"]
    labels = np.column_stack([np.arange(10.0), 1e6 * np.arange(10.0)])
    stop = Stop(labels, find_metric("rmse"))
    good_small, good_large = labels.copy(), labels.copy()
    good_small[:, 1], good_large[:, 0] = labels[::-1, 1], labels[::-1, 0]
    means = [stop.mean(stop.scores((target, target), one)) for one in (good_small, good_large)]
    assert means[0] == pytest.approx(means[1])
    assert stop.scores((target, target), labels + 2.0) == pytest.approx([2.0, 2.0])


def asked_of(task: str, problem: Problem, data: FoldData, metric: str, **more: Any) -> Fit:
    """Half of a fit's labels unknown, the rows to watch as well."""
    assert data.stop is not None
    j = [list(TARGETS).index(task)]
    labels, stop = (problem.labels[rows.positions][:, j] for rows in (data.train, data.stop))
    labels[::3], stop[::3] = np.nan, np.nan
    given = {"params": {"learning_rate": 0.2}, "rounds": 60, "seed": 1, **more}
    return Fit((TARGETS[task],), labels, stop=Stop(stop, find_metric(metric), 5), **given)


def watched_score(asked: Fit, module: Any, data: FoldData, path: Path) -> tuple[float, float]:
    """What a fit says of the rows that it watched, and what its model gives for them."""
    fitted = module.FAMILY(data, 1).fit(asked)
    assert fitted.stop_scores is not None and asked.stop is not None
    predicted = module.predict_saved(fitted.save(path), data.stop)
    (score,) = asked.stop.scores(asked.targets, predicted)
    return float(fitted.stop_scores[0]), float(score)


@pytest.mark.parametrize("metric", ["rmse", "mae", "spearman"])
@pytest.mark.parametrize(
    ("family", "objective"),
    [
        ("lightgbm", "poisson"),
        ("lightgbm", "huber"),
        ("lightgbm", "gamma"),
        ("xgboost", "count:poisson"),
        ("xgboost", "reg:gamma"),
        ("xgboost", "reg:absoluteerror"),
        ("catboost", "Poisson"),
        ("catboost", "Tweedie:variance_power=1.5"),
        ("catboost", "Huber:delta=1.0"),
    ],
)
def test_other_losses_of_numbers(
    family: str, objective: str, metric: str, problem: Problem, tmp_path: Path
) -> None:
    data = fold_data(problem, inner=True)
    module = importlib.import_module(FAMILIES[family])
    name = "loss_function" if family == "catboost" else "objective"
    positive = replace(problem, labels=np.exp(problem.labels / 2))
    params = {"learning_rate": 0.2, name: objective}
    asked = asked_of("regression", positive, data, metric, params=params)
    told, found = watched_score(asked, module, data, tmp_path / "model")
    assert told == pytest.approx(found, rel=1e-4)


@pytest.mark.parametrize(
    ("family", "metric"),
    [  # the log loss of the others keeps a chance of 0 nearer to 0 than ours does
        ("catboost", "log_loss"),
        ("catboost", "accuracy"),
        ("lightgbm", "accuracy"),
        ("xgboost", "accuracy"),
    ],
)
def test_a_class_that_is_watched_but_not_learnt(
    family: str, metric: str, problem: Problem, tmp_path: Path
) -> None:
    data = fold_data(problem, inner=True)
    asked = asked_of("multiclass", problem, data, metric)
    asked.labels[asked.labels == 1] = np.nan
    module = importlib.import_module(FAMILIES[family])
    told, found = watched_score(asked, module, data, tmp_path / "model")
    assert told == pytest.approx(found, rel=1e-4)


# LightAutoML, without its environment


class Recorded:
    """TabularAutoML, which predicts what it has learnt of the labels alone."""

    made: ClassVar[list[Recorded]] = []

    def __init__(self, task: Any, **more: Any) -> None:
        self.task = task
        Recorded.made.append(self)

    def __getattr__(self, name: str) -> dict[str, Any]:
        if name.endswith("_params"):
            return {}
        raise AttributeError(name)

    def fit_predict(self, table: Any, roles: Any, verbose: int) -> None:
        self.table, self.roles = table, roles

    def predict(self, table: Any) -> Any:
        y = self.table["target"].to_numpy()
        kind, rows = self.task[0], len(table)
        if kind == "reg":
            values = np.full((rows, 1), y.mean(), np.float32)
        else:
            shares = np.bincount(y) / len(y)
            values = np.tile(shares if kind == "multiclass" else shares[1:], (rows, 1))
        return types.SimpleNamespace(data=values)


def fold_of(task: str, labels: NDArray[Any], weights: Any = None) -> Any:
    target = TARGETS[task]
    table = pd.DataFrame({"n": np.arange(len(labels), dtype=np.float32)})
    return types.SimpleNamespace(
        task=task,
        targets=[target.name],
        outputs=list(target.outputs),
        labels=pd.DataFrame({target.name: labels}),
        weights=weights,
        params={"cv": 3, "timeout": 1, "use_algos": "auto", "memory_limit": 1},
        train=table,
        valid=table[:4],
        test=table[:2],
        seed=1,
        threads=1,
    )


def test_lightautoml_is_asked_by_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    presets = types.ModuleType("lightautoml.automl.presets.tabular_presets")
    presets.TabularAutoML = Recorded  # type: ignore[attr-defined]
    tasks = types.ModuleType("lightautoml.tasks")
    tasks.Task = lambda kind, metric: (kind, metric)  # type: ignore[attr-defined]
    for name in ("lightautoml", "lightautoml.automl", "lightautoml.automl.presets"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, presets.__name__, presets)
    monkeypatch.setitem(sys.modules, tasks.__name__, tasks)
    level = 1e9 + np.array([0.0, 1.0, 2.0, 3.0, np.nan, 4.0])
    valid, test = automl.fit_fold(fold_of("regression", level))
    assert valid == pytest.approx(np.full((4, 1), 1e9 + 2), abs=1e-6) and test.shape == (2, 1)
    assert Recorded.made[-1].task == ("reg", "mse")
    assert np.abs(Recorded.made[-1].table["target"]).max() < 3, "labels are held as float32"
    # Of three classes one that does not occur, with weights: what it fits is of two.
    kinds = np.array([0, 0, 2, 2, np.nan, 2, 0, 2.0])
    weights = pd.DataFrame({"kind": np.arange(8.0) + 1})
    valid, test = automl.fit_fold(fold_of("multiclass", kinds, weights))
    assert valid == pytest.approx(np.tile([3 / 7, 0, 4 / 7], (4, 1))) and test.shape == (2, 3)
    assert Recorded.made[-1].task == ("binary", "auc")
    assert Recorded.made[-1].table["weights"].tolist() == [1, 2, 3, 4, 6, 7, 8]
    every = np.array([0, 1, 2, 0, 1, 2, 2, 2.0])
    valid, _ = automl.fit_fold(fold_of("multiclass", every))
    assert valid == pytest.approx(np.tile([0.25, 0.25, 0.5], (4, 1)))
    assert Recorded.made[-1].task == ("multiclass", "crossentropy")
    # A class of one row leaves nothing to validate on.
    valid, _ = automl.fit_fold(fold_of("multiclass", np.array([0, 0, 0, 1, 2, 2, 2, 2.0])))
    assert valid == pytest.approx(np.tile([3 / 8, 1 / 8, 4 / 8], (4, 1)))
