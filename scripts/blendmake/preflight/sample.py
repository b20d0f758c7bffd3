"""A miniature of the problem, cut from the user's own files: what features and fits are tried on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.features.fold_features import SetInputs, make_fold_features
from blendmake.features.sets import make_features
from blendmake.files import read_parquet, replacing, write_parquet
from blendmake.folds.file import read_folds, write_folds, write_inner
from blendmake.folds.inner import inner_split
from blendmake.folds.schemes.stratified import stratified_folds
from blendmake.labels import Labels, read_known
from blendmake.matrix import Column, Positions, Rows, TableFile
from blendmake.preflight.inputs import Inputs
from blendmake.seeds import derive_seed
from blendmake.tables.columns import Wanted
from blendmake.tables.folders import is_parquet
from blendmake.tables.ids import order_by
from blendmake.tables.kinds import decide
from blendmake.tables.naming import ACROSS
from blendmake.tables.tables import read_tables
from blendmake.tables.user_files import UserTable
from blendmake.tables.user_labels import read_targets, write_targets
from blendmake.tasks.base import Target, targets_of_note
from blendmake.tellers import find_tellers, teller_texts

TRAIN_ROWS, TEST_ROWS = 400, 50
FOLDS = 2
INNER_SHARE = 0.2
HEAD_ROWS = 20_000  # rows are taken from the first so many, of wide tables from fewer
HEAD_BYTES = 128 << 20
BATCH = 1024
AUDITED = pa.schema([("list", pa.string()), ("feature", pa.string())])


@dataclass
class Miniature:
    """A problem of TRAIN_ROWS and TEST_ROWS at most, its tables, labels and folds on disk.

    `columns` of the tables, `made` and `fold_made` (columns that a feature set makes, once and per
    fold) and `width` (columns that it gives to a model) by feature set.
    """

    folder: Path
    seed: int
    columns: int = 0
    width: dict[str, int] = field(default_factory=dict)
    made: dict[str, int] = field(default_factory=dict)
    fold_made: dict[str, int] = field(default_factory=dict)

    def _table(self, part: str) -> Path:
        return self.folder / "tables" / f"{part}.arrow"

    @property
    def tables(self) -> dict[str, Path]:
        return {part: self._table(part) for part in ("train", "test")}

    @property
    def labelled(self) -> bool:
        """Whether it has labels and folds, so that a model can be fitted."""
        return (self.folder / "inner.parquet").exists()

    def cut(self, inputs: Inputs, settings: Mapping[str, Any]) -> list[str]:
        """Cut the rows out of the user's files and type them, as the tables are made.

        Args:
            inputs: the files; labels are made only if its targets could be read.
            settings: the plan's slice `tables`.

        Returns:
            Warnings of what the columns are, told from all rows.

        Raises:
            BlendmakeError: what is wrong with the tables' columns, in the names of the user's files.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        assert inputs.train_ids is not None
        every = {
            part: {label: inputs.tables[path] for label, path in files.items()}
            for part, files in (("train", inputs.train), ("test", inputs.test))
        }
        decided = decide(every, settings["id"], Wanted.of(settings))
        rows = _chosen_rows(inputs)
        train = {
            label: self._cut_file(f"train_{label}", inputs, path, inputs.train_ids, rows)
            for label, path in inputs.train.items()
        }
        test: dict[str, Path] = {}
        if inputs.test_ids is not None:
            few = np.arange(min(TEST_ROWS, inputs.test_ids.num_rows))
            test = {
                label: self._cut_file(f"test_{label}", inputs, path, inputs.test_ids, few)
                for label, path in inputs.test.items()
            }
        cut = [*train.values(), *test.values()]
        names = dict(
            zip(map(str, cut), [*inputs.train.values(), *inputs.test.values()], strict=True)
        )
        listed = self.folder / "tables" / "columns.parquet"
        with in_names_of(names):
            read_tables(
                {label: str(path) for label, path in train.items()},
                {label: str(path) for label, path in test.items()} or None,
                settings["id"],
                out_train=self._table("train"),
                out_test=self._table("test"),
                out_columns=listed,
                decided=decided,
                distinct=settings.get("distinct", ACROSS),
                taken=settings.get("taken", ()),
            )
        features = read_parquet(listed)["name"].to_pylist()
        self.columns = len(features)
        if inputs.targets is not None:
            self._cut_labels(inputs, rows, features)
        return decided.warnings

    def _cut_file(
        self, name: str, inputs: Inputs, path: str, ids: pa.Table, rows: Positions
    ) -> Path:
        """Write some rows, given by their place in `ids`, of a user's file; its types are kept."""
        table = inputs.tables[path]
        order = order_by(ids, table, inputs.id_columns)
        out = self.folder / f"{name}.arrow"
        found = _rows_of(table, rows if order is None else order[rows])
        with replacing(out) as temporary, pa.ipc.new_file(str(temporary), found.schema) as writer:
            writer.write_table(found)
        return out

    def _cut_labels(self, inputs: Inputs, rows: Positions, features: Sequence[str]) -> None:
        """Write labels, folds and the inner split of the rows."""
        assert inputs.targets is not None and inputs.train_ids is not None
        ids = TableFile(self._table("train")).table(inputs.train_ids.column_names)
        cut = self.folder / "targets.arrow"
        taken = inputs.targets.take(pa.array(rows))
        if not inputs.id_columns:
            taken = taken.drop_columns(ids.column_names)
        with pa.ipc.new_file(str(cut), taken.schema) as writer:
            writer.write_table(taken)
        # With the names of features: a target among them is an error that only shows here.
        with in_names_of({str(cut): inputs.files["targets"]}):
            targets = read_targets(
                str(cut),
                None,
                ids,
                inputs.id_columns,
                known=inputs.known,
                one_class_allowed=True,
                features=features,
            )
        path = self.folder / "targets.parquet"
        write_targets(targets, path, {"id_columns": ids.column_names})
        labels = read_known(path).labels
        fold = stratified_folds(labels, FOLDS, self.seed, inputs.known)
        write_folds(self.folder / "folds.parquet", ids, fold, {})
        folds = read_folds(self.folder / "folds.parquet")
        asides = []
        for k in range(folds.n):
            train = folds.rows(k).train
            seed = derive_seed(self.seed, "inner", k)
            aside = inner_split(labels, train, INNER_SHARE, seed, targets=inputs.known)
            asides.append((train, aside))
        write_inner(self.folder / "inner.parquet", ids, asides, {})

    def tellers(self) -> list[str]:
        """The columns that alone tell a target, among the rows that were cut, in sentences."""
        if not self.labelled:
            return []
        table = TableFile(self._table("train"))
        listed = read_parquet(self.folder / "tables" / "columns.parquet").to_pylist()
        columns = [Column(one["name"], "table", len(one["levels"])) for one in listed]
        known = read_known(self.folder / "targets.parquet")
        rows = Rows({"table": table}, columns, np.arange(table.rows))
        return teller_texts(find_tellers(rows, known.labels, known.targets))

    # Feature sets

    def make(self, name: str, settings: Mapping[str, Any], with_labels: Mapping[str, Any]) -> None:
        """Make a feature set, and what it makes of labels in the first fold.

        Args:
            settings: the plan's slice `features` of the set.
            with_labels: its slice `fold_features`, empty if it makes nothing of labels.

        Raises:
            BlendmakeError: what is wrong with the set.
        """
        listed = self.folder / "tables" / "columns.parquet"
        folder = self.folder / "features" / name
        made = {part: folder / f"{part}.arrow" for part in self.tables}
        small, spared = _with_few_components(settings, read_parquet(listed).to_pylist())
        make_features(self.tables, listed, small, out_columns=folder / "columns.parquet", out=made)
        columns = read_parquet(folder / "columns.parquet")["origin"].to_pylist()
        self.made[name] = columns.count("set") + spared
        self.width[name] = len(columns) + spared
        if with_labels and self.labelled:
            own = self._make_with_labels(name, with_labels)
            self.fold_made[name] = own.count("fold")
            self.width[name] = len(own) + spared

    def _make_with_labels(self, name: str, settings: Mapping[str, Any]) -> list[str]:
        """Make what a set makes of labels in the first fold: the origin of each of its columns."""
        folder = self.folder / "features" / name
        audit = None
        if settings.get("audit"):
            # What an audit will find is not known; here it finds nothing.
            audit = self.folder / "drop.parquet"
            write_parquet(AUDITED.empty_table(), audit)
        made = {part: folder / f"{part}.arrow" for part in self.tables}
        own = folder / "fold0"
        make_fold_features(
            SetInputs(
                tables=self.tables,
                made=made,
                columns=folder / "columns.parquet",
                targets=self.folder / "targets.parquet",
                folds=self.folder / "folds.parquet",
                audit=audit,
            ),
            0,
            settings,
            self.seed,
            out_columns=own / "columns.parquet",
            out={part: own / f"{part}.arrow" for part in self.tables},
            out_selection=own / "selection.parquet",
        )
        return list(read_parquet(own / "columns.parquet")["origin"].to_pylist())

    def inputs(self, features: str) -> dict[str, Any]:
        """The files of a fit on a feature set, as `tasks.smallest_fit` takes them."""
        folder = self.folder / "features" / features
        own = folder / "fold0" if (folder / "fold0").exists() else None
        return {
            "tables": _texts(self.tables),
            "made": _texts({part: folder / f"{part}.arrow" for part in self.tables}),
            "columns": str((own or folder) / "columns.parquet"),
            "targets": str(self.folder / "targets.parquet"),
            "folds": str(self.folder / "folds.parquet"),
            "inner": str(self.folder / "inner.parquet"),
            "fold_made": _texts({p: own / f"{p}.arrow" for p in self.tables}) if own else None,
        }


