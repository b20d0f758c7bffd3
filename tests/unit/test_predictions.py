from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.fits.assembly import warn_of_ties
from blendmake.predictions import read_predictions, write_predictions
from blendmake.tasks.base import targets_of_note

IDS = pa.table({"who": ["a", "a", "b"], "day": [1, 2, 1]})
TARGETS = ("t1", "t2")
VALUES = np.array([[0.1, 0.9], [0.25, 0.5], [1e-30, 1.0]], np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "oof.parquet"


@pytest.mark.parametrize("order", ["C", "F"])
def test_round_trip(path: Path, order: Any) -> None:
    write_predictions(path, IDS, TARGETS, np.array(VALUES, order=order), {"seed": 3})
    found = read_predictions(path, IDS)
    assert found.ids.equals(IDS)
    assert found.targets == TARGETS
    assert found.values.dtype == np.float32
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.note["seed"] == 3
    assert found.note["id_columns"] == ["who", "day"]


def test_no_rows(path: Path) -> None:
    none = np.empty((0, 2), np.float32)
    write_predictions(path, IDS.slice(0, 0), TARGETS, none, {})
    assert read_predictions(path).values.shape == (0, 2)


def _with(value: float, dtype: Any) -> Any:
    values = VALUES.astype(dtype)
    values[1, 1] = value
    return values


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (np.nan, np.float32),
        (np.inf, np.float32),
        (-np.inf, np.float64),
    ],
)
def test_what_is_not_finite_is_not_written(path: Path, value: float, dtype: Any) -> None:
    with pytest.raises(BlendmakeError, match=r"oof\.parquet: 1 of 3 predictions of target 't2'"):
        write_predictions(path, IDS, TARGETS, _with(value, dtype), {})
    assert not path.exists()


@pytest.mark.parametrize(
    "ids",
    [
        pa.table({"who": ["a", "a", "b"], "day": [1, 1, 1]}),
        pa.table({"who": ["a", None, "b"], "day": [1, 2, 1]}),
    ],
    ids=["repeated", "missing"],
)
def test_repeated_and_missing_ids_are_refused(path: Path, ids: pa.Table) -> None:
    with pytest.raises(BlendmakeError, match="ids are not all known and different"):
        write_predictions(path, ids, TARGETS, VALUES, {})
    assert not path.exists()
    table = pa.table([*ids.columns, VALUES[:, 0], VALUES[:, 1]], [*ids.column_names, *TARGETS])
    write_parquet(table, path, {"id_columns": ids.column_names})
    with pytest.raises(BlendmakeError, match=r"is damaged \(its ids are not all known"):
        read_predictions(path)


@pytest.mark.parametrize(
    "ids",
    [
        IDS.take([1, 0, 2]),
        IDS.slice(0, 2),
        pa.table({"who": ["a", "a", "c"], "day": [1, 2, 1]}),
        pa.table({"id": ["a", "a", "b"], "day": [1, 2, 1]}),
    ],
    ids=["another order", "fewer", "others", "other names"],
)
def test_predictions_of_other_rows_are_refused(path: Path, ids: pa.Table) -> None:
    write_predictions(path, IDS, TARGETS, VALUES, {})
    with pytest.raises(BlendmakeError, match="holds predictions of other rows"):
        read_predictions(path, ids)


@pytest.mark.parametrize(
    "column",
    [[0.1, None, 0.3], [0.1, float("nan"), 0.3], [0.1, float("inf"), 0.3]],
    ids=["null", "nan", "infinity"],
)
def test_what_is_not_finite_is_not_read(path: Path, column: list[Any]) -> None:
    table = IDS.append_column("t1", pa.array(VALUES[:, 0])).append_column("t2", pa.array(column))
    write_parquet(table, path, {"id_columns": ["who", "day"]})
    with pytest.raises(BlendmakeError, match=r"damaged .*target 't2' are not all finite"):
        read_predictions(path)


def test_a_file_without_its_note_is_refused(path: Path) -> None:
    write_parquet(IDS, path)
    with pytest.raises(BlendmakeError, match="does not say which of its columns are ids"):
        read_predictions(path)


def test_ties_that_float32_makes_near_one_are_told(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    values = np.ones((200, 2), np.float32) - rng.uniform(0.1, 0.2, (200, 2)).astype(np.float32)
    values[:2] = 1
    warn_of_ties(targets_of_note(["few", "many"], {}), values)
    assert not caplog.records
    values[:50, 1] = np.float32(1 - 1e-9)
    warn_of_ties(targets_of_note(["few", "many"], {}), values)
    assert [record.args for record in caplog.records] == [(50, 200, "many")]
