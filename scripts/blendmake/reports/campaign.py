"""The manifest of a campaign: what of it stands, how good it is, and why the rest is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.files import note_of, read_parquet, write_text
from blendmake.honest import ALL
from blendmake.reports.headline import Headline, read_headline
from blendmake.reports.measures import number_text


def manifest(
    items: Sequence[Mapping[str, Any]], reasons: Mapping[str, str], copies: Path = Path()
) -> list[dict[str, Any]]:
    """One entry per artifact, in the campaign's order.

    Args:
        items: `label`, `files` (all that it consists of); of what has predictions also `oof_path`,
            `test_path`, `scores` and, where it is fitted here, `fits`.
        reasons: why an artifact is missing, by label, where that is known.
        copies: where the files are looked for, if not in this folder.

    Returns:
        label, state (built or missing), reason; of what has predictions oof_path and test_path (the
        form that `manifests:` reads), digest, metric and (macro) score with the number of targets and
        the folds that it is of, seconds (of its own fits). What does not match its checksums is missing.
    """
    return [_entry(item, reasons.get(item["label"], ""), copies) for item in items]


def _entry(item: Mapping[str, Any], reason: str, copies: Path) -> dict[str, Any]:
    entry: dict[str, Any] = {"label": item["label"]}
    absent = [file for file in item["files"] if not (copies / file).exists()]
    if absent:
        first = f"{absent[0]} is not there" + (f" ({len(absent)} files)" if len(absent) > 1 else "")
        return {**entry, "state": "missing", "reason": reason or first}
    entry["state"] = "built"
    if "oof_path" not in item:
        return entry
    try:
        paths = [copies / item[f"{part}_path"] for part in ("oof", "test")]
        notes = [note_of(read_parquet(path)) for path in paths]
        found = read_headline(copies / item["scores"])
        return {
            **entry,
            "oof_path": item["oof_path"],
            "test_path": item["test_path"],
            "digest": notes[0]["content"],
            "metric": found.metric,
            "score": found.score,
            "targets": found.targets,
            "folds": found.folds,
            "seconds": _seconds(copies / item["fits"]) if "fits" in item else None,
        }
    except BlendmakeError as error:
        return {"label": item["label"], "state": "missing", "reason": str(error)}


def _seconds(fits: Path) -> float:
    return float(sum(read_parquet(fits)["seconds"].to_pylist()))


def write_manifest(path: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Write a manifest as JSON, a list of its entries."""
    write_text(json.dumps(list(entries), indent=1) + "\n", path)


def manifest_text(name: str, entries: Sequence[Mapping[str, Any]], path: Path) -> str:
    """A manifest as a table for the terminal."""
    built = sum(entry["state"] == "built" for entry in entries)
    width = max([len(entry["label"]) for entry in entries], default=0)
    lines = [f"campaign {name}: {built} of {len(entries)} artifacts are built ({path})"]
    most = max((entry.get("targets", 0) for entry in entries), default=0)
    for entry in entries:
        value, seconds = entry.get("score"), entry.get("seconds")
        score = number_text(value)
        spent = "" if seconds is None else f"{seconds:.0f} s"
        told = f"  missing: {entry['reason']}" if entry["state"] == "missing" else ""
        if value is not None:
            metric = entry.get("metric", "")
            on = Headline(value, metric, entry.get("targets", most), entry.get("folds", ALL))
            other = on.measured_on(most)
            told += f"  on {other}" if other else ""
        lines.append(f"  {entry['label']:<{width}}  {score:>6}  {spent:>8}{told}".rstrip())
    return "\n".join(lines)
