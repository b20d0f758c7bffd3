"""How the table keeps a column of numbers, so that nothing that tells its values apart is lost.

float32 holds whole numbers to 2 ** 24; account numbers and seconds since 1970 are larger, and in
float32 many of them would be one number. How a column is kept is decided over the train rows:

- whole numbers to 2 ** 53, and times: float64 if float32 would change any of them;
- other numbers: float64 if float32 would leave fewer than half of the distinct values of a sample
  (prices such as 100.0000001); ordinary measurements stay float32;
- whole numbers beyond 2 ** 53, decimals of more digits than a float64 has, times finer than a
  float64 tells: by their order, as the place among the distinct values of train, a value between
  two of them half way between their places.

Dates are days since 1970, times of day, durations and instants seconds (since midnight, since 1970 in
UTC); a date in one table and an instant in the other are both seconds.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.matrix import order_codes
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import UserTable

log = logging.getLogger(__name__)

SINGLE, DOUBLE = 2**24, 2**53  # whole numbers to here are exact
SAMPLE = 20_000  # rows by which a column that holds fractions is judged
DAY = 86_400
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True)
class NumberFormat:
    """How a column of numbers is kept.

    `wide`: as float64, otherwise as float32. `unit` is what times are counted in: days or seconds.
    `order` are the distinct values of train, ascending, where places among them are kept instead of
    the values.
    """

    wide: bool = False
    unit: str | None = None
    order: pa.Array | None = None

    @property
    def name(self) -> str:
        """What tables/columns.parquet says of it."""
        return "order" if self.order is not None else "float64" if self.wide else "float32"

    @property
    def dtype(self) -> pa.DataType:
        return pa.float64() if self.wide else pa.float32()


PLAIN = NumberFormat()


def time_unit(dtype: pa.DataType) -> str | None:
    """days of a date, seconds of other times, None of what is no time."""
    if pa.types.is_date(dtype):
        return "days"
    return "seconds" if _is_instant(dtype) or _is_span(dtype) else None


def _is_instant(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(dtype))


def _is_span(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_time(dtype) or pa.types.is_duration(dtype))


def number_formats(
    names: Mapping[str, Sequence[str]],
    train: Mapping[str, UserTable],
    test: Mapping[str, UserTable],
) -> dict[str, NumberFormat]:
    """How each column of numbers is kept.

    Args:
        names: columns of numbers by file.
        train, test: the files; test may be empty.

    Raises:
        BlendmakeError: a column holds times in one table and other numbers in the other, or times
            of a zone in the one alone.
    """
    found = {}
    for label, columns in names.items():
        units = {name: _unit(name, train[label], test.get(label)) for name in columns}
        scans = _scanned(train[label], units)
        orders = _orders([name for name, scan in scans.items() if scan.beyond], train[label])
        for name in columns:
            order = orders.get(name)
            wide = name in scans and scans[name].is_wide(order)
            found[name] = NumberFormat(wide, units[name], order)
    _tell(found)
    return found


def _scanned(table: UserTable, units: Mapping[str, str | None]) -> dict[str, _Scan]:
    """What the columns ask for that may ask for more than float32."""

    def scanned(names: Sequence[str], most: int | None) -> dict[str, _Scan]:
        scans = {
            name: _Scan(table.schema.field(name).type, units[name], table.rows) for name in names
        }
        for batch in islice(table.batches(names), most) if names else ():
            for name, scan in scans.items():
                scan.add(batch[name])
        return scans

    names = [name for name in units if _may_lose(table.schema.field(name).type, units[name])]
    # Most columns are measurements; of them the first batch is read twice, and the rest but once.
    first = scanned(names, 1)
    return scanned([name for name in names if not first[name].is_ordinary], None)


def _orders(names: Sequence[str], table: UserTable) -> dict[str, pa.Array]:
    """The distinct values of some columns, ascending."""
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    for batch in table.batches(names) if names else ():
        for name, distinct in parts.items():
            distinct.append(pc.unique(batch[name]).drop_null())
    return {name: pc.unique(pa.chunked_array(found)).sort() for name, found in parts.items()}


def _unit(name: str, train: UserTable, test: UserTable | None) -> str | None:
    """In what a column's times are counted, of both tables."""
    mine = train.schema.field(name).type
    theirs = mine if test is None else test.schema.field(name).type
    units = [None if pa.types.is_null(t) else (time_unit(t), _is_span(t)) for t in (mine, theirs)]
    stated = [unit for unit in units if unit is not None]
    kinds = {(unit is not None, span) for unit, span in stated}
    zoned = {t.tz is not None for t in (mine, theirs) if _is_instant(t)}
    if test is not None and (len(kinds) > 1 or len(zoned) > 1):
        raise BlendmakeError(
            f"{test.path}: column '{name}' is {theirs}, but {mine} in {train.path}. Give both one type, "
            "or list it under data.ignore."
        )
    found = [unit for unit, _ in stated]
    return "seconds" if "seconds" in found else "days" if "days" in found else None


