"""Params searched with the labels of some folds are scored on the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from artifacts import FOLD, FOLDS, IDS, LABELS, NOISE, ROWS, SIGNAL, TARGETS, Artifacts, cells
from blendmake.files import read_note, read_parquet, write_parquet
from blendmake.fits.assembly import assemble_source
from blendmake.folds.file import write_folds
from blendmake.honest import common_folds, folds_text, honest_rows
from blendmake.predictions import read_predictions, write_predictions
from blendmake.scores import score_predictions
from blendmake.stats.auc import auc
from blendmake.tasks.base import targets_of_note

OF = targets_of_note(TARGETS, {})

SEARCHED, HONEST = [0, 1, 2], [3, 4]
LATER = np.isin(FOLD, HONEST)
WITHIN = [np.isin(FOLD, k) for k in range(FOLDS)]
TUNED = np.where(LATER[:, None], SIGNAL, LABELS * 2.0)  # knows the labels of the search folds


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def assemble(
    folder: Path,
    values: NDArray[Any],
    searched: Sequence[Sequence[int] | None],
    optimistic: Sequence[str] = (),
) -> dict[str, Path]:
    """A source's files from those of its folds, each with its search folds in the note."""
    write_folds(folder / "folds.parquet", IDS, FOLD, {})
    parts = []
    for k, known in enumerate(searched):
        rows = np.flatnonzero(WITHIN[k])
        files = {p: folder / f"fold{k}" / f"{p}.parquet" for p in ("oof", "test", "fits")}
        note: dict[str, Any] = {"optimistic": list(optimistic)}
        note |= {} if known is None else {"search_folds": list(known)}
        held_out = values[rows].astype(np.float32)
        write_predictions(files["oof"], IDS.take(pa.array(rows)), TARGETS, held_out, note)
        write_predictions(files["test"], IDS, TARGETS, values.astype(np.float32), note)
        write_parquet(pa.table({"seconds": [1.0]}), files["fits"])
        parts.append(files)
    out = {part: folder / f"{part}.parquet" for part in ("oof", "test", "fits")}
    assemble_source(parts, folder / "folds.parquet", out, {"name": "source"})
    return out


def test_a_tuned_source_is_scored_on_honest_rows_only(artifacts: Artifacts) -> None:
    oof = assemble(artifacts.folder, TUNED, [SEARCHED] * FOLDS, ["b"])["oof"]
    note = read_note(oof)
    assert (note["honest_folds"], note["optimistic"]) == (HONEST, ["b"])
    path = artifacts.score(oof)
    rows = cells(path, "oof")
    assert {row["folds"] for row in rows.values()} == {"3 4"}
    values = TUNED.astype(np.float32)
    by_hand: dict[str, list[float]] = {"auc": [], "auc_fold_mean": []}
    for j, target in enumerate(TARGETS):
        labels = LABELS[LATER, j]
        within = [auc(LABELS[WITHIN[k], j], values[WITHIN[k], j]) for k in HONEST]
        by_hand["auc"].append(auc(labels, values[LATER, j]))
        by_hand["auc_fold_mean"].append((within[0] + within[1]) / 2)
        for metric, found in by_hand.items():
            row = rows[target, metric]
            assert row["value"] == found[j]
            assert (row["n"], row["positives"]) == (LATER.sum(), labels.sum())
            assert row["optimistic"] == (target == "b")
    for metric, found in by_hand.items():
        assert rows["macro", metric]["value"] == sum(found) / 2
    # The interval is that of the honest rows by themselves, whatever the others hold.
    alone = score_predictions(
        values[LATER], LABELS[LATER].astype(float), OF, folds=FOLD[LATER], estimate="oof"
    )
    for row in alone.to_pylist():
        scored = rows[row["target"], row["metric"]]
        assert scored["ci_low"] == pytest.approx(row["ci_low"], abs=1e-12)
        assert scored["ci_high"] == pytest.approx(row["ci_high"], abs=1e-12)
    # All rows flatter it; a test table took no part in the search and counts whole.
    tested = cells(path, "test")["macro", "auc"]
    assert (tested["folds"], tested["n"]) == ("all", ROWS)
    assert tested["value"] > rows["macro", "auc"]["value"] + 0.05


