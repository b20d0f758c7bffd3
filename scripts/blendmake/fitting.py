"""The unit of work: one source on one fold, its targets one after another, each kept in scratch."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from blendmake.auc import auc
from blendmake.durations import clock
from blendmake.errors import BlendmakeError
from blendmake.families.base import Family, Fit, Fitted, FoldData
from blendmake.feature_files import FeatureSetFiles, features_digest
from blendmake.files import digest_of, note_of, read_note, read_parquet, sync, write_parquet
from blendmake.folds import read_folds, read_inner
from blendmake.labels import Labels, labels_of
from blendmake.matrix import Floats, Positions, Rows, known_codes
from blendmake.models import Kept, keep_models, save_constant, short_name
from blendmake.predictions import write_predictions
from blendmake.seeds import derive_seed
from blendmake.settings import TargetSettings, resolve_targets, settings_for

log = logging.getLogger(__name__)

FITS = pa.schema(
    [
        ("source", pa.string()),
        ("target", pa.string()),
        ("fold", pa.int32()),
        ("bag", pa.int32()),
        ("rows", pa.int64()),
        ("positives", pa.int64()),
        ("rounds", pa.int32()),
        ("stopped_on", pa.string()),  # inner, fold, or null: all rounds were run
        ("seconds", pa.float64()),
        ("device", pa.string()),
        ("threads", pa.int32()),
        ("peak_rss_mb", pa.float64()),  # of the job so far, mapped pages included
        ("anonymous_mb", pa.float64()),  # at the end of the fit, without mapped pages
        ("auc", pa.float64()),  # on the fold, null if it holds one class only
        ("seed", pa.int64()),
    ]
)


@dataclass(frozen=True)
class FoldInputs:
    """The files a fit reads: tables and made columns by `train` and `test`."""

    tables: Mapping[str, Path]
    made: Mapping[str, Path]
    columns: Path
    targets: Path
    folds: Path
    inner: Path | None

    def digest(self) -> str:
        """What identifies their content."""
        paths = [self.targets, self.folds, *([self.inner] if self.inner else [])]
        return digest_of([features_digest(self.columns), *(read_note(p)["content"] for p in paths)])


@dataclass(frozen=True)
class FoldOutputs:
    """The files a fit of one fold makes; `models` is a folder, written only on request."""

    oof: Path
    test: Path
    fits: Path
    models: Path


def fit_fold(
    name: str,
    source: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    fold: int,
    inputs: FoldInputs,
    outputs: FoldOutputs,
    *,
    family: str,
    seed: int,
    code: str,
    scratch: Path,
    threads: int,
    note: Mapping[str, Any],
) -> None:
    """Fit every target of a source on one fold.

    Args:
        name, source: the source and its config (config.Source as a mapping).
        groups: the target groups that the source names.
        family: module of its family.
        code: digest of the code, part of the scratch folder's name.
        scratch: folder for finished fits; one that holds a target's fit saves it being done again.
        threads: threads per fit.
        note: provenance of the outputs.
    """
    targets_table = read_parquet(inputs.targets)
    id_columns = note_of(targets_table)["id_columns"]
    every, labels = labels_of(targets_table, id_columns)
    targets = resolve_targets(source["targets"], groups, every)
    unknown = [t for t in source["overrides"]["targets"] if t not in every]
    if unknown:
        raise BlendmakeError(
            f"sources.{name}.overrides.targets: there is no target '{unknown[0]}'."
        )
    strays = [(g, t) for g, members in groups.items() for t in members if t not in every]
    if strays:
        raise BlendmakeError(f"groups.{strays[0][0]}: there is no target '{strays[0][1]}'.")
    job = _Job(name, source, groups, fold, inputs, family, seed, threads, every, labels)
    key = digest_of([code, inputs.digest(), family, seed, note.get("versions")])
    folder = scratch / key
    keep = bool(source["keep_models"])
    made = {
        **note,
        "fold": fold,
        "folds": job.folds_digest,
        "optimistic": job.optimistic(targets),
        "fits": digest_of([key, [job.file_name(target) for target in targets], keep]),
    }
    with _locked(folder):
        if _stands(outputs, made["fits"]):
            log.info("another run has finished this source and fold meanwhile")
            return
        finished = job.run(targets, folder, keep)
        valid_ids = targets_table.select(id_columns).take(pa.array(job.valid_rows))
        test_ids = job.test_files.files["table"].table(id_columns)
        if keep:
            job.keep_models(outputs.models, finished)
        rows = [one.row for one in finished]
        oof = np.stack([one.valid for one in finished], axis=1)
        test = np.stack([one.test for one in finished], axis=1)
        write_predictions(outputs.test, test_ids, targets, test, made)
        write_parquet(pa.Table.from_pylist(rows, schema=FITS), outputs.fits, made)
        write_predictions(outputs.oof, valid_ids, targets, oof, made)


def _stands(outputs: FoldOutputs, fits: str) -> bool:
    """Whether another run has just made these outputs from the same fits; oof is written last."""
    if not all(path.exists() for path in (outputs.oof, outputs.test, outputs.fits)):
        return False
    return read_note(outputs.oof).get("fits") == fits


@dataclass(frozen=True)
class _Finished:
    valid: Floats
    test: Floats
    row: dict[str, Any]
    model: Path | None


class _Job:
    """The fits of one source on one fold."""

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
        self.family: type[Family] = importlib.import_module(family).FAMILY
        folds = read_folds(inputs.folds)
        rows = folds.rows(fold)
        self.folds_digest, self.train_rows, self.valid_rows = folds.digest, rows.train, rows.valid
        if len(rows.valid) == 0 or len(rows.train) == 0:
            raise BlendmakeError(f"{inputs.folds}: fold {fold} has no rows.")
        self.train_files = FeatureSetFiles(
            inputs.columns, inputs.tables["train"], inputs.made["train"]
        )
        self.test_files = FeatureSetFiles(
            inputs.columns, inputs.tables["test"], inputs.made["test"]
        )

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
        column = self.labels[:, self.every.index(target)]
        if _two_classes(column[stop]) and _two_classes(column[train]):
            return str(stopping["watch"])
        return "none"

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

    def optimistic(self, targets: Sequence[str]) -> list[str]:
        """Targets whose labels in the fold had a say in their own predictions."""
        return [target for target in targets if self.watched(target) == "fold"]

    def run(self, targets: Sequence[str], folder: Path, keep: bool) -> list[_Finished]:
        """Fit what scratch does not hold yet; results in the order of `targets`."""
        paths = {target: folder / self.file_name(target) for target in targets}
        finished: dict[str, _Finished] = {}
        for target, path in paths.items():
            found = self._found(path, target, keep)
            if found is not None:
                finished[target] = found
        if finished:
            log.info("%d of %d fits found in scratch", len(finished), len(targets))
        missing = [target for target in targets if target not in finished]
        started = time.monotonic()
        # On a terminal only; the log has a line per fit.
        bar = tqdm(
            total=len(targets),
            initial=len(finished),
            desc=f"{self.name} fold {self.fold}",
            unit="fit",
            leave=False,
            disable=None,
        )
        # One matrix at a time: targets that watch the same rows, with params alike, go together.
        missing.sort(key=lambda target: (self.watched(target), repr(self.settings(target).params)))
        family: Family | None = None
        watched = ""
        for done, target in enumerate(missing):
            if family is None or self.watched(target) != watched:
                watched = self.watched(target)
                family = None  # the old matrix goes before the new one comes
                family = self.family(self._data(watched), self.threads)
            finished[target] = self._fit(family, target, watched, paths[target], keep)
            bar.update()
            row = finished[target].row
            spent = time.monotonic() - started
            left = spent / (done + 1) * (len(missing) - done - 1)
            log.info(
                "%s fold %d: %s (%d/%d) auc %s, %d rounds, %.1f s; %s left",
                self.name,
                self.fold,
                target,
                len(finished),
                len(targets),
                "-" if row["auc"] is None else f"{row['auc']:.4f}",
                row["rounds"],
                row["seconds"],
                clock(left),
            )
        bar.close()
        return [finished[target] for target in targets]

    def file_name(self, target: str) -> str:
        """The name of a target's fit in scratch."""
        settings = self.settings(target)
        return f"{short_name(target)}-{digest_of([target, vars(settings)])}.parquet"

    def _found(self, path: Path, target: str, keep: bool) -> _Finished | None:
        if not path.exists():
            return None
        try:
            table = read_parquet(path)
        except BlendmakeError:
            log.warning("the fit of %s in scratch is damaged and is done again", target)
            return None
        note = note_of(table)
        model = path.parent / note["model"] if note["model"] else None
        if keep and (model is None or not model.exists()):
            return None
        values = np.asarray(table["prediction"].to_numpy(), np.float32)
        held = len(self.valid_rows)
        return _Finished(values[:held], values[held:], note["fit"], model)

    def _data(self, watched: str) -> FoldData:
        train, stop = self._split(watched)
        files, columns = self.train_files.files, self.train_files.columns
        known = known_codes(Rows(files, columns, train))

        def rows(of: Mapping[str, Any], positions: Any) -> Rows:
            return Rows(dict(of), columns, positions, known)

        return FoldData(
            rows(files, train),
            rows(files, self.valid_rows),
            rows(self.test_files.files, np.arange(self.test_files.rows)),
            None if watched == "none" else rows(files, stop),
        )

    def keep_models(self, folder: Path, finished: Sequence[_Finished]) -> None:
        """Keep the models of finished fits in `folder`."""
        kept = []
        for one in finished:
            assert one.model is not None
            target = one.row["target"]
            kept.append(Kept(target, one.model, self.watched(target)))
        files, columns = self.train_files.files, self.train_files.columns
        known = {
            watched: known_codes(Rows(files, columns, self._split(watched)[0]))
            for watched in sorted({one.rows for one in kept})
        }
        names = self.train_files.level_names
        keep_models(folder, kept, self.family.__module__, columns, names, known)

    def _fit(self, family: Family, target: str, watched: str, path: Path, keep: bool) -> _Finished:
        settings = self.settings(target)
        column = self.labels[:, self.every.index(target)]
        train, stop = self._split(watched)
        labels = column[train]
        seed = derive_seed(self.seed, self.name, target, self.fold, 0)
        started = time.monotonic()
        stop_rounds = None
        if watched != "none":
            assert settings.early_stopping is not None
            stop_rounds = settings.early_stopping["rounds"]
        elif self._stopping(target):
            log.warning("%s: no early stopping, its rows hold one class only", target)
        if _two_classes(labels):
            task = Fit(
                target=target,
                params=settings.params,
                rounds=settings.rounds or family.ROUNDS,
                stop_rounds=stop_rounds,
                positive_weight=_positive_weight(settings.class_weight, labels),
                seed=seed,
                labels=labels,
                stop_labels=None if watched == "none" else column[stop],
            )
            try:
                fitted = family.fit(task)
            except BlendmakeError as error:
                raise BlendmakeError(f"sources.{self.name}: {error}") from error
        else:
            log.warning("%s: one class only among the training rows, predicted as such", target)
            fitted = _constant(labels, len(family.data.valid), len(family.data.test))
        seconds = time.monotonic() - started
        truth = column[self.valid_rows]
        rated = ~np.isnan(truth)
        score = auc(truth[rated], fitted.valid[rated]) if _two_classes(truth) else None
        peak, anonymous = _memory_mb()
        row = {
            "source": self.name,
            "target": target,
            "fold": self.fold,
            "bag": 0,
            "rows": int((~np.isnan(labels)).sum()),
            "positives": int(np.nansum(labels)),
            "rounds": fitted.rounds,
            "stopped_on": watched if stop_rounds else None,
            "seconds": seconds,
            "device": "cpu",
            "threads": self.threads,
            "peak_rss_mb": peak,
            "anonymous_mb": anonymous,
            "auc": score,
            "seed": seed,
        }
        # The model goes first: the table stands for the finished fit.
        model = fitted.save(path.with_name(path.stem + "-model")) if keep else None
        if model is not None:
            sync(model)
        table = pa.table({"prediction": np.concatenate([fitted.valid, fitted.test])})
        write_parquet(table, path, {"fit": row, "model": model.name if model else None})
        return _Finished(fitted.valid, fitted.test, row, model)


def _two_classes(labels: Any) -> bool:
    return bool((labels == 0).any() and (labels == 1).any())


def _positive_weight(class_weight: str | float, labels: Any) -> float:
    if class_weight == "balanced":
        return float((labels == 0).sum() / (labels == 1).sum())
    return 1.0 if class_weight == "none" else float(class_weight)


def _constant(labels: Any, valid: int, test: int) -> Fitted:
    value = float(np.nanmean(labels)) if (~np.isnan(labels)).any() else 0.5
    return Fitted(
        np.full(valid, value, np.float32),
        np.full(test, value, np.float32),
        0,
        lambda stem: save_constant(value, stem),
    )


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


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the scratch folder, so that two runs at once never do the same fit twice.

    The system drops the lock with the process, however it dies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run is fitting this source and fold: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
