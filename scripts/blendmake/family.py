"""The contract of a model family: fit targets on one fold, predict its held-out and test rows.

A family is a module with a class `FAMILY` and a function `predict_saved(path, rows, threads)`, which
gives (rows, outputs). The class is made once per fold and set of training rows, so that what all targets
share (the binned matrix, the scaled columns) is built once. A fit is of one target (and bag), or, of a
family that is MULTI_OUTPUT, of all targets of one task at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.matrix import Rows
from blendmake.metrics.base import Metric, ScoredRows
from blendmake.tasks.base import Target

Labels = NDArray[np.floating[Any]]
Weights = NDArray[np.float64]
Predictions = NDArray[np.floating[Any]]
Report = Callable[[int, float], None]

DEVICE_PARAMS = frozenset({"device", "devices", "device_type", "num_gpu", "task_type"})
REPORT_EVERY = 5  # rounds from one report to the next; families that train in epochs: each
EVERY_TASK = frozenset({"binary", "multiclass", "regression"})


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
class Stop:
    """What is watched in the course of a fit.

    `labels`: of the rows that are watched (stop rows, targets), as of `Fit`. `metric`: what they are
    watched by; of several targets the mean over those on which it is defined. `rounds`: without a better
    value after which to stop; None: the rows are watched for the report alone, and the fit is the same
    as without it. `report`: told every few rounds how many are done, and the metric. Whatever it raises
    ends the fit and comes out of it as it is. Only of families that REPORTS.
    """

    labels: Labels
    metric: Metric
    rounds: int | None = None
    report: Report | None = None

    @property
    def is_better_low(self) -> bool:
        """Whether less of the metric is better."""
        return not self.metric.higher_is_better

    def scores(self, targets: Sequence[Target], predictions: Predictions) -> NDArray[np.float64]:
        """The metric of each target (targets,) for predictions (stop rows, outputs); NaN: undefined."""
        found = np.full(len(targets), np.nan)
        for j, part in enumerate(slices_of(targets)):
            known = np.flatnonzero(~np.isnan(self.labels[:, j]))
            if len(known):
                given = predictions[known, part]
                rows = ScoredRows(folds=np.zeros(len(known), np.int8))
                one = given[:, 0] if len(targets[j].outputs) == 1 else given
                found[j] = self.metric(self.labels[known, j], one, rows)
        return found

    def mean(self, scores: NDArray[np.float64]) -> float:
        """The mean of what `scores` gives over the targets that have a value; NaN if none has.

        Of a metric in units of the label, values are counted in spreads of the target.
        """
        if len(scores) == 1:
            return float(scores[0])
        weighed = scores / self._units if self.metric.has_unit else scores
        known = weighed[~np.isnan(weighed)]
        return float(known.mean()) if len(known) else float("nan")

    @cached_property
    def _units(self) -> NDArray[np.float64]:
        spreads = [float(np.std(c[~np.isnan(c)], dtype=np.float64)) for c in self.labels.T]
        return np.array([spread if spread > 0 else 1.0 for spread in spreads])


@dataclass(frozen=True)
class Fit:
    """One fit that is asked for.

    Attributes:
        targets: one, or, of a MULTI_OUTPUT family, all of one task.
        labels: (train rows, targets): 0 and 1, codes of classes, numbers; NaN: unknown, or left out by
            undersampling, and not used. Float32, of numbers float64. Of one target they are usable
            (Task.usable), as are those to watch, if there are any; of several, a target may have labels
            that are not, in which case its predictions are not used.
        weights: (train rows, targets), how much a row counts, above 0; None: all the same.
        params: go by the names that the family's ALIASES point to.
        scratch: a folder of this fit alone, for checkpoints, which survives a kill and goes when the fit
            is done; the same fit asked for again finds it, and tells its report again what it told
            before. Of families that are MULTI_OUTPUT; of others None.
        stop: what is watched, if anything is.
    """

    targets: tuple[Target, ...]
    labels: Labels
    params: Mapping[str, Any]
    rounds: int
    seed: int
    weights: Weights | None = None
    scratch: Path | None = None
    stop: Stop | None = None

    @property
    def target(self) -> Target:
        """The target of a fit of one."""
        (target,) = self.targets
        return target

    @property
    def task(self) -> str:
        """The name of the targets' task."""
        return self.targets[0].task.name

    @property
    def label(self) -> Labels:
        """Labels (train rows,) of a fit of one target."""
        return self.labels[:, 0]

    @property
    def weight(self) -> Weights | None:
        """Weights (train rows,) of a fit of one target; None: all the same."""
        return None if self.weights is None else self.weights[:, 0]

    @property
    def outputs(self) -> int:
        """Columns of the predictions."""
        return sum(len(target.outputs) for target in self.targets)

    @property
    def stop_rounds(self) -> int | None:
        """Rounds without anything better after which to stop; None: never."""
        return None if self.stop is None else self.stop.rounds

    @property
    def title(self) -> str:
        """The targets, for messages."""
        names = [target.name for target in self.targets]
        return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


