from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from blendmake.stats.auc import AucScorer, auc, placements


@st.composite
def cases(draw: st.DrawFn) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels with both classes, in any proportion, and scores with many ties or few."""
    rows = draw(st.integers(2, 60))
    labels = draw(hnp.arrays(np.bool_, rows))
    labels[0], labels[1] = True, False
    single = draw(st.booleans())
    element = st.one_of(
        st.sampled_from([0.0, -0.0, 0.5, 1.0]),
        st.floats(width=32 if single else 64, allow_nan=False, allow_infinity=False),
    )
    scores: NDArray[Any] = draw(
        hnp.arrays(np.float32 if single else np.float64, rows, elements=element)
    )
    return labels, scores


def brute_placements(labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
    beats = (scores[:, None] > scores[None, :]) + 0.5 * (scores[:, None] == scores[None, :])
    shares: NDArray[np.float64] = np.empty(labels.size)
    shares[labels] = beats[labels][:, ~labels].mean(axis=1)
    shares[~labels] = beats[labels][:, ~labels].mean(axis=0)
    return shares


@settings(max_examples=150, deadline=None)
@given(cases())
def test_equals_sklearn(case: tuple[NDArray[Any], NDArray[Any]]) -> None:
    labels, scores = case
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@settings(max_examples=150, deadline=None)
@given(cases())
def test_placements_are_the_shares_of_pairs(case: tuple[NDArray[Any], NDArray[Any]]) -> None:
    labels, scores = case
    shares = placements(labels, scores)
    np.testing.assert_allclose(shares, brute_placements(labels, scores), rtol=0, atol=1e-12)
    assert AucScorer(labels).evaluate(scores)[0] == auc(labels, scores)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("decimals", [1, 7])
def test_equals_sklearn_on_many_rows(dtype: type, share: float, decimals: int) -> None:
    rng = np.random.default_rng(3)
    labels = rng.random(30_000) < share
    scores: NDArray[Any] = np.round(rng.normal(size=labels.size) + labels, decimals).astype(dtype)
    expected = roc_auc_score(labels, scores)
    assert auc(labels, scores) == pytest.approx(expected, abs=1e-12)
    shares = placements(labels, scores)
    assert shares[labels].mean() == pytest.approx(expected, abs=1e-12)
    assert shares[~labels].mean() == pytest.approx(expected, abs=1e-12)


def test_known_values() -> None:
    assert auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75
    assert auc([0, 1], [1.0, 2.0]) == 1.0
    assert auc([0, 1], [2.0, 1.0]) == 0.0
    assert auc([0, 1, 1], [1.0, 1.0, 1.0]) == 0.5
    assert placements([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).tolist() == [1.0, 0.5, 0.5, 1.0]


def test_infinities_have_an_order() -> None:
    assert auc([0, 1, 0, 1], [-np.inf, np.inf, np.inf, 0.0]) == 0.625


@pytest.mark.parametrize("labels", [np.zeros(5), np.ones(5), np.zeros(0)])
def test_absent_class_is_nan(labels: NDArray[np.float64]) -> None:
    scorer = AucScorer(labels)
    assert not scorer.defined
    assert np.isnan(scorer(np.arange(labels.size)))
    assert np.isnan(placements(labels, np.arange(labels.size))).all()


def test_scorer_is_reusable_and_counts() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(500) < 0.3
    scorer = AucScorer(labels.astype(np.float32))
    assert (scorer.positives, scorer.negatives) == (labels.sum(), (~labels).sum())
    for _ in range(3):
        scores = rng.normal(size=500).astype(np.float32)
        kept = scores.copy()
        assert scorer(scores) == auc(labels, scores)
        assert (scores == kept).all()


def test_columns_of_a_matrix_and_row_order_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    labels = rng.random(400) < 0.3
    scores = rng.normal(size=(400, 3)).round(1)
    order = rng.permutation(400)
    assert auc(labels, scores[:, 1]) == auc(labels[order], scores[order, 1])


def test_large_counts_do_not_overflow() -> None:
    # 2 * 70,000 * 70,000 pairs is more than 32 bits can hold.
    labels = np.repeat([False, True], 70_000)
    assert auc(labels, np.arange(140_000, dtype=np.float32)) == 1.0
    assert auc(labels, np.zeros(140_000, np.float32)) == 0.5


@pytest.mark.parametrize("call", [auc, placements])
@pytest.mark.parametrize("labels", [[0, 1, 1, 0], [0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]])
@pytest.mark.parametrize("where", range(4))
def test_nan_scores_are_refused(call: Any, labels: list[int], where: int) -> None:
    scores = np.array([0.1, 0.2, 0.3, 0.4])
    scores[where] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        call(labels, scores)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 1, np.nan], [0.5, 0, 1], [[0, 1, 1]]])
def test_bad_labels_are_refused(labels: Any) -> None:
    with pytest.raises(ValueError, match="labels must"):
        auc(labels, [0.1, 0.2, 0.3])


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="shape"):
        auc([0, 1, 1], [0.1, 0.2])