def test_groups_of_rows_go_with_the_honest_rows() -> None:
    groups = np.arange(ROWS) // 10 % 30
    labels = LABELS.astype(float)
    given: dict[str, Any] = {"folds": FOLD, "groups": groups, "estimate": "oof"}
    scored = score_predictions(TUNED, labels, OF, honest=HONEST, **given)
    alone = {"folds": FOLD[LATER], "groups": groups[LATER], "estimate": "oof"}
    expected = score_predictions(TUNED[LATER], labels[LATER], OF, **alone)
    for name in ("value", "n", "positives"):
        assert scored[name].equals(expected[name])
    for name in ("ci_low", "ci_high"):
        np.testing.assert_allclose(scored[name].to_numpy(), expected[name].to_numpy(), atol=1e-12)
    with pytest.raises(ValueError, match="honest folds need the fold"):
        score_predictions(TUNED, labels, OF, honest=HONEST, estimate="oof")


def test_a_source_that_nobody_tuned_is_scored_on_all_folds(artifacts: Artifacts) -> None:
    oof = assemble(artifacts.folder, SIGNAL, [None, [], None, [], None])["oof"]
    assert "honest_folds" not in read_note(oof)
    row = cells(artifacts.score(oof), "oof")["macro", "auc"]
    assert (row["folds"], row["n"], row["optimistic"]) == ("all", ROWS, False)


def test_search_folds_of_any_fold_are_dishonest(artifacts: Artifacts) -> None:
    oof = assemble(artifacts.folder, SIGNAL, [[0], [1], None, [0], [0, 3]])["oof"]
    assert read_note(oof)["honest_folds"] == [2, 4]


def test_a_search_on_every_fold_is_optimistic(artifacts: Artifacts) -> None:
    oof = assemble(artifacts.folder, SIGNAL, [list(range(FOLDS))] * FOLDS, ["a"])["oof"]
    note = read_note(oof)
    assert "honest_folds" not in note
    assert note["optimistic"] == list(TARGETS)
    rows = cells(artifacts.score(oof), "oof").values()
    assert {(row["folds"], row["optimistic"]) for row in rows} == {("all", True)}


def test_a_blend_is_scored_where_every_member_is_honest(artifacts: Artifacts) -> None:
    tuned = artifacts.predictions("tuned", TUNED, honest=[2, 3, 4])
    other = artifacts.predictions("other", SIGNAL + NOISE, ["a"], honest=[0, 3, 4])
    plain = artifacts.predictions("plain", NOISE)
    files = artifacts.blend({"tuned": tuned, "other": other, "plain": plain})
    for part in ("oof", "in_sample", "test"):
        note = read_note(files[part])
        assert (note["honest_folds"], note["optimistic"]) == (HONEST, ["a"])
    path = artifacts.score(files["oof"], "cross_fitted", files["in_sample"])
    for estimate, part in (("cross_fitted", "oof"), ("in_sample", "in_sample")):
        values = read_predictions(files[part]).values
        rows = cells(path, estimate)
        assert {row["folds"] for row in rows.values()} == {"3 4"}
        for j, target in enumerate(TARGETS):
            assert rows[target, "auc"]["value"] == auc(LABELS[LATER, j], values[LATER, j])


def test_a_blend_of_untuned_members_is_scored_on_all_folds(artifacts: Artifacts) -> None:
    members = {name: artifacts.predictions(name, SIGNAL + NOISE * i) for i, name in enumerate("xy")}
    files = artifacts.blend(members, method="mean")
    assert "honest_folds" not in read_note(files["oof"])
    assert cells(artifacts.score(files["oof"], "cross_fitted"))["a", "auc"]["folds"] == "all"


