"""A source from tables to predictions: this project, the plain way, and the libraries' own loops.

The same table, targets, folds, params, rounds and cores three times, each a process of its own that
begins with the file on disk and ends with out-of-fold predictions:

- `snakemake`: a run of this project, start to finish, which also reads and checks the tables, makes the
  folds and keeps each fit;
- plain: `cross_val_predict` over `MultiOutputClassifier` of the scikit-learn wrapper (the folds are
  those of the project), which builds the matrix anew for every target and fold;
- floor: the bare loop over the library's own `train` on a matrix built once a fold, with nothing
  around it; all cores in a fit (`threads`), or a process of one thread for each (`side_by_side`).

In turn, several times; medians, and ratios within each round.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import common
import numpy as np
import pyarrow.parquet as pq
import yaml

from blendmake.stats.auc import auc
from workflow.conftest import copy_workflow

PARAMS: dict[str, dict[str, Any]] = {
    "xgboost": {"max_depth": 5, "learning_rate": 0.1, "max_bin": 256},
    "lightgbm": {"num_leaves": 31, "learning_rate": 0.1},
    "catboost": {"depth": 5, "learning_rate": 0.1},
}
MADE, TWIN, HERE, PLAIN = "made", "twin", "snakemake", "plain"


class Races(NamedTuple):
    """Runs by role, their macro AUC, seconds of this project's fits, what was not run whole."""

    taken: dict[str, list[dict[str, float]]]
    scores: dict[str, float]
    fitting: float
    notes: list[str]


def write_tables(folder: Path, rows: int, columns: int, targets: int) -> None:
    """Numbers and rare targets that share part of their signal."""
    import pyarrow as pa

    draw = np.random.default_rng(0)
    values = draw.normal(size=(rows, columns)).astype(np.float32)
    shared = draw.normal(size=(columns, 4)) * (draw.random((columns, 1)) < 0.1)
    odds = values @ (shared @ draw.normal(size=(4, targets)) / 2)
    labels = (odds + draw.logistic(size=odds.shape) > 4).astype(np.int8)
    ids = pa.array(range(rows))
    table = pa.table({"id": ids, **{f"x{j}": values[:, j] for j in range(columns)}})
    pq.write_table(table, folder / "train.parquet")
    truth = pa.table({"id": ids, **{f"y{j}": labels[:, j] for j in range(targets)}})
    pq.write_table(truth, folder / "targets.parquet")


def write_twin(folder: Path, rows: int, columns: int, targets: int) -> None:
    """The contest twin's main file and columns of the other one, in one table."""
    from blendmake.adapters import contest_twin

    extra = columns - contest_twin.MAIN_NUMBERS - contest_twin.CATEGORIES
    contest_twin.write(
        folder, rows=rows, test_rows=contest_twin.LEAST_TEST_ROWS, extra_columns=extra
    )
    table = pq.read_table(folder / "train_main_features.parquet")
    other = pq.read_table(folder / "train_extra_features.parquet")
    for name in other.column_names[1:]:
        table = table.append_column(name, other[name])
    for number, name in enumerate(table.column_names):
        if name.startswith("cat_"):
            table = table.set_column(number, name, table[name].cast("string"))
    pq.write_table(table.rename_columns(["id", *table.column_names[1:]]), folder / "train.parquet")
    labels = pq.read_table(folder / "train_target.parquet")
    labels = labels.rename_columns(["id", *labels.column_names[1:]])
    pq.write_table(labels.select(range(1 + targets)), folder / "targets.parquet")


def write_given(folder: Path, given: Path, targets: int) -> None:
    """A real set: features, the first targets, groups that folds keep whole."""
    for name in ("features", "targets", "groups"):
        table = pq.read_table(given / f"{name}.parquet")
        if name == "targets":
            ids = [one for one in table.column_names if one == "id"]
            table = table.select([*ids, *[c for c in table.column_names if c != "id"][:targets]])
        if "id" not in table.column_names:
            table = table.add_column(0, "id", [range(len(table))])
        pq.write_table(table, folder / f"{'train' if name == 'features' else name}.parquet")


