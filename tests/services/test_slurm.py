"""The workflow on a real Slurm: the same bytes as here, whatever happens to jobs, nodes and daemons."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import postgres
from blendmake.searches import storage
from blendmake.searches.table import COUNTED, read_trials
from services.cluster_space import ClusterSpace, on_cluster
from services.slurm import Slurm
from workflow.conftest import (
    CONFIG,
    Fits,
    Workspace,
    digests,
    finished_fits,
    finished_fits_if_readable,
    make_workspace,
)

XGB: dict[str, Any] = CONFIG["sources"]["xgb"]
# Fits of some seconds, so that jobs can be hit in the middle of a source.
SLOW = {**XGB, "rounds": 6000}
GOAL = "results/small/sources/slow/oof.parquet"
FOLD = "results/small/sources/slow/fold0/oof.parquet"
PROFILES = ("slurm", "cluster-generic")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Tables and folds stand; two folds of a source are to be fitted, for as long as it takes."""
    space = make_workspace(
        tmp_path_factory.mktemp("prepared") / "work",
        folds={"n": 2},
        sources={"slow": SLOW},
        blends={},
        comparisons=[],
        submissions={},
    )
    space.snakemake("results/small/folds.parquet", "results/small/features/all/columns.parquet")
    return space


@pytest.fixture(scope="module")
def undisturbed(prepared: Workspace, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes of the source, fitted on this machine."""
    space = on_cluster(prepared, tmp_path_factory.mktemp("undisturbed") / "work", None, "default")
    Workspace(space.folder, space.config).snakemake(GOAL)
    return digests(space)


def check(space: ClusterSpace, undisturbed: dict[str, str], kept: Fits) -> None:
    """The bytes are those of the undisturbed run, and no finished fit was done again."""
    assert digests(space) == undisturbed
    after = finished_fits(space)
    assert len(after) == 8
    again = [fit for fit, seconds in kept.items() if after[fit] != seconds]
    assert not again, f"done twice: {again}\n{space.said()[-6000:]}"


def test_a_campaign_ends_in_the_same_bytes_and_shares_gpus(cluster: Slurm, tmp_path: Path) -> None:
    names = ("lgb", "xgb", "other")
    here = make_workspace(
        tmp_path / "here",
        folds={"n": 2},
        sources={**CONFIG["sources"], "other": {**XGB, "rounds": 20}},
        blends={"champion": {"method": "greedy", "sources": list(names)}},
        comparisons=[["champion", "lgb"]],
    )
    here.write_config(sources={name: here.config["sources"][name] for name in names})
    space = on_cluster(here, tmp_path / "there", cluster, "slurm")
    here.snakemake()

    # It offers more GPUs than there are: Slurm must hand them out one by one.
    run = space.start("--resources", "gpu=4", "--slurm-keep-successful-logs")
    asked: dict[str, str] = {}
    submitted: set[str] = set()
    while run.poll() is None:
        held: Counter[str] = Counter()
        for text in cluster.run("scontrol", "-o", "-d", "show", "job").splitlines():
            job = dict(re.findall(r"(\w+)=(\S+)", text))
            if job.get("WorkDir") != str(space.folder):
                continue
            submitted.add(job["Comment"])
            if "TresPerJob" in job:
                asked[job["Comment"]] = job["TresPerJob"]
                held[job.get("NodeList", "")] += job["JobState"] == "RUNNING"
        assert all(count <= 1 for count in held.values()), held
        time.sleep(0.3)
    assert run.wait() == 0, space.said()[-6000:]
    assert digests(space) == digests(here)
    fits = {f"rule_fit_fold_wildcards_{name}_{k}" for name in names for k in range(2)}
    assert fits <= submitted
    assert asked == {fit: "gres:gpu:1" for fit in fits if "lgb" not in fit}
    for fit in fits:  # and jobs know that they have one
        (log,) = (space.folder / ".snakemake/slurm_logs/rule_fit_fold").glob(
            f"{fit.removeprefix('rule_fit_fold_wildcards_')}/*.log"
        )
        assert f"gpu={int(fit in asked)}" in log.read_text()
    # Light rules run on the submitting machine.
    assert submitted == fits | {
        "rule_read_tables",
        "rule_make_features_wildcards_all",
        "rule_blend_sources_wildcards_champion",
        "rule_correlate_sources",
    }
    assert space.snakemake().nothing


def test_a_time_limit_in_the_middle_of_a_source(
    cluster: Slurm, prepared: Workspace, tmp_path: Path
) -> None:
    space = on_cluster(prepared, tmp_path / "work", cluster, "slurm")
    run = space.start(FOLD)
    kept = space.wait_for_fits(1, run)
    (job,) = space.jobs()
    # It stands still until Slurm has looked at time limits, which it does every half a minute.
    cluster.run("scancel", "--signal=STOP", job["id"])
    end = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(time.time() + 2))
    cluster.run("scontrol", "update", f"JobId={job['id']}", f"EndTime={end}")
    space.wait_until(lambda: "'TIMEOUT'" in space.said(), run)
    kept |= {k: v for k, v in finished_fits_if_readable(space).items() if k not in kept}
    assert not space.path("sources", "slow", "fold0", "oof.parquet").exists()
    space.finish(run, FOLD)
    log = (space.folder / "logs/small/fit_fold/slow/fold0.log").read_text()
    found = re.search(r"(\d+) of 4 fits found in scratch", log)
    assert found and 1 <= int(found[1]) < 4
    after = finished_fits(space)
    assert all(after[fit] == seconds for fit, seconds in kept.items())


@pytest.mark.parametrize("profile", PROFILES)
def test_a_cancelled_job_is_tried_again(
    profile: str,
    cluster: Slurm,
    prepared: Workspace,
    undisturbed: dict[str, str],
    tmp_path: Path,
) -> None:
    space = on_cluster(prepared, tmp_path / "work", cluster, profile)
    run = space.start(GOAL)
    space.wait_for_fits(1, run)
    job = space.jobs("RUNNING")[0]
    cluster.run("scancel", job["id"])
    space.wait_until(lambda: job["id"] not in {one["id"] for one in space.jobs()}, run)
    kept = finished_fits_if_readable(space)
    space.finish(run, GOAL)
    check(space, undisturbed, kept)


def test_a_node_dies_and_comes_back(
    cluster: Slurm, prepared: Workspace, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    space = on_cluster(prepared, tmp_path / "work", cluster, "slurm")
    run = space.start(GOAL)
    space.wait_for_fits(1, run)
    job = space.jobs("RUNNING")[0]
    cluster.take_down(job["node"])
    kept = finished_fits_if_readable(space)
    (again,) = [one for one in space.jobs() if one["id"] == job["id"]]
    assert again["state"] == "PENDING", "Slurm starts it again by itself"
    cluster.bring_back(job["node"])

    def runs_again() -> bool:
        # It would do so after two minutes.
        cluster.run("scontrol", "update", f"JobId={job['id']}", "StartTime=now", check=False)
        return job["id"] in {one["id"] for one in space.jobs("RUNNING")}

    space.wait_until(runs_again, run)
    assert not space.finish(run, GOAL)
    check(space, undisturbed, kept)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_controller_is_away_for_a_while(
    profile: str,
    cluster: Slurm,
    prepared: Workspace,
    undisturbed: dict[str, str],
    tmp_path: Path,
) -> None:
    space = on_cluster(prepared, tmp_path / "work", cluster, profile)
    run = space.start(GOAL)
    kept = space.wait_for_fits(1, run)
    cluster.stop_controller()
    time.sleep(8)
    cluster.start_controller()
    space.finish(run, GOAL)
    check(space, undisturbed, kept)


@pytest.fixture
def of_others(cluster: Slurm, tmp_path: Path) -> str:
    """A job of another workflow: the same name, another folder."""
    folder = tmp_path / "others"
    folder.mkdir()
    return cluster.run(
        *("sbatch", "--parsable", "--mem=100", "--job-name=blendmake_other", "-D", str(folder)),
        *("--output=/dev/null", "--wrap=sleep 1000"),
    ).strip()


def stopped(space: ClusterSpace) -> set[str]:
    """The jobs that outlive the run that submitted them; they stand still in a fit."""
    left = {job["id"] for job in space.jobs("RUNNING")}
    assert left
    for job in left:
        space.slurm.run("scontrol", "suspend", job)
    return left


def test_leftovers_of_a_killed_run_are_cancelled(
    cluster: Slurm,
    prepared: Workspace,
    undisturbed: dict[str, str],
    of_others: str,
    tmp_path: Path,
) -> None:
    space = on_cluster(prepared, tmp_path / "work", cluster, "cluster-generic")
    run = space.start(GOAL)
    space.wait_for_fits(1, run)
    run.kill()
    run.wait()
    left = stopped(space)
    told = space.snakemake_here("cancel_leftovers").text
    assert all(re.search(rf"^  {job} \w+ fit_fold", told, re.M) for job in left)
    assert not space.jobs()
    assert of_others in {job["id"] for job in cluster.jobs()}
    kept = finished_fits(space)
    space.snakemake(GOAL)
    check(space, undisturbed, kept)


def test_a_rerun_beside_leftovers_does_no_fit_twice(
    cluster: Slurm, prepared: Workspace, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    space = on_cluster(prepared, tmp_path / "work", cluster, "slurm")
    run = space.start(GOAL)
    seen = space.wait_for_fits(1, run)
    run.kill()
    run.wait()
    left = stopped(space)  # with their locks, until the jobs of the next run stand beside them
    run = space.start(GOAL)
    space.wait_until(lambda: len({job["id"] for job in space.jobs("RUNNING")} - left) == 2, run)
    logs = [space.folder / f"logs/small/fit_fold/slow/fold{k}.log" for k in range(2)]
    space.wait_until(lambda: all("waiting for it" in _text(log) for log in logs), run)
    for job in left:
        cluster.run("scontrol", "resume", job)
    while run.poll() is None:
        for fit, seconds in finished_fits_if_readable(space).items():
            assert seen.setdefault(fit, seconds) == seconds, f"{fit} was done twice"
        time.sleep(0.2)
    space.finish(run, GOAL)
    check(space, undisturbed, seen)


def test_leftovers_may_be_waited_for(
    cluster: Slurm, prepared: Workspace, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    space = on_cluster(prepared, tmp_path / "work", cluster, "slurm")
    run = space.start(GOAL)
    space.wait_for_fits(1, run)
    run.kill()
    run.wait()
    assert space.jobs()
    space.snakemake_here("wait_for_leftovers")
    assert not space.jobs()
    kept = finished_fits(space)
    assert len(kept) == 8, "they have finished their work"
    space.snakemake(GOAL)
    check(space, undisturbed, kept)


def test_cancel_jobs_ends_the_run_and_all_its_jobs(
    cluster: Slurm, prepared: Workspace, of_others: str, tmp_path: Path
) -> None:
    space = on_cluster(prepared, tmp_path / "work", cluster, "slurm")
    space.write_config(sources={"slow": {**SLOW, "bagging": {"bags": 12}}})
    run = space.start(GOAL)
    kept = space.wait_for_fits(1, run)
    refused = space.snakemake_here("cancel_leftovers", check=False)
    assert refused.code != 0 and f"a run of this folder is alive (process {run.pid}" in refused.text
    assert run.poll() is None and len(space.jobs("RUNNING")) == 2
    space.snakemake_here("cancel_jobs")
    assert run.wait(60) != 0
    assert not space.jobs()
    assert of_others in {job["id"] for job in cluster.jobs()}
    after = finished_fits(space)
    assert all(after[fit] == seconds for fit, seconds in kept.items())


def test_four_workers_share_a_search_in_a_database(
    cluster: Slurm, prepared: Workspace, tmp_path: Path
) -> None:
    if postgres.programs() is None:
        pytest.skip(postgres.MISSING)
    trials = 10
    search = {
        "source": "slow",
        "targets": ["t0"],
        "folds": [0, 1],
        "trials": trials,
        "workers": 4,
        "pruner": "none",
        "space": {"learning_rate": {"low": 0.02, "high": 0.5, "log": True}},
    }
    with postgres.running_postgres() as server:
        url = server.make_database("searches")
        space = on_cluster(
            prepared, tmp_path / "work", cluster, "cluster-generic", {storage.URL: url}
        )
        slow = {"slow": {**SLOW, "rounds": 12000}}  # each worker must come to a trial
        space.write_config(folds={"n": 3}, sources=slow, searches={"tune": search})
        goal = "results/small/searches/tune/trials.parquet"
        run = space.start(goal)
        space.wait_until(lambda: len(space.jobs("RUNNING")) == 4, run)
        logs = [space.folder / f"logs/small/run_trials/tune/{k}.log" for k in range(4)]
        space.wait_until(lambda: any("trial" in _text(log) for log in logs), run)
        victim = next(job for job in space.jobs("RUNNING"))
        cluster.run("scancel", "--full", "--signal=KILL", victim["id"])
        space.finish(run, goal)
    rows, _ = read_trials(space.folder / goal)
    states = Counter(row["state"] for row in rows)
    assert sum(states[state] for state in COUNTED) == trials, states
    lost = [row for row in rows if row["state"] == "lost"]
    assert len(lost) <= 1
    again = [row for row in rows if row["retries"]]
    assert [row["retry_of"] for row in again] == [row["number"] for row in lost if row["params"]]
    assert len({row["worker"] for row in rows}) >= 4
    for path in (space.folder / "logs").rglob("*.log"):
        assert postgres.ENCODED not in path.read_text(), path


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