def _may_lose(dtype: pa.DataType, unit: str | None) -> bool:
    """Whether float32 may not hold all values of a type."""
    if pa.types.is_integer(dtype):
        return bool(dtype.bit_width > 16)
    return bool(pa.types.is_float64(dtype) or pa.types.is_decimal(dtype) or unit is not None)


class _Scan:
    """What a column's train values ask for, batch by batch.

    Args:
        rows: how many there will be.
    """

    def __init__(self, dtype: pa.DataType, unit: str | None, rows: int) -> None:
        self.dtype, self.unit = dtype, unit
        self.step = max(1, rows // SAMPLE)
        self.whole = True  # no fractions, so far
        self.inexact = False  # in float32
        self.beyond = False  # float64
        self.sample: list[NDArray[np.float64]] = []

    def add(self, column: pa.ChunkedArray) -> None:
        if _digits_may_be_lost(self.dtype, self.unit):
            self.beyond = self.beyond or _is_beyond_double(column)
        values = as_doubles(column, self.unit)
        values = values[~np.isnan(values)]
        self.inexact = self.inexact or bool((_narrow(values) != values).any())
        if self.unit is None and not pa.types.is_integer(self.dtype):
            whole = (values == np.floor(values)) & (np.abs(values) <= DOUBLE)
            self.whole = self.whole and bool(whole.all())
            self.sample.append(values[:: self.step])

    @property
    def is_ordinary(self) -> bool:
        """Whether it holds measurements, which float32 keeps apart as far as matters."""
        return not (self.beyond or self.whole or self._most_are_lost())

    def is_wide(self, order: pa.Array | None) -> bool:
        """Whether it must be float64; with an `order`, its places."""
        if order is not None:
            # Places, and half ways between them, are exact in float32 to half of its whole numbers.
            return len(order) > SINGLE // 2
        return self.inexact and (self.whole or self._most_are_lost())

    def _most_are_lost(self) -> bool:
        values = np.concatenate(self.sample)
        return 2 * len(np.unique(_narrow(values))) < len(np.unique(values))


def _narrow(values: NDArray[np.floating]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _digits_may_be_lost(dtype: pa.DataType, unit: str | None) -> bool:
    """Whether float64 may not hold all values of a type."""
    if pa.types.is_decimal(dtype):
        return bool(dtype.precision > 15)
    if pa.types.is_integer(dtype):
        return bool(dtype.bit_width > 32)
    return unit == "seconds" and getattr(dtype, "unit", None) in ("us", "ns")


def _is_beyond_double(column: pa.ChunkedArray) -> bool:
    """Whether float64 may make two different values equal."""
    dtype = column.type
    if column.null_count == len(column):
        return False
    if pa.types.is_decimal(dtype) or pa.types.is_integer(dtype):
        scale = 10.0 ** max(getattr(dtype, "scale", 0), 0)
        ends = pc.min_max(column)
        return any(abs(float(ends[key].as_py())) * scale > DOUBLE for key in ("min", "max"))
    ticks = _ticks(column)
    if dtype.unit == "ns" and not (ticks % 1000).any():
        ticks = ticks // 1000
    # So far two seconds that are a tick apart differ in float64.
    return bool((np.abs(ticks) > DOUBLE // 2).any())


def _ticks(values: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Times as whole numbers of their own unit; nulls as 0."""
    dtype = values.type
    narrow = pa.types.is_date32(dtype) or pa.types.is_time32(dtype)
    whole = values.cast(pa.int32()) if narrow else values
    return np.asarray(pc.fill_null(whole.cast(pa.int64()), 0).to_numpy(), np.int64)


def as_doubles(column: pa.ChunkedArray, unit: str | None) -> NDArray[np.float64]:
    """A column's values as float64 (rows,), NaN for nulls; times in `unit`."""
    dtype = column.type
    if time_unit(dtype) is not None:
        whole = _ticks(column)
        ticks = whole.astype(np.float64)
        if pa.types.is_date32(dtype):
            values = ticks * (DAY if unit == "seconds" else 1)
        elif pa.types.is_date64(dtype):
            values = ticks / (1000 if unit == "seconds" else 1000 * DAY)
        elif dtype.unit == "ns":  # of today more than a float64 holds, and alike in every unit
            values = (whole // 1000) / PER_SECOND["us"] + (whole % 1000) / PER_SECOND["ns"]
        else:
            values = ticks / PER_SECOND[dtype.unit]
        values[np.asarray(pc.is_null(column))] = np.nan
        return values
    if pa.types.is_boolean(dtype):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(dtype) or pa.types.is_null(dtype):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy()).astype(np.float64)


def as_numbers(column: pa.ChunkedArray, kept: NumberFormat, name: str, path: Path) -> pa.Array:
    """A column as the table keeps it, without nulls.

    Raises:
        BlendmakeError: infinity, or a number beyond float32.
    """
    if kept == PLAIN and pa.types.is_floating(column.type):
        values = np.asarray(column.to_numpy())  # the commonest, without a copy
    elif kept.order is None:
        values = as_doubles(column, kept.unit)
    else:
        values = _places(column, kept.order)
    floats = _narrow(values)
    if np.isinf(floats).any():
        row = int(np.flatnonzero(np.isinf(floats))[0])
        raise BlendmakeError(
            f"{path}: column '{name}' holds infinity or a number beyond float32 "
            f"({values[row]}). Replace such values by a missing value or a bound."
        )
    return pa.array(values if kept.wide else floats)


def _places(column: pa.ChunkedArray, order: pa.Array) -> NDArray[np.float64]:
    """Places of values among those in `order`, half ways between; NaN for nulls."""
    missing = np.asarray(pc.is_null(column, nan_is_null=True))
    if pa.types.is_decimal(order.type) or pa.types.is_floating(column.type):
        return _exact_places(column, order)
    try:
        same = column.cast(order.type)
    except pa.ArrowInvalid:  # beyond what the type of `order` holds, or finer
        return _exact_places(column, order)
    known: NDArray[Any]
    values: NDArray[Any]
    if time_unit(order.type) is None:
        known = order.to_numpy()
        values = np.asarray(pc.fill_null(same, 0).to_numpy(), known.dtype)
    else:
        known, values = _ticks(order), _ticks(same)
    return np.where(missing, np.nan, order_codes(values, known))


def _exact_places(column: pa.ChunkedArray, order: pa.Array) -> NDArray[np.float64]:
    """`_places` of values of any type: Python compares whole numbers, decimals and floats exactly."""
    distinct = pc.unique(column)
    found = np.full(len(distinct), np.nan)
    if column.type == order.type:
        at = pc.index_in(distinct, value_set=order)
        there = np.asarray(at.is_valid())
        found[there] = np.asarray(at.drop_null())
    unseen = np.flatnonzero(np.isnan(found))
    values = _comparable(distinct.take(pa.array(unseen)))
    known = _comparable(order) if any(value is not None for value in values) else []
    for i, value in zip(unseen, values, strict=True):
        if value is not None and value == value:
            place = bisect_left(known, value)
            found[i] = place if place < len(known) and known[place] == value else place - 0.5
    return np.asarray(found[np.asarray(pc.index_in(column, value_set=distinct))])


def _comparable(values: pa.Array) -> list[Any]:
    """Values as numbers of Python, times in nanoseconds; None for nulls."""
    if time_unit(values.type) is None:
        return list(values.to_pylist())
    per_tick = DAY * 10**9  # of a date
    if pa.types.is_date64(values.type):
        per_tick = 10**6
    elif not pa.types.is_date(values.type):
        per_tick = 10**9 // PER_SECOND[values.type.unit]
    ticks = _ticks(values).tolist()
    known = values.is_valid().to_pylist()
    return [t * per_tick if is_known else None for t, is_known in zip(ticks, known, strict=True)]


def _tell(formats: Mapping[str, NumberFormat]) -> None:
    """Say in the log which columns are kept in a way of their own."""
    wide = [n for n, kept in formats.items() if kept.wide and kept.order is None]
    ordered = [n for n, kept in formats.items() if kept.order is not None]
    if wide:
        log.info("kept as float64, as float32 would make values equal: %s", some_of(wide))
    if ordered:
        log.info(
            "kept by the order of their values, which have more digits than float64 holds: %s. Names "
            "rather than amounts are better listed under data.categories.columns",
            some_of(ordered),
        )
    for unit, since in (("days", "days since 1970"), ("seconds", "seconds (instants since 1970)")):
        found = [n for n, kept in formats.items() if kept.unit == unit]
        if found:
            log.info("times read as %s: %s", since, some_of(found))
