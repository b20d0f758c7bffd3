"""The file that is handed in: ids, columns, order and dtypes as the sample asks."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import read_note, replacing, write_parquet
from blendmake.predictions import PROBABILITY, RANK, SCALE, read_predictions
from blendmake.tables.ids import given_id_columns, order_by, read_ids
from blendmake.tables.user_files import UserTable


def read_sample(
    sample: str,
    ids: pa.Table,
    out: Path,
    *,
    id_columns: Sequence[str],
    targets: Sequence[str],
    rename: Mapping[str, str] | None,
    note: Mapping[str, Any],
    csv_format: Mapping[str, Any] | None = None,
) -> None:
    """Check a sample submission before anything is fitted, and keep it as parquet.

    Args:
        ids: ids of the test rows; the sample must hold exactly these, in any order.
        id_columns: as for `write_submission`.
        targets, rename: as for `write_submission`.
        csv_format: `data.csv` of the config.

    Raises:
        BlendmakeError: an id or a column is missing, extra or repeated; names it.
    """
    table = UserTable(sample, ids.column_names, csv_format)
    names = _column_names(targets, rename, ids)
    found, _ = _match(table, ids, id_columns, names)
    asked = [name for name in table.schema.names if name in found or name in names]
    write_parquet(table.read(asked), out, note)


def write_submission(
    predictions: Path,
    sample: str | None,
    out: Path,
    *,
    id_columns: Sequence[str],
    targets: Sequence[str],
    rename: Mapping[str, str] | None,
    note: Mapping[str, Any],
    out_csv: Path | None = None,
) -> None:
    """Write a submission from a test.parquet.

    Args:
        sample: the sample submission, or None: ids and columns as in the predictions.
        id_columns: those of the config; none: a sample without the position goes by its rows' order.
        targets: all targets of the problem: a submission must cover them.
        rename: `pattern` and `replace`, the naming rule from target to column.

    Raises:
        BlendmakeError: an id or a column is missing, extra or repeated; names it.
    """
    found = read_predictions(predictions)
    lacking = [target for target in targets if target not in found.targets]
    if lacking:
        raise BlendmakeError(
            f"{predictions} does not cover target '{lacking[0]}' ({len(lacking)} in all). Give its "
            "blend a fallback, or a source that covers all targets."
        )
    ids = found.ids
    names = _column_names(found.outputs, rename, ids)
    values = {name: pa.array(found.values[:, j].astype(np.float64)) for j, name in enumerate(names)}
    if sample is None:
        table = pa.table({**dict(zip(ids.column_names, ids.columns, strict=True)), **values})
    else:
        table = _shaped(ids, id_columns, values, UserTable(sample, ids.column_names))
    if not found.are_values:
        logging.getLogger(__name__).warning(
            "%s holds %s, not probabilities: the same to a competition scored by AUC, useless to one "
            "scored by log loss or Brier score. A blend with calibrate: logistic has probabilities.",
            out,
            "ranks" if found.note.get(SCALE) == RANK else "values outside [0, 1]",
        )
    write_parquet(table, out, {**note, SCALE: PROBABILITY if found.are_values else RANK})
    if out_csv is not None:
        with replacing(out_csv) as temporary:
            csv.write_csv(table, temporary, csv.WriteOptions(quoting_style=_quoting(table)))


def _quoting(table: pa.Table) -> str:
    """Texts stand without quotes, as most people write ids, unless one of them needs some."""
    texts = [column for column in table.columns if pa.types.is_string(column.type)]
    special = any(pc.any(pc.match_substring_regex(t, '[",\r\n]')).as_py() for t in texts)
    return "needed" if special else "none"


def what_it_holds(path: Path) -> str:
    """What a list of files adds to a submission's path, ` (probabilities)`; empty of other files."""
    scale = read_note(path).get(SCALE) if path.suffix == ".parquet" else None
    return {PROBABILITY: " (probabilities)", RANK: " (no probabilities: ranks or scores)"}.get(
        str(scale), ""
    )


def _column_names(
    targets: Sequence[str], rename: Mapping[str, str] | None, ids: pa.Table
) -> list[str]:
    """The submission's column of each target."""
    names = list(targets)
    if rename:
        names = [re.sub(rename["pattern"], rename["replace"], target) for target in targets]
    taken = [*ids.column_names, *names]
    twice = next((name for name in taken if taken.count(name) > 1), None)
    if twice is not None:
        raise BlendmakeError(
            f"submissions.rename gives the column name '{twice}' twice: two targets, or a target and "
            "the id, would share it."
        )
    return names


def _match(
    sample: UserTable, ids: pa.Table, given: Sequence[str], names: Sequence[str]
) -> tuple[list[str], NDArray[np.int64] | None]:
    """The sample's id columns, and which of its rows each of `ids` is (None: in order)."""
    id_columns = given_id_columns(sample, ids, given)
    read_ids(sample, id_columns)
    columns = [name for name in sample.names if name not in id_columns]
    missing = [name for name in columns if name not in names]
    extra = [name for name in names if name not in columns]
    if missing or extra:
        what = [f"asks for column '{name}', which no target gives" for name in missing[:1]]
        what += [f"has no column for '{name}'" for name in extra[:1]]
        raise BlendmakeError(
            f"{sample.path} {' and '.join(what)}. Correct submissions.rename (targets give "
            f"{', '.join(names[:3])}, …) or the sample."
        )
    return id_columns, order_by(ids, sample, id_columns)


def _shaped(
    ids: pa.Table, given: Sequence[str], values: Mapping[str, pa.Array], sample: UserTable
) -> pa.Table:
    id_columns, order = _match(sample, ids, given, list(values))
    if order is not None:
        inverse = np.empty(len(order), np.int64)
        inverse[order] = np.arange(len(order))
        values = {name: pc.take(column, pa.array(inverse)) for name, column in values.items()}
    arrays = []
    asked = [field for field in sample.schema if field.name in id_columns or field.name in values]
    for field in asked:
        if field.name in id_columns:
            arrays.append(sample.read([field.name])[field.name])
        else:
            wanted = field.type if pa.types.is_floating(field.type) else pa.float64()
            arrays.append(values[field.name].cast(wanted))
    return pa.table(arrays, names=[field.name for field in asked])
