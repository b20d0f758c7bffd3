"""Searches by Snakemake for real: what they make, what a change in the config does to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.metrics import roc_auc_score

from blendmake.files import read_note
from blendmake.searches.table import COUNTED, read_trials, studies_of
from workflow.conftest import Workspace, make_workspace

SPACE = {
    "learning_rate": {"low": 0.02, "high": 0.5, "log": True},
    "max_depth": {"low": 1, "high": 4},
}
SEARCH: dict[str, Any] = {"source": "xgb", "targets": ["t0", "t2"], "trials": 7, "space": SPACE}
XGB: dict[str, Any] = {
    "family": "xgboost",
    "rounds": 15,
    "features": "chosen",
    "params": {"max_depth": 3, "learning_rate": 0.1},
}
TUNED = "searches/tune/best.parquet"


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A source, tuned for two of its four targets; its features are chosen with labels."""
    space = make_workspace(
        tmp_path_factory.mktemp("searches") / "work",
        folds={"n": 5},
        features={"chosen": {"select": {"top": 6, "cap": 8}}},
        sources={"xgb": XGB, "tuned": {**XGB, "params_from": "tune"}},
        searches={"tune": {**SEARCH, "workers": 2, "champions": {"n": 1, "rounds": 20}}},
        blends={"both": {"method": "mean", "sources": ["xgb", "tuned"]}},
        comparisons=[],
        submissions={},
    )
    space.snakemake()
    return space


def numbers_of(space: Workspace) -> dict[str, list[int]]:
    """By study, the numbers of its trials that count."""
    trials, _ = read_trials(space.path("searches", "tune", "trials.parquet"))
    return {
        study: [t["number"] for t in of_study if t["state"] in COUNTED]
        for study, of_study in studies_of(trials).items()
    }


def test_a_search_has_its_trials_and_its_files(space: Workspace) -> None:
    assert {study: len(numbers) for study, numbers in numbers_of(space).items()} == {
        "t0": 7,
        "t2": 7,
    }
    folder = space.path("searches", "tune")
    refined = yaml.safe_load((folder / "refined_space.yaml").read_text())
    assert refined
    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert set(best) >= {"t0", "t2"}
    for figure in ("history", "importances", "slices", "parallel", "timeline"):
        assert space.path("report", "searches", "tune", f"{figure}.svg").stat().st_size > 500
    # What is asked for again is there.
    assert space.snakemake().nothing


def test_trials_see_the_search_folds_alone(space: Workspace) -> None:
    """The features that trials are fitted on are those chosen within their folds."""
    folder = space.path("features", "chosen")
    within = pq.read_table(folder / "within0_1_2" / "fold0" / "selection.parquet")
    whole = pq.read_table(folder / "fold0" / "selection.parquet")
    assert within["score"] != whole["score"]


def test_a_tuned_source_has_the_best_params_and_an_honest_score(space: Workspace) -> None:
    best = {
        row["study"]: row
        for row in pq.read_table(space.path(TUNED)).to_pylist()
        if row["rank"] == 1
    }
    note = read_note(space.path("sources", "tuned", "fold3", "oof.parquet"))
    assert note["params_from"]["targets"] == ["t0", "t2"]
    assert json.loads(best["t0"]["params"])
    # Targets that were not searched are predicted as by the source as it was.
    before = pq.read_table(space.path("sources", "xgb", "oof.parquet"))
    after = pq.read_table(space.path("sources", "tuned", "oof.parquet"))
    labels = pq.read_table(space.path("tables", "targets.parquet"))
    fold = pq.read_table(space.path("folds.parquet"))["fold"].to_numpy()
    scores = pq.read_table(space.path("sources", "tuned", "scores.parquet")).to_pylist()
    honest = np.isin(fold, [3, 4])
    values = {s["target"]: s for s in scores if s["metric"] == "auc"}
    for target in ("t0", "t1", "t2", "t3"):
        assert values[target]["folds"] == "3 4"
        truth, predicted = labels[target].to_numpy(), after[target].to_numpy()
        # Pooled, within the folds that the trials have not seen.
        expected = roc_auc_score(truth[honest], predicted[honest])
        assert values[target]["value"] == pytest.approx(expected, abs=1e-9)
    same = [before[t].equals(after[t]) for t in ("t1", "t3")]
    own = json.loads(best["t0"]["params"]) == {"learning_rate": 0.1, "max_depth": 3}
    assert before["t0"].equals(after["t0"]) == own
    # Seeds go by the source's name, so that even these differ where rows are drawn; here none are.
    assert same == [True, True]
    compared = space.path("comparisons", "tuned__vs__xgb.parquet")
    assert set(pq.read_table(compared)["folds"].to_pylist()) == {"3 4"}
    blend = read_note(space.path("blends", "both", "oof.parquet"))
    assert blend["honest_folds"] == [3, 4]