@contextmanager
def in_names_of(names: Mapping[str, str]) -> Iterator[None]:
    """Errors about files that were cut out speak of the user's own files."""
    try:
        yield
    except BlendmakeError as error:
        text = str(error)
        for cut, own in names.items():
            text = text.replace(cut, own)
        raise BlendmakeError(text) from error


def _texts(paths: Mapping[str, Path]) -> dict[str, str]:
    return {part: str(path) for part, path in paths.items()}


def _chosen_rows(inputs: Inputs) -> Positions:
    """Rows of the first ones, ascending: of each target some of both classes, as far as they go."""
    width = sum(len(inputs.tables[path].schema.names) for path in inputs.train.values())
    assert inputs.train_ids is not None
    head = min(inputs.train_ids.num_rows, HEAD_ROWS, max(TRAIN_ROWS, HEAD_BYTES // (8 * width)))
    if inputs.targets is None:
        return np.arange(min(head, TRAIN_ROWS))
    _, labels = inputs.labels()
    return choose_rows(labels[:head], TRAIN_ROWS, inputs.known)


def choose_rows(labels: Labels, most: int, targets: Sequence[Target] | None = None) -> Positions:
    """Up to `most` rows of labels (rows, targets), ascending.

    Class by class (of numbers, band by band) in turns: the first row of each target and class, then
    the second, up to half; then rows at equal distances.

    Args:
        targets: what they are labels of; None: all binary.
    """
    rows = len(labels)
    if rows <= most:
        return np.arange(rows)
    if targets is None:
        targets = targets_of_note([""] * labels.shape[1], {})
    classes = [
        np.flatnonzero(marks)
        for target, column in zip(targets, labels.T, strict=True)
        for marks in (*target.task.strata(column).T, *_negatives(target, column))
    ]
    chosen: set[int] = set()
    for turn in range(max(map(len, classes))):
        if len(chosen) >= most // 2:
            break
        chosen.update(int(found[turn]) for found in classes if turn < len(found))
    others: NDArray[np.intp] = np.setdiff1d(np.arange(rows), np.fromiter(chosen, np.intp))
    left = max(0, most - len(chosen))
    spread = others[np.linspace(0, len(others) - 1, left).astype(np.intp)] if left else others[:0]
    return np.sort(np.concatenate([np.fromiter(chosen, np.intp), spread]))[:most]


def _negatives(target: Target, column: NDArray[Any]) -> list[NDArray[np.bool_]]:
    """Of a binary target the other class, which folds do not look at."""
    return [column == 0] if target.task.name == "binary" else []


def _rows_of(table: UserTable, rows: NDArray[np.int64]) -> pa.Table:
    """Some rows of a user's file in the order given; of parquet no more is read than up to the last."""
    if table.path.is_dir() or not is_parquet(table.path.name):
        return table.read(table.schema.names).take(pa.array(rows))
    ascending = np.sort(rows)
    parts, start = [], 0
    for batch in pq.ParquetFile(table.path).iter_batches(BATCH):
        inside = ascending[(ascending >= start) & (ascending < start + batch.num_rows)]
        parts.append(pa.Table.from_batches([batch]).take(pa.array(inside - start)))
        start += batch.num_rows
        if start > ascending[-1]:
            break
    # A file of one table holds one dictionary per column.
    found = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
    return found.take(pa.array(np.searchsorted(ascending, rows)))


def _with_few_components(
    settings: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], int]:
    """The settings with no more components than a few rows have, and how many columns that spares.

    More components than there are columns are left as they are, for the set to refuse.
    """
    svd = settings.get("svd")
    if not svd:
        return dict(settings), 0
    numbers = [column["file"] for column in columns if column["kind"] == "number"]
    asked = svd["components"]
    few = min(asked, 2) if asked <= min(map(numbers.count, svd["files"])) else asked
    return {**settings, "svd": {**svd, "components": few}}, (asked - few) * len(svd["files"])
