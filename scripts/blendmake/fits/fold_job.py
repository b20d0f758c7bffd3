"""The fits of one source on one fold: what each is fitted with, on which rows, in which order."""

from __future__ import annotations

import importlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from blendmake.auc import auc
from blendmake.durations import clock
from blendmake.errors import BlendmakeError
from blendmake.family import Family, Fit, Fitted, FoldData, JointFamily, JointFit
from blendmake.files import digest_of, sync
from blendmake.fits.bagging import bag_count, draw_bag, undo_undersampling
from blendmake.fits.inputs import FoldInputs
from blendmake.fits.models import Kept, keep_models, save_constant, short_name
from blendmake.fits.settings import TargetSettings, settings_for
from blendmake.fits.store import StoredFit
from blendmake.folds import read_folds, read_inner
from blendmake.labels import Labels
from blendmake.matrix import Column, Positions, Rows, known_codes
from blendmake.seeds import derive_seed
from blendmake.window import require_time

log = logging.getLogger(__name__)
JOINT = "*"  # stands for the target in the seed of a model of several


@dataclass(frozen=True)
class _Unit:
    """What is fitted at once: the targets of one model, one bag of it, and where the fits are kept."""

    targets: tuple[str, ...]
    bag: int
    paths: tuple[Path, ...]


