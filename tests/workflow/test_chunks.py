"""Sources whose targets several jobs share, and jobs that a scheduler tells to end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from workflow.conftest import CONFIG, Workspace, digests, make_workspace
from workflow.test_resume import finished_fits

LOGISTIC = {"logistic": CONFIG["sources"]["logistic"]}
XGB = CONFIG["sources"]["xgb"]
SHARED = {**LOGISTIC, "xgb": {**XGB, "targets_per_job": 2}}
BLENDS = {"average": {"method": "mean", "sources": ["xgb", "logistic"]}}
CHANGES = {"blends": BLENDS, "comparisons": [], "submissions": {}}


def sourced(space: Workspace, xgb: dict[str, object]) -> None:
    space.write_config(sources={**LOGISTIC, "xgb": {**XGB, **xgb}})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run in which two jobs have shared the targets of each fold of a source."""
    space = make_workspace(tmp_path_factory.mktemp("shared") / "work", sources=SHARED, **CHANGES)
    space.snakemake()
    return space


def test_the_same_bytes_and_no_fit_twice(shared: Workspace, tmp_path: Path) -> None:
    whole = make_workspace(tmp_path / "whole", sources={**LOGISTIC, "xgb": dict(XGB)}, **CHANGES)
    whole.snakemake()
    assert digests(shared) == digests(whole)
    for fold in range(3):
        log = (shared.folder / f"logs/small/fit_fold/xgb/fold{fold}.log").read_text()
        assert "4 of 4 fits found in scratch" in log
        chunks = sorted((shared.folder / f"logs/small/fit_chunk/xgb/fold{fold}").iterdir())
        assert [path.name for path in chunks] == ["0of2.log", "1of2.log"]
        for path in chunks:
            assert "(2/2)" in path.read_text()
            assert "found in scratch" not in path.read_text()


def test_how_targets_are_shared_rebuilds_nothing(shared: Workspace) -> None:
    for number in (1, 3, 4, None):
        sourced(shared, {"targets_per_job": number} if number else {})
        assert shared.dry_run().nothing, number
    # What is rebuilt anyway is shared as the config now says.
    sourced(shared, {"targets_per_job": 1, "rounds": 31})
    jobs = shared.dry_run().jobs()
    chunks = {job for job in jobs if job[0] == "fit_chunk"}
    assert chunks == {("fit_chunk", "xgb", str(k), str(i), "4") for k in range(3) for i in range(4)}
    sourced(shared, {"rounds": 31})
    rules = {job[0] for job in shared.dry_run().jobs()}
    assert "fit_fold" in rules
    assert "fit_chunk" not in rules
    sourced(shared, {"targets_per_job": 2})
    assert shared.dry_run().nothing


def test_fits_that_went_with_scratch_are_made_again(shared: Workspace, tmp_path: Path) -> None:
    shutil.copytree(shared.folder, tmp_path / "work", symlinks=True)
    space = Workspace(tmp_path / "work", dict(shared.config))
    fold = space.path("sources", "xgb", "fold1")
    before = digests(space)
    for part in ("oof", "test", "fits"):
        (fold / f"{part}.parquet").unlink()
    assert not (space.folder / "scratch/small/sources/xgb").exists()
    shutil.rmtree(space.folder / "scratch/small/kept/xgb")
    asked = space.dry_run("--resources", "gpu=1").text
    # The marks of the jobs before it stand, their fits do not: this one fits, and has the GPU.
    assert "gpu=1" in asked.split("rule fit_fold:")[1].split("rule ")[0]
    space.snakemake()
    assert digests(space) == before


def test_what_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    joint = {"family": "xgboost_vector", "rounds": 5, "targets_per_job": 2}
    space = make_workspace(tmp_path / "work", sources={"xgb": joint, **LOGISTIC}, **CHANGES)
    run = space.snakemake("--dry-run", check=False)
    assert run.code != 0
    assert "'targets_per_job' cannot divide it: leave it out" in run.text


def test_sigterm_ends_a_job_after_the_fit_in_hand(tmp_path: Path) -> None:
    slow = {"xgb": {**XGB, "rounds": 1500}, **LOGISTIC}
    space = make_workspace(tmp_path / "work", sources=slow, **CHANGES)
    targets = [f"results/small/sources/xgb/fold0/{part}.parquet" for part in ("oof", "fits")]
    log = space.folder / "logs/small/fit_fold/xgb/fold0.log"
    process = subprocess.Popen(
        space.command()[:3] + targets + space.command()[3:],
        cwd=space.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not (log.exists() and "(1/4)" in log.read_text()):
            assert process.poll() is None, "the run ended before its first fit"
            time.sleep(0.02)
        for pid in _fitting(space.folder):
            os.kill(pid, signal.SIGTERM)
        assert process.wait(120) != 0
    finally:
        if process.poll() is None:
            process.kill()
    told = log.read_text()
    assert "This job was told to end (SIGTERM" in told
    kept = finished_fits(space)
    # The fit in hand was finished, and no other begun.
    assert 2 <= len(kept) < 4
    assert f"{len(kept)} of 4 fits of xgb fold 0 are done and kept" in told
    space.snakemake(*targets)
    after = finished_fits(space)
    assert len(after) == 4
    assert {fit: after[fit] for fit in kept} == kept


def _fitting(folder: Path) -> list[int]:
    """Processes of scripts fit_fold that run in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                here = (entry / "cwd").resolve() == folder.resolve()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended, or is another user's
            if here and b"fit_fold" in command and b"-m\0snakemake" not in command:
                found.append(int(entry.name))
    assert found
    return found
