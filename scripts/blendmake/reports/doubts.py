"""What on a leaderboard is too good to be believed without a look."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from blendmake.files import note_of, read_note, read_parquet
from blendmake.honest import HONEST, TOLD_BY
from blendmake.score_names import MACRO
from blendmake.tellers import teller_texts

DOUBTS = "doubts"  # key of the leaderboard's note
TOO_GOOD = 0.999  # AUC
ENOUGH = 100  # positives, from which that is no chance
FAR, FAR_ERROR = (
    0.03,
    0.5,
)  # a source is far above the next: by so much, at most that share of 1 - AUC
OTHERS = 2  # sources beside it, so that there is something to be above of


class Scored(Protocol):
    """An entry of the leaderboard: its files."""

    name: str
    kind: str
    oof: Path
    scores: Path


def board_doubts(entries: Sequence[Scored]) -> list[str]:
    """What is doubtful about some entries, by themselves and beside each other, in sentences.

    What is said of several entries is said once.
    """
    said: dict[str, list[str]] = {}
    rows = []
    for entry in entries:
        scores = read_parquet(entry.scores).to_pylist()
        for doubt in doubts_of(scores, read_note(entry.oof)):
            said.setdefault(doubt, []).append(entry.name)
        rows += [_macro(entry, scores)] if entry.kind == "source" else []
    for name, doubt in far_above([row for row in rows if row]).items():
        said.setdefault(doubt, []).append(name)
    return [f"{_names(names)}: {doubt}" for doubt, names in said.items()]


def doubt_lines(leaderboard: pa.Table, width: int = 100) -> list[str]:
    """What the leaderboard's note says is doubtful, in lines of that width at most."""
    return [
        line
        for text in note_of(leaderboard).get(DOUBTS, [])
        for line in textwrap.wrap(f"DOUBTFUL {text}.", width, subsequent_indent="  ")
    ]


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _macro(entry: Scored, scores: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row that `far_above` looks at; empty where there is no AUC."""
    honest = [s for s in scores if s["estimate"] in HONEST and s["metric"] == "auc"]
    macro = [s for s in honest if s["target"] == MACRO and s["value"] is not None]
    if not macro:
        return {}
    targets = frozenset(s["target"] for s in honest)
    row = {"name": entry.name, "targets": targets, "score": macro[0]["value"]}
    return row | {key: macro[0].get(key) for key in ("ci_low", "ci_high", "folds")}


def doubts_of(scores: Sequence[Mapping[str, Any]], note: Mapping[str, Any]) -> list[str]:
    """What is doubtful about one entry by itself.

    Args:
        scores: rows of its scores.
        note: of its predictions.
    """
    good = [
        row
        for row in scores
        if row["metric"] == "auc"
        and row["estimate"] in HONEST
        and row["target"] != MACRO
        and (row["value"] or 0) > TOO_GOOD
        and row["positives"] > ENOUGH
    ]
    doubts = teller_texts(note.get(TOLD_BY, []))
    if good:
        best = max(good, key=lambda row: row["value"])
        others = f" (and {len(good) - 1} more)" if len(good) > 1 else ""
        doubts.append(
            f"too good: an AUC of {best['value']:.5f} for '{best['target']}'{others} with "
            f"{best['positives']} positives. Look for a column that holds the answer, and for rows that "
            "occur twice"
        )
    return doubts


def far_above(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """By name, the source that stands far above all others scored on the same targets and folds.

    Args:
        rows: name, targets, folds, score, ci_low, ci_high of each source.
    """
    by_place: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_place.setdefault((row["targets"], row["folds"]), []).append(row)
    found = {}
    for place in by_place.values():
        best, *others = sorted(place, key=lambda row: -row["score"])
        if len(others) < OTHERS:
            continue
        gap = best["score"] - others[0]["score"]
        apart = (best["ci_low"] or 0) > (others[0]["ci_high"] or 1)
        if gap > FAR and 1 - best["score"] <= FAR_ERROR * (1 - others[0]["score"]) and apart:
            found[best["name"]] = (
                f"far above all other sources ({best['score']:.4f}; next {others[0]['name']}, "
                f"{others[0]['score']:.4f}). See what it knows that they do not"
            )
    return found
