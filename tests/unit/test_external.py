"""External sources: two files of predictions, in any order and naming, or refused with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.errors import BlendmakeError
from blendmake.files import read_note, read_parquet, write_parquet
from blendmake.fits.external import read_external
from blendmake.folds.file import read_folds
from blendmake.matrix import TableFile, writing_table
from blendmake.predictions import read_predictions
from helpers import files_below, write_user_file
from problems import Problem, run_fold, synthetic

RENAME = {"pattern": "^", "replace": "predict_"}
Columns = dict[str, Any]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=90, test_rows=12)


class Given:
    """Predictions of somebody else, as columns that a test may change before they are read."""

    def __init__(self, problem: Problem, folder: Path, targets: tuple[str, ...]) -> None:
        self.problem, self.folder = problem, folder
        rng = np.random.default_rng(5)
        self.columns: dict[str, Columns] = {}
        for part, letter, rows in (("oof", "r", 90), ("test", "t", 12)):
            ids = [f"{letter}{i}" for i in range(rows)]
            values = {name: rng.random(rows).astype(np.float32) for name in targets}
            self.columns[part] = {"id": ids, **values}

    def read(
        self, suffix: str = "parquet", rename: dict[str, str] | None = None
    ) -> dict[str, Path]:
        files = {
            part: write_user_file(self.folder / f"given_{part}.{suffix}", columns)
            for part, columns in self.columns.items()
        }
        out = {part: self.folder / "source" / f"{part}.parquet" for part in files}
        inputs = self.problem.inputs
        read_external(
            files,
            inputs.targets,
            inputs.tables["test"],
            inputs.folds,
            out,
            id_columns=[n for n in read_note(inputs.targets)["id_columns"] if n != "row"],
            rename=rename,
            note={"name": "theirs"},
        )
        return out

    def refused(self, **options: Any) -> str:
        with pytest.raises(BlendmakeError) as error:
            self.read(**options)
        assert not [file for file in files_below(self.folder) if file.startswith("source")]
        return str(error.value).replace(f"{self.folder}/", "")


@pytest.fixture
def given(problem: Problem, tmp_path: Path) -> Given:
    return Given(problem, tmp_path, ("rare", "full"))


def test_predictions_are_put_in_order(given: Given) -> None:
    """Of rows, of columns, and with names as in a submission."""
    expected = {part: dict(columns) for part, columns in given.columns.items()}
    rng = np.random.default_rng(1)
    for part, columns in given.columns.items():
        order = rng.permutation(len(columns["id"]))
        given.columns[part] = {
            "predict_rare": columns["rare"][order].astype(np.float64),
            "id": [columns["id"][i] for i in order],
            "predict_full": columns["full"][order],
        }
    out = given.read(rename=RENAME)
    inputs = given.problem.inputs
    ids = {
        "oof": read_parquet(inputs.targets).select(["id"]),
        "test": TableFile(inputs.tables["test"]).table(["id"]),
    }
    for part, path in out.items():
        found = read_predictions(path, ids[part])
        assert found.targets == ("full", "rare")  # in the order of the targets table
        assert found.values.dtype == np.float32
        for j, target in enumerate(found.targets):
            assert np.array_equal(found.values[:, j], expected[part][target])
        assert found.note["optimistic"] == [] and found.note["name"] == "theirs"
        assert found.note["folds"] == read_folds(inputs.folds).digest


@pytest.mark.parametrize("suffix", ["csv", "tsv", "csv.gz", "arrow", "feather"])
def test_every_kind_of_file(suffix: str, given: Given) -> None:
    out = given.read(suffix)
    for part, path in out.items():
        found = read_predictions(path)
        assert np.allclose(found.values[:, 0], given.columns[part]["full"], atol=1e-7)


def test_what_blendmake_wrote_can_be_read(problem: Problem, given: Given, tmp_path: Path) -> None:
    """A source's own files, as another problem or machine has them."""
    folds = [run_fold(problem, "linear", tmp_path / f"fold{k}", fold=k) for k in range(3)]
    test = read_parquet(folds[0].outputs.test)
    oof = pa.concat_tables([read_parquet(done.outputs.oof) for done in folds])
    given.columns = {"oof": dict(zip(oof.column_names, oof.columns, strict=True))}
    given.columns["test"] = dict(zip(test.column_names, test.columns, strict=True))
    out = given.read()
    found = read_predictions(out["oof"])
    for k, done in enumerate(folds):
        assert np.array_equal(found.values[problem.rows(k).valid], done.oof.values)
    assert np.array_equal(read_predictions(out["test"]).values, folds[0].test.values)


