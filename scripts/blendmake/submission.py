"""The file that is handed in: ids, columns, order and dtypes as the sample asks."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import read_note, replacing, write_parquet
from blendmake.predictions import PROBABILITY, RANK, SCALE, Predictions, read_predictions
from blendmake.tables.ids import given_id_columns, order_by, read_ids
from blendmake.tables.user_files import UserTable
from blendmake.tasks.base import Target

VALUE = "value"  # of the note's scale: no probabilities, and none wanted


def read_sample(
    sample: str,
    ids: pa.Table,
    out: Path,
    *,
    id_columns: Sequence[str],
    targets: Sequence[Target],
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
    forms = _forms_of(table, ids, targets, rename)
    names = [name for form in forms for name in form.names]
    found, _ = _match(table, ids, id_columns, names)
    asked = [name for name in table.schema.names if name in found or name in names]
    write_parquet(table.read(asked), out, note)


def write_submission(
    predictions: Path,
    sample: str | None,
    out: Path,
    *,
    id_columns: Sequence[str],
    targets: Sequence[Target],
    rename: Mapping[str, str] | None,
    note: Mapping[str, Any],
    out_csv: Path | None = None,
) -> None:
    """Write a submission from a test.parquet.

    Args:
        sample: the sample submission, or None: ids and columns as in the predictions.
        id_columns: those of the config; none: a sample without the position goes by its rows' order.
        targets: all targets of the problem: a submission must cover them.
        rename: `pattern` and `replace`, the naming rule from output to column.

    Of a target with classes the sample may have a column for each class, called as the outputs are or
    as the classes; or one column, which is given the most probable class.

    Raises:
        BlendmakeError: an id or a column is missing, extra or repeated; names it.
    """
    found = read_predictions(predictions)
    lacking = [target.name for target in targets if target.name not in found.targets]
    if lacking:
        raise BlendmakeError(
            f"{predictions} does not cover target '{lacking[0]}' ({len(lacking)} in all). Give its "
            "blend a fallback, or a source that covers all targets."
        )
    ids = found.ids
    table_of = None if sample is None else UserTable(sample, ids.column_names)
    forms = _forms_of(table_of, ids, found.of, rename)
    values = _columns(found, forms)
    if table_of is None:
        table = pa.table({**dict(zip(ids.column_names, ids.columns, strict=True)), **values})
    else:
        table = _shaped(ids, id_columns, values, table_of)
    if not found.are_values:
        logging.getLogger(__name__).warning(
            "%s holds %s, not probabilities: the same to a competition scored by AUC, useless to one "
            "scored by log loss or Brier score. A blend with calibrate: logistic has probabilities.",
            out,
            "ranks" if found.note.get(SCALE) == RANK else "values outside [0, 1]",
        )
    write_parquet(table, out, {**note, SCALE: _scale(found, forms)})
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


@dataclass(frozen=True)
class _Form:
    """How a target stands in a submission: its columns; or as its most probable class, in one."""

    names: tuple[str, ...]
    is_label: bool = False


def _forms_of(
    sample: UserTable | None,
    ids: pa.Table,
    targets: Sequence[Target],
    rename: Mapping[str, str] | None,
) -> list[_Form]:
    """How each target stands in a submission: the first way whose columns the sample has."""
    forms = []
    for target in targets:
        possible = _possible(target, rename)
        has = [form for form in possible if sample is not None and all(map(sample.has, form.names))]
        forms.append(has[0] if has else possible[0])
    taken = [*ids.column_names, *(name for form in forms for name in form.names)]
    twice = next((name for name in taken if taken.count(name) > 1), None)
    if twice is not None:
        raise BlendmakeError(
            f"submissions.rename gives the column name '{twice}' twice: two targets, or a target and "
            "the id, would share it."
        )
    return forms


def _possible(target: Target, rename: Mapping[str, str] | None) -> list[_Form]:
    def renamed(name: str) -> str:
        return re.sub(rename["pattern"], rename["replace"], name) if rename else name

    forms = [_Form(tuple(map(renamed, target.outputs)))]
    if target.classes:
        forms += [_Form(target.classes), _Form((renamed(target.name),), is_label=True)]
    return forms


def _columns(found: Predictions, forms: Sequence[_Form]) -> dict[str, pa.Array]:
    """The columns of a submission by name, in the order of the predictions' rows."""
    columns: dict[str, pa.Array] = {}
    for target, form in zip(found.of, forms, strict=True):
        values = found.select([target.name]).values.astype(np.float64)
        if form.is_label:
            best = np.argmax(values, axis=1)
            columns[form.names[0]] = pa.array(target.classes, pa.string()).take(pa.array(best))
        else:
            columns |= {name: pa.array(values[:, j]) for j, name in enumerate(form.names)}
    return columns


def _scale(found: Predictions, forms: Sequence[_Form]) -> str:
    """What a submission holds."""
    if not found.are_values:
        return RANK
    are_numbers = all(not target.classes and target.task.high > 1 for target in found.of)
    return VALUE if are_numbers or any(form.is_label for form in forms) else PROBABILITY


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
            arrays.append(_cast(values[field.name], field, sample))
    return pa.table(arrays, names=[field.name for field in asked])


def _cast(values: pa.Array, field: pa.Field, sample: UserTable) -> pa.Array:
    """Values in the sample's type where that is one of theirs."""
    if not pa.types.is_string(values.type):
        return values.cast(field.type if pa.types.is_floating(field.type) else pa.float64())
    try:
        return values.cast(field.type)
    except pa.ArrowInvalid:
        raise BlendmakeError(
            f"{sample.path}: column '{field.name}' is {field.type}, but the classes are "
            f"'{values[0].as_py()}', …. Give the sample the classes as the labels have them."
        ) from None
