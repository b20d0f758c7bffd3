"""The training-time cache: Arrow files of float32 columns, memory-mapped and read in blocks.

File format: Arrow IPC, uncompressed, record batches of `BATCH_ROWS` rows. First the id columns, in
their own types, then every feature column once as float32 without nulls: a missing number is NaN, a
category is its code (0, 1, … in the order of its levels), a missing category NaN. A number that
float32 would not tell from its neighbours is float64 (a wide column, see tables/numbers.py). Each batch
carries the CRC-32 of each of its columns as custom metadata; they are verified as columns are read.
The last batch is empty and says how many came before it, the digest of their content, and what the
file is made of.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake import files
from blendmake.errors import BlendmakeError
from blendmake.files import damaged, digest_of, replacing

BATCH_ROWS = 65_536
BLOCK_BYTES = 64 << 20
TILE = 32  # columns

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Positions = NDArray[np.intp]


class TableWriter:
    """Writes batches of a table file; `digest` afterwards is the digest of all its content."""

    def __init__(self, sink: pa.NativeFile, schema: pa.Schema) -> None:
        self.schema = schema
        self._writer = pa.ipc.new_file(sink, schema)
        self._checks: list[list[int]] = []

    def write(self, columns: Sequence[pa.Array]) -> None:
        """Append one batch."""
        batch = pa.record_batch(list(columns), schema=self.schema)
        # As it will be read: a slice shares buffers that are longer than what is written of them.
        batch = pa.ipc.read_record_batch(batch.serialize(), self.schema)
        checks = [_checksum(batch, i, len(self._checks)) for i in range(batch.num_columns)]
        self._checks.append(checks)
        self._writer.write_batch(batch, custom_metadata={"crc32": json.dumps(checks)})

    def close(self) -> None:
        empty = pa.record_batch([pa.array([], f.type) for f in self.schema], schema=self.schema)
        note = {"batches": str(len(self._checks)), "content": self.digest}
        if files.made:
            note[files.MADE_KEY] = json.dumps(files.made, sort_keys=True)
        self._writer.write_batch(empty, custom_metadata=note)
        self._writer.close()

    @property
    def digest(self) -> str:
        return digest_of([[field.name for field in self.schema], self._checks])


@contextmanager
def writing_table(path: Path, schema: pa.Schema) -> Iterator[TableWriter]:
    """Write a table file batch by batch, whole or not at all."""
    with replacing(path) as temporary, pa.OSFile(str(temporary), "wb") as sink:
        writer = TableWriter(sink, schema)
        yield writer
        writer.close()


def _checksum(batch: pa.RecordBatch, index: int, position: int) -> int:
    """CRC-32 of a column of the batch at `position`, of what it is and what it holds."""
    field, column = batch.schema.field(index), batch.column(index)
    about = f"{position} {field} {len(column)} {column.null_count}"
    value = zlib.crc32(about.encode())
    for buffer in column.buffers():
        if buffer is not None:
            value = zlib.crc32(buffer, value)
    return value


def table_note(path: Path) -> dict[str, Any]:
    """What a table file says of itself: `content`, the digest of all of it, and `made`.

    Raises:
        BlendmakeError: the file is missing or damaged.
    """
    try:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            _, last = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
            said = {key.decode(): value.decode() for key, value in dict(last).items()}
            made = said.get(files.MADE_KEY)
            note = {"content": said["content"]}
            return {**note, files.MADE_KEY: json.loads(made)} if made else note
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise damaged(Path(path), str(error)) from error


class TableFile:
    """A memory-mapped table file, read column by column.

    Raises:
        BlendmakeError: on opening or reading, if the file is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise BlendmakeError(f"{path} does not exist. Build it: snakemake {path}")
        try:
            self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
            *pairs, (_, last) = [
                self._reader.get_batch_with_custom_metadata(i)
                for i in range(self._reader.num_record_batches)
            ]
            if int(last["batches"]) != len(pairs):
                raise ValueError(f"{len(pairs)} of {int(last['batches'])} batches are there")
            self._checks = [json.loads(meta["crc32"]) for _, meta in pairs]
            self.names: list[str] = self._reader.schema.names
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(self.path, str(error)) from error
        self._batches: list[pa.RecordBatch] = [batch for batch, _ in pairs]
        self._verified: set[tuple[int, int]] = set()
        self._index = {name: i for i, name in enumerate(self.names)}
        sizes = [batch.num_rows for batch in self._batches]
        self.offsets: NDArray[np.int64] = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        self.rows = int(self.offsets[-1])

    def digest_of(self, names: Sequence[str]) -> str:
        """Digest of the content of some columns, whatever others there are (hex)."""
        places = [self._position(name) for name in names]
        return digest_of([list(names), [[checks[i] for i in places] for checks in self._checks]])

    def column(self, name: str, batch: int) -> pa.Array:
        """One column of one batch, without a copy; verified on its first reading."""
        index = self._position(name)
        column = self._batches[batch].column(index)
        if (batch, index) not in self._verified:
            if not self._is_whole(batch, index):
                raise damaged(self.path, f"column '{name}' does not match its checksum")
            self._verified.add((batch, index))
        return column

    def _position(self, name: str) -> int:
        if name not in self._index:
            raise damaged(self.path, f"it has no column '{name}'")
        return self._index[name]

    def _is_whole(self, batch: int, index: int) -> bool:
        try:
            # First the lengths of its buffers: a damaged one must not be read beyond its end.
            self._batches[batch].column(index).validate()
            found = _checksum(self._batches[batch], index, batch)
            return bool(found == self._checks[batch][index])
        except (pa.ArrowException, LookupError, TypeError, ValueError):
            return False

    def is_wide(self, name: str) -> bool:
        """Whether a feature column is float64."""
        return bool(self._reader.schema.field(self._position(name)).type == pa.float64())

    def values(self, name: str) -> Any:
        """A feature column as float32, or float64 if it is wide, (rows,); a copy."""
        parts = [self.column(name, i).to_numpy() for i in range(len(self._batches))]
        dtype = np.float64 if self.is_wide(name) else np.float32
        return np.concatenate(parts) if parts else np.empty(0, dtype)

    def table(self, names: Sequence[str]) -> pa.Table:
        """Some columns (ids, say) as an Arrow table."""
        schema = pa.schema([self._reader.schema.field(self._position(name)) for name in names])
        batches = [
            pa.record_batch([self.column(name, i) for name in names], schema=schema)
            for i in range(len(self._batches))
        ]
        return pa.Table.from_batches(batches, schema=schema)