def config(folder: Path, family: str, rounds: int, folds: int) -> dict[str, Any]:
    data: dict[str, Any] = {"train": "train.parquet", "id": "id", "targets": "targets.parquet"}
    if (folder / "groups.parquet").exists():
        column = pq.read_schema(folder / "groups.parquet").names[-1]
        data["groups"] = {"file": "groups.parquet", "column": column}
    return {
        "problem": "plain",
        "data": data,
        "folds": {"n": folds},
        "sources": {"one": {"family": family, "rounds": rounds, "params": PARAMS[family]}},
    }


def _read(folder: Path, family: str) -> tuple[Any, Any, Any]:
    """Features (rows, columns), labels (rows, targets) and folds (rows,).

    A frame with categories where the table has any, as the wrappers take them; else float32.
    """
    frame = pq.read_table(folder / "train.parquet").drop_columns(["id"]).to_pandas()
    words = [name for name in frame if frame[name].dtype.kind not in "biuf"]
    y = pq.read_table(folder / "targets.parquet").drop_columns(["id"]).to_pandas().to_numpy()
    fold = np.load(folder / "folds.npy")
    if not words:
        return frame.to_numpy(np.float32), y, fold
    for name in frame:
        if name not in words:
            frame[name] = frame[name].astype(np.float32)
        elif family == "catboost":
            frame[name] = frame[name].astype("category").cat.codes
        else:
            frame[name] = frame[name].astype("category")
    return frame, y, fold


def _words(x: Any) -> list[str]:
    """Columns that CatBoost takes as categories."""
    return [] if isinstance(x, np.ndarray) else [n for n in x if x[n].dtype.kind in "iu"]


def _rows(x: Any, which: Any) -> Any:
    return x[which] if isinstance(x, np.ndarray) else x.iloc[np.flatnonzero(which)]


@contextmanager
def timed() -> Iterator[list[float]]:
    """Wall and processor seconds of this process, in the list when it is over."""
    took: list[float] = []
    began = time.perf_counter(), time.process_time()
    yield took
    took += [time.perf_counter() - began[0], time.process_time() - began[1]]


def plain(
    folder: Path, family: str, rounds: int, cores: int, targets: int
) -> tuple[Any, list[float]]:
    """Out-of-fold probabilities (rows, targets), as a script of a few lines makes them; its time."""
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.multioutput import MultiOutputClassifier

    x, y, fold = _read(folder, family)
    params = PARAMS[family]
    if family == "xgboost":
        from xgboost import XGBClassifier as Classifier

        one = Classifier(
            n_estimators=rounds, n_jobs=cores, tree_method="hist", enable_categorical=True, **params
        )
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
    split, y = PredefinedSplit(fold), y[:, :targets]
    given = {"cat_features": _words(x)} if family == "catboost" else None
    with timed() as took:
        found = cross_val_predict(
            MultiOutputClassifier(one), x, y, cv=split, method="predict_proba", params=given
        )
    return np.stack([both[:, 1] for both in found], axis=1), took


def _fold(given: tuple[Path, str, int, int, int, int]) -> tuple[Any, Any, list[float]]:
    """Positions and probabilities of one fold by the library's own loop, and the loop's time."""
    folder, family, rounds, threads, targets, k = given
    x, y, fold = _read(folder, family)
    train, valid = fold != k, np.flatnonzero(fold == k)
    words, x, held_out = _words(x), _rows(x, train), _rows(x, fold == k)
    out = np.empty((len(valid), targets), np.float32)
    params = PARAMS[family]
    if family == "xgboost":
        import xgboost as xgb

        matrix = xgb.QuantileDMatrix(
            x, max_bin=params["max_bin"], nthread=threads, enable_categorical=True
        )
        settings = {**params, "objective": "binary:logistic", "nthread": threads}

        def fit(j: int) -> Any:
            matrix.set_label(y[train, j])
            return xgb.train(settings, matrix, rounds).inplace_predict(held_out)

    elif family == "lightgbm":
        import lightgbm as lgb

        settings = {**params, "objective": "binary", "verbosity": -1, "num_threads": threads}
        settings |= {"feature_pre_filter": False, "deterministic": True, "force_col_wise": True}
        data = lgb.Dataset(x, label=y[train, 0], params=settings).construct()

        def fit(j: int) -> Any:
            model = lgb.train(settings, data.set_label(y[train, j]), rounds)
            return model.predict(held_out, num_threads=threads)

    else:
        from catboost import CatBoost, Pool

        settings = {**params, "loss_function": "Logloss", "iterations": rounds}
        settings |= {"thread_count": threads, "logging_level": "Silent"}
        settings |= {"allow_writing_files": False}

        def fit(j: int) -> Any:
            pool = Pool(x, y[train, j], cat_features=words, thread_count=threads)
            model = CatBoost(settings).fit(pool)
            return model.predict(held_out, prediction_type="Probability")[:, 1]

    with timed() as took:
        for j in range(targets):
            out[:, j] = fit(j)
    return valid, out, took


