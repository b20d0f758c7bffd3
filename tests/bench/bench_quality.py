"""Macro AUC on held-out groups against wall seconds: a preset, AutoGluon, LightAutoML.

Same rows, same cores, one after the other; each set has cores of its own, so that sets run side by side
and whoever runs on one has the same neighbour. AutoGluon and LightAutoML fit target by target, the time
shared out among those that are left, less to one that takes more than it is given; once it is over they
begin no other target, and what they have not fitted counts as one half. They have environments of
their own (`make bench` makes both) and are left out where these are not there. A preset is stopped when
its time is over (Ctrl-C): what counts is the last blend that stands then, or the first source.
Differences are paired: the same held-out rows, groups as units.

usage: python tests/bench/bench_quality.py [SET ...] [--budgets 60s 200s 10m] [--cores 1] …

SET is a folder of data/ with features.parquet, targets.parquet and groups.parquet; `made` is made up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from blendmake.durations import seconds_of
from blendmake.scores import compare_predictions, score_predictions
from blendmake.tasks.base import as_targets

HERE = Path(__file__).resolve().parent
OTHERS = {"AutoGluon": "autogluon", "LightAutoML": "lightautoml"}
# What a preset makes, the last to stand first.
STANDS = ("blends/champion", "blends/best_of_5", "blends/best_of_3", "blends/best_of_2")
STANDS += ("sources/vector", "sources/logistic")
MADE = "made"


class Failed(Exception):
    """A run that left nothing to score, with the end of its log."""


@dataclass(frozen=True)
class Result:
    """Who predicted the held-out rows (rows, targets) with which time, and what it took."""

    who: str
    budget: str
    seconds: float
    predicted: NDArray[Any]


def make_up(folder: Path) -> None:
    """A set for a look whether all runs."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(600, 8))
    odds = values[:, :1] + draw.normal(size=(600, 2))
    tables = {
        "features": {f"x{j}": values[:, j] for j in range(8)},
        "targets": {f"y{j}": (odds[:, j] > 0.5).astype(np.int8) for j in range(2)},
        "groups": {"site": draw.integers(0, 60, 600)},
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")


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


def run_ours(folder: Path, column: str, budget: str, options: argparse.Namespace) -> Result:
    """Run a preset from nothing; seconds from Snakemake's start to its end."""
    name = f"b{budget}"
    config = {
        "problem": name,
        "preset": options.preset,
        "budget": budget,
        "data": {
            "train": str(folder / "train_features.parquet"),
            "test": str(folder / "test_features.parquet"),
            "targets": str(folder / "train_targets.parquet"),
            "groups": {"file": str(folder / "train_groups.parquet"), "column": column},
        },
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(common.ROOT / "Snakefile")]
    command += ["--configfile", str(path), "--cores", str(options.cores)]
    command += ["--directory", str(folder)]
    command += ["--workflow-profile", str(common.ROOT / "profiles" / "default")]
    log = folder / f"{name}.log"
    _, seconds = common.run_within(command, seconds_of(budget), log)
    stood = [what for what in STANDS if (folder / predicted(name, what)).exists()]
    if not stood:
        raise Failed(f"nothing stands after {budget}:\n{log.read_text(encoding='utf-8')[-3000:]}")
    who = f"`{options.preset}`, {Path(stood[0]).name}"
    return Result(who, budget, seconds, read(folder, folder / predicted(name, stood[0])))


def predicted(problem: str, what: str) -> str:
    """Where an artifact's test predictions are."""
    return f"results/{problem}/{what}/test.parquet"


def run_other(folder: Path, who: str, budget: str, options: argparse.Namespace) -> Result | None:
    """Run AutoGluon or LightAutoML in its environment; None where that is not there."""
    name = OTHERS[who]
    python = common.ROOT / f".venv-{name}" / "bin" / "python"
    if not python.exists():
        return None
    out = folder / f"{name}_{budget}.npz"
    for part in ("train_features", "train_targets", "test_features"):
        write_arrays(folder / f"{part}.parquet")
    command = [str(python), str(HERE / "automl_run.py"), name, str(folder)]
    log = out.with_suffix(".log")
    with log.open("w", encoding="utf-8") as sink:
        began = time.monotonic()
        done = subprocess.run(
            [*command, str(seconds_of(budget)), str(options.cores), str(out)],
            stdout=sink,
            stderr=sink,
        )
    if done.returncode:
        raise Failed(f"{who} failed:\n{log.read_text(encoding='utf-8')[-3000:]}")
    seconds, predictions = time.monotonic() - began, read(folder, out)
    fitted = int((np.ptp(predictions, axis=0) > 0).sum())
    part = f", {fitted} of {predictions.shape[1]} targets" if fitted < predictions.shape[1] else ""
    return Result(who + part, budget, seconds, predictions)


def write_arrays(table: Path) -> None:
    """A table as arrays, which every environment can read: text is text, '' where it is missing."""
    frame = pq.read_table(table).to_pandas()
    columns = {}
    for name in frame:
        column = frame[name]
        words = column.dtype.kind not in "biuf"
        columns[name] = (
            column.astype(object).where(column.notna(), "") if words else column
        ).to_numpy(str if words else None)
    np.savez(table.with_suffix(".npz"), **columns)


def read(folder: Path, predictions: Path) -> NDArray[Any]:
    """Predictions (rows, targets) in the order of the held-out truth."""
    names = pq.read_schema(folder / "test_targets.parquet").names
    if predictions.suffix == ".npz":
        with np.load(predictions) as arrays:
            return np.column_stack([arrays[name] for name in names]).astype(float)
    return pq.read_table(predictions, columns=names).to_pandas().to_numpy(float)


def told(name: str, folder: Path, column: str, results: Sequence[Result]) -> Iterator[str]:
    """A line for each result; differences are from the last of AutoGluon's."""
    truth = pq.read_table(folder / "test_targets.parquet").to_pandas()
    sites = pq.read_table(folder / "test_groups.parquet")[column].to_pylist()
    groups = np.unique(np.asarray(sites).astype(str), return_inverse=True)[1]
    labels, names = truth.to_numpy(float), list(truth)
    reference = [one for one in results if one.who.startswith("AutoGluon")][-1:]
    for one in results:
        of = as_targets(names)
        scores = score_predictions(one.predicted, labels, of, groups=groups, estimate="held out")
        less = ""
        if reference and one is not reference[0]:
            compared = compare_predictions(
                one.predicted, reference[0].predicted, labels, of, groups=groups
            )
            less = between(compared, "difference", "{:+.4f}")
        yield (
            f"| {name} | {one.who} | {one.budget} | {one.seconds:.0f} | "
            f"{between(scores, 'value', '{:.4f}')} | {less} |"
        )


def between(table: pa.Table, key: str, form: str) -> str:
    """The macro figure of a table of scores, with its interval."""
    row = next(r for r in table.to_pylist() if r["target"] == "macro" and r["metric"] == "auc")
    value, low, high = (form.format(row[k]) for k in (key, "ci_low", "ci_high"))
    return f"{value} ({low} to {high})"


def race(name: str, parent: Path, cores: Collection[int], options: argparse.Namespace) -> list[str]:
    """All runs on one set, on these cores alone: the lines of the table, then what was left out."""
    os.sched_setaffinity(0, cores)  # of this thread, and of what it starts
    source, folder = options.data / name, parent / f"of_{name}"
    if name == MADE:
        source = parent
        make_up(source)
    if not source.is_dir():
        return [f"{name}: not under {options.data.name}/, left out."]
    column = split(source, folder, options.seed)
    results = [run_ours(folder, column, budget, options) for budget in options.budgets]
    missing = []
    for who, key in OTHERS.items():
        given = getattr(options, key)
        for budget in options.budgets if given is None else given:
            result = run_other(folder, who, budget, options)
            if result is None:
                missing.append(f"{who}: no environment .venv-{key}, left out.")
                break
            results.append(result)
    return [*told(name, folder, column, results), *missing]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=["toxcast41", "diabetes130"], metavar="SET")
    parser.add_argument(
        "--budgets", nargs="*", default=["60s", "200s", "10m"], help="of the preset"
    )
    parser.add_argument("--autogluon", nargs="*", help="its budgets; left out: the preset's")
    parser.add_argument("--lightautoml", nargs="*", help="its budgets; left out: the preset's")
    parser.add_argument("--preset", default="strong")
    parser.add_argument("--cores", type=int, default=1, help="of each set")
    parser.add_argument("--data", type=Path, default=common.ROOT / "data", help="folder of sets")
    parser.add_argument("--seed", type=int, default=2026, help="of the rows held out")
    parser.add_argument("--folder", type=Path, help="where; left out: a temporary one")
    options = parser.parse_args()
    print(common.machine("xgboost", "lightgbm", "torch"))
    every = sorted(os.sched_getaffinity(0))
    lanes = max(1, min(len(every) // options.cores, len(options.sets)))
    print(
        f"A fifth of the groups held out. {options.cores} cores for a run, {lanes} sets side by side.\n"
    )
    print(
        "| set | | time given | seconds | macro AUC, held out (95%) | less AutoGluon's (95%) |\n"
        "| --- | --- | --: | --: | --- | --- |",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="blendmake-quality-", dir=options.folder) as parent:

        def lane(k: int) -> list[str]:
            own = every[k * options.cores : (k + 1) * options.cores]
            sets = options.sets[k::lanes]
            return [line for name in sets for line in race(name, Path(parent), own, options)]

        try:
            with ThreadPoolExecutor(lanes) as pool:
                lines = [line for found in pool.map(lane, range(lanes)) for line in found]
        except Failed as error:
            sys.exit(str(error))
    table = [line for line in lines if line.startswith("|")]
    print("\n".join([*table, "", *sorted(set(lines) - set(table))]))


if __name__ == "__main__":
    main()
