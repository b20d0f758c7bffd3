"""Reports in the middle of a fit: what they tell, that they change nothing, and what ends a fit."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import catboost
import lightgbm as lgb
import numpy as np
import pytest
import xgboost as xgb
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES, JOINT, REPORTING
from blendmake.families.catboost import CatBoostFamily, _may_be_watched
from blendmake.family import Fit, Fitted, FoldData
from blendmake.stats.auc import auc
from fold_data import changed, fold_data, joint_fit, labels_at, one_fit
from helpers import files_below
from problems import Problem, synthetic

NETWORK = {"batch_size": 32, "learning_rate": 0.01}
# A family, and params with which a fit draws at random and gets better and worse.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "catboost": ("catboost", {"rsm": 0.7, "learning_rate": 0.3, "one_hot_max_size": 2}),
    "catboost_one_hot": (
        "catboost",
        {"learning_rate": 0.3, "one_hot_max_size": 20, "metric_period": 4},
    ),
    "lightgbm": ("lightgbm", {"feature_fraction": 0.6, "learning_rate": 0.3}),
    "lightgbm_dart": (
        "lightgbm",
        {"boosting": "dart", "drop_rate": 0.5, "learning_rate": 0.3, "min_data_in_leaf": 5},
    ),
    "mlp": ("mlp", {**NETWORK, "hidden": [16]}),
    "mlp_plateau": (
        "mlp",
        {**NETWORK, "hidden": [16], "schedule": "plateau", "plateau_epochs": 1},
    ),
    "tabm": ("tabm", {**NETWORK, "k": 2, "d_block": 16, "n_bins": 4, "d_embedding": 4}),
    "xgboost": ("xgboost", {"subsample": 0.7, "learning_rate": 0.3}),
    "xgboost_dart": ("xgboost", {"booster": "dart", "rate_drop": 0.5, "skip_drop": 0.2}),
    "xgboost_vector": ("xgboost_vector", {"subsample": 0.7, "learning_rate": 0.3}),
    "xgboost_vector_every": ("xgboost_vector", {"learning_rate": 0.3, "eval_every": 3}),
}
NEURAL = ("mlp", "tabm")
STOPPING = [name for name in CASES if not name.endswith("dart")]
JOINT_CASES = [name for name, (family, _) in CASES.items() if family in JOINT]


class Told(list[tuple[int, float]]):
    """A report that lists what it is told, and raises `error` when so many have come."""

    def __init__(self, error: BaseException | None = None, after: int = 2) -> None:
        super().__init__()
        self.error, self.after = error, after

    def __call__(self, rounds: int, score: float) -> None:
        assert type(rounds) is int and type(score) is float
        self.append((rounds, score))
        if self.error is not None and len(self) == self.after:
            raise self.error

    @property
    def rounds(self) -> list[int]:
        return [rounds for rounds, _ in self]


class Pruned(Exception):
    pass


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240, test_rows=20)


@pytest.fixture(scope="module")
def data(problem: Problem) -> FoldData:
    """Of which the held-out rows are those that are watched."""
    made = fold_data(problem, 1, inner=True)
    assert made.stop is not None
    return replace(made, valid=made.stop)


class Case:
    """One family on the rows of a fold; `gaps`, which has unknown labels, where it fits one target."""

    def __init__(self, name: str, problem: Problem, data: FoldData) -> None:
        self.family, self.params = CASES[name]
        if self.family in NEURAL:
            pytest.importorskip("torch", reason="envs/neural.txt is not installed")
        self.problem, self.data = problem, data
        self.rounds = 4 if self.family in NEURAL else 12
        self.every = 1 if self.family in NEURAL else 5

    def due(self, last: int, rounds: int | None = None) -> list[int]:
        """When reports are told of a fit of so many rounds of which the last is `last`."""
        every = list(range(self.every, last + 1, self.every))
        return every + [last] * (last == (rounds or last) and last % self.every != 0)

    def model(self, data: FoldData | None = None) -> Any:
        return importlib.import_module(FAMILIES[self.family]).FAMILY(data or self.data, 1)

    def task(self, scratch: Path, **settings: Any) -> Fit:
        joint = joint_fit(self.problem, self.data, scratch)
        task: Fit = joint
        if self.family not in JOINT:
            j = self.problem.targets.index("gaps")
            assert joint.stop is not None
            watched = joint.stop.labels[:, j]
            task = one_fit("gaps", {}, 0, None, 2.0, 1, joint.labels[:, j], watched)
        return changed(task, **{"rounds": self.rounds, "params": self.params, **settings})

    def fit(self, scratch: Path, **settings: Any) -> Fitted:
        fitted: Fitted = self.model().fit(self.task(scratch, **settings))
        return fitted


def macro(labels: NDArray[np.float32], predicted: NDArray[np.float32]) -> float:
    """Mean AUC of targets over their known rows; of those with both classes."""
    scores = []
    for truth, values in zip(
        labels.reshape(len(labels), -1).T, predicted.reshape(len(labels), -1).T, strict=True
    ):
        known = ~np.isnan(truth)
        scores.append(auc(truth[known], values[known]))
    return float(np.nanmean(scores))


def same(one: Fitted, other: Fitted) -> bool:
    if one.stop_scores is None or other.stop_scores is None:
        watched = one.stop_scores is other.stop_scores
    else:
        watched = np.array_equal(np.asarray(one.stop_scores), np.asarray(other.stop_scores))
    return (
        one.valid.tobytes() == other.valid.tobytes()
        and one.test.tobytes() == other.test.tobytes()
        and one.rounds == other.rounds
        and watched
    )


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_registry_knows_which_families_report(name: str) -> None:
    if name in NEURAL:
        pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    reports = importlib.import_module(FAMILIES[name]).FAMILY.REPORTS
    assert reports == (name in REPORTING)
    assert {family for family, _ in CASES.values()} == REPORTING


@pytest.mark.parametrize("name", CASES)
def test_rounds_and_scores_are_told_and_change_nothing(
    name: str, problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    case, told = Case(name, problem, data), Told()
    task = case.task(tmp_path / "plain")
    plain = case.model().fit(task)
    fitted = case.fit(tmp_path / "told", report=told)
    assert same(fitted, plain) and fitted.rounds == case.rounds and fitted.stop_scores is None
    assert told.rounds == case.due(case.rounds)
    assert len({score for _, score in told}) > 1
    assert task.stop is not None
    for rounds, score in told:
        until = case.fit(tmp_path / f"until{rounds}", rounds=rounds)
        assert score == pytest.approx(macro(task.stop.labels, until.valid), abs=1e-6)
    assert told[-1][1] == pytest.approx(macro(task.stop.labels, fitted.valid), abs=1e-6)


@pytest.mark.parametrize("name", STOPPING)
def test_reports_beside_early_stopping(
    name: str, problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    case, told = Case(name, problem, data), Told()
    every = case.params.get("eval_every", 1)
    settings: dict[str, Any] = {"rounds": 60, "stop_rounds": 4}
    plain = case.fit(tmp_path / "plain", **settings)
    fitted = case.fit(tmp_path / "told", **settings, report=told)
    last = fitted.rounds + -(-4 // every) * every
    assert same(fitted, plain) and last < 60
    assert told.rounds == case.due(last, 60) and len(told) > 0
    task = case.task(tmp_path)
    assert task.stop is not None
    rounds, score = told[0]
    until = case.fit(tmp_path / "until", rounds=rounds)
    assert score == pytest.approx(macro(task.stop.labels, until.valid), abs=1e-6)
    best = np.nanmean(np.asarray(fitted.stop_scores))
    looked = [score for rounds, score in told if rounds % every == 0]
    assert max(looked) <= best + 1e-9


def errors(family: str) -> Sequence[BaseException]:
    """Errors that a library, or what turns its refusals into messages, might take for its own."""
    own = {
        "catboost": [catboost.CatBoostError("mine")],
        "lightgbm": [lgb.basic.LightGBMError("mine"), lgb.EarlyStopException(0, [])],
        "xgboost": [xgb.core.XGBoostError("mine")],
    }
    common = [Pruned("mine"), ValueError("mine"), TypeError("mine"), StopIteration()]
    return [*common, KeyboardInterrupt(), *own.get(family, [])]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("stopping", [False, True])
def test_what_a_report_raises_comes_out_as_it_is(
    stopping: bool, name: str, problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    if stopping and name not in STOPPING:
        pytest.skip("it has no early stopping")
    case = Case(name, problem, data)
    settings: dict[str, Any] = {"stop_rounds": 11} if stopping else {}
    fresh = case.fit(tmp_path / "fresh", **settings)
    model = case.model()
    for number, error in enumerate(errors(case.family)):
        told = Told(error)
        with pytest.raises(type(error)) as caught:
            model.fit(case.task(tmp_path / f"{number}", **settings, report=told))
        assert caught.value is error and error.__cause__ is None
        assert told.rounds == case.due(case.rounds)[:2], "the fit ends there"
    again = Told()
    assert same(fresh, model.fit(case.task(tmp_path / "again", **settings, report=again)))
    assert again.rounds == case.due(case.rounds)
    assert same(fresh, model.fit(case.task(tmp_path / "plain", **settings)))


@pytest.mark.parametrize("name", CASES)
def test_nothing_to_watch(name: str, problem: Problem, data: FoldData, tmp_path: Path) -> None:
    case, told = Case(name, problem, data), Told()
    blind = replace(data, stop=None)
    task = case.task(tmp_path / "told", stop_labels=None, report=told)
    fitted = case.model(blind).fit(task)
    assert told == [] and same(fitted, case.fit(tmp_path / "plain"))


@pytest.mark.parametrize("name", JOINT_CASES)
def test_targets_of_one_class_have_no_say(
    name: str, problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    case, told, silent = Case(name, problem, data), Told(), Told()
    assert data.stop is not None
    labels = labels_at(problem, data.stop)
    labels[:, 3], labels[:, 1] = 0, np.nan
    fitted = case.fit(tmp_path / "some", stop_labels=labels, report=told)
    assert told.rounds == case.due(case.rounds)
    assert told[-1][1] == pytest.approx(macro(labels[:, [0, 2]], fitted.valid[:, [0, 2]]))
    labels[:] = 1
    assert same(fitted, case.fit(tmp_path / "none", stop_labels=labels, report=silent))
    assert silent == []


@pytest.mark.parametrize("name", ["xgboost", "xgboost_vector", "lightgbm", "catboost"])
def test_a_fit_of_few_rows_reports(
    name: str, problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    case, told = Case(name, problem, data), Told()
    whole = case.task(tmp_path)
    few, watched = whole.labels.copy(), whole.stop.labels
    assert watched is not None
    few[np.arange(len(few)) % 5 > 1] = np.nan
    watched = watched.copy()
    watched[::4] = np.nan
    settings = {"labels": few, "stop_labels": watched}
    fitted = case.fit(tmp_path / "told", **settings, report=told)
    assert told.rounds == [5, 10, 12]
    assert told[-1][1] == pytest.approx(macro(watched, fitted.valid), abs=1e-6)
    assert same(fitted, case.fit(tmp_path / "plain", **settings))


@pytest.mark.parametrize("name", NEURAL)
@pytest.mark.parametrize("stopping", [None, 3])
def test_a_fit_that_was_ended_goes_on(
    stopping: int | None,
    name: str,
    problem: Problem,
    data: FoldData,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What was told before is told again, and the epochs that are kept are not trained again."""
    case = Case(name, problem, data)
    from blendmake.neural.trainer import Trainer

    epochs: list[int] = []
    train = Trainer._epoch
    monkeypatch.setattr("blendmake.neural.checkpoints.SHARE", 1e9)

    def listed(trainer: Trainer, number: int) -> None:
        epochs.append(number)
        train(trainer, number)

    monkeypatch.setattr(Trainer, "_epoch", listed)
    whole, first, second = Told(), Told(Pruned()), Told()
    settings: dict[str, Any] = {"stop_rounds": stopping}
    fresh = case.fit(tmp_path / "fresh", **settings, report=whole)
    with pytest.raises(Pruned):
        case.fit(tmp_path / "kept", **settings, report=first)
    assert files_below(tmp_path / "kept") == ["checkpoint.pt"]
    with pytest.raises(Pruned):
        case.fit(tmp_path / "kept", **settings, report=Told(Pruned(), after=1))
    epochs.clear()
    assert same(fresh, case.fit(tmp_path / "kept", **settings, report=second))
    assert epochs == [2, 3] and first == whole[:2] and second == whole