class FoldJob:
    """The fits of one source on one fold.

    Args:
        name, source: the source and its config (config.sources.Source as a mapping).
        groups: members of the target groups that it names.
        family: module of its family.
        every, labels: names and labels (rows, targets) of all targets of the problem.
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
    ) -> None:
        self.name, self.source, self.groups, self.fold = name, source, groups, fold
        self.inputs, self.seed, self.threads = inputs, seed, threads
        self.every, self.labels = every, labels
        self.family: type[Family] | type[JointFamily] = importlib.import_module(family).FAMILY
        self.joint = issubclass(self.family, JointFamily)
        folds = read_folds(inputs.folds)
        rows = folds.rows(fold)
        self.folds_digest, self.train_rows, self.valid_rows = folds.digest, rows.train, rows.valid
        if len(rows.valid) == 0 or len(rows.train) == 0:
            raise BlendmakeError(f"{inputs.folds}: fold {fold} has no rows.")
        self.train_files = inputs.feature_files("train")
        self.test_files = inputs.feature_files("test")

    # What a target is fitted with

    def settings(self, target: str) -> TargetSettings:
        return settings_for(self.source, self.groups, target, self.family.ALIASES)

    def _stopping(self, target: str) -> Mapping[str, Any] | None:
        return self.settings(target).early_stopping if self.family.STOPS else None

    def watched(self, target: str) -> str:
        """What early stopping of a target watches: none, inner or fold.

        None too where the rows to watch, or those left to train on, hold one class only.
        """
        stopping = self._stopping(target)
        if stopping is None:
            return "none"
        train, stop = self._split(stopping["watch"])
        column = self._labels(target)
        if two_classes(column[stop]) and two_classes(column[train]):
            return str(stopping["watch"])
        return "none"

    def _watched_together(self, targets: Sequence[str]) -> str:
        """What a model of several targets watches: what any of them can."""
        return next((w for w in map(self.watched, targets) if w != "none"), "none")

    def _split(self, watched: str) -> tuple[Positions, Positions]:
        """The rows that train and the rows that early stopping watches."""
        if watched == "none":
            return self.train_rows, self.train_rows[:0]
        if watched == "fold":
            return self.train_rows, self.valid_rows
        aside = self._inner[self.train_rows]
        return self.train_rows[~aside], self.train_rows[aside]

    @cached_property
    def _inner(self) -> NDArray[np.bool_]:
        assert self.inputs.inner is not None
        return read_inner(self.inputs.inner, self.fold)

    def _labels(self, target: str) -> Any:
        return self.labels[:, self.every.index(target)]

    def optimistic(self, targets: Sequence[str]) -> list[str]:
        """Targets whose labels in the fold had a say in their own predictions."""
        if self.joint:
            return list(targets) if self._watched_together(targets) == "fold" else []
        return [target for target in targets if self.watched(target) == "fold"]

    # The fits, and where they are kept

    def units(self, targets: Sequence[str], folder: Path) -> list[_Unit]:
        """Everything there is to fit; those that share a matrix stand together."""
        if self.joint:
            bags = range(bag_count(self.source.get("bagging")))
            together = tuple(targets)
            return [
                _Unit(
                    together, bag, tuple(folder / self.file_name(t, bag, together) for t in targets)
                )
                for bag in bags
            ]
        units = [
            _Unit((target,), bag, (folder / self.file_name(target, bag),))
            for target in targets
            for bag in range(bag_count(self.settings(target).bagging))
        ]
        return sorted(units, key=self._matrix_key)

    def _matrix_key(self, unit: _Unit) -> tuple[Any, ...]:
        target = unit.targets[0]
        return (*self._data_key(unit), repr(self.settings(target).params))

    def _data_key(self, unit: _Unit) -> tuple[Any, ...]:
        """What decides which rows and columns a unit is fitted on."""
        if self.joint:
            return (self._watched_together(unit.targets), ())
        target = unit.targets[0]
        return (self.watched(target), tuple(c.name for c in self._columns(unit)))

    def _columns(self, unit: _Unit) -> Sequence[Column]:
        if self.joint:
            return self.train_files.columns
        return self.train_files.columns_of(unit.targets[0])

    def file_name(self, target: str, bag: int = 0, together: Sequence[str] = ()) -> str:
        """The name of a fit in scratch."""
        settings = vars(self.settings(target))
        number = f"-bag{bag}" if bag else ""
        digest = digest_of([target, settings, *([list(together)] if together else [])])
        return f"{short_name(target)}-{digest}{number}.parquet"

    def fit_names(self, targets: Sequence[str]) -> list[str]:
        """What identifies the finished fits of all targets."""
        return [path.name for unit in self.units(targets, Path()) for path in unit.paths]

    def run(self, targets: Sequence[str], folder: Path, keep: bool) -> dict[str, list[StoredFit]]:
        """Fit what scratch does not hold yet.

        Returns:
            Each target's fits, one per bag.
        """
        units = self.units(targets, folder)
        held_out = len(self.valid_rows)
        done: dict[tuple[str, int], StoredFit] = {}
        missing = []
        longest = 0.0  # seconds of a unit so far
        for unit in units:
            found = [StoredFit.read(path, held_out, keep) for path in unit.paths]
            if any(one is None for one in found):
                missing.append(unit)
                continue
            longest = max(longest, sum(one.row["seconds"] for one in found if one is not None))
            done |= {
                (target, unit.bag): one
                for target, one in zip(unit.targets, found, strict=True)
                if one is not None
            }
        total = sum(len(unit.targets) for unit in units)
        if done:
            log.info("%d of %d fits found in scratch", len(done), total)
        progress = _Progress(f"{self.name} fold {self.fold}", total, len(done))
        family: Family | JointFamily | None = None
        key: tuple[Any, ...] = ()
        for unit in missing:
            kept = f"{len(done)} of {total} fits of {self.name} fold {self.fold} are done and kept."
            require_time(0.0 if self.family.RESUMES else longest, kept)
            started = time.monotonic()
            if family is None or self._data_key(unit) != key:
                key = self._data_key(unit)
                family = None  # the old matrix goes before the new one comes
                family = self.family(self._data(unit), self.threads, self._options)
            for target, one, path in zip(
                unit.targets, self._fit(family, unit, keep), unit.paths, strict=True
            ):
                one.write(path)
                done[target, unit.bag] = one
                progress.tell(target, unit.bag, one.row)
            if self.joint:
                shutil.rmtree(self._checkpoints(unit), ignore_errors=True)
            longest = max(longest, time.monotonic() - started)
        progress.close()
        order = sorted(done)
        return {target: [done[key] for key in order if key[0] == target] for target in targets}

    @property
    def _options(self) -> dict[str, Any]:
        return {name: self.source.get(name) for name in ("file", "python")}

    @staticmethod
    def _checkpoints(unit: _Unit) -> Path:
        """The folder of a joint fit's own partial work."""
        return unit.paths[0].with_suffix("")

    def _data(self, unit: _Unit) -> FoldData:
        watched = str(self._data_key(unit)[0])
        train, stop = self._split(watched)
        files, columns = self.train_files.files, self._columns(unit)
        known = known_codes(Rows(files, columns, train))

        def rows(of: Mapping[str, Any], positions: Any) -> Rows:
            return Rows(dict(of), columns, positions, known)

        names = {column.name for column in columns}
        return FoldData(
            rows(files, train),
            rows(files, self.valid_rows),
            rows(self.test_files.files, np.arange(self.test_files.rows)),
            None if watched == "none" else rows(files, stop),
            {
                name: levels
                for name, levels in self.train_files.level_names.items()
                if name in names
            },
        )

    # One fit

    def _fit(self, family: Family | JointFamily, unit: _Unit, keep: bool) -> list[StoredFit]:
        """Fit one unit, target by target of its model."""
        started = time.monotonic()
        watched = str(self._data_key(unit)[0])
        if watched == "none" and self._stopping(unit.targets[0]):
            log.warning("%s: no early stopping, its rows hold one class only", _title(unit))
        stem = unit.paths[0].with_name(unit.paths[0].stem + "-model")
        share = 1.0
        if isinstance(family, JointFamily):
            fitted, labels = self._fit_together(family, unit)
        else:
            fitted, labels, share = self._fit_one(family, unit)
        seconds = time.monotonic() - started
        model = fitted.save(stem) if keep else None
        if model is not None:
            sync(model)
        stored = []
        for j, target in enumerate(unit.targets):
            one = _of_target(fitted, j) if self.joint else fitted
            own_labels = labels[:, j] if self.joint else labels
            own_model, column = model, j if self.joint else None
            stopped_on = watched
            if self.joint and not two_classes(own_labels):
                one = self._constant(target, own_labels)
                own_model = one.save(self._constant_stem(unit, j)) if keep else None
                column, stopped_on = None, "none"
            row = self._row(target, unit, one, own_labels, stopped_on, seconds / len(unit.targets))
            valid = undo_undersampling(one.valid, share)
            test = undo_undersampling(one.test, share)
            stored.append(StoredFit(valid, test, row, own_model, share, column))
        return stored

    @staticmethod
    def _constant_stem(unit: _Unit, j: int) -> Path:
        return unit.paths[j].with_name(unit.paths[j].stem + "-constant")

    def _fit_one(self, family: Family, unit: _Unit) -> tuple[Fitted, Any, float]:
        """Fit one target: what came of it, the labels it was fitted with, share of negatives drawn."""
        target = unit.targets[0]
        settings, watched = self.settings(target), self.watched(target)
        column = self._labels(target)
        train, stop = self._split(watched)
        seed = self._seed(target, unit.bag)
        labels, share = draw_bag(column[train], settings.bagging, derive_seed(seed, "negatives"))
        if not two_classes(labels):
            return self._constant(target, labels), labels, share
        task = Fit(
            target=target,
            params=settings.params,
            rounds=settings.rounds or family.ROUNDS,
            stop_rounds=None if watched == "none" else self._stop_rounds(target),
            positive_weight=_positive_weight(settings.class_weight, labels),
            seed=seed,
            labels=labels,
            stop_labels=None if watched == "none" else column[stop],
        )
        return self._guarded(lambda: family.fit(task)), labels, share

    def _fit_together(self, family: JointFamily, unit: _Unit) -> tuple[Fitted, Any]:
        """Fit all targets at once: what came of it, and the labels (rows, targets)."""
        settings, watched = self.settings(unit.targets[0]), str(self._data_key(unit)[0])
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
            stop_rounds=None if watched == "none" else self._stop_rounds(unit.targets[0]),
            positive_weights=np.array(weights),
            seed=self._seed(JOINT, unit.bag),
            labels=labels,
            scratch=self._checkpoints(unit),
            stop_labels=None if watched == "none" else self.labels[np.ix_(stop, columns)],
        )
        task.scratch.mkdir(parents=True, exist_ok=True)
        return self._guarded(lambda: family.fit(task)), labels

    def _guarded(self, fit: Callable[[], Fitted]) -> Fitted:
        try:
            return fit()
        except BlendmakeError as error:
            raise BlendmakeError(f"sources.{self.name}: {error}") from error

    def _seed(self, target: str, bag: int) -> int:
        return derive_seed(self.seed, self.name, target, self.fold, bag)

    def _stop_rounds(self, target: str) -> int:
        stopping = self.settings(target).early_stopping
        assert stopping is not None
        return int(stopping["rounds"])

    def _constant(self, target: str, labels: Any) -> Fitted:
        """What stands in where there is nothing to learn: the mean label, or one half."""
        log.warning("%s: one class only among the training rows, predicted as such", target)
        value = float(np.nanmean(labels)) if (~np.isnan(labels)).any() else 0.5
        return Fitted(
            np.full(len(self.valid_rows), value, np.float32),
            np.full(self.test_files.rows, value, np.float32),
            0,
            lambda stem: save_constant(value, stem),
        )

    def _row(
        self, target: str, unit: _Unit, fitted: Fitted, labels: Any, watched: str, seconds: float
    ) -> dict[str, Any]:
        """The fit's row of fits.parquet."""
        truth = self._labels(target)[self.valid_rows]
        rated = ~np.isnan(truth)
        score = auc(truth[rated], fitted.valid[rated]) if two_classes(truth) else None
        stop_auc = fitted.stop_auc
        peak, anonymous = _memory_mb()
        return {
            "source": self.name,
            "target": target,
            "fold": self.fold,
            "bag": unit.bag,
            "rows": int((~np.isnan(labels)).sum()),
            "positives": int(np.nansum(labels)),
            "rounds": fitted.rounds,
            "stopped_on": None if watched == "none" else watched,
            "seconds": seconds,
            "device": fitted.device,
            "threads": self.threads,
            "peak_rss_mb": peak,
            "anonymous_mb": anonymous,
            "auc": score,
            "stop_auc": None if stop_auc is None or np.isnan(stop_auc) else float(stop_auc),
            "seed": self._seed(JOINT if self.joint else target, unit.bag),
        }

    def keep_models(self, folder: Path, finished: Mapping[str, Sequence[StoredFit]]) -> None:
        """Keep the models of finished fits in `folder`."""
        kept, known = [], {}
        units = {
            (t, unit.bag): unit for unit in self.units(list(finished), Path()) for t in unit.targets
        }
        for target, fits in finished.items():
            for bag, one in enumerate(fits):
                assert one.model is not None
                unit = units[target, bag]
                watched, columns = str(self._data_key(unit)[0]), self._columns(unit)
                kept.append(Kept(target, one.model, watched, columns, one.share, one.column))
        files, columns = self.train_files.files, self.train_files.columns
        for watched in sorted({one.rows for one in kept}):
            known[watched] = known_codes(Rows(files, columns, self._split(watched)[0]))
        names = self.train_files.level_names
        keep_models(folder, kept, self.family.__module__, columns, names, known)


