"""The contract of a model family: fit one target on one fold, predict its held-out and test rows.

A family is a module with a class `FAMILY`, a subclass of `Family`, and a function
`predict_saved(path, rows, threads)`. It is made once per fold, so that what all targets share (the
binned matrix, the scaled columns) is built once; `fit` is then called for one target after another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.matrix import Floats, Rows

Labels = NDArray[np.float32]


@dataclass(frozen=True)
class FoldData:
    """The rows of one fold. `stop` are the rows that early stopping watches, if it does."""

    train: Rows
    valid: Rows
    test: Rows
    stop: Rows | None


@dataclass(frozen=True)
class Fit:
    """One fit that is asked for.

    `params` go by the names that the family's ALIASES point to.
    `labels` (train rows,) and `stop_labels` (stop rows,) are 0, 1 or NaN (unknown: not used). Both
    classes occur in `labels`, and in `stop_labels` if there are any. `stop_rounds`: rounds without a
    better AUC after which to stop. `positive_weight`: weight of a positive row, 1 for none.
    """

    target: str
    params: Mapping[str, Any]
    rounds: int
    stop_rounds: int | None
    positive_weight: float
    seed: int
    labels: Labels
    stop_labels: Labels | None = None


@dataclass(frozen=True)
class Fitted:
    """What a fit gives: predictions in [0, 1], float32 (rows,), the rounds used, and a way to save.

    `save(stem)` writes the model in its library's own format to `stem` with a suffix of its own and
    returns that path.
    """

    valid: Floats
    test: Floats
    rounds: int
    save: Callable[[Path], Path]


class Family(ABC):
    """Base of the families.

    Args:
        data: the fold's rows.
        threads: threads a fit may use; never more.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ()  # whose versions belong to the provenance
    ROUNDS: ClassVar[int] = 300  # used where the config gives none
    STOPS: ClassVar[bool] = True  # whether early stopping means anything
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    ALIASES: ClassVar[dict[str, str]] = {}  # other names of params
    RESERVED: ClassVar[dict[str, str]] = {}  # params set here, and the config key to use

    def __init__(self, data: FoldData, threads: int) -> None:
        self.data = data
        self.threads = threads

    @abstractmethod
    def fit(self, task: Fit) -> Fitted:
        """Fit one target."""

    def params(self, task: Fit) -> dict[str, Any]:
        """The family's defaults with the task's params over them.

        Raises:
            BlendmakeError: a param that blendmake sets itself.
        """
        for name in task.params:
            if name in self.RESERVED:
                raise BlendmakeError(
                    f"Param '{name}' (target '{task.target}') is set by blendmake: "
                    f"{self.RESERVED[name]}."
                )
        return {**self.DEFAULTS, **task.params}


def known_rows(labels: Labels) -> NDArray[np.intp] | None:
    """Positions of the rows whose label is known; None if all are."""
    known = ~np.isnan(labels)
    return None if known.all() else np.flatnonzero(known)


def refused(task: Fit, error: Exception) -> BlendmakeError:
    """The error for params that a library refuses."""
    first = str(error).strip().split("\n")[0]
    return BlendmakeError(
        f"The fit of target '{task.target}' was refused: {first}. Correct its params."
    )
