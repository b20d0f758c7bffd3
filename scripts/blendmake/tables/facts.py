"""The shape of a problem, told from its files before anything is built."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import note_of, read_parquet
from blendmake.labels import labels_of, targets_of
from blendmake.tables.distinct import pandas_categories
from blendmake.tables.label_column import LabelColumn
from blendmake.tables.label_values import Positive, known_labels, positive_of
from blendmake.tables.missing import Missing
from blendmake.tables.user_files import UserTable, kind_of
from blendmake.tables.user_labels import Tasks, task_of
from blendmake.tasks.base import Target


@dataclass(frozen=True)
class Facts:
    """Train rows, numeric and category columns, and what each target is.

    Attributes:
        positives: how many each target has; 0 of one that is not binary.
        labelled: share of the labels that are known.
        levels: levels of all categories together; 0 where they have not been counted.
        tasks: of each target its task; empty where all are binary.
        classes: of each target how many classes it has, 0 where it has none; empty where none has.
    """

    rows: int
    numbers: int
    categories: int
    positives: tuple[int, ...]
    labelled: float = 1.0
    levels: int = 0
    tasks: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()

    @property
    def columns(self) -> int:
        return self.numbers + self.categories

    @property
    def targets(self) -> int:
        return len(self.positives)

    @property
    def kinds(self) -> frozenset[str]:
        """The tasks that occur."""
        return frozenset(self.tasks or ("binary",))

    @property
    def outputs(self) -> int:
        """Columns of predictions of all targets together."""
        return sum(max(1, count) for count in self.classes or (1,) * self.targets)


def facts_of_tables(tables: Path) -> Facts | None:
    """The facts of the typed tables under results/<problem>/tables, if they stand."""
    if not all((tables / name).exists() for name in ("columns.parquet", "targets.parquet")):
        return None
    try:
        columns = read_parquet(tables / "columns.parquet")
        targets = read_parquet(tables / "targets.parquet")
    except BlendmakeError:
        return None  # a job may be replacing them right now
    names, labels = labels_of(targets, note_of(targets)["id_columns"])
    of = targets_of(targets, names)
    kinds = columns["kind"].to_pylist()
    categories = kinds.count("category")
    has_levels = "levels" in columns.column_names
    levels = int(pc.sum(pc.list_value_length(columns["levels"])).as_py() or 0) if has_levels else 0
    known = round(float(1 - np.isnan(labels).mean()), 6) if labels.size else 1.0
    positives, more = _of_targets(of, list(labels.T))
    numbers = len(kinds) - categories
    return Facts(targets.num_rows, numbers, categories, positives, known, levels, **more)


def _of_targets(
    targets: Sequence[Target], labels: Sequence[NDArray[Any]]
) -> tuple[tuple[int, ...], dict[str, Any]]:
    """The fields of targets: positives, and what is said of those that are not binary."""
    binary = [target.task.name == "binary" for target in targets]
    positives = tuple(
        int(np.nansum(column)) if is_binary else 0
        for column, is_binary in zip(labels, binary, strict=True)
    )
    more: dict[str, Any] = {}
    if not all(binary):
        more["tasks"] = tuple(target.task.name for target in targets)
    if any(target.classes for target in targets):
        more["classes"] = tuple(len(target.classes) for target in targets)
    return positives, more


def facts_of_files(
    train: Sequence[str],
    ids: Sequence[str],
    targets: str | None,
    target_columns: Sequence[str] | None,
    *,
    categories: Sequence[str] = (),
    patterns: Sequence[str] = (),
    left_out: Sequence[str] = (),
    csv_format: Mapping[str, Any] | None = None,
    positive: Positive = None,
    missing: Missing = (),
    task: Tasks = None,
) -> Facts:
    """The facts of the user's files; of parquet, only the labels are read.

    Args:
        train: the feature files.
        ids: id columns.
        targets: file of the labels; None: they are in the first train file.
        target_columns: None: every column of `targets` but the ids.
        categories, patterns: columns that are categories, by name and by shell pattern.
        left_out: shell patterns of columns that are no features.
        csv_format: `data.csv` of the config.
        positive, missing, task: as for `user_labels.read_targets`.

    Raises:
        BlendmakeError: a file is absent or cannot be read, a target is not among its columns or is
            no label.
    """
    labelled = UserTable(targets or train[0], ids, csv_format)
    names = list(target_columns or [n for n in labelled.names if n not in ids])
    labelled.require(names, "the target column")
    labels = labelled.read(names)
    read = []
    for name in names:
        ones = positive_of(positive, name)
        given = known_labels(labels[name], name, missing, ones)
        column = LabelColumn(given, name, labelled.path, ones)
        own = task_of(column, task)
        read.append((own, own.read(column)))
    values = [one.values for _, one in read]
    of = [Target(name, own, one.classes) for name, (own, one) in zip(names, read, strict=True)]
    positives, more = _of_targets(of, values)
    unknown = sum(int(np.isnan(one).sum()) for one in values)
    known = round(1 - unknown / max(1, labelled.rows * len(names)), 6)

    def is_like(name: str, shapes: Sequence[str]) -> bool:
        return any(fnmatch.fnmatchcase(name, shape) for shape in shapes)

    tables = [UserTable(file, ids, csv_format) for file in train]
    no_features = {*ids, *names}.union(*(table.index_columns for table in tables))
    kinds = [
        kind_of(
            field.type,
            field.name in said or field.name in categories or is_like(field.name, patterns),
        )
        for table in tables
        for said in [pandas_categories(table.schema)]
        for field in table.schema
        if field.name not in no_features and not is_like(field.name, left_out)
    ]
    of_numbers = sum(kinds.count(kind) for kind in ("number", "time", "any"))
    return Facts(labelled.rows, of_numbers, kinds.count("category"), positives, known, **more)
