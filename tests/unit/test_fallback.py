"""What a budget hands in if no source ends: from files, from tables, from finished folds."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blendmake.budget.unfinished import mean_of_folds
from blendmake.budget.unread import prior_of_files
from blendmake.errors import BlendmakeError
from blendmake.files import read_note, write_parquet
from blendmake.folds.file import read_folds
from blendmake.labels import read_labels
from blendmake.predictions import read_predictions, write_predictions
from budget_fallback import Fallback
from problems import Problem, write_problem

ROWS, TEST = 240, 60


@pytest.fixture
def problem(tmp_path: Path) -> Problem:
    """Two targets, one with gaps, that one number tells; tables as a results folder has them."""
    draw = np.random.default_rng(5)
    x = draw.normal(size=ROWS + TEST)
    y = (x[:, None] + draw.normal(size=(len(x), 2)) > [0.3, -0.5]).astype(float)
    y[:ROWS][draw.random((ROWS, 2)) < [0.0, 0.5]] = np.nan
    made = write_problem(
        tmp_path / "results", {"x": x[:ROWS]}, {"x": x[ROWS:]}, y[:ROWS], ["full", "gaps"]
    )
    shutil.copyfile(made.inputs.targets, made.folder / "tables" / "targets.parquet")
    return made


def write_fold(problem: Problem, source: str, fold: int, rightness: float) -> None:
    """A fold of a source: `rightness` of its out-of-fold predictions is the label, the rest chance."""
    folder = problem.folder / "sources" / source / f"fold{fold}"
    folder.mkdir(parents=True)
    ids, names, labels = read_labels(problem.inputs.targets)
    draw = np.random.default_rng(fold)
    rows = read_folds(problem.inputs.folds).rows(fold).valid
    chance = draw.random((len(rows), 2))
    values = 0.05 + 0.9 * (
        rightness * np.nan_to_num(labels[rows], nan=0.5) + (1 - rightness) * chance
    )
    note = {"optimistic": []}
    held_out = ids.take(pa.array(rows))
    write_predictions(folder / "oof.parquet", held_out, names, values.astype(np.float32), note)
    test = pa.table({"id": [f"t{i}" for i in range(TEST)]})
    constant = np.full((TEST, 2), 0.2 + 0.1 * fold, np.float32)
    write_predictions(folder / "test.parquet", test, names, constant, note)


def facts(problem: Problem, **others: Any) -> dict[str, Any]:
    folder = problem.folder
    return {
        "results": str(folder),
        "submissions": {
            "parquet": f"{folder}/submissions/{{artifact}}.parquet",
            "csv": f"{folder}/submissions/{{artifact}}.csv",
        },
        "submission": {"id": ["id"], "rename": None, "csv": True},
        "sample": [],
        "groups": [],
        "seed": 0,
        "seconds": 100.0,
        "files": {
            "train": [f"{folder}/given_train.parquet"],
            "test": [f"{folder}/given_test.parquet"],
            "targets": f"{folder}/given_targets.parquet",
            "sample": None,
            "taken": [],
        },
        "targets": {"id": ["id"], "columns": None},
        **others,
    }


def fallback(problem: Problem, ago: float = 0.0, **others: Any) -> Fallback:
    """Of a budget of 100 s that began so many seconds ago."""
    log = problem.folder / "budget.log"
    return Fallback(facts(problem, **others), "code", log, time.time() - ago)


def handed_in(problem: Problem) -> Any:
    found = pq.read_table(problem.folder / "submission.parquet").to_pandas()
    assert found["id"].tolist() == [f"t{i}" for i in range(TEST)]
    assert (problem.folder / "submission.csv").exists()
    return found


def settle(one: Fallback) -> None:
    one.settle(time.time() + 60)


# Without tables


def test_rates_come_from_the_files_where_the_tables_are_late(problem: Problem) -> None:
    (problem.folder / "tables" / "test.arrow").unlink()
    early = fallback(problem)
    settle(early)
    assert not early.stands() and not (problem.folder / "submission.parquet").exists()
    late = fallback(problem, ago=50.0)
    settle(late)
    assert late.stands() and late.told() == "the prior"
    rates = np.nanmean(problem.labels, axis=0)
    assert np.allclose(handed_in(problem)[["full", "gaps"]], np.tile(rates, (TEST, 1)), atol=1e-6)


def test_rates_of_files_have_the_ids_that_the_tables_would_have(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,x,y\n007,1,>50K\n008,2,<=50K\n1000.60,3,<=50K\n")
    (tmp_path / "b.csv").write_text("id,x\n009,1\n+1000,4\n")
    out = tmp_path / "out.parquet"
    train, test = ([str(tmp_path / name)] for name in ("a.csv", "b.csv"))
    settings: dict[str, Any] = {"columns": ["y"], "positive": [">50K"]}
    prior_of_files(train, test, ["id"], train[0], out, {}, **settings)
    found = read_predictions(out)
    assert found.ids["id"].to_pylist() == ["009", "+1000"]
    assert found.values[:, 0] == pytest.approx(1 / 3)
    # Without ids the rows of test are counted on from those of train.
    prior_of_files(train, test, [], train[0], out, {}, **settings)
    assert read_predictions(out).ids.column(0).to_pylist() == [3, 4]
    with pytest.raises(BlendmakeError, match="z"):
        prior_of_files(train, test, ["id"], train[0], out, {}, columns=["z"])


# With tables


def test_as_soon_as_the_tables_stand_it_is_made_of_them_and_again_where_they_change(
    problem: Problem,
) -> None:
    one = fallback(problem)
    settle(one)
    assert one.told().startswith("a linear model on a sample (macro AUC 0.")
    first = handed_in(problem)
    settle(one)
    assert handed_in(problem).equals(first)
    # Tables of an earlier state were there: what was made of them is not what is handed in.
    targets = problem.folder / "tables" / "targets.parquet"
    table = pq.read_table(targets)
    turned = table.set_column(1, "full", pa.array(1 - table["full"].to_numpy(), pa.int8()))
    write_parquet(turned.replace_schema_metadata(None), targets, {"id_columns": ["id"]})
    settle(one)
    assert np.corrcoef(handed_in(problem)["full"], first["full"])[0, 1] < -0.9


def test_what_goes_wrong_is_in_the_log_and_ends_nothing(problem: Problem) -> None:
    (problem.folder / "tables" / "columns.parquet").write_bytes(b"damaged")
    one = fallback(problem)
    settle(one)
    assert one.told() == "the prior" and one.stands()  # that needs no columns
    assert "could not be made (of_tables)" in (problem.folder / "budget.log").read_text()


def test_nothing_is_begun_where_nothing_is_handed_in(problem: Problem) -> None:
    one = fallback(problem, submissions={})
    settle(one)
    assert not (problem.folder / "submission.parquet").exists()


def test_it_goes_when_something_better_is_in_place(problem: Problem) -> None:
    one = fallback(problem)
    settle(one)
    one.look_after()
    one.clear()
    assert not one.stands() and not (problem.folder / "last_resort").exists()
    assert (problem.folder / "submission.parquet").exists()


# Folds of a source that did not end


def test_finished_folds_are_handed_in_where_they_are_better(problem: Problem) -> None:
    one = fallback(problem)
    settle(one)
    for k in (0, 2):
        write_fold(problem, "chance", k, 0.0)
        write_fold(problem, "right", k, 0.9)
    one.offer("chance")
    one.offer("right")
    one.offer("without_folds")
    # What becomes of the source's folder later is no matter.
    shutil.rmtree(problem.folder / "sources")
    settle(one)
    assert (
        one.told() == "the mean over 2 finished folds of right (macro AUC 1.0000 on rows held out)"
    )
    assert np.allclose(handed_in(problem)["gaps"], 0.3)
    note = read_note(problem.folder / "submissions" / "last_resort.parquet")["last_resort"]
    assert note["source"] == "right" and note["folds"] == 2


def test_the_mean_over_folds_is_scored_on_what_they_hold_out(problem: Problem) -> None:
    write_fold(problem, "half", 1, 0.4)
    folder = problem.folder / "sources" / "half" / "fold1"
    files = {part: folder / f"{part}.parquet" for part in ("oof", "test")}
    out = problem.folder / "out.parquet"
    places = (problem.inputs.folds, problem.inputs.targets, out)
    told = mean_of_folds({1: files}, *places, {})
    assert told is not None and 0.6 < told["macro_auc"] < 1.0
    out.unlink()
    assert mean_of_folds({1: files}, *places, {}, told["macro_auc"]) is None and not out.exists()
    assert mean_of_folds({}, *places, {}) is None
    with pytest.raises(BlendmakeError, match="other rows"):
        mean_of_folds({0: files}, *places, {})
