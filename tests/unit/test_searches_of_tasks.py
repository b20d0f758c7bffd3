"""Searches of targets of every task: what trials are rated by, and which way is better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error

from blendmake.config.searches import Search as SearchConfig
from blendmake.errors import BlendmakeError
from blendmake.searches.table import better_way, ranked, sign_of
from problems import CLASSES, Problem, run_fold, typed
from search_worker import ran, search_in, search_params

LGB: dict[str, Any] = {"family": "lightgbm", "rounds": 10, "params": {"num_leaves": 4}}
RATES = {"learning_rate": {"low": 0.01, "high": 0.3, "log": True}}
SKLEARN: dict[str, Any] = {
    "flag": ("auc", roc_auc_score),
    "kind": ("log_loss", lambda y, p: log_loss(y, p, labels=range(len(CLASSES)))),
    "level": ("rmse", root_mean_squared_error),
}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return typed(tmp_path_factory.mktemp("problem"), rows=240, test_rows=6)


def searched(problem: Problem, said: Any = None, **config: Any) -> Any:
    params = search_params({"lgb": LGB}, space=RATES, **{"trials": 3, **config})
    return search_in(problem, {**params, **({"metric": said} if said else {})})


@pytest.mark.parametrize("target", sorted(SKLEARN))
def test_trials_are_rated_by_the_metric_of_the_targets_task(
    problem: Problem, tmp_path: Path, target: str
) -> None:
    metric, score = SKLEARN[target]
    search = searched(problem, targets=[target], folds=(0, 1, 2))
    rows = ran(search, tmp_path)
    assert search.metric == metric and {row["study"] for row in rows} == {target}
    for fold, value in enumerate(rows[0]["fold_values"]):  # of the source's own params
        own = {key: value for key, value in LGB.items() if key != "family"}
        done = run_fold(problem, "lightgbm", tmp_path / str(fold), fold=fold, **own)
        truth = problem.column(target)[problem.rows(fold).valid]
        known = ~np.isnan(truth)
        assert value == pytest.approx(score(truth[known], predicted(done, target)[known]), rel=1e-5)
    values = [row["value"] for row in rows if row["state"] == "complete"]
    assert ranked(rows, metric)[0]["value"] == (max if metric == "auc" else min)(values)
    assert (
        search.prunes_within and rows[0]["intermediate"]
    )  # what it watches is what it is rated by


def predicted(done: Any, target: str) -> Any:
    """Of the outputs flag, kind=…, level."""
    place = {"flag": 0, "kind": slice(1, -1), "level": -1}[target]
    return done.oof.values[:, place]


def test_a_search_may_go_by_another_metric(problem: Problem) -> None:
    by = {"level": "mae", "kind": "accuracy"}
    assert searched(problem, by, targets=["level"]).metric == "mae"
    own = searched(problem, by, targets=["level"], metric="spearman")
    assert own.metric == "spearman" and not own.prunes_within  # fits watch the mean error
    assert searched(problem, by, targets=["level"]).prunes_within
    assert (sign_of("mae"), sign_of("spearman")) == (-1, 1)
    assert better_way("rmse") == "smaller is better"


def test_metrics_that_cannot_rate_the_targets_are_refused(problem: Problem) -> None:
    with pytest.raises(BlendmakeError, match=r"searches\.search\.metric: target 'level'.*'auc'"):
        _ = searched(problem, targets=["level"], metric="auc").metric
    with pytest.raises(BlendmakeError, match=r"'flag' goes by auc and 'level' by rmse\. Make a"):
        _ = searched(problem, targets=["flag", "level"]).metric
    both = searched(problem, targets=["flag", "kind"], metric="log_loss")
    assert both.metric == "log_loss"
    with pytest.raises(ValueError, match="there is no metric 'logloss'; did you mean 'log_loss'"):
        SearchConfig.model_validate({"source": "a", "space": RATES, "metric": "logloss"})


def test_studies_are_told_apart_by_what_decides_their_values(problem: Problem) -> None:
    def identity(said: Any = None, **config: Any) -> str:
        search = searched(problem, said, **config)
        return str(search.identity(search.targets))

    plain = identity(targets=["flag"])
    assert plain == identity(targets=["flag"], metric="auc") == identity("auc", targets=["flag"])
    assert plain != identity(targets=["flag"], metric="brier")
    assert identity("brier", targets=["flag"]) == identity(targets=["flag"], metric="brier")
    assert identity(targets=["level"]) != identity("mae", targets=["level"])
