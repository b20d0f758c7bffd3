"""How a search runs: numbers of trials, what is resumed, retried, refused and ended early."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import sqlalchemy
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

import postgres
from blendmake import window
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES
from blendmake.searches import storage, table
from blendmake.searches.search import Search
from blendmake.searches.space import Space
from blendmake.searches.storage import DatabasePlace, JournalPlace, opened
from blendmake.searches.studies import Study
from blendmake.searches.table import COUNTED, Trial
from blendmake.searches.trials import TrialFits, Watch
from blendmake.searches.worker_job import PARTIAL, work
from blendmake.searches.working import STOP, Unfinished, Worker
from blendmake.user_code import user_digest
from blendmake.window import DEADLINE, STARTED
from problems import Problem, run_fold, synthetic
from search_worker import (
    before_trials,
    ran,
    rows_of,
    search_in,
    search_params,
    start_worker,
)

OWN = {"learning_rate": 0.1, "max_depth": 3, "subsample": 0.8}
"""The present params of a source, which lie in search_worker.SPACE."""
XGB = {"xgb": {"family": "xgboost", "rounds": 20, "params": OWN}}
FAST = {"xgb": {"family": "xgboost", "rounds": 3, "params": OWN}}
DEEP = {"max_depth": {"low": 1, "high": 5}, "subsample": {"low": 0.5, "high": 1.0}}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240, test_rows=20)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    yield from postgres.server_or_skip()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (storage.URL, DEADLINE, STARTED):
        monkeypatch.delenv(name, raising=False)


def states(rows: Sequence[Trial]) -> Counter[str]:
    return Counter(row["state"] for row in rows)


def done(rows: Sequence[Trial]) -> list[Trial]:
    return [row for row in rows if row["state"] in COUNTED]


def told(rows: Sequence[Trial]) -> list[tuple[Any, ...]]:
    """What was fitted and what came of it, whoever did it and when."""
    keys = ("state", "value", "fold_values", "params", "baseline", "intermediate")
    return [tuple(row[key] for key in keys) for row in rows]


def unended(search: Search, folder: Path) -> Counter[str]:
    """Trials that the storage holds as running or waiting."""
    with opened(folder / "scratch", f"{search.problem}/{search.name}") as place:
        found: Counter[str] = sum(
            (Study(place, plan).counts() for plan in search.plans()), Counter()
        )
    return Counter({state: found[state] for state in ("running", "waiting") if found[state]})


def stop_before(folder: Path, trial: int) -> Callable[[int], None]:
    """For before_trials: ask the search to end while it is at this trial."""
    return lambda begun: (folder / STOP).touch() if begun == trial else None


def unfinished(search: Search, folder: Path, **options: Any) -> str:
    with pytest.raises(Unfinished) as caught:
        Worker(search, folder / "scratch", folder, **options).run()
    return str(caught.value)


# Numbers of trials, and going on


def test_there_are_as_many_trials_as_asked_for(problem: Problem, tmp_path: Path) -> None:
    search = search_in(problem, search_params(XGB, trials=12, targets=["full", "other"]))
    rows = ran(search, tmp_path)
    for target in ("full", "other"):
        own = [row for row in rows if row["study"] == target]
        assert len(done(own)) == len(own) == 12
        assert [row["number"] for row in own] == list(range(12))
        assert [row["baseline"] for row in own] == [True] + [False] * 11
        assert own[0]["params"] == OWN and own[0]["in_space"] and own[0]["state"] == "complete"
        for row in own:
            if row["state"] == "complete":
                assert row["value"] == pytest.approx(np.mean(row["fold_values"]), abs=1e-12)
            assert row["source"] == "xgb" and row["retries"] == 0 and row["retry_of"] is None
            assert row["seconds"] > 0 and row["worker"].split("-")[-2] == str(os.getpid())
    assert not unended(search, tmp_path)
    table.write_trials(tmp_path / "trials.parquet", rows, {})
    assert table.read_trials(tmp_path / "trials.parquet")[0] == rows


def test_the_baseline_is_never_pruned(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    always = optuna.pruners.ThresholdPruner(lower=2.0)
    monkeypatch.setattr("blendmake.searches.search.make_pruner", lambda *_: always)
    rows = ran(search_in(problem, search_params(XGB, trials=5)), tmp_path)
    assert [row["state"] for row in rows] == ["complete"] + ["pruned"] * 4
    assert all(row["reason"] == "by the pruner" for row in rows[1:])
    assert all(len(row["intermediate"]) == 1 for row in rows[1:])


def test_more_trials_go_on_from_those_there_are(problem: Problem, tmp_path: Path) -> None:
    first = ran(search_in(problem, search_params(XGB, trials=6)), tmp_path)
    more = ran(search_in(problem, search_params(XGB, trials=12)), tmp_path)
    assert more[:6] == first and len(done(more)) == len(more) == 12
    again = ran(search_in(problem, search_params(XGB, trials=12)), tmp_path)
    assert again == more
    # Other folds, targets or ranges are another study.
    other = search_in(problem, search_params(XGB, trials=2, folds=(0, 2)))
    assert len(ran(other, tmp_path)) == 2


@pytest.mark.parametrize("pruner", ["none", "median"])
def test_one_worker_repeats_itself_however_it_is_interrupted(
    problem: Problem, tmp_path: Path, pruner: str
) -> None:
    search = search_in(problem, search_params(XGB, trials=14, pruner=pruner))
    whole = ran(search, tmp_path / "whole")
    assert told(whole) == told(ran(search, tmp_path / "again"))

    stopped = tmp_path / "stopped"
    for trial in (3, 5):
        with before_trials(stop_before(stopped, trial)):
            unfinished(search, stopped)
        (stopped / STOP).unlink()
    assert len(rows_of(search, stopped, finished=False)) == 3 + 1 + 5 + 1
    assert told(ran(search, stopped)) == told(whole)

    def die(begun: int) -> None:
        if begun == 8:
            raise KeyboardInterrupt

    killed = tmp_path / "killed"
    with before_trials(die), pytest.raises(KeyboardInterrupt):
        ran(search, killed)
    rows = ran(search, killed)
    assert states(rows)["lost"] == 1 and told(done(rows)) == told(whole)

    other = search_in(problem, search_params(XGB, trials=14, pruner=pruner, seed=2))
    assert [row["params"] for row in ran(other, tmp_path / "other")][1:] != [
        row["params"] for row in whole
    ][1:]


def test_two_workers_share_the_trials(problem: Problem, tmp_path: Path) -> None:
    """The second comes while the first is at its last trial but one, and the first waits for it."""
    search = search_in(problem, search_params(XGB, trials=6))
    with opened(tmp_path / "scratch", "problem/search") as place, place.live("other"):
        study = Study(place, search.plans()[0])
        claimed = study.claim("other", {})
        assert not isinstance(claimed, str)

        def tell_at_last(_: float) -> None:
            assert len(done(study.rows())) == 5, "the first has something to do"
            study.tell(claimed, [0.5, 0.5], 0.5)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("blendmake.searches.working.time.sleep", tell_at_last)
            rows = ran(search, tmp_path)
    assert len(rows) == len(done(rows)) == 6 and not unended(search, tmp_path)


@pytest.mark.parametrize("kind", ["journal", "postgres"])
def test_claims_at_once_are_exact(
    problem: Problem,
    tmp_path: Path,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if kind == "postgres":
        server = request.getfixturevalue("server")
        monkeypatch.setenv(storage.URL, server.make_database("claims"))
    (plan,) = search_in(problem, search_params(XGB, trials=25, pruner="none")).plans()

    def claim_all(worker: str) -> list[int]:
        taken = []
        with opened(tmp_path, "problem/search") as place, place.live(worker):
            study = Study(place, plan)
            while (claimed := study.claim(worker, {})) != "done":
                if not isinstance(claimed, str):
                    taken.append(claimed.trial.number)
                    study.tell(claimed, [0.5], 0.5)
        return taken

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(claim_all, "abcd"))
    assert sorted(number for own in taken for number in own) == list(range(25))
    with opened(tmp_path, "problem/search") as place:
        rows = Study(place, plan).rows()
    assert states(rows) == {"complete": 25} and [row["baseline"] for row in rows].count(True) == 1
    assert len({json.dumps(row["params"]) for row in rows}) == 25


# Trials that fail, and workers that die


def test_failed_trials_are_states_with_their_tracebacks(problem: Problem, tmp_path: Path) -> None:
    space = {"max_depth": {"choices": [-3, *range(1, 20)]}}
    params = search_params(FAST, trials=20, sampler="grid", pruner="none", space=space)
    rows = ran(search_in(problem, params), tmp_path)
    assert states(rows) == {"complete": 20, "failed": 1}
    failed = next(row for row in rows if row["state"] == "failed")
    assert failed["params"] == {"max_depth": -3} and failed["value"] is None
    assert "max_depth" in failed["reason"] and "Traceback" in failed["traceback"]
    assert failed["reason"] in failed["traceback"]


def test_many_failed_trials_end_the_search_with_the_commonest_reason(
    problem: Problem, tmp_path: Path
) -> None:
    space = {
        "subsample": {"choices": [-1, 0.5, 1.0]},
        "tree_method": {"choices": ["nonsense", "hist", "approx"]},
        "max_depth": {"low": 1, "high": 5},
    }
    # The grid begins with 15 points that xgboost refuses, of which 5 for another reason.
    params = search_params(FAST, trials=40, sampler="grid", pruner="none", space=space)
    search = search_in(problem, params)
    with pytest.raises(BlendmakeError, match="more than 5% of the 40 asked for") as caught:
        ran(search, tmp_path)
    rows = rows_of(search, tmp_path, finished=False)
    assert states(rows)["failed"] == 3, "two are 5%"
    count, reason = Counter(row["reason"] for row in rows if row["reason"]).most_common(1)[0][::-1]
    assert (
        f"3 trials have failed, more than 5% of the 40 asked for. {count} times: {reason}"
        in str(caught.value)
    )
    # It does not go on with it, but a longer one would.
    with pytest.raises(BlendmakeError, match="3 trials have failed"):
        ran(search, tmp_path)
    assert len(rows_of(search, tmp_path, finished=False)) == len(rows)


def test_the_trial_of_a_killed_worker_is_tried_again_so_often(
    problem: Problem, tmp_path: Path
) -> None:
    params = search_params(XGB, trials=20, retries=1)
    search = search_in(problem, params)

    def killed(trial: int) -> None:
        worker = start_worker(problem, params, tmp_path, 0, die_in=trial)
        assert worker.wait(300) == -9, (tmp_path / "worker0.log").read_text()

    killed(2)
    assert unended(search, tmp_path)["running"] == 1
    killed(0)
    first, again = rows_of(search, tmp_path, finished=False)[2], 3
    assert first["state"] == "lost" and first["reason"] == "its worker died"
    assert first["value"] is None and first["worker"]
    rows = ran(search, tmp_path)
    assert rows[2] == first and rows[again]["params"] == first["params"]
    assert rows[again]["retries"] == 1 and rows[again]["retry_of"] == 2
    assert rows[again]["state"] == "failed" and "its worker died" in rows[again]["reason"]
    assert "tried 2 times" in rows[again]["reason"]
    assert states(rows)["lost"] == 1 and len(done(rows)) == 20 and len(rows) == 22
    assert not unended(search, tmp_path)
    assert [row["retry_of"] for row in rows if row["retry_of"] is not None] == [2]
    assert not list((tmp_path / "scratch" / "workers").iterdir())


def test_a_lost_baseline_is_tried_again_as_one(problem: Problem, tmp_path: Path) -> None:
    outside = {"xgb": {**XGB["xgb"], "params": {**OWN, "max_depth": 7}}}
    search = search_in(problem, search_params(outside, trials=3))
    with opened(tmp_path / "scratch", "problem/search") as place:
        study = Study(place, search.plans()[0])
        with place.live("gone"):
            assert not isinstance(study.claim("gone", {}), str)
    rows = ran(search, tmp_path)
    assert [row["baseline"] for row in rows] == [True, True, False, False]
    assert [row["state"] for row in rows] == ["lost", *["complete"] * 3]
    for row in rows[:2]:
        assert row["params"] == outside["xgb"]["params"] and not row["in_space"]
    assert rows[1]["retry_of"] == 0


# What is searched


def test_a_grid_is_gone_through(problem: Problem, tmp_path: Path) -> None:
    space = {
        "max_depth": {"low": 1, "high": 3},
        "subsample": {"low": 0.5, "high": 1.0, "step": 0.25},
        "booster": {"choices": ["gbtree", "dart"]},
        "rate_drop": {"choices": [0.1, 0.3], "when": {"booster": "dart"}},
        "max_bin": 64,
    }
    points = [
        {"max_depth": depth, "subsample": share, **booster, "max_bin": 64}
        for depth, share, booster in product(
            (1, 2, 3),
            (0.5, 0.75, 1.0),
            (
                {"booster": "gbtree"},
                {"booster": "dart", "rate_drop": 0.1},
                {"booster": "dart", "rate_drop": 0.3},
            ),
        )
    ]
    params = search_params(FAST, trials=28, sampler="grid", pruner="median", space=space)
    rows = ran(search_in(problem, params), tmp_path)
    assert rows[0]["baseline"] and rows[0]["params"].items() <= OWN.items()
    found = [json.dumps(row["params"], sort_keys=True) for row in rows[1:]]
    assert sorted(found) == sorted(json.dumps(point, sort_keys=True) for point in points)
    # A search that was begun by another sampler may go on as one.
    folder = tmp_path / "other"
    ran(search_in(problem, search_params(FAST, trials=1, space=space)), folder)
    rows = ran(search_in(problem, params), folder)
    found = [json.dumps(row["params"], sort_keys=True) for row in rows[1:]]
    assert len(found) == len(set(found)) == 27


def test_first_draws_go_by_the_weights_of_choices(problem: Problem, tmp_path: Path) -> None:
    def shares(**weights: Any) -> Counter[str]:
        space = {"grow_policy": {"choices": ["depthwise", "lossguide"], **weights}}
        params = search_params(FAST, trials=24, sampler="random", space=space, folds=(0, 1))
        rows = ran(search_in(problem, params), tmp_path / str(bool(weights)))
        return Counter(row["params"]["grow_policy"] for row in rows if not row["baseline"])

    assert shares(weights=[1, 30])["lossguide"] >= 20
    assert shares()["lossguide"] <= 17


def test_params_exist_under_their_condition_alone(problem: Problem, tmp_path: Path) -> None:
    space = {
        "booster": {"choices": ["gbtree", "dart"]},
        "rate_drop": {"low": 0.05, "high": 0.3, "when": {"booster": "dart"}},
        "max_depth": {"low": 1, "high": 5, "when": {"booster": ["gbtree"]}},
        "skip_drop": {"value": 0.5, "when": {"booster": "dart"}},
    }
    params = search_params(FAST, trials=20, space=space)
    rows = ran(search_in(problem, params), tmp_path)[1:]
    for row in rows:
        dart = row["params"]["booster"] == "dart"
        wanted = {"booster", "rate_drop", "skip_drop"} if dart else {"booster", "max_depth"}
        assert set(row["params"]) == wanted and row["in_space"]
        assert not dart or row["params"]["skip_drop"] == 0.5
    assert len({row["params"]["booster"] for row in rows}) == 2


@pytest.mark.parametrize("pruner", ["median", "hyperband", "wilcoxon"])
def test_pruners_end_some_trials(problem: Problem, tmp_path: Path, pruner: str) -> None:
    space = {
        "max_depth": {"low": 1, "high": 5},
        "colsample_bytree": {"low": 0.1, "high": 1.0},
        "min_child_weight": {"low": 1, "high": 16},
    }
    params = search_params(
        XGB,
        trials=20,
        pruner=pruner,
        space=space,
        folds=(0, 1, 2),
        targets=["full", "other"],
        studies="one",
        sampler="random",
    )
    rows = ran(search_in(problem, params), tmp_path)
    found = states(rows)
    assert found["complete"] + found["pruned"] == len(rows) == 20
    assert found["pruned"] >= 2 and found["complete"] >= 2
    for row in rows:
        assert (row["reason"] == "by the pruner") == (row["state"] == "pruned")
        if row["state"] == "pruned":
            assert row["value"] == row["intermediate"][-1]["value"]
            assert len(row["fold_values"]) < 3
    every = max(len(row["intermediate"]) for row in rows)
    pruned = [len(row["intermediate"]) for row in rows if row["state"] == "pruned"]
    assert min(pruned) < every, "some work was saved"
    if pruner == "wilcoxon":
        assert every == 6, "one value per fit"


def test_cma_es_searches(problem: Problem, tmp_path: Path) -> None:
    search = search_in(problem, search_params(XGB, trials=14, sampler="cmaes", pruner="none"))
    rows = ran(search, tmp_path)
    assert states(rows) == {"complete": 14} and all(row["in_space"] for row in rows)
    with opened(tmp_path / "scratch", "problem/search") as place:
        trials = Study(place, search.plans()[0]).study.get_trials()
    modelled = [any("cma" in key for key in trial.system_attrs) for trial in trials]
    assert sum(modelled) >= 10, "the first ones are drawn at random"


SKLEARN = {
    "auc": roc_auc_score,
    "average_precision": average_precision_score,
    "log_loss": lambda truth, predicted: log_loss(truth, predicted.astype(np.float64)),
}


def scored(problem: Problem, folder: Path, metric: str, target: str, **source: Any) -> list[float]:
    """The metric of a source that is fitted as any other, fold by fold."""
    values = []
    truth = problem.column(target)
    for fold in range(3):
        out = run_fold(problem, "xgboost", folder / f"{target}{fold}", fold=fold, **source)
        rows = problem.rows(fold).valid
        known = ~np.isnan(truth[rows])
        values.append(SKLEARN[metric](truth[rows][known], out.held_out(target)[known]))
    return values


@pytest.mark.parametrize("metric", list(SKLEARN))
def test_a_trial_has_the_value_that_the_source_has(
    problem: Problem, tmp_path: Path, metric: str
) -> None:
    source = {"rounds": 20, "params": OWN}
    params = search_params(
        {"source": {"family": "xgboost", **source}},
        trials=1,
        folds=(0, 1, 2),
        targets=["full", "gaps"],
        metric=metric,
    )
    rows = ran(search_in(problem, params), tmp_path / "each")
    for row in rows:
        wanted = scored(problem, tmp_path / "fits", metric, row["study"], **source)
        assert row["fold_values"] == pytest.approx(wanted, abs=1e-6)
    together = {**params, "search": {**params["search"], "studies": "one"}}
    one = ran(search_in(problem, together), tmp_path / "one")
    assert [row["study"] for row in one] == ["all"]
    means = np.mean([row["fold_values"] for row in rows], axis=0)
    assert one[0]["fold_values"] == pytest.approx(means.tolist(), abs=1e-12)
    assert one[0]["value"] == pytest.approx(np.mean([row["value"] for row in rows]), abs=1e-12)


@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_a_search_goes_the_right_way(problem: Problem, tmp_path: Path, metric: str) -> None:
    """What is drawn after the first trials is better than what was drawn before."""
    space = {"learning_rate": {"low": 1e-4, "high": 0.3, "log": True}, "max_depth": 2}
    search = search_in(problem, search_params(XGB, trials=30, metric=metric, space=space))
    rows = [row for row in ran(search, tmp_path) if not row["baseline"]]
    rates = [np.log(row["params"]["learning_rate"]) for row in rows]
    if metric == "log_loss":  # 20 rounds of a small rate learn nothing
        assert np.mean(rates[-10:]) > np.mean(rates[:6]) + 0.5
    best = table.ranked(rows, metric)[0]["value"]
    values = [row["value"] for row in rows if row["state"] == "complete"]
    assert best == (max(values) if metric == "auc" else min(values))


def test_a_family_of_one_model_for_all_targets(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "joint_family", "joint_family")
    params = search_params(
        {"linear": {"family": "joint_family", "rounds": 10}},
        trials=5,
        targets=["full", "other", "gaps"],
        space={
            "learning_rate": {"low": 0.01, "high": 2.0, "log": True},
            "l2": {"low": 0.0, "high": 0.1},
        },
    )
    rows = ran(search_in(problem, params), tmp_path)
    assert [row["study"] for row in rows] == ["all"] * 5 and states(rows)["complete"] >= 1
    assert rows[0]["params"] == {"learning_rate": 1.0, "l2": 1e-3} and rows[0]["baseline"]
    assert len({row["value"] for row in rows}) == 5


def test_which_source_is_a_param_of_a_search_over_several(problem: Problem, tmp_path: Path) -> None:
    sources = {**FAST, "lgb": {"family": "lightgbm", "rounds": 3, "params": {"num_leaves": 7}}}
    space = {
        "learning_rate": {"low": 0.02, "high": 0.5, "log": True},
        "max_depth": {"low": 1, "high": 5, "when": {"source": "xgb"}},
        "num_leaves": {"low": 4, "high": 16, "when": {"source": "lgb"}},
    }
    params = search_params(sources, trials=12, space=space)
    rows = ran(search_in(problem, params), tmp_path)
    assert len(done(rows)) == 12
    assert [row["baseline"] for row in rows] == [True, True] + [False] * 10
    assert [row["source"] for row in rows[:2]] == ["xgb", "lgb"]
    assert {row["source"] for row in rows[2:]} == {"xgb", "lgb"}
    for row in rows:
        own = {"xgb": "max_depth", "lgb": "num_leaves"}[row["source"]]
        assert set(row["params"]) == {"source", "learning_rate", own}
        assert row["params"]["source"] == row["source"]


def test_a_function_of_ones_own_is_searched(problem: Problem, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        textwrap.dedent(
            """
            import numpy as np

            def fit_fold(fold):
                def predicted(rows):
                    x = np.nan_to_num(rows["n0"].to_numpy(np.float64)) * fold.params["sign"]
                    p = 1 / (1 + np.exp(-x * fold.rounds))
                    return np.repeat(p[:, None], len(fold.targets), axis=1)
                return predicted(fold.valid), predicted(fold.test)
            """
        )
    )
    source = {"family": "custom", "file": str(file), "rounds": 2, "params": {"sign": 1}}
    params = search_params(
        {"mine": source}, trials=2, sampler="grid", space={"sign": {"choices": [1, -1]}}
    )
    params["sources"]["mine"]["code"] = user_digest(file)
    rows = ran(search_in(problem, params), tmp_path)
    assert [row["params"] for row in rows] == [{"sign": 1}, {"sign": -1}]
    assert rows[0]["value"] > 0.6 and rows[0]["value"] + rows[1]["value"] == pytest.approx(1.0)


# The places of studies


@pytest.mark.parametrize("cut", [False, True])
def test_a_torn_line_of_the_journal_is_mended(problem: Problem, tmp_path: Path, cut: bool) -> None:
    """Begun at the end; or the line cut that told the last trial, which is then tried again."""
    params = search_params(XGB, trials=4, pruner="none")
    first = ran(search_in(problem, params), tmp_path)
    journal = tmp_path / "scratch" / "journal.log"
    whole = journal.read_bytes()
    if cut:
        whole = whole[: whole.rindex(b'{"op_code":6,')]  # SET_TRIAL_STATE_VALUES
    journal.write_bytes(whole + b'{"op_code":6,"worker_id":"a-')
    more = search_params(XGB, trials=8, pruner="none")
    rows = ran(search_in(problem, more), tmp_path)
    assert states(rows) == {"complete": 8, **({"lost": 1} if cut else {})}
    assert told(done(rows))[:4] == told(first)
    now = journal.read_bytes()
    assert now.startswith(whole) and all(json.loads(line) for line in now.splitlines())


def test_a_study_in_a_journal_is_not_begun_in_a_database(
    problem: Problem, tmp_path: Path, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_in(problem, search_params(XGB, trials=2))
    first = ran(search, tmp_path)
    url = server.make_database("journal_first")
    monkeypatch.setenv(storage.URL, url)
    with pytest.raises(BlendmakeError, match=f"stand in a journal file. Unset {storage.URL}"):
        ran(search, tmp_path)
    with server.session("journal_first") as session:
        tables = session.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchone() == (0,)
    monkeypatch.delenv(storage.URL)
    assert ran(search, tmp_path) == first


def test_a_study_in_a_database_is_not_begun_elsewhere(
    problem: Problem, tmp_path: Path, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_in(problem, search_params(XGB, trials=3))
    monkeypatch.setenv(storage.URL, server.make_database("one"))
    first = ran(search, tmp_path)
    assert told(first) == told(ran(search, tmp_path)) and len(first) == 3
    monkeypatch.delenv(storage.URL)
    with pytest.raises(BlendmakeError, match=f"stand in a database. Set {storage.URL}"):
        ran(search, tmp_path)
    assert not (tmp_path / "scratch" / "journal.log").exists()
    monkeypatch.setenv(storage.URL, server.make_database("two"))
    with pytest.raises(BlendmakeError, match=f"in another database than that of {storage.URL}"):
        ran(search, tmp_path)
    # Storage is no matter of what is found: a journal has the same trials.
    monkeypatch.delenv(storage.URL)
    assert told(ran(search, tmp_path / "journal")) == told(first)


def test_a_worker_elsewhere_joins_by_the_database(
    problem: Problem, tmp_path: Path, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_in(problem, search_params(XGB, trials=4))
    monkeypatch.setenv(storage.URL, server.make_database("shared"))
    with before_trials(stop_before(tmp_path / "here", 1)):
        (tmp_path / "here").mkdir()
        unfinished(search, tmp_path / "here")
    assert len(rows_of(search, tmp_path / "there", finished=False)) == 2
    rows = ran(search, tmp_path / "there")
    assert len(rows) == 4 and rows == rows_of(search, tmp_path / "here")


def test_sessions_that_end_in_the_middle_of_a_claim(
    problem: Problem, tmp_path: Path, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock goes with its session: the claim is begun anew, and what it had begun is given up."""
    search = search_in(problem, search_params(XGB, trials=5, pruner="none"))
    monkeypatch.setenv(storage.URL, server.make_database("ended"))
    suggest, calls, ended = Space.suggest, 0, 0

    def suggesting(space: Space, trial: optuna.Trial) -> dict[str, Any]:
        nonlocal calls, ended
        values = suggest(space, trial)
        calls += 1
        if calls == 3:
            ended += server.end_sessions("ended")
        return values

    monkeypatch.setattr(Space, "suggest", suggesting)
    rows = ran(search, tmp_path)
    assert ended >= 3, "the lock's, the sign of life's, and Optuna's"
    assert states(rows) == {"complete": 5, "lost": 1} and not unended(search, tmp_path)
    lost = next(row for row in rows if row["state"] == "lost")
    assert lost["number"] == 2 and lost["reason"] == "the storage went away"
    monkeypatch.delenv(storage.URL)
    whole = ran(search, tmp_path / "whole")
    assert told(done(rows)) == told(whole)


