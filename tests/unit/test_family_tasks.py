"""Every family of the registry on every task: binary, multiclass and regression."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import problems
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES, FOREIGN
from blendmake.family import Fit
from blendmake.files import read_parquet
from blendmake.fits.predicting import predict_models
from blendmake.folds.file import read_inner
from blendmake.metrics.base import ScoredRows
from blendmake.metrics.finding import find_metric
from blendmake.predictions import read_predictions
from blendmake.tasks import FIRST_METRIC, TASKS
from blendmake.tasks.base import Target, find_task
from problems import CLASSES, TYPED, Done, Problem, typed, with_typed_labels

REPO = Path(__file__).parents[2]
# What a family needs beside the defaults: little time, but enough to learn.
SETTINGS: dict[str, dict[str, Any]] = {
    "custom": {"file": str(REPO / "config" / "custom" / "example.py")},
    "mlp": {"rounds": 15, "params": {"hidden": [32], "dropout": 0.1, "learning_rate": 0.02}},
    "tabm": {"rounds": 8, "params": {"d_block": 32, "k": 4, "learning_rate": 0.02}},
}
QUICK = {"rounds": 25, "params": {"learning_rate": 0.2}}
NO_RATE = {"extra_trees", "linear"}
HERE = sorted(set(FAMILIES) - {"lightautoml"})  # which needs an environment of its own
KEEPING = [name for name in HERE if name not in FOREIGN]
OTHER_METRIC = {"flag": "brier", "kind": "accuracy", "level": "mae"}
OWN_METRIC = {"flag": "accuracy", "kind": "auc", "level": "spearman"}  # which no library has so

each_family = pytest.mark.parametrize("family", HERE)
each_keeping = pytest.mark.parametrize("family", KEEPING)


def settings_of(family: str, **more: Any) -> dict[str, Any]:
    given = SETTINGS.get(family, {"rounds": 60} if family in NO_RATE else QUICK)
    params = {**given.get("params", {}), **more.pop("params", {})}
    return {**given, **more, "params": params}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return typed(tmp_path_factory.mktemp("typed"))


def run(problem: Problem, family: str, out: Path, metric: Any = None, **more: Any) -> Done:
    if family in ("mlp", "tabm"):
        pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    given = settings_of(family, keep_models=family in KEEPING, **more)
    return problems.run_fold(problem, family, out, metric=metric, **given)


@pytest.fixture(scope="module")
def fitted(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """A fit of all targets, made once per family and settings."""
    done: dict[str, Done] = {}

    def get(family: str, **more: Any) -> Done:
        key = json.dumps([family, more])
        if key not in done:
            done[key] = run(problem, family, tmp_path_factory.mktemp(family), **more)
        return done[key]

    return get


@dataclass(frozen=True)
class Held:
    """What is known of a target's held-out rows, and what was predicted for them."""

    target: Target
    truth: NDArray[Any]  # (known rows,)
    values: NDArray[Any]  # (known rows, outputs)
    prior: NDArray[Any]

    def score(self, values: NDArray[Any] | None = None, metric: str | None = None) -> float:
        """The metric, more being better."""
        found = find_metric(metric or self.target.task.metric)
        given = self.values if values is None else values
        one = given[:, 0] if given.shape[1] == 1 else given
        return found.utility(found(self.truth, one, ScoredRows()))


def held(problem: Problem, done: Done, name: str) -> Held:
    """Of the rows of fold 0."""
    part = done.oof.select([name])
    rows, j = problem.rows(0), TYPED.index(name)
    truth = problem.labels[rows.valid, j]
    known = ~np.isnan(truth)
    (target,) = part.of
    constant = target.task.constant(problem.labels[rows.train, j], len(target.outputs))
    prior = np.tile(constant, (int(known.sum()), 1))
    return Held(target, truth[known], part.values[known], prior)


def same(one: Done, other: Done, names: tuple[str, ...] = TYPED) -> bool:
    return all(  # a file with numbers may be float64 as a whole
        np.array_equal(a.select(names).values, b.select(names).values)
        for a, b in ((one.oof, other.oof), (one.test, other.test))
    )


