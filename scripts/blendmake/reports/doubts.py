"""What on a leaderboard is too good to be believed without a look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blendmake.honest import TOLD_BY
from blendmake.labels import MACRO
from blendmake.tellers import teller_texts

TOO_GOOD = 0.999  # AUC
ENOUGH = 100  # positives, from which that is no chance
FAR, FAR_ERROR = (
    0.03,
    0.5,
)  # a source is far above the next: by so much, at most that share of 1 - AUC
OTHERS = 2  # sources beside it, so that there is something to be above of


def doubts_of(
    scores: Sequence[Mapping[str, Any]], note: Mapping[str, Any], honest: Sequence[str]
) -> list[str]:
    """What is doubtful about one entry by itself.

    Args:
        scores: rows of its scores.
        note: of its predictions.
        honest: estimates that count.
    """
    good = [
        row
        for row in scores
        if row["metric"] == "auc"
        and row["estimate"] in honest
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
        rows: of the leaderboard.
    """
    by_place: dict[Any, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["kind"] == "source" and row["macro_auc"] is not None:
            by_place.setdefault((row["targets"], row["folds"]), []).append(row)
    found = {}
    for place in by_place.values():
        best, *others = sorted(place, key=lambda row: -row["macro_auc"])
        if len(others) < OTHERS:
            continue
        gap = best["macro_auc"] - others[0]["macro_auc"]
        apart = (best["ci_low"] or 0) > (others[0]["ci_high"] or 1)
        if (
            gap > FAR
            and 1 - best["macro_auc"] <= FAR_ERROR * (1 - others[0]["macro_auc"])
            and apart
        ):
            found[best["name"]] = (
                f"far above all other sources ({best['macro_auc']:.4f}; next {others[0]['name']}, "
                f"{others[0]['macro_auc']:.4f}). See what it knows that they do not"
            )
    return found
