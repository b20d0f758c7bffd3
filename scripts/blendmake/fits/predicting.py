"""Predictions of kept models, for rows that were not there when they were fitted.

Nothing is loaded that is not what was written: `models.json` goes by its seal, every model by its
SHA-256. Nor does a file decide what is run: its family is looked up in the registry, its models stand
beside it.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from blendmake.digests import sha256
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES
from blendmake.family import Predictions
from blendmake.features.files import FeatureSetFiles
from blendmake.files import digest_of
from blendmake.fits.bagging import undo_undersampling
from blendmake.fits.models import CONSTANT, DESCRIPTION
from blendmake.fits.store import mean_prediction
from blendmake.matrix import Rows
from blendmake.tasks.base import targets_of_note

MOST_BYTES = 2**30  # of a description: some hundred bytes for each model, column and level


def predict_models(
    models: Path, target: str, files: FeatureSetFiles, threads: int = 1
) -> Predictions:
    """Predict rows with a kept model.

    Args:
        models: the folder `models` of one fold of a source with `keep_models`.
        files: the source's feature set over the rows to predict.

    Returns:
        (rows, outputs): what the model gave for these rows when it was fitted.

    Raises:
        BlendmakeError: the model or its description is missing or damaged.
    """
    description = read_description(models)
    if target not in description["models"]:
        raise BlendmakeError(
            f"{models / DESCRIPTION} has no model of '{target}'; "
            f"it has {', '.join(list(description['models'])[:20])}."
        )
    return mean_prediction(
        [
            undo_undersampling(
                _predict_one(models, description, target, entry, files, threads),
                entry["negatives_kept"],
            )
            for entry in description["models"][target]
        ]
    )


def _predict_one(
    models: Path,
    description: Mapping[str, Any],
    target: str,
    entry: Mapping[str, Any],
    files: FeatureSetFiles,
    threads: int,
) -> Predictions:
    path = _model_file(models, entry)
    (one,) = targets_of_note([target], description)
    kind = np.float64 if one.task.name == "regression" else np.float32
    if path.name.endswith(CONSTANT):
        values = json.loads(path.read_text(encoding="utf-8"))["constant"]
        return np.tile(np.asarray(values, kind), (files.rows, 1))
    read = set(entry.get("columns", [column.name for column in files.columns]))
    columns = [column for column in files.columns if column.name in read]
    known = {}
    codes = description["known_codes"][entry["known_codes"]]
    numbers = description.get("known_numbers", {}).get(entry["known_codes"], {})
    for index, column in enumerate(columns):
        if column.is_category:
            known[index] = np.zeros(column.levels, bool)
            known[index][codes[column.name]] = True
        elif column.name in numbers:
            known[index] = np.array(numbers[column.name], np.float64)
    rows = Rows(dict(files.files), columns, np.arange(files.rows), known)
    predict = importlib.import_module(description["family"]).predict_saved
    found: Predictions = predict(path, rows, threads)
    return np.ascontiguousarray(found[:, slice(*entry["outputs"])]) if "outputs" in entry else found


def read_description(folder: Path) -> dict[str, Any]:
    """What `models.json` of a folder says.

    Raises:
        BlendmakeError: it is not there, damaged, or of a family that the registry does not list.
    """
    path = folder / DESCRIPTION
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size:,} bytes")
        description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        rest = {key: value for key, value in description.items() if key != "seal"}
        if description.get("seal") != digest_of(rest):
            raise ValueError("it does not match its seal")
    except FileNotFoundError:
        raise BlendmakeError(
            f"{path} does not exist. Models are kept where the source says `keep_models: true`."
        ) from None
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if description.get("family") not in FAMILIES.values():
        raise BlendmakeError(
            f"{path} names the family '{description.get('family')}', which this version of blendmake "
            "does not have: its models cannot be used here."
        )
    return description


def _damaged(path: Path, reason: str) -> BlendmakeError:
    """The error for a kept model that cannot be trusted; its fold is fitted again."""
    fold = path.parent.parent
    first = reason.strip().split("\n")[0]
    return BlendmakeError(
        f"{path} is damaged ({first}). Fit its fold again: rm -r {fold} {fold.parent}/oof.parquet, then "
        "run the command that fitted it."
    )


def _model_file(models: Path, entry: Mapping[str, Any]) -> Path:
    """The file of a model, whole and in its folder.

    Raises:
        BlendmakeError: it is missing, damaged, or named elsewhere.
    """
    name = str(entry["file"])
    path = models / name
    if name != Path(name).name or name in ("", "..") or path.is_symlink():
        raise _damaged(models / DESCRIPTION, f"'{name}' is no file of its folder")
    if not path.is_file():
        raise _damaged(path, "No such file")
    if sha256(path) != entry.get("sha256"):
        raise _damaged(path, "its content does not match the digest in models.json")
    return path
