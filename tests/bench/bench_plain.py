"""A source from tables to predictions: this project, the plain way, and the libraries' own loops.

The same table, targets, folds, params, rounds and cores three times, each a process of its own that
begins with the file on disk and ends with out-of-fold predictions:

- `snakemake`: a run of this project, start to finish, which also reads and checks the tables, makes the
  folds, predicts the test rows in every fold and keeps each fit;
- plain: `cross_val_predict` over `MultiOutputClassifier` of the scikit-learn wrapper (the folds are
  those of the project), which builds the matrix anew for every target and fold;
- floor: the bare loop over the library's own `train` on a matrix built once a fold, with nothing
  around it; all cores in a fit (`threads`), or a process of one thread for each (`side by side`).

In turn, several times; medians, and ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import common  # noqa: F401 (it tells where the project is)
import numpy as np
import pyarrow.parquet as pq
import yaml

from blendmake.auc import auc
from workflow.conftest import copy_workflow

PARAMS: dict[str, dict[str, Any]] = {
    "xgboost": {"max_depth": 5, "learning_rate": 0.1, "max_bin": 256},
    "lightgbm": {"num_leaves": 31, "learning_rate": 0.1},
    "catboost": {"depth": 5, "learning_rate": 0.1},
}
FOLDS = 5


def write_tables(folder: Path, rows: int, columns: int, targets: int) -> None:
    """Numbers and rare targets that share part of their signal."""
    import pyarrow as pa

    draw = np.random.default_rng(0)
    values = draw.normal(size=(rows, columns)).astype(np.float32)
    shared = draw.normal(size=(columns, 4)) * (draw.random((columns, 1)) < 0.1)
    odds = values @ (shared @ draw.normal(size=(4, targets)) / 2)
    labels = (odds + draw.logistic(size=odds.shape) > 4).astype(np.int8)
    ids = pa.array(range(rows + 10))
    table = pa.table({"id": ids[:rows], **{f"x{j}": values[:, j] for j in range(columns)}})
    few = pa.table({"id": ids[rows:], **{f"x{j}": values[:10, j] for j in range(columns)}})
    pq.write_table(table, folder / "train.parquet")
    pq.write_table(few, folder / "test.parquet")
    truth = pa.table({"id": ids[:rows], **{f"y{j}": labels[:, j] for j in range(targets)}})
    pq.write_table(truth, folder / "targets.parquet")


def config(family: str, rounds: int) -> dict[str, Any]:
    return {
        "problem": "plain",
        "data": {
            "train": "train.parquet",
            "test": "test.parquet",
            "id": "id",
            "targets": "targets.parquet",
        },
        "folds": {"n": FOLDS},
        "sources": {"one": {"family": family, "rounds": rounds, "params": PARAMS[family]}},
    }


def _read(folder: Path) -> tuple[Any, Any, Any]:
    """Features (rows, columns), labels (rows, targets) and folds (rows,)."""
    x = pq.read_table(folder / "train.parquet").drop_columns(["id"]).to_pandas().to_numpy()
    y = pq.read_table(folder / "targets.parquet").drop_columns(["id"]).to_pandas().to_numpy()
    return x, y, np.load(folder / "folds.npy")


def plain(folder: Path, family: str, rounds: int, cores: int) -> Any:
    """Out-of-fold probabilities (rows, targets), as a script of a few lines makes them."""
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.multioutput import MultiOutputClassifier

    x, y, fold = _read(folder)
    params = PARAMS[family]
    if family == "xgboost":
        from xgboost import XGBClassifier as Classifier

        one = Classifier(n_estimators=rounds, n_jobs=cores, tree_method="hist", **params)
    elif family == "lightgbm":
        from lightgbm import LGBMClassifier as Classifier

        one = Classifier(n_estimators=rounds, n_jobs=cores, verbose=-1, **params)
    else:
        from catboost import CatBoostClassifier as Classifier

        one = Classifier(
            iterations=rounds,
            thread_count=cores,
            verbose=False,
            allow_writing_files=False,
            **params,
        )
    split = PredefinedSplit(fold)
    found = cross_val_predict(MultiOutputClassifier(one), x, y, cv=split, method="predict_proba")
    return np.stack([both[:, 1] for both in found], axis=1)


def _fold(given: tuple[Path, str, int, int, int]) -> tuple[Any, Any]:
    """Positions and probabilities of one fold by the library's own loop."""
    folder, family, rounds, threads, k = given
    x, y, fold = _read(folder)
    train, valid = fold != k, np.flatnonzero(fold == k)
    out = np.empty((len(valid), y.shape[1]), np.float32)
    params = PARAMS[family]
    if family == "xgboost":
        import xgboost as xgb

        matrix = xgb.QuantileDMatrix(x[train], max_bin=params["max_bin"], nthread=threads)
        settings = {**params, "objective": "binary:logistic", "nthread": threads}
        for j in range(y.shape[1]):
            matrix.set_label(y[train, j])
            model = xgb.train(settings, matrix, rounds)
            out[:, j] = model.inplace_predict(x[valid])
    elif family == "lightgbm":
        import lightgbm as lgb

        settings = {**params, "objective": "binary", "verbosity": -1, "num_threads": threads}
        settings |= {"feature_pre_filter": False, "deterministic": True, "force_col_wise": True}
        data = lgb.Dataset(x[train], label=y[train, 0], params=settings).construct()
        for j in range(y.shape[1]):
            model = lgb.train(settings, data.set_label(y[train, j]), rounds)
            out[:, j] = model.predict(x[valid], num_threads=threads)
    else:
        from catboost import CatBoost, Pool

        settings = {**params, "loss_function": "Logloss", "iterations": rounds}
        settings |= {"thread_count": threads, "logging_level": "Silent"}
        settings |= {"allow_writing_files": False}
        for j in range(y.shape[1]):
            model = CatBoost(settings).fit(Pool(x[train], y[train, j], thread_count=threads))
            out[:, j] = model.predict(x[valid], prediction_type="Probability")[:, 1]
    return valid, out


