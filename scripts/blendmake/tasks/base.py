"""What a target is: which labels it has, which columns its predictions have, what folds balance.

A task is a module of this package with an object `TASK` and a line in the registry. It knows numbers
only: how files are read, models fitted and scores shown is the business of those who ask it.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError

Floats = NDArray[np.floating[Any]]
NOTE = "tasks"
"""Key of the note of a targets artifact: what its targets are, where they are not binary."""


@dataclass(frozen=True)
class Labels:
    """A target's labels as numbers: `values` (rows,) float64, NaN where unknown.

    `classes`: what the numbers 0, 1, … stand for, of a task that has classes. `says`: in words, how the
    column was read, where that is worth a line.
    """

    values: NDArray[np.float64]
    classes: tuple[str, ...] = ()
    says: str | None = None


class Column(Protocol):
    """A user's column of labels, which can be read in several ways; each raises BlendmakeError."""

    def two_values(self) -> Labels:
        """As 0 and 1."""

    def numbers(self) -> Labels:
        """As numbers."""

    def values_as_classes(self) -> Labels:
        """As codes of its distinct values, in their natural order."""


class Task(ABC):
    """What all targets of a kind have in common.

    Attributes:
        name: as in the config and the registry.
        title: the name in a sentence.
        metric: what choices are made by where the config names no metric.
        also: metrics that are shown beside it where the config names none.
        scales: scales on which predictions may be averaged, the default first.
        low, high: between what a prediction lies.
        undersamples: whether rows of a commoner class can be left out of a fit (see fits.bagging).
    """

    name: ClassVar[str]
    title: ClassVar[str]
    metric: ClassVar[str]
    also: ClassVar[tuple[str, ...]]
    scales: ClassVar[tuple[str, ...]]
    undersamples: ClassVar[bool] = False
    low: ClassVar[float] = -np.inf
    high: ClassVar[float] = np.inf

    @abstractmethod
    def read(self, column: Column) -> Labels:
        """The labels of a user's column."""

    def outputs(self, target: str, classes: Sequence[str]) -> tuple[str, ...]:
        """Names of the columns of a target's predictions."""
        return (target,)

    @abstractmethod
    def usable(self, labels: Floats) -> bool:
        """Whether there is something to learn from, or to score by: labels (rows,), NaN unknown."""

    @abstractmethod
    def constant(self, labels: Floats, outputs: int) -> NDArray[np.float64]:
        """The prediction (outputs,) that stands in where nothing is learnt from labels (rows,)."""

    @abstractmethod
    def strata(self, labels: Floats) -> NDArray[np.int8]:
        """What folds balance: 0 or 1 (rows, s); 0 where the label (rows,) is unknown."""

    def as_classes(self, labels: Floats) -> NDArray[np.float64]:
        """Labels (rows,) as codes 0, 1, … of classes, NaN where unknown; here: the strata's."""
        codes = np.full(len(labels), np.nan)
        known = np.flatnonzero(~np.isnan(labels))
        if len(known):
            codes[known] = self.strata(labels[known]).argmax(axis=1)
        return codes

    @abstractmethod
    def moments(self, labels: Floats, outputs: int) -> NDArray[np.float64]:
        """What a target encoding averages: (rows, m); NaN where the label (rows,) is unknown."""

    def moment_names(self, target: str, classes: Sequence[str]) -> tuple[str, ...]:
        """What each of them is called (m,)."""
        return self.outputs(target, classes)

    def row_weights(self, labels: Floats, class_weight: str | float) -> NDArray[np.float64] | None:
        """How much each of the labels (rows,) counts in a fit, above 0; None: all the same.

        Args:
            class_weight: as in the config: `none`, `balanced`, or a number.

        Raises:
            BlendmakeError: the task has no such weights.
        """
        if class_weight == "none":
            return None
        raise BlendmakeError(
            f"'class_weight: {class_weight}' does not go with {self.title}, which has no classes to "
            "weigh: leave it out (or set it to none for these targets)."
        )

    def wrong(self, predictions: Floats) -> str | None:
        """What keeps (rows, outputs) from being predictions of this task, in words; None: nothing."""
        if not np.isfinite(predictions).all():
            return "not all are finite numbers"
        if predictions.size and (predictions.min() < self.low or predictions.max() > self.high):
            return f"they must lie between {self.low:g} and {self.high:g}"
        return None


@dataclass(frozen=True)
class Target:
    """One target: its name, its task, and its classes where the task has such."""

    name: str
    task: Task
    classes: tuple[str, ...] = ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the columns of its predictions."""
        return self.task.outputs(self.name, self.classes)


def as_targets(targets: Sequence[Target | str]) -> tuple[Target, ...]:
    """Targets, where names stand for binary ones."""
    binary = find_task("binary")
    return tuple(Target(one, binary) if isinstance(one, str) else one for one in targets)


def find_task(name: str) -> Task:
    """The task of a name.

    Raises:
        BlendmakeError: there is none of that name.
    """
    # By name: the registry is in no digest, so that a new task is no change to the others.
    known: Mapping[str, str] = importlib.import_module("blendmake.tasks").TASKS
    if name not in known:
        raise BlendmakeError(f"There is no task '{name}'; there are {', '.join(known)}.")
    task = importlib.import_module(known[name]).TASK
    assert isinstance(task, Task)
    return task


def note_of_targets(targets: Sequence[Target]) -> dict[str, Any]:
    """What a targets artifact says of its targets: nothing of those that are binary."""
    told = {
        one.name: {"task": one.task.name} | ({"classes": list(one.classes)} if one.classes else {})
        for one in targets
        if one.task.name != "binary"
    }
    return {NOTE: told} if told else {}


def targets_of_note(names: Sequence[str], note: Mapping[str, Any]) -> tuple[Target, ...]:
    """The targets of an artifact by its note; see `note_of_targets`."""
    told = note.get(NOTE, {})
    return tuple(
        Target(
            name,
            find_task(told.get(name, {}).get("task", "binary")),
            tuple(told.get(name, {}).get("classes", ())),
        )
        for name in names
    )
