"""Two sources or blends on disk, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.folds.file import read_folds
from blendmake.honest import HONEST_FOLDS, common_folds
from blendmake.labels import label_columns, read_groups, read_labels
from blendmake.metrics.choice import Given, metrics_for
from blendmake.predictions import RANK, Predictions, read_predictions
from blendmake.scores import compare_predictions
from blendmake.stats.ranks import rank_scale


def compare_artifacts(
    a: Path,
    b: Path,
    targets: Path,
    folds: Path,
    out: Path,
    *,
    groups: Path | None,
    metric: Given = None,
    also: Sequence[str] | None = None,
    note: Mapping[str, Any],
) -> None:
    """Write the paired difference a - b, over the targets that both cover.

    Where blends average ranks, both are ranked within folds first: a blend's predictions may be ranks
    already, and what ranking alone does to a pooled AUC must not pass for a difference of the two.
    Measured on the folds that are honest for both; without any, on all rows, which is optimistic.

    Args:
        metric, also: of the config, as for `metrics.choice.metrics_for`.
    """
    ids, names, labels = read_labels(targets)
    first, second = read_predictions(a, ids), read_predictions(b, ids)
    both = [target for target in first.targets if target in second.targets]
    if not both:
        raise BlendmakeError(f"{a} and {b} have no target in common: nothing to compare.")
    first, second = first.select(both), second.select(both)
    if first.of != second.of:
        raise BlendmakeError(f"{a} and {b} were made for other classes or tasks. Rebuild both.")
    split = read_folds(folds)
    notes = (first.note, second.note)
    honest, flattered = common_folds([note.get(HONEST_FOLDS) for note in notes], split.n)
    optimistic = {target for note in notes for target in note["optimistic"]} & set(both)
    are_values = first.are_values and second.are_values
    table = compare_predictions(
        _in_order(first, split.fold),
        _in_order(second, split.fold),
        labels[:, label_columns(both, names, targets)],
        first.of,
        metrics=metrics_for(first.of, metric, also),
        values=(first.values, second.values) if are_values else None,
        groups=read_groups(groups),
        folds=split.fold,
        honest=honest,
        optimistic=both if flattered else optimistic,
    )
    write_parquet(table, out, note)


def _in_order(found: Predictions, fold: NDArray[np.int32]) -> NDArray[np.float64]:
    """What metrics of the order measure: ranks within folds, where the task averages such."""
    values = found.values.astype(np.float64)
    first = 0
    for target in found.of:
        last = first + len(target.outputs)
        if RANK in target.task.scales:
            values[:, first:last] = rank_scale(found.values[:, first:last], fold)
        first = last
    return values
