"""Jobs of this folder in the queue of a cluster: found by name and folder, waited for, cancelled."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blendmake.errors import BlendmakeError
from blendmake.runs import LiveRun, live_runs

PREFIX = "blendmake_"
"""What the names of jobs begin with, by the profiles."""
SECONDS = 2.0  # between two looks at the queue
MOST_SECONDS = 600.0  # until cancelled jobs are gone: a scheduler is asked to be patient with them


@dataclass(frozen=True)
class QueuedJob:
    """A job that waits or runs."""

    number: str
    state: str
    what: str

    def __str__(self) -> str:
        return f"{self.number} {self.state.lower()} {self.what}"


def queued_jobs(folder: Path) -> list[QueuedJob]:
    """The user's jobs that were submitted by this workflow from `folder`.

    Raises:
        BlendmakeError: there is no squeue here, or it fails.
    """
    text = _ask("squeue", "--noheader", f"--user={os.getuid()}", "--format=%i|%T|%j|%k|%Z")
    found = []
    for line in text.splitlines():
        number, state, name, comment, place = line.strip().split("|", 4)
        if name.startswith(PREFIX) and os.path.realpath(place) == os.path.realpath(folder):
            found.append(QueuedJob(number, state, comment.removeprefix("rule_")))
    return found


def cancel_leftovers(folder: Path) -> None:
    """Cancel the jobs that runs have left behind whose main process is dead.

    Raises:
        BlendmakeError: a run is alive, whose jobs these may be.
    """
    _require_no_run("cancel_leftovers")
    _cancel(folder)


def wait_for_leftovers(folder: Path) -> None:
    """Wait until the jobs have ended that runs have left behind whose main process is dead.

    Raises:
        BlendmakeError: a run is alive, whose jobs these may be.
    """
    _require_no_run("wait_for_leftovers")
    jobs = queued_jobs(folder)
    _tell("left behind by a run that is dead; waiting for", jobs)
    while jobs:
        time.sleep(SECONDS)
        jobs = queued_jobs(folder)


def cancel_jobs(folder: Path) -> None:
    """End every run of the folder, and cancel all its jobs.

    Raises:
        BlendmakeError: a run is alive on another machine.
    """
    runs = live_runs()
    away = [run for run in runs if not run.is_here]
    if away:
        raise BlendmakeError(
            f"a run of this folder is alive on another machine, and would submit its jobs again "
            f"({away[0]}). Type `snakemake cancel_jobs` on {away[0].host}."
        )
    for run in runs:
        print(f"ending a run: {run}", flush=True)
        os.kill(run.process, signal.SIGTERM)  # Snakemake submits nothing from here on
    _cancel(folder)
    until = time.monotonic() + MOST_SECONDS
    while live_runs() and time.monotonic() < until:
        time.sleep(SECONDS)
    # What a run was submitting at that moment.
    _cancel(folder)


def _require_no_run(command: str) -> None:
    runs: list[LiveRun] = live_runs()
    if runs:
        raise BlendmakeError(
            f"a run of this folder is alive ({runs[0]}), and its jobs are no leftovers. Let it end, or "
            f"type `snakemake cancel_jobs`, which ends it with all its jobs; then {command} has "
            "nothing to do."
        )


def _cancel(folder: Path) -> None:
    """Cancel all jobs of a folder, and wait until they are gone."""
    jobs = queued_jobs(folder)
    _tell("cancelled:", jobs)
    if jobs:
        _ask("scancel", *(job.number for job in jobs))
    until = time.monotonic() + MOST_SECONDS
    while jobs:
        if time.monotonic() > until:
            raise BlendmakeError(
                f"{len(jobs)} cancelled jobs are still there: {', '.join(map(str, jobs))}. "
                "Look at them with squeue, then run this again."
            )
        time.sleep(SECONDS)
        jobs = queued_jobs(folder)


def _tell(what: str, jobs: Sequence[QueuedJob]) -> None:
    print(f"{len(jobs)} jobs of this folder {what}" if jobs else "no jobs of this folder are left")
    for job in jobs:
        print(f"  {job}")
    print(end="", flush=True)


def _ask(command: str, *arguments: str) -> str:
    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BlendmakeError(
            f"there is no {command} on this machine. Run this where jobs are submitted."
        ) from None
    if done.returncode != 0:
        raise BlendmakeError(
            f"{command} failed: {done.stderr.strip() or done.stdout.strip()}. Is the cluster's "
            "controller up? Then run this again."
        )
    return done.stdout
