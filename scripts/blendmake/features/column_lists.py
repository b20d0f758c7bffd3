"""Lists of columns as the makers of a feature set write them, and the files of made columns."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.matrix import TableFile, writing_table

FIELDS = (
    ("name", pa.string()),
    ("origin", pa.string()),
    ("file", pa.string()),
    ("levels", pa.int32()),
    ("level_names", pa.list_(pa.string())),
)
FOLD_FIELDS = (*FIELDS, ("targets", pa.list_(pa.string())))


def listing(
    name: str, origin: str, file: str, levels: int = 0, level_names: Sequence[str] = ()
) -> dict[str, Any]:
    """A column as a line of columns.parquet."""
    return {
        "name": name,
        "origin": origin,
        "file": file,
        "levels": levels,
        "level_names": level_names,
    }


def check_listings(listings: Sequence[Mapping[str, Any]], name_of_set: str) -> None:
    """Check the list of columns of a feature set, before anything is written.

    Raises:
        BlendmakeError: there is no column, or two of one name.
    """
    if not listings:
        raise BlendmakeError(f"Feature set '{name_of_set}' selects no column. Widen its selection.")
    counts = Counter(listing["name"] for listing in listings)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise BlendmakeError(
            f"Feature set '{name_of_set}' makes a column '{twice[0]}', but the table has one of that "
            "name. Rename the table's."
        )


def write_listings(
    listings: Sequence[Mapping[str, Any]],
    fields: Sequence[tuple[str, pa.DataType]],
    path: Path,
    note: Mapping[str, Any],
) -> None:
    """Write columns.parquet."""
    write_parquet(pa.Table.from_pylist(list(listings), schema=pa.schema(fields)), path, note)


def matching(
    patterns: Iterable[str], names: Sequence[str], name_of_set: str, key: str, what: str
) -> list[str]:
    """The `names` that any of some shell patterns matches, in their own order.

    Args:
        patterns: as in fnmatch, upper and lower case told apart; a name matches itself, whatever
            brackets are in it.
        key, what: for the message: the key of the config, and what the names are.

    Raises:
        BlendmakeError: a pattern matches none.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = [n for n in names if n == pattern or fnmatch.fnmatchcase(n, pattern)]
        if not found:
            raise BlendmakeError(
                f"features.{name_of_set}.{key}: '{pattern}' matches no {what} of the set. Correct the "
                "pattern, or widen the set's selection."
            )
        chosen.update(found)
    return [name for name in names if name in chosen]


def write_columns(
    path: Path,
    types: Mapping[str, pa.DataType],
    table: TableFile,
    make: Callable[[int], Iterable[NDArray[Any]]],
) -> str:
    """Write a file of made columns, batch by batch as those of `table`; returns its digest.

    Args:
        types: float32 or float64 by name.
        make: from a batch's number to blocks (rows, columns) that are these columns side by side.
    """
    schema = pa.schema([pa.field(name, dtype) for name, dtype in types.items()])
    with writing_table(path, schema) as writer:
        for batch in range(len(table.offsets) - 1) if types else ():
            writer.write([pa.array(p[:, j]) for p in make(batch) for j in range(p.shape[1])])
        return writer.digest
