"""Scores of artifacts on disk: a source's or blend's own, and the difference of two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from blendmake.files import damaged, write_parquet
from blendmake.fits.notes import FELL_BACK
from blendmake.folds.file import Folds, read_folds
from blendmake.honest import HONEST_FOLDS, common_folds
from blendmake.labels import label_columns, read_groups, read_labels
from blendmake.metrics.choice import Given, metrics_for
from blendmake.predictions import Predictions, read_predictions
from blendmake.scores import SCORES, score_predictions


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
    metric: Given = None,
    also: Sequence[str] | None = None,
    note: Mapping[str, Any],
) -> None:
    """Write the scores table of a source or blend.

    Train rows count in the folds only that the note of `oof` calls honest.

    Args:
        estimate: what its OOF predictions are: `oof` (a source) or `cross_fitted` (a blend).
        groups, test_targets, in_sample: where there are any.
        uncalibrated: what `oof` was before it was calibrated, if it was. The AUC is of these: folds
            have maps of their own, which would shift the folds against each other.
        metric, also: of the config, as for `metrics.choice.metrics_for`.
    """
    known = read_known(targets, folds, groups)
    tables = [score_file(known, oof, estimate, uncalibrated=uncalibrated, metric=metric, also=also)]
    if in_sample is not None:
        tables.append(score_file(known, in_sample, "in_sample", metric=metric, also=also))
    if test_targets is not None:
        found = read_predictions(oof, known.ids)
        fell_back = set(found.note.get(FELL_BACK, ()))
        test_ids, test_names, truth = read_labels(test_targets)
        predicted = read_predictions(test, test_ids)
        columns = label_columns(predicted.targets, test_names, test_targets)
        tables.append(
            score_predictions(
                predicted.values,
                truth[:, columns],
                predicted.of,
                metrics=metrics_for(predicted.of, metric, also),
                values=predicted.values if predicted.are_values else None,
                estimate="test",
                fell_back=fell_back & set(predicted.targets),
            )
        )
    write_parquet(pa.concat_tables(tables), out, note)


@dataclass(frozen=True, eq=False)
class Known:
    """What predictions of the train rows are scored against: shapes as in `score_predictions`."""

    path: Path
    ids: pa.Table
    names: tuple[str, ...]
    labels: NDArray[Any]
    groups: NDArray[Any] | None
    split: Folds


def read_known(targets: Path, folds: Path, groups: Path | None) -> Known:
    """Read what predictions are scored against.

    Raises:
        BlendmakeError: a file is missing or damaged.
    """
    ids, names, labels = read_labels(targets)
    return Known(targets, ids, tuple(names), labels, read_groups(groups), read_folds(folds))


def score_file(
    known: Known,
    predictions: Path,
    estimate: str,
    *,
    uncalibrated: Path | None = None,
    folds: Sequence[int] | None = None,
    targets: Sequence[str] | None = None,
    metric: Given = None,
    also: Sequence[str] | None = None,
) -> pa.Table:
    """Scores of the train rows in a prediction file, as `score_predictions` has them.

    Args:
        uncalibrated: as for `score_artifact`.
        folds: measure these only, of those that the file's note calls honest; None: all of those.
        targets: these only, of those in the file; None: all.
        metric, also: of the config, as for `metrics.choice.metrics_for`.

    Raises:
        BlendmakeError: a file is missing, damaged, or of other rows or targets.
    """
    found = read_predictions(predictions, known.ids)
    order = read_order(uncalibrated, known.ids, found)
    if targets is not None:
        kept = [name for name in found.targets if name in targets]
        found, order = found.select(kept), None if order is None else order.select(kept)
    honest, flattered = common_folds([found.note.get(HONEST_FOLDS), folds], known.split.n)
    optimistic = set(found.targets if flattered else found.note["optimistic"])
    fell_back = set(found.note.get(FELL_BACK, ()))
    if not found.targets:
        return SCORES.empty_table()
    return score_predictions(
        (found if order is None else order).values,
        known.labels[:, label_columns(found.targets, known.names, known.path)],
        found.of,
        metrics=metrics_for(found.of, metric, also),
        values=found.values if found.are_values else None,
        folds=known.split.fold,
        honest=honest,
        groups=known.groups,
        estimate=estimate,
        optimistic=optimistic & set(found.targets),
        fell_back=fell_back & set(found.targets),
    )


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
    if before.of != found.of:
        raise damaged(uncalibrated, "its targets are not those of the blend")
    return before
