"""Checks of what the user gives: files, ids, labels, groups, folds, sample, predictions of others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.fits.external import read_external
from blendmake.folds import SCHEMES
from blendmake.folds.file import write_folds
from blendmake.folds.making import make_folds
from blendmake.labels import Labels, labels_of, targets_of
from blendmake.matrix import BATCH_ROWS, writing_table
from blendmake.preflight.findings import PASS, WARN, Finding, guarded, size_text
from blendmake.preflight.targets import check_enough, check_metrics, targets_text
from blendmake.submission import read_sample
from blendmake.tables.csv_files import PACKED, is_csv
from blendmake.tables.folders import bytes_of
from blendmake.tables.ids import (
    check_apart,
    in_one_type,
    mixed_text,
    order_by,
    position_column,
    positions_text,
    read_ids,
)
from blendmake.tables.missing import Missing
from blendmake.tables.naming import ACROSS
from blendmake.tables.user_files import UserTable
from blendmake.tables.user_labels import group_codes, read_column, read_targets, write_targets
from blendmake.tasks.base import Target

TEXT_GROWS, PACKED_TEXT_GROWS = 2, 12  # memory that text takes once read, per byte of its file


class Inputs:
    """The user's files, each opened once; what is found in them is kept for later checks.

    `tables` by path; `train_ids`, `test_ids` and `targets` (ids and labels) in the order of the first
    train and test file, None where they could not be read.

    Args:
        plan: the mapping that `preflight.preflight` is given.
        folder: for what is made on the way.
    """

    def __init__(self, plan: Mapping[str, Any], folder: Path) -> None:
        self.slices, self.files, self.external = plan["slices"], plan["files"], plan["external"]
        self.manifests, self.metrics, self.folder = plan["manifests"], plan["metrics"], folder
        self.id_columns: list[str] = self.slices["tables"]["id"]
        self.csv_format: dict[str, Any] | None = self.slices["tables"].get("csv_format")
        self.missing: Missing = self.slices["tables"].get("missing", ())
        self.tables: dict[str, UserTable] = {}
        self.train_ids: pa.Table | None = None
        self.test_ids: pa.Table | None = None
        self.targets: pa.Table | None = None
        self.fold: NDArray[np.int32] | None = None  # of each train row, where a column gives it

    @property
    def train(self) -> dict[str, str]:
        return dict(self.slices["tables"]["train"])

    @property
    def test(self) -> dict[str, str]:
        return dict(self.slices["tables"]["test"] or {})

    def named(self) -> dict[str, str]:
        """Path of each file of data by what it is."""
        named = {f"train.{label}": path for label, path in self.train.items()}
        named |= {f"test.{label}": path for label, path in self.test.items()}
        return named | {what: path for what, path in self.files.items() if path}

    def findings(self, memory: int | None) -> Iterator[Finding]:
        """Open the files and check what they hold.

        Args:
            memory: bytes that there are; text is read whole.
        """
        for what, path in self.named().items():
            check = f"file {what}"
            yield from guarded(check, partial(self._check_file, check, path, memory))
        for name, files in self.external.items():
            for part, path in files.items():
                work = partial(self._check_external_file, f"{name}.{part}", path, memory)
                yield from guarded(f"external {name}", work)
        if self._opened(*self.train.values(), *self.test.values()):
            yield from guarded("ids", self._check_ids)
        if self.train_ids is not None and self._opened(self.files["targets"]):
            yield from guarded("targets", self._check_targets)
        if self.targets is not None:
            yield from self._label_findings()

    def _label_findings(self) -> Iterator[Finding]:
        """What can be checked once ids and targets are known."""
        yield from guarded(
            "metrics", partial(check_metrics, self.known, self.metrics, self.labels()[1])
        )
        if self._opened(self.files["groups"], self.files["folds"]):
            yield from guarded("folds", self._check_folds)
        if self._opened(file := self.files["test_targets"]) and file:
            yield from guarded("test targets", self._check_test_targets)
        if self._opened(file := self.files["sample"]) and file:
            yield from guarded("sample submission", self._check_sample)
        for name, files in self.external.items():
            if self._opened(*files.values()):
                yield from guarded(f"external {name}", partial(self._check_external, name, files))

    def _opened(self, *paths: str | None) -> bool:
        """Whether these files could be opened; one that is not named needs not be."""
        return all(path is None or path in self.tables for path in paths)

    def _open(self, path: str, memory: int | None) -> UserTable:
        size = bytes_of(path) if Path(path).exists() else 0
        grows = PACKED_TEXT_GROWS if path.lower().endswith(PACKED) else TEXT_GROWS
        if is_csv(path) and memory is not None and grows * size > memory:
            raise BlendmakeError(
                f"{path} is text of {size_text(size)}, which is read whole and takes about "
                f"{size_text(grows * size)}; there are {size_text(memory)} of memory. Turn it into "
                "parquet, which is read in parts."
            )
        if path not in self.tables:
            self.tables[path] = UserTable(path, self.id_columns, self.csv_format)
        return self.tables[path]

    def _check_file(self, check: str, path: str, memory: int | None) -> Iterator[Finding]:
        seen = path in self.tables  # under another name: what is to be told of it has been told
        table = self._open(path, memory)
        shape = f"{table.rows:,} rows × {len(table.schema.names):,} columns"
        yield Finding(PASS, check, f"{path}: {shape}, {size_text(bytes_of(path))}")
        for note in () if seen else table.notes:
            yield Finding(WARN, check, note)

    def _check_external_file(self, key: str, path: str, memory: int | None) -> Iterator[Finding]:
        """Open a file of predictions; whether it holds what it must is told later."""
        if not Path(path).exists():
            where = f", or in {', '.join(self.manifests)}" if self.manifests else ""
            raise BlendmakeError(
                f"{path} does not exist. Correct the path: external.{key} in the config{where}."
            )
        self._open(path, memory)
        yield from ()

    def _check_ids(self) -> Iterator[Finding]:
        parts = {"train": [self.tables[path] for path in self.train.values()]}
        parts["test"] = [self.tables[path] for path in self.test.values()]
        found: dict[str, pa.Table] = {}
        taken = self.slices["tables"].get("taken", ())
        position = position_column([*parts["train"], *parts["test"]], taken)
        for part, tables in parts.items():
            if tables:
                first = sum(ids.num_rows for ids in found.values())
                found[part] = read_ids(tables[0], self.id_columns, first, position, self.missing)
        if "test" in found and self.id_columns:
            table = parts["test"][0]
            if mixed := mixed_text(found["train"], found["test"], table):
                yield Finding(WARN, "ids", mixed)
            found["train"], found["test"] = in_one_type(found["train"], found["test"], table)
            if self.slices["tables"].get("distinct", ACROSS) == ACROSS:
                check_apart(found["train"], found["test"], table)
        for part, ids in found.items():
            for table in parts[part][1:]:
                order_by(ids, table, self.id_columns)
        self.train_ids, self.test_ids = found["train"], found.get("test")
        if not self.id_columns:
            test_rows = found["test"].num_rows if "test" in found else None
            yield Finding(PASS, "ids", positions_text(found["train"].num_rows, test_rows, position))
            return
        how = f"by {'+'.join(self.id_columns)}"
        counts = " and ".join(f"{ids.num_rows:,} in {part}" for part, ids in found.items())
        yield Finding(PASS, "ids", f"{how}: {counts}, each once")

    def _check_targets(self) -> Iterator[Finding]:
        settings = self.slices["targets"]
        says: list[str] = []
        warns: list[str] = []
        self.targets = read_targets(
            self.files["targets"],
            settings["columns"],
            self.train_ids,
            self.id_columns,
            task=settings.get("task"),
            csv_format=self.csv_format,
            positive=settings.get("positive"),
            missing=self.missing,
            say=says.append,
            warn=warns.append,
        )
        yield from (Finding(PASS, "targets", text) for text in says)
        yield from (Finding(WARN, "targets", text) for text in warns)
        yield Finding(PASS, "targets", targets_text(self.known, self.labels()[1]))

    @property
    def known(self) -> tuple[Target, ...]:
        """The targets that were read."""
        assert self.targets is not None
        return targets_of(self.targets, self.labels()[0])

    def labels(self) -> tuple[list[str], Labels]:
        """Names and labels (rows, targets) of the targets that were read."""
        assert self.targets is not None and self.train_ids is not None
        return labels_of(self.targets, self.train_ids.column_names)

    def _check_folds(self) -> Iterator[Finding]:
        _, labels = self.labels()
        folds, groups = self.slices["folds"], self._groups()
        told: list[str] = []
        if folds["scheme"] == "column":
            column = read_column(
                self.files["folds"],
                folds["column"],
                self.train_ids,
                self.id_columns,
                "The fold",
                self.csv_format,
                self.missing,
            )
            given = column.to_numpy()
            self.fold = make_folds(
                labels,
                self.known,
                n=folds["n"],
                scheme=SCHEMES["column"],
                seed=folds["seed"],
                groups=groups,
                given=given,
                warn=told.append,
            )
        else:
            kept = groups if folds["scheme"] == "group" else None
            told += check_enough(self.known, labels, folds["n"], kept)
        yield from (Finding(WARN, "folds", text) for text in told)
        in_groups = "" if groups is None else f", {len(np.unique(groups)):,} groups kept whole"
        yield Finding(PASS, "folds", f"{folds['n']}, {folds['scheme']}{in_groups}")

    def _groups(self) -> NDArray[np.int64] | None:
        """Group of each train row as a code, where rows come in groups that folds keep whole."""
        file, column = self.files["groups"], self.slices["groups"]["column"]
        if file is None:
            return None
        names = read_column(
            file,
            column,
            self.train_ids,
            self.id_columns,
            "The group",
            self.csv_format,
            self.missing,
        )
        return np.asarray(group_codes(names).to_numpy(), np.int64)

    def _check_test_targets(self) -> Iterator[Finding]:
        settings = self.slices["targets"]
        says: list[str] = []
        found = read_targets(
            self.files["test_targets"],
            settings["columns"],
            self.test_ids,
            self.id_columns,
            known=self.known,
            one_class_allowed=True,
            csv_format=self.csv_format,
            positive=settings.get("positive"),
            missing=self.missing,
            say=says.append,
        )
        yield from (Finding(PASS, "test targets", text) for text in says)
        yield Finding(PASS, "test targets", f"{found.num_rows:,} rows")

    def _check_sample(self) -> Iterator[Finding]:
        assert self.test_ids is not None
        read_sample(
            self.files["sample"],
            self.test_ids,
            self.folder / "sample.parquet",
            id_columns=self.id_columns,
            targets=self.known,
            rename=self.slices["submission"]["rename"],
            note={},
            csv_format=self.csv_format,
        )
        yield Finding(
            PASS, "sample submission", "its ids are those of test, its columns the targets"
        )

    def _check_external(self, name: str, files: Mapping[str, str]) -> Iterator[Finding]:
        """Read predictions that somebody else made as the workflow will, into a folder that goes."""
        assert self.train_ids is not None
        made = {
            part: self.folder / f"external_{part}.parquet"
            for part in ("targets", "folds", "oof", "test")
        }
        test_table = self.folder / "external_test.arrow"
        assert self.targets is not None
        write_targets(self.targets, made["targets"], {"id_columns": self.train_ids.column_names})
        folds = None
        if self.fold is not None:
            folds = made["folds"]
            write_folds(folds, self.train_ids, self.fold, {})
        test_ids = self.train_ids.slice(0, 0) if self.test_ids is None else self.test_ids
        with writing_table(test_table, test_ids.schema) as writer:
            for start in range(0, test_ids.num_rows, BATCH_ROWS):
                part = test_ids.slice(start, BATCH_ROWS)
                writer.write([column.combine_chunks() for column in part.columns])
        out = {part: made[part] for part in ("oof", "test")}
        read_external(
            files,
            made["targets"],
            test_table,
            folds,
            out,
            id_columns=self.id_columns,
            rename=self.slices["submission"]["rename"],
            note={},
            csv_format=self.csv_format,
        )
        for path in (*made.values(), test_table):
            path.unlink(missing_ok=True)
        yield Finding(PASS, f"external {name}", f"{files['oof']}, {files['test']}")
