"""The contract of a model family: every family, through the same fits of small real tables."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb

import problems
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES, FOREIGN, JOINT, linear, linear_rows, xgboost
from blendmake.families.xgboost_matrix import FoldMatrices, Matrices, predict_blocks
from blendmake.family import FoldData
from blendmake.files import note_of, read_parquet
from blendmake.folds.file import read_inner
from blendmake.matrix import Rows
from blendmake.stats.auc import auc
from fold_data import changed, fold_data, labels_at, one_fit
from problems import (
    FOLDS,
    ONE_POSITIVE_FOLD,
    Done,
    Problem,
    kept_predictions,
    synthetic,
    synthetic_columns,
    with_labels,
    write_problem,
)

# Families with params that make other models of them, held to the contract like the families.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "lightgbm_dart": ("lightgbm", {"boosting": "dart", "drop_rate": 0.3, "skip_drop": 0.2}),
    "linear_hashed": ("linear", {"categories": "hashed", "hash_bits": 6}),
    "linear_sgd": ("linear", {"solver": "sgd", "average": True}),
    "xgboost_dart": ("xgboost", {"booster": "dart", "rate_drop": 0.3, "skip_drop": 0.2}),
}
EVERY = sorted({*VARIANTS, "catboost", "extra_trees", "lightgbm", "linear", "xgboost"})
STOPPING = ["catboost", "lightgbm", "xgboost"]
DART = ["lightgbm_dart", "xgboost_dart"]
# Enough for what must not change, and for a signal to be learnt.
FEW = {name: 60 if name.startswith("linear") else 24 if name in DART else 12 for name in EVERY}
# Params that make use of random numbers, so that a seed has something to do.
RANDOM: dict[str, dict[str, Any]] = {
    "catboost": {"rsm": 0.7},
    "extra_trees": {},
    "lightgbm": {"feature_fraction": 0.6, "bagging_fraction": 0.7, "bagging_freq": 1},
    "linear": {"solver": "saga"},
    "xgboost": {"subsample": 0.7, "colsample_bynode": 0.6},
    **{name: {"solver": "saga"} if name == "linear_hashed" else {} for name in VARIANTS},
}
# Two settings each that differ in how columns are binned, where they are, or in what a leaf needs.
BINNED: dict[str, list[dict[str, Any]]] = {
    "catboost": [{"border_count": 8}, {"border_count": 64, "feature_border_type": "Uniform"}],
    "extra_trees": [{"min_samples_leaf": 20}, {"max_features": 1}],
    "lightgbm": [{"max_bin": 7, "min_data_in_leaf": 40}, {"min_data_in_leaf": 3}],
    "linear": [{"C": 0.001}, {"C": 3.0}],
    "linear_sgd": [{"alpha": 0.1}, {"categories": "hashed", "penalty": "l1"}],
    "linear_hashed": [{"hash_bits": 1}, {"hash_bits": 2, "C": 3.0}],
    "xgboost": [{"max_bin": 8, "min_child_weight": 9}, {"min_child_weight": 0.1}],
}
BINNED |= {name: BINNED[VARIANTS[name][0]] for name in DART}
# One reserved param per family under its usual name, and under another.
RESERVED = [
    ("catboost", "random_seed"),
    ("catboost", "num_trees"),
    ("catboost", "verbose"),
    ("extra_trees", "n_estimators"),
    ("lightgbm", "seed"),
    ("lightgbm", "nthread"),
    ("lightgbm", "num_boost_round"),
    ("lightgbm", "early_stopping_round"),
    ("linear", "max_iter"),
    ("linear", "loss"),
    ("xgboost", "n_jobs"),
    ("xgboost", "early_stopping_rounds"),
]

each_family = pytest.mark.parametrize("family", EVERY)
with_and_without_stopping = pytest.mark.parametrize(
    ("family", "stopping"),
    [
        (name, stopping)
        for name in EVERY
        for stopping in (False, True)
        if not (stopping and name in DART)
    ],
)
each_stopping = pytest.mark.parametrize("family", STOPPING)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"))


@pytest.fixture(scope="module")
def fitted(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """A fit of all targets on a fold, made once per family and settings."""
    done: dict[str, Done] = {}

    def get(family: str, fold: int = 0, **settings: Any) -> Done:
        key = json.dumps([family, fold, settings])
        if key not in done:
            out = tmp_path_factory.mktemp(family)
            settings = {"rounds": FEW[family], "keep_models": True, **settings}
            done[key] = run_fold(problem, family, out, fold=fold, **settings)
        return done[key]

    return get


def run_fold(problem: Problem, family: str, out: Path, **settings: Any) -> Done:
    """As problems.run_fold, of a variant too."""
    name, params = VARIANTS.get(family, (family, {}))
    settings["params"] = {**params, **settings.get("params", {})}
    return problems.run_fold(problem, name, out, **settings)


def same(one: Done, other: Done) -> bool:
    """Whether the files hold the same bytes of predictions."""
    return all(
        np.array_equal(a.values.view(np.int32), b.values.view(np.int32)) and a.ids.equals(b.ids)
        for a, b in ((one.oof, other.oof), (one.test, other.test))
    )


def auc_on_fold(problem: Problem, done: Done, target: str, fold: int = 0) -> float:
    truth = problem.column(target)[problem.rows(fold).valid]
    known = ~np.isnan(truth)
    return auc(truth[known], done.held_out(target)[known])


def test_every_family_is_tested() -> None:
    here = {VARIANTS.get(name, (name,))[0] for name in EVERY}
    # Those whose fits are of another kind have tests of their own.
    assert here | JOINT | FOREIGN == set(FAMILIES)


@each_family
def test_predictions_are_whole_and_learn(
    family: str, problem: Problem, fitted: Callable[..., Done]
) -> None:
    done = fitted(family)
    rows = problem.rows(0)
    assert done.oof.targets == done.test.targets == problem.targets
    assert done.oof.ids["id"].to_pylist() == [f"r{i}" for i in rows.valid]
    assert done.test.ids["id"].to_pylist() == [f"t{i}" for i in range(60)]
    for part in (done.outputs.oof, done.outputs.test):
        table = read_parquet(part)
        assert set(table.schema.types[1:]) == {pa.float32()}
        values = np.column_stack([table[target] for target in problem.targets])
        assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    for target in ("full", "other", "gaps"):
        assert auc_on_fold(problem, done, target) > 0.7, target
        assert len(np.unique(done.tested(target))) > 5
    # `other` has the opposite signal: predictions are of their own target.
    assert np.corrcoef(done.tested("full"), done.tested("other"))[0, 1] < -0.5
    assert not done.note["optimistic"]


@each_family
def test_fits_are_recorded(family: str, problem: Problem, fitted: Callable[..., Done]) -> None:
    done = fitted(family)
    train = problem.rows(0).train
    assert list(done.fits) == list(problem.targets)
    for target, row in done.fits.items():
        labels = problem.column(target)[train]
        assert row["rows"] == (~np.isnan(labels)).sum()
        assert row["positives"] == np.nansum(labels)
        assert (row["source"], row["fold"], row["bag"], row["threads"]) == ("source", 0, 0, 1)
        assert row["score"] == pytest.approx(auc_on_fold(problem, done, target), abs=1e-12)
        assert row["stopped_on"] is None
        assert 1 <= row["rounds"] <= FEW[family]


@each_family
def test_partial_targets_get_what_they_get_among_others(
    family: str, problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    chosen = ["gaps", "other"]
    part = run_fold(problem, family, tmp_path, targets=chosen, rounds=FEW[family])
    assert part.oof.targets == ("other", "gaps")  # in the order of the table
    for target in chosen:
        assert np.array_equal(part.held_out(target), fitted(family).held_out(target))
        assert np.array_equal(part.tested(target), fitted(family).tested(target))


@each_family
@pytest.mark.parametrize("fold", [ONE_POSITIVE_FOLD, 1])
def test_one_positive_in_a_fold(
    family: str, fold: int, problem: Problem, fitted: Callable[..., Done]
) -> None:
    done = fitted(family, fold)
    positives = problem.column("rare")
    held_out = positives[problem.rows(fold).valid].sum()
    assert held_out == (1 if fold == ONE_POSITIVE_FOLD else 8)
    assert done.fits["rare"]["positives"] == positives.sum() - held_out
    assert np.isfinite(done.held_out("rare")).all()
    assert auc_on_fold(problem, done, "rare", fold) > 0.5


@each_family
def test_one_class_in_training_is_predicted_as_such(
    family: str, problem: Problem, tmp_path: Path
) -> None:
    labels = problem.labels.copy()
    train = problem.rows(0).train
    labels[train, problem.targets.index("rare")] = np.nan
    labels[train[:50], problem.targets.index("rare")] = 1
    done = run_fold(
        with_labels(problem, labels, f"one_class_{family}"),
        family,
        tmp_path,
        targets=["rare"],
        keep_models=True,
    )
    assert (done.held_out("rare") == 1).all() and (done.tested("rare") == 1).all()
    assert done.fits["rare"]["rounds"] == 0
    saved = kept_predictions(done.outputs.models, "rare", problem.test_files())
    assert (saved == 1).all()


# rows of unknown label


def shuffled_problem(folder: Path, shuffle: bool, known: bool) -> Problem:
    """`synthetic` with `gaps` only; its unknown rows' columns are shuffled, each on its own.

    Medians, bins and levels stay as they are; only the rows that must not count are others.
    With `known`, the unknown rows are negatives.
    """
    rows = 360
    fold = np.arange(rows) % FOLDS
    train, test, odds = synthetic_columns(rows, 40, fold)
    rng = np.random.default_rng(5)
    labels = (odds + rng.logistic(size=rows) > 0).astype(float)
    unknown = np.flatnonzero((rng.random(rows) < 0.4) & (fold != 0))
    if shuffle:
        for name, column in train.items():
            order = np.arange(rows)
            order[unknown] = rng.permutation(unknown)
            train[name] = column.take(pa.array(order))
    labels[unknown] = 0 if known else np.nan
    return write_problem(folder, train, test, labels[:, None], ["gaps"], fold=fold)


@each_family
def test_rows_of_unknown_label_do_not_count(family: str, tmp_path: Path) -> None:
    def moved(known: bool) -> float:
        """How far predictions move when the rows without a label (or, known, with one) do."""
        done = []
        for shuffle in (False, True):
            name = f"{known}{shuffle}"
            problem = shuffled_problem(tmp_path / name, shuffle, known)
            done.append(run_fold(problem, family, tmp_path / name / "out", rounds=FEW[family]))
        return max(
            float(np.abs(done[0].oof.values - done[1].oof.values).max()),
            float(np.abs(done[0].test.values - done[1].test.values).max()),
        )

    assert moved(known=False) < 1e-5
    assert moved(known=True) > 0.02  # the shuffle would be seen


@each_family
def test_a_fit_is_as_without_the_rows_of_unknown_label(family: str, tmp_path: Path) -> None:
    # Few distinct values, in both classes: bins are the same with and without the rows.
    rng = np.random.default_rng(2)
    rows = 360
    fold = np.arange(rows) % FOLDS
    numbers = rng.integers(-2, 3, size=(rows, 4)).astype(float)
    labels = (1.2 * numbers[:, 0] + rng.logistic(size=rows) > 0.5).astype(float)
    unknown = (rng.random(rows) < 0.3) & (fold != 0)
    # What is unknown was positive, and would tell so.
    numbers[unknown, 0], labels[unknown] = 2, np.nan
    train = {f"n{j}": numbers[:, j] for j in range(4)}
    test = {f"n{j}": rng.integers(-2, 3, size=30).astype(float) for j in range(4)}
    settings = {"rounds": FEW[family]}
    one = write_problem(tmp_path / "all", train, test, labels[:, None], ["y"], fold=fold)
    kept = {name: values[~unknown] for name, values in train.items()}
    other = write_problem(
        tmp_path / "known", kept, test, labels[~unknown, None], ["y"], fold=fold[~unknown]
    )
    filled = with_labels(one, np.nan_to_num(labels, nan=1.0)[:, None], "filled")
    a, b, c = (
        run_fold(problem, family, tmp_path / f"out{i}", **settings).tested("y")
        for i, problem in enumerate((one, other, filled))
    )
    # The scale of regressors comes from all training rows, a label or not; bins do too. Gradient
    # descent takes the rows in an order that depends on how many there are.
    most = {"linear": 0.03, "linear_hashed": 0.03, "linear_sgd": 0.05}
    assert np.abs(a - b).max() < most.get(family, 1e-5)
    assert np.abs(a - c).max() > 0.05


@each_family
def test_rows_of_unknown_label_are_predicted(
    family: str, problem: Problem, fitted: Callable[..., Done]
) -> None:
    valid = problem.rows(0).valid
    unknown = np.isnan(problem.column("gaps")[valid])
    truth = problem.column("full")[valid]  # what the labels would have been
    assert unknown.sum() > 10
    assert auc(truth[unknown], fitted(family).held_out("gaps")[unknown]) > 0.65


# columns


@each_family
def test_categories_unseen_in_training_read_as_missing(
    family: str, problem: Problem, tmp_path: Path
) -> None:
    train, test, odds = synthetic_columns(360, 60, np.arange(360) % FOLDS)
    city = train["city"].to_pylist()
    valid, training = problem.rows(0).valid, problem.rows(0).train
    seen = {city[i] for i in training}
    unseen = [i for i in valid if city[i] not in seen]
    unseen_test = [i for i, name in enumerate(test["city"].to_pylist()) if name not in seen]
    assert len(unseen) >= 5 and len(unseen_test) >= 5  # the problem holds what is tested here
    labels = (odds > 0).astype(float)[:, None]
    done = []
    for name in ("as_is", "missing"):
        if name == "missing":
            train["city"] = pa.array([None if i in unseen else c for i, c in enumerate(city)])
            blank = [
                None if i in unseen_test else c for i, c in enumerate(test["city"].to_pylist())
            ]
            test["city"] = pa.array(blank)
        made = write_problem(
            tmp_path / name, train, test, labels, ["y"], fold=np.arange(360) % FOLDS
        )
        done.append(run_fold(made, family, tmp_path / name / "out", rounds=FEW[family]))
    assert same(*done)


@each_family
@pytest.mark.parametrize("kept", [["city", "blank"], ["constant", "n0"], ["empty", "n0", "city"]])
def test_columns_without_content(
    family: str, kept: list[str], problem: Problem, tmp_path: Path
) -> None:
    """Categories only; beside one good column a constant one, or one without a value."""
    train, test, odds = synthetic_columns(240, 30, np.arange(240) % FOLDS)
    labels = (odds > 0).astype(float)[:, None]
    made = write_problem(
        tmp_path / "p",
        {name: train[name] for name in kept},
        {name: test[name] for name in kept},
        labels,
        ["y"],
        fold=np.arange(240) % FOLDS,
    )
    done = run_fold(made, family, tmp_path / "out", rounds=FEW[family], keep_models=True)
    if "n0" in kept:
        assert auc_on_fold(made, done, "y") > 0.7
    saved = kept_predictions(done.outputs.models, "y", made.test_files())
    assert np.abs(saved - done.tested("y")).max() < 1e-5


@with_and_without_stopping
def test_a_problem_without_test(family: str, stopping: bool, tmp_path: Path) -> None:
    made = synthetic(tmp_path / "p", rows=240, test_rows=0)
    done = run_fold(
        made,
        family,
        tmp_path / "out",
        rounds=FEW[family],
        early_stopping={"rounds": 3} if stopping else None,
        keep_models=True,
    )
    assert done.test.values.shape == (0, 4)
    assert done.oof.values.shape == (80, 4)
    assert kept_predictions(done.outputs.models, "full", made.test_files()).shape == (0,)


# the same bytes


@each_family
@pytest.mark.parametrize("threads", [1, 2])
def test_a_seed_gives_the_same_bytes_whatever_the_way(
    family: str, threads: int, problem: Problem, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"rounds": FEW[family], "params": RANDOM[family], "threads": threads}
    if family in STOPPING:
        # Targets that watch other rows are fitted in another order than they are listed.
        settings["overrides"] = {"targets": {"full": {"early_stopping": {"rounds": 4}}}}
    whole = run_fold(problem, family, tmp_path / "whole", **settings)
    scratch = tmp_path / "half" / "scratch"
    run_fold(problem, family, tmp_path / "half" / "a", **settings, scratch=scratch)
    stored = sorted(scratch.glob("*/*.parquet"))
    assert len(stored) == 4
    for path in stored[::2]:
        path.unlink()
    resumed = run_fold(problem, family, tmp_path / "half" / "b", **settings, scratch=scratch)
    backwards = run_fold(
        problem, family, tmp_path / "back", **settings, targets=list(reversed(problem.targets))
    )
    assert same(whole, resumed) and same(whole, backwards)
    other = run_fold(problem, family, tmp_path / "other", **settings, seed=2)
    assert not same(whole, other)


IN_ANOTHER_PROCESS = """
import json, os, sys, threading, time
from pathlib import Path
sys.path[:0] = {path!r}
import pyarrow as pa
pa.set_cpu_count(1), pa.set_io_thread_count(1)
from problems import Problem, run_fold, FoldInputs
import numpy as np
import tqdm
tqdm.tqdm.monitor_interval = 0  # its own thread comes and goes
given = json.loads({given!r})
paths = {{k: Path(v) for k, v in given["paths"].items()}}
inputs = FoldInputs(
    tables={{p: paths[f"table_{{p}}"] for p in ("train", "test")}},
    made={{p: paths[f"made_{{p}}"] for p in ("train", "test")}},
    columns=paths["columns"], targets=paths["targets"], folds=paths["folds"], inner=paths["inner"],
)
problem = Problem(paths["out"], inputs, tuple(given["targets"]), np.empty(0), {{}})
tasks = lambda: len(os.listdir("/proc/self/task"))
most, over = 0, False
def watch():
    global most
    while not over:
        most = max(most, tasks())
        time.sleep(0.0005)
