"""What is handed in where no source ends: a linear model on a sample, or the prior."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendmake.budget import last_resort
from blendmake.budget.last_resort import make_last_resort, make_prior
from blendmake.labels import read_known
from blendmake.matrix import TableFile
from blendmake.predictions import Predictions, read_predictions
from blendmake.stats.auc import auc
from blendmake.tables.user_labels import read_targets, write_targets
from blendmake.tasks import TASKS
from helpers import write_user_file
from problems import Problem, write_problem

ROWS, TEST = 900, 300


def made(problem: Problem, folder: Path) -> tuple[dict[str, Any], Predictions]:
    tables = problem.inputs.tables
    columns = tables["train"].with_name("columns.parquet")
    out = folder / "last.parquet"
    told = make_last_resort(
        tables,
        columns,
        problem.inputs.targets,
        None,
        out,
        {"family": "last_resort"},
    )
    return told, read_predictions(out)


def tables(folder: Path, signal: float = 1.0) -> tuple[Problem, np.ndarray[Any, Any]]:
    """A number far from zero, one with gaps, one with a far value, categories; labels with gaps."""
    draw = np.random.default_rng(3)
    total = ROWS + TEST
    x = draw.normal(size=(total, 3))
    kind = draw.integers(0, 4, total)
    odds = signal * (2 * x[:, 0] + 1.5 * (kind == 2) - x[:, 1])
    y = (draw.random((total, 2)) < 1 / (1 + np.exp(-np.column_stack([odds - 1, -odds])))).astype(
        float
    )
    columns = {
        "far": 1e6 + 1e3 * x[:, 0],
        "gaps": np.where(draw.random(total) < 0.2, np.nan, x[:, 1]),
        "odd": np.where(np.arange(total) == 5, 1e30, x[:, 2]),
        "kind": [f"k{k}" for k in kind],
        "many": [f"m{i % 200}" for i in range(total)],
        "constant": np.ones(total),
    }
    labels = np.where(draw.random((ROWS, 2)) < [0.0, 0.7], np.nan, y[:ROWS])
    train = {name: values[:ROWS] for name, values in columns.items()}
    test = {name: values[ROWS:] for name, values in columns.items()}
    return write_problem(folder, train, test, labels, ["full", "gaps"]), y[ROWS:]


def test_a_linear_model_on_a_sample_ranks_and_is_calibrated(tmp_path: Path) -> None:
    problem, truth = tables(tmp_path)
    told, found = made(problem, tmp_path)
    assert told["kind"] == "linear" and told["rows"] == ROWS and told["macro_auc"] > 0.8
    assert found.note["last_resort"] == told and found.targets == ("full", "gaps")
    for j in range(2):
        assert auc(truth[:, j], found.values[:, j]) > 0.8
        assert abs(found.values[:, j].mean() - truth[:, j].mean()) < 0.08
    assert ((found.values > 0) & (found.values < 1)).all()


def test_without_signal_it_is_the_rate_of_positives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, _ = tables(tmp_path)
    monkeypatch.setattr(last_resort, "_score", lambda *_: 0.49)
    told, found = made(problem, tmp_path)
    assert told["kind"] == "prior"
    labels = problem.labels
    rates = np.nanmean(labels, axis=0)
    assert np.allclose(found.values, np.tile(rates, (TEST, 1)), atol=1e-6)


def test_a_sample_is_what_is_fitted_and_blocks_of_columns_make_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, truth = tables(tmp_path)
    _, whole = made(problem, tmp_path)
    monkeypatch.setattr(last_resort, "BLOCK", 2)
    _, blocks = made(problem, tmp_path)
    assert np.allclose(whole.values, blocks.values, atol=1e-6)
    monkeypatch.setattr(last_resort, "ROWS", 200)
    told, sampled = made(problem, tmp_path)
    assert told["rows"] == 200 and not np.allclose(whole.values, sampled.values, atol=1e-3)
    assert auc(truth[:, 0], sampled.values[:, 0]) > 0.75


# Other tasks


def mixed(folder: Path, signal: float = 1.0) -> tuple[Problem, dict[str, Any]]:
    """A problem with a target of each task; `signal`: how much features say of them."""
    problem, _ = tables(folder)
    draw = np.random.default_rng(8)
    far = np.array(TableFile(problem.inputs.tables["train"]).values("far"), np.float64)
    x = signal * (far - 1e6) / 1e3
    kinds = np.array(["low", "middle", "top"])
    values = {
        "price": 100 + 7 * (x + 0.5 * draw.normal(size=ROWS)),
        "kind": kinds[np.digitize(x + 0.5 * draw.normal(size=ROWS), [-0.5, 0.7])],
        "won": (x + draw.normal(size=ROWS) > 0).astype(np.int8),
    }
    ids = read_known(problem.inputs.targets).ids
    given = write_user_file(folder / "mixed.parquet", {"id": ids["id"], **values})
    table = read_targets(given, None, ids, ["id"])
    write_targets(table, problem.inputs.targets, {"id_columns": ["id"]})
    return problem, values


def test_a_linear_model_of_every_task(tmp_path: Path) -> None:
    problem, values = mixed(tmp_path)
    told, found = made(problem, tmp_path)
    assert {target.task.name for target in found.of} == set(TASKS)
    assert told["kind"] == "linear" and 0.4 < told["saved"] < 0.8 and "macro_auc" not in told
    for target in found.of:
        predicted = found.select([target.name]).values
        assert target.task.wrong(predicted) is None
        assert np.ptp(predicted, axis=0).min() > 0
    price = found.select(["price"]).values
    assert values["price"].min() <= price.min() < price.max() <= values["price"].max()


def test_the_prior_of_every_task(tmp_path: Path) -> None:
    problem, values = mixed(tmp_path, signal=0.0)
    told, found = made(problem, tmp_path)
    assert told["kind"] == "prior" and told["saved"] <= 0
    shares = [np.mean(values["kind"] == name) for name in ("low", "middle", "top")]
    expected = [values["price"].mean(), *shares, values["won"].mean()]
    assert np.allclose(found.values, np.tile(expected, (TEST, 1)), rtol=1e-6)
    test = problem.inputs.tables["test"]
    out = tmp_path / "prior.parquet"
    assert make_prior(test, problem.inputs.targets, out, {}) == {"kind": "prior", "saved": None}
    assert np.array_equal(read_predictions(out).values, found.values)
