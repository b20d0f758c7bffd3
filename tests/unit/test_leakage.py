"""No leak: models of labels that say nothing score 0.5, and a leak put in on purpose is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from blendmake.stats.auc import auc
from problems import FOLDS, Problem, run_fold, synthetic_columns, write_problem

TIMES = 60  # permutations, each a target of its own
ROWS = 300
# A source of each family (mlp and tabm have tests of their own, on one model for all permutations).
SOURCES: dict[str, dict[str, Any]] = {
    "bagged": {
        "family": "lightgbm",
        "rounds": 15,
        "params": {"num_leaves": 7},
        "bagging": {"bags": 2, "negatives_per_positive": 1},
    },
    "catboost": {"family": "catboost", "rounds": 8, "params": {"depth": 3}},
    "extra_trees": {"family": "extra_trees", "rounds": 15},
    "lightgbm": {
        "family": "lightgbm",
        "rounds": 30,
        "params": {"learning_rate": 0.1, "num_leaves": 7},
        "early_stopping": {"rounds": 5},
    },
    "linear": {"family": "linear", "rounds": 50},
    "sgd": {"family": "linear", "rounds": 5, "params": {"solver": "sgd", "categories": "hashed"}},
    "xgboost": {"family": "xgboost", "rounds": 10, "params": {"max_depth": 3}},
    "xgboost_vector": {"family": "xgboost_vector", "rounds": 60, "params": {"max_depth": 5}},
}
each_source = pytest.mark.parametrize("source", sorted(SOURCES))


def permuted(
    labels: NDArray[np.float64],
    fold: NDArray[Any],
    groups: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Labels permuted within folds, whole groups (all of one size) at a time."""
    done = labels.copy()
    for k in range(FOLDS):
        inside = np.unique(groups[fold == k])
        for mine, theirs in zip(inside, rng.permutation(inside), strict=True):
            done[groups == mine] = labels[groups == theirs]
    return done


def null_problem(folder: Path, group_size: int, leaky: bool) -> Problem:
    """TIMES targets, each a permutation of labels that the features once explained.

    Rows of a group are alike in features and labels. `leaky` adds columns as a careless target
    encoding would: per target, the mean label of a pair of rows, whatever folds they are in.
    """
    groups = np.arange(ROWS) // group_size
    fold = groups % FOLDS
    train, test, odds = synthetic_columns(ROWS, 12, fold)
    rng = np.random.default_rng(7)
    for name in ("n0", "n1"):
        values = train[name].to_numpy(zero_copy_only=False)
        train[name] = values[groups * group_size] + 0.1 * rng.normal(size=ROWS)
    odds = odds[groups * group_size]
    labels = (odds + rng.logistic(size=ROWS // group_size)[groups] > 0.7).astype(float)
    targets = [f"p{i}" for i in range(TIMES)]
    every = np.column_stack([permuted(labels, fold, groups, rng) for _ in targets])
    if leaky:
        partner = rng.permutation(ROWS).reshape(-1, 2)
        for j in range(TIMES):
            code = np.empty(ROWS)
            code[partner] = every[partner, j].mean(axis=1, keepdims=True)
            train[f"encoded{j}"] = code
            test[f"encoded{j}"] = np.zeros(12)
    return write_problem(
        folder, train, test, every, targets, fold=fold, groups=groups if group_size > 1 else None
    )


def within_fold_auc(problem: Problem, source: str, out: Path, **changed: Any) -> NDArray[Any]:
    """Mean over folds of the AUC within a fold, per permutation."""
    values = np.empty((FOLDS, TIMES))
    for k in range(FOLDS):
        done = run_fold(problem, out=out / f"fold{k}", fold=k, **{**SOURCES[source], **changed})
        truth = problem.labels[problem.rows(k).valid]
        values[k] = [auc(truth[:, j], done.oof.values[:, j]) for j in range(TIMES)]
    mean: NDArray[Any] = values.mean(axis=0)
    return mean


def interval(values: NDArray[Any], level: float = 0.99) -> tuple[float, float]:
    reach = student.ppf(0.5 + level / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean() - reach, values.mean() + reach


@each_source
@pytest.mark.parametrize("group_size", [1, 3])
def test_permuted_labels_are_not_predicted(source: str, group_size: int, tmp_path: Path) -> None:
    problem = null_problem(tmp_path / "p", group_size, leaky=False)
    low, high = interval(within_fold_auc(problem, source, tmp_path / "out"))
    assert low < 0.5 < high
    assert high - low < 0.06  # narrow enough to see a leak


@each_source
def test_an_encoding_made_with_held_out_labels_is_caught(source: str, tmp_path: Path) -> None:
    problem = null_problem(tmp_path / "p", 1, leaky=True)
    low, _ = interval(within_fold_auc(problem, source, tmp_path / "out"))
    assert low > 0.6


def test_stopping_on_the_fold_is_caught(tmp_path: Path) -> None:
    """What is marked optimistic is optimistic."""
    problem = null_problem(tmp_path / "p", 1, leaky=False)
    watching = {"early_stopping": {"rounds": 30, "watch": "fold"}}
    low, _ = interval(within_fold_auc(problem, "lightgbm", tmp_path / "out", **watching))
    assert low > 0.51
