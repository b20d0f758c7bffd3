from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import read_note
from blendmake.predictions import write_predictions
from blendmake.submission import read_sample, what_it_holds, write_submission
from blendmake.tasks import TASKS
from blendmake.tasks.base import Target, find_task, targets_of_note
from helpers import files_below, write_user_file

TARGETS = ("target_1", "target_2")
RENAME = {"pattern": "^target_", "replace": "predict_"}
IDS = pa.table({"id": pa.array([11, 12, 13])})
VALUES = np.array([[0.1, 0.4], [0.2, 0.5], [0.3, 0.6]], np.float32)


def submit(
    folder: Path,
    sample: dict[str, Any] | None = None,
    *,
    ids: pa.Table = IDS,
    targets: tuple[str, ...] = TARGETS,
    rename: dict[str, str] | None = None,
    suffix: str = "parquet",
) -> pa.Table:
    """Write a submission of VALUES and read it back."""
    write_predictions(folder / "test.parquet", ids, targets, VALUES[:, : len(targets)], {})
    path = write_user_file(folder / f"sample.{suffix}", sample) if sample is not None else None
    out = folder / "out" / "submission.parquet"
    write_submission(
        folder / "test.parquet",
        path,
        out,
        id_columns=[name for name in ids.column_names if name != "row"],
        targets=targets_of_note(TARGETS, {}),
        rename=rename,
        note={"blend": "champion"},
        out_csv=out.with_suffix(".csv"),
    )
    assert read_note(out)["blend"] == "champion"
    return pq.read_table(out).replace_schema_metadata()


def test_without_a_sample_it_has_the_ids_and_targets(tmp_path: Path) -> None:
    table = submit(tmp_path)
    columns = {name: VALUES[:, j].astype(np.float64) for j, name in enumerate(TARGETS)}
    assert table.equals(pa.table({"id": IDS["id"], **columns}))


def test_the_csv_holds_the_same_table(tmp_path: Path) -> None:
    table = submit(tmp_path)
    assert csv.read_csv(tmp_path / "out" / "submission.csv").equals(table)


def test_ids_columns_and_dtypes_are_those_of_the_sample(tmp_path: Path) -> None:
    sample = {
        "predict_2": pa.array([0, 0, 0]),
        "id": pa.array([13, 11, 12], pa.int32()),
        "predict_1": pa.array([0, 0, 0], pa.float32()),
    }
    table = submit(tmp_path, sample, rename=RENAME)
    assert table.schema.names == ["predict_2", "id", "predict_1"]
    assert table.schema.types == [pa.float64(), pa.int32(), pa.float32()]
    assert table["id"].to_pylist() == [13, 11, 12]
    np.testing.assert_array_equal(table["predict_1"], VALUES[[2, 0, 1], 0])
    np.testing.assert_array_equal(table["predict_2"], VALUES[[2, 0, 1], 1].astype(np.float64))


@pytest.mark.parametrize("suffix", ["csv", "parquet", "arrow"])
def test_ids_of_several_columns(tmp_path: Path, suffix: str) -> None:
    ids = pa.table({"who": ["a", "a", "b"], "day": [1, 2, 1]})
    sample = {
        "day": [1, 2, 1],
        "who": ["b", "a", "a"],
        "target_1": [0.0] * 3,
        "target_2": [0.0] * 3,
    }
    table = submit(tmp_path, sample, ids=ids, suffix=suffix)
    assert table.select(["day", "who"]).to_pydict() == {k: sample[k] for k in ("day", "who")}
    np.testing.assert_array_equal(table["target_1"], VALUES[[2, 1, 0], 0].astype(np.float64))


def test_rows_without_ids_go_by_position(tmp_path: Path) -> None:
    ids = pa.table({"row": pa.array([50, 51, 52])})
    table = submit(tmp_path, {"target_2": [0.0] * 3, "target_1": [0.0] * 3}, ids=ids)
    assert table.schema.names == ["target_2", "target_1"]
    np.testing.assert_array_equal(table["target_1"], VALUES[:, 0].astype(np.float64))


