"""kill -9 at any moment, the same command again: complete, the same bytes, nothing done twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from helpers import heed_interrupts
from workflow.conftest import (
    CONFIG,
    Fits,
    Workspace,
    digests,
    finished_fits,
    finished_fits_if_readable,
    make_workspace,
)

KILLS = 5
# Fits long enough to be hit in the middle of a source.
SLOW = {
    name: {**source, "rounds": 250} if source["family"] in ("lightgbm", "xgboost") else source
    for name, source in CONFIG["sources"].items()
}
SLOW["part"] = {**SLOW["part"], "rounds": 150}


def test_killed_runs_end_in_the_same_bytes(tmp_path: Path) -> None:
    undisturbed = make_workspace(tmp_path / "undisturbed", sources=SLOW)
    started = time.monotonic()
    undisturbed.snakemake()
    whole = time.monotonic() - started

    disturbed = make_workspace(tmp_path / "disturbed", sources=SLOW)
    draw = np.random.default_rng(1)
    kept: Fits = {}
    kills = 0
    for _ in range(KILLS):
        # Start-up is about two seconds; a third of a run on, something is being fitted.
        kills += disturbed.killed_after(2.5 + draw.uniform(0.05, 0.35) * whole)
        now = finished_fits(disturbed)
        for fit, seconds in kept.items():
            assert now.get(fit) == seconds, f"the finished fit {fit} was lost or done again"
        kept = now
        assert not [p for p in disturbed.results.rglob("*.parquet") if not _whole(p)], (
            "a half-written file passes for a finished one"
        )
    assert kills >= 3, "the runs were over before they could be killed"
    disturbed.snakemake()
    final = finished_fits(disturbed)
    assert len(final) == 3 * (4 * 3 + 2)
    for fit, seconds in kept.items():
        assert final[fit] == seconds
    assert digests(disturbed) == digests(undisturbed)
    assert disturbed.snakemake().nothing
    assert not list(disturbed.results.rglob(".*.tmp")), "a killed writer's file was left"


def _whole(path: Path) -> bool:
    try:
        pq.read_table(path)
    except Exception:
        return False
    return True


def test_a_kill_between_rename_and_book_keeping_repeats_no_fit(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "work", blends={}, comparisons=[], submissions={})
    goal = "results/small/sources/xgb/fold0/oof.parquet"
    space.snakemake(goal)
    before = finished_fits(space)
    assert len(before) == 4
    # As after such a kill: the outputs stand, Snakemake holds them for unfinished.
    space.snakemake(goal, "--forcerun", "fit_fold")
    assert finished_fits(space) == before


def test_two_runs_at_once_fit_nothing_twice(tmp_path: Path) -> None:
    space = make_workspace(
        tmp_path / "work", sources=SLOW, blends={}, comparisons=[], submissions={}
    )
    goal = "results/small/sources/lgb/fold0/oof.parquet"
    space.snakemake("results/small/folds.parquet", "results/small/inner.parquet")
    space.snakemake("results/small/features/all/columns.parquet")
    runs = [
        subprocess.Popen(
            space.command(goal),
            cwd=space.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    seen: Fits = {}
    while any(run.poll() is None for run in runs):
        for fit, seconds in finished_fits_if_readable(space).items():
            assert seen.setdefault(fit, seconds) == seconds, f"{fit} was done twice"
        time.sleep(0.05)
    assert len(finished_fits(space)) == 4
    assert any(run.returncode == 0 for run in runs)
    assert digests(space)


def test_ctrl_c_loses_no_finished_fit(tmp_path: Path) -> None:
    heed_interrupts()
    space = make_workspace(
        tmp_path / "work", sources=SLOW, blends={}, comparisons=[], submissions={}
    )
    process = subprocess.Popen(
        space.command(),
        cwd=space.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while len(finished_fits_if_readable(space)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    before = finished_fits(space)
    assert len(before) >= 3
    space.snakemake()
    after = finished_fits(space)
    assert all(after[fit] == seconds for fit, seconds in before.items())


def test_a_copied_checkout_rebuilds_nothing(finished: Workspace, tmp_path: Path) -> None:
    # Dates as after a git checkout: everything is new, inputs and scripts too.
    shutil.copytree(finished.folder, tmp_path / "work", copy_function=shutil.copyfile)
    space = Workspace(tmp_path / "work", dict(finished.config))
    assert space.snakemake().nothing
