"""What is handed in where not even the tables are read in time: rates from the files themselves."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.budget.last_resort import prior_of, write_prior
from blendmake.tables.ids import in_one_type, position_column, read_ids
from blendmake.tables.label_column import LabelColumn
from blendmake.tables.label_values import Positive, positive_of
from blendmake.tables.user_files import UserTable
from blendmake.tables.user_labels import Tasks, task_of
from blendmake.tasks.base import Target


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
    task: Tasks = None,
    csv_format: Mapping[str, Any] | None = None,
    taken: Collection[str] = (),
) -> tuple[pa.Table, list[Target], dict[str, Any]]:
    """Write the prior of each target (the rate of positives) as predictions for the test rows.

    Of the files only ids and labels are read; ids are those that the tables will have.

    Args:
        train, test: feature files, the first of each holding the ids.
        targets: file of the labels.
        out: as a source's test.parquet.
        columns, positive, task, csv_format: as for `user_labels.read_targets`.
        taken: as for `tables.read_tables`.

    Returns:
        Ids of the test rows, the targets, and what was done (`last_resort.write_prior`).

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
    of, parts = [], []
    for name in names:
        values = labels.read([name])[name]
        column = LabelColumn(values, name, targets, positive_of(positive, name))
        own = task_of(column, task)
        read = own.read(column)
        of.append(Target(name, own, read.classes))
        parts.append(prior_of(of[-1:], read.values[:, None]))
    return ids, of, write_prior(out, ids, of, np.concatenate(parts), note)