def floor(
    folder: Path, family: str, rounds: int, cores: int, targets: int, side_by_side: bool
) -> tuple[Any, list[float]]:
    """As `plain`, with nothing around the library's own loop; and the time of the loops.

    Side by side their wall time is that of all folds shared out to the cores: right where there are
    as many folds as cores, or two or three times as many.
    """
    threads = 1 if side_by_side else cores
    fold = np.load(folder / "folds.npy")
    work = [(folder, family, rounds, threads, targets, int(k)) for k in np.unique(fold)]
    found = np.empty((len(fold), targets), np.float32)
    if side_by_side:
        with ProcessPoolExecutor(cores) as pool:
            parts = list(pool.map(_fold, work))
    else:
        parts = list(map(_fold, work))
    for positions, out, _ in parts:
        found[positions] = out
    wall, processor = (sum(both) for both in zip(*(took for *_, took in parts), strict=True))
    return found, [wall / cores if side_by_side else wall, processor]


def child(role: str, folder: Path, family: str, rounds: int, cores: int, targets: int) -> None:
    """What a child process does; its predictions go to `<role>.npy`, its fits' time beside."""
    if role == PLAIN:
        found, took = plain(folder, family, rounds, cores, targets)
    else:
        found, took = floor(folder, family, rounds, cores, targets, role == "side_by_side")
    np.save(folder / f"{role}.npy", found)
    (folder / f"{role}.json").write_text(json.dumps(took))


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
    command = [sys.executable, "-m", "snakemake", "results/plain/sources/one/oof.parquet"]
    command += ["--configfile", "problem.yaml", "--cores", str(cores)]
    return measured(command, folder)


def macro(labels: Any, found: Any) -> float:
    values = []
    for j in range(found.shape[1]):
        known = ~np.isnan(labels[:, j].astype(float))
        values.append(auc(labels[known, j], found[known, j]))
    return float(np.mean(values))


def races(folder: Path, family: str, options: argparse.Namespace) -> Races:
    """A family by each role, in turn, on the tables of a folder."""
    problem = config(folder, family, options.rounds, options.folds)
    (folder / "problem.yaml").write_text(yaml.safe_dump(problem, sort_keys=False))
    labels = pq.read_table(folder / "targets.parquet").drop_columns(["id"]).to_pandas().to_numpy()
    every = labels.shape[1]
    taken: dict[str, list[dict[str, float]]] = {role: [] for role in (HERE, *options.roles)}
    few = {
        role: min(
            every, (options.plain_targets if role == PLAIN else options.floor_targets) or every
        )
        for role in options.roles
    }
    for _ in range(options.pairs):
        taken[HERE].append(run_here(folder, options.cores))
        folds = pq.read_table(folder / "results/plain/folds.parquet")["fold"].to_numpy()
        np.save(folder / "folds.npy", folds)
        for role in options.roles:
            again = [sys.executable, __file__, "--child", role, str(folder)]
            again += ["--families", family, "--rounds", str(options.rounds)]
            again += ["--cores", str(options.cores), "--targets", str(few[role])]
            run = measured(again, folder)
            taken[role].append(_as_of_all(run, every / few[role], folder / f"{role}.json"))
    table = pq.read_table(folder / "results/plain/sources/one/oof.parquet").drop_columns(["id"])
    oof = table.to_pandas().to_numpy()
    scores, notes = {HERE: macro(labels, oof)}, []
    for role in options.roles:
        scores[role] = macro(labels, np.load(folder / f"{role}.npy"))
        if few[role] < every:
            here = macro(labels, oof[:, : few[role]])
            notes.append(
                f"{role}: {few[role]} targets, the time of their fits times the rest; snakemake's "
                f"AUC of these: {here:.5f}"
            )
    fits = pq.read_table(folder / "results/plain/sources/one/fits.parquet", columns=["seconds"])
    return Races(taken, scores, float(np.sum(fits["seconds"].to_numpy())), notes)


