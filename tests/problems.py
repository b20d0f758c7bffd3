"""Synthetic problems on disk, made by the steps of the workflow itself, for tests of what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from blendmake.config.features import FeatureSet
from blendmake.config.sources import Source
from blendmake.families import FAMILIES
from blendmake.features.files import FeatureSetFiles
from blendmake.features.fold_features import SetInputs, make_fold_features
from blendmake.features.sets import make_features
from blendmake.files import read_note, read_parquet, write_parquet
from blendmake.fits.fitting import FoldOutputs, FoldWork, fit_fold
from blendmake.fits.inputs import FoldInputs
from blendmake.fits.predicting import predict_models
from blendmake.fits.store import StoredFit
from blendmake.folds import SCHEMES
from blendmake.folds.file import FoldRows, read_folds, write_folds, write_inner
from blendmake.folds.inner import inner_split
from blendmake.folds.making import make_folds
from blendmake.matrix import TableFile
from blendmake.predictions import Predictions, read_predictions
from blendmake.seeds import derive_seed
from blendmake.tables.tables import read_tables
from blendmake.tables.user_labels import read_targets, write_targets
from blendmake.tasks.base import Target, find_task, note_of_targets, targets_of_note

FOLDS = 3
ONE_POSITIVE_FOLD = 0  # the fold that holds one positive of the target `rare`


@dataclass(frozen=True)
class Problem:
    """A problem whose tables, folds and features stand on disk.

    `labels` are (rows, targets) with NaN where unknown, `features` the train columns as given.
    """

    folder: Path
    inputs: FoldInputs
    targets: tuple[str, ...]
    labels: NDArray[np.float64] = field(repr=False)
    features: Mapping[str, Any] = field(repr=False)

    def rows(self, fold: int) -> FoldRows:
        return read_folds(self.inputs.folds).rows(fold)

    def column(self, target: str) -> NDArray[np.float64]:
        return self.labels[:, self.targets.index(target)]

    def test_files(self) -> FeatureSetFiles:
        return self.inputs.feature_files("test")


def _read(folder: Path, kind: str, columns: Mapping[str, Any]) -> Path:
    path = folder / f"{kind}.parquet"
    pq.write_table(pa.table(dict(columns)), path)
    return path


def write_problem(
    folder: Path,
    train: Mapping[str, Any],
    test: Mapping[str, Any],
    labels: NDArray[Any],
    targets: Sequence[str],
    *,
    fold: NDArray[Any] | None = None,
    groups: NDArray[np.int64] | None = None,
    folds: int = FOLDS,
    inner_share: float = 0.2,
    seed: int = 1,
    features: Mapping[str, Any] | None = None,
) -> Problem:
    """Take tables through the steps before a fit.

    Args:
        train, test: feature columns as Arrow takes them; ids are added (text, `r0`, `t0`, …).
        labels: (train rows, targets), NaN where unknown.
        fold: given folds; otherwise they are stratified, or by `groups`.
        features: keys of config.FeatureSet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"r{i}" for i in range(len(labels))]
    n_test = len(next(iter(test.values())))
    tables = {part: folder / "tables" / f"{part}.arrow" for part in ("train", "test")}
    columns = folder / "tables" / "columns.parquet"
    given_test = {"main": str(_read(folder, "given_test", {"id": _ids("t", n_test), **test}))}
    read_tables(
        {"main": str(_read(folder, "given_train", {"id": ids, **train}))},
        given_test if n_test else None,
        ["id"],
        out_train=tables["train"],
        out_test=tables["test"],
        out_columns=columns,
    )
    made = {part: folder / "features" / f"{part}.arrow" for part in ("train", "test")}
    listed = folder / "features" / "columns.parquet"
    settings = FeatureSet(**(features or {})).model_dump()
    make_features(tables, columns, settings, out_columns=listed, out=made)
    inputs = FoldInputs(
        tables=tables,
        made=made,
        columns=listed,
        targets=_write_targets(folder / "targets.parquet", tables["train"], labels, targets),
        folds=folder / "folds.parquet",
        inner=folder / "inner.parquet",
    )
    table = read_parquet(inputs.targets).select(["id"])
    numbers = np.asarray(labels, np.float32)
    scheme = "column" if fold is not None else "stratified" if groups is None else "group"
    assigned = make_folds(
        numbers,
        targets_of_note(targets, {}),
        n=folds,
        scheme=SCHEMES[scheme],
        seed=seed,
        given=fold,
        groups=groups,
    )
    write_folds(inputs.folds, table, assigned, {})
    split = read_folds(inputs.folds)
    asides = []
    for k in range(split.n):
        rows = split.rows(k).train
        aside = inner_split(numbers, rows, inner_share, derive_seed(seed, "inner", k), groups)
        asides.append((rows, aside))
    assert inputs.inner is not None
    write_inner(inputs.inner, table, asides, {})
    return Problem(folder, inputs, tuple(targets), np.asarray(labels, np.float64), dict(train))


