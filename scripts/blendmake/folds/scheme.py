"""What a fold scheme is: a module in `schemes/` whose SCHEME assigns every row to a fold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blendmake.labels import Labels
from blendmake.tasks.base import Target, targets_of_note


@dataclass(frozen=True)
class FoldTask:
    """What folds are made from.

    Attributes:
        labels: (rows, targets), NaN where unknown.
        targets: what they are labels of; None: all binary.
        n: number of folds.
        groups: (rows,) codes of groups of rows, None where rows are independent.
        given: (rows,) the user's own folds, if there are such.
    """

    labels: Labels
    n: int
    seed: int
    groups: NDArray[np.int64] | None = None
    given: NDArray[Any] | None = None
    targets: Sequence[Target] | None = None


class Scheme(ABC):
    """A way to assign rows to folds.

    Attributes:
        CHOOSES: whether it is free in its choice; then every binary target needs a positive for each
            fold.
    """

    CHOOSES: ClassVar[bool] = True

    @abstractmethod
    def assign(self, task: FoldTask) -> NDArray[np.int32]:
        """The fold (rows,) of each row, 0 to n - 1.

        Raises:
            BlendmakeError: no such folds can be made; names the mend.
        """


def indicators(labels: Labels, targets: Sequence[Target] | None = None) -> NDArray[np.int8]:
    """What is balanced over folds (rows, marks): of each target what its task says (positives,
    classes, bands of numbers), and its known rows if some are not.

    Args:
        targets: what labels (rows, targets) are of; None: all binary.
    """
    if targets is None:
        targets = targets_of_note([""] * labels.shape[1], {})
    pairs = zip(targets, labels.T, strict=True)
    strata = [target.task.strata(column) for target, column in pairs]
    known = ~np.isnan(labels)
    some_unknown = ~known.all(axis=0)
    return np.hstack([*strata, known[:, some_unknown].astype(np.int8)])