def test_the_registry_says_the_first_metric_of_each_task() -> None:
    assert {name: find_task(name).metric for name in TASKS} == FIRST_METRIC


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_says_its_tasks(family: str) -> None:
    if family in ("mlp", "tabm"):
        pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    tasks = importlib.import_module(FAMILIES[family]).FAMILY.TASKS
    assert tasks and tasks <= set(TASKS)


@each_family
@pytest.mark.parametrize("name", TYPED)
def test_it_learns(family: str, name: str, problem: Problem, fitted: Callable[..., Done]) -> None:
    one = held(problem, fitted(family), name)
    assert one.target.task.wrong(one.values) is None
    score, prior = one.score(), one.score(one.prior)
    # Of the way from the prior to what cannot be bettered (AUC 1, log loss 0, RMSE 0).
    best = {"flag": 1.0, "kind": 0.0, "level": 0.0}[name]
    share = {"flag": 0.4, "kind": 0.1, "level": 0.3}[name]
    assert score > prior + share * (best - prior), (score, prior)
    row = fitted(family).fits[name]
    assert row["metric"] == one.target.task.metric
    assert find_metric(row["metric"]).utility(row["score"]) == pytest.approx(score, rel=1e-5)
    assert (row["positives"] is None) == (name != "flag")


@each_family
def test_outputs_of_all_targets_stand_in_files(family: str, fitted: Callable[..., Done]) -> None:
    done = fitted(family)
    expected = ["id", "flag", *(f"kind={one}" for one in CLASSES), "level"]
    for path in (done.outputs.oof, done.outputs.test):
        assert read_parquet(path).column_names == expected
        read = read_predictions(path)
        assert [target.task.name for target in read.of] == ["binary", "multiclass", "regression"]
        assert read.of[1].classes == CLASSES
        # Steps of float32 at 1e9 are 64.
        assert len(np.unique(read.select(["level"]).values)) > 20


