"""The one number of an artifact, and what it was measured on, without which it says little."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blendmake.files import read_parquet
from blendmake.honest import ALL, HONEST
from blendmake.score_names import MACRO


@dataclass(frozen=True)
class Headline:
    """The macro row of a metric (None: undefined), of how many targets it is, and on which folds."""

    score: float | None
    metric: str
    targets: int
    folds: str

    def measured_on(self, most: int) -> str:
        """What sets it apart from a score of `most` targets on all folds; empty if nothing does."""
        parts = [f"{self.targets} of {most} targets"] if self.targets < most else []
        return ", ".join(parts + ([f"folds {self.folds}"] if self.folds != ALL else []))


def read_headline(scores: Path) -> Headline:
    """The headline of a scores table: of the metric that comes first in it, by which choices are made.

    Raises:
        BlendmakeError: the file is missing or damaged.
    """
    rows = [row for row in read_parquet(scores).to_pylist() if row["estimate"] in HONEST]
    metric = rows[0]["metric"] if rows else ""
    measured = [row for row in rows if row["metric"] == metric]
    targets = {row["target"] for row in measured} - {MACRO}
    for row in measured:
        if row["target"] == MACRO:
            value = None if row["value"] is None else float(row["value"])
            return Headline(value, metric, len(targets), row["folds"] or ALL)
    return Headline(None, metric, len(targets), ALL)
