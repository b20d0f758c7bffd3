"""What is the matter with a column before any model: constant, a duplicate, a copy of a label, drift.

Areas under the ROC curve tell how far one column separates two kinds of rows: positive from negative
ones (a copy of the label), or test from train rows (drift). A category has no order; its levels are
scored in each random half of the rows by their shares in the other half.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.audits.permuting import Forest
from blendmake.families.lightgbm import LightGBM
from blendmake.family import Fit, FoldData
from blendmake.features.files import FeatureSetFiles
from blendmake.features.quantiles import quantile_bins, quantile_edges
from blendmake.labels import Labels
from blendmake.matrix import BLOCK_BYTES, Column, Floats, Positions, Rows, known_numbers
from blendmake.metrics.ranking import Spearman
from blendmake.seeds import derive_seed
from blendmake.stats.auc import AucScorer
from blendmake.stats.ranks import rank_scale
from blendmake.tasks.base import Target
from blendmake.tasks.binary import TASK as BINARY

COPY = 0.49
"""Distance of the AUC from 0.5 from which a column counts as a copy of a label."""
COPY_RANK = 0.999
"""Rank correlation with a label that is a number, likewise; good forecasts may come near it."""
MOST_PLACES, ROWS_OF_PLACE = 256, 20  # of a number, where it is compared with classes
FEWEST, FEWEST_ROWS = 10, 100
"""Rows of either class, and in all, below which chance alone may separate the classes so well."""

COLUMNS = pa.schema(
    [
        ("feature", pa.string()),
        ("constant", pa.bool_()),
        ("all_null", pa.bool_()),
        ("duplicate_of", pa.string()),  # the first column of the same content
        ("label_copy_of", pa.string()),  # the first target that it copies
        ("drift_auc", pa.float64()),  # of test against train rows, present values only
        ("drift_z", pa.float64()),
        ("null_train", pa.float64()),  # share of missing values
        ("null_test", pa.float64()),
        ("null_z", pa.float64()),  # of the difference of these shares
        (
            "adversarial_gain",
            pa.float64(),
        ),  # share in the gain of the model that tells test from train
    ]
)

Bools = NDArray[np.bool_]
Counts = NDArray[np.int64]


def check_columns(
    train: FeatureSetFiles,
    test: FeatureSetFiles,
    rows: Positions,
    targets: Sequence[Target],
    labels: Labels,
    gains: Mapping[str, float],
    seed: int,
) -> pa.Table:
    """Check every column of a feature set, one at a time.

    Args:
        train, test: the set over the train and the test table.
        rows: the train rows that may be looked at.
        labels: (rows, targets) of these rows, NaN where unknown.
        gains: adversarial gain by column; empty where there is no test table.
        seed: of the random halves that categories are scored in.

    Returns:
        COLUMNS, in the set's order; what cannot be said is null.
    """
    is_binary = [target.task.name == "binary" for target in targets]
    names = [target.name for target, one in zip(targets, is_binary, strict=True) if one]
    known = _by_known_rows(names, labels[:, is_binary])
    of_others = [(target, labels[:, j]) for j, target in enumerate(targets) if not is_binary[j]]
    halves = np.random.default_rng(seed).random(len(rows) + test.rows) < 0.5
    first: dict[str, str] = {}
    found = []
    for column in train.columns:
        values = train.files[column.origin].values(column.name)[rows]
        others = test.files[column.origin].values(column.name)
        row = dict.fromkeys(COLUMNS.names) | _content(values)
        row["feature"] = column.name
        if not row["constant"] and not row["all_null"]:
            same = first.setdefault(_digest(column, values), column.name)
            row["duplicate_of"] = None if same == column.name else same
            row["label_copy_of"] = _copied(column, values, known, halves) or next(
                (
                    target.name
                    for target, own in of_others
                    if copies_label(column, values, target, own, halves)
                ),
                None,
            )
        if test.rows:
            row |= _drift(column, values, others, halves)
            row["adversarial_gain"] = gains.get(column.name)
        found.append(row)
    return pa.Table.from_pylist(found, schema=COLUMNS)


def _content(values: Floats) -> dict[str, Any]:
    missing = np.isnan(values)
    return {
        "all_null": bool(missing.all()),
        "constant": bool(not missing.any() and (values == values[0]).all()),
        "null_train": float(missing.mean()),
    }


def _digest(column: Column, values: Floats) -> str:
    # One NaN and one zero: their bits may differ.
    same = np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0))
    kind = b"category" if column.is_category else b"number"
    return hashlib.blake2b(same.tobytes(), digest_size=16, person=kind).hexdigest()


@dataclass(frozen=True)
class _Known:
    """Targets whose labels are known on the same `rows`, with their positives among these."""

    rows: Positions
    targets: dict[str, Bools]


def _by_known_rows(targets: Sequence[str], labels: Labels) -> list[_Known]:
    groups: dict[bytes, _Known] = {}
    for j, target in enumerate(targets):
        known = ~np.isnan(labels[:, j])
        group = groups.setdefault(np.packbits(known).tobytes(), _Known(np.flatnonzero(known), {}))
        group.targets[target] = labels[group.rows, j] == 1
    return list(groups.values())


def _copied(column: Column, values: Floats, known: Sequence[_Known], halves: Bools) -> str | None:
    """The first target that the column copies, or whose labels its gaps copy."""
    for group in known:
        part = values[group.rows]
        areas = _level_areas if column.is_category else _number_areas
        for target, area in areas(column, part, group.targets, halves[group.rows]):
            if abs(area - 0.5) >= COPY:
                return target
    return None


def copies_label(
    column: Column, values: Floats, target: Target, labels: Labels, halves: Bools
) -> bool:
    """Whether a column copies the labels (rows,) of a target of several classes, or of numbers.

    Classes: it tells every class from the rest. Numbers: its order is theirs.
    """
    known = np.flatnonzero(~np.isnan(labels))
    part, own, half = values[known], labels[known], halves[known]
    if target.classes:
        return _copies_classes(column, part, own, half)
    numbers: NDArray[Any] = part
    if column.is_category:
        numbers = _level_means(_codes(column, part), own, half)
    present = ~np.isnan(numbers)
    if int(present.sum()) < FEWEST_ROWS:
        return False
    return abs(Spearman()(own[present], numbers[present])) >= COPY_RANK


def _copies_classes(column: Column, values: Floats, labels: Labels, halves: Bools) -> bool:
    codes = _codes(column, values)
    if not column.is_category:
        found, codes = np.unique(values, return_inverse=True)
        places = min(MOST_PLACES, max(2, len(values) // ROWS_OF_PLACE))
        if len(found) > places:
            codes = quantile_bins(values, quantile_edges(values, places))
    judged = 0
    for code in np.unique(labels):
        is_one = labels == code
        count = int(is_one.sum())
        if _enough(count, len(labels) - count):
            judged += 1
            if not _level_auc(codes, is_one, halves)[0] - 0.5 >= COPY:
                return False
    return judged > 0


def _level_means(codes: Positions, labels: Labels, halves: Bools) -> NDArray[np.float64]:
    """Of each row the mean label of its level in the other half; nan where it is not there."""
    means = np.full(len(codes), np.nan)
    size = int(codes.max()) + 1 if len(codes) else 1
    for half in (halves, ~halves):
        count = np.bincount(codes[~half], minlength=size)
        total = np.bincount(codes[~half], labels[~half], minlength=size)
        of_level = np.divide(total, count, out=np.full(size, np.nan), where=count > 0)
        means[half] = of_level[codes[half]]
    return means


def _level_areas(
    column: Column, values: Floats, targets: Mapping[str, Bools], halves: Bools
) -> Iterator[tuple[str, float]]:
    codes = _codes(column, values)
    for target, positive in targets.items():
        count = int(positive.sum())
        if _enough(count, len(positive) - count):
            yield target, _level_auc(codes, positive, halves)[0]


def _number_areas(
    column: Column, values: Floats, targets: Mapping[str, Bools], halves: Bools
) -> Iterator[tuple[str, float]]:
    """AUC of the present values, and of being present at all."""
    present = ~np.isnan(values)
    count = int(present.sum())
    ranks = np.zeros(len(values))
    ranks[present] = rank_scale(values[present], None) * count + 0.5
    for target, positive in targets.items():
        positives, negatives = int(positive.sum()), int((~positive).sum())
        inside = int(present[positive].sum())
        outside = count - inside
        if _enough(inside, outside):
            beaten = float(ranks[positive].sum()) - inside * (inside + 1) / 2
            yield target, beaten / (inside * outside)
        if _enough(positives, negatives):
            yield target, 0.5 + (inside / positives - outside / negatives) / 2


def _enough(positives: int, negatives: int) -> bool:
    return min(positives, negatives) >= FEWEST and positives + negatives >= FEWEST_ROWS


def _codes(column: Column, values: Floats) -> Positions:
    """Category codes, a missing one after the last."""
    return np.where(np.isnan(values), column.levels, values).astype(np.intp)


def _level_auc(codes: Positions, positive: Bools, halves: Bools) -> tuple[float, float]:
    """AUC of a category and its z, cross-fitted in two halves; nan where a class is absent."""
    size = int(codes.max()) + 1 if len(codes) else 1
    areas, errors = [], []
    for half in (halves, ~halves):
        every, hits = _level_counts(codes, positive, ~half, size)
        share = np.full(size, hits.sum() / max(1, every.sum()))
        np.divide(hits, every, out=share, where=every > 0)
        scored, won = _level_counts(codes, positive, half, size)
        order = np.unique(share, return_inverse=True)[1]  # levels of the same share tie
        wins = np.bincount(order, won).astype(np.int64)
        area, error = grouped_auc(wins, np.bincount(order, scored).astype(np.int64) - wins)
        areas.append(area)
        errors.append(error)
    area = (areas[0] + areas[1]) / 2
    error = math.hypot(*errors) / 2
    return area, _z(area - 0.5, error)


def _level_counts(
    codes: Positions, positive: Bools, rows: Bools, size: int
) -> tuple[Counts, Counts]:
    """Rows and positive rows of each level among some rows."""
    return (
        np.bincount(codes[rows], minlength=size).astype(np.int64),
        np.bincount(codes[rows & positive], minlength=size).astype(np.int64),
    )


def grouped_auc(positives: Counts, negatives: Counts) -> tuple[float, float]:
    """AUC and its standard error where scores do not tell the classes apart.

    The error is that of the Mann-Whitney statistic under the null hypothesis, corrected for ties
    (Lehmann, "Nonparametrics", 1975).

    Args:
        positives, negatives: (values,) rows of either class at each score, ascending.

    Returns:
        Both nan if a class is absent.
    """
    m, n = int(positives.sum()), int(negatives.sum())
    if m == 0 or n == 0:
        return math.nan, math.nan
    below = np.cumsum(negatives) - negatives
    wins = float((positives * (below + negatives / 2)).sum())
    ties = (positives + negatives).astype(np.float64)
    rows = m + n
    tied = float((ties**3 - ties).sum()) / (rows * (rows - 1))
    return wins / (m * n), math.sqrt(max(0.0, rows + 1 - tied) / (12 * m * n))


def _z(difference: float, error: float) -> float:
    """The difference in standard errors; 0 where there can be none."""
    return difference / error if error > 0 else difference * 0.0


def _drift(column: Column, train: Floats, test: Floats, halves: Bools) -> dict[str, Any]:
    values = np.concatenate([train, test])
    is_test = np.arange(len(values)) >= len(train)
    present = ~np.isnan(values)
    if column.is_category:
        area, z = _level_auc(_codes(column, values)[present], is_test[present], halves[present])
    else:
        place = np.unique(values[present], return_inverse=True)[1]
        every = np.bincount(place).astype(np.int64)
        of_test = np.bincount(place[is_test[present]], minlength=len(every)).astype(np.int64)
        area, error = grouped_auc(of_test, every - of_test)
        z = _z(area - 0.5, error)
    nulls = ~present
    before, after = float(nulls[: len(train)].mean()), float(nulls[len(train) :].mean())
    share = float(nulls.mean())
    error = math.sqrt(share * (1 - share) * (1 / len(train) + 1 / len(test)))
    return {
        "drift_auc": None if math.isnan(area) else area,
        "drift_z": None if math.isnan(area) else z,
        "null_test": after,
        "null_z": _z(after - before, error),
    }


class _Stacked(Rows):
    """Rows of several tables, one below the other."""

    def __init__(self, parts: Sequence[Rows], known: dict[int, Any] | None = None) -> None:
        positions = np.concatenate([part.positions for part in parts])
        super().__init__(parts[0].files, parts[0].columns, positions, known or {})
        self.parts = [replace(part, known=self.known) for part in parts]

    def at(self, places: Positions) -> Rows:
        taken, start = [], 0
        for part in self.parts:
            first, last = np.searchsorted(places, [start, start + len(part)])
            taken.append(part.at(places[first:last] - start))
            start += len(part)
        return _Stacked(taken, self.known)

    def dense(self) -> Floats:
        return np.concatenate([part.dense() for part in self.parts])

    def codes(self, index: int) -> Floats:
        return np.concatenate([part.codes(index) for part in self.parts])

    def values(self, index: int) -> Any:
        return np.concatenate([part.values(index) for part in self.parts])

    def blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[Floats]:
        for part in self.parts:
            yield from part.blocks(block_bytes)


@dataclass(frozen=True)
class Adversarial:
    """How well a model tells test from train rows: AUC, its z, and each column's share of the gain."""

    auc: float
    z: float
    gains: dict[str, float]


