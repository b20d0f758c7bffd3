"""The file that is handed in: ids, columns, order and dtypes as the sample asks."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import replacing, write_parquet
from blendmake.predictions import read_predictions
from blendmake.user_files import POSITION, UserTable, order_by, read_ids


def write_submission(
    predictions: Path,
    sample: str | None,
    out: Path,
    *,
    targets: Sequence[str],
    rename: Mapping[str, str] | None,
    note: Mapping[str, Any],
    out_csv: Path | None = None,
) -> None:
    """Write a submission from a test.parquet.

    Args:
        sample: the sample submission, or None: ids and columns as in the predictions.
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
    names = {target: _renamed(target, rename) for target in found.targets}
    taken = [*found.ids.column_names, *names.values()]
    twice = next((name for name in taken if taken.count(name) > 1), None)
    if twice is not None:
        raise BlendmakeError(
            f"submissions.rename gives the column name '{twice}' twice: two targets, or a target and "
            "the id, would share it."
        )
    values = {
        names[target]: pa.array(found.values[:, j].astype(np.float64))
        for j, target in enumerate(found.targets)
    }
    ids = found.ids
    if sample is None:
        table = pa.table({**dict(zip(ids.column_names, ids.columns, strict=True)), **values})
    else:
        table = _shaped(ids, values, UserTable(sample))
    write_parquet(table, out, note)
    if out_csv is not None:
        with replacing(out_csv) as temporary:
            csv.write_csv(table, temporary)


def _renamed(target: str, rename: Mapping[str, str] | None) -> str:
    return re.sub(rename["pattern"], rename["replace"], target) if rename else target


def _shaped(ids: pa.Table, values: Mapping[str, pa.Array], sample: UserTable) -> pa.Table:
    id_columns = ids.column_names
    if id_columns == [POSITION] and POSITION not in sample.schema.names:
        id_columns = []
    read_ids(sample, id_columns)
    columns = [name for name in sample.schema.names if name not in id_columns]
    missing = [name for name in columns if name not in values]
    extra = [name for name in values if name not in columns]
    if missing or extra:
        what = [f"asks for column '{name}', which no target gives" for name in missing[:1]]
        what += [f"has no column for '{name}'" for name in extra[:1]]
        raise BlendmakeError(
            f"{sample.path} {' and '.join(what)}. Correct submissions.rename (targets give "
            f"{', '.join(list(values)[:3])}, …) or the sample."
        )
    # The predictions in the order of the sample; its ids must be exactly the test ids.
    order = order_by(ids, sample, id_columns)
    if order is not None:
        inverse = np.empty(len(order), np.int64)
        inverse[order] = np.arange(len(order))
        values = {name: pc.take(column, pa.array(inverse)) for name, column in values.items()}
    arrays = []
    for field in sample.schema:
        if field.name in id_columns:
            arrays.append(sample.read([field.name])[field.name])
        else:
            wanted = field.type if pa.types.is_floating(field.type) else pa.float64()
            arrays.append(values[field.name].cast(wanted))
    return pa.table(arrays, names=sample.schema.names)
