"""A problem of a binary, a multiclass and a regression target, from CSV files to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as reference

from blendmake.files import read_note, read_parquet
from blendmake.reports.board_text import leaderboard_text
from conftest import Workspace, copy_workflow

CLASSES = ["high", "low", "mid"]
CONFIG: dict[str, Any] = {
    "problem": "mixed",
    "data": {
        "train": "train.csv",
        "test": "test.csv",
        "id": "id",
        "targets": ["bought", "kind", "price"],
        "test_targets": "test_labels.csv",
    },
    "folds": {"n": 2},
    "sources": {
        "lgb": {"family": "lightgbm", "rounds": 30, "early_stopping": {"rounds": 5}},
        "lin": {"family": "linear"},
    },
    "blends": {
        "champion": {"method": "greedy", "sources": "all"},
        "stacked": {"method": "stack", "sources": "all"},
    },
    "comparisons": [["champion", "lin"]],
    "submissions": {"blends": ["champion"]},
}


def _write(folder: Path, rows: int = 420, test_rows: int = 120) -> pd.DataFrame:
    """The tables; a tenth of the prices are unknown."""
    rng = np.random.default_rng(0)
    n = rows + test_rows
    table = pd.DataFrame(rng.normal(size=(n, 4)), columns=[f"x{i}" for i in range(4)])
    table["shape"] = rng.choice(list("abc"), n)
    table.insert(0, "id", [f"row{i:04}" for i in range(n)])
    signal = table["x0"] + 0.5 * table["x1"] + (table["shape"] == "a")
    table["bought"] = (rng.random(n) < 1 / (1 + np.exp(-2 * signal))).astype(int)
    bands = np.digitize(signal + 0.5 * rng.normal(size=n), [-0.3, 0.8])
    table["kind"] = np.array(["low", "mid", "high"])[bands]
    table["price"] = np.round(1e5 + 2e4 * signal + 5e3 * rng.normal(size=n), 2)
    table.loc[::10, "price"] = np.nan
    labels = ["bought", "kind", "price"]
    table[:rows].to_csv(folder / "train.csv", index=False)
    table[rows:].drop(columns=labels).to_csv(folder / "test.csv", index=False)
    table[rows:][["id", *labels]].to_csv(folder / "test_labels.csv", index=False)
    return table


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, pd.DataFrame, str]:
    folder = copy_workflow(tmp_path_factory.mktemp("tasks") / "run")
    table = _write(folder)
    space = Workspace(folder, CONFIG)
    space.write_config()
    return space, table, space.snakemake().text


def _by_hand(task: str, truth: Any, given: Any) -> dict[str, float]:
    if task == "bought":
        return {
            "auc": reference.roc_auc_score(truth, given),
            "brier": reference.brier_score_loss(truth, given),
            "log_loss": reference.log_loss(truth, given),
        }
    if task == "kind":
        codes = np.array([CLASSES.index(one) for one in truth])
        return {
            "log_loss": reference.log_loss(codes, given),
            "accuracy": reference.accuracy_score(codes, given.argmax(axis=1)),
            "balanced_accuracy": reference.balanced_accuracy_score(codes, given.argmax(axis=1)),
            "auc": reference.roc_auc_score(codes, given, multi_class="ovr"),
        }
    return {
        "rmse": reference.root_mean_squared_error(truth, given),
        "mae": reference.mean_absolute_error(truth, given),
        "r2": reference.r2_score(truth, given),
        "spearman": stats.spearmanr(truth, given).statistic,
    }


COLUMNS = {"bought": ["bought"], "kind": [f"kind={name}" for name in CLASSES], "price": ["price"]}


@pytest.mark.parametrize(
    "name", ["sources/lgb", "sources/lin", "blends/champion", "blends/stacked"]
)
def test_every_number_is_that_of_the_files(mixed: Any, name: str) -> None:
    space, table, _ = mixed
    oof = pd.read_parquet(space.path(name, "oof.parquet"))
    test = pd.read_parquet(space.path(name, "test.parquet"))
    assert list(oof.columns) == ["id", "bought", *COLUMNS["kind"], "price"]
    assert oof[COLUMNS["kind"]].sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)
    scores = pd.read_parquet(space.path(name, "scores.parquet"))
    order = space.path(name, "uncalibrated.parquet")
    ranked = pd.read_parquet(order) if order.exists() else oof
    ranked = oof if "bought" not in ranked else ranked
    for estimate, given in (("oof", oof), ("cross_fitted", oof), ("test", test)):
        rows = scores[scores["estimate"] == estimate].set_index(["target", "metric"])["value"]
        if rows.empty:
            continue
        truth = table.set_index("id").loc[given["id"]]
        for target, columns in COLUMNS.items():
            known = truth[target].notna().to_numpy()
            values = given[columns].to_numpy()[known]
            values = values[:, 0] if len(columns) == 1 else values
            expected = _by_hand(target, truth[target].to_numpy()[known], values)
            if target == "bought" and estimate != "test":
                of_order = ranked[columns[0]].to_numpy()[known]
                expected["auc"] = reference.roc_auc_score(truth[target][known], of_order)
            for metric, value in expected.items():
                assert rows[target, metric] == pytest.approx(value, rel=1e-5), (target, metric)
    main = scores[(scores["target"] != "macro") & scores["estimate"].isin(["oof", "cross_fitted"])]
    first = main.groupby("target", sort=False)["metric"].first().to_dict()
    assert first == {"bought": "auc", "kind": "log_loss", "price": "rmse"}


def test_tasks_are_told_once_and_frozen(mixed: Any) -> None:
    space, _, _ = mixed
    note = read_note(space.path("tables", "targets.parquet"))
    assert note["tasks"] == {
        "kind": {"task": "multiclass", "classes": CLASSES},
        "price": {"task": "regression"},
    }
    log = (space.folder / "logs" / "mixed" / "read_targets.log").read_text()
    assert "kind" in log and "price" in log
    assert space.dry_run().nothing


def test_boards_are_by_metric_in_its_direction(mixed: Any) -> None:
    space, _, _ = mixed
    board = read_parquet(space.path("leaderboard.parquet"))
    rows = board.to_pandas()
    assert rows.groupby("board")["metric"].first().tolist() == ["auc", "log_loss", "rmse"]
    for metric, part in rows.groupby("metric"):
        score = part.sort_values("rank")["score" if metric == "auc" else "part_score"].to_numpy()
        assert (np.diff(score) * (-1 if metric == "auc" else 1) >= 0).all()
    shown = leaderboard_text(board)
    assert "ranked by AUC" in shown and "other targets by RMSE" in shown
    assert max(map(len, shown.splitlines())) <= 110


def test_the_champion_is_no_worse_than_its_members_and_learns(mixed: Any) -> None:
    space, table, _ = mixed
    scores = {
        name: pd.read_parquet(space.path(name, "scores.parquet")).query("estimate != 'in_sample'")
        for name in ("sources/lgb", "sources/lin", "blends/champion")
    }

    def value(name: str, target: str, metric: str) -> float:
        rows = scores[name].query("target == @target and metric == @metric and estimate != 'test'")
        return float(rows["value"].iloc[0])

    best = min(value(f"sources/{name}", "price", "rmse") for name in ("lgb", "lin"))
    assert value("blends/champion", "price", "rmse") <= 1.02 * best < 0.5 * table["price"].std()
    best = min(value(f"sources/{name}", "kind", "log_loss") for name in ("lgb", "lin"))
    assert value("blends/champion", "kind", "log_loss") <= 1.02 * best < 0.85 * np.log(3)


def test_a_submission_has_every_output(mixed: Any) -> None:
    space, table, _ = mixed
    handed_in = pd.read_parquet(space.path("submissions", "champion.parquet"))
    assert handed_in["id"].tolist() == table["id"].iloc[-len(handed_in) :].tolist()
    assert list(handed_in.columns) == ["id", "bought", *COLUMNS["kind"], "price"]


def test_a_comparison_is_of_every_metric(mixed: Any) -> None:
    space, _, _ = mixed
    rows = pd.read_parquet(space.path("comparisons", "champion__vs__lin.parquet"))
    found = set(zip(rows["target"], rows["metric"], strict=True))
    assert {("bought", "auc"), ("kind", "log_loss"), ("price", "rmse")} <= found
    assert rows["ci_low"].notna().all()
    assert ((rows["ci_low"] <= rows["difference"]) & (rows["difference"] <= rows["ci_high"])).all()