def adversarial(
    train: FeatureSetFiles,
    test: FeatureSetFiles,
    rows: Positions,
    most: int,
    *,
    params: Mapping[str, Any],
    rounds: int,
    threads: int,
    seed: int,
    scratch: Path,
) -> Adversarial | None:
    """Train LightGBM to tell test from train rows, cross-fitted in two random halves.

    Args:
        rows: the train rows that may be looked at.
        most: rows that are sampled at most, half of them from either table if it has so many.
        scratch: folder for a model file.

    Returns:
        None where either table is too small to be halved.
    """
    rng = np.random.default_rng(seed)
    parts = []
    of_test = min(test.rows, most // 2)
    counts = (min(len(rows), most - of_test), of_test)
    if min(counts) < 4:
        return None
    for pool, count in zip((rows, np.arange(test.rows)), counts, strict=True):
        parts.append(rng.permutation(rng.choice(pool, count, replace=False)))
    areas, errors = [], []
    gains = np.zeros(len(train.columns))
    levels = [column.levels for column in train.columns]
    for half in (0, 1):
        fitted_on, judged = (
            _Stacked(
                [
                    Rows(files.files, train.columns, np.sort(part[which::2]))
                    for files, part in zip((train, test), parts, strict=True)
                ]
            )
            for which in (half, 1 - half)
        )
        nothing = Rows(train.files, train.columns, rows[:0], known_numbers(fitted_on))
        fitted_on, judged = (_Stacked(one.parts, nothing.known) for one in (fitted_on, judged))
        family = LightGBM(FoldData(fitted_on, judged, nothing, None), threads)
        asked = Fit(
            targets=(Target("test against train", BINARY),),
            labels=_is_test(fitted_on).astype(np.float32)[:, None],
            params=params,
            rounds=rounds,
            seed=derive_seed(seed, half),
        )
        fitted = family.fit(asked)
        path = fitted.save(scratch / "adversarial")
        gains += Forest(path, levels).gains
        path.unlink()
        scorer = AucScorer(_is_test(judged))
        areas.append(scorer(fitted.valid[:, 0]))
        errors.append(math.sqrt((len(judged) + 1) / (12 * scorer.positives * scorer.negatives)))
    area = (areas[0] + areas[1]) / 2
    shares = gains / max(float(gains.sum()), 1e-300)
    names = [column.name for column in train.columns]
    return Adversarial(
        area,
        _z(area - 0.5, math.hypot(*errors) / 2),
        dict(zip(names, shares.tolist(), strict=True)),
    )


def _is_test(rows: _Stacked) -> Bools:
    return np.repeat([False, True], [len(part) for part in rows.parts])
