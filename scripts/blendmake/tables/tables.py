"""The user's tables: read, checked, joined by id and stored typed.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.files import write_parquet
from blendmake.matrix import BATCH_ROWS, writing_table
from blendmake.tables.columns import Wanted
from blendmake.tables.ids import (
    check_apart,
    in_one_type,
    mixed_text,
    order_by,
    position_column,
    positions_text,
    read_ids,
)
from blendmake.tables.kinds import Decided, Feature, decide
from blendmake.tables.missing import Missing
from blendmake.tables.naming import ACROSS, POSITION
from blendmake.tables.numbers import PLAIN, NumberFormat, as_numbers, number_formats
from blendmake.tables.user_files import UserTable

log = logging.getLogger(__name__)


def read_tables(
    train: Mapping[str, str],
    test: Mapping[str, str] | None,
    id_columns: Sequence[str],
    *,
    out_train: Path,
    out_test: Path,
    out_columns: Path,
    category_columns: Sequence[str] = (),
    category_patterns: Sequence[str] = (),
    ignore: Sequence[str] = (),
    not_features: Sequence[str] = (),
    csv_format: Mapping[str, Any] | None = None,
    missing: Missing = (),
    elsewhere: Sequence[str] = (),
    decided: Decided | None = None,
    distinct: str = ACROSS,
    taken: Collection[str] = (),
    note: Mapping[str, Any] | None = None,
) -> None:
    """Read feature files, check them, and write the typed tables.

    Args:
        train, test: feature files by name; joined by id to the order of the first one.
        id_columns: none, one or several.
        category_columns, category_patterns, ignore, not_features, missing, elsewhere: see
            columns.Wanted.
        decided: what was decided of the columns, of the same files or of more rows; left out: it is
            decided here, and warnings are logged.
        csv_format: `data.csv` of the config.
        distinct: ACROSS, no id is in train and in test; else ids of test may begin again.
        taken: names that the position's column must not have.
        out_train, out_test: table files (matrix.py); `out_test` has no rows if there is no test.
        out_columns: parquet: name, file, kind, levels (list of text, [] for numbers), kept (float32,
            float64 or order), unit (days or seconds; null for what is no time).
    """
    train_tables = {label: UserTable(path, id_columns, csv_format) for label, path in train.items()}
    # In the order of train, whatever the order in which test names them.
    test_tables = (
        {label: UserTable(test[label], id_columns, csv_format) for label in train} if test else {}
    )
    first = next(iter(train_tables.values()))
    position = position_column([*train_tables.values(), *test_tables.values()], taken)
    train_ids = read_ids(first, id_columns, position=position, missing=missing)
    test_ids = None
    if test_tables:
        first_test = next(iter(test_tables.values()))
        test_ids = read_ids(first_test, id_columns, train_ids.num_rows, position, missing)
        if id_columns:
            if mixed := mixed_text(train_ids, test_ids, first_test):
                log.warning("WARNING: %s", mixed)
            train_ids, test_ids = in_one_type(train_ids, test_ids, first_test)
            if distinct == ACROSS:
                check_apart(train_ids, test_ids, first_test)
    tables = {"train": train_tables, "test": test_tables}
    if decided is None:
        if not id_columns:
            test_rows = None if test_ids is None else test_ids.num_rows
            log.info("ids: %s", positions_text(first.rows, test_rows, position))
        wanted = Wanted(
            category_columns, category_patterns, ignore, not_features, missing, elsewhere
        )
        decided = decide(tables, id_columns, wanted)
        for warning in decided.warnings:
            log.warning("WARNING: %s", warning)
    else:
        decided.prepare(tables)
    features = decided.features
    numbers = {
        label: [f.name for f in features if f.file == label and f.kind == "number"]
        for label in train_tables
    }
    formats = number_formats(numbers, train_tables, test_tables)
    kept = {f.name: formats.get(f.name, PLAIN) for f in features}
    id_fields = [pa.field(f.name, f.type) for f in train_ids.schema]
    schema = pa.schema([*id_fields, *[pa.field(f.name, kept[f.name].dtype) for f in features]])
    digests = {
        "train": _write_table(
            out_train, "train", schema, features, kept, tables, train_ids, id_columns
        ),
        "test": _write_table(
            out_test, "test", schema, features, kept, tables, test_ids, id_columns
        ),
    }
    columns = pa.table(
        {
            "name": pa.array([f.name for f in features], pa.string()),
            "file": pa.array([f.file for f in features], pa.string()),
            "kind": pa.array([f.kind for f in features], pa.string()),
            "levels": pa.array([list(f.levels) for f in features], pa.list_(pa.string())),
            "kept": pa.array([kept[f.name].name for f in features], pa.string()),
            "unit": pa.array([kept[f.name].unit for f in features], pa.string()),
        }
    )
    details = {"digests": digests, "id_columns": [f.name for f in id_fields]}
    write_parquet(columns, out_columns, {**(note or {}), **details})


def _write_table(
    path: Path,
    part: str,
    schema: pa.Schema,
    features: Sequence[Feature],
    kept: Mapping[str, NumberFormat],
    by_part: Mapping[str, Mapping[str, UserTable]],
    ids: pa.Table | None,
    id_columns: Sequence[str],
) -> str:
    tables = by_part[part]
    with writing_table(path, schema) as writer:
        if ids is not None:
            by_file = {label: [f for f in features if f.file == label] for label in tables}
            streams = [
                _in_order(table, [f.name for f in by_file[label]], order_by(ids, table, id_columns))
                for label, table in tables.items()
            ]
            start = 0
            for batches in zip(*streams, strict=True):
                rows = batches[0].num_rows
                here = ids.slice(start, rows)
                values = [
                    as_numbers(batch[f.name], kept[f.name], f.name, table.path)
                    if f.kind == "number"
                    else _as_codes(batch[f.name], f, part)
                    for batch, (label, table) in zip(batches, tables.items(), strict=True)
                    for f in by_file[label]
                ]
                writer.write([*(column.combine_chunks() for column in here.columns), *values])
                start += rows
        return writer.digest


def _in_order(
    table: UserTable, names: Sequence[str], order: NDArray[np.int64] | None
) -> Iterator[pa.Table]:
    if order is None and names:
        yield from table.batches(names)
        return
    whole = table.read(names)
    for start in range(0, table.rows, BATCH_ROWS):
        if order is None:
            yield pa.table({POSITION: np.zeros(min(BATCH_ROWS, table.rows - start), np.int8)})
        else:
            yield whole.take(pa.array(order[start : start + BATCH_ROWS]))


def _as_codes(column: pa.ChunkedArray, feature: Feature, part: str) -> pa.Array:
    codes = feature.spellings[part].codes_of(column)
    return pa.array(codes.to_numpy(zero_copy_only=False).astype(np.float32))
