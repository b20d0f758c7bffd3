"""Feature sets: which columns a source reads, and the columns a set makes without labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blendmake.errors import BlendmakeError
from blendmake.files import note_of, read_parquet, write_parquet
from blendmake.matrix import Floats, TableFile, writing_table

STATISTICS = (
    "mean",
    "min",
    "max",
    "sum",
    "null_count",
    "zero_count",
    "null_share",
    "zero_share",
)


def read_names(path: str) -> list[str]:
    """Column names of a keep or drop list: one per line, or a JSON list, or a parquet `feature`.

    Raises:
        BlendmakeError: the file is absent or holds no list of names.
    """
    file = Path(path)
    if not file.is_file():
        raise BlendmakeError(f"{path} (a keep or drop list) does not exist.")
    try:
        if file.suffix == ".parquet":
            table = pq.read_table(file)
            if "feature" not in table.column_names:
                raise BlendmakeError(f"{path}: a list in parquet needs a column 'feature'.")
            return [str(name) for name in table["feature"].to_pylist()]
        text = file.read_text(encoding="utf-8")
        if file.suffix == ".json":
            names = json.loads(text)
            if not isinstance(names, list):
                raise BlendmakeError(f"{path}: a list in JSON must be a list of column names.")
            return [str(name) for name in names]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BlendmakeError(f"{path} (a keep or drop list) cannot be read: {error}.") from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def select_columns(
    columns: Sequence[Mapping[str, Any]],
    selection: Mapping[str, Any],
    label: str,
    variance: Any,
) -> list[str]:
    """Names that one file's `selection` (config.Selection) takes of its `columns`, in file order.

    `variance(name)` gives a column's variance over the train table; it is asked only if needed.
    """
    names = [column["name"] for column in columns]
    known = set(names)
    for key in ("drop", "keep"):
        if selection.get(key):
            listed = read_names(selection[key])
            unknown = [name for name in listed if name not in known]
            if unknown:
                raise BlendmakeError(
                    f"{selection[key]}: {', '.join(map(repr, unknown[:5]))} "
                    f"({len(unknown)} in all) is no column of file '{label}'. Remove it from the list."
                )
            chosen = set(listed)
            names = [name for name in names if (name in chosen) == (key == "keep")]
    if selection.get("first") is not None:
        names = names[: selection["first"]]
    top, ranks = selection.get("top_variance"), selection.get("ranks")
    if top is not None or ranks is not None:
        numeric = {column["name"] for column in columns if column["kind"] == "number"}
        candidates = [name for name in names if name in numeric]
        values = np.array([variance(name) for name in candidates])
        order = np.argsort(-values, kind="stable")
        low, high = (1, top) if ranks is None else ranks
        taken = {candidates[i] for i in order[low - 1 : high]}
        names = [name for name in names if name in taken]
    return names


def variance(values: Floats) -> float:
    """Variance of the present values (float64); 0 for a column without any."""
    present = values[~np.isnan(values)].astype(np.float64)
    return float(present.var()) if len(present) else 0.0


def row_statistics(values: Floats) -> Floats:
    """Eight statistics over the columns of each row, in the order of STATISTICS.

    Args:
        values: (rows, columns) float32, NaN = null. A null is not a zero and enters no mean, minimum,
            maximum or sum; a row of nulls only has null mean, minimum and maximum and sum 0.

    Returns:
        (rows, 8) float32.
    """
    null = np.isnan(values)
    n_columns = values.shape[1]
    nulls = null.sum(axis=1)
    zeros = (values == 0).sum(axis=1)
    present = n_columns - nulls
    total = np.where(null, 0, values).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present > 0, total / present, np.nan)
        low = np.where(present > 0, np.where(null, np.inf, values).min(axis=1), np.nan)
        high = np.where(present > 0, np.where(null, -np.inf, values).max(axis=1), np.nan)
    table = [mean, low, high, total, nulls, zeros, nulls / n_columns, zeros / n_columns]
    return np.stack(table, axis=1).astype(np.float32)


def distinct_values(train: TableFile, name: str, limit: int) -> Floats | None:
    """Sorted distinct values of a column, or None if there are more than `limit`."""
    values = np.empty(0, np.float32)
    for batch in range(len(train.offsets) - 1):
        part = train.column(name, batch).to_numpy()
        values = np.union1d(values, part[~np.isnan(part)])
        if len(values) > limit:
            return None
    return values


def make_features(
    tables: Mapping[str, Path],
    columns_path: Path,
    settings: Mapping[str, Any],
    *,
    out_columns: Path,
    out: Mapping[str, Path],
    note: Mapping[str, Any] | None = None,
) -> None:
    """Write a feature set: its list of columns and the columns it makes.

    Args:
        tables: the table files, by `train` and `test`.
        columns_path: tables/columns.parquet.
        settings: config.FeatureSet as a mapping.
        out_columns: parquet: name, origin (table or set), file, levels (0 for numbers), level_names.
        out: table files of made columns by `train` and `test` (without columns if none is made).
    """
    name_of_set = out_columns.parent.name
    listed = read_parquet(columns_path)
    every = listed.to_pylist()
    train = TableFile(tables["train"])
    files = settings["files"]
    if files is None:
        files = {label: {} for label in dict.fromkeys(column["file"] for column in every)}
    selected: list[dict[str, Any]] = []
    made: list[_Made] = []
    for label, selection in files.items():
        of_file = [column for column in every if column["file"] == label]
        names = set(
            select_columns(of_file, selection, label, lambda name: variance(train.values(name)))
        )
        selected += [column for column in of_file if column["name"] in names]
    for label in settings["row_stats"]:
        numeric = [c["name"] for c in selected if c["file"] == label and c["kind"] == "number"]
        if not numeric:
            raise BlendmakeError(
                f"row_stats: no numeric column of file '{label}' is selected to make statistics of."
            )
        made.append(_Statistics(label, numeric))
    entries: list[dict[str, Any]] = []
    for column in selected:
        name, levels = column["name"], len(column["levels"])
        if column["kind"] == "category" and settings["categories"] == "ordinal":
            levels = 0
        elif column["kind"] == "category" and settings["categories"] == "frequency":
            made.append(_Frequency(name, train, levels))
            continue
        elif column["kind"] == "number" and settings["categorical_below"]:
            values = distinct_values(train, name, settings["categorical_below"])
            if values is not None and len(values):
                made.append(_Codes(name, values))
                continue
        entries.append(
            {
                "name": name,
                "origin": "table",
                "file": column["file"],
                "levels": levels,
                "level_names": column["levels"] if levels else [],
            }
        )
    for maker in made:
        entries += [
            {
                "name": name,
                "origin": "set",
                "file": maker.file,
                "levels": maker.levels,
                "level_names": maker.level_names,
            }
            for name in maker.names
        ]
    if not entries:
        raise BlendmakeError(f"Feature set '{name_of_set}' selects no column. Widen its selection.")
    counts = Counter(entry["name"] for entry in entries)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise BlendmakeError(
            f"Feature set '{name_of_set}' makes a column '{twice[0]}', but the table has one of that "
            "name. Rename the table's."
        )
    made_digests = _write_made(made, tables, out)
    table = pa.Table.from_pylist(
        entries,
        schema=pa.schema(
            [
                ("name", pa.string()),
                ("origin", pa.string()),
                ("file", pa.string()),
                ("levels", pa.int32()),
                ("level_names", pa.list_(pa.string())),
            ]
        ),
    )
    digests = {"tables": note_of(listed)["digests"], "made": made_digests}
    write_parquet(table, out_columns, {**(note or {}), "digests": digests})


class _Made:
    """Columns made from a batch of the table, without labels."""

    names: list[str]
    file = ""
    levels = 0
    level_names: Sequence[str] = ()

    def make(self, table: TableFile, batch: int) -> Floats:
        """(rows of the batch, len(names)) float32."""
        raise NotImplementedError


class _Statistics(_Made):
    def __init__(self, label: str, columns: list[str]) -> None:
        self.file, self.columns = label, columns
        self.names = [f"{label}__row_{statistic}" for statistic in STATISTICS]

    def make(self, table: TableFile, batch: int) -> Floats:
        parts = [table.column(name, batch).to_numpy() for name in self.columns]
        rows = len(parts[0])
        done = np.empty((rows, len(STATISTICS)), np.float32)
        step = max(1, (64 << 20) // (4 * len(parts)))
        for a in range(0, rows, step):
            done[a : a + step] = row_statistics(np.stack([p[a : a + step] for p in parts], axis=1))
        return done


class _Frequency(_Made):
    def __init__(self, name: str, train: TableFile, levels: int) -> None:
        self.name, self.names = name, [f"{name}__frequency"]
        codes = train.values(name)
        present = codes[~np.isnan(codes)].astype(np.intp)
        counts = np.bincount(present, minlength=levels)
        # The last entry stands for a missing value.
        self.shares = np.append(counts, len(codes) - len(present)) / max(1, len(codes))

    def make(self, table: TableFile, batch: int) -> Floats:
        codes = table.column(self.name, batch).to_numpy()
        index = np.where(np.isnan(codes), len(self.shares) - 1, codes).astype(np.intp)
        return self.shares[index].astype(np.float32)[:, None]


class _Codes(_Made):
    def __init__(self, name: str, values: Floats) -> None:
        self.name, self.names = name, [f"{name}__category"]
        self.values, self.levels = values, len(values)
        self.level_names = [str(value) for value in values.tolist()]

    def make(self, table: TableFile, batch: int) -> Floats:
        numbers = table.column(self.name, batch).to_numpy()
        codes = np.searchsorted(self.values, numbers).clip(max=self.levels - 1)
        # A value the train table does not hold is an unseen category: missing.
        return np.where(self.values[codes] == numbers, codes, np.nan).astype(np.float32)[:, None]


def _write_made(
    made: Sequence[_Made], tables: Mapping[str, Path], out: Mapping[str, Path]
) -> dict[str, str]:
    digests = {}
    schema = pa.schema([pa.field(name, pa.float32()) for maker in made for name in maker.names])
    for part, path in out.items():
        table = TableFile(tables[part])
        with writing_table(path, schema) as writer:
            for batch in range(len(table.offsets) - 1) if made else ():
                parts = [maker.make(table, batch) for maker in made]
                writer.write([pa.array(p[:, j]) for p in parts for j in range(p.shape[1])])
            digests[part] = writer.digest
    return digests