@each_family
@pytest.mark.parametrize("name", TYPED)
def test_a_target_is_fitted_alike_in_any_company(
    family: str, name: str, problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    assert same(run(problem, family, tmp_path, targets=[name]), fitted(family), (name,))


@each_keeping
def test_kept_models_predict_the_same(
    family: str, problem: Problem, fitted: Callable[..., Done]
) -> None:
    done = fitted(family)
    train, test = problem.inputs.feature_files("train"), problem.test_files()
    for name in TYPED:
        for files, part, rows in (
            (train, done.oof, problem.rows(0).valid),
            (test, done.test, None),
        ):
            found = predict_models(done.outputs.models, name, files)
            expected = part.select([name]).values
            found = found if rows is None else found[rows]
            assert found.shape == expected.shape
            assert found == pytest.approx(expected, abs=1e-5 if name != "level" else 1e-4)


@each_family
def test_labels_without_signal_give_the_prior(
    family: str, problem: Problem, tmp_path: Path
) -> None:
    rng = np.random.default_rng(3)
    labels = np.column_stack([rng.permutation(column) for column in problem.labels.T])
    null = with_typed_labels(problem, labels, f"null_{family}")
    done = run(null, family, tmp_path)
    for name, least in (("flag", 0.12), ("kind", 0.0), ("level", 0.0)):
        one = held(null, done, name)
        # What is learnt of nothing does not better the prior but by chance (AUC: about 0.06).
        assert one.score() < one.score(one.prior) + max(least, 0.04 * abs(one.score(one.prior)))


@each_family
def test_permuted_classes_permute_predictions(
    family: str, problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    labels = problem.labels.copy()
    labels[:, 0], labels[:, 2] = 1 - labels[:, 0], 2e9 - labels[:, 2]
    known = ~np.isnan(labels[:, 1])
    labels[known, 1] = np.array([2, 0, 1])[labels[known, 1].astype(int)]
    turned = with_typed_labels(problem, labels, f"turned_{family}")
    done = run(turned, family, tmp_path)
    before, after = (
        {name: held(of, one, name).score() for name in TYPED}
        for of, one in ((problem, fitted(family)), (turned, done))
    )
    for name, off in (("flag", 0.08), ("kind", 0.15), ("level", 0.25)):
        assert abs(before[name] - after[name]) < off, (name, before, after)


@each_family
def test_a_class_without_training_rows(family: str, problem: Problem, tmp_path: Path) -> None:
    labels = problem.labels.copy()
    train = problem.rows(0).train
    labels[train[labels[train, 1] == 1], 1] = np.nan
    without = with_typed_labels(problem, labels, f"without_{family}")
    done = run(without, family, tmp_path, targets=["kind"])
    for part in (done.oof, done.test):
        values = part.select(["kind"]).values
        assert part.of[0].task.wrong(values) is None
        assert values[:, 1].max() < 0.1 < values[:, 0].max()


@each_family
def test_one_value_in_training_is_predicted_as_such(
    family: str, problem: Problem, tmp_path: Path
) -> None:
    labels = problem.labels.copy()
    train = problem.rows(0).train
    labels[train] = [1, 2, 1e9 + 0.25]
    done = run(with_typed_labels(problem, labels, f"one_{family}"), family, tmp_path)
    assert (done.test.values[:, :4] == [1, 0, 0, 1]).all()
    assert done.test.values[:, 4] == pytest.approx(1e9, rel=1e-7)
    assert {row["rounds"] for row in done.fits.values()} == {0}
    if family in KEEPING:
        found = predict_models(done.outputs.models, "level", problem.test_files())
        assert (found == 1e9 + 0.25).all() and found.dtype == np.float64


def stopping_families() -> list[str]:
    return [name for name in KEEPING if name not in ("extra_trees", "linear")]


STOPPING = {
    **{name: {"rounds": 200, "params": {"learning_rate": 0.3}} for name in stopping_families()},
    "mlp": {"rounds": 30},
    "tabm": {"rounds": 20},
    "linear": {"params": {}, "rounds": 200},
}


def stopped(problem: Problem, family: str, out: Path, metric: dict[str, str]) -> dict[str, Done]:
    """By target; of `linear` the strength of the penalty is chosen."""
    found = {}
    for name in TYPED:
        own = dict(STOPPING[family])
        if family == "linear":
            strengths = [0.001, 0.1, 1.0, 30.0]
            own["params"] = {"alpha" if name == "level" else "C": strengths}
        watch = {"watch": "inner", "rounds": 3}
        found[name] = run(
            problem, family, out / name, metric, targets=[name], early_stopping=watch, **own
        )
    return found


@pytest.mark.parametrize("family", sorted(STOPPING))
@pytest.mark.parametrize("metric", [{}, OTHER_METRIC, OWN_METRIC], ids=["first", "other", "own"])
def test_early_stopping_goes_by_the_metric(
    family: str, metric: dict[str, str], problem: Problem, tmp_path: Path
) -> None:
    train = problem.rows(0).train
    assert problem.inputs.inner is not None
    rows = train[read_inner(problem.inputs.inner, 0)[train]]
    files = problem.inputs.feature_files("train")
    for name, done in stopped(problem, family, tmp_path, metric).items():
        row = done.fits[name]
        used = metric.get(name, done.oof.of[0].task.metric)
        assert (row["metric"], row["stopped_on"]) == (used, "inner")
        if family == "linear":
            continue  # the model is fitted again, on the watched rows too
        assert row["rounds"] < STOPPING[family]["rounds"] or family in ("mlp", "tabm")
        values = predict_models(done.outputs.models, name, files)[rows]
        truth = problem.labels[rows, TYPED.index(name)]
        known = ~np.isnan(truth)
        given = values[known, 0] if values.shape[1] == 1 else values[known]
        score = find_metric(used)(truth[known], given, ScoredRows())
        assert row["stop_score"] == pytest.approx(score, rel=1e-4, abs=1e-5)


# What is refused


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"class_weight": "balanced"}, "target 'level'.*class_weight: balanced.*leave it out"),
        ({"class_weight": 3.0, "targets": ["kind"]}, "'kind'.*weight of positives, of two classes"),
        (
            {"bagging": {"bags": 2, "negatives_per_positive": 2.0}, "targets": ["kind"]},
            "'kind' is classification, which has no negatives.*bagging.negatives_per_positive",
        ),
        ({"params": {"objective": "binary"}}, "objective: binary.*it is of binary targets"),
        (
            {"params": {"objective": "regresion"}, "targets": ["level"]},
            "did you mean 'regression'.*regression_l1",
        ),
    ],
)
def test_what_does_not_go_with_a_task(
    settings: dict[str, Any], words: str, problem: Problem, tmp_path: Path
) -> None:
    with pytest.raises(BlendmakeError, match=words):
        problems.run_fold(problem, "lightgbm", tmp_path, rounds=3, **settings)


