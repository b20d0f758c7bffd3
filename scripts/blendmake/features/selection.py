"""Columns chosen by their mutual information with the targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.features.encoding import level_codes
from blendmake.features.label_sums import LabelSums
from blendmake.features.quantiles import quantile_bins, quantile_edges
from blendmake.labels import Labels
from blendmake.matrix import Positions
from blendmake.tasks.base import Target

BINS = 32  # of a number, a missing value not counted
ENOUGH = 200  # rows of the rarer of a target's two classes that the sample should hold
FEWEST = 20  # of each of many classes

Scores = NDArray[np.float64]


def in_classes(labels: Labels, targets: Sequence[Target]) -> Labels:
    """Labels (rows, targets) as codes of classes (Task.as_classes), NaN where unknown."""
    classes: Labels = np.empty(labels.shape, np.float32, order="F")
    for j, target in enumerate(targets):
        classes[:, j] = target.task.as_classes(labels[:, j])
    return classes


def _count_of_classes(labels: Labels) -> int:
    """One more than the highest code of a target's labels (rows,); 2 where there are fewer."""
    known = labels[~np.isnan(labels)]
    return max(2, int(known.max()) + 1) if len(known) else 2


def sample_rows(labels: Labels, rows: int, seed: int) -> Positions:
    """Ascending positions of a random sample of about `rows` rows of labels (n, targets).

    Where a class of a target has fewer than ENOUGH rows in the sample (of many classes: their share of
    twice as many), rows of it are added, as many as there are: a rare target is not judged by a
    handful of positives.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    chosen = np.zeros(len(labels), bool)
    chosen[order[:rows]] = True
    rest = order[rows:]
    for j in range(labels.shape[1]):
        classes = _count_of_classes(labels[:, j])
        enough = max(FEWEST, 2 * ENOUGH // classes)
        for value in range(classes):
            lacking = enough - int((labels[chosen, j] == value).sum())
            if lacking > 0:
                candidates = rest[(labels[rest, j] == value) & ~chosen[rest]]
                chosen[candidates[:lacking]] = True
    return np.flatnonzero(chosen)


def binned(values: NDArray[np.floating[Any]], levels: int) -> tuple[Positions, int]:
    """A column as few codes, and their number: quantile bins or levels, and a missing value's."""
    if not levels:
        edges = quantile_edges(values, BINS)
        return quantile_bins(values, edges), len(edges) + 2
    found, codes = np.unique(level_codes(values, levels), return_inverse=True)
    return codes, len(found)


class MutualInformation:
    """Mutual information of columns of codes with targets, in nats, beyond what chance gives.

    The plug-in estimate over the rows whose label is known, less its expectation where labels are
    shuffled (Vinh, Epps and Bailey, "Information theoretic measures for clusterings comparison", JMLR
    2010), which is about (codes - 1) / (2 rows) where all counts are large (Miller and Madow), and more
    or less where they are not. So columns of many codes and rare targets are judged alike: what says
    nothing has a score of zero on the average, and may have one below.

    Args:
        labels: (rows, targets) codes of classes, NaN where unknown (see in_classes).
    """

    def __init__(self, labels: Labels) -> None:
        self.rows = (~np.isnan(labels)).sum(axis=0)
        counts = [_class_counts(column) for column in labels.T]
        # Of two classes one is counted: the other is the rest.
        self._is_pair = np.array([len(of) == 2 for of in counts], bool)
        marks = [partial(_marks, classes=len(of)) for of in counts]
        self._sums = LabelSums(labels, marks)
        counted = [of[1:] if len(of) == 2 else of for of in counts]
        self._counted = np.concatenate(counted).astype(np.int64)
        self._first = np.cumsum([0, *map(len, counted)])[:-1]
        self._chance = [_chance(int(of.sum()), of) if (of > 0).sum() > 1 else None for of in counts]

    def __call__(self, codes: Positions, n_codes: int) -> Scores:
        """Scores (targets,) of codes (rows,); NaN where codes or labels are all the same."""
        known, found = (part.astype(np.float64) for part in self._sums(codes, n_codes))
        of = self._sums.target_of
        rows = np.maximum(self.rows, 1)
        share = self._counted / rows[of]
        total = _information(found, known * share)
        rest = self._is_pair[of]
        total[:, rest] += _information((known - found)[:, rest], (known * (1 - share))[:, rest])
        scores: Scores = np.add.reduceat(total.sum(axis=0), self._first) / rows
        for j, table in enumerate(self._chance):
            of_target = known[:, self._first[j]]
            if table is None or (of_target > 0).sum() < 2:
                scores[j] = np.nan
            else:
                scores[j] -= np.interp(of_target, *table).sum() / self.rows[j]
        return scores