def test_a_column_that_says_the_fold_is_passed_over(given: Given) -> None:
    given.columns["oof"]["fold"] = np.arange(90) % 3
    assert read_predictions(given.read()["oof"]).targets == ("full", "rare")


def folds_of(given: Given) -> np.ndarray:
    return read_folds(given.problem.inputs.folds).fold


@pytest.mark.parametrize(
    "renamed",
    [
        lambda fold: fold + 1,
        lambda fold: np.array(["first", "second", "third"])[fold],
        lambda fold: (fold + 1) % 3,
        lambda fold: fold.astype(np.float64),
    ],
)
def test_folds_of_other_names_are_the_same_folds(given: Given, renamed: Any) -> None:
    given.columns["oof"]["fold"] = renamed(folds_of(given))
    assert read_predictions(given.read()["oof"]).targets == ("full", "rare")


def one_row_moved(fold: np.ndarray) -> np.ndarray:
    moved = fold.copy()
    moved[7] = (moved[7] + 1) % 3
    return moved


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (one_row_moved, "row 'r7' is in fold {there} by its column 'fold', but in fold {here} by"),
        (
            lambda fold: one_row_moved(fold) + 1,
            "is in fold {there1} by its column 'fold' (whose rows",
        ),
        (lambda fold: np.arange(90), "one of 30 there"),
        (lambda fold: np.zeros(90, int), "(whose rows are mostly in fold"),
        (lambda fold: pa.array([None, *fold[1:].tolist()]), "column 'fold' has 1 missing values"),
    ],
)
def test_folds_that_contradict_are_an_error(given: Given, change: Any, told: str) -> None:
    fold = folds_of(given)
    there = int(one_row_moved(fold)[7])
    given.columns["oof"]["fold"] = change(fold)
    shuffled = np.random.default_rng(0).permutation(90)
    given.columns["oof"] = {
        name: pa.array(values).take(pa.array(shuffled))
        for name, values in given.columns["oof"].items()
    }
    found = given.refused()
    assert told.format(there=there, there1=there + 1, here=fold[7]) in found
    assert "missing" in found or ("folds.parquet" in found and "folds.column" in found)


def test_a_column_fold_of_the_test_file_is_passed_over(given: Given) -> None:
    given.columns["test"]["fold"] = np.zeros(12)
    assert read_predictions(given.read()["test"]).targets == ("full", "rare")


@pytest.mark.parametrize("near", [lambda d: 1 - d, lambda d: 1e-300 * d, lambda d: 0.5 + d])
def test_different_predictions_stay_different(given: Given, near: Any) -> None:
    close = near(1e-9 * (1 + np.arange(90)))
    given.columns["oof"]["full"] = close
    found = read_predictions(given.read()["oof"])
    assert found.values.dtype == np.float64
    np.testing.assert_array_equal(found.values[:, 0], close)


@pytest.mark.parametrize("one", [1 - 1e-12, 1e-60])
def test_no_prediction_becomes_a_certainty(given: Given, one: float) -> None:
    given.columns["oof"]["full"] = np.linspace(0.1, 0.9, 90)
    given.columns["oof"]["full"][3] = one
    assert read_predictions(given.read()["oof"]).values[3, 0] == one


def test_what_float32_holds_is_written_so(given: Given) -> None:
    given.columns["oof"]["full"] = np.linspace(0, 1, 90)
    assert read_predictions(given.read()["oof"]).values.dtype == np.float32


def test_whole_numbers_and_booleans_are_numbers(given: Given) -> None:
    given.columns["oof"]["full"] = (given.columns["oof"]["full"] > 0.5).astype(np.int64)
    given.columns["oof"]["rare"] = given.columns["oof"]["rare"] > 0.5
    found = read_predictions(given.read()["oof"]).values
    assert np.array_equal(found[:, 0], given.columns["oof"]["full"])
    assert np.array_equal(found[:, 1], given.columns["oof"]["rare"])


def test_the_problems_own_names_are_not_renamed(given: Given) -> None:
    for columns in given.columns.values():
        columns["predict_other"] = columns["full"]
    assert given.refused(rename=RENAME) == "given_oof.parquet: column 'predict_other' is no target."


def without_ids(given: Given, position: bool) -> None:
    first = 0
    for columns in given.columns.values():
        rows = len(columns.pop("id"))
        if position:
            columns["row"] = np.arange(first, first + rows)


