"""The contract of a model family: fit targets on one fold, predict its held-out and test rows.

A family is a module with a class `FAMILY` and a function `predict_saved(path, rows, threads)`. The
class is made once per fold and set of training rows, so that what all targets share (the binned
matrix, the scaled columns) is built once. It is one of two kinds:

- `Family`: one model per target; `fit` is called for one target (and bag) after another.
  `predict_saved` gives (rows,).
- `JointFamily`: one model for all targets at once; `fit` is called once per fold (and bag).
  `predict_saved` gives (rows, targets).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.matrix import Floats, Rows

Labels = NDArray[np.float32]
Report = Callable[[int, float], None]

DEVICE_PARAMS = frozenset({"device", "devices", "device_type", "num_gpu", "task_type"})
REPORT_EVERY = 5  # rounds from one report to the next; families that train in epochs: each


@dataclass(frozen=True)
class FoldData:
    """The rows of one fold. `stop` are the rows that early stopping watches, if it does.

    `level_names`: of category columns, what their codes 0, 1, … stand for.
    """

    train: Rows
    valid: Rows
    test: Rows
    stop: Rows | None
    level_names: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Fit:
    """One fit that is asked for.

    `params` go by the names that the family's ALIASES point to.
    `labels` (train rows,) and `stop_labels` (stop rows,) are 0, 1 or NaN (unknown, or left out by
    undersampling: not used). Both classes occur in `labels`, and in `stop_labels` if there are any.
    `stop_rounds`: rounds without a better AUC after which to stop. `positive_weight`: weight of a
    positive row, 1 for none.
    `report`: told every few rounds how many are done, and the AUC on the stop rows, which are
    watched for it without `stop_rounds` too; the fit is then the same as without it. Whatever it
    raises ends the fit and comes out of it as it is. Only of families that REPORTS.
    """

    target: str
    params: Mapping[str, Any]
    rounds: int
    stop_rounds: int | None
    positive_weight: float
    seed: int
    labels: Labels
    stop_labels: Labels | None = None
    report: Report | None = None


@dataclass(frozen=True)
class JointFit:
    """One fit of several targets by one model.

    As Fit, but `labels` (train rows, targets) and `stop_labels` (stop rows, targets) are of all
    targets; a target may lack a class, in which case its predictions are not used. Early stopping
    watches the macro AUC, which `report` is told (over targets of both classes). `scratch`: a folder
    of this fit alone, for checkpoints, which survives a kill and goes when the fit is done; the same
    fit asked for again finds it, and tells its report again what it told before.
    """

    targets: tuple[str, ...]
    params: Mapping[str, Any]
    rounds: int
    stop_rounds: int | None
    positive_weights: NDArray[np.float64]
    seed: int
    labels: Labels
    scratch: Path
    stop_labels: Labels | None = None
    report: Report | None = None

    @property
    def target(self) -> str:
        """All targets, for messages."""
        return ", ".join(self.targets[:3]) + (" …" if len(self.targets) > 3 else "")


@dataclass(frozen=True)
class Fitted:
    """What a fit gives: predictions in [0, 1], float32, the rounds used, and a way to save.

    `valid`, `test`: (rows,), of a joint fit (rows, targets). `save(stem)` writes the model in its
    library's own format to `stem` with a suffix of its own and returns that path. `stop_auc`: AUC on
    the rows that early stopping watched, where it did; of a joint fit (targets,), NaN where a class
    is absent. `device`: where it was really fitted. `fallback`: what was given up for lack of GPU
    memory, if anything was.
    """

    valid: Floats
    test: Floats
    rounds: int
    save: Callable[[Path], Path]
    stop_auc: float | NDArray[np.float64] | None = None
    device: str = "cpu"
    fallback: str | None = None


@dataclass(frozen=True)
class Smaller:
    """The param that a fit's GPU memory hangs on, what it is where it is not set, and its least."""

    param: str
    default: int
    least: int


