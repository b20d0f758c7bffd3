"""One fold's audit: which columns carry signal, target by target, judged on the fold's inner rows.

Only training rows of the fold are looked at. Models train on those outside the inner split, and
columns are permuted on those inside, so that what is chosen by the audit of fold k may be used in
fold k. What chance alone gives comes from models fitted to shuffled labels.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from tqdm import tqdm

from blendmake.audits.drift import adversarial, check_columns
from blendmake.audits.judging import Judge, judged_by
from blendmake.audits.permuting import Forest, permuted_drops
from blendmake.errors import BlendmakeError
from blendmake.families.lightgbm import LightGBM
from blendmake.family import Fit, FoldData
from blendmake.files import digest_of, read_note, write_parquet
from blendmake.fits.inputs import FoldInputs
from blendmake.fits.settings import resolve_targets
from blendmake.folds.file import read_folds, read_inner
from blendmake.labels import KnownLabels, Labels, read_known
from blendmake.matrix import Positions, Rows, known_values
from blendmake.metrics.base import Metric
from blendmake.metrics.choice import metrics_for
from blendmake.scratch import dates, found_or_made, locked
from blendmake.seeds import derive_seed
from blendmake.tasks.base import Target
from blendmake.window import require_time

log = logging.getLogger(__name__)

FEATURES = pa.schema(
    [
        ("target", pa.string()),
        ("feature", pa.string()),
        ("gain", pa.float64()),
        ("rank", pa.int32()),  # by gain, from 1
        ("effect", pa.float64()),  # how much worse the metric is when the column is permuted, mean
        ("null_mean", pa.float64()),  # of the effects of columns in models of shuffled labels
        ("null_sd", pa.float64()),
        ("z", pa.float64()),
    ]
)
ADVERSARIAL = pa.schema(
    [
        ("feature", pa.string()),
        ("gain", pa.float64()),
        ("auc", pa.float64()),  # of the model, the same in every row
        ("z", pa.float64()),
    ]
)
CHECKED = 256
"""Rows on which the reading of a model is compared with LightGBM's own predictions."""
REFUSED = {
    "linear_tree": "trees with linear leaves cannot be audited",
    "zero_as_missing": "a zero is a value here",
}


@dataclass(frozen=True)
class AuditOutputs:
    """The files of one fold's audit."""

    features: Path
    columns: Path


def audit_fold(
    name: str,
    audit: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    fold: int,
    inputs: FoldInputs,
    outputs: AuditOutputs,
    *,
    seed: int,
    code: str,
    scratch: Path,
    threads: int,
    note: Mapping[str, Any],
    metric: str | Mapping[str, str] | None = None,
    metric_code: Mapping[str, str] | None = None,
) -> None:
    """Audit the columns of a feature set on one fold.

    Args:
        name, audit: the audit and its config (config.audits.Audit as a mapping; of what decides
            verdicts nothing is read).
        groups: members of the target groups that it names.
        code: digest of the code, part of the scratch folder's name.
        scratch: folder for finished targets; one that holds a target saves it being done again.
        threads: threads per fit.
        note: provenance of the outputs.
        metric: the problem's, by target where it says so; None: those of the tasks.
        metric_code: digests of the user's files among metrics.

    Raises:
        BlendmakeError: a target or param that there is not, a metric that
            does not measure a target, a param that audits cannot take, or the window is over.
    """
    known = read_known(inputs.targets)
    targets = resolve_targets(audit["targets"], groups, known.names)
    try:
        metrics = metrics_for([one for one in known.targets if one.name in targets], metric, ())
    except BlendmakeError as error:
        raise BlendmakeError(f"audits.{name}: {error}") from None
    _check_params(name, audit["params"])
    rest = {key: audit[key] for key in KEYS}
    said = [] if metric is None else [metric, metric_code]
    key = digest_of([name, code, inputs.digest(), seed, note.get("versions"), rest, *said])
    made = {**note, "fold": fold, "audit": digest_of([key, targets])}
    folder = scratch / key
    paths = (outputs.columns, outputs.features)
    before = dates(paths)
    with locked(folder):
        if dates(paths) != before and _stands(outputs, made["audit"]):
            log.info("another run has finished this fold meanwhile")
            return
        chosen = {target: own[0] for target, own in metrics.items()}
        says = sorted({judged_by(metric) for metric in chosen.values()})
        made |= {} if says == ["fall of the AUC"] else {"judged_by": says}
        job = _Job(name, audit, fold, inputs, seed, threads, folder, known, chosen)
        columns, drift = job.check()
        tables = job.run(targets, columns)
        write_parquet(columns, outputs.columns, {**made, "adversarial": drift})
        write_parquet(pa.concat_tables(tables), outputs.features, made)


