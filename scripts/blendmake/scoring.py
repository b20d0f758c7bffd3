"""Scores of artifacts on disk: a source's or blend's own, and the difference of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.folds import read_folds
from blendmake.labels import read_groups, read_labels
from blendmake.predictions import Predictions, read_predictions
from blendmake.scale import rank_scale
from blendmake.scores import compare_predictions, score_predictions


def _columns(targets: Sequence[str], names: Sequence[str], path: Path) -> list[int]:
    missing = [target for target in targets if target not in names]
    if missing:
        raise BlendmakeError(f"{path} has no labels of target '{missing[0]}'.")
    return [list(names).index(target) for target in targets]


def score_artifact(
    oof: Path,
    test: Path,
    targets: Path,
    folds: Path,
    out: Path,
    *,
    estimate: str,
    groups: Path | None,
    test_targets: Path | None,
    in_sample: Path | None,
    note: Mapping[str, Any],
) -> None:
    """Write the scores table of a source or blend.

    Args:
        estimate: what its OOF predictions are: `oof` (a source) or `cross_fitted` (a blend).
        groups, test_targets, in_sample: where there are any.
    """
    ids, names, labels = read_labels(targets)
    group = read_groups(groups)
    fold = read_folds(folds).fold
    found = read_predictions(oof, ids)
    optimistic = set(found.note["optimistic"])

    def score(predictions: Predictions, kind: str) -> pa.Table:
        columns = _columns(predictions.targets, names, targets)
        return score_predictions(
            predictions.values,
            labels[:, columns],
            predictions.targets,
            folds=fold,
            groups=group,
            estimate=kind,
            optimistic=optimistic & set(predictions.targets),
        )

    tables = [score(found, estimate)]
    if in_sample is not None:
        inside = read_predictions(in_sample, ids)
        if inside.targets:
            tables.append(score(inside, "in_sample"))
    if test_targets is not None:
        test_ids, test_names, truth = read_labels(test_targets)
        predicted = read_predictions(test, test_ids)
        columns = _columns(predicted.targets, test_names, test_targets)
        tables.append(
            score_predictions(
                predicted.values, truth[:, columns], predicted.targets, estimate="test"
            )
        )
    write_parquet(pa.concat_tables(tables), out, note)


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
    alone does to a pooled AUC must not pass for a difference of the two.
    """
    ids, names, labels = read_labels(targets)
    first, second = read_predictions(a, ids), read_predictions(b, ids)
    both = [target for target in first.targets if target in second.targets]
    if not both:
        raise BlendmakeError(f"{a} and {b} have no target in common: nothing to compare.")
    fold = read_folds(folds).fold
    table = compare_predictions(
        rank_scale(first.values[:, [first.targets.index(t) for t in both]], fold),
        rank_scale(second.values[:, [second.targets.index(t) for t in both]], fold),
        labels[:, _columns(both, names, targets)],
        both,
        groups=read_groups(groups),
        folds=fold,
        optimistic={*first.note["optimistic"], *second.note["optimistic"]} & set(both),
    )
    write_parquet(table, out, note)
