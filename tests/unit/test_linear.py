"""Logistic regressions side by side: what they give, in whatever company, and how C is chosen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

from blendmake.config.sources import Source
from blendmake.errors import BlendmakeError
from blendmake.families.linear import Linear, predict_saved
from blendmake.families.linear_lbfgs import Regression, most_at_once, solve
from blendmake.families.linear_rows import MANY, Preparation, Regressors
from blendmake.family import Fit, FoldData
from blendmake.stats.auc import auc
from fold_data import changed, fold_data, labels_at, one_fit
from problems import Problem, run_fold, write_problem

FOLDS = 3
ROWS = 700
TARGETS = ["a", "b", "c", "d", "e"]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """Numbers, a category of forty levels, and labels of which many are unknown."""
    rng = np.random.default_rng(11)
    numbers = rng.normal(size=(ROWS + 40, 6)).astype(np.float32)
    numbers[rng.random(numbers.shape) < 0.05] = np.nan
    codes = rng.integers(0, 40, ROWS + 40)
    filled = np.nan_to_num(numbers[:ROWS])
    odds = filled @ rng.normal(size=(6, 5)) + rng.normal(size=(40, 5))[codes[:ROWS]]
    labels = (odds + rng.logistic(size=odds.shape) > 0).astype(float)
    labels[rng.random(labels.shape) < [0, 0.1, 0.3, 0.6, 0.9]] = np.nan
    columns = {f"n{j}": pa.array(numbers[:, j], from_pandas=True) for j in range(6)} | {
        "c": pa.array([f"l{code:02}" for code in codes])
    }
    return write_problem(
        tmp_path_factory.mktemp("linear"),
        {name: column.slice(0, ROWS) for name, column in columns.items()},
        {name: column.slice(ROWS) for name, column in columns.items()},
        labels,
        TARGETS,
        fold=np.arange(ROWS) % FOLDS,
    )


def fits(problem: Problem, data: FoldData, **params: object) -> list[Fit]:
    labels = labels_at(problem, data.train)
    weights = [1.0, 3.0, 1.0, 0.5, 1.0]
    return [
        one_fit(name, {"C": 0.5, **params}, 200, None, weights[j], 1, labels[:, j])
        for j, name in enumerate(TARGETS)
    ]


@pytest.mark.parametrize("intercept", [True, False])
def test_side_by_side_is_scikit_learns_regression(problem: Problem, intercept: bool) -> None:
    data = fold_data(problem)
    tasks = fits(problem, data, tol=1e-6, fit_intercept=intercept)
    fitted = Linear(data, 1).fit_many(tasks)
    preparation = Preparation.learn(data.train)
    train, valid = (
        preparation.apply(rows).whole().astype(float) for rows in (data.train, data.valid)
    )
    for task, one in zip(tasks, fitted, strict=True):
        known = ~np.isnan(task.label)
        model = LogisticRegression(
            C=0.5,
            tol=1e-8,
            max_iter=2000,
            fit_intercept=intercept,
        ).fit(train[known], task.label[known], None if task.weight is None else task.weight[known])
        assert np.abs(model.predict_proba(valid)[:, 1:] - one.valid).max() < 2e-4


@pytest.mark.parametrize(
    "params", [{}, {"categories": "hashed", "hash_bits": 6}, {"C": [0.01, 0.1, 1.0]}]
)
def test_company_changes_no_byte(problem: Problem, params: dict[str, object]) -> None:
    stops = isinstance(params.get("C"), list)
    data = fold_data(problem, inner=stops)
    tasks = fits(problem, data, **params)
    if stops:
        assert data.stop is not None
        watched = labels_at(problem, data.stop)
        tasks = [
            changed(task, stop_rounds=1, stop_labels=watched[:, [j]])
            for j, task in enumerate(tasks)
        ]
    together = Linear(data, 1).fit_many(tasks)
    turned = Linear(data, 1).fit_many(tasks[::-1])[::-1]
    for task, one, other in zip(tasks, together, turned, strict=True):
        alone = Linear(data, 1).fit(task)
        for found in (alone, other):
            assert np.array_equal(one.valid, found.valid) and np.array_equal(one.test, found.test)
            assert one.rounds == found.rounds and one.stop_scores == found.stop_scores


@pytest.mark.parametrize("bits", [None, 6])
def test_a_row_is_predicted_alike_in_any_company(
    problem: Problem, tmp_path: Path, bits: int | None
) -> None:
    data = fold_data(problem)
    params = {} if bits is None else {"categories": "hashed", "hash_bits": bits}
    fitted = Linear(data, 1).fit(fits(problem, data, **params)[0])
    path = fitted.save(tmp_path / "model")
    assert np.array_equal(predict_saved(path, data.test), fitted.test)
    for some in ([3], [0, 39], list(range(5, 30))):
        places = np.array(some)
        assert np.array_equal(predict_saved(path, data.test.at(places)), fitted.test[places])


def test_products_do_not_depend_on_what_stands_beside() -> None:
    rng = np.random.default_rng(0)
    x = Regressors(rng.normal(size=(1000, 333)).astype(np.float32))
    weights = rng.normal(size=(41, 333))
    residuals = rng.normal(size=(41, 1000))
    whole, against = x.times(weights), x.against(residuals)
    assert np.allclose(whole, x.dense @ weights.T, atol=1e-3)
    assert np.allclose(against, residuals @ x.dense, atol=1e-3)
    for some in ([0], [40, 3], range(7, 30)):
        vectors = list(some)
        assert np.array_equal(x.times(weights[vectors]), whole[:, vectors])
        assert np.array_equal(x.against(residuals[vectors]), against[vectors])
        assert np.array_equal(x.at(np.array(vectors)).times(weights), whole[vectors])


def test_c_is_chosen_on_watched_rows_and_the_model_fitted_on_all(problem: Problem) -> None:
    data = fold_data(problem, inner=True)
    assert data.stop is not None
    train, watched = labels_at(problem, data.train)[:, 0], labels_at(problem, data.stop)[:, 0]
    values = [1e-6, 0.003, 0.1, 1.0, 1000.0]
    task = one_fit("a", {"C": values[::-1], "tol": 1e-6}, 500, 5, 1.0, 1, train, watched)
    fitted = Linear(data, 1).fit(task)
    rows = Preparation.learn(data.train)
    x, stop, valid = (
        rows.apply(r).whole().astype(float) for r in (data.train, data.stop, data.valid)
    )

    def model(c: float, x: np.ndarray, y: np.ndarray) -> LogisticRegression:
        return LogisticRegression(C=c, tol=1e-8, max_iter=3000).fit(x, y)

    scores = [auc(watched, model(c, x, train).decision_function(stop)) for c in values]
    best = values[int(np.argmax(scores))]
    assert best not in (values[0], values[-1])
    assert fitted.stop_scores == pytest.approx(max(scores), abs=1e-3)
    whole = model(best, np.concatenate([x, stop]), np.concatenate([train, watched]))
    assert np.abs(whole.predict_proba(valid)[:, 1:] - fitted.valid).max() < 1e-3


def test_a_list_of_c_needs_rows_to_choose_by() -> None:
    source = {"family": "linear", "params": {"C": [0.1, 1]}}
    with pytest.raises(ValueError, match="add early_stopping, as"):
        Source.model_validate(source)
    Source.model_validate({**source, "early_stopping": {"rounds": 2}})


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"C": [0.1, -1]}, "list of numbers above 0"),
        ({"C": [0.1, 1], "solver": "saga"}, "goes with solver lbfgs"),
        ({"C": -1.0}, "C"),
        ({"C": "large"}, "C"),
        ({"tol": -1}, "tol"),
        ({"scaling": "robust"}, "scaling is one of auto, standard, rows"),
    ],
)
def test_params_that_are_refused(problem: Problem, params: dict[str, object], reason: str) -> None:
    data = fold_data(problem)
    with pytest.raises(BlendmakeError, match=f"target 'a' was refused: .*{reason}"):
        Linear(data, 1).fit(fits(problem, data, **params)[0])


def test_mostly_zero_numbers_are_rows_of_length_one(tmp_path: Path) -> None:
    """Counts of words whose share, not number, tells the label."""
    rng = np.random.default_rng(5)
    words, rows = 4 * MANY, 1200
    topics = rng.dirichlet(np.full(words, 0.05), size=2)
    labels = rng.integers(0, 2, rows)
    mixed = 0.3 * topics[labels] + 0.7 * topics.mean(axis=0)
    counts = np.array([rng.multinomial(15, p) for p in mixed])
    counts *= np.exp(rng.normal(0, 2, (rows, 1))).astype(int) + 1  # said once, or over and over
    columns = {f"w{j}": pa.array(counts[:, j].astype(float)) for j in range(words)}
    columns["age"] = pa.array(rng.normal(size=rows))
    made = write_problem(
        tmp_path,
        columns,
        {k: v.slice(0, 5) for k, v in columns.items()},
        labels[:, None].astype(float),
        ["y"],
        fold=np.arange(rows) % FOLDS,
    )
    data = fold_data(made)
    known = labels_at(made, data.train)[:, 0]
    prepared = Preparation.learn(data.train)
    assert len(prepared.counts) >= MANY
    hot = prepared.apply(data.train).hot[:, : len(prepared.counts)]
    lengths_seen = np.sqrt(np.asarray(hot.multiply(hot).sum(axis=1)).ravel())
    assert np.allclose(lengths_seen[lengths_seen > 0], np.sqrt(len(prepared.counts)), rtol=1e-5)

    def score(scaling: str) -> float:
        task = one_fit("y", {"C": 0.003, "scaling": scaling}, 100, None, 1.0, 1, known)
        return auc(labels_at(made, data.valid)[:, 0], Linear(data, 1).fit(task).valid[:, 0])

    assert score("auto") == score("rows") > score("standard") + 0.01
    few = replace(data.train, columns=data.train.columns[: MANY // 2])
    assert len(Preparation.learn(few).counts) == 0
    assert len(Preparation.learn(few, scaling="rows").counts) > 0


def test_interrupted_and_chunked_fits_end_in_the_same_bytes(
    problem: Problem, tmp_path: Path
) -> None:
    whole = run_fold(problem, "linear", tmp_path / "whole", rounds=50)
    scratch = tmp_path / "scratch"
    run_fold(problem, "linear", tmp_path / "first", rounds=50, scratch=scratch)
    kept = sorted(scratch.rglob("*.parquet"))
    assert len(kept) == len(TARGETS)
    for path in kept[1::2]:
        path.unlink()
    again = run_fold(problem, "linear", tmp_path / "again", rounds=50, scratch=scratch)
    for name in TARGETS:
        part = run_fold(problem, "linear", tmp_path / name, rounds=50, targets=[name])
        for done in (again, part):
            assert np.array_equal(done.held_out(name), whole.held_out(name))
            at, of = done.test.targets.index(name), whole.test.targets.index(name)
            assert np.array_equal(done.test.values[:, at], whole.test.values[:, of])
    seconds = [whole.fits[name]["seconds"] for name in TARGETS]
    assert min(seconds) == max(seconds) > 0  # fitted at once, they share the time


@pytest.mark.filterwarnings("ignore:invalid value")
def test_what_is_not_finite_ends_all(problem: Problem) -> None:
    data = fold_data(problem)
    x = Preparation.learn(data.train).apply(data.train)
    x.dense[3, 0] = np.inf
    labels = labels_at(problem, data.train)
    problems = [Regression(labels[:, j], 1.0, 1e-4, 50) for j in range(3)]
    with pytest.raises(FloatingPointError, match="not finite"):
        solve(x, problems)


def test_state_is_bounded() -> None:
    assert most_at_once(1000) > 64 and most_at_once(2**24) == 1


def test_models_are_json_of_numbers(problem: Problem, tmp_path: Path) -> None:
    data = fold_data(problem)
    path = Linear(data, 1).fit(fits(problem, data)[0]).save(tmp_path / "model")
    stored = json.loads(path.read_text())
    width = Preparation.from_json(stored["preparation"]).width
    assert np.shape(stored["coefficients"]) == (1, width)
