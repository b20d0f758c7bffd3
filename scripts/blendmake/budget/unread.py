"""What is handed in where not even the tables are read in time: rates from the files themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.budget.last_resort import write_prior
from blendmake.tables.ids import in_one_type, position_column, read_ids
from blendmake.tables.label_values import Positive, label_values, positive_of
from blendmake.tables.user_files import UserTable


def prior_of_files(
    train: Sequence[str],
    test: Sequence[str],
    id_columns: Sequence[str],
    targets: str,
    out: Path,
    note: Mapping[str, Any],
    *,
    columns: Sequence[str] | None = None,
    positive: Positive = None,
    csv_format: Mapping[str, Any] | None = None,
    taken: Collection[str] = (),
) -> tuple[pa.Table, list[str], dict[str, Any]]:
    """Write the rate of positives of each target as predictions for the test rows.

    Of the files only ids and labels are read; ids are those that the tables will have.

    Args:
        train, test: feature files, the first of each holding the ids.
        targets: file of the labels.
        out: as a source's test.parquet.
        columns, positive, csv_format: as for `user_labels.read_targets`.
        taken: as for `tables.read_tables`.

    Returns:
        Ids of the test rows, names of the targets, and what was done (`last_resort.write_prior`).

    Raises:
        BlendmakeError: ids or labels cannot be read.
    """
    first, first_test = (UserTable(files[0], id_columns, csv_format) for files in (train, test))
    if id_columns:
        train_ids = read_ids(first, id_columns)
        _, ids = in_one_type(train_ids, read_ids(first_test, id_columns), first_test)
    else:
        others = [UserTable(file, id_columns, csv_format) for file in (*train[1:], *test[1:])]
        position = position_column([first, first_test, *others], taken)
        ids = read_ids(first_test, id_columns, first.rows, position)
    labels = first if targets == train[0] else UserTable(targets, id_columns, csv_format)
    names = list(columns) if columns else [n for n in labels.names if n not in id_columns]
    labels.require(names, "the target column")
    rates = []
    for name in names:
        column = labels.read([name])[name]
        values, _ = label_values(column, name, targets, positive_of(positive, name))
        rates.append(float(np.nanmean(values)) if np.isfinite(values).any() else 0.5)
    return ids, names, write_prior(out, ids, names, rates, note)