def joined(parts: Sequence[NDArray[np.floating]]) -> Floats:
    """What was made of the blocks of some rows, in one array; (0,) where there are no rows."""
    return np.concatenate(parts).astype(np.float32) if parts else np.empty(0, np.float32)


@dataclass(frozen=True)
class Column:
    """A column of a feature set: where its values are and what they mean.

    `levels` is the number of category codes, 0 for a number. `origin` is `table` (the problem's
    table file), `set` (made by the feature set) or `fold` (made by it for one fold, with labels).
    """

    name: str
    origin: str
    levels: int

    @property
    def is_category(self) -> bool:
        return self.levels > 0


@dataclass
class Rows:
    """Some rows of a feature set, read from its files in blocks.

    `positions` are ascending row positions. `known` says by a column's index what training rows hold
    (`known_values`). Of a category: which codes (bool, (levels,)) may be told apart; any other reads as
    missing, so that a category unseen in training is treated alike by every family. Of a wide column,
    which must be there: its distinct values (float64, ascending).

    Models read float32, in which a wide column's values would meet. So it is read as the place of its
    value among those of the training rows, 0, 1, …, a value between two of them half way between
    their places: order and ties are exact up to 2 ** 24 distinct values. With `measured` it is read as
    its distance from the median of these values instead (from zero, where they lie around it), for
    models that reckon with numbers: exact as far as a float32 goes from there.
    """

    files: dict[str, TableFile]
    columns: Sequence[Column]
    positions: Positions
    known: dict[int, NDArray[Any]] = field(default_factory=dict)
    measured: bool = False

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.positions), len(self.columns)

    def at(self, places: Positions) -> Rows:
        """Those of the rows that are at `places` among them, which ascend."""
        return replace(self, positions=self.positions[places])

    def measuring(self) -> Rows:
        """The same rows with wide columns as distances."""
        return replace(self, measured=True)

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Floats]:
        """The rows in order, as float32 blocks (b, columns), C order."""
        step = max(1, block_bytes // (4 * max(1, len(self.columns))))
        for start in range(0, len(self.positions), step):
            part = self.positions[start : start + step]
            block = np.empty((len(part), len(self.columns)), np.float32)
            self._fill(part, block)
            yield block

    def dense(self) -> Floats:
        """All rows at once, float32 (rows, columns), Fortran order."""
        values = np.empty(self.shape, np.float32, order="F")
        self._fill(self.positions, values)
        return values

    def codes(self, index: int) -> Floats:
        """Column `index`, float32 (rows,)."""
        values = np.empty((len(self.positions), 1), np.float32)
        self._fill(self.positions, values, [index])
        return values[:, 0]

    def is_wide(self, index: int) -> bool:
        """Whether float32 would not tell all values of column `index` apart."""
        column = self.columns[index]
        return self.files[column.origin].is_wide(column.name)

    def values(self, index: int) -> Any:
        """Column `index` as it is in its file, float32, or float64 if it is wide, (rows,)."""
        if not self.is_wide(index):
            return self.codes(index)
        column = self.columns[index]
        file = self.files[column.origin]
        values = np.empty(len(self.positions), np.float64)
        for batch, rows, places in _places(file, self.positions):
            file.column(column.name, batch).to_numpy().take(places, out=values[rows], mode="clip")
        return values

    def _fill(
        self, positions: Positions, out: Floats, indices: Sequence[int] | None = None
    ) -> None:
        """Write columns of the rows at `positions` into `out` (rows, columns).

        Values come column by column. Where `out` lies row by row, some columns are brought together
        first: written one at a time they would touch every row's memory for each.
        """
        indices = range(len(self.columns)) if indices is None else indices
        where = {name: _places(file, positions) for name, file in self.files.items()}
        if out.flags.f_contiguous:
            for values, index in zip(out.T, indices, strict=True):
                self._read(index, where, values)
            return
        tile = np.empty((TILE, len(positions)), np.float32)
        for start in range(0, len(indices), TILE):
            some = indices[start : start + TILE]
            for values, index in zip(tile, some, strict=False):
                self._read(index, where, values)
            out[:, start : start + len(some)] = tile[: len(some)].T

    def _read(self, index: int, where: Mapping[str, Sequence[_Place]], out: Floats) -> None:
        """Write column `index` into `out` (rows,), which is contiguous."""
        column = self.columns[index]
        file = self.files[column.origin]
        wide = file.is_wide(column.name)
        for batch, rows, places in where[column.origin]:
            values = file.column(column.name, batch).to_numpy()
            if wide:
                read = _distances if self.measured else order_codes
                out[rows] = read(values.take(places), self.known[index])
            else:
                values.take(places, out=out[rows], mode="clip")  # "raise" would copy
        if column.is_category and index in self.known:
            _forget_unknown(out, self.known[index])


_Place = tuple[int, slice, Positions]


def _places(file: TableFile, positions: Positions) -> list[_Place]:
    """By batch of a file: which of the ascending positions it holds, and where it has them."""
    edges = np.searchsorted(positions, file.offsets)
    return [
        (batch, slice(a, b), positions[a:b] - file.offsets[batch])
        for batch, (a, b) in enumerate(pairwise(edges))
        if a < b
    ]


def _forget_unknown(values: Floats, known: NDArray[np.bool_]) -> None:
    codes = np.where(np.isnan(values), 0, values).astype(np.intp)
    values[~known[codes]] = np.nan


def order_codes(values: NDArray[Any], known: NDArray[Any]) -> Doubles:
    """Places of values (n,) among ascending distinct ones (m,), half ways between; NaN stays."""
    turn = np.argsort(values)  # in turn they are found several times as fast
    places = np.empty(len(values), np.intp)
    places[turn] = np.searchsorted(known, values[turn])
    codes = np.asarray(places - 0.5, np.float64)
    inside = places < len(known)
    codes[inside] += 0.5 * (known[places[inside]] == values[inside])
    codes[np.isnan(values)] = np.nan
    return codes


def _distances(values: Doubles, known: Doubles) -> Doubles:
    # About zero nothing is gained, and zeros stay zeros.
    apart = len(known) > 0 and (known[0] > 0 or known[-1] < 0)
    middle = known[len(known) // 2] if apart else 0.0
    return np.asarray(values - middle, np.float64)


def known_values(rows: Rows) -> dict[int, NDArray[Any]]:
    """What of each category and each wide column occurs in `rows` (see Rows.known)."""
    found: dict[int, NDArray[Any]] = known_numbers(rows)
    for index, column in enumerate(rows.columns):
        if column.is_category:
            codes = rows.codes(index)
            seen = np.zeros(column.levels, bool)
            seen[codes[~np.isnan(codes)].astype(np.intp)] = True
            found[index] = seen
    return found


def known_numbers(rows: Rows) -> dict[int, Doubles]:
    """Of each wide column the distinct values in `rows`, ascending."""
    return {
        index: np.unique(values[~np.isnan(values)])
        for index in range(len(rows.columns))
        if rows.is_wide(index)
        for values in [rows.values(index)]
    }
