"""The rows of a fold as a family is given them, for tests and benchmarks of families by themselves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blendmake.family import FoldData, JointFit
from blendmake.features.files import FeatureSetFiles
from blendmake.folds.file import read_inner
from blendmake.matrix import Rows, known_values
from problems import Problem


def fold_data(problem: Problem, fold: int = 0, *, inner: bool = False) -> FoldData:
    """The rows of a fold; with `inner`, the rows of the inner split are for early stopping."""
    inputs = problem.inputs
    files = FeatureSetFiles(inputs.columns, inputs.tables["train"], inputs.made["train"])
    rows = problem.rows(fold)
    train, stop = rows.train, None
    if inner:
        assert inputs.inner is not None
        aside = read_inner(inputs.inner, fold)[train]
        train, stop = train[~aside], train[aside]
    known = known_values(Rows(dict(files.files), files.columns, train))
    made = Rows(dict(files.files), files.columns, train, known)
    test = problem.test_files()
    return FoldData(
        train=made,
        valid=replace(made, positions=rows.valid),
        test=replace(made, files=dict(test.files), positions=np.arange(test.rows)),
        stop=None if stop is None else replace(made, positions=stop),
    )


def labels_at(problem: Problem, rows: Rows) -> NDArray[np.float32]:
    """The labels of rows of the train table, (rows, targets)."""
    return problem.labels[rows.positions].astype(np.float32)


def joint_fit(problem: Problem, data: FoldData, scratch: Path, **settings: object) -> JointFit:
    """A fit of all targets; early stopping if `stop_rounds` is given, which needs stop rows."""
    given = JointFit(
        targets=problem.targets,
        params={},
        rounds=12,
        stop_rounds=None,
        positive_weights=np.ones(len(problem.targets)),
        seed=1,
        labels=labels_at(problem, data.train),
        scratch=scratch,
        stop_labels=None if data.stop is None else labels_at(problem, data.stop),
    )
    return replace(given, **settings)  # type: ignore[arg-type]
