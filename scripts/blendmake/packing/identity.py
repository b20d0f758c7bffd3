"""Whether two machines have the same rows, labels, features and folds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blendmake.files import content_digest, note_of, read_note, read_parquet
from blendmake.matrix import TableFile


def identity(files: Mapping[str, str]) -> dict[str, Any]:
    """What identifies the data and the folds of a problem, whatever code and versions made the files.

    Args:
        files: `columns`, `targets`, `folds`; `test` (the table of the test rows), `groups` and
            `test_labels`, where there are such.

    Raises:
        BlendmakeError: a file is missing or damaged.
    """
    paths = {name: Path(file) for name, file in files.items()}
    targets = read_parquet(paths["targets"])
    ids = note_of(targets)["id_columns"]
    columns, folds = read_note(paths["columns"]), read_note(paths["folds"])
    found: dict[str, Any] = {
        "ids": content_digest(targets.select(ids)),
        "labels": {
            name: content_digest(targets.select([name]))
            for name in targets.column_names
            if name not in ids
        },
        "features": {"columns": columns["content"], **columns["digests"]},
        "folds": folds["content"],
        "n": folds["n"],
    }
    if paths["test"].exists():  # a cache, which may be gone
        found["test_ids"] = content_digest(TableFile(paths["test"]).table(columns["id_columns"]))
    more = [name for name in ("groups", "test_labels") if name in paths and paths[name].exists()]
    return found | {name: read_note(paths[name])["content"] for name in more}


def differences(theirs: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What keeps predictions made on one machine from being used on the other; with the mend."""
    data = "Both machines need the same files of the user's"
    if theirs["ids"] != own["ids"]:
        return [f"the train rows are others (their ids, or the order). {data} (data.train)."]
    found = []
    if list(theirs["labels"]) != list(own["labels"]):
        found.append(
            "the targets are others: "
            f"{_some(theirs['labels'])} there, {_some(own['labels'])} here (data.targets)."
        )
    else:
        differ = [
            name for name, digest in own["labels"].items() if theirs["labels"][name] != digest
        ]
        if differ:
            found.append(f"the labels of {_some(differ)} differ. {data} (data.targets).")
    if _differ("test_ids", theirs, own):
        found.append(f"the test rows are others. {data} (data.test).")
    elif theirs["features"] != own["features"]:
        found.append(
            "the feature tables differ, in columns or values. "
            f"{data}, and the same data section in the config."
        )
    if _differ("groups", theirs, own):
        found.append(f"the groups of the rows differ. {data} (data.groups).")
    if _differ("test_labels", theirs, own):
        found.append(f"the labels of the test rows differ. {data} (data.test_targets).")
    if theirs["folds"] != own["folds"]:
        found.append(
            "the folds differ "
            f"({theirs['n']} there, {own['n']} here): give both machines the same folds and seed in "
            "the config, and the same versions of the pinned packages."
        )
    return found


def _differ(key: str, theirs: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    return key in theirs and key in own and theirs[key] != own[key]


def _some(names: Any) -> str:
    listed = [f"'{name}'" for name in names]
    return ", ".join(listed[:5]) + (f" … ({len(listed)})" if len(listed) > 5 else "")