def test_a_family_that_cannot_fit_a_task_is_refused(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = importlib.import_module(FAMILIES["extra_trees"]).FAMILY
    monkeypatch.setattr(own, "TASKS", frozenset({"binary", "regression"}))
    with pytest.raises(
        BlendmakeError, match="target 'kind' is classification, which family extra_"
    ):
        problems.run_fold(problem, "extra_trees", tmp_path, rounds=3)
    problems.run_fold(problem, "extra_trees", tmp_path, rounds=3, targets=["flag", "level"])


def test_a_metric_of_another_task_is_refused(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(BlendmakeError, match="metric 'rmse' does not measure target 'flag'"):
        problems.run_fold(problem, "lightgbm", tmp_path, rounds=3, metric="rmse")


# Class weights


@each_keeping
def test_balanced_classes_are_predicted_more_alike(
    family: str, problem: Problem, tmp_path: Path
) -> None:
    labels = problem.labels.copy()
    rare = np.flatnonzero(labels[:, 1] == 2)
    labels[rare[: 3 * len(rare) // 4], 1] = np.nan
    few = with_typed_labels(problem, labels, f"few_{family}")
    means = []
    for weight in ("none", "balanced"):
        more = {"targets": ["kind"], "class_weight": weight}
        done = run(few, family, tmp_path / weight, **more)
        means.append(done.oof.values[:, 2].mean())
    assert means[1] > means[0] + 0.03, means


@pytest.mark.parametrize("family", ["lightgbm", "extra_trees", "mlp"])
def test_bags_of_all_rows_go_with_every_task(
    family: str, problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    done = run(problem, family, tmp_path, bagging={"bags": 2})
    assert len(done.every_fit()) == 6
    for name in TYPED:
        one = held(problem, done, name)
        assert one.score() > one.score(one.prior)
        if family in KEEPING:
            found = predict_models(done.outputs.models, name, problem.test_files())
            expected = done.test.select([name]).values
            assert found == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", ["xgboost_vector", "mlp", "tabm"])
def test_a_target_that_is_not_learnt_has_no_say_in_stopping(
    family: str, problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of `flag` and `other`, two of one task, the first has one class where it is learnt."""
    if family in ("mlp", "tabm"):
        pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    own = importlib.import_module(FAMILIES[family]).FAMILY
    seen: list[Fit] = []
    fit = own.fit

    def listed(self: Any, asked: Fit) -> Any:
        seen.append(asked)
        return fit(self, asked)

    monkeypatch.setattr(own, "fit", listed)
    two = problems.synthetic(tmp_path / "p", rows=240)
    labels = two.labels.copy()
    assert two.inputs.inner is not None
    train = two.rows(0).train
    kept = train[~read_inner(two.inputs.inner, 0)[train]]
    labels[kept[labels[kept, 0] == 1], 0] = np.nan
    done = run(
        problems.with_labels(two, labels, "one"),
        family,
        tmp_path / "out",
        targets=["full", "other"],
        early_stopping={"rounds": 2},
        **{**settings_of(family), "rounds": 4},
    )
    assert seen[0].stop is not None
    assert np.isnan(seen[0].stop.labels[:, 0]).all() and not np.isnan(seen[0].stop.labels).all()
    assert (done.held_out("full") == 0).all()
    assert (done.fits["full"]["stop_score"], done.fits["full"]["rounds"]) == (None, 0)
    assert done.fits["other"]["stop_score"] > 0
