"""The user's labels, groups and given folds, in the order of the tables.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import free_name, with_note, write_parquet
from blendmake.labels import targets_of
from blendmake.score_names import MACRO
from blendmake.tables.ids import order_by, plain
from blendmake.tables.label_column import LabelColumn, count_of
from blendmake.tables.label_values import Positive, known_labels, positive_of
from blendmake.tables.missing import Missing, without_missing
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import UserTable
from blendmake.tasks.base import Labels, Target, Task, find_task, note_of_targets

log = logging.getLogger(__name__)


def warn_in_log(text: str) -> None:
    """Tell the log of what looks wrong."""
    log.warning("WARNING: %s", text)


def read_column(
    file: str,
    column: str,
    ids: pa.Table,
    id_columns: Sequence[str],
    what: str,
    csv_format: Mapping[str, Any] | None = None,
    missing: Missing = (),
) -> pa.ChunkedArray:
    """One column of a user's file in the order of `ids`, without missing values.

    Raises:
        BlendmakeError: a value is missing, or is called so by the config (`missing`).
    """
    table = UserTable(file, id_columns, csv_format)
    table.require([column], what)
    values = without_missing(plain(table.read([column])[column]), column, missing)
    order = order_by(ids, table, id_columns)
    values = values if order is None else values.take(pa.array(order))
    if values.null_count:
        raise BlendmakeError(
            f"{file}: column '{column}' has {values.null_count} missing values. {what} of every row "
            "must be known."
        )
    return values


Tasks = str | Mapping[str, str] | None
"""`task:` of a config: the name of a task, or `auto`; by target where they differ."""


def read_targets(
    file: str,
    columns: Sequence[str] | None,
    ids: pa.Table,
    id_columns: Sequence[str],
    *,
    task: Tasks = None,
    known: Sequence[Target] | None = None,
    one_class_allowed: bool = False,
    features: Collection[str] = (),
    csv_format: Mapping[str, Any] | None = None,
    positive: Positive = None,
    missing: Missing = (),
    say: Callable[[str], None] = log.info,
    warn: Callable[[str], None] = warn_in_log,
) -> pa.Table:
    """The labels in the order of `ids`: id columns, then one column per target.

    A binary target is int8 (0, 1, null), a multiclass one string, one of regression float64. What
    targets are stands in the table's note (`labels.targets_of`), where they are not all binary.

    Args:
        task: what targets are; left out, or `auto`: told from each column.
        known: what the targets of the train rows are, of which these are labels of other rows.
        positive: values that are 1, for all binary targets or by target, where labels are no 0 and 1.
        missing: `data.missing` of the config.
        say: is told what a target was taken for, and which values are 0 and 1, where it is not plain.
        warn: is told what looks wrong, though it may be meant.

    Raises:
        BlendmakeError: a column absent, a value that is no label of the target's task, text that does
            not say which value is 1, a target of one value or one class.
    """
    table = UserTable(file, id_columns, csv_format)
    names = _target_names(table, columns, ids, id_columns, features)
    for key, said in (("data.targets.positive", positive), ("task", task)):
        unknown = sorted(set(said) - set(names)) if isinstance(said, Mapping) else []
        if unknown:
            raise BlendmakeError(
                f"{key} names {some_of(unknown)}, which is no target ({some_of(names)})."
            )
    if known is not None and [target.name for target in known] != names:
        odd = sorted({target.name for target in known} ^ set(names))
        raise BlendmakeError(
            f"{file}: its targets are not those of the train rows: "
            f"{some_of(odd) if odd else 'their order differs'}. Give both the same columns."
        )
    order = order_by(ids, table, id_columns)
    labels = table.read(names)
    before = {target.name: target for target in known or ()}
    arrays, targets = [], []
    for name in names:
        classes = before[name].classes if name in before else ()
        ones = positive_of(positive, name)
        given = known_labels(labels[name], name, missing, ones)
        column = LabelColumn(given, name, file, ones, classes)
        own = before[name].task if name in before else task_of(column, task, say, warn)
        read = own.read(column)
        if read.says:
            say(read.says)
        if not one_class_allowed:
            _check_values(own, read, column, warn)
        targets.append(Target(name, own, read.classes))
        arrays.append(_stored(read, own, order))
    _check_outputs(targets, ids.column_names, file)
    found = pa.table([*ids.columns, *arrays], names=[*ids.column_names, *names])
    return with_note(found, note_of_targets(targets))


def write_targets(table: pa.Table, path: Path, note: Mapping[str, Any]) -> None:
    """Write a targets table as an artifact, with what its targets are.

    Args:
        note: with the id columns, `id_columns`.
    """
    names = [name for name in table.column_names if name not in note["id_columns"]]
    write_parquet(table, path, {**note, **note_of_targets(targets_of(table, names))})


def _target_names(
    table: UserTable,
    columns: Sequence[str] | None,
    ids: pa.Table,
    id_columns: Sequence[str],
    features: Collection[str],
) -> list[str]:
    """The target columns of a file; raises where they cannot be such."""
    file = table.path
    names = list(columns) if columns else [n for n in table.names if n not in id_columns]
    leaked = [name for name in names if name in features]
    if leaked:
        raise BlendmakeError(
            f"{file}: target '{leaked[0]}' is also a feature column of that name: a model would read "
            "its answer. List it under data.ignore, or rename one of them."
        )
    if MACRO in names:
        raise BlendmakeError(f"{file}: a target may not be called '{MACRO}'. Rename it.")
    taken = [name for name in names if name in ids.column_names]
    if taken:
        raise BlendmakeError(
            f"{file}: a target may not be called '{taken[0]}', like "
            + ("an id column" if id_columns else "the column of positions, which are the ids here")
            + ". List the target columns under data.targets.columns."
        )
    table.require(names, "the target column")
    if not names:
        raise BlendmakeError(f"{file}: there is no target column beside the id.")
    return names


def task_of(
    column: LabelColumn,
    task: Tasks,
    say: Callable[[str], None] | None = None,
    warn: Callable[[str], None] | None = None,
) -> Task:
    """The task of a target: as the config says it, else as its column tells it."""
    said = task.get(column.name) if isinstance(task, Mapping) else task
    if said not in (None, "auto"):
        return find_task(str(said))
    told, says = column.told()
    if says and say is not None:
        say(says)
    if warn is not None:
        for text in column.warnings:
            warn(text)
    return find_task(told)


def _check_values(
    task: Task, read: Labels, column: LabelColumn, warn: Callable[[str], None]
) -> None:
    """Refuse labels of which nothing can be learnt; tell of classes of one row."""
    name, file = column.name, column.file
    known = read.values[~np.isnan(read.values)]
    if task.usable(read.values):
        if read.classes:
            single = [value for value, count in count_of(read).items() if count == 1]
            if single:
                warn(
                    f"{file}: target '{name}': of class {some_of(single)} there is one row, which no "
                    "model learns from and is scored by"
                )
        return
    if task.name == "binary":
        word = "negatives" if (known == 1).any() else "positives"
        raise BlendmakeError(
            f"{file}: target '{name}' has no {word}. Nothing can be learnt of it: leave it out "
            "with data.targets.columns."
        )
    what = "no label" if not known.size else "one value in all rows"
    raise BlendmakeError(
        f"{file}: target '{name}' has {what}. Nothing can be learnt of it: leave it out with "
        "data.targets.columns."
    )


def _check_outputs(targets: Sequence[Target], ids: Collection[str], file: str) -> None:
    """Refuse targets whose columns of predictions would be called alike."""
    owner = dict.fromkeys(ids, "an id")
    for target in targets:
        for output in target.outputs:
            if output in owner:
                raise BlendmakeError(
                    f"{file}: predictions of target '{target.name}' have a column '{output}', which is "
                    f"also {owner[output]}. Rename one of them."
                )
            owner[output] = f"one of target '{target.name}'"


def _stored(read: Labels, task: Task, order: NDArray[np.int64] | None) -> pa.Array:
    """Labels as the targets table holds them."""
    values = read.values if order is None else read.values[order]
    missing = np.isnan(values)
    if read.classes:
        codes = pa.array(np.where(missing, 0, values).astype(np.int32), mask=missing)
        return pa.array(read.classes, pa.string()).take(codes)
    if task.name == "binary":
        return pa.array(np.where(missing, 0, values).astype(np.int8), mask=missing)
    return pa.array(values, mask=missing)


def group_codes(groups: pa.ChunkedArray) -> pa.Array:
    """Groups as codes 0, 1, … (int64) in the order of their sorted names."""
    _, codes = np.unique(
        np.asarray(groups.to_numpy(zero_copy_only=False)).astype(str), return_inverse=True
    )
    return pa.array(codes.astype(np.int64))


def write_groups(path: Path, ids: pa.Table, codes: pa.Array, note: Mapping[str, Any]) -> None:
    """Write groups.parquet: the ids and `group`, by another name (in the note) if an id has this one."""
    column = free_name("group", ids.column_names)
    about = {"id_columns": ids.column_names, "column": column}
    write_parquet(ids.append_column(column, codes), path, {**note, **about})
