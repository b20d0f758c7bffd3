"""The user's tables: read, checked, joined by id and stored typed.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.matrix import BATCH_ROWS, writing_table
from blendmake.tables.ids import POSITION, id_keys, order_by, plain, read_ids, shown_ids
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import UserTable, kind_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Feature:
    """A feature column as the tables hold it; `kind` is number or category."""

    name: str
    file: str
    kind: str
    levels: tuple[str, ...] = ()


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
    note: Mapping[str, Any] | None = None,
) -> None:
    """Read feature files, check them, and write the typed tables.

    Args:
        train, test: feature files by name; joined by id to the order of the first one.
        id_columns: none, one or several.
        category_columns, category_patterns, ignore: columns by name and by shell pattern.
        not_features: columns of the train files that hold targets, groups or folds.
        csv_format: `data.csv` of the config.
        out_train, out_test: table files (matrix.py); `out_test` has no rows if there is no test.
        out_columns: parquet: name, file, kind, levels (list of text, [] for numbers).
    """
    train_tables = {label: UserTable(path, id_columns, csv_format) for label, path in train.items()}
    # In the order of train, whatever the order in which test names them.
    test_tables = (
        {label: UserTable(test[label], id_columns, csv_format) for label in train} if test else {}
    )
    first = next(iter(train_tables.values()))
    train_ids = read_ids(first, id_columns)
    test_ids = None
    if test_tables:
        test_ids = read_ids(next(iter(test_tables.values())), id_columns, train_ids.num_rows)
        _check_disjoint(train_ids, test_ids, test_tables)
    features = _features(
        train_tables,
        test_tables,
        id_columns,
        category_columns,
        category_patterns,
        ignore,
        not_features,
    )
    features = _with_levels(features, train_tables, test_tables)
    id_fields = [pa.field(f.name, f.type) for f in train_ids.schema]
    schema = pa.schema([*id_fields, *[pa.field(f.name, pa.float32()) for f in features]])
    digests = {
        "train": _write_table(out_train, schema, features, train_tables, train_ids, id_columns),
        "test": _write_table(out_test, schema, features, test_tables, test_ids, id_columns),
    }
    columns = pa.table(
        {
            "name": pa.array([f.name for f in features], pa.string()),
            "file": pa.array([f.file for f in features], pa.string()),
            "kind": pa.array([f.kind for f in features], pa.string()),
            "levels": pa.array([list(f.levels) for f in features], pa.list_(pa.string())),
        }
    )
    details = {"digests": digests, "id_columns": [f.name for f in id_fields]}
    write_parquet(columns, out_columns, {**(note or {}), **details})


def _check_disjoint(
    train_ids: pa.Table, test_ids: pa.Table, tables: Mapping[str, UserTable]
) -> None:
    path = next(iter(tables.values())).path
    if train_ids.schema.types != test_ids.schema.types:
        raise BlendmakeError(
            f"{path}: ids are of type {', '.join(map(str, test_ids.schema.types))}, in train "
            f"{', '.join(map(str, train_ids.schema.types))}. Give them one type."
        )
    train_keys, test_keys = id_keys(train_ids), id_keys(test_ids)
    both = test_keys.filter(pc.is_in(test_keys, value_set=train_keys))
    if len(both):
        raise BlendmakeError(
            f"{path}: ids {some_of(shown_ids(both))} ({len(both)} in all) are in train and in test. "
            "A row may be in one of them only."
        )


def _features(
    train: Mapping[str, UserTable],
    test: Mapping[str, UserTable],
    id_columns: Sequence[str],
    category_columns: Sequence[str],
    category_patterns: Sequence[str],
    ignore: Sequence[str],
    not_features: Sequence[str],
) -> list[Feature]:
    every = {name for table in train.values() for name in table.schema.names}
    unknown = [name for name in category_columns if name not in every]
    if unknown:
        raise BlendmakeError(f"data.categories.columns: {some_of(unknown)} is in no train file.")
    for key, patterns in (("categories.patterns", category_patterns), ("ignore", ignore)):
        idle = [pattern for pattern in patterns if not fnmatch.filter(every, pattern)]
        if idle:
            raise BlendmakeError(f"data.{key}: no train column matches {some_of(idle)}.")
    unknown = [name for name in not_features if name not in every]
    if unknown:
        raise BlendmakeError(
            f"{next(iter(train.values())).path}: column {some_of(unknown)}, which the config names as "
            "target, group or fold, is not in any train file."
        )
    features: list[Feature] = []
    seen: dict[str, str] = {}
    no_features = {*id_columns, *not_features}
    for label, table in train.items():
        other = test.get(label)
        for column in table.schema:
            name = column.name
            if name in no_features or (
                name in table.index_columns and name not in category_columns
            ):
                continue
            if any(fnmatch.fnmatchcase(name, pattern) for pattern in ignore):
                continue
            if name == POSITION and not id_columns:
                raise BlendmakeError(
                    f"{table.path}: a column is called '{POSITION}', the name of the row's position. "
                    "Give it as data.id, or list it under data.ignore."
                )
            if name in seen:
                raise BlendmakeError(
                    f"{table.path}: column '{name}' is also in file '{seen[name]}'. Rename one of them."
                )
            seen[name] = label
            named = name in category_columns or any(
                fnmatch.fnmatchcase(name, pattern) for pattern in category_patterns
            )
            kind = _checked_kind(table, name, named)
            if other is not None:
                if not other.has(name):
                    raise BlendmakeError(
                        f"{other.path}: feature '{name}' of {table.path} is absent from test. Add it, "
                        "or list it under data.ignore."
                    )
                kind = _same_kind(kind, _checked_kind(other, name, named), table, other, name)
            features.append(Feature(name, label, "number" if kind == "any" else kind))
    unused = [
        name
        for table in test.values()
        for name in table.names
        if name not in every and name not in id_columns
    ]
    if unused:
        log.info("columns of test that train does not have are not used: %s", some_of(unused))
    if not features:
        raise BlendmakeError(f"{next(iter(train.values())).path}: there is no feature column.")
    return features


def _checked_kind(table: UserTable, name: str, named: bool) -> str:
    dtype = table.schema.field(name).type
    kind = kind_of(dtype, named)
    if kind is None:
        raise BlendmakeError(
            f"{table.path}: column '{name}' is of type {dtype}, which no model reads. Turn it into "
            "numbers or text, or list it under data.ignore."
        )
    return kind


def _same_kind(mine: str, theirs: str, train: UserTable, test: UserTable, name: str) -> str:
    if "any" in (mine, theirs):
        return theirs if mine == "any" else mine
    if mine != theirs:
        raise BlendmakeError(
            f"{test.path}: column '{name}' is {test.schema.field(name).type}, but "
            f"{train.schema.field(name).type} in {train.path}. Give both one type, or list it under "
            "data.categories.columns."
        )
    return mine


def _texts(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Category values as text; 1, 1.0 and True-as-1 alike whatever file they come from."""
    column = plain(column)
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.int64())
    if pa.types.is_floating(column.type):
        # A file with missing values holds its whole numbers as floats: 1.0 is 1 here. NaN is missing.
        encoded = column.cast(pa.float64()).combine_chunks().dictionary_encode()
        texts = [
            None if value != value else str(int(value)) if value.is_integer() else repr(value)
            for value in encoded.dictionary.to_pylist()
        ]
        return pa.chunked_array([pa.array(texts, pa.string()).take(encoded.indices)])
    return column.cast(pa.string())


