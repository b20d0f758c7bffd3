"""Ids as people have them, from CSV files to the submission, in one run of Snakemake without fits."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from conftest import Workspace, copy_workflow

ROWS, TEST_ROWS = 120, 30


def write(path: Path, columns: dict[str, list[str]]) -> None:
    path.parent.mkdir(exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def test_ids_come_back_and_close_predictions_stay_apart(tmp_path: Path) -> None:
    """Ids are called `fold`, look like floats and begin again in test; predictions are all near 1."""
    draw = np.random.default_rng(5)
    ids = [f"{i}E{i % 7}" for i in range(ROWS)]
    test_ids = [f"0{i}.50" if i % 2 else f"{i}E{i % 7}" for i in range(TEST_ROWS)]
    labels = np.tile([0, 1, 1], ROWS // 3)
    oof = 1 - 1e-8 * (2 - labels) * draw.uniform(0.6, 1, ROWS)
    test = 1 - 1e-8 * (1 + draw.permutation(TEST_ROWS))
    folder = copy_workflow(tmp_path / "run")
    data = folder / "data"
    x = [f"{value:.3f}" for value in draw.normal(size=ROWS + TEST_ROWS)]
    write(data / "train.csv", {"fold": ids, "x": x[:ROWS], "row": [str(v) for v in labels]})
    write(data / "test.csv", {"fold": test_ids, "x": x[ROWS:]})
    mixed = [test_ids[i] for i in draw.permutation(TEST_ROWS)]
    write(data / "sample.csv", {"fold": mixed, "row": ["0"] * TEST_ROWS})
    pq.write_table(pa.table({"fold": ids, "row": oof}), data / "oof.parquet")
    pq.write_table(pa.table({"fold": test_ids, "row": test}), data / "tested.parquet")
    space = Workspace(folder)
    space.write_config(
        problem="ids",
        data={
            "train": "data/train.csv",
            "test": "data/test.csv",
            "id": "fold",
            "ids": {"distinct": "per_table"},
            "targets": {"columns": ["row"]},
            "sample_submission": "data/sample.csv",
        },
        folds={"n": 3},
        external={"theirs": {"oof": "data/oof.parquet", "test": "data/tested.parquet"}},
        blends={"champion": {"method": "mean", "sources": ["theirs"], "scale": "logit"}},
        submissions={"blends": ["champion"], "csv": True},
    )
    space.snakemake("results/ids/submissions/champion.csv", "results/ids/leaderboard.csv")
    with open(space.path("submissions", "champion.csv"), newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["fold", "row"]
    assert [row[0] for row in rows] == mixed
    handed_in = dict(zip(mixed, (float(row[1]) for row in rows), strict=True))
    ours = np.argsort([handed_in[one] for one in test_ids])
    assert ours.tolist() == np.argsort(test).tolist()
    board = {
        row["name"]: row for row in pq.read_table(space.path("leaderboard.parquet")).to_pylist()
    }
    assert board["theirs"]["score"] == roc_auc_score(labels, oof) == 1.0
    assert pq.read_schema(space.path("folds.parquet")).names == ["fold", "fold_"]
