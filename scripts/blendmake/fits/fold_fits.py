"""The fits of one source on one fold: on which rows each is fitted, with what, and how it is done."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.family import Family, Fit, Fitted, FoldData, JointFamily, JointFit
from blendmake.fits.bagging import draw_bag
from blendmake.fits.gpu_memory import fit_or_fall_back
from blendmake.fits.inputs import FoldInputs
from blendmake.fits.models import save_constant
from blendmake.fits.settings import TargetSettings, settings_for
from blendmake.folds.file import read_folds, read_inner
from blendmake.labels import Labels
from blendmake.matrix import Column, Positions, Rows, known_values
from blendmake.seeds import derive_seed

log = logging.getLogger(__name__)
JOINT = "*"  # stands for the target in the seed of a model of several
Report = Callable[[int, float], None]
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


class FoldFits:
    """How the targets of one source are fitted on one fold.

    Args:
        name, source: the source and its config (config.sources.Source as a mapping).
        groups: members of the target groups that it names.
        family: module of its family.
        every, labels: names and labels (rows, targets) of the targets that may be fitted.
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
        every: Sequence[str],
        labels: Labels,
        *,
        tuned: Mapping[str, Mapping[str, Any]] | None = None,
        within: Collection[int] | None = None,
        trial: bool = False,
        reports: bool = False,
        gpu: float = 0.0,
        out_of_memory: str = "error",
    ) -> None:
        self.name, self.source, self.groups, self.fold = name, source, groups, fold
        self.inputs, self.seed, self.threads = inputs, seed, threads
        self.every, self.labels = every, labels
        self.tuned, self.trial, self.reports = tuned or {}, trial, reports
        self.gpu, self.out_of_memory = gpu, out_of_memory
        self.family: type[Family] | type[JointFamily] = importlib.import_module(family).FAMILY
        self.joint = issubclass(self.family, JointFamily)
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

    def _stopping(self, target: str) -> Mapping[str, Any] | None:
        settings = self.settings(target)
        return settings.early_stopping if self.family.stops(settings.params) else None

    def watched(self, target: str) -> str:
        """What is watched in a fit: none, inner or fold; report, where no rounds hang on it.

        None too where the rows to watch, or those left to train on, hold one class only.
        """
        stopping = self._stopping(target)
        if stopping is None:
            watch = "report" if self.reports and self.family.REPORTS else "none"
        else:
            watch = str(stopping["watch"])
        train, stop = self._split(watch)
        column = self._labels(target)
        return watch if two_classes(column[stop]) and two_classes(column[train]) else "none"

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
        return self.labels[:, self.every.index(target)]

    def truth(self, target: str) -> Any:
        """Labels (held-out rows,) of a target, NaN where unknown."""
        return self._labels(target)[self.valid_rows]

    def optimistic(self, targets: Sequence[str]) -> list[str]:
        """Targets whose labels in the fold had a say in their own predictions."""
        if self.joint:
            return list(targets) if self._watched_together(targets) == "fold" else []
        return [target for target in targets if self.watched(target) == "fold"]

    # The rows of a fit

    def matrix_key(self, unit: Unit) -> tuple[Any, ...]:
        """By what units are sorted, so that those that share a matrix stand together."""
        return (*self.data_key(unit), repr(self.settings(unit.targets[0]).params))

    def data_key(self, unit: Unit) -> tuple[Any, ...]:
        """What decides which rows and columns a unit is fitted on."""
        if self.joint:
            return (self._watched_together(unit.targets), ())
        target = unit.targets[0]
        return (self.watched(target), tuple(c.name for c in self.columns(unit)))

    def columns(self, unit: Unit) -> Sequence[Column]:
        if self.joint:
            return self.train_files.columns
        return self.train_files.columns_of(unit.targets[0])

    def made_family(self, unit: Unit) -> Family | JointFamily:
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
        self, family: Family, unit: Unit, report: Report | None = None
    ) -> tuple[Fitted, Any, float]:
        """Fit one target: what came of it, the labels it was fitted with, share of negatives drawn."""
        task, labels, share = self._task(family, unit, report)
        if task is None:
            return self.constant(unit.targets[0], labels), labels, share
        return self._guarded(lambda: self._fit_task(family, task)), labels, share

    def fit_many(self, family: Family, units: Sequence[Unit]) -> list[tuple[Fitted, Any, float]]:
        """As fit_one, of units of the same data_key, fitted at once."""
        asked = [self._task(family, unit) for unit in units]
        tasks = [task for task, _, _ in asked if task is not None]
        fitted = iter(self._guarded(lambda: family.fit_many(tasks)))
        return [
            (next(fitted) if task else self.constant(unit.targets[0], labels), labels, share)
            for unit, (task, labels, share) in zip(units, asked, strict=True)
        ]

    def _task(
        self, family: Family, unit: Unit, report: Report | None = None
    ) -> tuple[Fit | None, Any, float]:
        """The fit of a unit (None: its labels are of one class), its labels, share of negatives."""
        target = unit.targets[0]
        settings, watched = self.settings(target), self.watched(target)
        column = self._labels(target)
        train, stop = self._split(watched)
        seed = self.seed_of(target, unit.bag)
        labels, share = draw_bag(column[train], settings.bagging, derive_seed(seed, "negatives"))
        if not two_classes(labels):
            return None, labels, share
        task = Fit(
            target=target,
            params=settings.params,
            rounds=settings.rounds or family.ROUNDS,
            stop_rounds=self._stop_rounds(target, watched),
            positive_weight=_positive_weight(settings.class_weight, labels),
            seed=seed,
            labels=labels,
            stop_labels=None if watched == "none" else column[stop],
            report=None if watched == "none" else report,
        )
        return task, labels, share

    def fit_together(
        self, family: JointFamily, unit: Unit, scratch: Path, report: Report | None = None
    ) -> tuple[Fitted, Any]:
        """Fit all targets at once: what came of it, and the labels (rows, targets)."""
        settings, watched = self.settings(unit.targets[0]), str(self.data_key(unit)[0])
        columns = np.array([self.every.index(target) for target in unit.targets])
        train, stop = self._split(watched)
        labels = self.labels[np.ix_(train, columns)]
        weights = [
            _positive_weight(settings.class_weight, column) if two_classes(column) else 1.0
            for column in labels.T
        ]
        task = JointFit(
            targets=unit.targets,
            params=settings.params,
            rounds=settings.rounds or family.ROUNDS,
            stop_rounds=self._stop_rounds(unit.targets[0], watched),
            positive_weights=np.array(weights),
            seed=self.seed_of(JOINT, unit.bag),
            labels=labels,
            scratch=scratch,
            stop_labels=None if watched == "none" else self.labels[np.ix_(stop, columns)],
            report=None if watched == "none" else report,
        )
        task.scratch.mkdir(parents=True, exist_ok=True)
        return self._guarded(lambda: self._fit_task(family, task)), labels

    def _fit_task(self, family: Family | JointFamily, task: Fit | JointFit) -> Fitted:
        return fit_or_fall_back(family, task, self.out_of_memory)

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
        """What stands in where there is nothing to learn: the mean label, or one half."""
        log.warning("%s: one class only among the training rows, predicted as such", target)
        value = float(np.nanmean(labels)) if (~np.isnan(labels)).any() else 0.5
        return Fitted(
            np.full(len(self.valid_rows), value, np.float32),
            np.full(0 if self.trial else self.test_files.rows, value, np.float32),
            0,
            lambda stem: save_constant(value, stem),
        )


def two_classes(labels: Any) -> bool:
    """Whether both classes occur among labels of 0, 1 and NaN."""
    return bool((labels == 0).any() and (labels == 1).any())


def _positive_weight(class_weight: str | float, labels: Any) -> float:
    if class_weight == "balanced":
        return float((labels == 0).sum() / (labels == 1).sum())
    return 1.0 if class_weight == "none" else float(class_weight)