def _ids(letter: str, rows: int) -> pa.Array:
    return pa.array([f"{letter}{i}" for i in range(rows)], pa.string())


def _write_targets(path: Path, table: Path, labels: NDArray[Any], targets: Sequence[str]) -> Path:
    ids = TableFile(table).table(["id"])
    given = path.with_name(f"given_{path.name}")
    columns = {
        name: pa.array(np.nan_to_num(labels[:, j]).astype(np.int8), mask=np.isnan(labels[:, j]))
        for j, name in enumerate(targets)
    }
    pq.write_table(pa.table({"id": ids["id"], **columns}), given)
    write_targets(read_targets(str(given), None, ids, ["id"]), path, {"id_columns": ["id"]})
    return path


def with_labels(problem: Problem, labels: NDArray[Any], name: str) -> Problem:
    """The same problem, folds and inner splits included, with other labels."""
    path = problem.folder / name / "targets.parquet"
    path.parent.mkdir()
    _write_targets(path, problem.inputs.tables["train"], labels, problem.targets)
    inputs = replace(problem.inputs, targets=path)
    return replace(problem, inputs=inputs, labels=np.asarray(labels, np.float64))


CLASSES = ("ash", "birch", "cedar")
TYPED = ("flag", "kind", "level")


def typed(folder: Path, *, rows: int = 360, test_rows: int = 40, seed: int = 0) -> Problem:
    """A problem with a target of each task: `flag` (0, 1), `kind` (CLASSES), `level` (a number around
    1e9 whose spread is about 2); all by the same signal, a fifth of the labels unknown.

    Its `labels` are codes of classes in `kind`.
    """
    fold = np.arange(rows) % FOLDS
    train, test, odds = synthetic_columns(rows, test_rows, fold, seed)
    rng = np.random.default_rng(seed + 1)
    labels = np.column_stack(
        [
            odds + rng.logistic(size=rows) > 0,
            np.digitize(odds + 0.5 * rng.normal(size=rows), [-1, 1]),
            1e9 + odds + 0.5 * rng.normal(size=rows),
        ]
    ).astype(np.float64)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    problem = write_problem(
        folder, train, test, np.tile(labels[:, :1], (1, 3)), TYPED, fold=fold, seed=seed
    )
    return with_typed_labels(problem, labels, "typed")


def with_typed_labels(problem: Problem, labels: NDArray[np.float64], name: str) -> Problem:
    """The same problem with other labels, as of `typed`."""
    path = problem.folder / name / "targets.parquet"
    path.parent.mkdir()
    unknown = np.isnan(labels)
    kinds = np.array(CLASSES)[np.nan_to_num(labels[:, 1]).astype(np.intp)]
    ids = read_parquet(problem.inputs.targets).column("id")
    columns = {
        "flag": pa.array(labels[:, 0], pa.int8(), mask=unknown[:, 0], safe=False),
        "kind": pa.array(kinds, pa.string(), mask=unknown[:, 1]),
        "level": pa.array(labels[:, 2], mask=unknown[:, 2]),
    }
    targets = (
        Target("flag", find_task("binary")),
        Target("kind", find_task("multiclass"), CLASSES),
        Target("level", find_task("regression")),
    )
    note = {"id_columns": ["id"], **note_of_targets(targets)}
    write_parquet(pa.table({"id": ids, **columns}), path, note)
    return replace(problem, inputs=replace(problem.inputs, targets=path), labels=labels)


