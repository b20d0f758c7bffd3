"""Marks of runs that are alive, and jobs of a folder in a queue."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from blendmake import cluster
from blendmake.errors import BlendmakeError
from blendmake.runs import MARKS, OWN, LiveRun, live_runs

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
RUN = "import sys; from blendmake.runs import mark_run; mark_run('small'); print('marked', flush=True)"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """Another run of this folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OWN, raising=False)
    process = subprocess.Popen(
        [sys.executable, "-c", f"{RUN}; sys.stdin.read()"],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "marked\n"
    yield process
    process.kill()
    process.communicate()


def test_a_run_is_seen_while_it_lives(run: subprocess.Popen[str]) -> None:
    (seen,) = live_runs()
    assert (seen.problem, seen.process, seen.is_here) == ("small", run.pid, True)
    run.communicate()
    assert live_runs() == []
    assert not list(MARKS.iterdir()), "it takes its mark with it"


def test_a_killed_run_is_dead(run: subprocess.Popen[str]) -> None:
    run.kill()
    run.wait()
    assert list(MARKS.iterdir())
    assert live_runs() == []
    assert not list(MARKS.iterdir())


def test_a_mark_that_is_cleared_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OWN, raising=False)
    other = "from blendmake.runs import live_runs; assert live_runs() == []"
    code = f"""
import fcntl, subprocess, sys
from blendmake.runs import MARKS
real, cleared = fcntl.flock, []
def flock(handle, kind):
    if not cleared:  # between open and flock
        cleared.append(True)
        subprocess.run([sys.executable, "-c", {other!r}], check=True)
        assert not list(MARKS.iterdir())
    real(handle, kind)
fcntl.flock = flock
{RUN}
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout and process.stdout.readline() == "marked\n"
        assert [seen.process for seen in live_runs()] == [process.pid]
        process.communicate()
    assert live_runs() == [] and not list(MARKS.iterdir())


def test_a_run_of_another_machine_is_not_taken_for_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OWN, raising=False)
    MARKS.mkdir(parents=True)
    mark = MARKS / "login-2-4711.json"
    run = LiveRun("small", "login-2", 4711, "2026-01-01 00:00:00")
    mark.write_text(json.dumps(vars(run)))
    with open(mark) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert live_runs() == [run] and not run.is_here
    for ask in (cluster.cancel_leftovers, cluster.wait_for_leftovers, cluster.cancel_jobs):
        with pytest.raises(BlendmakeError, match=f"on login-2.* on login-2; or.*: rm {mark}"):
            ask(tmp_path)
    assert mark.exists()


def test_a_job_does_not_count_its_own_run(
    run: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OWN, next(MARKS.iterdir()).name)
    assert live_runs() == []


def test_jobs_of_a_living_run_are_no_leftovers(run: subprocess.Popen[str], tmp_path: Path) -> None:
    for ask in (cluster.cancel_leftovers, cluster.wait_for_leftovers):
        with pytest.raises(BlendmakeError, match=f"process {run.pid} on .*`snakemake cancel_jobs`"):
            ask(tmp_path)
    assert run.poll() is None


def command(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.write_text("#!/bin/sh\n" + textwrap.dedent(text))
    path.chmod(0o755)


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of what squeue says; scancel takes lines out of it."""
    programs, lines = tmp_path / "bin", tmp_path / "queue"
    programs.mkdir()
    (tmp_path / "work").mkdir()
    command(programs, "squeue", f"cat {lines}")
    command(programs, "scancel", f'for n; do sed -i "/^$n|/d" {lines}; done')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(cluster, "SECONDS", 0.1)
    ours = f"{cluster.PREFIX}0a1b"
    told = [
        f"11|RUNNING|{ours}|rule_fit_fold_wildcards_lgb_0|{tmp_path / 'work'}",
        f"12|PENDING|{ours}|rule_fit_fold_wildcards_lgb_1|{tmp_path / 'work'}",
        f"13|RUNNING|{ours}|rule_fit_fold_wildcards_lgb_0|{tmp_path / 'other'}",
        f"14|RUNNING|mine|(null)|{tmp_path / 'work'}",
    ]
    lines.write_text("\n".join([*told, ""]))
    return lines


def left(queue: Path) -> list[str]:
    return [line.split("|")[0] for line in queue.read_text().splitlines()]


def test_only_jobs_of_the_folder_and_the_workflow_are_cancelled(
    queue: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.cancel_leftovers(Path.cwd())
    assert left(queue) == ["13", "14"]
    assert "11 running fit_fold_wildcards_lgb_0" in capsys.readouterr().out
    cluster.cancel_leftovers(Path.cwd())
    assert "no jobs of this folder are left" in capsys.readouterr().out


def test_cancel_jobs_ends_the_run_first(queue: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", f"{RUN}; sys.stdin.read()"],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout and process.stdout.readline() == "marked\n"
    cluster.cancel_jobs(Path.cwd())
    process.communicate()
    assert process.returncode == -signal.SIGTERM
    assert left(queue) == ["13", "14"]


def test_waiting_ends_with_the_jobs(queue: Path) -> None:
    waiting = subprocess.Popen(
        [
            *(sys.executable, "-c"),
            "from pathlib import Path; from blendmake import cluster; cluster.SECONDS = 0.1; "
            "cluster.wait_for_leftovers(Path.cwd()); print('over')",
        ],
        env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1)
    subprocess.run(["scancel", "11", "12"], check=True)
    told, _ = waiting.communicate(timeout=60)
    assert told.endswith("over\n")
    assert left(queue) == ["13", "14"]


def test_without_a_scheduler_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BlendmakeError, match="no squeue on this machine"):
        cluster.cancel_leftovers(tmp_path)


def test_a_controller_that_is_away_is_told(queue: Path) -> None:
    command(queue.parent / "bin", "squeue", "echo 'Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(BlendmakeError, match="squeue failed: Unable to contact slurm controller"):
        cluster.cancel_leftovers(Path.cwd())
