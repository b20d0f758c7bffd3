"""The trials of a search as a table: one row per trial, by study and number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from blendmake.files import note_of, read_parquet, write_parquet
from blendmake.metrics.base import Metric
from blendmake.metrics.finding import find_metric

Trial = dict[str, Any]
"""A row of trials.parquet, its params as a mapping."""

STATES = ("complete", "pruned", "failed", "lost")
"""`lost`: its worker died, or was told to end; the trial is tried again with the same params."""
COUNTED = ("complete", "pruned")
"""States that count as trials done."""

TRIALS = pa.schema(
    [
        ("study", pa.string()),
        ("number", pa.int64()),
        ("state", pa.string()),
        ("value", pa.float64()),
        ("fold_values", pa.list_(pa.float64())),
        ("params", pa.string()),
        ("source", pa.string()),
        ("baseline", pa.bool_()),
        ("in_space", pa.bool_()),
        ("retries", pa.int64()),
        ("retry_of", pa.int64()),
        ("worker", pa.string()),
        ("started", pa.float64()),
        ("seconds", pa.float64()),
        (
            "intermediate",
            pa.list_(pa.struct([("step", pa.int64()), ("value", pa.float64())])),
        ),
        ("reason", pa.string()),
        ("traceback", pa.string()),
    ]
)
"""`value`: of the metric, mean over search folds (one study for all: and over targets); null where
there is none. `params`: JSON, what was in effect, fixed values included. `baseline`: the source's own
params. `in_space`: whether Optuna knows its params. `retries`: how often it was tried before."""


@lru_cache(maxsize=64)
def metric_of(name: str) -> Metric:
    """The metric of a search, by what its tables call it: a name, or the user's file."""
    return find_metric(name)


def sign_of(metric: str) -> int:
    """1 where larger values of the metric are better, else -1."""
    return 1 if metric_of(metric).higher_is_better else -1


def better_way(metric: str) -> str:
    """Which values of a metric are better, in words."""
    return f"{'larger' if sign_of(metric) > 0 else 'smaller'} is better"


def write_trials(path: Path, trials: Iterable[Trial], note: Mapping[str, Any]) -> None:
    """Write trials.parquet."""
    rows = [{**trial, "params": json.dumps(trial["params"])} for trial in trials]
    rows.sort(key=lambda row: (row["study"], row["number"]))
    write_parquet(pa.Table.from_pylist(rows, schema=TRIALS), path, note)


def read_trials(path: Path) -> tuple[list[Trial], dict[str, Any]]:
    """The trials of trials.parquet, and how it was made."""
    table = read_parquet(path)
    rows = [{**row, "params": json.loads(row["params"])} for row in table.to_pylist()]
    return rows, note_of(table)


def rated(trials: Iterable[Trial]) -> list[Trial]:
    """The complete trials, which alone can be compared."""
    return [t for t in trials if t["state"] == "complete" and t["value"] is not None]


def ranked(trials: Iterable[Trial], metric: str) -> list[Trial]:
    """The complete trials, best first; of equals the earlier."""
    sign = sign_of(metric)
    return sorted(rated(trials), key=lambda t: (-sign * t["value"], t["number"]))


def studies_of(trials: Sequence[Trial]) -> dict[str, list[Trial]]:
    """The trials by study, in their order."""
    found: dict[str, list[Trial]] = {}
    for trial in trials:
        found.setdefault(trial["study"], []).append(trial)
    return found