def test_a_fallback_counts_as_a_member(artifacts: Artifacts) -> None:
    members = {
        "part": artifacts.predictions("part", SIGNAL[:, :1], honest=[1, 3, 4], targets=["a"]),
        "spare": artifacts.predictions("spare", SIGNAL, honest=[2, 3]),
    }
    files = artifacts.blend(members, fallback="spare")
    assert read_note(files["oof"])["honest_folds"] == [3]
    assert read_predictions(files["oof"]).targets == TARGETS


def test_a_blend_without_an_honest_fold_is_optimistic(artifacts: Artifacts) -> None:
    early = artifacts.predictions("early", SIGNAL, honest=[0, 1])
    late = artifacts.predictions("late", NOISE, honest=HONEST)
    files = artifacts.blend({"early": early, "late": late})
    note = read_note(files["oof"])
    assert "honest_folds" not in note
    assert note["optimistic"] == list(TARGETS)
    rows = cells(artifacts.score(files["oof"], "cross_fitted"), "cross_fitted").values()
    assert {(row["folds"], row["optimistic"]) for row in rows} == {("all", True)}
    # And so is what stands on it, on whatever folds.
    above = artifacts.folder / "below.parquet"
    files["oof"].rename(above)
    note = read_note(artifacts.blend({"below": above, "late": late})["oof"])
    assert (note["honest_folds"], note["optimistic"]) == (HONEST, list(TARGETS))


def test_a_comparison_uses_the_rows_honest_for_both(artifacts: Artifacts) -> None:
    tuned = artifacts.predictions("tuned", TUNED, honest=HONEST)
    plain = artifacts.predictions("plain", SIGNAL)
    everywhere = artifacts.compare(plain, artifacts.predictions("untold", TUNED))
    assert everywhere["macro", "auc"]["difference"] < -0.05
    # On the honest folds the two are the same.
    for row in artifacts.compare(plain, tuned).values():
        assert (row["difference"], row["folds"], row["optimistic"]) == (0, "3 4", False)
        assert row["n"] == LATER.sum()
    one = artifacts.predictions("one", NOISE, honest=[1, 3])
    row = artifacts.compare(tuned, one)["a", "auc"]
    third = WITHIN[3]
    # Ranks within a single fold change no AUC.
    expected = [auc(LABELS[third, 0], x[third, 0].astype(np.float32)) for x in (TUNED, NOISE)]
    assert [row["a"], row["b"]] == expected
    assert (row["folds"], row["n"]) == ("3", third.sum())


def test_a_comparison_without_common_honest_folds_is_optimistic(artifacts: Artifacts) -> None:
    early = artifacts.predictions("early", SIGNAL, honest=[0, 1])
    late = artifacts.predictions("late", NOISE, honest=HONEST)
    rows = artifacts.compare(early, late).values()
    assert {(row["folds"], row["optimistic"], row["n"]) for row in rows} == {("all", True, ROWS)}


def test_common_folds() -> None:
    assert common_folds([], 3) == (None, False)
    assert common_folds([None, None], 3) == (None, False)
    assert common_folds([[0, 1, 2], None], 3) == (None, False)
    assert common_folds([[2, 1], None, [1, 2, 0]], 3) == ([1, 2], False)
    assert common_folds([[2], [0, 1]], 3) == (None, True)
    assert common_folds([[]], 3) == (None, True)


def test_rows_and_text_of_folds() -> None:
    fold = np.array([2, 0, 1, 2])
    assert honest_rows(fold, None) is None
    rows = honest_rows(fold, [0, 2])
    assert rows is not None
    assert rows.tolist() == [True, True, False, True]
    assert folds_text(None) == "all"
    assert folds_text([10, 3]) == "3 10"


def test_the_test_predictions_of_a_tuned_source_are_not_cut(artifacts: Artifacts) -> None:
    files = assemble(artifacts.folder, TUNED, [SEARCHED] * FOLDS)
    assert read_parquet(files["test"]).num_rows == ROWS
    assert read_note(files["test"])["honest_folds"] == HONEST
