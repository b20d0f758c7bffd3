"""Presets against AutoGluon: macro AUC on held-out groups, same rows, same cores, one after the other.

usage: python tests/bench/bench_quality.py SET [--budget 10m] [--preset strong] [--cores 2]
           [--autogluon PYTHON] [--folder bench] [--seed 2026]

SET is a folder of features.parquet, targets.parquet and groups.parquet (say, data/toxcast41). A
fifth of the groups is held out whole. PYTHON is the interpreter of an environment with AutoGluon.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from blendmake.auc import auc
from blendmake.durations import seconds_of


def split(source: Path, folder: Path, seed: int) -> str:
    """Hold out a fifth of the groups; the name of the group column."""
    tables = {
        name: pq.read_table(source / f"{name}.parquet")
        for name in ("features", "targets", "groups")
    }
    column = str(tables["groups"].column_names[-1])
    groups = np.asarray(tables["groups"][column].to_pylist()).astype(str)
    names = np.unique(groups)
    np.random.default_rng(seed).shuffle(names)
    held_out = np.isin(groups, names[: len(names) // 5])
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", ~held_out), ("test", held_out)):
        for name, table in tables.items():
            taken = table.take(pa.array(np.flatnonzero(rows)))
            pq.write_table(taken, folder / f"{part}_{name}.parquet")
    return column


def run_ours(folder: Path, name: str, column: str, options: argparse.Namespace) -> float:
    """Run a preset from nothing; seconds, start of Snakemake to its end."""
    config = {
        "problem": name,
        "preset": options.preset,
        "budget": options.budget,
        "data": {
            "train": str(folder / "train_features.parquet"),
            "test": str(folder / "test_features.parquet"),
            "targets": str(folder / "train_targets.parquet"),
            "groups": {"file": str(folder / "train_groups.parquet"), "column": column},
        },
    }
    path = folder / "problem.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(common.ROOT / "Snakefile")]
    command += [
        "--configfile",
        str(path),
        "--cores",
        str(options.cores),
        "--directory",
        str(folder),
    ]
    command += ["--workflow-profile", str(common.ROOT / "profiles" / "default")]
    started = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    (folder / "ours.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        print(f"the run ended with status {done.returncode}; see {folder / 'ours.log'}")
    return time.monotonic() - started


def run_autogluon(folder: Path, seconds: float, options: argparse.Namespace) -> float:
    """Run AutoGluon's medium_quality with the same time for all targets together; seconds."""
    script = Path(__file__).with_name("autogluon_run.py")
    out = folder / "autogluon.parquet"
    command = [options.autogluon, str(script), str(folder), str(seconds), "medium_quality"]
    with open(folder / "autogluon.log", "w", encoding="utf-8") as log:
        started = time.monotonic()
        subprocess.run([*command, str(options.cores), str(out)], stdout=log, stderr=log, check=True)
    return time.monotonic() - started


def macro_auc(folder: Path, predictions: Path) -> float:
    """Mean AUC over the targets, on the held-out rows."""
    truth, found = pq.read_table(folder / "test_targets.parquet"), pq.read_table(predictions)
    values = []
    for target in truth.column_names:
        labels = np.asarray(truth[target].to_numpy(zero_copy_only=False), float)
        known = ~np.isnan(labels)
        values.append(auc(labels[known], np.asarray(found[target].to_numpy())[known]))
    return float(np.nanmean(values))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("set", type=Path)
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--preset", default="strong")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--autogluon", default=None)
    parser.add_argument("--folder", type=Path, default=Path("bench"))
    parser.add_argument("--seed", type=int, default=2026)
    options = parser.parse_args(arguments)
    name = options.set.name
    folder = (options.folder / name).resolve()
    column = split(options.set, folder, options.seed)
    rows: list[tuple[str, Any, Any]] = []
    seconds = run_ours(folder, name, column, options)
    blends = folder / "results" / name / "blends"
    for path in sorted(blends.glob("*/test.parquet")):
        rows.append(
            (f"blendmake {options.preset}, {path.parent.name}", macro_auc(folder, path), seconds)
        )
    if options.autogluon:
        taken = run_autogluon(folder, float(seconds_of(options.budget) or 0), options)
        found = macro_auc(folder, folder / "autogluon.parquet")
        rows.append(("AutoGluon medium_quality", found, taken))
    print(f"\n{name}, budget {options.budget}, {options.cores} cores\n")
    print("| | macro AUC, held out | seconds |\n| --- | --- | --- |")
    for what, value, spent in rows:
        print(f"| {what} | {value:.4f} | {spent:.0f} |")


if __name__ == "__main__":
    main()
