"""Blends on the rank scale become probabilities, and their order stays what it was."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from artifacts import FOLD, FOLDS, LABELS, NOISE, SIGNAL, TARGETS, Artifacts, cells
from blendmake.blends.calibration import CalibrationMap, calibrate_columns, fit_map, in_order
from blendmake.blends.members import Split
from blendmake.files import read_note, read_parquet
from blendmake.predictions import read_predictions
from blendmake.stats.auc import auc

MEMBERS = {"x": SIGNAL, "y": SIGNAL + NOISE, "z": NOISE}


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    return Artifacts(tmp_path)


def chance(values: NDArray[Any]) -> NDArray[Any]:
    return 1 / (1 + np.exp(-values))


def blended(artifacts: Artifacts, **given: Any) -> dict[str, Path]:
    members = {name: artifacts.predictions(name, chance(v)) for name, v in MEMBERS.items()}
    return artifacts.blend(members, **given)


def test_a_blend_on_ranks_gives_probabilities(artifacts: Artifacts) -> None:
    files = blended(artifacts)
    for part in ("oof", "in_sample", "test"):
        found = read_predictions(files[part])
        assert found.note["scale"] == "probability"
        for j, _target in enumerate(TARGETS):
            # Ranks have a mean of 0.5, whatever the target.
            assert found.values[:, j].mean() == pytest.approx(LABELS[:, j].mean(), abs=0.02)


def test_calibration_changes_no_weight_and_no_auc(artifacts: Artifacts) -> None:
    raw = {part: path.read_bytes() for part, path in blended(artifacts, calibrate="none").items()}
    old = Artifacts(artifacts.folder / "old")
    for part in ("oof", "in_sample", "test", "weights", "duplicates", "uncalibrated"):
        (old.folder / f"{part}.parquet").write_bytes(raw[part])
    before = old.score(old.folder / "oof.parquet", "cross_fitted", old.folder / "in_sample.parquet")
    files = blended(artifacts)
    for part in ("weights", "duplicates"):
        assert read_parquet(files[part]).equals(read_parquet(old.folder / f"{part}.parquet"))
    after = artifacts.score(
        files["oof"], "cross_fitted", files["in_sample"], uncalibrated=files["uncalibrated"]
    )
    for estimate in ("cross_fitted", "in_sample"):
        now = cells(after, estimate)
        for key, row in cells(before, estimate).items():
            assert {**now[key], "optimistic": row["optimistic"]} == row
    ranks = read_predictions(old.folder / "oof.parquet").values
    assert read_predictions(files["uncalibrated"]).values.tobytes() == ranks.tobytes()
    probabilities = read_predictions(files["oof"]).values
    for j in range(len(TARGETS)):
        for k in range(FOLDS):
            rows = k == FOLD
            one, other = ranks[rows, j], probabilities[rows, j]
            assert auc(LABELS[rows, j], one) == auc(LABELS[rows, j], other)
            assert np.array_equal(
                np.unique(one, return_inverse=True)[1], np.unique(other, return_inverse=True)[1]
            )


def test_scores_hold_brier_and_log_loss_as_scikit_learn_has_them(artifacts: Artifacts) -> None:
    files = blended(artifacts)
    out = artifacts.score(
        files["oof"], "cross_fitted", files["in_sample"], uncalibrated=files["uncalibrated"]
    )
    by_hand: dict[str, list[float]] = {"brier": [], "log_loss": []}
    values = read_predictions(files["oof"]).values
    rows = cells(out, "cross_fitted")
    for j, target in enumerate(TARGETS):
        by_hand["brier"].append(brier_score_loss(LABELS[:, j], values[:, j].astype(float)))
        by_hand["log_loss"].append(log_loss(LABELS[:, j], values[:, j].astype(float)))
        for metric, found in by_hand.items():
            row = rows[target, metric]
            assert row["value"] == pytest.approx(found[j], abs=1e-12)
            assert row["ci_low"] < row["value"] < row["ci_high"]
    for metric, found in by_hand.items():
        assert rows["macro", metric]["value"] == pytest.approx(sum(found) / 2, abs=1e-12)
        assert ("a", metric) in cells(out, "in_sample")
        assert ("a", metric) in cells(out, "test")
    # As good as a fitted map can be: better than the share of positives for everyone.
    share = LABELS[:, 0].mean()
    assert rows["a", "brier"]["value"] < share * (1 - share)


@pytest.mark.parametrize("scale", ["ranks", "scores"])
def test_what_is_no_probability_has_neither(artifacts: Artifacts, scale: str) -> None:
    if scale == "ranks":
        files = blended(artifacts, calibrate="none")
        assert read_note(files["oof"])["scale"] == "rank"
        assert read_predictions(files["uncalibrated"]).targets == ()
        path = artifacts.score(files["oof"], "cross_fitted", files["in_sample"])
    else:
        path = artifacts.score(artifacts.predictions("raw", SIGNAL))
    assert {metric for _, metric in cells(path)} == {"auc", "auc_fold_mean"}


def test_a_row_is_calibrated_without_labels_of_its_fold(artifacts: Artifacts) -> None:
    files = blended(artifacts, method="mean")
    before = read_predictions(files["oof"]).values
    maps = read_parquet(files["calibration"]).to_pylist()
    assert [(row["target"], row["fold"]) for row in maps] == [
        (target, fold) for target in TARGETS for fold in (*range(FOLDS), None)
    ]
    flipped = Artifacts(
        artifacts.folder / "flipped", np.where(FOLD[:, None] == 2, 1 - LABELS, LABELS)
    )
    after = read_predictions(blended(flipped, method="mean")["oof"]).values
    assert np.array_equal(before[FOLD == 2], after[FOLD == 2])
    assert not np.array_equal(before[FOLD == 1], after[FOLD == 1])


def test_the_stored_map_gives_the_predictions_of_new_rows(artifacts: Artifacts) -> None:
    files = blended(artifacts)
    raw = read_predictions(blended(artifacts, calibrate="none")["test"]).values
    files = blended(artifacts)
    test = read_predictions(files["test"]).values
    for row in read_parquet(files["calibration"]).to_pylist():
        j = TARGETS.index(row["target"])
        if row["fold"] is None:
            by_row = CalibrationMap(row["intercept"], row["low"], row["high"])
            np.testing.assert_allclose(by_row(raw[:, j]), test[:, j], rtol=1e-6)
            assert (row["rows"], row["positives"]) == (len(LABELS), LABELS[:, j].sum())


def test_logits_and_stacks_are_left_as_they_are(artifacts: Artifacts) -> None:
    for settings_ in ({"method": "stack"}, {"scale": "logit"}):
        files = blended(artifacts, **settings_)
        assert read_parquet(files["calibration"]).num_rows == 0
        assert read_note(files["oof"])["scale"] == "probability"
    # Where it is asked for they are calibrated too.
    files = blended(artifacts, scale="logit", calibrate="logistic")
    assert read_parquet(files["calibration"]).num_rows == len(TARGETS) * (FOLDS + 1)


def test_blends_of_calibrated_blends_weigh_as_before(artifacts: Artifacts) -> None:
    tables = []
    for calibrate in ("none", "logistic"):
        files = blended(artifacts, calibrate=calibrate)
        below = artifacts.folder / f"below_{calibrate}.parquet"
        below.write_bytes(files["oof"].read_bytes())
        other = artifacts.predictions("other", SIGNAL - NOISE)
        above = artifacts.blend({"below": below, "other": other})
        tables.append((read_parquet(above["weights"]), read_predictions(above["oof"]).values))
    assert tables[0][0].equals(tables[1][0])
    assert np.array_equal(tables[0][1], tables[1][1])


def test_few_positives_are_shrunk_and_told(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(1)
    n = 4000
    labels = np.zeros((n, 3))
    labels[rng.choice(n, 5, replace=False), 0] = 1
    labels[::7, 1] = np.nan
    labels[:, 1][rng.random(n) < 0.2] = 1
    ranks = (rng.random((n, 3)) * 0.9 + 0.1 * (labels == 1)).clip(0.001, 0.999).astype(np.float32)
    rows = np.arange(n)
    splits = [Split(rows[rows % 4 != k], rows[rows % 4 == k]) for k in range(4)]
    with caplog.at_level(logging.WARNING):
        done = calibrate_columns(ranks, None, None, labels, ("rare", "usual", "none"), splits)
    why = {(row["target"], row["fold"]): row["why"] for row in done.maps.to_pylist()}
    assert why["usual", None] == "fitted"
    assert why["rare", None].startswith("few of a class")
    assert why["none", 0].startswith("one class")
    assert "rare" in caplog.text and "none" in caplog.text and "usual" not in caplog.text
    # Within the range that five of four thousand allow; without any, below all others.
    assert done.oof[:, 0].mean() == pytest.approx(5 / n, rel=0.5)
    assert done.oof[:, 2].max() < 1 / n
    assert (done.oof > 0).all() and (done.oof < 1).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.sampled_from([0.0, 0.05, 0.5, 1.0]))
@settings(max_examples=60, deadline=None)
def test_maps_never_join_or_swap_two_values(seed: int, n: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    ranks = rng.choice([0.5, 0.25, 1e-7, 1 - 1e-7, *rng.random(n)], n).astype(np.float32)
    # Neighbours among float32, which a flat map would join.
    ranks = np.concatenate([ranks, np.nextafter(ranks, np.float32(2))]).clip(0, 1)
    labels = (rng.random(len(ranks)) < share).astype(float)
    found, _ = fit_map(ranks, labels)
    assert found.low > 0 and found.high > 0
    values = in_order(ranks, found(ranks))
    assert values.dtype == np.float32 and (values > 0).all() and (values <= 1).all()
    assert np.array_equal(
        np.unique(ranks, return_inverse=True)[1], np.unique(values, return_inverse=True)[1]
    )


def test_a_map_finds_the_odds_that_made_the_labels() -> None:
    rng = np.random.default_rng(5)
    ranks = (np.arange(200_000) + 0.5) / 200_000
    truth = CalibrationMap(-3.0, 0.4, 0.9)
    labels = (rng.random(len(ranks)) < truth(ranks)).astype(float)
    found, why = fit_map(ranks, labels)
    assert why == "fitted"
    assert abs(found(ranks) - truth(ranks)).max() < 0.02
    assert roc_auc_score(labels, found(ranks)) == roc_auc_score(labels, ranks)


def test_an_order_that_is_upside_down_is_kept_and_told() -> None:
    ranks = np.linspace(0.01, 0.99, 500)
    found, why = fit_map(ranks, (ranks < 0.3).astype(float))
    assert why.startswith("no better than chance")
    assert found(ranks[-1:])[0] > found(ranks[:1])[0]
    assert json.dumps(why)


def test_a_blend_of_ranks_on_logits_is_no_probability(artifacts: Artifacts) -> None:
    ranks = artifacts.folder / "ranks.parquet"
    ranks.write_bytes(blended(artifacts, calibrate="none")["oof"].read_bytes())
    members = {"ranks": ranks, "x": artifacts.predictions("x", chance(SIGNAL))}
    assert read_note(artifacts.blend(members, scale="logit")["oof"])["scale"] == "rank"
    assert read_note(artifacts.blend(members, method="stack")["oof"])["scale"] == "probability"