@dataclass(frozen=True)
class Fitted:
    """What a fit gives: predictions, the rounds used, and a way to save.

    `valid`, `test`: (rows, outputs), the outputs of the targets in order; float32, of numbers float64.
    `save(stem)` writes the model in its library's own format to `stem` with a suffix of its own and
    returns that path. `stop_scores`: (targets,) the metric on the rows that early stopping watched,
    where it did; NaN where it is undefined. `device`: where it was really fitted. `fallback`: what was
    given up for lack of GPU memory, if anything was.
    """

    valid: Predictions
    test: Predictions
    rounds: int
    save: Callable[[Path], Path]
    stop_scores: NDArray[np.float64] | None = None
    device: str = "cpu"
    fallback: str | None = None


@dataclass(frozen=True)
class Smaller:
    """The param that a fit's GPU memory hangs on, what it is where it is not set, and its least."""

    param: str
    default: int
    least: int


class Family(ABC):
    """Base of the families.

    Args:
        data: the fold's rows.
        threads: threads a fit may use; never more.
        options: what a fit is told beside params: `file` and `python` of sources that run a file;
            `gpu`, the share of a GPU's memory that fits may use (0: they run on the CPU).

    Attributes:
        gpu: that share; a fit reads it when it begins.
    """

    TASKS: ClassVar[frozenset[str]] = EVERY_TASK  # which it can fit
    MULTI_OUTPUT: ClassVar[bool] = False  # whether one model is of all targets of a task
    PACKAGES: ClassVar[tuple[str, ...]] = ()  # whose versions belong to the provenance
    ROUNDS: ClassVar[int] = 300  # used where the config gives none
    STOPS: ClassVar[bool] = True  # whether early stopping means anything; see stops
    SAVES: ClassVar[bool] = True  # whether models can be kept
    RESUMES: ClassVar[bool] = False  # whether a fit that the window ends goes on in the next
    REPORTS: ClassVar[bool] = False  # whether it tells a fit's report
    GPU: ClassVar[bool] = False  # whether it can fit on a GPU
    SMALLER: ClassVar[Smaller | None] = None  # how a fit that finds no GPU memory gets smaller
    TOGETHER: ClassVar[int] = 1  # how many fits on the same rows it had better be given at once
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

    @abstractmethod
    def fit(self, asked: Fit) -> Fitted:
        """Do one fit."""

    def fit_many(self, asked: Sequence[Fit]) -> list[Fitted]:
        """Do several fits on the same rows; each to the byte as if it were done alone."""
        return [self.fit(one) for one in asked]

    @classmethod
    def stops(cls, params: Mapping[str, Any]) -> bool:
        """Whether early stopping means anything to a fit with these params."""
        return cls.STOPS

    def params(self, asked: Fit) -> dict[str, Any]:
        """The family's defaults with the params of a fit over them.

        Raises:
            BlendmakeError: a param that blendmake sets itself.
        """
        for name in asked.params:
            if name in self.RESERVED:
                raise BlendmakeError(
                    f"Param '{name}' (target '{asked.title}') is set by blendmake: "
                    f"{self.RESERVED[name]}."
                )
            if name in DEVICE_PARAMS or name.startswith("gpu_"):
                raise BlendmakeError(
                    f"Param '{name}' (target '{asked.title}') is set by blendmake: where a fit runs "
                    "belongs to the profile (resources: gpu), or to the source's key 'device'."
                )
        return {**self.DEFAULTS, **asked.params}

    def release(self) -> None:  # noqa: B027 (most families hold nothing there)
        """Give back GPU memory that a fit which failed has left."""


class Reports:
    """Tells a fit's report from within a library that grows trees.

    What the report raises is kept from the library, which might take it for its own, or lose it:
    the library is asked to stop, and `settle` raises it afterwards.

    Attributes:
        wanted: whether there is a report, and rows to watch for it.
        watching: whether rows are watched, for the report or for early stopping.
    """

    def __init__(self, asked: Fit) -> None:
        self._report = None if asked.stop is None else asked.stop.report
        self._rounds = asked.rounds
        self.wanted = self._report is not None
        self.watching = self.wanted or asked.stop_rounds is not None
        self._raised: BaseException | None = None

    def due(self, done: int) -> bool:
        """Whether to tell after so many rounds: every few, and after the last."""
        return self.wanted and (done % REPORT_EVERY == 0 or done == self._rounds)

    def ends(self, done: int, score: float) -> bool:
        """Tell the metric after so many rounds if it is due; whether the fit is to end there.

        Where it is NaN, as it is defined on no target, there is nothing to tell.
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


def slices_of(targets: Sequence[Target]) -> list[slice]:
    """By target, which of the outputs of all targets are its own."""
    found, start = [], 0
    for target in targets:
        found.append(slice(start, start + len(target.outputs)))
        start += len(target.outputs)
    return found


def known_rows(labels: Labels) -> NDArray[np.intp] | None:
    """Positions of the rows whose label is known; None if all are."""
    known = ~np.isnan(labels)
    return None if known.all() else np.flatnonzero(known)


def refused(asked: Fit, error: Exception) -> BlendmakeError:
    """The error for params that a library refuses."""
    first = str(error).strip().split("\n")[0]
    return BlendmakeError(
        f"The fit of target '{asked.title}' was refused: {first}. Correct its params."
    )