def test_sessions_that_end_again_and_again(
    problem: Problem, tmp_path: Path, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is being asked for when they end, there are the same trials as without."""
    search = search_in(problem, search_params(XGB, trials=8, retries=20))
    asked = 0

    def end_some(*_: Any) -> None:
        nonlocal asked
        asked += 1
        if asked % 151 == 0:
            assert server.end_sessions("often")

    monkeypatch.setenv(storage.URL, server.make_database("often"))
    monkeypatch.setattr(storage.DatabasePlace, "grace", 0.3)
    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", end_some)
    try:
        rows = ran(search, tmp_path)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", end_some)
    assert asked >= 3 * 151
    assert not unended(search, tmp_path)
    monkeypatch.delenv(storage.URL)
    assert told(done(rows)) == told(ran(search, tmp_path / "whole"))


def test_a_worker_whose_sessions_end_takes_up_its_sign_of_life(
    tmp_path: Path, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(storage.URL, server.make_database("signs"))
    monkeypatch.setattr(storage.DatabasePlace, "grace", 0.3)
    with opened(tmp_path, "a") as one, opened(tmp_path, "a") as other:
        with one.live("worker"):
            assert other.is_alive("worker") and not other.is_alive("nobody")
            server.end_sessions("signs")
            until = time.monotonic() + 60
            while not other.is_alive("worker"):
                assert time.monotonic() < until
                time.sleep(0.05)
        assert not other.is_alive("worker")


def test_a_database_that_stays_away_is_no_failed_trial(
    problem: Problem, tmp_path: Path, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has given it up leaves its trial to the next run, were it back meanwhile."""
    search = search_in(problem, search_params(XGB, trials=6))
    monkeypatch.setenv(storage.URL, server.make_database("away"))
    monkeypatch.setattr(storage.DatabasePlace, "grace", 0.3)
    fail = Study.fail

    def failing(*given: Any) -> None:
        server.start()
        fail(*given)

    def go_away(begun: int) -> None:
        if begun == 2:
            server.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage, "OUTAGE", 0.5)
        patch.setattr(Study, "fail", failing)
        with (
            before_trials(go_away),
            pytest.raises(BlendmakeError, match="cannot be used") as caught,
        ):
            ran(search, tmp_path)
    assert storage.URL in str(caught.value) and str(server.port) not in str(caught.value)
    rows = ran(search, tmp_path)
    assert states(rows)["failed"] == 0 and states(rows)["lost"] == 1 and len(done(rows)) == 6


