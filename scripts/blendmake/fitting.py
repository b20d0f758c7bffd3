"""The unit of work: one source on one fold, its targets one after another, each kept in scratch."""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from blendmake.auc import auc
from blendmake.errors import BlendmakeError
from blendmake.families.base import Family, Fit, Fitted, FoldData
from blendmake.feature_files import FeatureSetFiles, features_digest
from blendmake.files import (
    digest_of,
    note_of,
    read_note,
    read_parquet,
    replacing,
    write_parquet,
    write_text,
)
from blendmake.folds import read_folds, read_inner
from blendmake.labels import Labels, labels_of
from blendmake.matrix import Floats, Rows, known_codes
from blendmake.predictions import write_predictions
from blendmake.seeds import derive_seed

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
class TargetSettings:
    """What one target is fitted with, overrides applied."""

    params: Mapping[str, Any]
    rounds: int | None
    early_stopping: Mapping[str, Any] | None
    class_weight: str | float


def resolve_targets(
    chosen: Sequence[str], groups: Mapping[str, Sequence[str]], every: Sequence[str]
) -> list[str]:
    """Spell out `all` and group names; in the order of the targets table.

    Raises:
        BlendmakeError: a name that is neither target nor group.
    """
    wanted: set[str] = set()
    for name in chosen:
        members = every if name == "all" else groups.get(name, [name])
        unknown = [member for member in members if member not in every]
        if unknown:
            raise BlendmakeError(
                f"'{unknown[0]}' is no target and no target group. Targets: {', '.join(every[:8])}"
                f"{' …' if len(every) > 8 else ''}."
            )
        wanted.update(members)
    return [target for target in every if target in wanted]


