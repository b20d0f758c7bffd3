"""One model for all targets against one per target: seconds and macro AUC on one held-out fold."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import common  # noqa: F401 (it tells where the project is)
import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blendmake.families.xgboost import XGBoost
from blendmake.families.xgboost_vector import XGBoostVector
from blendmake.family import Fit, FoldData
from blendmake.stats.auc import auc
from blendmake.tasks.base import as_targets
from fold_data import fold_data, joint_fit, labels_at
from problems import Problem, write_problem

Floats = NDArray[np.float32]


def generated(folder: Path, rows: int, columns: int, targets: int) -> Problem:
    """A table whose targets share part of their signal."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(rows, columns)).astype(np.float32)
    shared = rng.normal(size=(columns, 4)) * (rng.random((columns, 1)) < 0.1)
    own = rng.normal(size=(columns, targets)) * (rng.random((columns, targets)) < 0.02)
    odds = values @ (shared @ rng.normal(size=(4, targets)) / 2 + own) / 2
    labels = (odds + rng.logistic(size=odds.shape) > 3).astype(float)
    train = {f"x{j}": values[:, j] for j in range(columns)}
    test = {name: column[:1] for name, column in train.items()}
    return write_problem(folder, train, test, labels, [f"y{j}" for j in range(targets)], folds=5)


def given(folder: Path, made: Path) -> Problem:
    """A set of the user's; the column `id` of each file is not used, rows are in one order."""
    features, labels = (
        part.drop_columns([name for name in ("id",) if name in part.column_names])
        for part in (pq.read_table(made / f"{name}.parquet") for name in ("features", "targets"))
    )
    train = {name: features[name].combine_chunks() for name in features.column_names}
    values = np.column_stack(
        [labels[name].cast("float64").to_numpy() for name in labels.column_names]
    )
    groups = pq.read_table(made / "groups.parquet").columns[-1].cast("string").to_numpy()
    return write_problem(
        folder,
        train,
        {name: column.slice(0, 1) for name, column in train.items()},
        values,
        labels.column_names,
        groups=np.unique(groups, return_inverse=True)[1],
        folds=5,
    )


def per_target(problem: Problem, data: FoldData, rounds: int, params: Mapping[str, Any]) -> Floats:
    """Held-out predictions (rows, targets) of one model per target, on one matrix."""
    family = XGBoost(data, 1)
    labels = labels_at(problem, data.train)
    return np.column_stack(
        [
            family.fit(Fit(as_targets([name]), labels[:, [j]], params, rounds, seed=1)).valid[:, 0]
            for j, name in enumerate(problem.targets)
        ]
    )


def jointly(
    problem: Problem, data: FoldData, folder: Path, rounds: int, params: Mapping[str, Any]
) -> Floats:
    """Held-out predictions (rows, targets) of one model."""
    task = joint_fit(problem, data, folder, params=params, rounds=rounds)
    return XGBoostVector(data, 1).fit(task).valid


def multilogloss(
    problem: Problem, data: FoldData, rounds: int, params: Mapping[str, Any]
) -> Floats:
    """Held-out predictions (rows, targets) of CatBoost's model for several labels."""
    from catboost import CatBoost, Pool

    train, valid = (np.concatenate(list(rows.blocks())) for rows in (data.train, data.valid))
    settings = {"loss_function": "MultiLogloss", "iterations": rounds, "thread_count": 1}
    settings |= {"depth": params["max_depth"], "learning_rate": params["learning_rate"]}
    settings |= {"logging_level": "Silent", "allow_writing_files": False}
    model = CatBoost(settings).fit(Pool(train, labels_at(problem, data.train).astype(int)))
    return np.asarray(model.predict(valid, prediction_type="Probability"), np.float32)


def macro_auc(truth: Floats, predicted: Floats) -> float:
    values = []
    for j in range(truth.shape[1]):
        known = ~np.isnan(truth[:, j])
        values.append(auc(truth[known, j], predicted[known, j]))
    return float(np.nanmean(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", type=Path, help="folder of features, targets and groups (parquet)")
    parser.add_argument("--rows", type=int, default=4_000, help="of the generated table")
    parser.add_argument("--columns", type=int, default=200, help="of the generated table")
    parser.add_argument("--outputs", type=int, default=20, help="targets of the generated table")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--depth", type=int, default=6)
    parser.add_argument("--dimensions", type=int, nargs="*", default=[1], help="of the projection")
    parser.add_argument("--catboost", action="store_true", help="its MultiLogloss, too")
    parser.add_argument("--no-plain", action="store_true", help="not all targets in the search")
    parser.add_argument("--pairs", type=int, default=1, help="times that all are run in turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.set is None:
            problem = generated(folder, options.rows, options.columns, options.outputs)
        elif options.set.is_dir():
            problem = given(folder, options.set)
        else:
            print(f"{options.set} is not here: nothing measured.")
            return
        data = fold_data(problem)
        truth = labels_at(problem, data.valid)
        params = {"learning_rate": options.learning_rate, "max_depth": options.depth}
        dimensions = [*options.dimensions, *([] if options.no_plain else [0])]
        calls: dict[str, Callable[[], Floats]] = {
            "one model per target": lambda: per_target(problem, data, options.rounds, params)
        }
        for k in dimensions:
            called = f"vector leaves, {f'split search in {k}' if k else 'plain'}"
            settings = {**params, "split_dimensions": k}
            calls[called] = lambda settings=settings: jointly(
                problem, data, folder, options.rounds, settings
            )
        if options.catboost:
            calls["CatBoost, MultiLogloss"] = lambda: multilogloss(
                problem, data, options.rounds, params
            )
        times: dict[str, list[float]] = {called: [] for called in calls}
        scores: dict[str, float] = {}
        for _ in range(options.pairs):  # taken in turn, so that a busy machine slows all alike
            for called, call in calls.items():
                start = time.perf_counter()
                predicted = call()
                times[called].append(time.perf_counter() - start)
                scores[called] = macro_auc(truth, predicted)
    base = times["one model per target"]
    rows, columns = data.train.shape
    print(
        f"{rows} × {columns}, {len(problem.targets)} targets, {options.rounds} rounds of depth "
        f"{options.depth}, one thread\n\n| | seconds | times as fast | macro AUC |\n|-|-:|-:|-:|"
    )
    for called in calls:
        ratio = median(b / t for b, t in zip(base, times[called], strict=True))
        print(f"| {called} | {median(times[called]):.1f} | {ratio:.2f} | {scores[called]:.4f} |")


if __name__ == "__main__":
    main()
