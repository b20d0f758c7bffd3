"""The user's tables: read, checked, joined by id and stored typed.

Every reader here raises BlendmakeError for input the user can mend, naming file, column and rows.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.matrix import BATCH_ROWS, writing_table

POSITION = "row"  # the id column of tables that have none
EXAMPLES = 5


class UserTable:
    """A user's file, opened by its suffix: .parquet, .csv, .csv.gz, .arrow or .feather."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise BlendmakeError(
                f"{path} does not exist. Check the path in the config's data section."
            )
        if self.path.stat().st_size == 0:
            raise BlendmakeError(f"{path} is empty (0 bytes). Write or download it again.")
        self._parquet: pq.ParquetFile | None = None
        self._table: pa.Table | None = None
        name = self.path.name.lower()
        try:
            if name.endswith((".parquet", ".pq")):
                self._parquet = pq.ParquetFile(self.path)
                self.schema: pa.Schema = self._parquet.schema_arrow
                self.rows: int = self._parquet.metadata.num_rows
            elif name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
                self._table = _read_csv(self.path, "\t" if ".tsv" in name else ",")
            elif name.endswith((".arrow", ".feather", ".ipc")):
                self._table = _read_arrow(self.path)
            else:
                raise BlendmakeError(
                    f"{path}: unknown kind of file. Use .parquet, .csv, .csv.gz, .tsv or .arrow."
                )
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise self._unreadable(error) from error
        if self._table is not None:
            self.schema, self.rows = self._table.schema, self._table.num_rows
        twice = sorted({n for n in self.schema.names if self.schema.names.count(n) > 1})
        if twice:
            raise BlendmakeError(f"{path}: column {_some(twice)} occurs more than once. Rename it.")
        if self.rows == 0:
            raise BlendmakeError(f"{path} has a header but no rows. Write or download it again.")

    def _unreadable(self, error: Exception) -> BlendmakeError:
        first = str(error).strip().split("\n")[0]
        return BlendmakeError(
            f"{self.path} cannot be read: {first}. It may be cut off or damaged: write or download it "
            "again."
        )

    def require(self, names: Iterable[str], what: str) -> None:
        """Raise unless every column in `names` is there."""
        missing = [name for name in names if name not in self.schema.names]
        if missing:
            raise BlendmakeError(
                f"{self.path}: {what} {_some(missing)} is not among its columns "
                f"({_some(self.schema.names)}). Correct the config or the file."
            )

    def read(self, names: Sequence[str]) -> pa.Table:
        """Some columns, whole; no names: a table of no columns."""
        try:
            if self._parquet is not None:
                return self._parquet.read(columns=list(names))
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        assert self._table is not None
        return self._table.select(list(names))

    def batches(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns in tables of exactly BATCH_ROWS rows (the last may be shorter)."""
        if self._table is not None:
            table = self._table.select(list(names))
            for start in range(0, self.rows, BATCH_ROWS):
                yield table.slice(start, BATCH_ROWS)
            return
        assert self._parquet is not None
        held: list[pa.Table] = []
        count = 0
        try:
            for batch in self._parquet.iter_batches(BATCH_ROWS, columns=list(names)):
                held.append(pa.Table.from_batches([batch]))
                count += batch.num_rows
                while count >= BATCH_ROWS:
                    table = pa.concat_tables(held)
                    yield table.slice(0, BATCH_ROWS)
                    held, count = [table.slice(BATCH_ROWS)], count - BATCH_ROWS
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(error) from error
        if count:
            yield pa.concat_tables(held)


def _read_csv(path: Path, delimiter: str) -> pa.Table:
    # Types are inferred from the first block only, so the first block is the whole file; what is
    # still of two minds is read as text.
    block = min(
        max(path.stat().st_size * (20 if path.name.endswith(".gz") else 1), 1 << 20), 1 << 30
    )
    convert = csv.ConvertOptions(strings_can_be_null=True)
    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(block_size=block),
        parse_options=csv.ParseOptions(delimiter=delimiter),
        convert_options=convert,
    )
    kinds = zip(table.column_names, table.schema.types, strict=True)
    unreadable = [name for name, kind in kinds if pa.types.is_binary(kind)]
    if unreadable:
        raise BlendmakeError(
            f"{path}: column {_some(unreadable)} holds text that is not UTF-8. Save the file as UTF-8."
        )
    return table


def _read_arrow(path: Path) -> pa.Table:
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_stream(pa.memory_map(str(path))).read_all()


def _some(values: Iterable[Any]) -> str:
    values = list(values)
    text = ", ".join(f"'{value}'" for value in values[:EXAMPLES])
    return text + (f" and {len(values) - EXAMPLES} more" if len(values) > EXAMPLES else "")


# ids


def read_ids(table: UserTable, id_columns: Sequence[str], first_position: int = 0) -> pa.Table:
    """The id columns, checked: present, without nulls, without duplicates.

    Without id columns the row's position, counted from `first_position`, is its id.
    """
    if not id_columns:
        positions = np.arange(first_position, first_position + table.rows, dtype=np.int64)
        return pa.table({POSITION: positions})
    table.require(id_columns, "the id column")
    ids = pa.table(
        [_plain(table.read([name])[name]) for name in id_columns], names=list(id_columns)
    )
    for name in id_columns:
        if ids[name].null_count:
            raise BlendmakeError(
                f"{table.path}: id column '{name}' has {ids[name].null_count} missing values. "
                "Every row needs an id."
            )
    keys = id_keys(ids)
    if pc.count_distinct(keys).as_py() < len(keys):
        counts = pc.value_counts(keys)
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
        raise BlendmakeError(
            f"{table.path}: duplicate ids in {'+'.join(id_columns)}: {_some(_shown(twice))} "
            f"({len(twice)} in all). Every id must occur once: drop the repeated rows."
        )
    return ids


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Dictionary and large text as plain text, so that files of different make compare equal."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    if pa.types.is_integer(column.type) and not _is_beyond_int64(column):
        column = column.cast(pa.int64())
    # Parquet does not keep these as they are, so that artifacts would hold other ids than tables.
    if pa.types.is_timestamp(column.type) and column.type.unit in ("s", "ms"):
        column = column.cast(pa.timestamp("us", column.type.tz))
    if pa.types.is_date64(column.type):
        column = column.cast(pa.date32())
    return column


def _is_beyond_int64(column: pa.ChunkedArray) -> bool:
    return bool(
        pa.types.is_uint64(column.type) and (pc.max(column).as_py() or 0) > np.iinfo(np.int64).max
    )


def id_keys(ids: pa.Table) -> pa.ChunkedArray:
    """One comparable key per row, of one or several id columns."""
    if ids.num_columns == 1:
        return ids.column(0)
    texts = [column.cast(pa.string()) for column in ids.columns]
    return pc.binary_join_element_wise(*texts, "\x1f")


def _shown(keys: Any) -> list[str]:
    return [str(key).replace("\x1f", "/") for key in keys[: EXAMPLES + 1].to_pylist()] + [
        "…"
    ] * max(0, len(keys) - EXAMPLES - 1)


def order_by(
    ids: pa.Table, table: UserTable, id_columns: Sequence[str]
) -> NDArray[np.int64] | None:
    """Row positions that put `table` into the order of `ids`; None if it is in order already.

    Raises:
        BlendmakeError: if its ids are not exactly those in `ids`.
    """
    if not id_columns:
        if table.rows != ids.num_rows:
            raise BlendmakeError(
                f"{table.path} has {table.rows} rows, {ids.num_rows} are expected. Rows are matched by "
                "position: give data.id, or files of the same rows in the same order."
            )
        return None
    theirs = read_ids(table, id_columns)
    if theirs.schema.types != ids.schema.types:
        raise BlendmakeError(
            f"{table.path}: ids are of type {', '.join(map(str, theirs.schema.types))}, in the train "
            f"file {', '.join(map(str, ids.schema.types))}. Give them one type."
        )
    if theirs.equals(ids):
        return None
    mine_keys, their_keys = id_keys(ids), id_keys(theirs)
    positions = pc.index_in(mine_keys, value_set=their_keys)
    missing = mine_keys.filter(pc.is_null(positions))
    extra = their_keys.filter(pc.is_null(pc.index_in(their_keys, value_set=mine_keys)))
    if len(missing) or len(extra):
        what = f"lacks ids {_some(_shown(missing))} ({len(missing)})" if len(missing) else ""
        more = f"has unknown ids {_some(_shown(extra))} ({len(extra)})" if len(extra) else ""
        raise BlendmakeError(
            f"{table.path} {' and '.join(filter(None, [what, more]))}. All files of one table must "
            "hold the same ids."
        )
    return np.asarray(positions.combine_chunks()).astype(np.int64)


# features


@dataclass(frozen=True)
class Feature:
    """A feature column as the tables hold it; `kind` is number or category."""

    name: str
    file: str
    kind: str
    levels: tuple[str, ...] = ()


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def _kind_of(dtype: pa.DataType, named_category: bool) -> str | None:
    """number, category, `any` (nothing but nulls) or None (unusable)."""
    if pa.types.is_null(dtype):
        return "any"
    if pa.types.is_dictionary(dtype):
        return "category"
    if _is_text(dtype):
        return "category"
    if (
        pa.types.is_integer(dtype)
        or pa.types.is_floating(dtype)
        or pa.types.is_boolean(dtype)
        or pa.types.is_decimal(dtype)
    ):
        return "category" if named_category else "number"
    return None


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
    note: Mapping[str, Any] | None = None,
) -> None:
    """Read feature files, check them, and write the typed tables.

    Args:
        train, test: feature files by name; joined by id to the order of the first one.
        id_columns: none, one or several.
        category_columns, category_patterns, ignore: columns by name and by shell pattern.
        not_features: columns of the train files that hold targets, groups or folds.
        out_train, out_test: table files (matrix.py); `out_test` has no rows if there is no test.
        out_columns: parquet: name, file, kind, levels (list of text, [] for numbers).
    """
    train_tables = {label: UserTable(path) for label, path in train.items()}
    test_tables = {label: UserTable(path) for label, path in (test or {}).items()}
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
            f"{path}: ids {_some(_shown(both))} ({len(both)} in all) are in train and in test. "
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
        raise BlendmakeError(f"data.categories.columns: {_some(unknown)} is in no train file.")
    unknown = [name for name in not_features if name not in every]
    if unknown:
        raise BlendmakeError(
            f"{next(iter(train.values())).path}: column {_some(unknown)}, which the config names as "
            "target, group or fold, is not in any train file."
        )
    features: list[Feature] = []
    seen: dict[str, str] = {}
    for label, table in train.items():
        other = test.get(label)
        for column in table.schema:
            name = column.name
            if name in id_columns or name in not_features:
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
                if name not in other.schema.names:
                    raise BlendmakeError(
                        f"{other.path}: feature '{name}' of {table.path} is absent from test. Add it, "
                        "or list it under data.ignore."
                    )
                kind = _same_kind(kind, _checked_kind(other, name, named), table, other, name)
            features.append(Feature(name, label, "number" if kind == "any" else kind))
    if not features:
        raise BlendmakeError(f"{next(iter(train.values())).path}: there is no feature column.")
    return features


def _checked_kind(table: UserTable, name: str, named: bool) -> str:
    dtype = table.schema.field(name).type
    kind = _kind_of(dtype, named)
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
    column = _plain(column)
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
        Feature(f.name, f.file, f.kind, tuple(sorted(levels[f.name])) or ("",))
        if f.kind == "category"
        else f
        for f in features
    ]


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


# labels, groups, folds given by a column


def read_column(
    file: str, column: str, ids: pa.Table, id_columns: Sequence[str], what: str
) -> pa.ChunkedArray:
    """One column of a user's file in the order of `ids`, without missing values."""
    table = UserTable(file)
    table.require([column], what)
    values = _plain(table.read([column])[column])
    order = order_by(ids, table, id_columns)
    values = values if order is None else values.take(pa.array(order))
    if values.null_count:
        raise BlendmakeError(
            f"{file}: column '{column}' has {values.null_count} missing values. {what} of every row "
            "must be known."
        )
    return values


def read_targets(
    file: str,
    columns: Sequence[str] | None,
    ids: pa.Table,
    id_columns: Sequence[str],
    *,
    one_class_allowed: bool = False,
) -> pa.Table:
    """The labels in the order of `ids`: id columns, then one int8 column per target (0, 1, null).

    Raises:
        BlendmakeError: a column absent, a value other than 0, 1 or missing, a target of one class.
    """
    table = UserTable(file)
    names = list(columns) if columns else [n for n in table.schema.names if n not in id_columns]
    table.require(names, "the target column")
    if not names:
        raise BlendmakeError(f"{file}: there is no target column beside the id.")
    order = order_by(ids, table, id_columns)
    labels = table.read(names)
    if order is not None:
        labels = labels.take(pa.array(order))
    arrays = [_as_labels(labels[name], name, file, one_class_allowed) for name in names]
    return pa.table([*ids.columns, *arrays], names=[*ids.column_names, *names])


def _as_labels(column: pa.ChunkedArray, name: str, file: str, one_class_allowed: bool) -> pa.Array:
    kind = _kind_of(column.type, False)
    if kind == "any" or (kind == "category" and column.null_count == len(column)):
        column, kind = pa.chunked_array([pa.nulls(len(column), pa.float64())]), "number"
    if kind == "number":
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.int8())
        values = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
        unknown = np.isnan(values)
        wrong = ~unknown & (values != 0) & (values != 1)
        if not wrong.any():
            if not one_class_allowed:
                _check_classes(values, name, file)
            return pa.array(np.where(unknown, 0, values).astype(np.int8), mask=unknown)
        example: Any = values[wrong][0].item()
    else:
        example = next((value.as_py() for value in column if value.is_valid), None)
    raise BlendmakeError(
        f"{file}: target '{name}' holds {example!r}. A target must be 0, 1 or missing: recode it, or "
        "list the target columns under data.targets.columns."
    )


def _check_classes(values: NDArray[np.float64], name: str, file: str) -> None:
    for label, word in ((1, "positives"), (0, "negatives")):
        if not (values == label).any():
            raise BlendmakeError(
                f"{file}: target '{name}' has no {word}. Nothing can be learnt of it: leave it out "
                "with data.targets.columns."
            )


def group_codes(groups: pa.ChunkedArray) -> pa.Array:
    """Groups as codes 0, 1, … (int64) in the order of their sorted names."""
    _, codes = np.unique(
        np.asarray(groups.to_numpy(zero_copy_only=False)).astype(str), return_inverse=True
    )
    return pa.array(codes.astype(np.int64))
