"""The rows of a fold as a family is given them, for tests and benchmarks of families by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.family import Fit, FoldData, Stop
from blendmake.features.files import FeatureSetFiles
from blendmake.folds.file import read_inner
from blendmake.matrix import Rows, known_values
from blendmake.metrics.finding import find_metric
from blendmake.tasks.base import Target
from blendmake.tasks.binary import TASK as BINARY
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


def changed(asked: Fit, **settings: Any) -> Fit:
    """A fit asked for otherwise. Beside its own fields `settings` may name those of what it watches,
    `stop_labels`, `stop_rounds` and `report`, and `positive_weights` (targets,) of two classes."""
    stop = asked.stop
    given = {"labels": settings.pop("stop_labels", None if stop is None else stop.labels)}
    given["rounds"] = settings.pop("stop_rounds", None if stop is None else stop.rounds)
    given["report"] = settings.pop("report", None if stop is None else stop.report)
    weights = settings.pop("positive_weights", None)
    made = replace(asked, **settings)
    if weights is not None:
        own = np.where(made.labels == 1, np.asarray(weights, np.float64), 1.0)
        made = replace(made, weights=own if (own != 1).any() else None)
    task = made.targets[0].task
    metric = find_metric(task.metric) if stop is None else stop.metric
    watched = None if given["labels"] is None else Stop(metric=metric, **given)
    return replace(made, stop=watched)


def joint_fit(problem: Problem, data: FoldData, scratch: Path, **settings: Any) -> Fit:
    """A fit of all targets; early stopping if `stop_rounds` is given, which needs stop rows."""
    given = Fit(
        targets=tuple(Target(name, BINARY) for name in problem.targets),
        labels=labels_at(problem, data.train),
        params={},
        rounds=12,
        seed=1,
        scratch=scratch,
    )
    watched = None if data.stop is None else labels_at(problem, data.stop)
    return changed(given, **{"stop_labels": watched, **settings})


def one_fit(
    target: str,
    params: Mapping[str, Any],
    rounds: int,
    stop_rounds: int | None,
    positive_weight: float,
    seed: int,
    labels: NDArray[Any],
    stop_labels: NDArray[Any] | None = None,
) -> Fit:
    """A fit of one binary target: labels (rows,)."""
    given = Fit((Target(target, BINARY),), labels[:, None], params, rounds, seed)
    return changed(
        given,
        stop_labels=None if stop_labels is None else stop_labels[:, None],
        stop_rounds=stop_rounds,
        positive_weights=[positive_weight],
    )
