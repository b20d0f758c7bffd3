"""The fits of one source on one fold: on which rows each is fitted, with what, and how it is done."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.family import Family, Fit, Fitted, FoldData, Report, Stop, Weights
from blendmake.fits.bagging import draw_bag
from blendmake.fits.gpu_memory import fit_or_fall_back
from blendmake.fits.inputs import FoldInputs
from blendmake.fits.models import save_constant
from blendmake.fits.settings import TargetSettings, settings_for
from blendmake.folds.file import read_folds, read_inner
from blendmake.labels import Labels
from blendmake.matrix import Column, Positions, Rows, known_values
from blendmake.metrics.base import Metric
from blendmake.metrics.finding import find_metric
from blendmake.seeds import derive_seed
from blendmake.tasks.base import Target

log = logging.getLogger(__name__)
SEVERAL = "*"  # stands for the target in the seed of a model of several
UNDERSAMPLING = ("negatives_per_positive", "max_negatives")
T = TypeVar("T")


@dataclass(frozen=True)
class Unit:
    """What is fitted at once: the targets of one model, one bag of it, and where the fits are kept."""

    targets: tuple[str, ...]
    bag: int
    paths: tuple[Path, ...] = ()

    @property
    def title(self) -> str:
        """The unit in messages."""
        return self.targets[0] if len(self.targets) == 1 else f"{len(self.targets)} targets"


class Done(NamedTuple):
    """What came of a unit: the fit, the labels (rows, targets) it was fitted with, and the share of
    negatives that it saw."""

    fitted: Fitted
    labels: Labels
    share: float


class FoldFits:
    """How the targets of one source are fitted on one fold.

    Args:
        name, source: the source and its config (config.sources.Source as a mapping).
        groups: members of the target groups that it names.
        family: module of its family.
        targets, labels: the targets that may be fitted, and their labels (rows, targets).
        metric: the name of the metric that early stopping watches, or by target; None: its task's.
        tuned: by target, what is set over everything that the source says (an override).
        within: folds whose rows alone train; left out: all.
        trial: the fits of a search, without test rows.
        reports: whether fits are reported on: on the held-out rows, where nothing else is watched.
        gpu: share of a GPU's memory that fits may use; 0: they run on the CPU.
        out_of_memory: what is done where that is too little (config.sources.Source).
    """

    def __init__(
        self,
        name: str,
        source: Mapping[str, Any],
        groups: Mapping[str, Sequence[str]],
        fold: int,
        inputs: FoldInputs,
        family: str,
        seed: int,
        threads: int,
        targets: Sequence[Target],
        labels: Labels,
        *,
        metric: str | Mapping[str, str] | None = None,
        tuned: Mapping[str, Mapping[str, Any]] | None = None,
        within: Collection[int] | None = None,
        trial: bool = False,
        reports: bool = False,
        gpu: float = 0.0,
        out_of_memory: str = "error",
    ) -> None:
        self.name, self.source, self.groups, self.fold = name, source, groups, fold
        self.inputs, self.seed, self.threads = inputs, seed, threads
        self.targets = {target.name: target for target in targets}
        self.names, self.labels = list(self.targets), labels
        self._metric = metric
        self.tuned, self.trial, self.reports = tuned or {}, trial, reports
        self.gpu, self.out_of_memory = gpu, out_of_memory
        self.family: type[Family] = importlib.import_module(family).FAMILY
        self.multi_output = self.family.MULTI_OUTPUT
        folds = read_folds(inputs.folds)
        rows = folds.rows(fold, within)
        self.folds_digest, self.train_rows, self.valid_rows = folds.digest, rows.train, rows.valid
        if len(rows.valid) == 0 or len(rows.train) == 0:
            raise BlendmakeError(f"{inputs.folds}: fold {fold} has no rows.")
        self.train_files = inputs.feature_files("train")
        self.test_files = inputs.feature_files("test")

    # What a target is fitted with

    def settings(self, target: str) -> TargetSettings:
        return settings_for(
            self.source, self.groups, target, self.family.ALIASES, self.tuned.get(target)
        )

    def metric(self, target: str) -> Metric:
        """What early stopping watches a target by."""
        task = self.targets[target].task
        said = self._metric.get(target) if isinstance(self._metric, Mapping) else self._metric
        metric = find_metric(said or task.metric)
        if task.name not in metric.tasks:
            raise BlendmakeError(
                f"sources.{self.name}: metric '{metric.name}' does not measure target '{target}', which "
                f"is {task.title}. Name one of {task.metric}, {', '.join(task.also)}."
            )
        return metric

    def check(self, targets: Sequence[str]) -> None:
        """Refuse targets that the source cannot fit, or not with these settings.

        Raises:
            BlendmakeError: naming source and target.
        """
        for name in targets:
            task, settings = self.targets[name].task, self.settings(name)
            own = f"sources.{self.name}: target '{name}'"
            if task.name not in self.family.TASKS:
                here = self.family.__module__.rpartition(".")[2]
                raise BlendmakeError(
                    f"{own} is {task.title}, which family {here} cannot fit (it can: "
                    f"{', '.join(sorted(self.family.TASKS))}). Take the target out of the source's "
                    "targets, or choose another family."
                )
            drawn = [key for key in UNDERSAMPLING if (settings.bagging or {}).get(key) is not None]
            if drawn and not task.undersamples:
                raise BlendmakeError(
                    f"{own} is {task.title}, which has no negatives to leave out: 'bagging.{drawn[0]}' "
                    "is for binary targets. Leave it out (bags of all rows are possible)."
                )
            try:
                task.row_weights(np.zeros(0), settings.class_weight)
            except BlendmakeError as error:
                raise BlendmakeError(f"{own}: {error}") from None

    def _stopping(self, target: str) -> Mapping[str, Any] | None:
        settings = self.settings(target)
        return settings.early_stopping if self.family.stops(settings.params) else None

    def watched(self, target: str) -> str:
        """What is watched in a fit: none, inner or fold; report, where no rounds hang on it.

        None too where the rows to watch, or those left to train on, hold one value only.
        """
        stopping = self._stopping(target)
        if stopping is None:
            watch = "report" if self.reports and self.family.REPORTS else "none"
        else:
            watch = str(stopping["watch"])
        train, stop = self._split(watch)
        column, task = self._labels(target), self.targets[target].task
        return watch if task.usable(column[stop]) and task.usable(column[train]) else "none"

    def _watched_together(self, targets: Sequence[str]) -> str:
        """What a model of several targets watches: what any of them can."""
        return next((w for w in map(self.watched, targets) if w != "none"), "none")

    def _split(self, watched: str) -> tuple[Positions, Positions]:
        """The rows that train and the rows that are watched."""
        if watched == "none":
            return self.train_rows, self.train_rows[:0]
        if watched in ("fold", "report"):
            return self.train_rows, self.valid_rows
        aside = self._inner[self.train_rows]
        return self.train_rows[~aside], self.train_rows[aside]

    @cached_property
    def _inner(self) -> NDArray[np.bool_]:
        assert self.inputs.inner is not None
        return read_inner(self.inputs.inner, self.fold)

    def _labels(self, target: str) -> Any:
        """Labels (rows,), of the same kind whatever the other targets are."""
        kind = np.float64 if self.targets[target].task.name == "regression" else np.float32
        return self.labels[:, self.names.index(target)].astype(kind, copy=False)

    def usable(self, target: str, labels: Any) -> bool:
        """Whether there is something to learn from labels, or to score by."""
        return self.targets[target].task.usable(labels)

    def truth(self, target: str) -> Any:
        """Labels (held-out rows,) of a target, NaN where unknown."""
        return self._labels(target)[self.valid_rows]

    def optimistic(self, targets: Sequence[str]) -> list[str]:
        """Targets whose labels in the fold had a say in their own predictions."""
        if self.multi_output:
            watched = [some for some in self.together(targets) if self._watches_fold(some)]
            return [target for target in targets if any(target in some for some in watched)]
        return [target for target in targets if self.watched(target) == "fold"]

    def _watches_fold(self, targets: Sequence[str]) -> bool:
        return self._watched_together(targets) == "fold"

    def together(self, targets: Sequence[str]) -> list[tuple[str, ...]]:
        """What a model of several targets is of: the targets of a task, in order."""
        found: dict[str, list[str]] = {}
        for target in targets:
            found.setdefault(self.targets[target].task.name, []).append(target)
        return [tuple(some) for some in found.values()]

    # The rows of a fit

    def matrix_key(self, unit: Unit) -> tuple[Any, ...]:
        """By what units are sorted, so that those that share a matrix stand together."""
        return (*self.data_key(unit), repr(self.settings(unit.targets[0]).params))

    def data_key(self, unit: Unit) -> tuple[Any, ...]:
        """What decides which rows and columns a unit is fitted on."""
        if self.multi_output:
            return (self._watched_together(unit.targets), ())
        target = unit.targets[0]
        return (self.watched(target), tuple(c.name for c in self.columns(unit)))

    def columns(self, unit: Unit) -> Sequence[Column]:
        if self.multi_output:
            return self.train_files.columns
        return self.train_files.columns_of(unit.targets[0])

    def made_family(self, unit: Unit) -> Family:
        """The family with the rows of a unit, for it and all others of the same data_key."""
        return self.family(self._data(unit), self.threads, self._options)

    @property
    def _options(self) -> dict[str, Any]:
        given = {
            name: self.source.get(name) for name in ("file", "python", "environment", "file_code")
        }
        return {"gpu": self.gpu, **given}

    def _data(self, unit: Unit) -> FoldData:
        watched = str(self.data_key(unit)[0])
        train, stop = self._split(watched)
        files, columns = self.train_files.files, self.columns(unit)
        known = known_values(Rows(files, columns, train))

        def rows(of: Mapping[str, Any], positions: Any) -> Rows:
            return Rows(dict(of), columns, positions, known)

        names = {column.name for column in columns}
        return FoldData(
            rows(files, train),
            rows(files, self.valid_rows),
            rows(self.test_files.files, np.arange(0 if self.trial else self.test_files.rows)),
            None if watched == "none" else rows(files, stop),
            {
                name: levels
                for name, levels in self.train_files.level_names.items()
                if name in names
            },
        )

    # One fit

    def fit_one(
        self, family: Family, unit: Unit, scratch: Path | None = None, report: Report | None = None
    ) -> Done:
        """Fit a unit; `scratch`: a folder for its own partial work, of a MULTI_OUTPUT family."""
        asked, labels, share = self._asked(unit, scratch, report)
        if asked is None:
            return Done(self.constant(unit.targets[0], labels[:, 0]), labels, share)
        if scratch is not None:
            scratch.mkdir(parents=True, exist_ok=True)
        fitted = self._guarded(lambda: fit_or_fall_back(family, asked, self.out_of_memory))
        return Done(fitted, labels, share)

    def fit_many(self, family: Family, units: Sequence[Unit]) -> list[Done]:
        """As fit_one, of units of the same data_key, fitted at once."""
        asked = [self._asked(unit) for unit in units]
        fits = [fit for fit, _, _ in asked if fit is not None]
        fitted = iter(self._guarded(lambda: family.fit_many(fits)))
        return [
            Done(
                next(fitted) if fit else self.constant(unit.targets[0], labels[:, 0]), labels, share
            )
            for unit, (fit, labels, share) in zip(units, asked, strict=True)
        ]

    def _asked(
        self, unit: Unit, scratch: Path | None = None, report: Report | None = None
    ) -> tuple[Fit | None, Labels, float]:
        """The fit of a unit (None: of one target, and there is nothing to learn), its labels (rows,
        targets), and the share of negatives drawn."""
        first = unit.targets[0]
        settings, watched = self.settings(first), str(self.data_key(unit)[0])
        seed = self.seed_of(SEVERAL if self.multi_output else first, unit.bag)
        train, stop = self._split(watched)
        labels, share = self._stacked(unit.targets, train), 1.0
        if not self.multi_output:
            drawn, share = draw_bag(labels[:, 0], settings.bagging, derive_seed(seed, "negatives"))
            labels = drawn[:, None]
            if not self.usable(first, drawn):
                return None, labels, share
        rounds = self._stop_rounds(first, watched)
        watched_labels = self._stacked(unit.targets, stop)
        for j, target in enumerate(unit.targets):
            if self.multi_output and not self.usable(target, labels[:, j]):
                watched_labels[:, j] = np.nan  # its predictions are not used
        watch = Stop(watched_labels, self.metric(first), rounds, report)
        asked = Fit(
            targets=tuple(self.targets[target] for target in unit.targets),
            labels=labels,
            params=settings.params,
            rounds=settings.rounds or self.family.ROUNDS,
            seed=seed,
            weights=self._weights(unit.targets, labels, settings.class_weight),
            scratch=scratch,
            stop=None if watched == "none" else watch,
        )
        return asked, labels, share

    def _stacked(self, targets: Sequence[str], rows: Positions) -> Labels:
        """Labels (rows, targets) of targets of one task."""
        return np.column_stack([self._labels(target)[rows] for target in targets])

    def _weights(
        self, targets: Sequence[str], labels: Labels, class_weight: str | float
    ) -> Weights | None:
        """How much each label counts, (rows, targets); None: all the same."""
        found = [
            self.targets[target].task.row_weights(column, class_weight)
            for target, column in zip(targets, labels.T, strict=True)
        ]
        if all(one is None for one in found):
            return None
        every = np.ones(len(labels))
        return np.column_stack([every if one is None else one for one in found])

    def _guarded(self, fit: Callable[[], T]) -> T:
        try:
            return fit()
        except BlendmakeError as error:
            # Of the same kind: one that there was no time for is no failure.
            error.args = (f"sources.{self.name}: {error}",)
            raise

    def seed_of(self, target: str, bag: int) -> int:
        return derive_seed(self.seed, self.name, target, self.fold, bag)

    def _stop_rounds(self, target: str, watched: str) -> int | None:
        stopping = self.settings(target).early_stopping
        return int(stopping["rounds"]) if stopping and watched not in ("none", "report") else None

    def constant(self, target: str, labels: Any) -> Fitted:
        """What stands in where there is nothing to learn from labels (rows,): Task.constant."""
        log.warning("%s: one value only among the training rows, predicted as such", target)
        one = self.targets[target]
        kind = np.float64 if one.task.name == "regression" else np.float32
        values = one.task.constant(labels, len(one.outputs))
        tested = 0 if self.trial else self.test_files.rows
        return Fitted(
            np.tile(values.astype(kind), (len(self.valid_rows), 1)),
            np.tile(values.astype(kind), (tested, 1)),
            0,
            lambda stem: save_constant(values.tolist(), stem),
        )
