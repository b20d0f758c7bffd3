"""Searches: work until they find what random search found, and trials per second.

First part: random search without a pruner makes n trials; then how many fit-seconds the defaults (TPE
and median pruner) take to reach its best value, on the same data, space and folds, seed by seed. Fit
rounds (rounds times folds) say the same where a machine is busy. A search that has not reached it
with n trials is given more, until it has spent what random search spent; if it still has not, it
counts with that. The baseline trial is paid for, but what it scores is not taken as found.
Second part: a worker against a plain Optuna loop over cross_val_score of the scikit-learn wrapper,
same params, rounds, rows and threads, nothing pruned, in turn.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean, median
from typing import Any

import common
import numpy as np
import optuna
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import xgboost as xgb
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_score

from blendmake.adapters import contest_twin
from blendmake.searches.space import space_of
from blendmake.searches.table import Trial, rated
from blendmake.searches.working import Worker, trials_of
from problems import Problem, write_problem
from search_worker import search_in, search_params

FOLDS = 3
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 0.02, "high": 0.08, "log": True},
    "max_depth": {"low": 5, "high": 10},
    "min_child_weight": {"low": 1, "high": 8},
    "subsample": {"low": 0.65, "high": 0.95},
    "colsample_bytree": {"low": 0.65, "high": 0.95},
    "reg_alpha": {"low": 1e-4, "high": 1.0, "log": True},
    "reg_lambda": {"low": 0.5, "high": 6.0},
    "gamma": {"low": 0.0, "high": 3.0},
}
BASELINE = {
    "learning_rate": 0.05,
    "max_depth": 6,
    "min_child_weight": 1,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    "reg_alpha": 1e-4,
    "reg_lambda": 1.0,
    "gamma": 0.0,
}
FIXED = {"max_bin": 32}  # a quarter of the time of the default on tables as small as these
RANDOM: dict[str, Any] = {"sampler": "random", "pruner": "none"}
RIVALS: dict[str, dict[str, Any]] = {
    "TPE, median pruner (default)": {},
    "TPE, hyperband": {"pruner": "hyperband"},
}


@dataclass(frozen=True)
class Setting:
    """What all searches have in common."""

    problem: Problem
    rounds: int
    trials: int
    target: str

    def run(
        self,
        seed: int,
        name: str,
        until: Callable[[list[Trial]], bool] | None = None,
        **config: Any,
    ) -> list[Trial]:
        """The trials of a search by one worker, in their order. Its name decides what it draws.

        `until`: told the trials; as long as it says no, the search goes on with a third more.
        """
        source = {"family": "xgboost", "rounds": self.rounds, "params": {**BASELINE, **FIXED}}
        with tempfile.TemporaryDirectory() as folder:
            scratch = Path(folder) / "scratch"
            for trials in itertools.count(self.trials, max(1, self.trials // 3)):
                params = search_params(
                    {"xgb": source},
                    folds=range(FOLDS),
                    seed=seed,
                    targets=[self.target],
                    trials=trials,
                    space=SPACE,
                    **config,
                )
                search = search_in(self.problem, params, name)
                Worker(search, scratch, Path(folder)).run()
                found = trials_of(search, scratch, finished=True)
                found.sort(key=lambda trial: trial["number"])
                if until is None or until(found):
                    break
        return found


def generated(folder: Path, rows: int) -> tuple[Problem, pd.DataFrame]:
    """The main columns of the contest twin, also as the scikit-learn wrapper takes them."""
    contest_twin.write(folder, rows=rows, test_rows=contest_twin.LEAST_TEST_ROWS, extra_columns=1)
    train = pq.read_table(folder / "train_main_features.parquet").drop_columns(["customer_id"])
    columns = {
        name: column.combine_chunks().cast(pa.string())
        if name.startswith("cat_")
        else column.combine_chunks()
        for name, column in zip(train.column_names, train.columns, strict=True)
    }
    labels = pq.read_table(folder / "train_target.parquet", columns=list(contest_twin.TARGETS))
    problem = write_problem(
        folder / "problem",
        columns,
        {name: column.slice(0, 1) for name, column in columns.items()},
        labels.to_pandas().to_numpy(float),
        contest_twin.TARGETS,
        folds=FOLDS,
    )
    frame = pa.table(columns).to_pandas()
    # Levels in the same order: XGBoost's splits of many levels depend on it.
    for name, levels in problem.inputs.feature_files("train").level_names.items():
        frame[name] = pd.Categorical(frame[name], categories=list(levels))
    return problem, frame


# Work until the best of random search


@dataclass(frozen=True)
class Work:
    """What some trials took: wall seconds, and rounds over all folds."""

    seconds: float
    rounds: int


def work_of(trials: Sequence[Trial], rounds: int) -> Work:
    """The work of trials of so many rounds; steps of a trial are its rounds, fold after fold."""
    done = 0
    for trial in trials:
        steps = [told["step"] for told in trial["intermediate"]]
        done += rounds * FOLDS if trial["state"] == "complete" else max(steps, default=0)
    return Work(sum(trial["seconds"] for trial in trials), done)


def drawn(trials: Sequence[Trial]) -> list[Trial]:
    """The trials with a value that count as found: all but the baseline."""
    return [trial for trial in rated(trials) if not trial["baseline"]]


def best_of(trials: Sequence[Trial]) -> float:
    return float(max((trial["value"] for trial in drawn(trials)), default=-math.inf))


def to_goal(trials: Sequence[Trial], goal: float) -> list[Trial]:
    """The trials up to the first that reaches the goal, which one must."""
    first = next(trial for trial in drawn(trials) if trial["value"] >= goal)
    return list(trials[: trials.index(first) + 1])


@dataclass(frozen=True)
class Race:
    """One search on one seed, beside random search without a pruner."""

    ahead: float  # its best of n trials less that of random search
    pruned: int  # of n trials
    whole: float  # rounds of n trials, of random search's
    reached: int | None  # trials until it reached random search's best
    of_all: tuple[float, float]  # seconds and rounds until then, of all that random search took
    of_own: tuple[float, float]  # of what random search took until then


def race(setting: Setting, trials: list[Trial], random: list[Trial]) -> Race:
    goal = best_of(random)
    own, whole = (work_of(part, setting.rounds) for part in (to_goal(random, goal), random))
    first = trials[: setting.trials]
    taken = to_goal(trials, goal) if best_of(trials) >= goal else None
    spent = whole if taken is None else work_of(taken, setting.rounds)
    return Race(
        best_of(first) - goal,
        sum(trial["state"] == "pruned" for trial in first),
        work_of(first, setting.rounds).rounds / whole.rounds,
        None if taken is None else len(taken),
        (spent.seconds / whole.seconds, spent.rounds / whole.rounds),
        (spent.seconds / own.seconds, spent.rounds / own.rounds),
    )


def races(setting: Setting, seed: int) -> dict[str, Race]:
    """Random search and each rival on one seed: that of the fits too, so that they share a goal."""
    random = setting.run(seed, "random", **RANDOM)
    goal, most = best_of(random), work_of(random, setting.rounds).rounds

    def is_over(trials: list[Trial]) -> bool:
        return best_of(trials) >= goal or work_of(trials, setting.rounds).rounds >= most

    found = {"random, no pruner": race(setting, random, random)}
    for name, config in RIVALS.items():
        trials = setting.run(seed, name, is_over, **config)
        found[name] = race(setting, trials, random)
    return found


def race_table(seeds: Sequence[Mapping[str, Race]]) -> list[str]:
    """Medians over the seeds, as a table; the work to random search's best seed by seed too."""
    lines = [
        "| search | reached | trials to it | seconds to it, of random's all | rounds "
        "| seconds, of random's to it | rounds | each seed: rounds, of random's all "
        "| all trials: rounds, of random's | pruned | best less random's |",
        "|-|-:|-:|-:|-:|-:|-:|-|-:|-:|-:|",
    ]
    for name in seeds[0]:
        those = [by_name[name] for by_name in seeds]
        reached = [race.reached for race in those if race.reached is not None]
        cells = [
            name,
            f"{len(reached)} of {len(those)}",
            f"{median(reached):.0f}" if reached else "–",
            *(f"{median(race.of_all[k] for race in those):.2f}" for k in (0, 1)),
            *(f"{median(race.of_own[k] for race in those):.2f}" for k in (0, 1)),
            ", ".join(
                f"{race.of_all[1]:.2f}{'' if race.reached else ' (not reached)'}" for race in those
            ),
            f"{median(race.whole for race in those):.2f}",
            f"{median(race.pruned for race in those):.0f}",
            f"{median(race.ahead for race in those):+.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


# Trials per second


def plain_loop(
    frame: pd.DataFrame, setting: Setting, points: Sequence[Mapping[str, Any]]
) -> list[float]:
    """What one writes by hand: Optuna, and the scikit-learn wrapper on each of the search folds."""
    labels = setting.problem.column(setting.target)
    split = [setting.problem.rows(fold) for fold in range(FOLDS)]
    folds = [(rows.train, rows.valid) for rows in split]
    space = space_of(SPACE)

    def objective(trial: optuna.Trial) -> float:
        model = xgb.XGBClassifier(
            **space.suggest(trial),
            **FIXED,
            n_estimators=setting.rounds,
            enable_categorical=True,
            n_jobs=1,
            random_state=1,
        )
        scores = cross_val_score(model, frame, labels, cv=folds, scoring="roc_auc")
        return float(scores.mean())

    study = optuna.create_study(direction="maximize")
    for point in points:
        study.enqueue_trial({name: point[name] for name in SPACE})
    study.optimize(objective, n_trials=len(points))
    return [float(trial.value) for trial in study.trials if trial.value is not None]


def timed(work: Callable[[], Any]) -> tuple[Any, NDArray[np.float64]]:
    """What comes of it, and the wall and CPU seconds that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, np.array([time.perf_counter() - wall, time.process_time() - cpu])


def speed_table(setting: Setting, frame: pd.DataFrame, pairs: int) -> list[str]:
    """Trials per second of both, taken in turn; ratios are medians over the pairs."""
    ours, theirs, our_values, their_values = [], [], [], []
    for pair in range(pairs):
        trials, seconds = timed(lambda pair=pair: setting.run(pair, "speed", **RANDOM))
        ours.append(len(trials) / seconds)
        our_values += [trial["value"] for trial in trials]
        points = [trial["params"] for trial in trials]
        values, seconds = timed(lambda points=points: plain_loop(frame, setting, points))
        theirs.append(len(trials) / seconds)
        their_values += values
    ratios = np.array(ours) / np.array(theirs)
    spans = [
        f"{low:.2f} to {high:.2f}" for low, high in zip(ratios.min(0), ratios.max(0), strict=True)
    ]
    wall, cpu = np.median(ratios, axis=0)
    our, their = np.median(ours, axis=0), np.median(theirs, axis=0)
    return [
        "| | trials per second | times as fast (least to most) | trials per CPU-second "
        "| times as fast (least to most) | mean AUC |",
        "|-|-:|-:|-:|-:|-:|",
        f"| Optuna over cross_val_score | {their[0]:.2f} | 1 | {their[1]:.2f} | 1 "
        f"| {fmean(their_values):.4f} |",
        f"| a worker | {our[0]:.2f} | {wall:.2f} ({spans[0]}) | {our[1]:.2f} "
        f"| {cpu:.2f} ({spans[1]}) | {fmean(our_values):.4f} |",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--cores", type=int, default=common.own_cores(), help="seeds side by side")
    parser.add_argument("--target", default="target_9_6", choices=contest_twin.TARGETS)
    parser.add_argument("--pairs", type=int, default=3, help="runs of the second part; 0: none")
    parser.add_argument("--pair-trials", type=int, default=15)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began, seeds = time.monotonic(), range(1, options.seeds + 1)
    with tempfile.TemporaryDirectory() as folder:
        problem, frame = generated(Path(folder), options.rows)
        setting = Setting(problem, options.rounds, options.trials, options.target)
        # A process per seed at a time: XGBoost's threads do not outlive a fork.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(options.cores, mp_context=context) as pool:
            found = list(pool.map(races, [setting] * len(seeds), seeds))
        middle, load = time.monotonic(), os.getloadavg()[0]
        small = Setting(problem, options.rounds, options.pair_trials, options.target)
        speeds = speed_table(small, frame, options.pairs) if options.pairs else []
    rows, columns = frame.shape
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("optuna", "xgboost", "scikit-learn")
    )
    print(
        f"{packages}. Contest twin, {rows} × {columns}, {options.target}, {FOLDS} folds, "
        f"{options.rounds} rounds, one thread a fit; load {load:.1f} on {os.cpu_count()} cores.\n\n"
        f"{options.trials} trials, {len(seeds)} seeds, medians ({middle - began:.0f} s)\n"
    )
    print("\n".join(race_table(found)))
    if speeds:
        spent = time.monotonic() - middle
        print(f"\n{options.pair_trials} trials, {options.pairs} pairs ({spent:.0f} s)\n")
        print("\n".join(speeds))


if __name__ == "__main__":
    main()
