"""Feature sets: which columns a source reads, and the columns a set makes without labels."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from blendmake.errors import BlendmakeError
from blendmake.features.column_lists import (
    FIELDS,
    check_listings,
    listing,
    matching,
    write_columns,
    write_listings,
)
from blendmake.features.recipes import (
    PAIR_LEVELS,
    Codes,
    Components,
    Frequency,
    Made,
    MissingFlags,
    Pair,
    QuantileBin,
    Rounded,
    Statistics,
)
from blendmake.files import note_of, read_parquet
from blendmake.matrix import Floats, TableFile


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


def distinct_values(train: TableFile, name: str, limit: int) -> Any:
    """Sorted distinct values of a column, or None if there are more than `limit`."""
    values = np.empty(0, np.float64 if train.is_wide(name) else np.float32)
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
    """Write a feature set: its list of columns and the columns it makes without labels.

    Args:
        tables: the table files, by `train` and `test`.
        columns_path: tables/columns.parquet.
        settings: config.FeatureSet as a mapping; keys that are not set may be absent, those of recipes
            that use labels are not read.
        out_columns: parquet: name, origin (table or set), file, levels (0 for numbers), level_names.
        out: table files of made columns by `train` and `test` (without columns if none is made).
    """
    listed = read_parquet(columns_path)
    train = TableFile(tables["train"])
    recipes = _Recipes(out_columns.parent.name, listed.to_pylist(), settings, train)
    kept, made = recipes.converted()
    made = [*recipes.statistics(), *made, *recipes.others()]
    listings = [
        *kept,
        *(
            listing(name, "set", maker.file, maker.levels, maker.level_names)
            for maker in made
            for name in maker.names
        ),
    ]
    check_listings(listings, recipes.name)
    digests = {part: _write_made(made, TableFile(tables[part]), out[part]) for part in out}
    # Of the columns that it takes: another column of the tables is no matter of this set's.
    read = [line["name"] for line in listings if line["origin"] == "table"]
    names = [*note_of(listed)["id_columns"], *read]
    of_tables = {part: TableFile(path).digest_of(names) for part, path in tables.items()}
    all_digests = {"tables": of_tables, "made": digests}
    write_listings(listings, FIELDS, out_columns, {**(note or {}), "digests": all_digests})


def _write_made(made: Sequence[Made], table: TableFile, path: Path) -> str:
    types = {name: maker.dtype for maker in made for name in maker.names}
    return write_columns(
        path, types, table, lambda batch: [maker.make(table, batch) for maker in made]
    )


class _Recipes:
    """What the settings of a feature set ask for, over the columns that it selects."""

    def __init__(
        self,
        name: str,
        every: Sequence[dict[str, Any]],
        settings: Mapping[str, Any],
        train: TableFile,
    ) -> None:
        self.name, self.settings, self.train = name, settings, train
        files = settings.get("files")
        if files is None:
            files = {label: {} for label in dict.fromkeys(column["file"] for column in every)}
        self.selected: list[dict[str, Any]] = []
        for label, selection in files.items():
            of_file = [column for column in every if column["file"] == label]
            names = set(
                select_columns(of_file, selection, label, lambda name: variance(train.values(name)))
            )
            self.selected += [column for column in of_file if column["name"] in names]

    def converted(self) -> tuple[list[dict[str, Any]], list[Made]]:
        """The selected columns: those listed as they are, and makers of those that are turned."""
        kept: list[dict[str, Any]] = []
        made: list[Made] = []
        categories = self.settings.get("categories")
        below = self.settings.get("categorical_below")
        for column in self.selected:
            name, levels = column["name"], len(column["levels"])
            if column["kind"] == "category" and categories == "ordinal":
                levels = 0
            elif column["kind"] == "category" and categories == "frequency":
                made.append(Frequency(name, self.train, levels))
                continue
            elif column["kind"] == "number" and below:
                values = distinct_values(self.train, name, below)
                if values is not None and len(values):
                    made.append(Codes(name, values))
                    continue
            names = column["levels"] if levels else []
            kept.append(listing(name, "table", column["file"], levels, names))
        return kept, made

    def statistics(self) -> Iterator[Made]:
        for label in self.settings.get("row_stats") or ():
            yield Statistics(label, self.train, self._numbers("row_stats", label))

    def others(self) -> Iterator[Made]:
        """What stands beside the columns that it is made of."""
        quantise = self.settings.get("quantise")
        if quantise:
            for name in self._matching("quantise.columns", quantise["columns"]):
                if quantise.get("bins"):
                    yield QuantileBin(name, self.train, quantise["bins"])
                else:
                    yield Rounded(name, quantise["decimals"], self.train.is_wide(name))
        for label in self.settings.get("missing_flags") or ():
            yield MissingFlags(label, self.train, self._numbers("missing_flags", label))
        yield from self._pairs()
        svd = self.settings.get("svd")
        if svd:
            for label in svd["files"]:
                numbers = self._numbers("svd.files", label)
                yield Components(label, self.train, numbers, svd["components"])

    def _pairs(self) -> Iterator[Made]:
        levels = {column["name"]: column["levels"] for column in self.selected}
        limit = self.settings.get("pair_levels") or PAIR_LEVELS
        done: set[frozenset[str]] = set()
        for first, second in self.settings.get("pairs") or ():
            for a in self._matching("pairs", [first], "category"):
                for b in self._matching("pairs", [second], "category"):
                    # A pattern that matches several columns pairs each with each, once.
                    both = frozenset((a, b))
                    if a != b and both not in done:
                        done.add(both)
                        yield Pair((a, b), (levels[a], levels[b]), self.train, limit)

    def _matching(self, key: str, patterns: Sequence[str], kind: str = "number") -> list[str]:
        names = [column["name"] for column in self.selected if column["kind"] == kind]
        what = "numeric column" if kind == "number" else "category column"
        return matching(patterns, names, self.name, key, what)

    def _numbers(self, key: str, label: str) -> list[str]:
        """The selected numeric columns of a file."""
        numeric = [
            column["name"]
            for column in self.selected
            if column["file"] == label and column["kind"] == "number"
        ]
        if not numeric:
            raise BlendmakeError(
                f"features.{self.name}.{key}: no numeric column of file '{label}' is selected."
            )
        return numeric