@pytest.mark.parametrize("position", [True, False])
def test_rows_without_ids_go_by_their_position(
    position: bool, given: Given, tmp_path: Path
) -> None:
    """The position may stand in the file, as it does in those that blendmake writes."""
    inputs = given.problem.inputs
    paths = {"targets": tmp_path / "targets.parquet", "test": tmp_path / "test.arrow"}
    table = read_parquet(inputs.targets).drop_columns(["id"])
    rows = pa.array(np.arange(90))
    write_parquet(table.add_column(0, "row", rows), paths["targets"], {"id_columns": ["row"]})
    with writing_table(paths["test"], pa.schema([("row", pa.int64())])) as writer:
        writer.write([pa.array(np.arange(12))])
    moved = type(inputs)(**{**vars(inputs), "targets": paths["targets"]})
    moved = type(inputs)(**{**vars(moved), "tables": {"test": paths["test"]}})
    given.problem = Problem(tmp_path, moved, given.problem.targets, given.problem.labels, {})
    expected = given.columns["oof"]["full"]
    without_ids(given, position)
    if position:
        columns = given.columns["oof"]
        given.columns["oof"] = {name: values[::-1] for name, values in columns.items()}
    assert np.array_equal(read_predictions(given.read()["oof"]).values[:, 0], expected)
    for columns in given.columns.values():
        for name in columns:
            columns[name] = columns[name][:-1]
    told = "lacks ids" if position else "has 89 rows, 90 are expected"
    assert told in given_again(given, tmp_path)


def given_again(given: Given, folder: Path) -> str:
    """The refusal of a second reading, into a folder of its own."""
    given.folder = folder / "again"
    given.folder.mkdir()
    return given.refused()


def drop(part: str, row: int) -> Callable[[Given], None]:
    def change(given: Given) -> None:
        for name, values in given.columns[part].items():
            given.columns[part][name] = np.delete(np.asarray(values), row)

    return change


def put(part: str, column: str, values: Any) -> Callable[[Given], None]:
    def change(given: Given) -> None:
        given.columns[part][column] = values

    return change


def change_value(part: str, column: str, row: int, value: Any) -> Callable[[Given], None]:
    def change(given: Given) -> None:
        values = list(given.columns[part][column])
        values[row] = value
        given.columns[part][column] = values

    return change


def remove(part: str, *columns: str) -> Callable[[Given], None]:
    def change(given: Given) -> None:
        for column in columns:
            del given.columns[part][column]

    return change


REFUSED: dict[str, tuple[Callable[[Given], None], str]] = {
    "missing id": (drop("oof", 3), "given_oof.parquet lacks ids 'r3' (1)."),
    "missing test id": (drop("test", 3), "given_test.parquet lacks ids 't3' (1)."),
    "extra id": (
        change_value("test", "id", 4, "t99"),
        "given_test.parquet lacks ids 't4' (1) and has unknown ids 't99' (1).",
    ),
    "repeated id": (
        change_value("oof", "id", 4, "r5"),
        "given_oof.parquet: duplicate ids in id: 'r5'",
    ),
    "no id column": (
        remove("oof", "id"),
        "given_oof.parquet: the id column 'id' is not among its columns ('rare', 'full').",
    ),
    "no target": (
        put("oof", "fulll", np.zeros(90)),
        "given_oof.parquet: column 'fulll' is no target.",
    ),
    "no column": (
        remove("oof", "full", "rare"),
        "given_oof.parquet: there is no column of a target (full, other, gaps, …).",
    ),
    "other targets": (
        remove("test", "rare"),
        "given_oof.parquet and given_test.parquet must hold the same targets; only one of them has "
        "'rare'.",
    ),
    "not a number": (
        change_value("oof", "full", 2, float("nan")),
        "given_oof.parquet: 1 values of column 'full' are missing or not finite.",
    ),
    "infinite": (
        change_value("test", "rare", 2, float("inf")),
        "given_test.parquet: 1 values of column 'rare' are missing or not finite.",
    ),
    "missing value": (
        change_value("oof", "full", 2, None),
        "given_oof.parquet: 1 values of column 'full' are missing or not finite.",
    ),
    "text": (
        put("oof", "full", ["high"] * 90),
        "given_oof.parquet: column 'full' holds no numbers.",
    ),
    "nothing": (
        put("oof", "full", pa.nulls(90)),
        "given_oof.parquet: column 'full' holds no numbers.",
    ),
    "ids of another type": (
        put("test", "id", np.arange(12)),
        "given_test.parquet lacks ids 't0', 't1', 't2', 't3', 't4' and 7 more (12) and has unknown ids",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, given: Given) -> None:
    change, told = REFUSED[name]
    change(given)
    assert given.refused().startswith(told)


def test_names_of_a_submission_are_those_that_are_missed(given: Given) -> None:
    for columns in given.columns.values():
        for name in ("full", "rare"):
            columns[f"p_{name}"] = columns.pop(name)
    told = "given_oof.parquet: column 'p_full', 'p_rare' is no target."
    assert given.refused(rename=RENAME) == told
