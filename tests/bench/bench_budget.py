"""What a preset with a budget hands in, and when: exit code, wall against budget, what stood when.

Rows are held out of each set (whole groups, where it has such), so that what is handed in can be scored.
Each run starts from nothing, as a user's first one does; they go one after the other.

usage: python tests/bench/bench_budget.py [SET ...] [--budgets 60s 200s] [--cores 2] …

SET is a folder of data/ with features.parquet, targets.parquet and perhaps groups.parquet; `adult`, as
it is delivered (train.csv.gz); `made` is made up.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bench_quality
import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from pyarrow import csv

from blendmake.durations import seconds_of
from blendmake.stats.auc import auc

ADULT = "adult"
STANDS = re.compile(r"\[([\d:]+) of [\d:]+\] (\w+) stands")
KIND = re.compile(r"LAST RESORT handed in, (.+?)(?: \(|, as no)")
HANDED_IN = re.compile(r"handed in[^:]*: (\S+)(?: \((\w+); [^)]* stand\))?")


def prepare(name: str, data: Path, folder: Path, seed: int) -> str | None:
    """Hold out a fifth of a set's groups, or rows; the name of the group column, if there is one."""
    source = data / name
    if name == bench_quality.MADE:
        bench_quality.make_up(folder)
        source = folder
    if name == ADULT:
        read_adult(source, folder)
        source = folder
    if (source / "groups.parquet").exists():
        return bench_quality.split(source, folder, seed)
    tables = {part: pq.read_table(source / f"{part}.parquet") for part in ("features", "targets")}
    rows = tables["features"].num_rows
    held_out = np.random.default_rng(seed).random(rows) < 0.2
    for part, taken in (("train", ~held_out), ("test", held_out)):
        for what, table in tables.items():
            chosen = table.take(pa.array(np.flatnonzero(taken)))
            pq.write_table(chosen, folder / f"{part}_{what}.parquet")
    return None


def read_adult(source: Path, folder: Path) -> None:
    """The raw CSV, its label in the last column, as features and targets."""
    table = csv.read_csv(source / "train.csv.gz")
    columns = dict(zip(table.column_names, table.columns, strict=True))
    label = columns.pop(table.column_names[-1]).to_pylist()
    over = [int(">50K" in str(value)) for value in label]
    pq.write_table(pa.table(columns), folder / "features.parquet")
    pq.write_table(pa.table({"over_50k": pa.array(over, pa.int8())}), folder / "targets.parquet")


def spend(folder: Path, column: str | None, budget: str, cores: int, preset: str) -> dict[str, Any]:
    """One run from nothing: its exit code, wall seconds, and what it said."""
    name = f"b{budget}_{cores}"
    data: dict[str, Any] = {
        "train": str(folder / "train_features.parquet"),
        "test": str(folder / "test_features.parquet"),
        "targets": str(folder / "train_targets.parquet"),
    }
    if column:
        data["groups"] = {"file": str(folder / "train_groups.parquet"), "column": column}
    path = folder / f"{name}.yaml"
    config = {"problem": name, "preset": preset, "budget": budget, "data": data}
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(common.ROOT / "Snakefile")]
    command += ["--configfile", str(path), "--cores", str(cores), "--directory", str(folder)]
    command += ["--workflow-profile", str(common.ROOT / "profiles" / "default")]
    load = [os.getloadavg()[0]]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wall = time.monotonic() - began
    load.append(os.getloadavg()[0])
    return {
        "load": load,
        "code": done.returncode,
        "wall": wall,
        "text": done.stdout,
        "score": score(folder, folder / "results" / name / "submission.parquet"),
    }


def score(folder: Path, submission: Path) -> float | None:
    """Macro AUC of what was handed in on the rows held out."""
    if not submission.exists():
        return None
    truth = pq.read_table(folder / "test_targets.parquet").to_pandas()
    handed_in = pq.read_table(submission).to_pandas()
    found = []
    for target in truth:
        known = truth[target].notna().to_numpy()
        labels = truth[target].to_numpy(float)[known]
        if len(set(labels)) == 2:
            found.append(auc(labels, handed_in[target].to_numpy(float)[known]))
    return float(np.mean(found))


def told(name: str, budget: str, cores: int, run: dict[str, Any]) -> str:
    """A line of the table."""
    stood = ", ".join(f"{what} {when}" for when, what in STANDS.findall(run["text"]))
    match = HANDED_IN.search(run["text"])
    handed_in = "**nothing**"
    if match:
        kind = KIND.search(run["text"])
        handed_in = match[2] or f"last resort ({kind[1] if kind else ''})"
    seconds = seconds_of(budget)
    assert seconds is not None
    auc_ = "–" if run["score"] is None else f"{run['score']:.4f}"
    return (
        f"| {name} | {cores} | {budget} | {run['code']} | {run['wall']:.0f} | "
        f"{run['wall'] / seconds:.2f} | {stood or '–'} | {handed_in} | {auc_} | "
        f"{run['load'][0]:.0f} to {run['load'][1]:.0f} |"
    )


def lines(options: argparse.Namespace, parent: Path, failed: list[str]) -> Iterator[str]:
    """The lines of the table; what has failed is told in `failed`."""
    every = sorted(os.sched_getaffinity(0))
    for name in options.sets:
        folder = parent / name
        folder.mkdir(parents=True)
        if name != bench_quality.MADE and not (options.data / name).is_dir():
            yield f"{name}: not under {options.data.name}/, left out."
            continue
        column = prepare(name, options.data, folder, options.seed)
        for cores in options.cores:
            os.sched_setaffinity(0, every[:cores])
            for budget in options.budgets:
                run = spend(folder, column, budget, cores, options.preset)
                yield told(name, budget, cores, run)
                if run["code"] or run["score"] is None:
                    print(run["text"][-3000:], file=sys.stderr)
                    failed.append(f"{name}: exit code {run['code']}, handed in: {run['score']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sets = [ADULT, "covertype", "diabetes130", "tox21", "toxcast41"]
    parser.add_argument("sets", nargs="*", default=sets, metavar="SET")
    parser.add_argument("--budgets", nargs="*", default=["60s", "200s"])
    parser.add_argument("--cores", type=int, nargs="*", default=[2])
    parser.add_argument("--preset", default="strong")
    parser.add_argument("--data", type=Path, default=common.ROOT / "data", help="folder of sets")
    parser.add_argument("--seed", type=int, default=2026, help="of the rows held out")
    options = parser.parse_args()
    print(common.machine("xgboost", "lightgbm", "torch"), "\n")
    print(
        "| set | cores | budget | exit code | wall, s | wall / budget | stood at | handed in | hold-out "
        "macro AUC | load |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as temporary:
        failed: list[str] = []
        for line in lines(options, Path(temporary), failed):
            print(line, flush=True)
        if failed:
            raise SystemExit("\n".join(failed))


if __name__ == "__main__":
    main()