@pytest.mark.parametrize("name", ["catboost", "lightgbm", "xgboost"])
def test_a_refused_fit_spoils_no_other(
    name: str, problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    """Two folds in one process, as a search has them."""
    case = Case(name, problem, data)
    task = case.task(tmp_path)
    fresh, one, other = case.fit(tmp_path), case.model(), case.model()
    for _ in range(2):
        with pytest.raises(BlendmakeError, match="no_such"):
            one.fit(replace(task, params={"no_such": 1}))
        assert same(fresh, other.fit(task)) and same(fresh, one.fit(task))


def test_catboost_reports_only_where_it_can(
    problem: Problem, data: FoldData, tmp_path: Path
) -> None:
    case, told = Case("catboost", problem, data), Told()
    # Counters would count the watched rows' levels.
    params = {**case.params, "counter_calc_method": "Full"}
    fitted = case.fit(tmp_path, params=params, report=told)
    assert told == [] and same(fitted, case.fit(tmp_path, params=params))
    stopped = case.fit(tmp_path, params=params, report=told, stop_rounds=20)
    assert told.rounds == [5, 10, 12] and stopped.stop_scores is not None
    task = case.task(tmp_path)
    assert isinstance(task, Fit)
    assert _may_be_watched(task, CatBoostFamily.DEFAULTS)
    assert not _may_be_watched(task, {}, on_gpu=True)
