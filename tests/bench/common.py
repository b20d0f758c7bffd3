"""What benchmarks have in common."""

from __future__ import annotations

import os
import platform
import sys
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
