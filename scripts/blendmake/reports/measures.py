"""How metrics and their values are shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from blendmake.metrics import METRICS
from blendmake.metrics.finding import find_metric
from blendmake.score_names import MACRO

LARGE = 100.0  # from which digits after the point say less than digits before it


def metric_title(name: str | None) -> str:
    """A metric's name as people read it; of a user's own what the tables call it."""
    known = name is not None and name.partition("(")[0] in METRICS
    return find_metric(str(name)).title if known else str(name or "score")


def headed(what: str, rows: Iterable[Mapping[str, Any]]) -> str:
    """A heading of scores, `macro AUC`: with the rows' metric, if they have one in common."""
    names = {row["metric"] for row in rows if row.get("metric") is not None}
    return f"{what} {metric_title(names.pop() if len(names) == 1 else None)}"


def macro_title(rows: Iterable[Mapping[str, Any]]) -> str:
    """The heading of macro scores."""
    return headed(MACRO, rows)


def number_text(value: float | None) -> str:
    """A score: four decimals, of large numbers six digits."""
    if value is None:
        return ""
    return f"{value:.4f}" if abs(value) < LARGE else f"{value:.6g}"


def signed_text(value: float | None) -> str:
    """A difference with its sign."""
    if value is None:
        return ""
    return f"{value:+.4f}" if abs(value) < LARGE else f"{value:+.6g}"


def interval_text(low: float | None, high: float | None, between: str, digits: int) -> str:
    """An interval, `low` and `high` with what stands between."""
    if low is None or high is None:
        return ""
    if max(abs(low), abs(high)) >= LARGE:
        return f"{low:.6g}{between}{high:.6g}"
    return f"{low:.{digits}f}{between}{high:.{digits}f}"
