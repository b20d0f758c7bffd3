"""AUCs of blends on many sets of rows, against one evaluation at a time."""

from __future__ import annotations

import numpy as np
import pytest

from blendmake.blends.evaluation import BlendScorer, FittingRows
from blendmake.blends.scales import SCALES
from blendmake.metrics.finding import find_metric
from blendmake.stats.auc import auc
from blendmake.tasks.base import find_task


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("levels", [4, 10_000])
def test_every_auc_is_the_one_of_its_rows_alone(share: float, levels: int) -> None:
    rng = np.random.default_rng(levels)
    n = 300
    columns = rng.integers(0, levels, (3, n)) / levels
    labels = (rng.random(n) < share).astype(float)
    labels[rng.random(n) < 0.2] = np.nan
    sets = [np.flatnonzero(rng.random(n) < 0.6) for _ in range(5)]  # overlap as they like
    sets += [np.arange(n), np.flatnonzero(labels == 1), np.array([], np.intp)]
    scorer = BlendScorer(columns, labels, sets)
    for one, rows in enumerate(sets):
        known = rows[np.isfinite(labels[rows])]
        positive = labels[known] > 0.5
        assert scorer.defined(one) == (one < 6)
        for parts in ((1, 0, 0), (2, 1, 0), (3, 4, 5)):
            blended = (np.array(parts) @ columns[:, known] / sum(parts)).astype(np.float32)
            for base in (None, (parts[0] - 1, *parts[1:])):
                if base is not None:
                    scorer._counts.clear()
                found = scorer.value(parts, one, base)
                expected = auc(positive, blended) if one < 6 else float("nan")
                assert found == pytest.approx(expected, abs=1e-15, nan_ok=True)
        expected_solo = [auc(positive, column[known]) if one < 6 else np.nan for column in columns]
        assert scorer.solo(one) == pytest.approx(expected_solo, abs=1e-15, nan_ok=True)


def test_rows_of_a_set_are_those_with_a_label() -> None:
    columns = np.array([[0.1, 0.4, 0.3, 0.9], [0.2, 0.3, 0.1, 0.8]])
    labels = np.array([0.0, np.nan, 1.0, 1.0])
    scorer = BlendScorer(columns, labels, [np.array([0, 1, 2]), np.array([0, 3])])
    task = find_task("binary")
    rows = FittingRows(scorer, 0, [1], find_metric("auc"), task, SCALES["rank"])
    assert len(rows) == 1
    assert rows.rows.tolist() == [0, 2]
    assert rows.labels.tolist() == [0, 1]
    assert rows.scores.tolist() == [[0.2, 0.1]]
    assert rows.utility_of_parts([1]) == 0.0
    assert rows.utility_of_weights(np.array([1.0])) == 0.0


def test_values_closer_than_float32_can_tell_are_tied_in_a_blend_and_not_alone() -> None:
    columns = np.array([[0.5, 0.5 + 1e-12]])
    scorer = BlendScorer(columns, np.array([0.0, 1.0]), [np.arange(2)])
    assert scorer.solo(0).tolist() == [1.0]
    assert scorer.value((1,), 0) == 0.5