def _with_levels(
    features: Sequence[Feature], train: Mapping[str, UserTable], test: Mapping[str, UserTable]
) -> list[Feature]:
    names = {
        label: [f.name for f in features if f.file == label and f.kind == "category"]
        for label in train
    }
    levels: dict[str, set[str]] = {f.name: set() for f in features if f.kind == "category"}
    for tables in (train, test):
        for label, table in tables.items():
            for batch in table.batches(names[label]) if names[label] else ():
                for name in names[label]:
                    levels[name].update(pc.unique(_texts(batch[name])).drop_null().to_pylist())
    return [
        Feature(f.name, f.file, f.kind, tuple(_in_level_order(levels[f.name])) or ("",))
        if f.kind == "category"
        else f
        for f in features
    ]


def _in_level_order(levels: set[str]) -> list[str]:
    """Levels in the order of their numbers if all are numbers, else of their letters."""
    try:
        return sorted(levels, key=lambda level: (float(level), level))
    except ValueError:
        return sorted(levels)


def _write_table(
    path: Path,
    schema: pa.Schema,
    features: Sequence[Feature],
    tables: Mapping[str, UserTable],
    ids: pa.Table | None,
    id_columns: Sequence[str],
) -> str:
    with writing_table(path, schema) as writer:
        if ids is not None:
            by_file = {label: [f for f in features if f.file == label] for label in tables}
            streams = [
                _in_order(table, [f.name for f in by_file[label]], order_by(ids, table, id_columns))
                for label, table in tables.items()
            ]
            start = 0
            for parts in zip(*streams, strict=True):
                rows = parts[0].num_rows
                here = ids.slice(start, rows)
                values = [
                    _as_floats(part[f.name], f, table.path)
                    for part, (label, table) in zip(parts, tables.items(), strict=True)
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


def _as_floats(column: pa.ChunkedArray, feature: Feature, path: Path) -> pa.Array:
    if feature.kind == "category":
        codes = pc.index_in(_texts(column), value_set=pa.array(feature.levels, pa.string()))
        column = codes
    elif pa.types.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif pa.types.is_decimal(column.type) or pa.types.is_null(column.type):
        column = column.cast(pa.float64())
    values = np.asarray(column.to_numpy())
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    if np.isinf(floats).any():
        row = int(np.flatnonzero(np.isinf(floats))[0])
        raise BlendmakeError(
            f"{path}: column '{feature.name}' holds infinity or a number beyond float32 "
            f"({values[row]}). Replace such values by a missing value or a bound."
        )
    return pa.array(floats)