def with_fold_features(
    problem: Problem,
    fold: int,
    features: Mapping[str, Any],
    *,
    name: str = "rich",
    seed: int = 1,
    groups: NDArray[np.int64] | None = None,
    audit: Path | None = None,
) -> Problem:
    """The same problem, its feature set as it is in one fold.

    Args:
        features: keys of config.FeatureSet that use labels.
        name: folder of what is made, beside the other sets'.
    """
    inputs, folder = problem.inputs, problem.folder / name / f"fold{fold}"
    grouped = None
    if groups is not None:
        grouped = folder / "groups.parquet"
        write_parquet(pa.table({"group": groups}), grouped, {"column": "group"})
    made = {part: folder / f"{part}.arrow" for part in inputs.tables}
    make_fold_features(
        SetInputs(
            inputs.tables,
            inputs.made,
            inputs.columns,
            inputs.targets,
            inputs.folds,
            groups=grouped,
            audit=audit,
        ),
        fold,
        FeatureSet(**features).slice_with_labels(),
        seed,
        out_columns=folder / "columns.parquet",
        out=made,
        out_selection=folder / "selection.parquet",
    )
    new = replace(inputs, columns=folder / "columns.parquet", fold_made=made)
    return replace(problem, inputs=new)


def synthetic_columns(
    rows: int, test_rows: int, fold: NDArray[Any], seed: int = 0
) -> tuple[dict[str, Any], dict[str, Any], NDArray[np.float64]]:
    """Train columns, test columns, and the log-odds (rows,) that labels may be drawn from.

    Numbers `n0` to `n3` (signal in `n0` and `n1`, missing values in `n1`), a category `city` with
    signal, with missing values and with levels that occur only in fold 0 and only in test, a
    constant column, one without a value, one with none in train, a category without a value, and
    a boolean.
    """
    rng = np.random.default_rng(seed)
    every = rows + test_rows
    numbers = rng.normal(size=(every, 4)).round(2)
    city = rng.choice(["aachen", "bonn", "celle", "dessau"], every).astype(object)
    effect = np.select([city == "aachen", city == "bonn"], [1.2, -1.2], 0.0)
    odds = 1.6 * numbers[:, 0] + 1.2 * numbers[:, 1] + effect
    held_out = np.append(fold == 0, np.zeros(test_rows, bool))
    city[held_out & (rng.random(every) < 0.1)] = "only in fold 0"
    city[rows:][rng.random(test_rows) < 0.2] = "only in test"
    city[rng.random(every) < 0.05] = None
    null = np.arange(every) % 7 == 3
    columns = {
        "n0": pa.array(numbers[:, 0]),
        "n1": pa.array(numbers[:, 1], mask=null),
        "n2": pa.array(numbers[:, 2].astype(np.float32)),
        "n3": pa.array((numbers[:, 3] * 3).round().astype(np.int64)),
        "city": pa.array(city, pa.string()),
        "constant": pa.array(np.full(every, 2.5)),
        "empty": pa.nulls(every, pa.float64()),
        "empty_in_train": pa.array(numbers[:, 3], mask=np.arange(every) < rows),
        "blank": pa.nulls(every, pa.string()).dictionary_encode(),
        "flag": pa.array(numbers[:, 2] > 0.5),
    }
    train = {name: column.slice(0, rows) for name, column in columns.items()}
    test = {name: column.slice(rows) for name, column in columns.items()}
    return train, test, odds[:rows]


