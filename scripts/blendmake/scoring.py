"""Scores of artifacts on disk: a source's or blend's own, and the difference of two."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from blendmake.files import damaged, write_parquet
from blendmake.folds import read_folds
from blendmake.honest import FELL_BACK, HONEST_FOLDS, common_folds
from blendmake.labels import label_columns, read_groups, read_labels
from blendmake.predictions import Predictions, read_predictions
from blendmake.scores import score_predictions


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
    uncalibrated: Path | None = None,
    note: Mapping[str, Any],
) -> None:
    """Write the scores table of a source or blend.

    Train rows count in the folds only that the note of `oof` calls honest.

    Args:
        estimate: what its OOF predictions are: `oof` (a source) or `cross_fitted` (a blend).
        groups, test_targets, in_sample: where there are any.
        uncalibrated: what `oof` was before it was calibrated, if it was. The AUC is of these: folds
            have maps of their own, which would shift the folds against each other.
    """
    ids, names, labels = read_labels(targets)
    group = read_groups(groups)
    split = read_folds(folds)
    found = read_predictions(oof, ids)
    honest, flattered = common_folds([found.note.get(HONEST_FOLDS)], split.n)
    optimistic = set(found.targets if flattered else found.note["optimistic"])
    fell_back = set(found.note.get(FELL_BACK, ()))

    def score(predictions: Predictions, kind: str, order: Predictions | None = None) -> pa.Table:
        columns = label_columns(predictions.targets, names, targets)
        return score_predictions(
            (predictions if order is None else order).values,
            labels[:, columns],
            predictions.targets,
            probabilities=predictions.values if predictions.are_probabilities else None,
            folds=split.fold,
            honest=honest,
            groups=group,
            estimate=kind,
            optimistic=optimistic & set(predictions.targets),
            fell_back=fell_back & set(predictions.targets),
        )

    tables = [score(found, estimate, read_order(uncalibrated, ids, found))]
    if in_sample is not None:
        inside = read_predictions(in_sample, ids)
        if inside.targets:
            tables.append(score(inside, "in_sample"))
    if test_targets is not None:
        test_ids, test_names, truth = read_labels(test_targets)
        predicted = read_predictions(test, test_ids)
        columns = label_columns(predicted.targets, test_names, test_targets)
        tables.append(
            score_predictions(
                predicted.values,
                truth[:, columns],
                predicted.targets,
                probabilities=predicted.values if predicted.are_probabilities else None,
                estimate="test",
                fell_back=fell_back & set(predicted.targets),
            )
        )
    write_parquet(pa.concat_tables(tables), out, note)


def read_order(uncalibrated: Path | None, ids: pa.Table, found: Predictions) -> Predictions | None:
    """What predictions were before they were calibrated; None if they were not.

    Raises:
        BlendmakeError: the file is missing, damaged, or of other rows or targets.
    """
    if uncalibrated is None:
        return None
    before = read_predictions(uncalibrated, ids)
    if not before.targets:
        return None
    if before.targets != found.targets:
        raise damaged(uncalibrated, "its targets are not those of the blend")
    return before
