"""What the checks before a campaign say of targets: what they are, and whether folds can serve them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.labels import Labels
from blendmake.metrics.base import ScoredRows
from blendmake.metrics.choice import metrics_for
from blendmake.preflight.findings import PASS, WARN, Finding
from blendmake.tables.naming import some_of
from blendmake.tasks.base import Target

TRIED = 400  # rows that metrics are tried on


def targets_text(targets: Sequence[Target], labels: Labels) -> str:
    """What the targets are, in a line."""
    missing = f"{float(np.isnan(labels).mean()):.1%} missing"
    binary = [j for j, target in enumerate(targets) if target.task.name == "binary"]
    parts = []
    if binary:
        counts = np.nansum(labels[:, binary], axis=0)
        least = targets[binary[int(np.argmin(counts))]].name
        parts.append(
            f"{len(binary)} of 0, 1 or missing ({missing}); fewest positives: "
            f"'{least}' ({int(counts.min())})"
        )
    for target, column in zip(targets, labels.T, strict=True):
        known = column[~np.isnan(column)]
        if target.classes:
            counts = np.bincount(known.astype(np.intp), minlength=len(target.classes))
            rare = target.classes[int(np.argmin(counts))]
            parts.append(
                f"'{target.name}' of {len(counts)} classes; fewest rows: '{rare}' ({counts.min()})"
            )
        elif target.task.name != "binary":
            parts.append(
                f"'{target.name}' of numbers from {known.min():g} to {known.max():g}, mean "
                f"{known.mean():g}"
            )
    return "; ".join(parts if binary else [*parts, missing])


def check_metrics(
    targets: Sequence[Target], said: Mapping[str, Any], labels: Labels
) -> Iterator[Finding]:
    """Look up the metrics of targets, and try each on what stands in where nothing is learnt.

    Args:
        said: the plan's slice `metrics`.
    """
    chosen = metrics_for(targets, said.get("metric"), said.get("also"))
    tried: set[tuple[str, ...]] = set()
    for target, column in zip(targets, labels.T, strict=True):
        names = [metric.name for metric in chosen[target.name]]
        if (key := (target.task.name, *names)) in tried:
            continue
        tried.add(key)
        known = column[~np.isnan(column)][:TRIED]
        constant = target.task.constant(known, len(target.outputs))
        guess = np.tile(constant, (len(known), 1))
        guess = guess if target.classes else guess[:, 0]
        folds = np.arange(len(known)) % 2
        for metric in chosen[target.name]:
            value = metric(known, guess, ScoredRows(folds))
            if not isinstance(value, float) or np.isinf(value):
                yield Finding(
                    WARN,
                    "metrics",
                    f"'{metric.name}' of constant predictions is {value}, no number",
                )
        also = f"; shown beside it: {', '.join(names[1:])}" if names[1:] else ""
        yield Finding(PASS, "metrics", f"{target.task.title} by {names[0]}{also}")


def check_enough(
    targets: Sequence[Target], labels: Labels, n: int, groups: NDArray[np.int64] | None
) -> list[str]:
    """Raise where no assignment of so many folds can leave every target something to learn; in
    sentences, what of classes they must leave out."""
    for target, column in zip(targets, labels.T, strict=True):
        if target.task.name == "binary":
            _check_binary(target.name, np.flatnonzero(column == 1), n, groups)
    unit = np.arange(len(labels)) if groups is None else groups
    told = []
    for target, column in zip(targets, labels.T, strict=True):
        few = []
        for code, name in enumerate(target.classes):
            rows = np.flatnonzero(column == code)
            if 0 < len(np.unique(unit[rows])) < n:
                few.append(f"{name} ({len(rows)})")
        if few:
            what = "rows" if groups is None else "groups of rows"
            told.append(
                f"target '{target.name}': class {some_of(few)} has fewer {what} than the {n} folds: "
                "some folds have none to score it by, or none to learn it from"
            )
    return told


def _check_binary(
    name: str, rows: NDArray[np.intp], n: int, groups: NDArray[np.int64] | None
) -> None:
    if len(rows) < n:
        raise BlendmakeError(
            f"Target '{name}' has {len(rows)} positives, fewer than the {n} folds. Take fewer folds "
            "(folds.n), leave it out (data.targets.columns), or give folds (folds.column)."
        )
    if groups is not None and len(np.unique(groups[rows])) < 2:
        raise BlendmakeError(
            f"All positives of target '{name}' are in one group, so that the fold that holds it "
            "leaves none to train on. Leave the target out (data.targets.columns)."
        )
