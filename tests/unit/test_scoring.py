"""Scores and comparisons of artifacts on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from artifacts import FOLD, LABELS, NOISE, SIGNAL, Artifacts, cells
from blendmake.errors import BlendmakeError


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def test_ranking_within_folds_is_no_difference(artifacts: Artifacts) -> None:
    # The same order within every fold, on another scale in each: pooled, b looks worse than a.
    a = artifacts.predictions("a", SIGNAL)
    b = artifacts.predictions("b", SIGNAL * 0.1 + 5 * FOLD[:, None])
    assert roc_auc_score(LABELS[:, 0], SIGNAL[:, 0]) > 0.05 + roc_auc_score(
        LABELS[:, 0], SIGNAL[:, 0] * 0.1 + 5 * FOLD
    )
    for row in artifacts.compare(a, b).values():
        assert row["difference"] == 0


def test_a_comparison_with_an_optimistic_one_says_so(artifacts: Artifacts) -> None:
    a = artifacts.predictions("a", SIGNAL, ["b"])
    rows = artifacts.compare(a, artifacts.predictions("b", NOISE))
    assert {key[0] for key, row in rows.items() if row["optimistic"]} == {"b", "macro"}
    assert rows["a", "auc"]["difference"] > 0.1


def test_nothing_in_common_is_an_error(artifacts: Artifacts) -> None:
    a = artifacts.predictions("a", SIGNAL[:, :1], targets=["a"])
    b = artifacts.predictions("b", SIGNAL[:, 1:], targets=["b"])
    with pytest.raises(BlendmakeError, match="no target in common"):
        artifacts.compare(a, b)


def test_scores_mark_the_optimistic_target_and_the_macro(artifacts: Artifacts) -> None:
    out = artifacts.score(artifacts.predictions("a", SIGNAL, ["a"]))
    rows = cells(out, "oof")
    assert {target for (target, _), row in rows.items() if row["optimistic"]} == {"a", "macro"}
    assert {row["folds"] for row in rows.values()} == {"all"}
    pooled = rows["b", "auc"]["value"]
    assert abs(pooled - roc_auc_score(LABELS[:, 1], SIGNAL[:, 1].astype("f4"))) < 1e-12
