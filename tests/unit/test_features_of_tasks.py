"""What is made of labels, for every task there is: encodings, and columns chosen by information."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import sem
from sklearn.metrics import mutual_info_score
from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

from blendmake.features.encoding import encodings
from blendmake.features.label_sums import LabelSums, moments_of
from blendmake.features.selection import MutualInformation, binned, in_classes, sample_rows
from blendmake.files import read_parquet, write_parquet
from blendmake.matrix import Rows
from blendmake.tasks import TASKS
from blendmake.tasks.base import Target, find_task, note_of_targets
from problems import FOLDS, Problem, with_fold_features, write_problem

each_task = pytest.mark.parametrize("task", sorted(TASKS))
CLASSES = ("ash", "birch", "cedar", "durian")


def labelled(task: str, signal: NDArray[np.float64]) -> tuple[Target, NDArray[np.float64]]:
    """A target called y, and labels that follow a signal (rows,) of about unit spread."""
    if task == "binary":
        return Target("y", find_task(task)), (signal > 0).astype(np.float64)
    if task == "multiclass":
        codes = np.digitize(signal, [-1.0, 0.0, 1.0]).astype(np.float64)
        return Target("y", find_task(task), CLASSES), codes
    return Target("y", find_task(task)), signal * 3 + 100


def made(
    folder: Path, train: dict[str, Any], test: dict[str, Any], target: Target, labels: Any
) -> Problem:
    """A problem of one target, fold i of rows i, i + FOLDS, …"""
    fold = np.arange(len(labels)) % FOLDS
    stand_in = (np.arange(len(labels)) % 2).astype(float)[:, None]
    problem = write_problem(folder, train, test, stand_in, ["y"], fold=fold)
    unknown = np.isnan(labels)
    column: pa.Array = pa.array(labels, mask=unknown)
    if target.classes:
        names = np.array(target.classes)[np.nan_to_num(labels).astype(np.intp)]
        column = pa.array(names, pa.string(), mask=unknown)
    ids = read_parquet(problem.inputs.targets)["id"]
    path = folder / "labels.parquet"
    note = {"id_columns": ["id"], **note_of_targets([target])}
    write_parquet(pa.table({"id": ids, "y": column}), path, note)
    return replace(problem, inputs=replace(problem.inputs, targets=path), labels=labels[:, None])


def matrix(problem: Problem, part: str = "train") -> pd.DataFrame:
    files = problem.inputs.feature_files(part)
    rows = Rows(files.files, files.columns, np.arange(files.rows))
    return pd.DataFrame({c.name: rows.values(i) for i, c in enumerate(files.columns)})


def moments(target: Target, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    return target.task.moments(labels, len(target.outputs))


@each_task
def test_encodings_are_smoothed_means_of_what_the_task_says(task: str) -> None:
    rng = np.random.default_rng(1)
    target, labels = labelled(task, rng.normal(size=120))
    labels[rng.random(120) < 0.2] = np.nan
    codes, inner = rng.integers(0, 5, 120), rng.integers(0, 3, 120)
    sums = LabelSums(labels[:, None], moments_of([target]))
    found = encodings(codes, 5, sums, inner, 3, 4.0)
    of = moments(target, labels)
    assert found.shape == (4, 6, of.shape[1])
    assert len(target.task.moment_names("y", target.classes)) == of.shape[1]
    for i in range(4):
        fit = (inner != i) & ~np.isnan(labels)
        prior = of[fit].mean(axis=0)
        for level in range(6):
            inside = of[fit & (codes == level)]
            expected = (inside.sum(axis=0) + 4 * prior) / (len(inside) + 4)
            np.testing.assert_allclose(found[i, level], expected, rtol=1e-12)


@each_task
def test_no_row_sees_a_label_of_its_own_inner_fold(task: str) -> None:
    """Not by what is rounded either: a label may be of any size."""
    rng = np.random.default_rng(2)
    target, labels = labelled(task, rng.normal(size=60))
    codes, inner = rng.integers(0, 4, 60), rng.integers(0, 3, 60)

    def values(labels: NDArray[np.float64]) -> NDArray[np.float64]:
        sums = LabelSums(labels[:, None], moments_of([target]))
        return encodings(codes, 4, sums, inner, 3, 5.0)[inner, codes]

    before = values(labels)
    for row in range(60):
        changed = labels.copy()
        numbers = not target.classes and task != "binary"
        changed[row] = 1e17 + 3 if numbers else (labels[row] + 1) % max(2, len(target.classes))
        after, own = values(changed), inner == inner[row]
        np.testing.assert_array_equal(after[own], before[own])
        assert (after[~own] != before[~own]).any()


@each_task
def test_held_out_rows_change_nothing_elsewhere(task: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    rows, held = 240, np.arange(240) % FOLDS == 0
    city, signal = rng.integers(0, 6, rows + 12), rng.normal(size=rows + 12)
    target, labels = labelled(task, signal[:rows] + city[:rows] / 3 - 1)
    labels[rng.random(rows) < 0.1] = np.nan
    columns = {"city": np.char.add("c", city.astype(str)), "x": signal, "z": rng.normal(size=252)}
    train = {name: column[:rows] for name, column in columns.items()}
    test = {name: column[rows:] for name, column in columns.items()}
    order = np.arange(rows)
    order[held] = rng.permutation(order[held])
    changed = {**train, "city": train["city"][order], "x": np.where(held, 9.0, train["x"])}
    moved = np.where(held, labels[order][::-1], labels)
    keys = {"target_encoding": {"columns": "city"}, "select": {"top": 2, "keep": "city*"}}
    problems = {
        "before": made(tmp_path / "before", train, test, target, labels),
        "after": made(tmp_path / "after", changed, test, target, moved),
    }
    done = {name: with_fold_features(one, 0, keys) for name, one in problems.items()}
    assert sum("__encoded" in name for name in matrix(done["before"])) >= 1
    for part, inside in (("train", ~held), ("test", np.ones(12, bool))):
        before, after = (matrix(one, part)[inside] for one in done.values())
        pd.testing.assert_frame_equal(before, after, check_exact=True)
    before, after = (
        read_parquet(one.inputs.columns.with_name("selection.parquet")) for one in done.values()
    )
    assert before.equals(after)
    # The same change does show in a fold that trains on those rows.
    done = {name: with_fold_features(one, 1, keys) for name, one in problems.items()}
    assert not matrix(done["before"])[~held].equals(matrix(done["after"])[~held])


@each_task
def test_labels_that_say_nothing_are_not_encoded(task: str, tmp_path: Path) -> None:
    """With a level for every third row, what a row's own label says would show at once."""
    rng = np.random.default_rng(4)
    rows = 600
    target, labels = labelled(task, rng.normal(size=rows))
    city = np.char.add("c", rng.integers(0, 200, rows).astype(str))
    problem = made(tmp_path, {"city": city}, {"city": city[:5]}, target, labels)
    honest, careless = [], []
    for fold in range(FOLDS):
        keys = {"target_encoding": {"columns": "city", "targets": "each", "smoothing": 1}}
        frame = matrix(with_fold_features(problem, fold, keys))
        inside = np.arange(rows) % FOLDS != fold
        of = pd.DataFrame(moments(target, labels))
        for j, name in enumerate(target.task.moment_names("y", target.classes)):
            encoded = frame[f"city__encoded__{name}"].to_numpy()
            plain = of[j].groupby(city).transform("mean").to_numpy()
            honest.append(np.corrcoef(encoded[inside], of[j][inside])[0, 1])
            careless.append(np.corrcoef(plain[inside], of[j][inside])[0, 1])
    assert np.mean(honest) < 0.1
    assert np.mean(careless) > 0.4