@pytest.mark.parametrize(
    ("password", "refused"),
    [
        ("se%zzcret", "must be the URL of a PostgreSQL database"),
        ("a secret", "must be the URL of a PostgreSQL database"),
        ("wrong-secret", "the server refuses the user or the password"),
        ("", "the server asks for a password"),
    ],
)
def test_what_is_said_of_a_wrong_url_does_not_quote_it(
    tmp_path: Path,
    server: postgres.Postgres,
    monkeypatch: pytest.MonkeyPatch,
    password: str,
    refused: str,
) -> None:
    monkeypatch.setenv(storage.URL, server.url(password=password))
    with pytest.raises(BlendmakeError) as caught, opened(tmp_path, "a"):
        pass
    assert refused in str(caught.value) and caught.value.__suppress_context__
    assert "secret" not in str(caught.value) and str(server.port) not in str(caught.value)
    assert not (tmp_path / storage.PLACE).exists()


def test_a_user_who_may_not_make_tables_is_told_so(
    tmp_path: Path, server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.session() as session:
        session.execute("CREATE ROLE guest LOGIN PASSWORD 'secret'")
        session.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    monkeypatch.setenv(storage.URL, server.url(password="secret", user="guest"))
    with pytest.raises(BlendmakeError, match="may not make or write its tables") as caught:
        DatabasePlace(os.environ[storage.URL], "a")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv(storage.URL, server.url("nowhere"))
    with (
        pytest.raises(BlendmakeError, match="there is no such database or user"),
        opened(tmp_path, "a"),
    ):
        pass


@pytest.mark.parametrize("url", ["sqlite:///x.db", "postgresql://a:secret@h:port/x", "mysql://x"])
def test_other_urls_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(storage.URL, url)
    with pytest.raises(BlendmakeError) as caught, opened(tmp_path, "a"):
        pass
    assert "must be the URL of a PostgreSQL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_worker_is_alive_as_long_as_it_works(tmp_path: Path) -> None:
    one, other = JournalPlace(tmp_path), JournalPlace(tmp_path)
    assert not other.is_alive("a")
    with one.live("a"):
        assert other.is_alive("a") and not other.is_alive("b")
    assert not other.is_alive("a")


# Ends before the end


def test_a_stop_file_ends_it_with_an_analysis_of_what_there_is(
    problem: Problem, tmp_path: Path
) -> None:
    search = search_in(problem, search_params(XGB, trials=15))
    given: dict[str, Any] = {
        "scratch": tmp_path / "scratch",
        "folder": tmp_path,
        "number": 0,
        "time_limit": None,
        "criteria": None,
        "note": {},
    }
    with (
        before_trials(stop_before(tmp_path, 6)),
        pytest.raises(Unfinished, match=r"full 7 of 15.*rm .*STOP"),
    ):
        work(search, **given)
    rows, note = table.read_trials(tmp_path / PARTIAL / "trials.parquet")
    assert len(rows) == len(done(rows)) == 7 and not unended(search, tmp_path)
    assert note["search"] == "search" and note["search_folds"] == [0, 1]
    assert "7" in (tmp_path / PARTIAL / "summary.md").read_text()
    with pytest.raises(Unfinished, match="has 7 of 15 trials"):
        rows_of(search, tmp_path)
    with pytest.raises(Unfinished):
        work(search, **given)
    assert len(rows_of(search, tmp_path, finished=False)) == 7
    (tmp_path / STOP).unlink()
    assert work(search, **given) == {"full": 15}


def test_a_time_limit_ends_it(problem: Problem, tmp_path: Path) -> None:
    search = search_in(problem, search_params(XGB, trials=1000))
    assert "its time_limit is over" in unfinished(search, tmp_path, time_limit=1e-9)
    assert not rows_of(search, tmp_path, finished=False)
    with before_trials(lambda _: time.sleep(0.1)):  # 1000 of them take longer on any machine
        unfinished(search, tmp_path, time_limit=2.0)
    rows = rows_of(search, tmp_path, finished=False)
    assert len(done(rows)) == len(rows) < 1000 and not unended(search, tmp_path)["running"]


def test_a_time_limit_counts_from_the_first_attempt_in_a_run(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_in(problem, search_params(FAST, trials=20))
    hour = {"time_limit": 3600.0}

    def trials_of_attempt(**options: Any) -> int:
        """How many it fits, asked to end at its second."""
        before = len(rows_of(search, tmp_path, finished=False))
        with before_trials(stop_before(tmp_path, 1)):
            unfinished(search, tmp_path, **options)
        (tmp_path / STOP).unlink(missing_ok=True)
        return len(rows_of(search, tmp_path, finished=False)) - before

    now = time.time
    monkeypatch.setenv(STARTED, "1700000000.5")
    unfinished(search, tmp_path, time_limit=1e-9)
    assert trials_of_attempt(**hour) == 2
    monkeypatch.setattr("blendmake.searches.working.time.time", lambda: now() + 3600)
    assert trials_of_attempt(**hour) == 0
    assert "its time_limit is over" in unfinished(search, tmp_path, **hour)
    # Another worker's time is its own, and so is that of the next run; without a limit there is none.
    assert trials_of_attempt(**hour, number=1) == 2
    assert trials_of_attempt() == 2
    monkeypatch.setenv(STARTED, "1700003600.5")
    assert trials_of_attempt(**hour) == 2


def test_no_trial_is_begun_that_would_not_end_in_time(problem: Problem, tmp_path: Path) -> None:
    search = search_in(problem, search_params(XGB, trials=10))
    worker = Worker(search, tmp_path / "scratch", tmp_path, time_limit=3600.0)
    worker._longest = 7200.0
    with pytest.raises(Unfinished, match="time_limit"):
        worker.run()
    assert not rows_of(search, tmp_path, finished=False)


def test_the_window_of_a_run_ends_it(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_in(problem, search_params(XGB, trials=6))

    def close(begun: int) -> None:
        if begun == 2:
            monkeypatch.setenv(DEADLINE, str(time.time()))

    with before_trials(close):
        assert "the window is over" in unfinished(search, tmp_path)
    rows = rows_of(search, tmp_path, finished=False)
    assert len(done(rows)) == len(rows) == 3
    monkeypatch.delenv(DEADLINE)
    assert len(ran(search, tmp_path)) == 6


@pytest.fixture
def sigterm(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Sends SIGTERM to this process, which heeds it."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(window, "_told_to_end", threading.Event())
    window.heed_sigterm()
    yield lambda: os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def test_a_worker_that_waits_for_others_heeds_sigterm(
    problem: Problem, tmp_path: Path, sigterm: Callable[[], None]
) -> None:
    search = search_in(problem, search_params(XGB, trials=1))
    with opened(tmp_path / "scratch", "problem/search") as place, place.live("other"):
        study = Study(place, search.plans()[0])
        assert not isinstance(study.claim("other", {}), str)
        looks = 0

        def tell(_: float) -> None:
            nonlocal looks
            looks += 1
            assert looks < 3, "it waits on"
            sigterm()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("blendmake.searches.working.time.sleep", tell)
            assert "it was told to end (SIGTERM)" in unfinished(search, tmp_path)
        assert looks == 1 and study.counts()["running"] == 1


def test_a_worker_that_waits_for_others_heeds_the_window(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = search_in(problem, search_params(XGB, trials=1))
    with opened(tmp_path / "scratch", "problem/search") as place, place.live("other"):
        assert not isinstance(Study(place, search.plans()[0]).claim("other", {}), str)
        monkeypatch.setenv(DEADLINE, str(time.time() + 0.7))
        assert "the window is over" in unfinished(search, tmp_path)


@pytest.mark.parametrize("within", [False, True], ids=["between fits", "within a fit"])
def test_sigterm_puts_the_trial_in_hand_back(
    problem: Problem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sigterm: Callable[[], None],
    within: bool,
) -> None:
    params = search_params(XGB, trials=5, retries=0, pruner="median" if within else "none")
    search = search_in(problem, params)
    whole = ran(search, tmp_path / "whole")
    begun, fits, reports = 0, 0, 0
    fit, during = TrialFits._fit, Watch.during

    def begin(number: int) -> None:
        nonlocal begun
        begun = number

    def told_in_a_fit(*given: Any, **more: Any) -> list[float]:
        nonlocal fits
        fits += begun == 3
        if begun == 3 and not within:
            sigterm()
        return fit(*given, **more)

    def told_in_a_report(watch: Watch, rounds: int, value: float) -> None:
        nonlocal reports
        reports += begun == 3
        if begun == 3 and within:
            sigterm()
        during(watch, rounds, value)

    with before_trials(begin), pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrialFits, "_fit", told_in_a_fit)
        patch.setattr(Watch, "during", told_in_a_report)
        assert "it was told to end (SIGTERM)" in unfinished(search, tmp_path)
    assert fits == 1 and (not within or reports == 1)
    assert unended(search, tmp_path) == {"waiting": 1}
    rows = rows_of(search, tmp_path, finished=False)
    assert [row["state"] for row in rows[3:]] == ["lost"] and len(done(rows)) == 3
    assert rows[3]["reason"] == "it was told to end" and rows[3]["seconds"] > 0
    window._told_to_end.clear()
    rows = ran(search, tmp_path)
    assert told(done(rows)) == told(whole) and states(rows)["lost"] == 1 and len(rows) == 6
    (again,) = (row for row in rows if row["retry_of"] is not None)
    assert again["retry_of"] == 3 and again["retries"] == 0


def test_a_network_that_has_no_time_left_is_no_failed_trial(
    problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    from blendmake.neural.trainer import Trainer

    own = {"mlp": {"family": "mlp", "rounds": 3, "params": {"learning_rate": 0.01}}}
    space = {"learning_rate": {"low": 0.001, "high": 0.1, "log": True}}
    search = search_in(problem, search_params(own, trials=2, space=space, pruner="none"))
    epoch, begun = Trainer._epoch, 0

    def close(trainer: Trainer, number: int) -> None:
        nonlocal begun
        begun += 1
        epoch(trainer, number)
        if begun == 2:
            monkeypatch.setenv(DEADLINE, str(time.time()))

    monkeypatch.setattr(Trainer, "_epoch", close)
    assert "the window is over" in unfinished(search, tmp_path)
    assert begun == 2 and unended(search, tmp_path) == {"waiting": 1}
    monkeypatch.delenv(DEADLINE)
    rows = ran(search, tmp_path)
    assert [row["state"] for row in rows] == ["lost", "complete", "complete"]
    assert rows[0]["reason"] == "there was no time for it" and rows[1]["baseline"]


def test_a_trial_that_takes_too_long_is_pruned(problem: Problem, tmp_path: Path) -> None:
    params = search_params(XGB, trials=4, pruner="none", trial_limit="1s")
    params["search"]["trial_limit"] = 1e-6
    rows = ran(search_in(problem, params), tmp_path)
    assert [row["state"] for row in rows] == ["complete"] + ["pruned"] * 3
    assert {row["reason"] for row in rows[1:]} == {"it took longer than trial_limit"}
    longer = search_params(XGB, trials=6, pruner="none", trial_limit="1h")
    assert states(ran(search_in(problem, longer), tmp_path)) == {"complete": 3, "pruned": 3}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"kind": "cloud"}', '{"kind": 3}'])
def test_a_damaged_note_of_the_place_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "place.json").write_text(text)
    told = pytest.raises(BlendmakeError, match=r"place\.json, .* is damaged.*rm .*place\.json")
    with told, opened(tmp_path, "problem/search"):
        pass


@pytest.mark.parametrize(
    "damage", [b"x", b"[]\n", b'{"op_code"\n', b"\xff\xfe\n", b"null\n", b"\n"]
)
def test_a_damaged_line_of_the_journal_is_told_and_mended(tmp_path: Path, damage: bytes) -> None:
    def trials() -> int:
        with opened(tmp_path, "problem/search") as place:
            study = optuna.create_study(study_name="s", storage=place.storage, load_if_exists=True)
            study.tell(study.ask(), 1.0)
            return len(study.trials)

    assert [trials(), trials()] == [1, 2]
    file = tmp_path / "journal.log"
    lines = file.read_bytes().splitlines(keepends=True)
    place = max(n for n, line in enumerate(lines) if json.loads(line)["op_code"] == 4)
    kept = len(lines[: place - 1])
    lines[kept] = damage + (lines[kept] if damage == b"x" else b"")
    file.write_bytes(b"".join(lines))
    with pytest.raises(BlendmakeError, match=rf"journal\.log, line {kept + 1} is damaged") as told:
        trials()
    command = str(told.value).split("before it: ")[1].split("; then")[0]
    subprocess.run(command, shell=True, check=True)
    assert trials() == 2