KEYS = ("rows", "shortlist", "repeats", "null_repeats", "rounds", "params")


def _check_params(name: str, params: Mapping[str, Any]) -> None:
    for param, value in params.items():
        known = LightGBM.ALIASES.get(param, param)
        if known in REFUSED:
            raise BlendmakeError(f"audits.{name}.params.{param}: {REFUSED[known]}. Leave it out.")
        if known == "num_leaves" and value > 64:
            raise BlendmakeError(f"audits.{name}.params.{param}: at most 64 leaves; found {value}.")


def _stands(outputs: AuditOutputs, audit: str) -> bool:
    """Whether another run has just made these outputs; features are written last."""
    paths = (outputs.columns, outputs.features)
    return all(path.exists() and read_note(path).get("audit") == audit for path in paths)


def sample_rows(classes: Labels, most: int, seed: int) -> Positions:
    """Positions of at most `most` rows, ascending: all, or a random sample of those with a label.

    In a sample the classes have equally many rows, as far as they have so many: of two the rarer is
    kept up to half.

    Args:
        classes: (rows,) codes 0, 1, … (Task.as_classes), NaN where unknown.
    """
    if len(classes) <= most:
        return np.arange(len(classes))
    rng = np.random.default_rng(seed)
    codes = np.unique(classes[~np.isnan(classes)])[::-1]
    places = [np.flatnonzero(classes == code) for code in codes]
    taken: dict[int, int] = {}
    left = most
    for rank, i in enumerate(sorted(range(len(places)), key=lambda i: len(places[i]))):
        share = left / (len(places) - rank)
        taken[i] = min(len(places[i]), math.ceil(share) if i else math.floor(share))
        left -= taken[i]
    drawn = [rng.choice(rows, taken[i], replace=False) for i, rows in enumerate(places)]
    return np.sort(np.concatenate([np.empty(0, np.intp), *drawn]))


def shortlisted(gains: NDArray[np.float64], most: int) -> list[int]:
    """The columns of highest gain, highest first, none without gain; ties go by position."""
    order = np.argsort(-gains, kind="stable")[:most]
    return [int(column) for column in order if gains[column] > 0]