def test_any_is_of_binary_targets_and_others_have_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    city = np.char.add("c", rng.integers(0, 5, 90).astype(str))
    listed = {}
    for task in sorted(TASKS):
        target, labels = labelled(task, rng.normal(size=90))
        problem = made(tmp_path / task, {"city": city}, {"city": city[:5]}, target, labels)
        done = with_fold_features(problem, 0, {"target_encoding": {"columns": "city"}})
        lines = read_parquet(done.inputs.columns).to_pylist()
        listed[task] = {r["name"]: r["targets"] for r in lines if r["origin"] == "fold"}
    assert listed["binary"] == {"city__encoded": None}
    assert listed["multiclass"] == {f"city__encoded__y={name}": ["y"] for name in CLASSES}
    assert listed["regression"] == {"city__encoded__y": ["y"]}


def test_numbers_that_float32_cannot_tell_apart_are_encoded_in_full(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    city = rng.integers(0, 9, 300)
    labels = 1e9 + city + 0.1 * rng.normal(size=300)
    names = np.char.add("c", city.astype(str))
    target = Target("y", find_task("regression"))
    problem = made(tmp_path, {"city": names}, {"city": names[:5]}, target, labels)
    keys = {"target_encoding": {"columns": "city", "smoothing": 0}}
    values = matrix(with_fold_features(problem, 0, keys))["city__encoded__y"]
    assert values.dtype == np.float64
    np.testing.assert_allclose(values - 1e9, city, atol=0.2)


# Mutual information


@pytest.mark.parametrize("classes", [3, 7, 40])
def test_information_on_many_classes_against_scikit_learn(classes: int) -> None:
    rng = np.random.default_rng(classes)
    labels = rng.integers(0, classes, (400, 2)).astype(np.float32)
    labels[:, 1] = np.where(rng.random(400) < 0.9, 0, labels[:, 1])  # a common class
    labels[rng.random(400) < 0.2, 1] = np.nan
    number = (labels[:, 0] + rng.normal(size=400)).astype(np.float32)
    number[rng.random(400) < 0.1] = np.nan
    columns = [binned(number, 0), binned(rng.integers(0, 70, 400).astype(np.float32), 70)]
    score = MutualInformation(labels)
    for codes, n_codes in columns:
        for j, found in enumerate(score(codes, n_codes)):
            known = ~np.isnan(labels[:, j])
            table = contingency_matrix(labels[known, j].astype(int), codes[known], sparse=True)
            plain = mutual_info_score(None, None, contingency=table)
            chance = expected_mutual_information(table.astype(np.int64), int(known.sum()))
            assert found == pytest.approx(plain - chance, abs=1e-4)
    assert score(*columns[0])[0] > 0.2


@each_task
def test_what_says_nothing_has_no_information_on_the_average(task: str) -> None:
    rng = np.random.default_rng(7)
    target, labels = labelled(task, rng.normal(size=500))
    permuted = np.column_stack([rng.permutation(labels) for _ in range(150)])
    classes = in_classes(permuted, [target] * 150)
    assert np.nanmax(classes) == {"binary": 1, "multiclass": 3}.get(task, 9)
    codes = rng.integers(0, 30, 500)
    values = MutualInformation(classes)(codes, 30)
    assert abs(values.mean()) < 3 * sem(values)
    plain = np.mean([mutual_info_score(codes, classes[:, j]) for j in range(150)])
    assert plain > 8 * sem(values)  # which would be seen


@each_task
def test_the_columns_that_explain_a_target_are_chosen(task: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    signal = rng.normal(size=400)
    target, labels = labelled(task, signal)
    labels[::9] = np.nan
    columns = {f"noise{i}": rng.normal(size=400) for i in range(12)}
    columns["bent"] = np.where(signal < 0, -5.0, signal) + 0.1 * rng.normal(size=400)
    columns["gap"] = np.where(np.abs(signal) < 0.5, np.nan, rng.normal(size=400)) * (signal > 0)
    test = {name: column[:5] for name, column in columns.items()}
    problem = made(tmp_path, columns, test, target, labels)
    done = with_fold_features(problem, 0, {"select": {"top": 2}})
    assert set(matrix(done)) == {"bent", "gap"}


def test_a_sample_holds_every_class() -> None:
    rng = np.random.default_rng(9)
    labels = np.where(rng.random(20_000) < 0.999, 0, rng.integers(1, 5, 20_000)).astype(np.float32)
    rows = sample_rows(labels[:, None], 500, 1)
    counts, every = (np.bincount(at.astype(int)) for at in (labels[rows], labels))
    np.testing.assert_array_equal(counts[1:], np.minimum(every[1:], 80))
