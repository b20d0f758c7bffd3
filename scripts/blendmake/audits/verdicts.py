"""Audits put together from their folds: verdicts, and lists of columns to keep and to drop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.files import note_of, read_parquet, write_parquet, write_text

KEEP, DROP, UNDECIDED = "keep", "drop", "undecided"
LISTS = ("signal_only", "drift_pruned")

DROPS = pa.schema([("list", pa.string()), ("feature", pa.string())])
VERDICTS = pa.schema(
    [
        ("target", pa.string()),
        ("feature", pa.string()),
        ("effect", pa.float64()),  # mean over the folds in which it was tried
        ("z", pa.float64()),  # likewise
        ("share_positive", pa.float64()),  # share of all folds with an effect above 0
        ("folds", pa.int32()),  # in which it was tried
        ("verdict", pa.string()),
    ]
)
COLUMN_VERDICTS = pa.schema(
    [
        ("feature", pa.string()),
        ("file", pa.string()),  # null for a column that the feature set makes
        ("constant", pa.bool_()),
        ("all_null", pa.bool_()),
        ("duplicate_of", pa.string()),
        ("label_copy_of", pa.string()),
        ("drift_auc", pa.float64()),
        ("drift_z", pa.float64()),
        ("null_train", pa.float64()),
        ("null_test", pa.float64()),
        ("null_z", pa.float64()),
        ("adversarial_gain", pa.float64()),
        ("drifted", pa.bool_()),
        ("targets_kept", pa.int32()),  # for how many targets it is kept
        ("verdict", pa.string()),
        ("why", pa.string()),
    ]
)
MEASURES = ("drift_auc", "drift_z", "null_train", "null_test", "null_z", "adversarial_gain")

OPTIMISTIC = """\
# Columns to {list} by audit {audit}, from all folds. As a static list it is optimistic: every row's
# label had a say in it. A feature set with the key `audit` takes the lists of each fold instead.
"""
UNLISTED = "# made by the feature set, or a name that this list cannot hold: "


def judge_fold(
    features: Path, columns: Path, verdict: Mapping[str, Any], out: Path, note: Mapping[str, Any]
) -> None:
    """Write what one fold's audit would drop: `columns` (the list: see LISTS) and `feature`.

    Both lists drop constant columns, those without a value, duplicates and copies of a label.
    `signal_only` also drops columns that were tried for some target and had no effect for any;
    `drift_pruned` those that drifted. A column never tried is not dropped.

    Args:
        features, columns: of one fold (auditing.FEATURES, drift.COLUMNS).
        verdict: `z` and `drift` of config.audits.Audit.
    """
    best: dict[str, float] = {}
    for row in read_parquet(features).to_pylist():
        best[row["feature"]] = max(row["z"], best.get(row["feature"], row["z"]))
    rows = []
    checked = read_parquet(columns).to_pylist()
    for name in LISTS:
        for row in checked:
            silent = best.get(row["feature"], verdict["z"]) < verdict["z"]
            more = silent if name == "signal_only" else drifted(row, verdict)
            if flaw(row) or more:
                rows.append({"list": name, "feature": row["feature"]})
    write_parquet(pa.Table.from_pylist(rows, schema=DROPS), out, note)


def flaw(row: Mapping[str, Any]) -> str | None:
    """What makes a column useless before any model, or None."""
    if row["all_null"]:
        return "no value"
    if row["constant"]:
        return "constant"
    if row["duplicate_of"]:
        return f"duplicate of {row['duplicate_of']}"
    if row["label_copy_of"]:
        return f"copy of the label of {row['label_copy_of']}"
    return None


def drifted(row: Mapping[str, Any], verdict: Mapping[str, Any]) -> bool:
    """Whether a column's values, or its share of missing ones, differ between train and test."""
    if row["null_test"] is None:
        return False
    gaps = abs(row["null_test"] - row["null_train"]) >= verdict["drift"]
    if gaps and abs(row["null_z"]) >= verdict["z"]:
        return True
    if row["drift_auc"] is None:
        return False
    moved = abs(row["drift_auc"] - 0.5) >= verdict["drift"]
    return bool(moved and abs(row["drift_z"]) >= verdict["z"])