class _Progress:
    """A line of the log per fit, and a bar on a terminal."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self._title, self._total, self._before, self._done = title, total, done, done
        self._started = time.monotonic()
        self._bar = tqdm(
            total=total, initial=done, desc=title, unit="fit", leave=False, disable=None
        )

    def tell(self, target: str, bag: int, row: Mapping[str, Any]) -> None:
        self._done += 1
        self._bar.update()
        spent = time.monotonic() - self._started
        left = spent / (self._done - self._before) * (self._total - self._done)
        log.info(
            "%s: %s (%d/%d) auc %s, %d rounds, %.1f s; %s left",
            self._title,
            target if bag == 0 else f"{target} bag {bag}",
            self._done,
            self._total,
            "-" if row["auc"] is None else f"{row['auc']:.4f}",
            row["rounds"],
            row["seconds"],
            clock(left),
        )

    def close(self) -> None:
        self._bar.close()


def _title(unit: _Unit) -> str:
    """A unit in messages."""
    return unit.targets[0] if len(unit.targets) == 1 else f"{len(unit.targets)} targets"


def two_classes(labels: Any) -> bool:
    """Whether both classes occur among labels of 0, 1 and NaN."""
    return bool((labels == 0).any() and (labels == 1).any())


def _of_target(fitted: Fitted, j: int) -> Fitted:
    """One target's part of a joint fit."""
    stop_auc = None if fitted.stop_auc is None else float(np.asarray(fitted.stop_auc)[j])
    return Fitted(
        np.ascontiguousarray(fitted.valid[:, j]),
        np.ascontiguousarray(fitted.test[:, j]),
        fitted.rounds,
        fitted.save,
        stop_auc,
        fitted.device,
    )


def _positive_weight(class_weight: str | float, labels: Any) -> float:
    if class_weight == "balanced":
        return float((labels == 0).sum() / (labels == 1).sum())
    return 1.0 if class_weight == "none" else float(class_weight)


def _memory_mb() -> tuple[float | None, float | None]:
    """Peak resident and present anonymous memory of this process, where the system tells."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None, None
    found = {line.split(":")[0]: line.split()[1] for line in lines if line.endswith("kB")}
    return tuple(  # type: ignore[return-value]
        int(found[key]) / 1024 if key in found else None for key in ("VmHWM", "RssAnon")
    )
