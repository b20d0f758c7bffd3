"""How good predictions are, in one number for all targets: what a budget chooses by.

Of binary targets it is the macro AUC. Where others are among them, it is the mean over targets of how
far predictions come from the prior (0) to the truth (1): 2 AUC - 1 of binary ones, else the share of the
prior's loss by the task's own metric that they save.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.labels import Labels
from blendmake.metrics.finding import find_metric
from blendmake.stats.auc import auc
from blendmake.tasks.base import Target

AUC, SAVED = "macro_auc", "saved"
"""Keys of notes: what the number is."""
WORDS = {AUC: "macro AUC", SAVED: "score"}


def key_of(targets: Sequence[Target]) -> str:
    """What the number is of some targets: AUC or SAVED."""
    return AUC if all(target.task.name == "binary" for target in targets) else SAVED


def measured(
    labels: Labels, predicted: NDArray[np.floating[Any]], targets: Sequence[Target]
) -> float | None:
    """The number, the higher the better; None where no target can be measured on these rows.

    Args:
        labels: (rows, targets), NaN where unknown.
        predicted: (rows, outputs).
    """
    scores, first = [], 0
    for target, truth in zip(targets, labels.T, strict=True):
        guess = predicted[:, first : first + len(target.outputs)]
        first += len(target.outputs)
        known = ~np.isnan(truth)
        if not target.task.usable(truth):
            continue
        if target.task.name != "binary":
            scores.append(_saved(target, truth[known], guess[known]))
            continue
        area = auc(truth[known], guess[known][:, 0])
        scores.append(area if key_of(targets) == AUC else 2 * area - 1)
    return float(np.mean(scores)) if scores else None


def in_words(told: Mapping[str, Any]) -> str | None:
    """The number of a note, with what it is; None where it has none."""
    for key, word in WORDS.items():
        if told.get(key) is not None:
            return f"{word} {told[key]:.4f}"
    return None


def _saved(target: Target, truth: NDArray[Any], guess: NDArray[Any]) -> float:
    metric = find_metric(target.task.metric)
    prior = np.tile(target.task.constant(truth, guess.shape[1]), (len(truth), 1))
    one = not target.classes
    loss, of_prior = (metric(truth, p[:, 0] if one else p) for p in (guess, prior))
    return 1 - loss / of_prior if of_prior > 0 else 0.0
