"""Scores and comparisons of artifacts on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from blendmake.comparing import compare_artifacts
from blendmake.errors import BlendmakeError
from blendmake.files import read_parquet, write_parquet
from blendmake.folds import write_folds
from blendmake.predictions import write_predictions
from blendmake.scoring import score_artifact

ROWS, FOLDS = 300, 3
DRAW = np.random.default_rng(3)
LABELS = (DRAW.random((ROWS, 2)) < 0.3).astype(np.int8)
FOLD = (np.arange(ROWS) % FOLDS).astype(np.int32)
IDS = pa.table({"id": np.arange(ROWS)})


class Artifacts:
    """Tables, folds and prediction files of two targets, `a` and `b`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.targets = folder / "targets.parquet"
        self.folds = folder / "folds.parquet"
        labels = IDS.append_column("a", pa.array(LABELS[:, 0])).append_column(
            "b", pa.array(LABELS[:, 1])
        )
        write_parquet(labels, self.targets, {"id_columns": ["id"]})
        write_folds(self.folds, IDS, FOLD, {})

    def predictions(self, name: str, values: Any, optimistic: list[str]) -> Path:
        path = self.folder / f"{name}.parquet"
        targets = ["a", "b"][: values.shape[1]]
        write_predictions(path, IDS, targets, values.astype(np.float32), {"optimistic": optimistic})
        return path

    def compare(self, a: Path, b: Path) -> dict[tuple[str, str], dict[str, Any]]:
        out = self.folder / "comparison.parquet"
        compare_artifacts(a, b, self.targets, self.folds, out, groups=None, note={})
        return {(r["target"], r["metric"]): r for r in read_parquet(out).to_pylist()}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


SIGNAL = LABELS + DRAW.normal(size=(ROWS, 2))


def test_ranking_within_folds_is_no_difference(artifacts: Artifacts) -> None:
    # The same order within every fold, on another scale in each: pooled, b looks worse than a.
    a = artifacts.predictions("a", SIGNAL, [])
    b = artifacts.predictions("b", SIGNAL * 0.1 + 5 * FOLD[:, None], [])
    assert roc_auc_score(LABELS[:, 0], SIGNAL[:, 0]) > 0.05 + roc_auc_score(
        LABELS[:, 0], SIGNAL[:, 0] * 0.1 + 5 * FOLD
    )
    for row in artifacts.compare(a, b).values():
        assert row["difference"] == 0


def test_a_comparison_with_an_optimistic_one_says_so(artifacts: Artifacts) -> None:
    a = artifacts.predictions("a", SIGNAL, ["b"])
    b = artifacts.predictions("b", DRAW.normal(size=(ROWS, 2)), [])
    rows = artifacts.compare(a, b)
    assert {key[0] for key, row in rows.items() if row["optimistic"]} == {"b", "macro"}
    assert rows["a", "auc"]["difference"] > 0.1


def test_nothing_in_common_is_an_error(artifacts: Artifacts) -> None:
    a = artifacts.predictions("a", SIGNAL[:, :1], [])
    write_predictions(
        artifacts.folder / "c.parquet",
        IDS,
        ["b"],
        SIGNAL[:, 1:].astype(np.float32),
        {"optimistic": []},
    )
    with pytest.raises(BlendmakeError, match="no target in common"):
        artifacts.compare(a, artifacts.folder / "c.parquet")


def test_scores_mark_the_optimistic_target_and_the_macro(artifacts: Artifacts) -> None:
    path = artifacts.predictions("a", SIGNAL, ["a"])
    out = artifacts.folder / "scores.parquet"
    score_artifact(
        path,
        path,
        artifacts.targets,
        artifacts.folds,
        out,
        estimate="oof",
        groups=None,
        test_targets=None,
        in_sample=None,
        note={},
    )
    rows = read_parquet(out).to_pylist()
    assert {row["target"] for row in rows if row["optimistic"]} == {"a", "macro"}
    pooled = {row["target"]: row["value"] for row in rows if row["metric"] == "auc"}
    assert abs(pooled["b"] - roc_auc_score(LABELS[:, 1], SIGNAL[:, 1].astype(np.float32))) < 1e-12
