"""The fits of one source on one fold, one after another, each kept in scratch when it is done."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from blendmake.beside import beside
from blendmake.family import Family, Fitted, slices_of
from blendmake.files import digest_of, sync
from blendmake.fits.bagging import bag_count, undo_undersampling
from blendmake.fits.fold_fits import SEVERAL, Done, FoldFits, Unit
from blendmake.fits.models import Kept, keep_models, short_name
from blendmake.fits.store import StoredFit
from blendmake.matrix import Rows, known_values
from blendmake.metrics.base import ScoredRows

log = logging.getLogger(__name__)


class FoldJob(FoldFits):
    """The fits of one source on one fold, with what scratch holds of them."""

    def units(self, targets: Sequence[str], folder: Path) -> list[Unit]:
        """Everything there is to fit; those that share a matrix stand together."""
        if self.multi_output:
            bags = range(bag_count(self.source.get("bagging")))
            return [
                Unit(some, bag, tuple(folder / self.file_name(t, bag, some) for t in some))
                for some in self.together(targets)
                for bag in bags
            ]
        units = [
            Unit((target,), bag, (folder / self.file_name(target, bag),))
            for target in targets
            for bag in range(bag_count(self.settings(target).bagging))
        ]
        return sorted(units, key=self.matrix_key)

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
        progress = beside("fits.progress").Progress(
            f"{self.name} fold {self.fold}", total, len(done)
        )
        family: Family | None = None
        key: tuple[Any, ...] = ()
        for batch in self._batches(missing):
            kept = f"{len(done)} of {total} fits of {self.name} fold {self.fold} are done and kept."
            beside("window").require_time(0.0 if self.family.RESUMES else longest, kept)
            started = time.monotonic()
            if family is None or self.data_key(batch[0]) != key:
                key = self.data_key(batch[0])
                family = None  # the old matrix goes before the new one comes
                family = self.made_family(batch[0])
            for unit, stored in zip(batch, self._fit(family, batch, keep), strict=True):
                for target, one, path in zip(unit.targets, stored, unit.paths, strict=True):
                    one.write(path)
                    done[target, unit.bag] = one
                    progress.tell(target, unit.bag, one.row)
                if self.multi_output:
                    shutil.rmtree(self._checkpoints(unit), ignore_errors=True)
            longest = max(longest, time.monotonic() - started)
        progress.close()
        order = sorted(done)
        return {target: [done[key] for key in order if key[0] == target] for target in targets}

    @staticmethod
    def _checkpoints(unit: Unit) -> Path:
        """The folder of the own partial work of a fit of several targets."""
        return unit.paths[0].with_suffix("")

    def _batches(self, units: Sequence[Unit]) -> list[list[Unit]]:
        """Units in order, those that their family had better be given at once together."""
        most = 1 if self.multi_output else self.family.TOGETHER
        batches: list[list[Unit]] = []
        for unit in units:
            last = batches[-1] if batches else []
            if last and len(last) < most and self.data_key(last[0]) == self.data_key(unit):
                last.append(unit)
            else:
                batches.append([unit])
        return batches

    def _fit(self, family: Family, units: Sequence[Unit], keep: bool) -> list[list[StoredFit]]:
        """Fit units of one data_key: of each, what came of it, target by target of its model."""
        started = time.monotonic()
        watched = str(self.data_key(units[0])[0])
        for unit in units:
            if watched == "none" and self._stopping(unit.targets[0]):
                log.warning("%s: no early stopping, its rows hold one value only", unit.title)
        if len(units) == 1:
            scratch = self._checkpoints(units[0]) if self.multi_output else None
            found = [self.fit_one(family, units[0], scratch)]
        else:
            found = self.fit_many(family, units)
        seconds = (time.monotonic() - started) / len(units)
        return [
            self._stored(unit, watched, one, seconds, keep)
            for unit, one in zip(units, found, strict=True)
        ]

    def _stored(
        self, unit: Unit, watched: str, done: Done, seconds: float, keep: bool
    ) -> list[StoredFit]:
        """A fit as scratch keeps it, target by target; its model is saved here."""
        stem = unit.paths[0].with_name(unit.paths[0].stem + "-model")
        model = done.fitted.save(stem) if keep else None
        if model is not None:
            sync(model)
        stored = []
        parts = slices_of([self.targets[target] for target in unit.targets])
        for j, (target, part) in enumerate(zip(unit.targets, parts, strict=True)):
            one, labels = _of_target(done.fitted, j, part), done.labels[:, j]
            own_model, outputs = model, (part.start, part.stop) if self.multi_output else None
            stopped_on = watched
            if self.multi_output and not self.usable(target, labels):
                one = self.constant(target, labels)
                own_model = one.save(self._constant_stem(unit, j)) if keep else None
                outputs, stopped_on = None, "none"
            row = self._row(target, unit, one, labels, stopped_on, seconds / len(unit.targets))
            valid = undo_undersampling(one.valid, done.share)
            test = undo_undersampling(one.test, done.share)
            stored.append(StoredFit(valid, test, row, own_model, done.share, outputs))
        return stored

    @staticmethod
    def _constant_stem(unit: Unit, j: int) -> Path:
        return unit.paths[j].with_name(unit.paths[j].stem + "-constant")

    def score(self, target: str, predictions: Any) -> float:
        """The metric of predictions (held-out rows, outputs) of a target; NaN where it is undefined."""
        truth = self.truth(target)
        rated = np.flatnonzero(~np.isnan(truth))
        if not self.usable(target, truth):
            return float("nan")
        given = predictions[rated]
        rows = ScoredRows(folds=np.zeros(len(rated), np.int8))
        one = given[:, 0] if len(self.targets[target].outputs) == 1 else given
        return self.metric(target)(truth[rated], one, rows)

    def _row(
        self, target: str, unit: Unit, fitted: Fitted, labels: Any, watched: str, seconds: float
    ) -> dict[str, Any]:
        """The fit's row of fits.parquet."""
        stop_score = None if fitted.stop_scores is None else float(fitted.stop_scores[0])
        is_binary = self.targets[target].task.name == "binary"
        peak, anonymous = _memory_mb()
        return {
            "source": self.name,
            "target": target,
            "fold": self.fold,
            "bag": unit.bag,
            "rows": int((~np.isnan(labels)).sum()),
            "positives": int(np.nansum(labels)) if is_binary else None,
            "rounds": fitted.rounds,
            "stopped_on": None if watched == "none" else watched,
            "seconds": seconds,
            "device": fitted.device,
            "fallback": fitted.fallback,
            "threads": self.threads,
            "peak_rss_mb": peak,
            "anonymous_mb": anonymous,
            "metric": self.metric(target).name,
            "score": _known(self.score(target, fitted.valid)),
            "stop_score": _known(stop_score),
            "seed": self.seed_of(SEVERAL if self.multi_output else target, unit.bag),
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
                watched, columns = str(self.data_key(unit)[0]), self.columns(unit)
                kept.append(Kept(target, one.model, watched, columns, one.share, one.outputs))
        files, columns = self.train_files.files, self.train_files.columns
        for watched in sorted({one.rows for one in kept}):
            known[watched] = known_values(Rows(files, columns, self._split(watched)[0]))
        names = self.train_files.level_names
        targets = [self.targets[target] for target in finished]
        keep_models(folder, kept, self.family.__module__, columns, names, known, targets)


def _of_target(fitted: Fitted, j: int, part: slice) -> Fitted:
    """One target's part of a fit: its outputs are the columns `part`."""
    scores = fitted.stop_scores
    return replace(
        fitted,
        valid=np.ascontiguousarray(fitted.valid[:, part]),
        test=np.ascontiguousarray(fitted.test[:, part]),
        stop_scores=None if scores is None else scores[j : j + 1],
    )


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


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