found = {{}}
watcher = threading.Thread(target=watch)
watcher.start()
for name, family, settings in given["runs"]:
    if name == "warm":
        for number in range(3):  # a pool may start its threads late
            run_fold(problem, "linear", paths["out"] / f"warm{{number}}", targets=["full"])
        __import__("catboost"), __import__("lightgbm"), __import__("xgboost")
        __import__("blendmake.families.extra_trees")
        before = max(most, tasks())
        continue
    most = 0
    run_fold(problem, family, paths["out"] / name, threads=given["threads"], **settings)
    found[name] = most - before
over = True
watcher.join()
Path(paths["out"] / "threads.json").write_text(json.dumps(found))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_threads_and_environment_and_terminal(
    problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    """Another process whose environment allows more threads than asked for.

    It gives the same bytes, starts no thread more than asked for, and prints nothing.
    """
    inputs = problem.inputs
    paths = {
        **{f"table_{part}": path for part, path in inputs.tables.items()},
        **{f"made_{part}": path for part, path in inputs.made.items()},
        "columns": inputs.columns,
        "targets": inputs.targets,
        "folds": inputs.folds,
        "inner": inputs.inner,
        "out": tmp_path,
    }
    runs = [("warm", "linear", {})]
    for name in EVERY:
        family, params = VARIANTS.get(name, (name, {}))
        settings = {"rounds": FEW[name], "keep_models": True, "params": params}
        runs.append((name, family, settings))
    given = {
        "paths": {name: str(path) for name, path in paths.items()},
        "targets": problem.targets,
        "threads": 1,
        "runs": runs,
    }
    code = IN_ANOTHER_PROCESS.format(path=sys.path[:], given=json.dumps(given))
    done = subprocess.run(
        [sys.executable, "-c", code],
        # One thread of OpenBLAS: it starts its pool when it is loaded, before anybody can ask.
        env={**os.environ, "OMP_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("", "")
    for family in EVERY:
        there = read_parquet(tmp_path / family / "oof.parquet")
        here = read_parquet(fitted(family).outputs.oof)
        assert note_of(there)["content"] == note_of(here)["content"], family
    started = json.loads((tmp_path / "threads.json").read_text())
    # Regressions side by side take turns, each in a thread of its own.
    for name in ("linear", "linear_hashed"):
        assert started.pop(name) <= len(problem.targets)
    # CatBoost's fit has a short-lived helper, which no setting of its own does away with.
    assert started.pop("catboost") <= 1
    assert set(started.values()) == {0}, started


# settings


@each_family
def test_class_weight_raises_the_predictions_of_a_rare_target(
    family: str, problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    def mean(name: str, weight: str | float) -> float:
        settings = {"targets": ["rare"], "rounds": FEW[family], "class_weight": weight}
        return float(run_fold(problem, family, tmp_path / name, **settings).tested("rare").mean())

    none = float(fitted(family).tested("rare").mean())
    balanced = mean("balanced", "balanced")
    # LightGBM drops the prior with the first tree, so that probabilities start nearer to a half.
    assert balanced > none + (0.02 if family == "lightgbm_dart" else 0.05)
    labels = problem.column("rare")[problem.rows(0).train]
    exact = float((labels == 0).sum() / (labels == 1).sum())
    assert mean("number", exact) == balanced
    assert none < mean("between", 3.0) < balanced


@each_family
def test_overrides_reach_their_targets_only(
    family: str, problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    """Settings that shape the bins or leaves, mixed in one job, give what each gives alone."""
    first, second = BINNED[family]
    groups = {"pair": ["full", "gaps"]}
    mixed = run_fold(
        problem,
        family,
        tmp_path / "mixed",
        groups=groups,
        rounds=FEW[family],
        overrides={
            "groups": {"pair": {"params": first}},
            "targets": {"full": {"params": second}},
        },
    )
    for target, params in (
        ("other", None),
        ("rare", None),
        ("gaps", first),
        ("full", {**first, **second}),
    ):
        if params is None:
            alone = fitted(family)
        else:
            alone = run_fold(
                problem,
                family,
                tmp_path / target,
                targets=[target],
                rounds=FEW[family],
                params=params,
            )
            assert not np.array_equal(alone.tested(target), fitted(family).tested(target))
        assert np.array_equal(mixed.tested(target), alone.tested(target)), target


@each_family
def test_rounds_of_an_override(family: str, problem: Problem, tmp_path: Path) -> None:
    done = run_fold(
        problem, family, tmp_path, rounds=5, overrides={"targets": {"gaps": {"rounds": 2}}}
    )
    rounds = {target: row["rounds"] for target, row in done.fits.items()}
    assert rounds == {"full": 5, "other": 5, "gaps": 2, "rare": 5}


@each_family
def test_an_unknown_param_is_refused_by_name(
    family: str, problem: Problem, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BlendmakeError, match=r"target 'full' was refused.*no_such_param"):
        run_fold(problem, family, tmp_path, rounds=3, params={"no_such_param": 1})
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "oof.parquet").exists()
    assert not list(tmp_path.glob("scratch/*/*.parquet"))


@pytest.mark.parametrize(("family", "name"), RESERVED)
def test_a_reserved_param_is_refused_with_the_mend(
    family: str, name: str, problem: Problem, tmp_path: Path
) -> None:
    with pytest.raises(BlendmakeError, match=f"Param '{name}' .* is set by blendmake: .+"):
        run_fold(problem, family, tmp_path, rounds=3, params={name: 7})


@pytest.mark.parametrize(
    ("family", "params", "alias"),
    [
        ("catboost", {"learning_rate": 0.3}, {"eta": 0.3}),
        ("catboost", {"border_count": 9}, {"max_bin": 9}),
        ("lightgbm", {"learning_rate": 0.3}, {"shrinkage_rate": 0.3}),
        ("lightgbm", {"max_bin": 9}, {"max_bins": 9}),
        ("xgboost", {"learning_rate": 0.3}, {"eta": 0.3}),
        ("xgboost", {"reg_lambda": 0.3}, {"lambda": 0.3}),
    ],
)
def test_another_name_of_a_param_is_the_param(
    family: str,
    params: dict[str, Any],
    alias: dict[str, Any],
    problem: Problem,
    fitted: Callable[..., Done],
    tmp_path: Path,
) -> None:
    settings = {"targets": ["full"], "rounds": FEW[family]}
    one = run_fold(problem, family, tmp_path / "one", params=params, **settings)
    other = run_fold(problem, family, tmp_path / "other", params=alias, **settings)
    # The most specific wins, whatever it calls it.
    over = run_fold(
        problem,
        family,
        tmp_path / "over",
        params={name: value / 3 if value < 1 else 20 for name, value in params.items()},
        overrides={"targets": {"full": {"params": alias}}},
        **settings,
    )
    assert same(one, other)
    assert np.array_equal(one.tested("full"), over.tested("full"))
    assert not np.array_equal(one.tested("full"), fitted(family).tested("full"))


# early stopping


@each_stopping
def test_early_stopping_on_an_inner_split(
    family: str, problem: Problem, fitted: Callable[..., Done]
) -> None:
    stopping = {"rounds": 4}
    done = fitted(family, rounds=200, early_stopping=stopping, params={"learning_rate": 0.3})
    assert problem.inputs.inner is not None
    aside = read_inner(problem.inputs.inner, 0)
    train = problem.rows(0).train
    assert 0.1 < aside[train].mean() < 0.3 and not aside[problem.rows(0).valid].any()
    for target, row in done.fits.items():
        labels = problem.column(target)[train[~aside[train]]]
        assert row["rows"] == (~np.isnan(labels)).sum()
        assert row["positives"] == np.nansum(labels)
        assert row["stopped_on"] == "inner"
        assert 1 <= row["rounds"] < 200
    assert not done.note["optimistic"]
    assert auc_on_fold(problem, done, "full") > 0.65


@each_stopping
def test_rounds_after_the_best_are_not_used(
    family: str, problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    params: dict[str, Any] = {"learning_rate": 0.3}
    if family == "catboost":
        # Their defaults depend on the number of rounds asked for.
        params |= {"leaf_estimation_iterations": 2, "max_ctr_complexity": 1}
    settings: dict[str, Any] = {"params": params, "targets": ["full"]}
    stopped = fitted(family, rounds=200, early_stopping={"rounds": 4, "watch": "inner"}, **settings)
    best = stopped.fits["full"]["rounds"]
    # The same training rows, run to the best round and no further.
    again = run_fold(
        problem,
        family,
        tmp_path,
        rounds=best,
        early_stopping={"rounds": 200},
        **settings,
    )
    assert np.array_equal(again.tested("full"), stopped.tested("full"))


@each_stopping
def test_early_stopping_on_the_fold_is_marked(
    family: str, problem: Problem, tmp_path: Path
) -> None:
    without = replace(problem, inputs=replace(problem.inputs, inner=None))
    done = run_fold(
        without,
        family,
        tmp_path,
        rounds=200,
        params={"learning_rate": 0.3},
        overrides={"targets": {"gaps": {"early_stopping": {"rounds": 4, "watch": "fold"}}}},
        targets=["gaps", "full"],
    )
    assert done.note["optimistic"] == ["gaps"], "only what watches the fold is flattered"
    assert done.fits["gaps"]["stopped_on"] == "fold"
    assert done.fits["gaps"]["rounds"] < 200 == done.fits["full"]["rounds"]
    labels = problem.column("gaps")[problem.rows(0).train]
    assert done.fits["gaps"]["rows"] == (~np.isnan(labels)).sum()


@pytest.mark.parametrize("family", sorted({*EVERY} - {*STOPPING, *DART}))
def test_what_cannot_stop_uses_every_row(
    family: str, problem: Problem, fitted: Callable[..., Done], tmp_path: Path
) -> None:
    done = run_fold(
        problem, family, tmp_path, rounds=FEW[family], early_stopping={"rounds": 1, "watch": "fold"}
    )
    assert same(done, fitted(family)) and not done.note["optimistic"]


@each_stopping
def test_a_stop_split_of_one_class_stops_nothing(
    family: str, problem: Problem, tmp_path: Path
) -> None:
    labels = problem.labels.copy()
    assert problem.inputs.inner is not None
    aside = read_inner(problem.inputs.inner, 0)
    labels[aside, problem.targets.index("rare")] = 0
    done = run_fold(
        with_labels(problem, labels, f"one_class_aside_{family}"),
        family,
        tmp_path,
        rounds=6,
        early_stopping={"rounds": 1},
        targets=["rare"],
    )
    assert done.fits["rare"]["rounds"] == 6
    assert done.fits["rare"]["stopped_on"] is None


@each_stopping
def test_the_auc_of_the_best_round_is_told(family: str, problem: Problem, tmp_path: Path) -> None:
    module = importlib.import_module(FAMILIES[family])
    data = fold_data(problem, inner=True)
    assert data.stop is not None
    labels, watched = labels_at(problem, data.train), labels_at(problem, data.stop)
    model = module.FAMILY(data, 1)
    for j in (problem.targets.index("gaps"), problem.targets.index("rare")):
        task = one_fit("y", {"learning_rate": 0.3}, 60, 5, 3.0, 1, labels[:, j], watched[:, j])
        fitted = model.fit(task)
        assert fitted.rounds < 55
        saved = module.predict_saved(fitted.save(tmp_path / "model"), data.stop)
        known = ~np.isnan(watched[:, j])
        assert fitted.stop_scores == pytest.approx(
            auc(watched[known, j], saved[known, 0]), abs=1e-6
        )
    assert model.fit(changed(task, stop_rounds=None, stop_labels=None)).stop_scores is None


# trees that are dropped


@pytest.mark.parametrize(
    ("family", "params"),
    [
        ("lightgbm", {"boosting": "dart"}),
        ("lightgbm", {"boosting_type": "dart"}),
        ("xgboost", {"booster": "dart"}),
    ],
)
def test_dart_has_no_best_round(
    family: str, params: dict[str, Any], problem: Problem, tmp_path: Path
) -> None:
    stopping = {"rounds": 5, "watch": "fold"}
    with pytest.raises(BlendmakeError, match=r"later rounds rescale .* leave early_stopping out"):
        run_fold(problem, family, tmp_path, params=params, rounds=9, early_stopping=stopping)
    # Only the targets that are given other params must do without.
    own = {"full": {"params": params, "early_stopping": False}}
    done = run_fold(
        problem,
        family,
        tmp_path,
        targets=["full", "other"],
        rounds=9,
        early_stopping=stopping,
        overrides={"targets": own},
    )
    assert done.fits["full"]["rounds"] == 9 and done.fits["full"]["stopped_on"] is None
    assert done.fits["other"]["stopped_on"] == "fold"


@pytest.mark.parametrize("family", DART)
def test_dart_drops_trees_in_training_only(family: str, problem: Problem, tmp_path: Path) -> None:
    module = importlib.import_module(FAMILIES[VARIANTS[family][0]])
    data = fold_data(problem)
    model = module.FAMILY(data, 1)
    labels = labels_at(problem, data.train)[:, 0]
    dropping = VARIANTS[family][1]

    def predicted(params: dict[str, Any], rounds: int) -> tuple[Any, Any]:
        fitted = model.fit(one_fit("y", params, rounds, None, 1.0, 1, labels))
        saved = fitted.save(tmp_path / f"{family}{rounds}")
        # Trees dropped at random would show between one prediction and the next.
        again = [module.predict_saved(saved, data.valid) for _ in range(3)]
        assert all(np.abs(one - fitted.valid).max() < 1e-6 for one in again)
        return fitted.valid[:, 0], np.array_equal(again[0], again[1])

    few, many = predicted(dropping, 3), predicted(dropping, 40)
    assert few[1] and many[1]
    truth = labels_at(problem, data.valid)[:, 0]
    assert auc(truth, many[0]) > 0.75
    kept = {**dropping, "drop_rate": 0.0, "rate_drop": 0.0}
    never = {name: value for name, value in kept.items() if name in dropping}
    assert np.abs(predicted(never, 40)[0] - many[0]).max() > 0.01


def test_params_of_dart_without_it_are_refused(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(BlendmakeError, match=r"refused: Unknown param.*rate_drop"):
        run_fold(problem, "xgboost", tmp_path, rounds=2, params={"rate_drop": 0.1})


# fits of few of the rows


def few_known(problem: Problem, data: FoldData, share: float) -> Any:
    """Labels of `full` in training, but for a share of the rows unknown."""
    labels = labels_at(problem, data.train)[:, 0]
    hidden = np.random.default_rng(3).random(len(labels)) >= share
    labels[hidden] = np.nan
    return labels


def test_a_fit_of_few_rows_is_made_of_them_alone(problem: Problem, tmp_path: Path) -> None:
    data = fold_data(problem)
    labels = few_known(problem, data, 0.45)
    task = one_fit("y", {"max_depth": 3}, 30, None, 1.0, 1, labels)
    alone = xgboost.XGBoost(data, 1)
    fitted = alone.fit(task)
    known = ~np.isnan(labels)
    assert alone._matrices._shared is None, "the matrix of all rows is not made for it"
    assert Matrices(data, 1).of(task, 256).matrices.matrix("train").num_row() == known.sum()
    # What came before has no say, and what comes after uses every row.
    after = xgboost.XGBoost(data, 1)
    whole = replace(task, labels=labels_at(problem, data.train)[:, :1])
    after.fit(whole)
    assert np.array_equal(after.fit(task).valid, fitted.valid)
    assert np.array_equal(after.fit(task).test, fitted.test)
    assert np.array_equal(alone.fit(whole).valid, after.fit(whole).valid)
    saved = xgboost.predict_saved(fitted.save(tmp_path / "model"), data.test)
    assert np.abs(saved - fitted.test).max() < 1e-6
    # All rows, most of them of weight 0, give nearly the same: only the bins are others.
    matrix = FoldMatrices(data, 1, 256, categories=True).matrix("train")
    matrix.set_info(label=np.nan_to_num(labels), weight=known.astype(np.float32))
    settings = {"objective": "binary:logistic", "learning_rate": 0.05, "max_depth": 3, "nthread": 1}
    weighted = predict_blocks(xgb.train(settings, matrix, 30), data.valid, 1)
    truth = labels_at(problem, data.valid)[:, 0]
    assert auc(truth, fitted.valid[:, 0]) == pytest.approx(auc(truth, weighted), abs=0.03)
    assert np.corrcoef(fitted.valid[:, 0], weighted)[0, 1] > 0.97


@pytest.mark.parametrize("family", sorted({*EVERY} - {*DART}))
def test_a_fit_of_few_rows_stops_and_learns(family: str, problem: Problem, tmp_path: Path) -> None:
    name, params = VARIANTS.get(family, (family, {}))
    module = importlib.import_module(FAMILIES[name])
    data = fold_data(problem, inner=True)
    assert data.stop is not None
    watched = labels_at(problem, data.stop)[:, 0]
    watched[::3] = np.nan
    patience = 8 if family in STOPPING else None
    task = one_fit("y", params, 80, patience, 1.0, 1, few_known(problem, data, 0.4), watched)
    fitted = module.FAMILY(data, 1).fit(task)
    assert auc(labels_at(problem, data.valid)[:, 0], fitted.valid[:, 0]) > 0.65
    if patience:
        known = ~np.isnan(watched)
        saved = module.predict_saved(fitted.save(tmp_path / "model"), data.stop)
        assert fitted.stop_scores == pytest.approx(auc(watched[known], saved[known, 0]), abs=1e-6)


# linear models


def reference_hash(column: int, code: int, bits: int) -> tuple[int, int]:
    """linear_rows.hashed in whole numbers of any size."""
    x = ((column + 1) * 2**32 + code) * 0x9E3779B97F4A7C15 % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    x ^= x >> 31
    return x >> 64 - bits, 1 if x % 2 else -1


def test_hashed_levels_are_spread_and_signed() -> None:
    codes = np.arange(4096)
    for column in (0, 1, 700):
        places, signs = linear_rows.hashed(column, codes, 12)
        expected = [reference_hash(column, int(code), 12) for code in codes]
        assert list(zip(places.tolist(), signs.tolist(), strict=True)) == expected
        assert places.min() >= 0 and places.max() < 4096
        # Thrown at random, 4096 levels hit 1 - 1/e of 4096 places, half of them with either sign.
        assert len(np.unique(places)) == pytest.approx(4096 * (1 - np.exp(-1)), rel=0.03)
        assert abs(signs.mean()) < 0.05
    first, second = linear_rows.hashed(0, codes, 12)[0], linear_rows.hashed(1, codes, 12)[0]
    assert (first == second).mean() < 0.002, "columns are apart"
    assert set(linear_rows.hashed(5, codes, 1)[0].tolist()) == {0, 1}


def many_levels(folder: Path) -> Problem:
    """Two category columns of 300 levels, whose first three letters have the signal."""
    rng = np.random.default_rng(4)
    rows, fold = 900, np.arange(900) % FOLDS
    codes = rng.integers(0, 300, size=(rows + 50, 2))
    odds = np.where(codes[:rows, 0] < 150, 2.0, -2.0)
    labels = (odds + rng.logistic(size=rows) > 0).astype(float)[:, None]
    columns = {f"c{j}": pa.array([f"l{code:03}" for code in codes[:, j]]) for j in range(2)} | {
        "n": pa.array(rng.normal(size=rows + 50))
    }
    train = {name: column.slice(0, rows) for name, column in columns.items()}
    test = {name: column.slice(rows) for name, column in columns.items()}
    return write_problem(folder, train, test, labels, ["y"], fold=fold)


def test_hashed_columns_are_bounded_and_learn(tmp_path: Path) -> None:
    data = fold_data(many_levels(tmp_path))
    onehot = linear_rows.Preparation.learn(data.train)
    few = linear_rows.Preparation.learn(data.train, 9)
    assert onehot.width > 500 and onehot.apply(data.test).shape == (50, onehot.width)
    assert few.width == 1 + 512
    made = few.apply(data.test).whole()
    assert made.shape == (50, 513)
    row = made[7].toarray()[0]
    expected = np.zeros(512)
    for index, column in enumerate(data.test.columns):
        code = data.test.codes(index)[7]
        if column.is_category and not np.isnan(code):
            place, sign = reference_hash(index, int(code), 9)
            expected[place] += sign
    assert np.array_equal(row[1:], expected)
    stored = linear_rows.Preparation.from_json(json.loads(json.dumps(few.to_json())))
    assert (stored.apply(data.test).whole() != made).nnz == 0

    def score(params: dict[str, Any]) -> float:
        labels = labels_at(problem, data.train)[:, 0]
        fitted = linear.Linear(data, 1).fit(one_fit("y", params, 60, None, 1.0, 1, labels))
        return auc(labels_at(problem, data.valid)[:, 0], fitted.valid[:, 0])

    problem = many_levels(tmp_path / "again")
    assert score({"C": 1.0}) > 0.75
    assert score({"C": 1.0, "categories": "hashed"}) > 0.75  # 4096 places for 600 levels
    assert score({"C": 1.0, "categories": "hashed", "hash_bits": 1}) < 0.6


def test_regressors_do_not_depend_on_blocks(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = fold_data(problem)
    numbers = [column for column in data.train.columns if not column.is_category]
    of_numbers = replace(data.train, columns=numbers, known={})
    cases = [(data.train, 8), (data.train, 0), (of_numbers, 0)]
    whole = [linear_rows.Preparation.learn(rows, bits).apply(rows) for rows, bits in cases]
    every = Rows.blocks
    monkeypatch.setattr(Rows, "blocks", lambda rows: every(rows, 1000))
    # Nothing asks for all columns of all rows at once.
    monkeypatch.delattr(Rows, "dense")
    parts = [linear_rows.Preparation.learn(rows, bits).apply(rows) for rows, bits in cases]
    assert whole[0].hot is not None and whole[1].hot is None  # few levels are dense columns
    for one, part in zip(whole, parts, strict=True):
        assert np.array_equal(one.dense, part.dense)
        assert one.hot is None or ((one.hot != part.hot).nnz == 0 and one.hot.nnz > 200)


def test_penalties_of_gradient_descent(problem: Problem, tmp_path: Path) -> None:
    data = fold_data(problem)
    labels, truth = labels_at(problem, data.train)[:, 0], labels_at(problem, data.valid)[:, 0]
    zeros = {}
    for penalty, more in (("l2", {}), ("elasticnet", {"l1_ratio": 0.5}), ("l1", {})):
        params = {"solver": "sgd", "penalty": penalty, **more}
        fitted = linear.Linear(data, 1).fit(one_fit("y", params, 40, None, 1.0, 1, labels))
        assert 5 < fitted.rounds <= 40 and auc(truth, fitted.valid[:, 0]) > 0.75
        stored = json.loads(fitted.save(tmp_path / penalty).read_text())
        zeros[penalty] = int(np.sum(np.array(stored["coefficients"]) == 0))
    # Constant columns have none in any.
    assert zeros["l2"] < zeros["elasticnet"] <= zeros["l1"]


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({"solver": "sgd", "C": 1.0}, "unexpected keyword argument 'C'"),
        ({"alpha": 0.1}, "unexpected keyword argument 'alpha'"),
        ({"solver": "sgd", "penalty": "l3"}, "penalty"),
        ({"categories": "codes"}, "categories is one of onehot, hashed; found 'codes'"),
        ({"hash_bits": 8}, "hash_bits goes with 'categories: hashed' only"),
        ({"categories": "hashed", "hash_bits": 30}, "whole number from 1 to 24"),
        ({"categories": "hashed", "hash_bits": True}, "whole number from 1 to 24"),
    ],
)
def test_params_of_linear_models_that_are_refused(
    params: dict[str, Any], reason: str, problem: Problem, tmp_path: Path
) -> None:
    with pytest.raises(BlendmakeError, match=f"target 'full' was refused: .*{reason}"):
        run_fold(problem, "linear", tmp_path, rounds=3, params=params)


# leaks


@with_and_without_stopping
def test_labels_of_the_fold_do_not_reach_its_predictions(
    family: str,
    stopping: bool,
    problem: Problem,
    fitted: Callable[..., Done],
    tmp_path: Path,
) -> None:
    settings: dict[str, Any] = {"rounds": FEW[family]}
    if stopping:
        settings["early_stopping"] = {"rounds": 3}
    rows = problem.rows(0)
    before = fitted(family, **settings)
    for name, turned in (("held_out", rows.valid), ("training", rows.train)):
        labels = problem.labels.copy()
        labels[turned] = 1 - labels[turned]
        other = with_labels(problem, labels, f"{name}_{family}_{stopping}")
        after = run_fold(other, family, tmp_path / name, **settings)
        assert same(before, after) == (name == "held_out")


# models


@with_and_without_stopping
def test_kept_models_predict_the_same(
    family: str, stopping: bool, problem: Problem, fitted: Callable[..., Done]
) -> None:
    settings: dict[str, Any] = {"early_stopping": {"rounds": 3}} if stopping else {}
    done = fitted(family, **settings)
    for target in problem.targets:
        # The test table holds levels of `city` that training does not.
        saved = kept_predictions(done.outputs.models, target, problem.test_files())
        assert saved.dtype == np.float32
        assert np.abs(saved - done.tested(target)).max() < 1e-5
    assert len(list(done.outputs.models.iterdir())) == len(problem.targets) + 1
