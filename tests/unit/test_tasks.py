"""Tasks, over the registry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.labels import read_known
from blendmake.tasks import TASKS
from blendmake.tasks.base import Target, find_task, note_of_targets, targets_of_note

EVERY = sorted(TASKS)
CLASSES = ("a", "b=c", "d")


def _target(name: str) -> Target:
    return Target("y", find_task(name), CLASSES if name == "multiclass" else ())


def _labels(name: str, n: int = 600) -> Any:
    rng = np.random.default_rng(0)
    drawn: Any = {
        "binary": lambda: (rng.random(n) < 0.1).astype(float),
        "multiclass": lambda: rng.choice(3, n, p=[0.8, 0.15, 0.05]).astype(float),
        "regression": lambda: rng.normal(size=n),
    }[name]()
    drawn[rng.random(n) < 0.2] = np.nan
    return drawn


@pytest.mark.parametrize("name", EVERY)
def test_what_stands_in_is_a_prediction_of_the_task(name: str) -> None:
    target, labels = _target(name), _labels(name)
    outputs = len(target.outputs)
    for given in (labels, np.full(5, np.nan), labels[:1]):
        constant = target.task.constant(given, outputs)
        assert constant.shape == (outputs,)
        assert target.task.wrong(np.tile(constant, (4, 1))) is None
    constant = target.task.constant(labels, outputs)
    moments = target.task.moments(labels, outputs)
    assert np.nanmean(moments, axis=0) == pytest.approx(constant)
    assert (np.isnan(moments).any(axis=1) == np.isnan(labels)).all()


@pytest.mark.parametrize("name", EVERY)
def test_nothing_is_learnt_from_labels_that_are_alike(name: str) -> None:
    task, labels = find_task(name), _labels(name)
    assert task.usable(labels)
    assert not task.usable(np.full(9, np.nan))
    assert not task.usable(np.where(np.isnan(labels), np.nan, 1.0))


@pytest.mark.parametrize("name", EVERY)
def test_strata_part_the_known_rows(name: str) -> None:
    task, labels = find_task(name), _labels(name)
    strata = task.strata(labels)
    assert strata.dtype == np.int8 and set(np.unique(strata)) <= {0, 1}
    assert not strata[np.isnan(labels)].any()
    if name == "binary":
        assert (strata[:, 0] == (labels == 1)).all()
    else:
        assert (strata.sum(axis=1) == ~np.isnan(labels)).all()
    if name == "regression":
        assert strata.shape[1] == 10
        assert np.ptp(strata.sum(axis=0)) <= 1  # bands of as many rows each
        means = [np.nanmean(labels[band == 1]) for band in strata.T]
        assert means == sorted(means)


def test_bands_of_a_label_that_is_mostly_one_value() -> None:
    labels = np.zeros(100)
    labels[:5] = [1, 2, 3, 4, 5]
    assert 1 <= find_task("regression").strata(labels).shape[1] <= 2


@pytest.mark.parametrize(
    ("name", "predictions", "told"),
    [
        ("binary", [[0.5], [1.1]], "between 0 and 1"),
        ("binary", [[0.5], [np.nan]], "finite"),
        ("regression", [[np.inf]], "finite"),
        ("multiclass", [[0.5, 0.5, 0.1]], "sum 1"),
        ("multiclass", [[-0.1, 0.6, 0.5]], "between"),
    ],
)
def test_what_is_no_prediction_is_told(name: str, predictions: Any, told: str) -> None:
    assert told in str(find_task(name).wrong(np.array(predictions)))
    assert find_task(name).wrong(np.empty((0, 3))) is None


def test_outputs_are_named() -> None:
    assert _target("binary").outputs == ("y",)
    assert _target("regression").outputs == ("y",)
    assert _target("multiclass").outputs == ("y=a", "y=b=c", "y=d")


def test_note_brings_targets_back() -> None:
    targets = [
        Target("b", find_task("binary")),
        Target("m", find_task("multiclass"), CLASSES),
        Target("r", find_task("regression")),
    ]
    assert targets_of_note(["b", "m", "r"], note_of_targets(targets)) == tuple(targets)
    assert note_of_targets(targets[:1]) == {}  # binary problems' artifacts stay as they were


def test_unknown_task_is_refused() -> None:
    with pytest.raises(BlendmakeError, match="no task 'ranking'"):
        find_task("ranking")


def test_labels_of_several_tasks_are_read_from_one_table(tmp_path: Any) -> None:
    targets = [
        Target("b", find_task("binary")),
        Target("m", find_task("multiclass"), CLASSES),
        Target("r", find_task("regression")),
    ]
    table = pa.table(
        {
            "id": ["x", "y", "z"],
            "b": pa.array([0, None, 1], pa.int8()),
            "m": pa.array(["d", "a", None]),
            "r": pa.array([2.0**24 + 1, None, -0.5]),
        }
    )
    path = tmp_path / "targets.parquet"
    write_parquet(table, path, {"id_columns": ["id"], **note_of_targets(targets)})
    known = read_known(path)
    assert known.targets == tuple(targets) and known.names == ["b", "m", "r"]
    assert known.ids["id"].to_pylist() == ["x", "y", "z"]
    expected = [[0, 2, 2.0**24 + 1], [np.nan, 0, np.nan], [1, np.nan, -0.5]]
    np.testing.assert_array_equal(known.labels, expected)


def test_labels_of_two_values_stay_float32(tmp_path: Any) -> None:
    path = tmp_path / "targets.parquet"
    write_parquet(
        pa.table({"id": [1], "b": pa.array([1], pa.int8())}), path, {"id_columns": ["id"]}
    )
    assert read_known(path).labels.dtype == np.float32
