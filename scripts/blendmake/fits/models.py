"""Kept models: every fit in its library's own format, and what is needed to predict new rows.

A folder holds the models (one per target, or one of all) and `models.json`: the family, each target's
models (several where it was bagged), what targets are that are not binary, the columns in their order
with the names of their levels (code 0 is the first), and the category codes that were seen in training.
Every model goes by its SHA-256, and `models.json` by a seal (see predicting).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from blendmake.digests import sha256
from blendmake.files import digest_of, replacing, write_text
from blendmake.matrix import Column
from blendmake.tasks.base import Target, note_of_targets

DESCRIPTION = "models.json"
CONSTANT = ".constant.json"  # suffix of the model of a target that there was nothing to learn of


@dataclass(frozen=True)
class Kept:
    """A fitted model of a target.

    `rows`: which training rows it has seen (a key of the known codes). `columns`: what it reads.
    `share`: share of the negatives that it saw. `outputs`: of a model of several targets, from which of
    its outputs to before which are the target's.
    """

    target: str
    path: Path
    rows: str
    columns: Sequence[Column]
    share: float = 1.0
    outputs: tuple[int, int] | None = None


def short_name(target: str) -> str:
    """A target's name as part of a file name."""
    return quote(target, safe="")[:100]


def save_constant(values: Sequence[float], stem: Path) -> Path:
    """Write the model that predicts the same values (outputs,) for every row."""
    path = stem.with_name(stem.name + CONSTANT)
    write_text(json.dumps({"constant": list(values)}), path)
    return path


def keep_models(
    folder: Path,
    models: Sequence[Kept],
    family: str,
    columns: Sequence[Column],
    level_names: Mapping[str, Sequence[str]],
    known: Mapping[str, Mapping[int, Any]],
    targets: Sequence[Target],
) -> None:
    """Copy models into `folder` and describe them.

    Args:
        family: module of their family.
        columns: the feature set's columns, in order.
        level_names: of category columns, what their codes 0, 1, … stand for.
        known: by Kept.rows: what was seen in training (matrix.known_values).
        targets: what the targets are.
    """
    listed: dict[str, list[dict[str, Any]]] = {}
    names: dict[Path, str] = {}
    digests: dict[str, str] = {}
    for one in models:
        bags = listed.setdefault(one.target, [])
        if one.path not in names:
            suffix = CONSTANT if one.path.name.endswith(CONSTANT) else one.path.suffix
            bag = f"-bag{len(bags)}" if bags else ""
            # With a digest: names may be alike in what is left of them, or be `models`.
            name = f"{short_name(one.target)}-{digest_of(one.target)[:12]}{bag}{suffix}"
            with replacing(folder / name) as temporary:
                shutil.copyfile(one.path, temporary)
                digests[name] = sha256(temporary)
            names[one.path] = name
        name = names[one.path]
        entry: dict[str, Any] = {"file": name, "sha256": digests[name], "known_codes": one.rows}
        entry["negatives_kept"] = one.share
        if one.outputs is not None:
            entry["outputs"] = list(one.outputs)
        if len(one.columns) < len(columns):
            entry["columns"] = [column.name for column in one.columns]
        bags.append(entry)
    description = {
        "family": family,
        "models": listed,
        **note_of_targets(targets),
        "columns": [
            {**vars(column), "level_names": list(level_names.get(column.name, ()))}
            for column in columns
        ],
        "known_codes": {
            rows: {
                columns[index].name: np.flatnonzero(seen).tolist()
                for index, seen in values.items()
                if columns[index].is_category
            }
            for rows, values in known.items()
        },
    }
    wide = {
        rows: {
            columns[index].name: seen.tolist()
            for index, seen in values.items()
            if not columns[index].is_category
        }
        for rows, values in known.items()
    }
    if any(wide.values()):
        description["known_numbers"] = wide
    write_description(description, folder)


def write_description(description: Mapping[str, Any], folder: Path) -> None:
    """Write `models.json`, sealed."""
    rest = json.loads(json.dumps({k: v for k, v in description.items() if k != "seal"}))
    write_text(json.dumps({**rest, "seal": digest_of(rest)}, indent=1), folder / DESCRIPTION)
