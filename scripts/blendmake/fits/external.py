"""External sources: predictions that somebody else made, checked and put into the project's form."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.folds.file import read_folds
from blendmake.labels import read_labels
from blendmake.matrix import TableFile
from blendmake.predictions import write_predictions
from blendmake.tables.ids import given_id_columns, id_keys, order_by, shown_ids
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import UserTable, kind_of

FOLD = "fold"  # the column of a file of predictions that says which model did not see the row

log = logging.getLogger(__name__)


def read_external(
    files: Mapping[str, str],
    targets: Path,
    test_table: Path,
    folds: Path | None,
    out: Mapping[str, Path],
    *,
    id_columns: Sequence[str],
    rename: Mapping[str, str] | None,
    note: Mapping[str, Any],
    csv_format: Mapping[str, Any] | None = None,
) -> None:
    """Check two files of predictions and write a source's oof and test.

    Args:
        files: `oof` and `test`, any kind of table with the id columns and a column per target; columns
            may be named as in a submission. A column `fold` that is neither must hold the problem's
            folds, whatever they are called there.
        targets: targets.parquet, whose ids oof must hold, in any order.
        test_table: tables/test.arrow, whose ids test must hold.
        folds: folds.parquet; None: not known yet, and not compared.
        out: `oof`, `test`.
        id_columns: those of the config; none: a file without the position goes by its rows' order.
        rename: the submission's naming rule.
        csv_format: `data.csv` of the config.

    Raises:
        BlendmakeError: an id missing, extra or repeated; a column that is no target, or not in both
            files; a value that is not a finite number; a row of another fold. Names file and column.
    """
    ids, names, _ = read_labels(targets)
    test_ids = TableFile(test_table).table(ids.column_names)
    oof, test = (
        _File(file, rows, id_columns, names, rename, csv_format)
        for file, rows in ((files["oof"], ids), (files["test"], test_ids))
    )
    odd = sorted(set(oof.column_of) ^ set(test.column_of))
    if odd:
        raise BlendmakeError(
            f"{files['oof']} and {files['test']} must hold the same targets; only one of them has "
            f"{some_of(odd)}."
        )
    values = {"oof": oof.values(), "test": test.values()}
    made = {**note, "optimistic": []}
    if folds is not None:
        known = read_folds(folds)
        oof.check_folds(known.fold, folds)
        made["folds"] = known.digest
    for part, one in (("test", test), ("oof", oof)):
        write_predictions(out[part], one.ids, list(one.column_of), values[part], made)


class _File:
    """A file of predictions, its rows matched to `ids` and its columns to targets.

    Attributes:
        column_of: by target, in the problem's order, its column.
    """

    def __init__(
        self,
        file: str,
        ids: pa.Table,
        id_columns: Sequence[str],
        names: Sequence[str],
        rename: Mapping[str, str] | None,
        csv_format: Mapping[str, Any] | None,
    ) -> None:
        self.file, self.ids = file, ids
        self.table = UserTable(file, ids.column_names, csv_format)
        found = given_id_columns(self.table, ids, id_columns)
        every = [name for name in self.table.names if name not in found]
        # A target may be called as the column of folds is.
        others = [name for name in every if name != FOLD or FOLD in names]
        renamed = list(names)
        if rename and not set(others) & set(names):
            renamed = [re.sub(rename["pattern"], rename["replace"], name) for name in names]
            others = [name for name in every if name != FOLD or FOLD in renamed]
        self.column_of = {
            name: column for name, column in zip(names, renamed, strict=True) if column in others
        }
        strange = [column for column in others if column not in self.column_of.values()]
        if strange or not self.column_of:
            raise BlendmakeError(
                f"{file}: column {some_of(strange)} is no target."
                if strange
                else f"{file}: there is no column of a target ({', '.join(renamed[:3])}, …)."
            )
        self.has_folds = FOLD in every and FOLD not in others
        self.order = order_by(ids, self.table, found)

    def values(self) -> NDArray[np.float64]:
        """(rows, targets), in the order of `ids` and of `column_of`."""
        read = self.table.read(list(self.column_of.values()))
        values = np.empty((self.ids.num_rows, len(self.column_of)), order="F")
        for j, column in enumerate(self.column_of.values()):
            if kind_of(read[column].type, False) != "number":
                raise BlendmakeError(f"{self.file}: column '{column}' holds no numbers.")
            numbers = np.asarray(read[column].cast(pa.float64()).to_numpy(), np.float64)
            if not np.isfinite(numbers).all():
                raise BlendmakeError(
                    f"{self.file}: {int((~np.isfinite(numbers)).sum())} values of column '{column}' are "
                    "missing or not finite. Every row must have a prediction."
                )
            values[:, j] = numbers if self.order is None else numbers[self.order]
        return values

    def check_folds(self, fold: NDArray[np.int32], path: Path) -> None:
        """Raise where the file's own folds part the rows in another way than `fold` (rows,) does.

        Folds may have other names in the file: what counts is which rows are held out together.
        """
        if not self.has_folds:
            return
        column = self.table.read([FOLD])[FOLD]
        if column.null_count:
            raise BlendmakeError(
                f"{self.file}: column '{FOLD}' has {column.null_count} missing values. It must say the "
                "fold of every row, or be dropped."
            )
        if self.order is not None:
            column = column.take(pa.array(self.order))
        encoded = column.combine_chunks().dictionary_encode()
        theirs = np.asarray(encoded.indices, np.int64)
        labels = [str(value) for value in encoded.dictionary.to_pylist()]
        counts = np.zeros((len(labels), int(fold.max()) + 1), np.int64)
        np.add.at(counts, (theirs, fold), 1)
        if (np.count_nonzero(counts, axis=0) == 1).all() and (
            np.count_nonzero(counts, axis=1) == 1
        ).all():
            return
        row, expected = _contradiction(theirs, labels, fold, counts)
        wrong = shown_ids(id_keys(self.ids.slice(row, 1)))[0]
        raise BlendmakeError(
            f"{self.file}: row '{wrong}' is in fold {labels[int(theirs[row])]} by its column '{FOLD}'"
            f"{expected}, but in fold {fold[row]} by {path}: predictions made on other folds have seen "
            f"labels that score them. Make them on the folds of {path}, or give theirs to the problem "
            "(folds.column); if the column means something else, drop it."
        )


def _contradiction(
    theirs: NDArray[np.int64],
    labels: list[str],
    fold: NDArray[np.int32],
    counts: NDArray[np.int64],
) -> tuple[int, str]:
    """The first row whose fold is not the one that its label stands for, and what it stands for."""
    if set(labels) == {str(k) for k in range(counts.shape[1])}:
        meant, told = np.array([int(label) for label in labels], np.int64), False
    else:
        # By other names: those of the folds that most of their rows are in.
        meant, told = counts.argmax(axis=1), True
    wrong = np.flatnonzero(meant[theirs] != fold)
    if not len(wrong):  # several of their folds are one of ours
        twice = next(k for k in range(counts.shape[1]) if np.count_nonzero(counts[:, k]) > 1)
        row = int(np.flatnonzero(fold == twice)[0])
        others = sorted({labels[i] for i in np.flatnonzero(counts[:, twice])})
        return row, f", one of {len(others)} there ({some_of(others)}) that are one here"
    row = int(wrong[0])
    mostly = int(meant[theirs[row]])
    return row, f" (whose rows are mostly in fold {mostly} here)" if told else ""
