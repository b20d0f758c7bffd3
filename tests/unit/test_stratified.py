"""Stratified folds: those of iterative-stratification to the row, in a fraction of its time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

from blendmake.folds.scheme import indicators
from blendmake.folds.schemes.stratified import stratified_folds


def _reference(labels: Any, n: int, seed: int) -> Any:
    marks = indicators(labels)
    if marks.shape[1] == 1:
        marks = np.hstack([marks, 1 - marks])
    fold = np.empty(len(labels), np.int32)
    splitter = MultilabelStratifiedKFold(n_splits=n, shuffle=True, random_state=seed)
    for k, (_, held_out) in enumerate(splitter.split(marks, marks)):
        fold[held_out] = k
    return fold


def _labels(seed: int, rows: int, targets: int) -> Any:
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, targets)) < 0.6 * rng.random(targets)).astype(np.float32)
    if seed % 2:
        labels[rng.random(labels.shape) < 0.2] = np.nan
    return labels


@pytest.mark.parametrize("seed", range(12))
def test_folds_are_those_of_the_package(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    labels = _labels(seed, int(rng.integers(20, 900)), int(rng.integers(1, 9)))
    n = int(rng.integers(2, 21))
    assert (stratified_folds(labels, n, seed) == _reference(labels, n, seed)).all()


def test_many_rows_of_many_targets() -> None:
    labels = _labels(1, 20_000, 12)
    started = time.process_time()
    folds = stratified_folds(labels, 5, 7)
    spent = time.process_time() - started
    started = time.process_time()
    expected = _reference(labels, 5, 7)
    assert (folds == expected).all()
    assert spent < 0.5 * (time.process_time() - started)  # a ratio: a sixth when measured