ZEROS = {name: [0.0] * 3 for name in TARGETS}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "missing id": (
        {"sample": {"id": [11, 12], "target_1": [0.0] * 2, "target_2": [0.0] * 2}},
        r"sample\.parquet lacks ids '13' \(1\)",
    ),
    "extra id": (
        {"sample": {"id": [11, 12, 13, 14], "target_1": [0.0] * 4, "target_2": [0.0] * 4}},
        r"sample\.parquet has unknown ids '14' \(1\)",
    ),
    "repeated id": (
        {"sample": {"id": [11, 12, 12], **ZEROS}},
        r"sample\.parquet: duplicate ids in id: '12'",
    ),
    "missing id column": (
        {"sample": {"key": [11, 12, 13], **ZEROS}},
        r"sample\.parquet: the id column 'id' is not among",
    ),
    "ids of another type": (
        {"sample": {"id": ["11", "12", "013"], **ZEROS}},
        r"sample\.parquet: ids in column 'id' are of type string \('013'\), .* int64 \('11'\)",
    ),
    "missing column": (
        {"sample": {"id": [11, 12, 13], "target_1": [0.0] * 3}},
        r"sample\.parquet has no column for 'target_2'",
    ),
    "extra column": (
        {"sample": {"id": [11, 12, 13], **ZEROS, "more": [0.0] * 3}},
        r"sample\.parquet asks for column 'more', which no target gives",
    ),
    "names not renamed": (
        {"sample": {"id": [11, 12, 13], "predict_1": [0.0] * 3, "predict_2": [0.0] * 3}},
        r"asks for column 'predict_1'.* no column for 'target_1'.*submissions\.rename",
    ),
    "other rows by position": (
        {"sample": {"target_1": [0.0], "target_2": [0.0]}, "ids": pa.table({"row": [50, 51, 52]})},
        r"sample\.parquet has 1 rows, 3 are expected",
    ),
    "target not covered": (
        {"targets": ("target_1",)},
        r"does not cover target 'target_2' \(1 in all\).*fallback",
    ),
    "two targets renamed alike": (
        {"rename": {"pattern": "_.*", "replace": ""}},
        "column name 'target' twice",
    ),
    "target renamed to the id": (
        {"rename": {"pattern": "^target_1$", "replace": "id"}},
        "column name 'id' twice",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str) -> None:
    arguments, says = REFUSED[name]
    with pytest.raises(BlendmakeError, match=says):
        submit(tmp_path, **arguments)
    assert files_below(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("note", "values", "told", "shown"),
    [
        ({}, VALUES, "", " (probabilities)"),
        ({"scale": "rank"}, VALUES, "holds ranks", " (no probabilities: ranks or scores)"),
        ({}, VALUES * 9, "holds values outside", " (no probabilities: ranks or scores)"),
    ],
)
def test_it_says_whether_it_holds_probabilities(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    note: dict[str, Any],
    values: Any,
    told: str,
    shown: str,
) -> None:
    write_predictions(tmp_path / "test.parquet", IDS, TARGETS, values, note)
    out = tmp_path / "submission.parquet"
    write_submission(
        tmp_path / "test.parquet",
        None,
        out,
        id_columns=["id"],
        targets=targets_of_note(TARGETS, {}),
        rename=None,
        note={},
    )
    assert told in caplog.text and bool(told) == ("calibrate: logistic" in caplog.text)
    assert what_it_holds(out) == shown
    assert what_it_holds(tmp_path / "report.html") == ""


# Other tasks

KINDS = (
    Target("kind", find_task("multiclass"), ("1", "2", "10")),
    Target("price", find_task("regression")),
    Target("won", find_task("binary")),
)
OUTPUTS = ["kind=1", "kind=2", "kind=10", "price", "won"]
MIXED = np.array(
    [[0.7, 0.2, 0.1, 1e6, 0.4], [0.1, 0.1, 0.8, -2.5, 0.5], [0.2, 0.5, 0.3, 0.0, 0.6]], np.float32
)


