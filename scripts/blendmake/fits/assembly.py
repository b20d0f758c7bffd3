"""A source from its folds: OOF rows put together, test predictions averaged."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import damaged, note_of, read_parquet, write_parquet
from blendmake.fits.notes import FELL_BACK, SEARCH_FOLDS
from blendmake.fits.table import result_note
from blendmake.folds.file import read_folds
from blendmake.honest import TOLD_BY, honest_note
from blendmake.predictions import Predictions, outputs_of, read_predictions, write_predictions
from blendmake.tasks.base import Target

MOST_AT_ONE = 0.01  # share of a target's predictions that may be 1 without a word

log = logging.getLogger(__name__)


def assemble_source(
    fold_files: Sequence[Mapping[str, Path]],
    folds_path: Path,
    out: Mapping[str, Path],
    note: Mapping[str, Any],
) -> None:
    """Write a source's oof, test and fits from those of its folds.

    A row's OOF prediction comes from the fold that holds it out; a test prediction is the mean over
    the folds' models. Folds in no `search_folds` of a fold's note are the source's honest ones.

    Args:
        fold_files: per fold, in order: `oof`, `test`, `fits`.
        out: `oof`, `test`, `fits`.

    Raises:
        BlendmakeError: folds of different targets or rows, naming the file.
    """
    table = read_parquet(folds_path)
    ids = table.select(note_of(table)["id_columns"])
    folds = read_folds(folds_path)
    values: NDArray[np.floating] | None = None
    total: NDArray[np.float64] | None = None
    first: Predictions | None = None
    test_ids: pa.Table | None = None
    optimistic: set[str] = set()
    fell_back: set[str] = set()
    told_by: list[Any] = []
    honest = set(range(folds.n))
    for k, files in enumerate(fold_files):
        rows = folds.rows(k).valid
        oof = read_predictions(files["oof"], ids.take(pa.array(rows)))
        test = read_predictions(files["test"], test_ids)
        if first is None or values is None or total is None:
            first, test_ids = oof, test.ids
            values = np.full((ids.num_rows, oof.values.shape[1]), np.nan, oof.values.dtype)
            total = np.zeros(test.values.shape)
        if oof.of != first.of or test.of != first.of:
            raise damaged(files["oof"], "its targets are not those of the other folds")
        if np.float64 in (oof.values.dtype, test.values.dtype):
            values = values.astype(np.float64, copy=False)
        values[rows] = oof.values
        total += test.values
        optimistic.update(oof.note["optimistic"])
        fell_back.update(oof.note.get(FELL_BACK, ()))
        told_by += oof.note.get(TOLD_BY, ())
        honest.difference_update(oof.note.get(SEARCH_FOLDS, ()))
    assert first is not None and values is not None and total is not None and test_ids is not None
    if np.isnan(values).any():
        raise BlendmakeError(f"{out['oof']}: some rows are in no fold and have no prediction.")
    warn_of_ties(first.of, values)
    honesty = honest_note(optimistic, first.targets, [honest], folds.n)
    made = {**note, **honesty, "folds": folds.digest}
    made |= {FELL_BACK: sorted(fell_back)} if fell_back else {}
    made |= {TOLD_BY: told_by} if told_by else {}
    mean = (total / len(fold_files)).astype(values.dtype)
    fits = pa.concat_tables([read_parquet(files["fits"]) for files in fold_files])
    write_predictions(out["test"], test_ids, first.of, mean, made)
    write_parquet(fits, out["fits"], {**made, **result_note(fits)})
    write_predictions(out["oof"], ids, first.of, values, made)


def warn_of_ties(targets: Sequence[Target], values: NDArray[np.floating]) -> None:
    """Log the binary targets of which float32 has rounded more than a few predictions to 1."""
    counts = dict(zip(outputs_of(targets), (values == 1).sum(axis=0).tolist(), strict=True))
    for target in (one.name for one in targets if one.task.name == "binary"):
        count = counts[target]
        if count > max(1, MOST_AT_ONE * len(values)):
            log.warning(
                "%d of %d out-of-fold predictions of target '%s' are within 3e-8 of 1, which float32 "
                "makes 1: they are ties to the AUC. Recode the label so that its rare class is 1 "
                "(data.targets.positive): near 0 float32 tells them apart.",
                *(count, len(values), target),
            )


def clear_scratch(folder: Path) -> None:
    """Remove a source's scratch: called once its own files stand."""
    shutil.rmtree(folder, ignore_errors=True)
