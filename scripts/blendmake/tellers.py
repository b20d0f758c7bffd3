"""Columns that tell a target by themselves: each alone orders its labels almost perfectly.

Such a column is seldom a find and mostly a leak (a result, a date of cancellation, an id given out
after the event). What is found here is only told: nothing that is fitted depends on it, so that jobs
import this module by name and no digest holds it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from blendmake.labels import Labels
from blendmake.matrix import Rows
from blendmake.tasks.base import Target, as_targets
from blendmake.tellers_of_others import find_tellers_of

if TYPE_CHECKING:
    from blendmake.fits.fold_job import FoldJob

log = logging.getLogger(__name__)

TELLS = 0.995  # AUC, either way round, from which a column tells a target
LEAST_Z = (
    6.0  # standard errors that it must lie from chance: small tables have such columns by luck
)
HOW = {
    "auc": "has an AUC of {:.4f}",
    "right": "says the class of {:.1%} of the rows",
    "correlation": "has a rank correlation of {:.4f}",
}
PAIRS = 20_000  # rows looked at, summed over targets
MOST, LEAST = 1000, 25  # rows of a class of a target


class _Sample:
    """Some rows of each class of each target, as one flat list of (target, row, class).

    Attributes:
        rows: ascending positions of all rows in the sample.
    """

    def __init__(self, labels: Labels) -> None:
        most = min(max(PAIRS // (2 * max(1, labels.shape[1])), LEAST), MOST)
        parts = [
            (j, value, _spread(np.flatnonzero(labels[:, j] == value), most))
            for j in range(labels.shape[1])
            for value in (0, 1)
        ]
        sizes = [len(rows) for _, _, rows in parts]
        self.target = np.repeat([j for j, _, _ in parts], sizes)
        self.positive = np.repeat([value == 1 for _, value, _ in parts], sizes)
        places = np.concatenate([rows for _, _, rows in parts])
        self.rows, self.place = np.unique(places, return_inverse=True)
        self.targets = labels.shape[1]
        # Rows of a class alternate, so that either half holds as many of it.
        self.half = np.concatenate([np.arange(size) % 2 == 0 for size in sizes])
        self.known = [int((self.positive & (self.target == j)).sum()) for j in range(self.targets)]
        self.total = np.bincount(self.target, minlength=self.targets)

    def of_numbers(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """AUC (targets,) of values (rows,), the way round in which it is higher.

        Missing values stand below all others, or above, where that tells more.
        """
        given = values[self.place]
        missing = np.isnan(given)
        areas = self._areas(np.where(missing, -np.inf, given))
        best = np.maximum(areas, 1 - areas)
        if missing.any():
            areas = self._areas(np.where(missing, np.inf, given))
            best = np.maximum(best, np.maximum(areas, 1 - areas))
        return best

    def of_levels(self, codes: NDArray[np.floating]) -> NDArray[np.float64]:
        """AUC (targets,) of a category (rows,): levels go by their shares in the other half."""
        given = np.nan_to_num(codes, nan=-1)[self.place]
        _, level = np.unique(
            self.target * (given.max() + 2) + given + 1, return_inverse=True
        )  # of a target
        score = np.empty(len(level))
        for half in (self.half, ~self.half):
            other = ~half
            every = np.bincount(level[other], minlength=level.max() + 1)
            hits = np.bincount(level[other & self.positive], minlength=level.max() + 1)
            score[half] = ((hits + 0.5) / (every + 1))[level[half]]
        return self._areas(score)

    def _areas(self, scores: NDArray[np.floating]) -> NDArray[np.float64]:
        order = np.lexsort((scores, self.target))
        target, score, positive = self.target[order], scores[order], self.positive[order]
        new = np.ones(len(order), bool)
        new[1:] = (target[1:] != target[:-1]) | (score[1:] != score[:-1])
        group = np.cumsum(new) - 1  # rows of a target that tie
        hits = np.bincount(group, positive)
        misses = np.bincount(group, ~positive)
        of = target[new]
        below = np.cumsum(misses) - misses
        first = np.searchsorted(of, np.arange(self.targets))
        below = below - below[np.minimum(first, len(of) - 1)][of]
        wins = np.bincount(of, hits * (below + misses / 2), minlength=self.targets)
        positives = np.array(self.known, np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            areas = wins / (positives * (self.total - positives))
        return np.where(np.isfinite(areas), areas, 0.5)

    def least(self) -> NDArray[np.float64]:
        """The AUC (targets,) from which a column tells each target; above 1 where none can."""
        least = np.full(self.targets, 2.0)
        for j, (m, total) in enumerate(zip(self.known, self.total.tolist(), strict=True)):
            n = total - m
            if m and n:
                least[j] = max(TELLS, 0.5 + LEAST_Z * math.sqrt((m + n + 1) / (12 * m * n)))
        return least


def _spread(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """At most so many of some rows, at equal distances."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).astype(np.intp)]


def find_tellers(
    rows: Rows, labels: Labels, targets: Sequence[Target | str]
) -> list[dict[str, Any]]:
    """The columns that alone tell a target, the most telling first.

    Args:
        rows: of a feature set; a sample of them is read, a column at a time.
        labels: (rows, targets), NaN where unknown.
        targets: what they are labels of; names stand for binary ones.

    Returns:
        column, target (that it tells best), targets (how many it tells) and how well, by column: `auc`
        of binary targets, else as `tellers_of_others` has it.
    """
    of = as_targets(targets)
    binary = [j for j, target in enumerate(of) if target.task.name == "binary"]
    found = _of_binary(rows, labels[:, binary], [of[j].name for j in binary])
    for j, target in enumerate(of):
        if j not in binary and len(rows):
            found += find_tellers_of(rows, labels[:, j], target)
    return sorted(found, key=lambda one: -max(one.get(key, 0.0) for key in HOW))


def _of_binary(rows: Rows, labels: Labels, targets: Sequence[str]) -> list[dict[str, Any]]:
    """The columns that alone order the labels of a binary target."""
    if not len(rows) or not labels.size or np.isnan(labels).all():
        return []
    sample = _Sample(labels)
    least = sample.least()
    part = rows.at(sample.rows)
    found = []
    for index, column in enumerate(rows.columns):
        values = part.values(index)
        areas = sample.of_levels(values) if column.is_category else sample.of_numbers(values)
        told = areas >= least
        if told.any():
            j = int(np.argmax(np.where(told, areas, 0)))
            found.append(
                {
                    "column": column.name,
                    "target": targets[j],
                    "auc": round(float(areas[j]), 4),
                    "targets": int(told.sum()),
                }
            )
    return found


def of_fold(job: FoldJob) -> list[dict[str, Any]]:
    """What is found on a fold's training rows, told in the log as well."""
    found = find_tellers(
        Rows(job.train_files.files, job.train_files.columns, job.train_rows),
        job.labels[job.train_rows],
        [*job.targets.values()],
    )
    for text in teller_texts(found):
        log.warning("WARNING: %s", text)
    return found


def teller_texts(found: Sequence[dict[str, Any]], most: int = 3) -> list[str]:
    """What was found in sentences, and what to do about it."""
    texts = []
    for one in found[:most]:
        others = f" (and {one['targets'] - 1} more)" if one["targets"] > 1 else ""
        how = next(text.format(one[key]) for key, text in HOW.items() if key in one)
        texts.append(
            f"one column tells the target: '{one['column']}' alone {how} for "
            f"'{one['target']}'{others}. If it is not known when predictions are made, list it under "
            "data.ignore"
        )
    if len(found) > most:
        texts.append(f"{len(found) - most} more columns tell a target by themselves")
    return texts