class _Base:
    """What both kinds share.

    Args:
        data: the fold's rows.
        threads: threads a fit may use; never more.
        options: what a fit is told beside params: `file` and `python` of sources that run a file;
            `gpu`, the share of a GPU's memory that fits may use (0: they run on the CPU).

    Attributes:
        gpu: that share; a fit reads it when it begins.
    """

    PACKAGES: ClassVar[tuple[str, ...]] = ()  # whose versions belong to the provenance
    ROUNDS: ClassVar[int] = 300  # used where the config gives none
    STOPS: ClassVar[bool] = True  # whether early stopping means anything; see stops
    SAVES: ClassVar[bool] = True  # whether models can be kept
    RESUMES: ClassVar[bool] = False  # whether a fit that the window ends goes on in the next
    REPORTS: ClassVar[bool] = False  # whether it tells a fit's `report`
    GPU: ClassVar[bool] = False  # whether it can fit on a GPU
    SMALLER: ClassVar[Smaller | None] = None  # how a fit that finds no GPU memory gets smaller
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    ALIASES: ClassVar[dict[str, str]] = {}  # other names of params
    RESERVED: ClassVar[dict[str, str]] = {}  # params set here, and the config key to use

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        self.data = data
        self.threads = threads
        self.options = dict(options or {})
        share = float(self.options.pop("gpu", 0.0))
        self.gpu = share if self.GPU else 0.0

    @classmethod
    def stops(cls, params: Mapping[str, Any]) -> bool:
        """Whether early stopping means anything to a fit with these params."""
        return cls.STOPS

    def params(self, task: Fit | JointFit) -> dict[str, Any]:
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
            if name in DEVICE_PARAMS or name.startswith("gpu_"):
                raise BlendmakeError(
                    f"Param '{name}' (target '{task.target}') is set by blendmake: where a fit runs "
                    "belongs to the profile (resources: gpu), or to the source's key 'device'."
                )
        return {**self.DEFAULTS, **task.params}

    def release(self) -> None:
        """Give back GPU memory that a fit which failed has left."""


class Family(_Base, ABC):
    """Base of the families that fit one model per target."""

    TOGETHER: ClassVar[int] = 1  # how many fits on the same rows it had better be given at once

    @abstractmethod
    def fit(self, task: Fit) -> Fitted:
        """Fit one target."""

    def fit_many(self, tasks: Sequence[Fit]) -> list[Fitted]:
        """Fit several targets on the same rows; each to the byte as if it were fitted alone."""
        return [self.fit(task) for task in tasks]


class JointFamily(_Base, ABC):
    """Base of the families that fit all targets at once."""

    @abstractmethod
    def fit(self, task: JointFit) -> Fitted:
        """Fit all targets."""


class Reports:
    """Tells a fit's report from within a library that grows trees.

    What the report raises is kept from the library, which might take it for its own, or lose it:
    the library is asked to stop, and `settle` raises it afterwards.

    Attributes:
        wanted: whether there is a report, and rows to watch for it.
        watching: whether rows are watched, for the report or for early stopping.
    """

    def __init__(self, task: Fit | JointFit) -> None:
        self._report, self._rounds = task.report, task.rounds
        self.wanted = task.report is not None and task.stop_labels is not None
        self.watching = self.wanted or task.stop_rounds is not None
        self._raised: BaseException | None = None

    def due(self, done: int) -> bool:
        """Whether to tell after so many rounds: every few, and after the last."""
        return self.wanted and (done % REPORT_EVERY == 0 or done == self._rounds)

    def ends(self, done: int, score: float) -> bool:
        """Tell the AUC after so many rounds if it is due; whether the fit is to end there.

        Where it is NaN, as no target has both classes, there is nothing to tell.
        """
        if self._report is not None and self.due(done) and not np.isnan(score):
            try:
                self._report(done, float(score))
            except BaseException as error:
                self._raised = error
        return self._raised is not None

    def settle(self) -> None:
        """Raise what the report raised, if it did."""
        try:
            if self._raised is not None:
                raise self._raised
        finally:
            self._raised = None  # its traceback holds the fit's frames, and they hold this


def known_rows(labels: Labels) -> NDArray[np.intp] | None:
    """Positions of the rows whose label is known; None if all are."""
    known = ~np.isnan(labels)
    return None if known.all() else np.flatnonzero(known)


def refused(task: Fit | JointFit, error: Exception) -> BlendmakeError:
    """The error for params that a library refuses."""
    first = str(error).strip().split("\n")[0]
    return BlendmakeError(
        f"The fit of target '{task.target}' was refused: {first}. Correct its params."
    )
