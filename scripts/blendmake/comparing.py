"""Two sources or blends on disk, compared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.folds.file import read_folds
from blendmake.honest import HONEST_FOLDS, common_folds
from blendmake.labels import label_columns, read_groups, read_labels
from blendmake.predictions import read_predictions
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
    note: Mapping[str, Any],
) -> None:
    """Write the paired difference a - b, over the targets that both cover.

    Both are ranked within folds first: a blend's predictions are ranks already, and what ranking
    alone does to a pooled AUC must not pass for a difference of the two. Measured on the folds that
    are honest for both; without any, on all rows, which is optimistic.
    """
    ids, names, labels = read_labels(targets)
    first, second = read_predictions(a, ids), read_predictions(b, ids)
    both = [target for target in first.targets if target in second.targets]
    if not both:
        raise BlendmakeError(f"{a} and {b} have no target in common: nothing to compare.")
    split = read_folds(folds)
    fold = split.fold
    notes = (first.note, second.note)
    honest, flattered = common_folds([note.get(HONEST_FOLDS) for note in notes], split.n)
    optimistic = {target for note in notes for target in note["optimistic"]} & set(both)
    table = compare_predictions(
        rank_scale(first.values[:, [first.targets.index(t) for t in both]], fold),
        rank_scale(second.values[:, [second.targets.index(t) for t in both]], fold),
        labels[:, label_columns(both, names, targets)],
        both,
        groups=read_groups(groups),
        folds=fold,
        honest=honest,
        optimistic=both if flattered else optimistic,
    )
    write_parquet(table, out, note)
