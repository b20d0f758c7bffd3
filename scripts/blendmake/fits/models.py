"""Kept models: every fit in its library's own format, and what is needed to predict new rows.

A folder holds the models (one per target, or one of all) and `models.json`: the family, each target's
models (several where it was bagged), the columns in their order with the names of their levels (code 0
is the first), and the category codes that were seen in training.
"""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from blendmake.features.files import FeatureSetFiles
from blendmake.files import digest_of, replacing, write_text
from blendmake.fits.bagging import undo_undersampling
from blendmake.fits.store import mean_prediction
from blendmake.matrix import Column, Floats, Rows

CONSTANT = ".constant.json"  # suffix of the model of a target without two classes to learn from


@dataclass(frozen=True)
class Kept:
    """A fitted model of a target.

    `rows`: which training rows it has seen (a key of the known codes). `columns`: what it reads.
    `share`: share of the negatives that it saw. `column`: of a model of several targets, which of its
    outputs is the target's.
    """

    target: str
    path: Path
    rows: str
    columns: Sequence[Column]
    share: float = 1.0
    column: int | None = None


def short_name(target: str) -> str:
    """A target's name as part of a file name."""
    return quote(target, safe="")[:100]


def save_constant(value: float, stem: Path) -> Path:
    """Write the model that predicts one value."""
    path = stem.with_name(stem.name + CONSTANT)
    write_text(json.dumps({"constant": value}), path)
    return path


def keep_models(
    folder: Path,
    models: Sequence[Kept],
    family: str,
    columns: Sequence[Column],
    level_names: Mapping[str, Sequence[str]],
    known: Mapping[str, Mapping[int, Any]],
) -> None:
    """Copy models into `folder` and describe them.

    Args:
        family: module of their family.
        columns: the feature set's columns, in order.
        level_names: of category columns, what their codes 0, 1, … stand for.
        known: by Kept.rows: which codes were seen in training (matrix.known_codes).
    """
    listed: dict[str, list[dict[str, Any]]] = {}
    names: dict[Path, str] = {}
    for one in models:
        bags = listed.setdefault(one.target, [])
        if one.path not in names:
            suffix = CONSTANT if one.path.name.endswith(CONSTANT) else one.path.suffix
            bag = f"-bag{len(bags)}" if bags else ""
            # With a digest: names may be alike in what is left of them, or be `models`.
            name = f"{short_name(one.target)}-{digest_of(one.target)[:12]}{bag}{suffix}"
            with replacing(folder / name) as temporary:
                shutil.copyfile(one.path, temporary)
            names[one.path] = name
        entry = {"file": names[one.path], "known_codes": one.rows, "negatives_kept": one.share}
        if one.column is not None:
            entry["output"] = one.column
        if len(one.columns) < len(columns):
            entry["columns"] = [column.name for column in one.columns]
        bags.append(entry)
    description = {
        "family": family,
        "models": listed,
        "columns": [
            {**vars(column), "level_names": list(level_names.get(column.name, ()))}
            for column in columns
        ],
        "known_codes": {
            rows: {
                columns[index].name: np.flatnonzero(seen).tolist() for index, seen in codes.items()
            }
            for rows, codes in known.items()
        },
    }
    write_text(json.dumps(description, indent=1), folder / "models.json")


def predict_models(models: Path, target: str, files: FeatureSetFiles, threads: int = 1) -> Floats:
    """Predict rows with a kept model.

    Args:
        models: the folder `models` of one fold of a source with `keep_models`.
        files: the source's feature set over the rows to predict.

    Returns:
        (rows,) float32: what the model gave for these rows when it was fitted.
    """
    description = json.loads((models / "models.json").read_text(encoding="utf-8"))
    return mean_prediction(
        [
            undo_undersampling(
                _predict_one(models, description, entry, files, threads), entry["negatives_kept"]
            )
            for entry in description["models"][target]
        ]
    )


def _predict_one(
    models: Path,
    description: Mapping[str, Any],
    entry: Mapping[str, Any],
    files: FeatureSetFiles,
    threads: int,
) -> Floats:
    path = models / entry["file"]
    if path.name.endswith(CONSTANT):
        value = json.loads(path.read_text(encoding="utf-8"))["constant"]
        return np.full(files.rows, value, np.float32)
    read = set(entry.get("columns", [column.name for column in files.columns]))
    columns = [column for column in files.columns if column.name in read]
    known = {}
    codes = description["known_codes"][entry["known_codes"]]
    for index, column in enumerate(columns):
        if column.is_category:
            known[index] = np.zeros(column.levels, bool)
            known[index][codes[column.name]] = True
    rows = Rows(dict(files.files), columns, np.arange(files.rows), known)
    predict = importlib.import_module(description["family"]).predict_saved
    values = np.asarray(predict(path, rows, threads), np.float32)
    return np.ascontiguousarray(values[:, entry["output"]]) if "output" in entry else values