class _Job:
    """The audit of one fold."""

    def __init__(
        self,
        name: str,
        audit: Mapping[str, Any],
        fold: int,
        inputs: FoldInputs,
        seed: int,
        threads: int,
        folder: Path,
        known: KnownLabels,
        metrics: Mapping[str, Metric],
    ) -> None:
        self.name, self.audit, self.fold = name, audit, fold
        self.seed, self.threads, self.folder = seed, threads, folder
        self.known, self.metrics, self.labels = known, metrics, known.labels
        self.train_rows = read_folds(inputs.folds).rows(fold).train
        assert inputs.inner is not None
        aside = read_inner(inputs.inner, fold)[self.train_rows]
        self.fit_rows, self.inner_rows = self.train_rows[~aside], self.train_rows[aside]
        if not len(self.fit_rows) or not len(self.inner_rows):
            raise BlendmakeError(f"{inputs.inner}: fold {fold} has no rows inside or outside.")
        self.train = inputs.feature_files("train")
        self.test = inputs.feature_files("test")
        self._shared: tuple[Positions, LightGBM] | None = None

    @property
    def _what(self) -> str:
        return f"Audit {self.name}, fold {self.fold}"

    def _seed(self, *parts: Any) -> int:
        return derive_seed(self.seed, "audit", self.name, self.fold, *parts)

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Name the audit in what LightGBM refuses."""
        try:
            yield
        except BlendmakeError as error:
            raise BlendmakeError(f"audits.{self.name}: {error}") from error

    # Columns

    def check(self) -> tuple[pa.Table, Mapping[str, float] | None]:
        """The checks of every column (drift.COLUMNS), and AUC and z of test against train rows."""
        found = found_or_made(self.folder / "adversarial.parquet", self._adversarial).to_pylist()
        gains = {row["feature"]: row["gain"] for row in found}
        drift = {measure: found[0][measure] for measure in ("auc", "z")} if found else None

        def made() -> pa.Table:
            require_time(
                0.0, f"{self._what}: test rows are compared with train rows; that is kept."
            )
            return check_columns(
                self.train,
                self.test,
                self.train_rows,
                self.known.targets,
                self.labels[self.train_rows],
                gains,
                self._seed("halves"),
            )

        return found_or_made(self.folder / "columns.parquet", made), drift

    def _adversarial(self) -> pa.Table:
        require_time(0.0, f"{self._what}: nothing is done yet.")
        started = time.monotonic()
        with self._refusals():
            found = adversarial(
                self.train,
                self.test,
                self.train_rows,
                self.audit["rows"],
                params=self.audit["params"],
                rounds=self.audit["rounds"],
                threads=self.threads,
                seed=self._seed("adversarial"),
                scratch=self.folder,
            )
        if found is None:
            log.info("%s fold %d: no test rows to compare with", self.name, self.fold)
            return ADVERSARIAL.empty_table()
        log.info(
            "%s fold %d: AUC of test against train rows %.4f, %.1f s",
            self.name,
            self.fold,
            found.auc,
            time.monotonic() - started,
        )
        rows = [
            {"feature": feature, "gain": gain, "auc": found.auc, "z": found.z}
            for feature, gain in found.gains.items()
        ]
        return pa.Table.from_pylist(rows, schema=ADVERSARIAL)

    # Targets

    def run(self, targets: Sequence[str], checked: pa.Table) -> list[pa.Table]:
        """The effects (FEATURES) of each target's shortlist; what scratch holds is not done again."""
        left = {row["feature"] for row in checked.to_pylist() if not _useless(row)}
        self.columns = [column for column in self.train.columns if column.name in left]
        bar = tqdm(
            targets, desc=f"{self.name} fold {self.fold}", unit="target", leave=False, disable=None
        )
        tables: list[pa.Table] = []
        longest = 0.0  # seconds of a target so far

        def made(target: str) -> pa.Table:
            nonlocal longest
            require_time(
                longest, f"{self._what}: {len(tables)} of {len(targets)} targets are kept."
            )
            started = time.monotonic()
            table = self._target(target)
            longest = max(longest, time.monotonic() - started)
            return table

        for target in bar:
            path = self.folder / f"target-{digest_of(target)}.parquet"
            tables.append(found_or_made(path, partial(made, target)))
        return tables

    def _target(self, target: str) -> pa.Table:
        started = time.monotonic()
        place = self.known.names.index(target)
        column, what = self.labels[:, place], self.known.targets[place]
        most, task = self.audit["rows"], what.task
        classes = task.as_classes(column[self.fit_rows])
        rows = self.fit_rows[sample_rows(classes, most, self._seed(target, "fit"))]
        judged = self.inner_rows[~np.isnan(column[self.inner_rows])]
        classes = task.as_classes(column[judged])
        judged = judged[sample_rows(classes, most, self._seed(target, "inner"))]
        if not self.columns or not task.usable(column[judged]) or not task.usable(column[rows]):
            log.warning("%s: nothing to audit, its rows hold one class or value only", target)
            return FEATURES.empty_table()
        judge = Judge(self.metrics[target], column[judged])
        family = self._family(rows)
        forest = self._forest(family, what, column[rows], "model")
        chosen = shortlisted(forest.gains, self.audit["shortlist"])
        base, effects = self._effects(forest, family, target, judged, judge, chosen, "model")
        if chosen and math.isnan(base):
            log.warning(
                "%s: nothing to audit, %s is undefined on its rows", target, judge.metric.title
            )
            return FEATURES.empty_table()
        chance: list[float] = []
        for repeat in range(self.audit["null_repeats"]):
            shuffled = _shuffled(column[rows], self._seed(target, "shuffle", repeat))
            null = self._forest(family, what, shuffled, repeat)
            # Its own shortlist: a column that got there by chance is what must be told apart.
            tried = shortlisted(null.gains, self.audit["shortlist"])
            chance += self._effects(null, family, target, judged, judge, tried, repeat)[1]
        error = judge.error_by_chance(
            forest, self._scores(forest, family, judged), self._seed(target, "error")
        )
        mean, sd = _spread(chance, error / 10)
        log.info(
            "%s fold %d: %s %s %.4f, %d columns tried, %.1f s",
            self.name,
            self.fold,
            target,
            judge.metric.name,
            judge.metric.utility(base),
            len(chosen),
            time.monotonic() - started,
        )
        found = [
            {
                "target": target,
                "feature": self.columns[index].name,
                "gain": float(forest.gains[index]),
                "rank": rank,
                "effect": effect,
                "null_mean": mean,
                "null_sd": sd,
                "z": (effect - mean) / sd,
            }
            for rank, (index, effect) in enumerate(zip(chosen, effects, strict=True), start=1)
        ]
        return pa.Table.from_pylist(found, schema=FEATURES)

    def _family(self, rows: Positions) -> LightGBM:
        """LightGBM on some rows; targets that share them share the binned matrix."""
        if self._shared is None or not np.array_equal(self._shared[0], rows):
            self._shared = None  # the old matrix goes before the new one comes
            files = self.train.files
            codes = known_values(Rows(files, self.columns, rows))
            data = FoldData(
                Rows(files, self.columns, rows, codes),
                Rows(files, self.columns, self.inner_rows[:CHECKED], codes),
                Rows(files, self.columns, rows[:0], codes),
                None,
            )
            self._shared = rows, LightGBM(data, self.threads)
        return self._shared[1]

    def _forest(self, family: LightGBM, target: Target, labels: Labels, model: str | int) -> Forest:
        """A model of these labels of the family's training rows."""
        asked = Fit(
            targets=(target,),
            labels=labels[:, None],
            params=self.audit["params"],
            rounds=self.audit["rounds"],
            seed=self._seed(target.name, "seed", model),
        )
        with self._refusals():
            fitted = family.fit(asked)
        path = fitted.save(self.folder / "model")
        forest = Forest(path, [column.levels for column in self.columns])
        path.unlink()
        checked = family.data.valid
        bins = {column: forest.bins(column, checked.codes(column)) for column in forest.columns}
        if bins:
            read = forest.predictions(forest.scores(bins)).reshape(fitted.valid.shape)
            spread = 1.0 if target.task.high <= 1 else max(1.0, float(np.nanstd(labels)))
            if not np.allclose(read, fitted.valid, rtol=0, atol=1e-5 * spread):
                raise RuntimeError("a model was read otherwise than LightGBM reads it")
        return forest

    def _effects(
        self,
        forest: Forest,
        family: LightGBM,
        target: str,
        judged: Positions,
        judge: Judge,
        columns: Sequence[int],
        model: str | int,
    ) -> tuple[float, list[float]]:
        """What a model is rated on the judged rows, and its mean fall for each of some columns."""
        rows = Rows(self.train.files, self.columns, judged, family.data.train.known)

        def order(column: int, repeat: int) -> NDArray[np.intp]:
            seed = self._seed(target, "permute", model, self.columns[column].name, repeat)
            return np.random.default_rng(seed).permutation(len(judged))

        base, drops = permuted_drops(
            forest, rows.codes, columns, order, self.audit["repeats"], judge.of(forest)
        )
        return base, drops.mean(axis=1).tolist()

    def _scores(self, forest: Forest, family: LightGBM, judged: Positions) -> NDArray[np.float64]:
        """The scores of a model on the judged rows."""
        rows = Rows(self.train.files, self.columns, judged, family.data.train.known)
        bins = {column: forest.bins(column, rows.codes(column)) for column in forest.columns}
        return forest.scores(bins)


def _useless(row: Mapping[str, Any]) -> bool:
    """Whether a column is left out of models: it would say nothing, or hide what others say."""
    return bool(row["constant"] or row["all_null"] or row["duplicate_of"] or row["label_copy_of"])


def _shuffled(labels: Labels, seed: int) -> Labels:
    """The known labels in random order, the unknown ones where they were."""
    shuffled = labels.copy()
    known = ~np.isnan(labels)
    shuffled[known] = np.random.default_rng(seed).permutation(labels[known])
    return shuffled


def _spread(chance: Sequence[float], least: float) -> tuple[float, float]:
    """Mean and standard deviation of chance effects.

    The deviation is at least `least`, a tenth of the metric's standard error on so many rows under
    chance: with few splits, or none, chance effects say too little.
    """
    if not chance:
        return 0.0, least
    return float(np.mean(chance)), max(least, float(np.std(chance)))
