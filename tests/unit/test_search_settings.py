"""What a trial is fitted with, what a source takes from a search, and what tells studies apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss

from blendmake.config.loading import load_problem
from blendmake.errors import BlendmakeError
from blendmake.fits.settings import settings_for
from blendmake.fits.tuned import override, read_tuned
from blendmake.searches.checking import check_search, probe_effects
from blendmake.searches.ranking import best_trials, rank_trials
from blendmake.searches.samplers import grid_points
from blendmake.searches.space import Space
from blendmake.searches.worker_job import collect
from blendmake.searches.working import STOP, Unfinished
from problems import Problem, run_fold, synthetic
from search_worker import ran, rows_of, search_in, search_params

XGB: dict[str, Any] = {"family": "xgboost", "rounds": 5, "params": {"max_depth": 3}}
LGB: dict[str, Any] = {"family": "lightgbm", "rounds": 5}
DEPTHS = {"max_depth": {"low": 1, "high": 5}}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240, test_rows=20)


def test_a_source_takes_its_own_familys_params(problem: Problem, tmp_path: Path) -> None:
    space = {
        "learning_rate": {"low": 0.05, "high": 0.4},
        "max_depth": {"low": 1, "high": 5, "when": {"source": "xgb"}},
        "num_leaves": {"low": 4, "high": 16, "when": {"source": "lgb"}},
    }
    params = search_params({"xgb": XGB, "lgb": LGB}, trials=12, pruner="none", space=space)
    search = search_in(problem, params)
    ran(search, tmp_path)
    trials, best = tmp_path / "trials.parquet", tmp_path / "best.parquet"
    collect(search, scratch=tmp_path / "scratch", out=trials, note={})
    rank_trials(trials, best, {})
    for source, own, other in (
        ("xgb", "max_depth", "num_leaves"),
        ("lgb", "num_leaves", "max_depth"),
    ):
        found, told = read_tuned(best, source, 2, ["full", "other"])
        assert told["targets"] == ["full"] and told["search_folds"] == [0, 1]
        layer = found["full"]
        assert layer == {} or (own in layer["params"] and other in layer["without"])
    with pytest.raises(BlendmakeError, match="no trial of rank 90 of source 'xgb'"):
        read_tuned(best, "xgb", 90, ["full"])
    with pytest.raises(BlendmakeError, match="none of the source's targets"):
        read_tuned(best, "xgb", 1, ["other"])


def test_the_first_trial_is_the_source_target_by_target(problem: Problem, tmp_path: Path) -> None:
    """Overrides of a target hold in one study for all, too."""
    overrides = {"targets": {"other": {"params": {"max_depth": 1}}}}
    source = {**XGB, "overrides": overrides}
    given = {"studies": "one", "targets": ["full", "other"], "space": DEPTHS, "folds": (0, 1, 2)}
    rows = ran(search_in(problem, search_params({"source": source}, trials=1, **given)), tmp_path)
    own = {key: value for key, value in source.items() if key != "family"}
    aucs = []
    for fold in range(3):
        done = run_fold(problem, "xgboost", tmp_path / f"fold{fold}", fold=fold, **own)
        aucs.append(np.mean([done.fits[target]["score"] for target in ("full", "other")]))
    assert rows[0]["baseline"] and rows[0]["fold_values"] == pytest.approx(aucs, abs=1e-9)


def test_a_best_trial_that_is_the_source_changes_nothing(problem: Problem, tmp_path: Path) -> None:
    search = search_in(problem, search_params({"xgb": XGB}, trials=1, space=DEPTHS))
    ran(search, tmp_path)
    collect(search, scratch=tmp_path / "scratch", out=tmp_path / "trials.parquet", note={})
    rank_trials(tmp_path / "trials.parquet", tmp_path / "best.parquet", {})
    assert read_tuned(tmp_path / "best.parquet", "xgb", 1, ["full"])[0] == {"full": {}}


def test_log_loss_is_of_the_probabilities_that_the_source_predicts(
    problem: Problem, tmp_path: Path
) -> None:
    source = {**XGB, "bagging": {"bags": 1, "negatives_per_positive": 0.5}}
    given = {"metric": "log_loss", "folds": (0, 1, 2), "space": DEPTHS}
    rows = ran(search_in(problem, search_params({"source": source}, trials=1, **given)), tmp_path)
    own = {key: value for key, value in source.items() if key != "family"}
    for fold, value in enumerate(rows[0]["fold_values"]):
        done = run_fold(problem, "xgboost", tmp_path / f"fold{fold}", fold=fold, **own)
        truth = problem.column("full")[problem.rows(fold).valid]
        predicted = done.held_out("full").astype(np.float64)
        assert value == pytest.approx(log_loss(truth, predicted), abs=1e-6)


def test_params_without_their_condition_are_out_of_force(problem: Problem, tmp_path: Path) -> None:
    """The source's own value of a param must not stay where the trial has none."""
    source = {**XGB, "params": {"booster": "dart", "rate_drop": 0.2}}
    space = {
        "booster": {"choices": ["gbtree", "dart"]},
        "rate_drop": {"low": 0.1, "high": 0.5, "when": {"booster": "dart"}},
    }
    rows = ran(search_in(problem, search_params({"xgb": source}, trials=10, space=space)), tmp_path)
    assert {row["state"] for row in rows} <= {"complete", "pruned"}, "XGBoost refuses it otherwise"
    assert {row["params"]["booster"] for row in rows} == {"gbtree", "dart"}
    layer = override({"booster": "gbtree"}, ["booster", "rate_drop"])
    given = {"params": {"booster": "dart", "rate_drop": 0.2}, "class_weight": "none"}
    assert settings_for(given, {}, "full", {}, layer).params == {"booster": "gbtree"}


