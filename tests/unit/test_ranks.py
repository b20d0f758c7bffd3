"""Ranks against scipy's and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata, spearmanr

from blendmake.stats.ranks import rank_correlations, rank_scale


def test_ranks_by_hand_with_ties_and_blocks() -> None:
    values = np.array([5.0, 1.0, 5.0, 9.0, 3.0, 2.0])
    assert rank_scale(values, None).tolist() == [x / 6 for x in (4, 0.5, 4, 5.5, 2.5, 1.5)]
    folds = np.array([0, 0, 0, 7, 7, -1])
    expected = [4 / 6, 1 / 6, 4 / 6, 0.75, 0.25, 0.5]
    np.testing.assert_allclose(rank_scale(values, folds), expected, rtol=0, atol=1e-15)


@given(
    st.lists(
        st.tuples(st.sampled_from([-1.5, -0.0, 0.0, 0.1, 0.1000001, 2.0]), st.integers(-1, 2)),
        min_size=1,
        max_size=60,
    )
)
def test_ranks_equal_scipys_in_every_block(rows: list[tuple[float, int]]) -> None:
    values = np.array([value for value, _ in rows], dtype=np.float32)
    folds = np.array([fold for _, fold in rows])
    ranks = rank_scale(values, folds)
    for fold in np.unique(folds):
        here = folds == fold
        n = int(here.sum())
        np.testing.assert_allclose(ranks[here], (rankdata(values[here]) - 0.5) / n, atol=1e-15)
        assert ranks[here].mean() == pytest.approx(0.5, abs=1e-12)
    assert ((ranks > 0) & (ranks < 1)).all()


def test_columns_are_ranked_alone_and_the_scale_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((200, 3)).astype(np.float32)
    folds = rng.integers(0, 4, 200)
    ranks = rank_scale(values, folds)
    for column in range(3):
        assert np.array_equal(ranks[:, column], rank_scale(values[:, column], folds))
    assert np.array_equal(ranks, rank_scale(np.exp(8 * values.astype(np.float64)), folds))


def test_ranks_do_not_depend_on_row_order() -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 30, 5000).astype(np.float32)
    shuffled = rng.permutation(5000)
    assert np.array_equal(rank_scale(values[shuffled], None), rank_scale(values, None)[shuffled])


def test_empty_table() -> None:
    assert rank_scale(np.empty(0, dtype=np.float32), None).shape == (0,)


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        rank_scale(np.array([0.1, np.nan]), None)
    with pytest.raises(ValueError, match="folds"):
        rank_scale(np.array([0.1, 0.2]), np.array([0]))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of two columns, as blends and the report find it: from their ranks."""
    return float(rank_correlations(np.stack([rank_scale(a, None), rank_scale(b, None)]))[0, 1])


def test_rank_correlation_is_spearmans() -> None:
    rng = np.random.default_rng(2)
    a = rng.integers(0, 20, 300).astype(np.float64)
    b = a + rng.normal(0, 8, 300)
    assert correlation(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert correlation(a, -a) == pytest.approx(-1.0, abs=1e-12)
    assert np.isnan(correlation(a, np.full(300, 0.1)))
    table = rank_correlations(np.stack([rank_scale(x, None) for x in (a, b, -a)]))
    assert table[0, 1] == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert table[0, 2] == pytest.approx(-1.0, abs=1e-12)