def assemble_audit(
    name: str,
    fold_files: Sequence[Mapping[str, Path]],
    columns_path: Path,
    verdict: Mapping[str, Any],
    out: Mapping[str, Path],
    lists: Mapping[str, Mapping[str, Path]],
    note: Mapping[str, Any],
) -> None:
    """Put an audit together.

    For a target a column is kept if its mean z over the folds in which it was tried is at least
    `z`, and its effect is above 0 in at least `share` of all folds; dropped if its mean z is less;
    else undecided. Over all targets it is kept if it is for one, and dropped if it was tried and is
    dropped for all, or has a flaw: without a value, constant or a duplicate in every fold, a
    copy of a label in any.

    Args:
        fold_files: per fold, in order: `features`, `columns`.
        columns_path: columns.parquet of the feature set.
        verdict: `z`, `share` and `drift` of config.audits.Audit.
        out: `features`, `columns`, and the lists of names `keep` and `drop`.
        lists: `keep` and `drop` by the name of a feature file: its columns only.
    """
    audited = [read_parquet(files["features"]).to_pylist() for files in fold_files]
    checked = [read_parquet(files["columns"]) for files in fold_files]
    drift = [note_of(table)["adversarial"] for table in checked]
    features = _verdicts(audited, verdict)
    by_feature: dict[str, list[str]] = {}
    for row in features:
        by_feature.setdefault(row["feature"], []).append(row["verdict"])
    origins = {
        row["name"]: row["file"] if row["origin"] == "table" else None
        for row in read_parquet(columns_path).to_pylist()
    }
    columns = [
        _column_verdict(list(rows), by_feature.get(rows[0]["feature"], []), origins, verdict)
        for rows in zip(*(table.to_pylist() for table in checked), strict=True)
    ]
    made = {**note, "optimistic": True, "adversarial": drift}
    for list_name in (KEEP, DROP):
        chosen = [row for row in columns if row["verdict"] == list_name]
        _write_list(name, list_name, chosen, out[list_name])
        for label, paths in lists.items():
            of_file = [row for row in chosen if row["file"] == label]
            _write_list(name, list_name, of_file, paths[list_name])
    write_parquet(pa.Table.from_pylist(columns, schema=COLUMN_VERDICTS), out["columns"], made)
    write_parquet(pa.Table.from_pylist(features, schema=VERDICTS), out["features"], made)


def _verdicts(
    audited: Sequence[Sequence[Mapping[str, Any]]], verdict: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Rows of VERDICTS; targets in their order, features by falling effect."""
    tried: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for rows in audited:
        for row in rows:
            tried.setdefault((row["target"], row["feature"]), []).append(row)
    places = {target: i for i, target in enumerate(dict.fromkeys(target for target, _ in tried))}
    found = []
    for (target, feature), rows_of in tried.items():
        z = float(np.mean([row["z"] for row in rows_of]))
        share = sum(row["effect"] > 0 for row in rows_of) / len(audited)
        steady = share >= verdict["share"]
        found.append(
            {
                "target": target,
                "feature": feature,
                "effect": float(np.mean([row["effect"] for row in rows_of])),
                "z": z,
                "share_positive": share,
                "folds": len(rows_of),
                "verdict": DROP if z < verdict["z"] else KEEP if steady else UNDECIDED,
            }
        )
    return sorted(found, key=lambda row: (places[row["target"]], -row["effect"], row["feature"]))


def _column_verdict(
    rows: Sequence[Mapping[str, Any]],
    verdicts: Sequence[str],
    origins: Mapping[str, str | None],
    verdict: Mapping[str, Any],
) -> dict[str, Any]:
    """A row of COLUMN_VERDICTS from the checks of one column in every fold."""
    first = rows[0]
    row: dict[str, Any] = {
        "feature": first["feature"],
        "file": origins[first["feature"]],
        "constant": all(one["constant"] for one in rows),
        "all_null": all(one["all_null"] for one in rows),
        "duplicate_of": first["duplicate_of"] if all(o["duplicate_of"] for o in rows) else None,
        "label_copy_of": next((o["label_copy_of"] for o in rows if o["label_copy_of"]), None),
        "drifted": sum(drifted(one, verdict) for one in rows) >= verdict["share"] * len(rows),
        "targets_kept": verdicts.count(KEEP),
        **{measure: _mean(one[measure] for one in rows) for measure in MEASURES},
    }
    flawed = flaw(row)
    if flawed:
        return row | {"verdict": DROP, "why": flawed}
    if KEEP in verdicts:
        return row | {"verdict": KEEP, "why": f"effect on {row['targets_kept']} targets"}
    if not verdicts:
        return row | {"verdict": UNDECIDED, "why": "never tried"}
    if UNDECIDED in verdicts:
        return row | {"verdict": UNDECIDED, "why": "effect in too few folds"}
    return row | {"verdict": DROP, "why": "no effect where it was tried"}


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _write_list(audit: str, name: str, rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write a list of columns as features.<set>.files.<file>.keep and .drop read it."""
    lines = []
    for row in rows:
        feature = row["feature"]
        # A made column is in no file; some names would be read as comments, or otherwise.
        plain = feature.strip() == feature and feature and not feature.startswith("#")
        whole = plain and len(feature.splitlines()) == 1
        lines.append(feature if row["file"] is not None and whole else UNLISTED + repr(feature))
    head = OPTIMISTIC.format(list=name, audit=audit)
    write_text(head + "".join(f"{line}\n" for line in lines), path)