def test_a_finished_search_is_not_ended(problem: Problem, tmp_path: Path) -> None:
    """STOP, or no time, ends a search before a trial, not after the last."""
    search = search_in(problem, search_params({"xgb": XGB}, trials=3, space=DEPTHS))
    ran(search, tmp_path)
    (tmp_path / STOP).touch()
    assert len(ran(search, tmp_path, time_limit=1e-9)) == 3


def test_trials_that_are_gone_are_told(problem: Problem, tmp_path: Path) -> None:
    search = search_in(problem, search_params({"xgb": XGB}, trials=3, space=DEPTHS))
    with pytest.raises(Unfinished, match=r"0 of 3 .*delete workers/ and finished\.json"):
        rows_of(search, tmp_path)


def test_what_tells_studies_apart(problem: Problem) -> None:
    def keys(sources: dict[str, Any], code: str = "code", **config: Any) -> str:
        params = search_params(sources, **{"space": DEPTHS, **config})
        for one in params["sources"].values():
            one["code"] = code
        return search_in(problem, params).plans()[0].key

    first = keys({"xgb": XGB})
    assert first == keys({"xgb": XGB}, trials=7, sampler="random", pruner="none", retries=0)
    others = [
        keys({"xgb": {**XGB, "rounds": 6}}),
        keys({"xgb": XGB}, space={"max_depth": {"low": 1, "high": 6}}),
        keys({"xgb": XGB}, folds=(0, 2)),
        keys({"xgb": XGB}, metric="log_loss"),
        keys({"xgb": XGB}, code="another function"),
        keys({"other": XGB}),
    ]
    assert len({first, *others}) == 7


def test_grid_points_lie_in_the_space() -> None:
    space = Space.of({"x": {"low": 0.1, "high": 0.3, "step": 0.1}})
    points = grid_points(space)
    assert [point["x"] for point in points] == [0.1, 0.2, 0.3]
    assert all(space.enqueued(point) is not None for point in points)


def test_the_probe_finds_what_does_nothing_and_that_alone(problem: Problem) -> None:
    space = {
        **DEPTHS,
        "rounds": {"low": 30, "high": 90},
        "booster": {"choices": ["gbtree", "dart"]},
        "rate_drop": {"low": 0.2, "high": 0.9, "when": {"booster": "dart"}},
        "max_cached_hist_node": {"low": 1000, "high": 5000},  # it matters with a GPU alone
    }
    search = search_in(problem, search_params({"xgb": XGB}, trials=30, space=space))
    assert [f.where for f in probe_effects(search)] == ["space.max_cached_hist_node"]
    wrong = {**DEPTHS, "rounds": {"low": 10.5, "high": 90.0}}
    found = check_search(search_in(problem, search_params({"xgb": XGB}, space=wrong)))
    assert [f.where for f in found if f.level == "error"] == ["space.rounds"]


def test_champions_keep_the_rounds_that_they_are_given() -> None:
    config = {
        "problem": "p",
        "data": {"adapter": "yeast"},
        "sources": {"xgb": {**XGB, "overrides": {"targets": {"Class1": {"rounds": 9}}}}},
        "searches": {
            "s": {
                "source": "xgb",
                "champions": {"n": 1, "rounds": 77},
                "space": {"rounds": {"low": 5, "high": 50}},
            }
        },
    }
    champion = load_problem(config).sources["s_top1"]
    assert champion.rounds == 77 and champion.params_from is not None
    assert champion.params_from.own_rounds
    assert champion.overrides.targets["Class1"].rounds is None


def test_best_trials_tell_which_is_the_source() -> None:
    row = {"study": "t", "source": "a", "state": "complete", "fold_values": [0.5, 0.6]}
    trials = [
        {**row, "number": 0, "value": 0.55, "params": {}, "baseline": True},
        {**row, "number": 1, "value": 0.5, "params": {"x": 1}, "baseline": False},
    ]
    assert [(r["rank"], r["baseline"]) for r in best_trials(trials, "auc")] == [
        (1, True),
        (2, False),
    ]