def _as_of_all(run: dict[str, float], times: float, took: Path) -> dict[str, float]:
    """What a run of a few targets would have taken of `times` as many: its fits `times` as long."""
    wall, processor = json.loads(took.read_text())
    more = times - 1
    return {
        **run,
        "wall": run["wall"] + more * wall,
        "processor": run["processor"] + more * processor,
    }


def told(name: str, family: str, found: Races, cores: int) -> Iterator[str]:
    """A line of the table for each role."""
    here = found.taken[HERE]
    for role, runs in found.taken.items():
        ratios = [one["wall"] / ours["wall"] for one, ours in zip(runs, here, strict=True)]
        wall, processor, peak = (
            median(run[key] for run in runs) for key in ("wall", "processor", "peak")
        )
        times = f"{median(ratios):.2f}"
        if len(ratios) > 1:
            times += f" ({min(ratios):.2f} to {max(ratios):.2f})"
        yield (
            f"| {name} | {family} | {role} | {wall:.1f} | {times} | {processor:.1f} | "
            f"{peak:.0f} | {found.scores[role]:.5f} |"
        )
    wall = median(run["wall"] for run in here)
    for note in found.notes:
        yield f"| | | ({note}) | | | | | |"
    yield f"| | | fits' share of our cores × wall: {found.fitting / wall / cores:.1%} | | | | | |"


def prepare(folder: Path, name: str, options: argparse.Namespace) -> str | None:
    """Write the tables of a set; what it is, or None where its files are not here."""
    if name in (MADE, TWIN):
        write = write_tables if name == MADE else write_twin
        write(folder, options.rows, options.columns, options.targets)
    elif not (given := options.data / name).is_dir():
        return None
    else:
        write_given(folder, given, options.targets)
    table, labels = (pq.ParquetFile(folder / f"{part}.parquet") for part in ("train", "targets"))
    return (
        f"{name}: {table.metadata.num_rows} × {table.metadata.num_columns - 1}, "
        f"{labels.metadata.num_columns - 1} targets"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=PARAMS, default=list(PARAMS))
    parser.add_argument("--sets", nargs="+", default=[MADE], help=f"{MADE}, {TWIN}, or of --data")
    parser.add_argument("--data", type=Path, default=common.ROOT / "data", help="folder of sets")
    parser.add_argument("--rows", type=int, default=8000, help="of a made-up table")
    parser.add_argument("--columns", type=int, default=300, help="of a made-up table")
    parser.add_argument("--targets", type=int, default=20, help="at most")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--cores", type=int, default=common.own_cores())
    parser.add_argument("--pairs", type=int, default=1)
    parser.add_argument("--roles", nargs="*", default=[PLAIN, "threads", "side_by_side"])
    parser.add_argument(
        "--plain-targets", type=int, help="as many in the plain way, their fits times the rest"
    )
    parser.add_argument(
        "--floor-targets", type=int, help="as many in the bare loop, their fits times the rest"
    )
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        role, folder = options.child
        family = options.families[0]
        return child(role, Path(folder), family, options.rounds, options.cores, options.targets)
    print(common.machine(*options.families))
    print(f"{options.folds} folds × {options.rounds} rounds; {options.pairs} rounds in turn.\n")
    heads = ("", "family", "", "wall, s", "of snakemake's", "processor, s", "peak, MB", "AUC")
    print("| " + " | ".join(heads) + " |\n| --- | --- | --- | --: | --: | --: | --: | --: |")
    facts = []
    for name in options.sets:
        with tempfile.TemporaryDirectory(prefix="blendmake-plain-") as parent:
            folder = copy_workflow(Path(parent) / "work")
            what = prepare(folder, name, options)
            facts.append(what or f"{name}: not under {options.data.name}/, left out")
            for family in options.families if what else ():
                found = races(folder, family, options)
                for line in told(name, family, found, options.cores):
                    print(line, flush=True)
    print("\n" + "; ".join(facts) + ".")


if __name__ == "__main__":
    main()