def floor(folder: Path, family: str, rounds: int, cores: int, side_by_side: bool) -> Any:
    """As `plain`, with nothing around the library's own loop."""
    threads = 1 if side_by_side else cores
    work = [(folder, family, rounds, threads, k) for k in range(FOLDS)]
    rows, targets = np.load(folder / "shape.npy")
    found = np.empty((rows, targets), np.float32)
    if side_by_side:
        with ProcessPoolExecutor(cores) as pool:
            parts = list(pool.map(_fold, work))
    else:
        parts = list(map(_fold, work))
    for positions, out in parts:
        found[positions] = out
    return found


def child(role: str, folder: Path, family: str, rounds: int, cores: int) -> None:
    """What a child process does; its predictions go to `<role>.npy`."""
    if role == "plain":
        found = plain(folder, family, rounds, cores)
    else:
        found = floor(folder, family, rounds, cores, role == "side_by_side")
    np.save(folder / f"{role}.npy", found)


def measured(command: list[str], folder: Path) -> dict[str, float]:
    """Wall and processor seconds of a command with all that it starts, and its largest process, MB."""
    script = (
        "import json, resource, subprocess, sys, time; began = time.monotonic(); "
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "sys.exit(done.stderr.decode()[-3000:]) if done.returncode else "
        "print(json.dumps([time.monotonic() - began, used.ru_utime + used.ru_stime, used.ru_maxrss]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], cwd=folder, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(done.stderr)
    wall, processor, largest = json.loads(done.stdout)
    return {"wall": wall, "processor": processor, "peak": largest / 1024}


def run_here(folder: Path, cores: int) -> dict[str, float]:
    """A run of this project in a folder where nothing of it stands yet."""
    for name in ("results", "scratch", "logs", "benchmarks", ".snakemake"):
        subprocess.run(["rm", "-rf", str(folder / name)], check=True)
    command = [sys.executable, "-m", "snakemake"]
    command += [f"results/plain/sources/one/{part}.parquet" for part in ("oof", "test")]
    command += ["--configfile", "problem.yaml", "--cores", str(cores)]
    return measured(command, folder)


def macro(labels: Any, found: Any) -> float:
    return float(np.mean([auc(labels[:, j], found[:, j]) for j in range(labels.shape[1])]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=PARAMS, default="xgboost")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--columns", type=int, default=300)
    parser.add_argument("--targets", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--roles", nargs="+", default=["plain", "threads", "side_by_side"])
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        role, folder = options.child
        return child(role, Path(folder), options.family, options.rounds, options.cores)
    load = os.getloadavg()[0]
    taken: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="blendmake-plain-") as name:
        folder = copy_workflow(Path(name))
        write_tables(folder, options.rows, options.columns, options.targets)
        problem = config(options.family, options.rounds)
        (folder / "problem.yaml").write_text(yaml.safe_dump(problem, sort_keys=False))
        np.save(folder / "shape.npy", [options.rows, options.targets])
        for _ in range(options.pairs):
            taken.setdefault("snakemake", []).append(run_here(folder, options.cores))
            folds = pq.read_table(folder / "results/plain/folds.parquet")["fold"].to_numpy()
            np.save(folder / "folds.npy", folds)
            for role in options.roles:
                again = [sys.executable, __file__, "--child", role, str(folder)]
                again += ["--family", options.family, "--rounds", str(options.rounds)]
                again += ["--cores", str(options.cores)]
                taken.setdefault(role, []).append(measured(again, folder))
        labels = _read(folder)[1]
        oof = pq.read_table(folder / "results/plain/sources/one/oof.parquet").drop_columns(["id"])
        scores = {"snakemake": macro(labels, oof.to_pandas().to_numpy())}
        scores |= {role: macro(labels, np.load(folder / f"{role}.npy")) for role in options.roles}
    print(
        f"{options.family} {version(options.family)}, {options.rows} × {options.columns}, "
        f"{options.targets} targets × {FOLDS} folds × {options.rounds} rounds, {options.cores} cores, "
        f"{options.pairs} rounds in turn; load before: {load:.1f}.\n"
    )
    heads = ("", "wall, s", "of snakemake's, in each round", "processor, s", "peak, MB", "AUC")
    print("| " + " | ".join(heads) + " |")
    print("|-|-:|-:|-:|-:|-:|")
    for role, runs in taken.items():
        pairs = zip(runs, taken["snakemake"], strict=True)
        ratios = [one["wall"] / here["wall"] for one, here in pairs]
        wall, processor, peak = (
            median(run[key] for run in runs) for key in ("wall", "processor", "peak")
        )
        print(
            f"| {role} | {wall:.1f} | {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | "
            f"{processor:.1f} | {peak:.0f} | {scores[role]:.5f} |"
        )


if __name__ == "__main__":
    main()
