"""Nothing to do: how long `snakemake -n` takes on a finished problem, and how it grows with the sources.

One source is built; the others are copies of its files that Snakemake is told to take as made
(`--touch`). The campaign of config/cyberpolka.yaml (`--campaign`) is built whole, on few rows. Each
time is processor time, the median of several runs, in turn, beside `snakemake --version`, which is the
price of the interpreter and of Snakemake's imports.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import common
import yaml

from small_campaign import small_campaign
from workflow.conftest import copy_workflow, write_tables

FOLDS = 5
CORES = ("--cores", str(common.own_cores()))
CAMPAIGN = ("campaign_final", "campaign_first")


def config(sources: int) -> dict[str, Any]:
    return {
        "problem": "idle",
        "data": {
            "train": "tables/train.parquet",
            "test": "tables/test.parquet",
            "id": "id",
            "targets": "tables/targets.parquet",
        },
        "folds": {"n": FOLDS},
        "sources": {f"s{k}": {"family": "linear"} for k in range(sources)},
        "blends": {"champion": {"method": "mean", "sources": "all"}},
        "submissions": {"blends": ["champion"]},
    }


def snakemake(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--configfile", "problem.yaml"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        sys.exit(done.stdout + done.stderr)
    return done.stdout + done.stderr


def finished(parent: Path, first: Path | None, sources: int) -> Path:
    """A finished problem of so many sources; made of `first`, a smaller one, where there is one."""
    folder = parent / f"of{sources}"
    if first is None:
        copy_workflow(folder)
        write_tables(folder / "tables")
    else:
        shutil.copytree(first, folder, symlinks=True)
        made = folder / "results/idle/sources"
        for k in range(1, sources):
            if not (made / f"s{k}").exists():
                shutil.copytree(made / "s0", made / f"s{k}")
    (folder / "problem.yaml").write_text(yaml.safe_dump(config(sources)))
    if first is not None:
        snakemake(folder, "--touch", "--cores", "1")
    snakemake(folder, *CORES)  # what is left: leaderboard, figures
    told = snakemake(folder, "-n")
    if "Nothing to be done" not in told:
        sys.exit(f"there is something left to do:\n{told}")
    return folder


def campaign(parent: Path) -> Path:
    """The finished campaign of config/cyberpolka.yaml, all that it has, on few rows."""
    folder = copy_workflow(parent / "campaign")
    (folder / "problem.yaml").write_text(yaml.safe_dump(small_campaign(), sort_keys=False))
    # A campaign's own rule always runs: it is built by name, and what follows asks for everything.
    for targets in (CAMPAIGN, ()):
        snakemake(folder, *targets, *CORES)
    told = snakemake(folder, "-n")
    if "Nothing to be done" not in told:
        sys.exit(f"there is something left to do:\n{told}")
    return folder


def seconds(folder: Path, *arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=8)
    parser.add_argument(
        "--times", type=int, default=10, help="as many sources in the larger problem"
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--campaign", action="store_true", help="the whole cyberpolka one, too")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="blendmake-idle-") as parent:
        one = finished(Path(parent), None, 1)
        folders = [
            finished(Path(parent), one, options.sources),
            finished(Path(parent), one, options.sources * options.times),
        ]
        given = ("--configfile", "problem.yaml")
        commands: list[tuple[Any, ...]] = [(one, "--version")]
        commands += [(folder, "-n", *given) for folder in folders]
        if options.campaign:
            commands.append((campaign(Path(parent)), "-n", *given))
        taken: list[list[float]] = [[] for _ in commands]
        for _ in range(options.runs):
            for times, (folder, *arguments) in zip(taken, commands, strict=True):
                times.append(seconds(folder, *arguments))
    base = median(taken[0])
    print(f"{options.runs} runs in turn, {FOLDS} folds; load before: {load:.1f}.\n")
    print("| command | processor seconds, median (least to most) | times `snakemake --version` |")
    print("|-|-:|-:|")
    names = ["snakemake --version"] + [
        f"snakemake -n, {n} sources finished"
        for n in (options.sources, options.sources * options.times)
    ]
    if options.campaign:
        names.append("snakemake -n, the campaign of config/cyberpolka.yaml finished (3 folds)")
    for name, times in zip(names, taken, strict=True):
        middle = median(times)
        print(
            f"| {name} | {middle:.2f} ({min(times):.2f} to {max(times):.2f}) | {middle / base:.2f} |"
        )


if __name__ == "__main__":
    main()
