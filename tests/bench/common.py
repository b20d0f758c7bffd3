"""What benchmarks have in common."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from blendmake.processor import DISABLED, prepare_numpy  # noqa: E402 (found by the path above)

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # jobs of a user's find modules compiled


def as_a_job() -> None:
    """Go on as jobs do, whose NumPy is told of its processor before it is imported."""
    if DISABLED not in os.environ:
        prepare_numpy()
        if DISABLED in os.environ:
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def own_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0))


def machine(*packages: str) -> str:
    """A line on the machine: cores, load, versions."""
    told = [f"{name} {version(name)}" for name in packages]
    load = os.getloadavg()[0]
    return ", ".join(
        [
            f"CPython {platform.python_version()}",
            *told,
            f"{own_cores()} cores, load {load:.1f} at the start",
        ]
    )


def run_within(
    command: Sequence[str], seconds: float, log: Path, folder: Path | None = None
) -> tuple[int | None, float]:
    """Run a command, its output in `log`; after so many seconds stop it and its jobs, as Ctrl-C does.

    Returns:
        Its exit status, None where it was stopped, and the seconds until its end, or until then.
    """
    with log.open("w", encoding="utf-8") as sink:
        began = time.monotonic()
        running = subprocess.Popen(
            command, stdout=sink, stderr=sink, cwd=folder, start_new_session=True
        )
        try:
            return running.wait(seconds), time.monotonic() - began
        except subprocess.TimeoutExpired:
            return None, time.monotonic() - began
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGINT)
                running.wait()
