"""A feature set as jobs read it; apart from how it is made, so that the one can change alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blendmake.files import note_of, read_note, read_parquet
from blendmake.matrix import Column, TableFile


class FeatureSetFiles:
    """A feature set as jobs read it: its columns, and the files they stand in.

    Args:
        columns_path: features/<set>/columns.parquet.
        table, made: the table file and the file of made columns, both of `train` or both of `test`.
        fold_made: the file of columns made with labels for one fold, where the set has such.
    """

    def __init__(
        self, columns_path: Path, table: Path, made: Path, fold_made: Path | None = None
    ) -> None:
        listed = read_parquet(columns_path)
        self.digest: str = note_of(listed)["content"]
        self.columns = [
            Column(row["name"], row["origin"], row["levels"]) for row in listed.to_pylist()
        ]
        self.level_names: dict[str, list[str]] = {
            row["name"]: row["level_names"] for row in listed.to_pylist() if row["levels"]
        }
        self._targets = {row["name"]: row.get("targets") for row in listed.to_pylist()}
        self.files = {"table": TableFile(table), "set": TableFile(made)}
        if fold_made is not None:
            self.files["fold"] = TableFile(fold_made)
        self.rows = self.files["table"].rows

    def columns_of(self, target: str) -> list[Column]:
        """The columns that a model of `target` reads, in order: those for it and those for all."""
        return [
            column
            for column in self.columns
            if (targets := self._targets[column.name]) is None or target in targets
        ]


def features_digest(columns_path: Path) -> Any:
    """What identifies the content of a feature set: digests of its list and of its files."""
    note = read_note(columns_path)
    return [note["content"], note["digests"]]