def submit_mixed(
    folder: Path, columns: Any, rename: dict[str, str] | None = None, of: Any = KINDS
) -> pa.Table:
    """A submission of MIXED with a sample of these columns; None: without one."""
    places = [OUTPUTS.index(name) for target in of for name in target.outputs]
    write_predictions(folder / "test.parquet", IDS, of, MIXED[:, places], {})
    sample = None
    if columns is not None:
        sample = write_user_file(folder / "sample.parquet", {"id": [13, 11, 12], **columns})
        ids = {"id_columns": ["id"], "targets": of, "rename": rename, "note": {}}
        read_sample(sample, IDS, folder / "read.parquet", **ids)
    out = folder / "submission.parquet"
    options: Any = {"id_columns": ["id"], "targets": of, "rename": rename, "note": {}}
    write_submission(folder / "test.parquet", sample, out, **options)
    return pq.read_table(out).replace_schema_metadata()


def test_outputs_of_every_task(tmp_path: Path) -> None:
    assert {target.task.name for target in KINDS} == set(TASKS)
    table = submit_mixed(tmp_path, None)
    assert table.column_names == ["id", *OUTPUTS]
    found = np.column_stack([table[name].to_numpy() for name in OUTPUTS])
    np.testing.assert_array_equal(found, MIXED.astype(np.float64))


ZEROS = [0.0] * 3
SAMPLES: dict[str, tuple[dict[str, Any], dict[str, str] | None, dict[str, list[Any]]]] = {
    "outputs": (
        {"price": ZEROS, "kind=2": ZEROS, "kind=1": ZEROS, "kind=10": ZEROS, "won": ZEROS},
        None,
        {"price": [0, 1e6, -2.5], "kind=2": [0.5, 0.2, 0.1], "kind=10": [0.3, 0.1, 0.8]},
    ),
    "classes": (
        {"1": ZEROS, "2": ZEROS, "10": ZEROS, "won": ZEROS, "price": ZEROS},
        None,
        {"1": [0.2, 0.7, 0.1], "won": [0.6, 0.4, 0.5]},
    ),
    "renamed": (
        {"Class_1": ZEROS, "Class_2": ZEROS, "Class_10": ZEROS, "won": ZEROS, "price": ZEROS},
        {"pattern": "^kind=", "replace": "Class_"},
        {"Class_10": [0.3, 0.1, 0.8]},
    ),
    "label": (
        {"kind": ["?"] * 3, "price": ZEROS, "won": ZEROS},
        None,
        {"kind": ["2", "1", "10"], "price": [0, 1e6, -2.5]},
    ),
    "label as a whole number": (
        {"kind": [0] * 3, "price": ZEROS, "won": ZEROS},
        None,
        {"kind": [2, 1, 10]},
    ),
    "label, renamed": (
        {"answer": ["a"] * 3, "price": ZEROS, "won": ZEROS},
        {"pattern": "^kind$", "replace": "answer"},
        {"answer": ["2", "1", "10"]},
    ),
    "whole numbers": (
        {"kind": ["a"] * 3, "price": [0] * 3, "won": [0] * 3},
        None,
        {"price": [0, 1e6, -2.5]},
    ),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_says_how_targets_stand(tmp_path: Path, name: str) -> None:
    columns, rename, expected = SAMPLES[name]
    table = submit_mixed(tmp_path, columns, rename)
    assert table.column_names == ["id", *columns]
    assert table["id"].to_pylist() == [13, 11, 12]
    for column, values in expected.items():
        found = table[column].to_pylist()
        assert found == values if isinstance(values[0], str) else found == pytest.approx(values)


def test_what_a_sample_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(BlendmakeError, match=r"no column for 'kind=1'"):
        submit_mixed(tmp_path, {"1": ZEROS, "2": ZEROS, "price": ZEROS, "won": ZEROS})
    with pytest.raises(BlendmakeError, match=r"'kind' is bool, but the classes are '2'"):
        submit_mixed(tmp_path, {"kind": [True] * 3, "price": ZEROS, "won": ZEROS})


@pytest.mark.parametrize(
    ("of", "columns", "says"),
    [
        (KINDS[1:2], None, ""),
        (KINDS[:1], None, " (probabilities)"),
        (KINDS[:1], {"kind": ["a"] * 3}, ""),
        (KINDS[2:], None, " (probabilities)"),
    ],
    ids=["numbers", "classes", "label", "binary"],
)
def test_what_lists_of_files_say_of_it(tmp_path: Path, of: Any, columns: Any, says: str) -> None:
    submit_mixed(tmp_path, columns, of=of)
    assert what_it_holds(tmp_path / "submission.parquet") == says
