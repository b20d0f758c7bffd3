"""Columns that tell a target, and boards that are too good, are doubted aloud; luck is not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.files import read_parquet, write_parquet
from blendmake.honest import TOLD_BY
from blendmake.matrix import Rows
from blendmake.reports.doubts import DOUBTS, board_doubts, doubt_lines, doubts_of, far_above
from blendmake.reports.leaderboard import Entry
from blendmake.reports.leaderboard_page import leaderboard_html
from blendmake.tasks.base import NOTE, targets_of_note
from blendmake.tellers import find_tellers, of_fold, teller_texts
from problems import Problem, write_problem

ROWS = 600
RNG = np.random.default_rng(5)
Y = (np.arange(ROWS) % 3 == 0).astype(float)
ALMOST = np.where(np.arange(ROWS) < 2, 1 - Y, Y)  # two rows of 600 are wrong
NAMES = pa.array(np.where(Y == 1, "lost", np.where(RNG.random(ROWS) < 0.5, "won", "open")))
TELLERS: dict[str, Any] = {
    "copy": ALMOST,
    "score against it": -Y + 0.2 * RNG.random(ROWS),
    "only where it happened": pa.array(RNG.random(ROWS), mask=Y == 0),
    "only where not": pa.array(RNG.random(ROWS), mask=Y == 1),
    "missing or high": pa.array(Y + np.arange(ROWS) / 1e4, mask=np.arange(ROWS) % 6 == 0),
    "account": 4_000_000_000 + Y.astype(np.int64),
    "status": NAMES,
}
HONEST_COLUMNS: dict[str, Any] = {
    "good": Y + 0.8 * RNG.normal(size=ROWS),
    "noise": RNG.normal(size=ROWS),
    "holes": pa.array(RNG.random(ROWS), mask=RNG.random(ROWS) < 0.5),
    "level of each row": pa.array([f"row {i}" for i in range(ROWS)]),
    "constant": np.ones(ROWS),
    "empty": pa.nulls(ROWS, pa.float64()),
}


def _found(folder: Path, columns: dict[str, Any], labels: Any = Y[:, None]) -> list[dict[str, Any]]:
    targets = [f"y{j}" for j in range(labels.shape[1])]
    train = {
        name: values if isinstance(values, pa.Array) else pa.array(values)
        for name, values in columns.items()
    }
    problem: Problem = write_problem(folder, train, train, labels, targets)
    files = problem.inputs.feature_files("train")
    rows = Rows(files.files, files.columns, np.arange(files.rows))
    return find_tellers(rows, labels.astype(np.float32), targets)


@pytest.mark.parametrize("name", TELLERS)
def test_a_column_that_tells_the_target_is_found(tmp_path: Path, name: str) -> None:
    found = _found(tmp_path, {**HONEST_COLUMNS, name: TELLERS[name]})
    assert [one["column"] for one in found] == [name]
    assert found[0]["target"] == "y0"
    assert f"one column tells the target: '{name}'" in teller_texts(found)[0]


def test_the_first_job_of_a_source_says_so_in_its_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    noise = np.random.default_rng(1).normal(size=ROWS)  # RNG draws for the tests below
    train = {"copy": pa.array(ALMOST), "noise": pa.array(noise)}
    problem = write_problem(tmp_path, train, train, Y[:, None], ["y"])
    job: Any = SimpleNamespace(
        train_files=problem.inputs.feature_files("train"),
        train_rows=problem.rows(0).train,
        labels=Y[:, None].astype(np.float32),
        targets={target.name: target for target in targets_of_note(problem.targets, {})},
    )
    with caplog.at_level("WARNING"):
        found = of_fold(job)
    assert [one["column"] for one in found] == ["copy"]
    assert "WARNING: one column tells the target: 'copy' alone has an AUC of 0." in caplog.text


def test_honest_columns_are_not_doubted(tmp_path: Path) -> None:
    assert _found(tmp_path, HONEST_COLUMNS) == []


def test_targets_with_gaps_are_judged_on_their_own_rows(tmp_path: Path) -> None:
    other = RNG.permutation(Y)
    labels = np.column_stack([other, np.where(RNG.random(ROWS) < 0.5, np.nan, Y)])
    found = _found(tmp_path, {**HONEST_COLUMNS, "copy": ALMOST}, labels)
    assert [(one["column"], one["target"], one["targets"]) for one in found] == [("copy", "y1", 1)]


DRAW = np.random.default_rng(9)
PRICE = np.exp(DRAW.normal(size=ROWS))
KIND = DRAW.integers(0, 4, ROWS).astype(float)
OF = targets_of_note(
    ["price", "kind"],
    {NOTE: {"price": {"task": "regression"}, "kind": {"task": "multiclass", "classes": [*"abcd"]}}},
)
OTHER_TELLERS: dict[str, tuple[Any, str]] = {
    "in other units": (3 - 2 * np.log(PRICE), "price"),
    "price with gaps": (pa.array(PRICE, mask=DRAW.random(ROWS) < 0.2), "price"),
    "code": (10 - KIND**2, "kind"),
    "name": (pa.array([f"k{k}" for k in KIND]), "kind"),
    "measured": (KIND % 2 + 3 * KIND + 0.1 * DRAW.random(ROWS), "kind"),
}
OTHER_HONEST: dict[str, Any] = {
    "near the price": PRICE + 0.3 * DRAW.normal(size=ROWS),
    "near the kind": KIND + 0.4 * DRAW.normal(size=ROWS),
    "one kind": (KIND == 2).astype(float),  # it says one class, not the others
    "seldom known": pa.array(PRICE, mask=DRAW.random(ROWS) < 0.9),
    "noise": DRAW.normal(size=ROWS),
    "level of each row": pa.array([f"row {i}" for i in range(ROWS)]),
    "constant": np.ones(ROWS),
    "empty": pa.nulls(ROWS, pa.float64()),
}


def _found_of_others(folder: Path, columns: dict[str, Any]) -> list[dict[str, Any]]:
    train = {name: pa.array(v) if isinstance(v, np.ndarray) else v for name, v in columns.items()}
    problem: Problem = write_problem(folder, train, train, Y[:, None], ["y"])
    files = problem.inputs.feature_files("train")
    rows = Rows(files.files, files.columns, np.arange(files.rows))
    return find_tellers(rows, np.column_stack([PRICE, KIND]), OF)


@pytest.mark.parametrize("name", OTHER_TELLERS)
def test_a_column_that_tells_numbers_or_classes_is_found(tmp_path: Path, name: str) -> None:
    values, target = OTHER_TELLERS[name]
    found = _found_of_others(tmp_path, {**OTHER_HONEST, name: values})
    assert [(one["column"], one["target"]) for one in found] == [(name, target)]
    how = "alone has a rank correlation of " if target == "price" else "alone says the class of "
    assert how in teller_texts(found)[0]


def test_honest_columns_of_numbers_and_classes_are_not_doubted(tmp_path: Path) -> None:
    assert _found_of_others(tmp_path, OTHER_HONEST) == []


def test_few_rows_tell_nothing(tmp_path: Path) -> None:
    """Of eight rows of a class, some column of many orders them perfectly by luck."""
    labels = (np.arange(60) < 8).astype(float)[:, None]
    assert _found(tmp_path, {"copy": labels[:, 0], "noise": RNG.normal(size=60)}, labels) == []


def _score(**changes: Any) -> dict[str, Any]:
    row = {"target": "y", "metric": "auc", "value": 0.9995, "positives": 101, "estimate": "oof"}
    return {**row, **changes}


def test_scores_that_are_too_good_are_doubted() -> None:
    assert "too good: an AUC of 0.99950 for 'y' with 101" in doubts_of([_score()], {})[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 0.998},
        {"positives": 100},
        {"estimate": "in_sample"},
        {"metric": "brier"},
        {"value": None},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_other_scores_are_not_doubted(changes: dict[str, Any]) -> None:
    assert doubts_of([_score(**changes)], {}) == []


def _entry(name: str, auc: float, **changes: Any) -> dict[str, Any]:
    row = {"name": name, "score": auc, "ci_low": auc - 0.01}
    return {**row, "ci_high": auc + 0.01, "targets": 1, "folds": "all", **changes}


def test_a_source_far_above_all_others_is_doubted() -> None:
    found = far_above([_entry("a", 0.97), _entry("b", 0.85), _entry("c", 0.84)])
    assert list(found) == ["a"]
    assert "next b, 0.8500" in found["a"]


@pytest.mark.parametrize(
    "rows",
    [
        [_entry("a", 0.97), _entry("b", 0.85)],
        [_entry("a", 0.97), _entry("b", 0.96), _entry("c", 0.7)],
        [_entry("a", 0.75), _entry("b", 0.7), _entry("c", 0.7)],
        [_entry("a", 0.97), _entry("b", 0.85, folds="1 2"), _entry("c", 0.84, targets=2)],
        [_entry("a", 0.97, ci_low=0.8), _entry("b", 0.85), _entry("c", 0.84)],
    ],
    ids=["two sources", "a near one", "small", "other rows", "wide interval"],
)
def test_others_are_not(rows: list[dict[str, Any]]) -> None:
    assert far_above(rows) == {}


def test_doubts_stand_in_the_leaderboard_and_below_it(tmp_path: Path) -> None:
    """What notes and scores say is put together, once for all entries that it is said of."""
    told = {"column": "answer", "target": "y", "auc": 0.9991, "targets": 1}
    entries = []
    for name, auc in (("a", 0.9995), ("b", 0.9995), ("c", 0.8)):
        scores = tmp_path / f"{name}_scores.parquet"
        row = _score(value=auc, folds="all", ci_low=auc, ci_high=auc)
        write_parquet(pa.Table.from_pylist([row, {**row, "target": "macro"}]), scores)
        oof = tmp_path / f"{name}.parquet"
        write_parquet(pa.table({"id": [1]}), oof, {TOLD_BY: [told]} if name != "c" else {})
        entries.append(Entry(name, "source", oof, scores))
    doubts = board_doubts(entries)
    assert [doubt.partition(":")[0] for doubt in doubts] == ["a, b", "a, b"]
    write_parquet(pa.table({"name": ["a"]}), tmp_path / "board.parquet", {DOUBTS: doubts})
    lines = doubt_lines(read_parquet(tmp_path / "board.parquet"))
    assert lines[0].startswith("DOUBTFUL a, b: one column tells the target: 'answer'")
    assert max(map(len, lines)) <= 100
    leaderboard_html(pa.table({"name": []}), tmp_path / "page.html", doubts=lines)
    assert "DOUBTFUL a, b" in (tmp_path / "page.html").read_text(encoding="utf-8")
