"""What is built by name: `snakemake build --config only=… from=… force=…`."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from blendmake.files import read_parquet
from workflow.conftest import Workspace, finished_fits

FOLDS = ("0", "1", "2")


def fits(*sources: str) -> set[tuple[str, ...]]:
    return {("fit_fold", source, fold) for source in sources for fold in FOLDS}


def remove(space: Workspace, *names: str) -> None:
    """Remove artifacts with everything that was fitted for them."""
    for name in names:
        for path in sorted(space.results.glob(f"*/{name}/**/*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


def test_what_is_named_is_built_with_what_it_stands_on(copied: Workspace) -> None:
    remove(copied, "lgb", "xgb", "average")
    jobs = copied.dry_run("build", "--config", "only=lgb").jobs()
    assert jobs == fits("lgb") | {("assemble_source", "lgb"), ("score_source", "lgb"), ("build",)}
    jobs = copied.dry_run("build", "--config", "only=average,part").jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("xgb")
    # From an item on: lgb stands above average in the config, and part has its files.
    jobs = copied.dry_run("build", "--config", "from=part").jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("lgb", "xgb")  # for champion
    copied.write_config(campaigns={"mine": ["lgb", "average", "logistic"]})
    jobs = copied.dry_run("campaign_mine", "--config", "from=average").jobs()
    assert {job for job in jobs if job[0] == "fit_fold"} == fits("xgb")


def test_names_that_there_are_not(copied: Workspace) -> None:
    copied.write_config(campaigns={"mine": ["lgb"]})
    for arguments, told in (
        (
            ["build", "--config", "only=lgbm"],
            "only=lgbm: there is no 'lgbm' here; did you mean 'lgb'?",
        ),
        (["campaign_mine", "--config", "only=lgbm"], "only=lgbm: there is no 'lgbm' here"),
        (
            ["build", "--config", "force=lgbm"],
            "force=lgbm: there is no 'lgbm' here; did you mean 'lgb'?",
        ),
        (["--config", "force=lgb,xgb"], "snakemake build --config force=lgb,xgb"),
        (
            ["campaign_mine", "--config", "from=xgb"],
            "from=xgb: there is no 'xgb' here; did you mean 'lgb'?",
        ),
    ):
        run = copied.snakemake("--dry-run", *arguments, check=False)
        assert run.code != 0 and told in run.text and "Traceback" not in run.text


def of_source(space: Workspace, name: str) -> dict[Path, int]:
    """The files of a source and the inodes that they have."""
    return {path: path.stat().st_ino for path in space.path("sources", name).rglob("*.parquet")}


def test_what_is_forced_is_made_anew_and_the_old_stands_until_then(copied: Workspace) -> None:
    """Killed after a fold, resumed without doing it twice, fresh afterwards."""
    force = ("build", "--config", "force=lgb")
    assert copied.dry_run().nothing
    every = fits("lgb") | {("assemble_source", "lgb"), ("score_source", "lgb"), ("build",)}
    assert copied.dry_run(*force).jobs() == every
    assert copied.dry_run().nothing  # a dry run has begun nothing
    before, seconds = of_source(copied, "lgb"), finished_fits(copied)
    process = subprocess.Popen(
        copied.command("--cores", "1", *force),
        cwd=copied.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        now = of_source(copied, "lgb")
        assert set(now) == set(before)  # at no moment is one of them missing
        if any(path.name == "oof.parquet" and now[path] != old for path, old in before.items()):
            break
    assert process.poll() is None, "the run was over before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for path in before:
        read_parquet(path)  # whole, old or new
    killed = finished_fits(copied)
    done = {fit for fit in seconds if killed[fit] != seconds[fit]}
    assert {fit[0] for fit in done} == {"lgb"} and len(done) < 12
    copied.snakemake(*force)
    after = finished_fits(copied)
    assert {fit for fit in seconds if after[fit] != seconds[fit]} == {
        f for f in after if f[0] == "lgb"
    }
    assert {fit: after[fit] for fit in done} == {fit: killed[fit] for fit in done}
    now = of_source(copied, "lgb")
    assert all(now[path] != old for path, old in before.items())
    # All is fresh; a figure shows the seconds that fits took, which are others now.
    assert {job[0] for job in copied.dry_run().jobs()} <= {
        "all",
        "build_leaderboard",
        "draw_figures",
    }
    # And once more it is all made anew.
    assert copied.dry_run(*force).jobs() == every
