"""Makers and readers shared by unit tests."""

from __future__ import annotations

import gzip
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv

from blendmake.files import read_parquet
from blendmake.matrix import TableFile
from blendmake.tables.tables import read_tables
from blendmake.window import DEADLINE


def _write_csv(table: pa.Table, path: Path, delimiter: str = ",") -> None:
    csv.write_csv(table, path, csv.WriteOptions(delimiter=delimiter))


def _write_gzip(table: pa.Table, path: Path) -> None:
    _write_csv(table, path.with_suffix(""))
    path.write_bytes(gzip.compress(path.with_suffix("").read_bytes()))


def _write_arrow(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def _write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "parquet": pq.write_table,
    "csv": _write_csv,
    "tsv": lambda table, path: _write_csv(table, path, "\t"),
    "csv.gz": _write_gzip,
    "arrow": _write_arrow,
    "feather": _write_stream,
}


def write_user_file(path: Path, columns: Mapping[str, Any] | pa.Table) -> str:
    """Write a user's file in the format that its suffix names; returns its path as text."""
    table = columns if isinstance(columns, pa.Table) else pa.table(dict(columns))
    WRITERS[path.name.split(".", 1)[1]](table, path)
    return str(path)


def enter_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the present one; what a plan leaves in the environment is taken back."""
    monkeypatch.chdir(folder)
    for name in (DEADLINE, "BLENDMAKE_WINDOW", "BLENDMAKE_PLANNED"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return folder


def heed_interrupts() -> None:
    """Have SIGINT interrupt what is started from here: in the background a shell has it ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


class ReadTables:
    """The artifacts of `read_tables`, read back."""

    def __init__(self, folder: Path) -> None:
        self.paths = {part: folder / f"{part}.arrow" for part in ("train", "test")}
        self.columns_path = folder / "columns.parquet"
        self.train, self.test = (TableFile(path) for path in self.paths.values())
        self.columns = {c["name"]: c for c in read_parquet(self.columns_path).to_pylist()}

    def kinds(self) -> dict[str, str]:
        return {name: column["kind"] for name, column in self.columns.items()}

    def decoded(self, name: str, part: str = "train") -> list[Any]:
        """A column with None for missing and categories spelled out."""
        values = (self.train if part == "train" else self.test).values(name).tolist()
        levels = self.columns[name]["levels"]
        return [None if v != v else levels[int(v)] if levels else v for v in values]


def read_user_tables(
    folder: Path,
    train: Mapping[str, str],
    test: Mapping[str, str] | None = None,
    ids: Sequence[str] = ("id",),
    **options: Any,
) -> ReadTables:
    """Run `read_tables` into `folder/tables` and read the result back."""
    out = folder / "tables"
    read_tables(
        train,
        test,
        list(ids),
        out_train=out / "train.arrow",
        out_test=out / "test.arrow",
        out_columns=out / "columns.parquet",
        **options,
    )
    return ReadTables(out)


def files_below(folder: Path) -> list[str]:
    """Every file below `folder`, hidden ones too."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def flip_byte(path: Path, position: int) -> None:
    """Damage one byte of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)
