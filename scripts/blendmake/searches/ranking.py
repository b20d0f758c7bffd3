"""The best trials of a search by rank: what sources take their params from."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.searches.table import (
    COUNTED,
    Trial,
    ranked,
    rated,
    read_trials,
    sign_of,
    studies_of,
)

BEST = pa.schema(
    [
        ("study", pa.string()),
        ("source", pa.string()),
        ("rank", pa.int64()),
        ("number", pa.int64()),
        ("value", pa.float64()),
        ("standard_error", pa.float64()),
        ("baseline_value", pa.float64()),
        ("baseline_standard_error", pa.float64()),
        ("gain", pa.float64()),
        ("gain_standard_error", pa.float64()),
        ("trials", pa.int64()),
        ("baseline", pa.bool_()),
        ("params", pa.string()),
    ]
)
KEPT = 100
"""Ranks that are kept of each study and source."""

Row = dict[str, Any]


def rank_trials(
    trials_path: Path, out: Path, note: Mapping[str, Any], *, partial: bool = False
) -> None:
    """Write best.parquet (BEST) from trials.parquet.

    Its note says of the search what those must know who take params from it: search, targets,
    search_folds, metric, and `space`, the names of its params.

    Args:
        partial: of a search that is still going on; studies may have no complete trial yet.

    Raises:
        BlendmakeError: a study has no complete trial.
    """
    trials, told = read_trials(trials_path)
    of_study = dict.fromkeys(told["studies"], ()) | studies_of(trials)
    empty = [study for study, some in of_study.items() if not rated(some)]
    if empty and not partial:
        reasons = sorted(
            {str(trial["reason"]) for trial in of_study[empty[0]]} or {"none was made"}
        )
        raise BlendmakeError(
            f"searches.{told['search']}: study '{empty[0]}' has no complete trial ({reasons[0]}). "
            "Mend its space or its pruner, or raise its trials."
        )
    kept = ("search", "targets", "search_folds", "n_folds", "folds", "metric", "space")
    rows = best_trials(trials, told["metric"])
    made = {**note, **{key: told[key] for key in kept}}
    write_parquet(pa.Table.from_pylist(rows, schema=BEST), out, made)


def best_trials(trials: Sequence[Trial], metric: str, k: int = KEPT) -> list[Row]:
    """Rows of BEST: per study and source the k best complete trials with distinct params.

    `standard_error` is of the mean over search folds, as the folds scatter; null with fewer than
    two. `gain` is how much better than the source's own params, above 0 being better for every metric;
    its standard error is of the differences fold by fold. `trials`: complete and pruned ones of that
    study and source. `rank` counts within study and source; with several sources the best of a study
    is the first of `overall`.
    """
    rows = []
    for study, of_study in studies_of(trials).items():
        for source in dict.fromkeys(trial["source"] for trial in of_study):
            group = [trial for trial in of_study if trial["source"] == source]
            baseline = next((trial for trial in rated(group) if trial["baseline"]), None)
            done = sum(trial["state"] in COUNTED for trial in group)
            for place, trial in enumerate(distinct(ranked(group, metric))[:k]):
                rows.append(
                    {
                        "study": study,
                        "source": source,
                        "rank": place + 1,
                        "number": trial["number"],
                        "value": trial["value"],
                        "standard_error": standard_error(trial["fold_values"]),
                        **_gain(trial, baseline, metric),
                        "trials": done,
                        "baseline": trial["baseline"],
                        "params": json.dumps(trial["params"]),
                    }
                )
    return rows


def overall(rows: Iterable[Row], metric: str) -> dict[str, list[Row]]:
    """Rows of BEST by study, those of all its sources together, best first."""
    sign = sign_of(metric)
    found: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (-sign * row["value"], row["number"])):
        found.setdefault(row["study"], []).append(row)
    return found


def distinct(trials: Iterable[Trial]) -> list[Trial]:
    """Of trials of the same source and params the first."""
    found: dict[str, Trial] = {}
    for trial in trials:
        key = json.dumps([trial["source"], trial["params"]], sort_keys=True)
        found.setdefault(key, trial)
    return list(found.values())


def standard_error(fold_values: Sequence[float | None] | None) -> float | None:
    """Standard error of a mean over folds; None of fewer than two."""
    known = [value for value in fold_values or () if value is not None]
    return statistics.stdev(known) / math.sqrt(len(known)) if len(known) > 1 else None


def _gain(trial: Trial, baseline: Trial | None, metric: str) -> Row:
    if baseline is None:
        names = ("baseline_value", "baseline_standard_error", "gain", "gain_standard_error")
        return dict.fromkeys(names)
    sign = sign_of(metric)
    pairs = zip(trial["fold_values"] or (), baseline["fold_values"] or (), strict=False)
    differences = [sign * (a - b) for a, b in pairs if a is not None and b is not None]
    return {
        "baseline_value": baseline["value"],
        "baseline_standard_error": standard_error(baseline["fold_values"]),
        "gain": sign * (trial["value"] - baseline["value"]),
        "gain_standard_error": None if trial is baseline else standard_error(differences),
    }