def _class_counts(labels: Labels) -> NDArray[np.int64]:
    """Rows of each class (classes,) of a target's labels (rows,)."""
    known = labels[~np.isnan(labels)].astype(np.intp)
    return np.bincount(known, minlength=_count_of_classes(labels))


def _marks(labels: Labels, classes: int) -> NDArray[np.float64]:
    """1 where a label is a class (rows, classes); of two classes the second alone."""
    counted = np.arange(1 if classes == 2 else 0, classes)
    marks: NDArray[np.float64] = (labels[:, None] == counted).astype(np.float64)
    return marks


def _information(found: Scores, expected: Scores) -> Scores:
    """found · log(found / expected), 0 where nothing is found."""
    ratio = np.divide(found, expected, out=np.ones(found.shape), where=found > 0)
    terms: Scores = found * np.log(ratio)
    return terms


def _chance(rows: int, counts: NDArray[np.int64]) -> tuple[Scores, Scores]:
    """What a code adds to rows times mutual information by chance, by the number of its rows.

    Tabled at all small numbers of rows and at large ones so close that a straight line between them
    will do. `counts`: (classes,) rows of each class.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, rows + 1)))])
    every = np.append(np.arange(1, 65), np.geomspace(64, max(64, rows), 200).round())
    sizes = np.unique(every[every <= rows]).astype(np.int64)
    # Of two classes one says what the other has; of more, classes of one size are alike.
    alike = {int(counts[1]): 1} if len(counts) == 2 else Counter(counts[counts > 0].tolist())
    values = np.zeros(len(sizes))
    for count, times in alike.items():
        one = [
            _expected(log_factorial, rows, count, int(size), with_rest=len(counts) == 2)
            for size in sizes
        ]
        values += times * np.array(one)
    return np.append(0.0, sizes), np.append(0.0, values)


def _expected(log_factorial: Scores, rows: int, count: int, size: int, *, with_rest: bool) -> float:
    """What a class of `count` among `rows` rows adds by chance in a code of `size` rows.

    The expectation under the hypergeometric distribution of how many rows of the class are in the
    code; `with_rest`: and what all other rows add, as one class.
    """
    share = count / rows
    mean, spread = size * share, np.sqrt(size * share * (1 - share))
    low = max(0, size - (rows - count), int(mean - 10 * spread - 10))
    high = min(size, count, int(mean + 10 * spread + 10))
    inside = np.arange(low, high + 1)
    log_chance = (
        _log_choose(log_factorial, count, inside)
        + _log_choose(log_factorial, rows - count, size - inside)
        - _log_choose(log_factorial, rows, np.array([size]))
    )
    found = _information(inside.astype(np.float64), np.full(len(inside), mean))
    if with_rest:
        others = (size - inside).astype(np.float64)
        found += _information(others, np.full(len(inside), size - mean))
    return float(np.exp(log_chance) @ found)


def _log_choose(log_factorial: Scores, n: int, k: NDArray[np.integer]) -> Scores:
    logs: Scores = log_factorial[n] - log_factorial[k] - log_factorial[n - k]
    return logs


def choose(
    scores: Scores, top: int, cap: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The best columns of each target.

    Args:
        scores: (columns, targets), NaN where a column is no candidate.
        top: how many of each target.
        cap: how many in all: first those that are some target's best, then those of the highest
            score with any target that chose them (in nats times rows: of the strongest evidence).

    Returns:
        Ranks from 1 (0 for no candidate; of equal scores the earlier column first), and whether a
        column is chosen by a target; both (columns, targets).
    """
    order = np.argsort(-scores, axis=0, kind="stable")  # NaN last
    ranks = np.empty(scores.shape, np.int64)
    np.put_along_axis(ranks, order, np.arange(1, len(scores) + 1)[:, None], axis=0)
    ranks[np.isnan(scores)] = 0
    chosen = (ranks > 0) & (ranks <= top)
    if cap is not None and chosen.any(axis=1).sum() > cap:
        best = np.where(chosen, scores, -np.inf).max(axis=1)
        order = np.lexsort((-best, ~(ranks == 1).any(axis=1)))
        chosen[order[cap:]] = False
    return ranks, chosen
