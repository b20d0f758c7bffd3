"""Runs that are alive: the main process of each holds a lock on a mark in the workflow's folder."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from blendmake.errors import BlendmakeError

MARKS = Path(".snakemake/blendmake_runs")
OWN = "BLENDMAKE_RUN"
"""Environment variable by which the jobs of a run know its mark."""


@dataclass(frozen=True)
class LiveRun:
    """A run of this folder whose main process lives."""

    problem: str
    host: str
    process: int
    started: str

    @property
    def is_here(self) -> bool:
        """Whether its main process runs on this machine."""
        return self.host == socket.gethostname()

    def __str__(self) -> str:
        return (
            f"process {self.process} on {self.host}, problem {self.problem}, since {self.started}"
        )


def mark_run(problem: str) -> None:
    """Mark this process as a run, until it ends in whatever way: the system drops the lock with it."""
    MARKS.mkdir(parents=True, exist_ok=True)
    path = MARKS / f"{socket.gethostname()}-{os.getpid()}.json"
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if _is_at(handle, path):
            break
        os.close(handle)  # before it was locked, another process took it for a dead one's
    run = LiveRun(problem, socket.gethostname(), os.getpid(), time.strftime("%Y-%m-%d %H:%M:%S"))
    os.truncate(handle, 0)
    os.write(handle, json.dumps(vars(run)).encode())
    os.environ[OWN] = path.name
    atexit.register(path.unlink, missing_ok=True)


def live_runs() -> list[LiveRun]:
    """Runs of this folder that are alive, but the one that asks; marks of dead ones are cleared.

    Raises:
        BlendmakeError: a run of another machine may be alive.
    """
    found = []
    for path in sorted(MARKS.glob("*.json")):
        if path.name == os.environ.get(OWN):
            continue
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(path, os.O_RDWR)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if path.stem.rpartition("-")[0] != socket.gethostname():
                    raise BlendmakeError(_unknown(path))
                if _is_at(handle, path):
                    path.unlink()
            except BlockingIOError:
                text = path.read_text(encoding="utf-8")
                if text:  # empty for the moment in which it is marked
                    found.append(_live_run(path, text))
            finally:
                os.close(handle)
    return found


def _live_run(path: Path, text: str) -> LiveRun:
    """The run of a mark whose lock is held; of a damaged mark what its name tells."""
    try:
        return LiveRun(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        host, _, process = path.stem.rpartition("-")
        return LiveRun("unknown", host, int(process), "an unknown time (its mark is damaged)")


def _is_at(handle: int, path: Path) -> bool:
    """Whether an open file is the one that stands there."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _unknown(path: Path) -> str:
    """That nobody is seen to lock the mark of another machine, where locks may not be carried."""
    host = path.stem.rpartition("-")[0]
    return (
        f"{path} is the mark of a run on {host}. Its lock is not seen here: the run is dead, or the "
        f"file system carries no locks from {host}. Type this on {host}; or, if no snakemake of this "
        f"folder runs there any more: rm {path}"
    )