def synthetic(
    folder: Path, *, rows: int = 360, test_rows: int = 60, seed: int = 0, **options: Any
) -> Problem:
    """A small problem with most of what makes real tables hard (see synthetic_columns).

    Targets: `full` and `other` (opposite signal), `gaps` (the labels of `full`, 30 % of them
    unknown), `rare` (8 positives per fold, but one in ONE_POSITIVE_FOLD).
    """
    fold = np.arange(rows) % FOLDS
    train, test, odds = synthetic_columns(rows, test_rows, fold, seed)
    rng = np.random.default_rng(seed + 1)
    full = (odds + rng.logistic(size=rows) > 0).astype(float)
    other = (-odds + rng.logistic(size=rows) > 0.8).astype(float)
    gaps = np.where(rng.random(rows) < 0.3, np.nan, full)
    rare = np.zeros(rows)
    for k in range(FOLDS):
        inside = np.flatnonzero(fold == k)
        best = inside[np.argsort(-odds[inside])]
        rare[best[: 1 if k == ONE_POSITIVE_FOLD else 8]] = 1
    labels = np.column_stack([full, other, gaps, rare])
    targets = ("full", "other", "gaps", "rare")
    return write_problem(folder, train, test, labels, targets, fold=fold, **options)


@dataclass(frozen=True)
class Done:
    """What a fit of one fold left on disk, read back checked."""

    outputs: FoldOutputs
    oof: Predictions
    test: Predictions
    fits: dict[str, dict[str, Any]]  # by target
    note: dict[str, Any]

    def held_out(self, target: str) -> NDArray[np.float32]:
        return self.oof.values[:, self.oof.targets.index(target)]

    def every_fit(self) -> list[dict[str, Any]]:
        """The rows of fits.parquet: one per target and bag."""
        rows: list[dict[str, Any]] = read_parquet(self.outputs.fits).to_pylist()
        return rows

    def tested(self, target: str) -> NDArray[np.float32]:
        return self.test.values[:, self.test.targets.index(target)]


def stored_fits(problem: Problem, scratch: Path, fold: int = 0) -> dict[tuple[str, int], StoredFit]:
    """The finished fits in scratch, by target and bag."""
    held_out = len(problem.rows(fold).valid)
    found = [StoredFit.read(path, held_out, False) for path in scratch.glob("*/*.parquet")]
    return {(one.row["target"], one.row["bag"]): one for one in found if one is not None}


def source(family: str, **settings: Any) -> dict[str, Any]:
    """A source's config as a fit is given it."""
    made = Source(family=family, **settings).slice()
    return {key: value for key, value in made.items() if key not in ("family", "features")}


def outputs_in(folder: Path) -> FoldOutputs:
    return FoldOutputs(
        folder / "oof.parquet", folder / "test.parquet", folder / "fits.parquet", folder / "models"
    )


def run_fold(
    problem: Problem,
    family: str,
    out: Path,
    *,
    fold: int = 0,
    groups: Mapping[str, Sequence[str]] | None = None,
    scratch: Path | None = None,
    threads: int = 1,
    seed: int = 1,
    code: str = "code",
    metric: Any = None,
    **settings: Any,
) -> Done:
    """Fit a source on one fold; without `scratch`, from scratch in `out`."""
    outputs = outputs_in(out)
    work = FoldWork(
        "source",
        source(family, **settings),
        groups or {},
        fold,
        problem.inputs,
        family=FAMILIES[family],
        seed=seed,
        code=code,
        scratch=scratch or out / "scratch",
        threads=threads,
        note={},
        metric=metric,
    )
    fit_fold(work, outputs)
    return read_done(outputs)


def kept_predictions(models: Path, target: str, files: Any, threads: int = 1) -> NDArray[Any]:
    """As predict_models, of a target of one output: (rows,)."""
    return predict_models(models, target, files, threads)[:, 0]


def read_done(outputs: FoldOutputs) -> Done:
    fits = {row["target"]: row for row in read_parquet(outputs.fits).to_pylist()}
    oof, test = read_predictions(outputs.oof), read_predictions(outputs.test)
    return Done(outputs, oof, test, fits, read_note(outputs.oof))