def test_a_champion_is_a_source(space: Workspace) -> None:
    fits = pq.read_table(space.path("sources", "tune_top1", "fits.parquet")).to_pylist()
    assert {row["target"] for row in fits} == {"t0", "t2"}
    assert {row["rounds"] for row in fits} == {20}


def test_workers_and_limits_are_no_matter_of_the_result(space: Workspace) -> None:
    changed = {**SEARCH, "champions": {"n": 1, "rounds": 20}}
    space.write_config(searches={"tune": {**changed, "workers": 3, "time_limit": "1h"}})
    jobs = {job[0] for job in space.dry_run().jobs()}
    assert jobs <= {"all"}
    space.write_config(searches={"tune": {**changed, "criteria": {"stop": 0.5}}})
    assert {job[0] for job in space.dry_run().jobs()} <= {"summarise_search", "all"}
    space.write_config(searches={"tune": {**changed, "sampler": "random"}})
    assert ("run_trials", "tune", "0") in space.dry_run().jobs()


def test_more_trials_go_on_from_those_there_are(space: Workspace) -> None:
    before, _ = read_trials(space.path("searches", "tune", "trials.parquet"))
    space.write_config(searches={"tune": {**SEARCH, "workers": 2, "trials": 10}})
    space.snakemake(f"results/small/{TUNED}")
    after, _ = read_trials(space.path("searches", "tune", "trials.parquet"))
    assert {study: len(n) for study, n in numbers_of(space).items()} == {"t0": 10, "t2": 10}
    for study, trials in studies_of(before).items():
        kept = studies_of(after)[study][: len(trials)]
        assert [t["params"] for t in kept] == [t["params"] for t in trials]
        assert [t["value"] for t in kept] == [t["value"] for t in trials]


def test_stop_ends_a_search_that_goes_on_later(space: Workspace) -> None:
    folder = space.path("searches", "tune")
    best = (folder / "best.parquet").read_bytes()
    (folder / "STOP").touch()
    space.write_config(searches={"tune": {**SEARCH, "workers": 1, "trials": 12}})
    wanted = f"results/small/{TUNED}"
    run = space.snakemake(wanted, check=False)
    assert run.code != 0
    assert "ends before its trials are done (t0 10 of 12, t2 10 of 12)" in run.text
    assert "rm results/small/searches/tune/STOP" in run.text
    assert "Unfinished" in (folder / "partial" / "summary.md").read_text()
    # Snakemake takes what is to be made anew away; nothing unfinished stands in its place.
    assert not (folder / "best.parquet").exists() or (folder / "best.parquet").read_bytes() == best
    (folder / "STOP").unlink()
    space.snakemake(wanted)
    assert {study: len(n) for study, n in numbers_of(space).items()} == {"t0": 12, "t2": 12}
    text = space.snakemake("search_status").text
    assert "12 of 12" in text and "verdict" in text


def test_lint_search_finds_a_param_that_does_nothing(space: Workspace) -> None:
    space.write_config(
        searches={
            "tune": {
                **SEARCH,
                # It matters with a GPU alone.
                "space": {**SPACE, "max_cached_hist_node": {"low": 1000, "high": 5000}},
            }
        }
    )
    text = space.snakemake("lint_search").text
    assert "space.max_cached_hist_node: it changes nothing" in text
    assert "space.max_depth" not in text
    space.write_config(searches={"tune": {**SEARCH, "space": {"max_depth": {"low": 5, "high": 2}}}})
    run = space.snakemake(f"results/small/{TUNED}", check=False)
    assert run.code != 0
    assert "searches.tune.space.max_depth: " in run.text


def test_a_search_is_wrong_in_the_config(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "work", folds={"n": 3})
    sources = {"xgb": {"family": "xgboost"}}
    given: list[tuple[dict[str, Any], str]] = [
        (
            {"source": "xgbb"},
            "searches.tune.source: no source is called 'xgbb'; did you mean 'xgb'?",
        ),
        ({"folds": [0, 1, 2]}, "searches.tune.folds: no fold is left"),
        ({"folds": [0, 7]}, "searches.tune.folds: there is no fold 7"),
        ({"trials": 0}, "searches.tune.trials: must be at least 1"),
    ]
    for wrong, message in given:
        space.write_config(
            sources=sources, searches={"tune": {**SEARCH, "targets": ["t0"], **wrong}}, blends={}
        )
        assert message in space.snakemake("--dry-run", check=False).text
