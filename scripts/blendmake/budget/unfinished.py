"""What is handed in of a source that did not end: the mean of the models of its finished folds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.budget.measure import key_of, measured
from blendmake.folds.file import read_folds
from blendmake.labels import label_columns, read_known
from blendmake.predictions import read_predictions, write_predictions


def mean_of_folds(
    folds: Mapping[int, Mapping[str, Path]],
    assignment: Path,
    targets: Path,
    out: Path,
    note: Mapping[str, Any],
    above: float | None = None,
) -> dict[str, Any] | None:
    """Write predictions for the test rows: the mean over the models of some folds.

    Each of them is whole, trained on all rows but those that its fold holds out; what is missing is the
    score on the other rows, and what their models would add to the mean.

    Args:
        folds: `oof` and `test` of each fold that is done.
        assignment: folds.parquet.
        out: as a source's test.parquet.
        above: how good what would be handed in otherwise is (`measure.measured`).

    Returns:
        What was done: `kind`, `folds` (how many), how good it is on the rows that they hold out; None
        if that is not above the other, or there is no fold. The note of `out` says it too.

    Raises:
        BlendmakeError: a file is missing, damaged or of other rows.
    """
    if not folds:
        return None
    known, rows_of = read_known(targets), read_folds(assignment)
    total, scores = None, []
    for k, files in sorted(folds.items()):
        rows = rows_of.rows(k).valid
        oof = read_predictions(files["oof"], known.ids.take(pa.array(rows)))
        test = read_predictions(files["test"])
        total = test.values if total is None else total + test.values
        columns = label_columns(oof.targets, known.names, targets)
        score = measured(known.labels[rows][:, columns], oof.values, oof.of)
        scores += [] if score is None else [score]
    assert total is not None
    mean = float(np.mean(scores)) if scores else None
    if above is not None and (mean is None or mean <= above):
        return None
    told = {"kind": "folds", "folds": len(folds), key_of(known.targets): mean}
    made = {**note, "optimistic": [], "last_resort": told}
    write_predictions(out, test.ids, test.of, (total / len(folds)).astype(test.values.dtype), made)
    return told
