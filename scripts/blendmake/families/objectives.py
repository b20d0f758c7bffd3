"""What families have in common about losses: which of a library's go with a task, and numbers in them.

Libraries hold labels as float32, in which 1,000,000,000 and 1,000,000,032 are one number. Labels that
are numbers are therefore given to them less their mean, where the loss is of differences alone; what is
predicted gets it back, in float64.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.family import Fit, Labels, Predictions, Stop


def take_objective(
    asked: Fit, params: dict[str, Any], objectives: Mapping[str, Mapping[str, str]], name: str
) -> str:
    """Take a library's loss out of params: the user's, or the task's first.

    Args:
        objectives: by task, the names of losses, and what the library calls them.
        name: of the param.

    Raises:
        BlendmakeError: a loss that is none of the task's.
    """
    known = objectives[asked.task]
    given = params.pop(name, None)
    if given is None:
        return next(iter(known.values()))
    kind = str(given).partition(":")[0] if str(given) not in known else str(given)
    if kind in known:  # catboost's have arguments of their own behind a colon
        return known[kind] + str(given)[len(kind) :]
    others = [task for task, names in objectives.items() if str(given) in names]
    near = difflib.get_close_matches(str(given), known, 1)
    hint = f"it is of {others[0]} targets" if others else "it is unknown"
    hint = f"did you mean '{near[0]}'?" if near and not others else hint
    raise BlendmakeError(
        f"Param '{name}: {given}' does not go with target '{asked.title}', which is "
        f"{asked.targets[0].task.title}: {hint}. Losses of such targets: {', '.join(known)}."
    )


@dataclass(frozen=True)
class Shift:
    """What is taken off the labels of a fit of one target, and given back to its predictions.

    `by`: 0 where nothing is. `numbers`: whether the labels are numbers, so that predictions are float64.
    """

    by: float = 0.0
    numbers: bool = False

    @staticmethod
    def of(asked: Fit, objective: str, shiftable: Collection[str], *, fixed: bool = False) -> Shift:
        """The mean of the labels of a loss that is `shiftable`; nothing where a start is `fixed`."""
        if asked.task != "regression":
            return Shift()
        if fixed or not {objective, objective.partition(":")[0]} & set(shiftable):
            return Shift(0.0, True)
        return Shift(float(np.nanmean(asked.labels, dtype=np.float64)), True)

    def off(self, labels: Labels) -> NDArray[np.float32]:
        """Labels as the library gets them."""
        return (labels - self.by).astype(np.float32) if self.numbers else labels.astype(np.float32)

    def back(self, values: Any) -> Predictions:
        """Predictions (rows, outputs) from what the library gives, (rows,) or (rows, classes)."""
        found: Predictions = np.asarray(values)
        found = found[:, None] if found.ndim == 1 else found
        if self.numbers:
            return found.astype(np.float64) + self.by
        return found.astype(np.float32, copy=False)


def known_stop(stop: Stop) -> Stop:
    """What is watched of one target, less the rows of unknown label."""
    return replace(stop, labels=stop.labels[~np.isnan(stop.labels[:, 0])])


def watched(asked: Fit, stop: Stop, shift: Shift, values: Any) -> float:
    """The metric of what a library predicts for the rows that are watched."""
    return stop.mean(stop.scores(asked.targets, shift.back(values)))


def positive_weights(asked: Fit) -> NDArray[np.float64] | None:
    """What positives of each target (targets,) weigh against negatives of weight 1, where that is all
    that weights say; of two classes. None: they say something else.

    Libraries that know such a weight may start from the share of positives without it.
    """
    if asked.task != "binary":
        return None
    found = np.ones(len(asked.targets))
    if asked.weights is None:
        return found
    for j, (labels, weights) in enumerate(zip(asked.labels.T, asked.weights.T, strict=True)):
        positive, negative = weights[labels == 1], weights[labels == 0]
        found[j] = positive[0] if len(positive) else 1.0
        if not ((positive == found[j]).all() and (negative == 1).all()):
            return None
    return found


def positive_weight(asked: Fit) -> float | None:
    """As positive_weights, of a fit of one target."""
    found = positive_weights(asked)
    return None if found is None else float(found[0])
