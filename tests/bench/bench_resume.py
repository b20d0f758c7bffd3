"""What kill -9 costs: a campaign of 200 fits and more, killed at random moments until it is finished.

After each kill: how many finished fits were lost or done again (there must be none), how many fits
were in hand (one per running job), and the seconds that had gone into these since the last fit that
was kept. At the end: the same bytes as an undisturbed run, and what all runs took against that one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import common  # noqa: F401 (it tells where the project is)
import numpy as np

from workflow.conftest import (
    Workspace,
    digests,
    finished_fits_if_readable,
    make_workspace,
)

START = 1.5  # seconds before a run fits anything, at least


def campaign(folder: Path, sources: int, rounds: int) -> Workspace:
    """Four targets in five folds for each source."""
    names = [f"s{k}" for k in range(sources)]
    return make_workspace(
        folder,
        folds={"n": 5},
        sources={
            name: {"family": "xgboost", "rounds": rounds, "params": {"max_depth": 2 + k % 4}}
            for k, name in enumerate(names)
        },
        blends={"champion": {"method": "mean", "sources": "all"}},
        comparisons=[],
    )


def in_hand(folder: Path) -> list[float]:
    """Seconds since each running job of fit_fold has kept its last fit, or has begun."""
    found = []
    boot = time.time() - float(Path("/proc/uptime").read_text().split()[0])
    tick = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            if b"fit_fold" not in command or (entry / "cwd").resolve() != folder.resolve():
                continue
            began = boot + int((entry / "stat").read_text().rpartition(")")[2].split()[19]) / tick
            open_files = [Path(os.readlink(one)) for one in (entry / "fd").iterdir()]
        except OSError:
            continue  # it has ended meanwhile
        held = [path.parent for path in open_files if path.name == "lock" and path.exists()]
        kept = [path.stat().st_mtime for one in held for path in one.glob("*.parquet")]
        found.append(time.time() - max([began, *kept]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--sources", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=500)
    options = parser.parse_args()
    draw = np.random.default_rng(1)
    with tempfile.TemporaryDirectory(prefix="blendmake-resume-") as parent:
        whole = campaign(Path(parent) / "whole", options.sources, options.rounds)
        began = time.monotonic()
        whole.snakemake()
        undisturbed = time.monotonic() - began

        space = campaign(Path(parent) / "killed", options.sources, options.rounds)
        running: list[list[float]] = []
        repeated, spent = 0, 0.0
        kept: dict[Any, float] = {}
        for _ in range(options.kills):
            # Together less than the campaign takes, so that the last kill meets fits too.
            seconds = START + draw.uniform(0.5, 1.4 * undisturbed / options.kills)
            began = time.monotonic()
            killed = space.killed_after(seconds, lambda: running.append(in_hand(space.folder)))
            spent += time.monotonic() - began
            if not killed:
                break  # it was quicker than all kills
            now = finished_fits_if_readable(space)
            repeated += sum(now.get(fit) != seconds for fit, seconds in kept.items())
            kept = now
        before = len(kept)
        began = time.monotonic()
        space.snakemake()
        spent += time.monotonic() - began
        after = finished_fits_if_readable(space)
        repeated += sum(after.get(fit) != seconds for fit, seconds in kept.items())
        same = digests(space) == digests(whole)
    lost = [seconds for jobs in running for seconds in jobs]
    print(
        f"{len(after)} fits, {len(running)} kills ({before} fits stood after the last), undisturbed "
        f"{undisturbed:.0f} s, all runs together {spent:.0f} s.\n"
    )
    print("| | |\n|-|-:|")
    print(f"| finished fits lost or done again | {repeated} |")
    print(f"| fits in hand at a kill, most (running jobs) | {max(map(len, running), default=0)} |")
    print(f"| seconds lost of a fit in hand, median | {median(lost) if lost else 0:.1f} |")
    print(f"| seconds lost of a fit in hand, worst | {max(lost, default=0):.1f} |")
    print(f"| the same bytes as the undisturbed run | {'yes' if same else 'NO'} |")
    if repeated or not same:
        sys.exit(1)


if __name__ == "__main__":
    main()
