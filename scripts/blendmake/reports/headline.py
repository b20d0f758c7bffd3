"""The one number of an artifact, and what it was measured on, without which it says little."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blendmake.files import read_parquet
from blendmake.honest import ALL, HONEST
from blendmake.score_names import MACRO


@dataclass(frozen=True)
class Headline:
    """The macro AUC (None: undefined), how many targets it is the mean of, and on which folds."""

    macro_auc: float | None
    targets: int
    folds: str

    def measured_on(self, most: int) -> str:
        """What sets it apart from a score of `most` targets on all folds; empty if nothing does."""
        parts = [f"{self.targets} of {most} targets"] if self.targets < most else []
        return ", ".join(parts + ([f"folds {self.folds}"] if self.folds != ALL else []))


def read_headline(scores: Path) -> Headline:
    """The headline of a scores table.

    Raises:
        BlendmakeError: the file is missing or damaged.
    """
    rows = [row for row in read_parquet(scores).to_pylist() if row["estimate"] in HONEST]
    targets = {row["target"] for row in rows} - {MACRO}
    for row in rows:
        if row["target"] == MACRO and row["metric"] == "auc":
            value = None if row["value"] is None else float(row["value"])
            return Headline(value, len(targets), row["folds"] or ALL)
    return Headline(None, len(targets), ALL)