def settings_for(
    source: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    target: str,
    aliases: Mapping[str, str] | None = None,
) -> TargetSettings:
    """A target's settings: the most specific wins, target over group over source.

    `aliases` are other names of params, so that one layer's `eta` replaces another's `learning_rate`.
    """
    aliases = aliases or {}
    layers = [source]
    for group, override in source["overrides"]["groups"].items():
        if target in groups[group]:
            layers.append(override)
    if target in source["overrides"]["targets"]:
        layers.append(source["overrides"]["targets"][target])
    params: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for layer in layers:
        params.update({aliases.get(name, name): value for name, value in layer["params"].items()})
        for key in ("rounds", "early_stopping", "class_weight"):
            if layer[key] is not None:
                merged[key] = layer[key]
    return TargetSettings(
        params, merged.get("rounds"), merged.get("early_stopping"), merged["class_weight"]
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
    job = _Job(name, source, groups, fold, inputs, family, seed, threads, every, labels)
    folder = scratch / digest_of([code, inputs.digest(), family, seed])
    keep = bool(source["keep_models"])
    with _locked(folder):
        finished = job.run(targets, folder, keep)
        valid_ids = targets_table.select(id_columns).take(pa.array(job.valid_rows))
        test_ids = job.test_files.files["table"].table(id_columns)
        if keep:
            _keep_models(outputs.models, finished, job)
    rows = [one.row for one in finished]
    made = {**note, "fold": fold, "optimistic": job.optimistic(targets)}
    oof = np.stack([one.valid for one in finished], axis=1)
    test = np.stack([one.test for one in finished], axis=1)
    write_predictions(outputs.test, test_ids, targets, test, made)
    write_parquet(pa.Table.from_pylist(rows, schema=FITS), outputs.fits)
    write_predictions(outputs.oof, valid_ids, targets, oof, made)


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
        folds = read_folds(inputs.folds).rows(fold)
        self.train_rows, self.valid_rows = folds.train, folds.valid
        if len(folds.valid) == 0 or len(folds.train) == 0:
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
        """What early stopping of a target watches: none, inner or fold."""
        stopping = self._stopping(target)
        return "none" if stopping is None else str(stopping["watch"])

    def optimistic(self, targets: Sequence[str]) -> bool:
        """Whether labels of the fold had a say in its own predictions."""
        return any(self.watched(target) == "fold" for target in targets)

    def run(self, targets: Sequence[str], folder: Path, keep: bool) -> list[_Finished]:
        """Fit what scratch does not hold yet; results in the order of `targets`."""
        paths = {target: folder / self._file_name(target) for target in targets}
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
                data, known = self.data(watched)
                family = self.family(data, self.threads)
            finished[target] = self._fit(family, target, watched, known, paths[target], keep)
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

    def _file_name(self, target: str) -> str:
        settings = self.settings(target)
        return f"{_short(target)}-{digest_of([target, vars(settings)])}.parquet"

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

    def data(self, watched: str) -> tuple[FoldData, Any]:
        """The rows of the fold, and the row positions behind (train, stop)."""
        train = self.train_rows
        stop = None
        if watched == "inner":
            assert self.inputs.inner is not None
            aside = read_inner(self.inputs.inner, self.fold)[train]
            train, stop = train[~aside], train[aside]
        elif watched == "fold":
            stop = self.valid_rows
        files, columns = self.train_files.files, self.train_files.columns
        known = known_codes(Rows(files, columns, train))

        def rows(of: Mapping[str, Any], positions: Any) -> Rows:
            return Rows(dict(of), columns, positions, known)

        test = np.arange(self.test_files.rows)
        data = FoldData(
            rows(files, train),
            rows(files, self.valid_rows),
            rows(self.test_files.files, test),
            None if stop is None else rows(files, stop),
        )
        return data, (train, stop)

    def _fit(
        self, family: Family, target: str, watched: str, known: Any, path: Path, keep: bool
    ) -> _Finished:
        settings = self.settings(target)
        column = self.labels[:, self.every.index(target)]
        train, stop = known
        labels = column[train]
        seed = derive_seed(self.seed, self.name, target, self.fold, 0)
        started = time.monotonic()
        stop_labels = None if stop is None else column[stop]
        stopping = self._stopping(target)
        stop_rounds = stopping["rounds"] if stopping else None
        if stop_labels is not None and not _two_classes(stop_labels):
            log.warning("%s: no early stopping, its rows hold one class only", target)
            stop_labels, stop_rounds = None, None
        if _two_classes(labels):
            task = Fit(
                target=target,
                params=settings.params,
                rounds=settings.rounds or family.ROUNDS,
                stop_rounds=stop_rounds,
                positive_weight=_positive_weight(settings.class_weight, labels),
                seed=seed,
                labels=labels,
                stop_labels=stop_labels,
            )
            fitted = family.fit(task)
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

    def save(stem: Path) -> Path:
        path = stem.with_name(stem.name + ".constant.json")
        write_text(json.dumps({"constant": value}), path)
        return path

    return Fitted(np.full(valid, value, np.float32), np.full(test, value, np.float32), 0, save)


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


def clock(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


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


def _keep_models(models: Path, finished: Sequence[_Finished], job: _Job) -> None:
    """Copy the models beside the predictions, with what is needed to predict new rows."""
    models.mkdir(parents=True, exist_ok=True)
    listed: dict[str, dict[str, Any]] = {}
    known: dict[str, dict[str, list[int]]] = {}
    for one in finished:
        assert one.model is not None
        target = one.row["target"]
        watched = job.watched(target)
        # With a digest: names may be alike in what is left of them, or be `models`.
        name = f"{_short(target)}-{digest_of(target)[:12]}{_suffix(one.model)}"
        with replacing(models / name) as temporary:
            shutil.copyfile(one.model, temporary)
        listed[target] = {"file": name, "known_codes": watched}
        if watched not in known:
            rows = job.data(watched)[0].train
            known[watched] = {
                rows.columns[index].name: np.flatnonzero(seen).tolist()
                for index, seen in rows.known.items()
            }
    description = {
        "family": job.family.__module__,
        "models": listed,
        "columns": [vars(column) for column in job.train_files.columns],
        "known_codes": known,
    }
    write_text(json.dumps(description, indent=1), models / "models.json")


def _short(target: str) -> str:
    """A target's name as part of a file name."""
    return quote(target, safe="")[:100]


def _suffix(model: Path) -> str:
    return ".constant.json" if model.name.endswith(".constant.json") else model.suffix


def predict_models(models: Path, target: str, files: FeatureSetFiles, threads: int = 1) -> Floats:
    """Predict rows with a kept model.

    Args:
        models: the folder `models` of one fold of a source with `keep_models`.
        files: the source's feature set over the rows to predict.

    Returns:
        (rows,) float32: what the model gave for these rows when it was fitted.
    """
    description = json.loads((models / "models.json").read_text(encoding="utf-8"))
    entry = description["models"][target]
    known = {}
    codes = description["known_codes"][entry["known_codes"]]
    for index, column in enumerate(files.columns):
        if column.is_category:
            known[index] = np.zeros(column.levels, bool)
            known[index][codes[column.name]] = True
    rows = Rows(dict(files.files), files.columns, np.arange(files.rows), known)
    path = models / entry["file"]
    if path.name.endswith(".constant.json"):
        value = json.loads(path.read_text(encoding="utf-8"))["constant"]
        return np.full(files.rows, value, np.float32)
    predict = importlib.import_module(description["family"]).predict_saved
    return np.asarray(predict(path, rows, threads), np.float32)
