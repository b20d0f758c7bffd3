"""Columns chosen by their mutual information with the targets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from blendmake.features.encoding import level_codes
from blendmake.features.label_counts import LabelCounts
from blendmake.features.quantiles import quantile_bins, quantile_edges
from blendmake.labels import Labels
from blendmake.matrix import Floats, Positions

BINS = 32  # of a number, a missing value not counted
ENOUGH = 200  # rows of a target's rarer class that the sample should hold

Scores = NDArray[np.float64]


def sample_rows(labels: Labels, rows: int, seed: int) -> Positions:
    """Ascending positions of a random sample of about `rows` rows of labels (n, targets).

    Where a class of a target has fewer than ENOUGH rows in the sample, rows of it are added, as many
    as there are: a rare target is not judged by a handful of positives.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    chosen = np.zeros(len(labels), bool)
    chosen[order[:rows]] = True
    rest = order[rows:]
    for j in range(labels.shape[1]):
        for value in (0, 1):
            lacking = ENOUGH - int((labels[chosen, j] == value).sum())
            if lacking > 0:
                candidates = rest[(labels[rest, j] == value) & ~chosen[rest]]
                chosen[candidates[:lacking]] = True
    return np.flatnonzero(chosen)


def binned(values: Floats, levels: int) -> tuple[Positions, int]:
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
        labels: (rows, targets), NaN where unknown.
    """

    def __init__(self, labels: Labels) -> None:
        self._counts = LabelCounts(labels)
        self.rows = (~np.isnan(labels)).sum(axis=0)
        self.positives = (labels == 1).sum(axis=0)
        self._usable = (self.positives > 0) & (self.positives < self.rows)
        self._chance = [
            _chance(int(n), int(p)) if usable else None
            for n, p, usable in zip(self.rows, self.positives, self._usable, strict=True)
        ]

    def __call__(self, codes: Positions, n_codes: int) -> Scores:
        """Scores (targets,) of codes (rows,); NaN where codes or labels are all the same."""
        known, positive = (part.astype(np.float64) for part in self._counts(codes, n_codes))
        rows = np.maximum(self.rows, 1)
        share = self.positives / rows
        total = _information(positive, known * share)
        total += _information(known - positive, known * (1 - share))
        scores: Scores = total.sum(axis=0) / rows
        for j, table in enumerate(self._chance):
            if table is None or (known[:, j] > 0).sum() < 2:
                scores[j] = np.nan
            else:
                scores[j] -= np.interp(known[:, j], *table).sum() / self.rows[j]
        return scores


def _information(found: Scores, expected: Scores) -> Scores:
    """found · log(found / expected), 0 where nothing is found."""
    ratio = np.divide(found, expected, out=np.ones(found.shape), where=found > 0)
    terms: Scores = found * np.log(ratio)
    return terms


def _chance(rows: int, positives: int) -> tuple[Scores, Scores]:
    """What a code adds to rows times mutual information by chance, by the number of its rows.

    The expectation under the hypergeometric distribution of its positives, tabled at all small
    numbers of rows and at large ones so close that a straight line between them will do.
    """
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, rows + 1)))])
    share = positives / rows

    def expected(size: int) -> float:
        mean, spread = size * share, np.sqrt(size * share * (1 - share))
        low = max(0, size - (rows - positives), int(mean - 10 * spread - 10))
        high = min(size, positives, int(mean + 10 * spread + 10))
        inside = np.arange(low, high + 1)
        positive, negative = inside.astype(np.float64), (size - inside).astype(np.float64)
        log_chance = (
            _log_choose(log_factorial, positives, inside)
            + _log_choose(log_factorial, rows - positives, size - inside)
            - _log_choose(log_factorial, rows, np.array([size]))
        )
        found = _information(positive, np.full(len(inside), mean))
        found += _information(negative, np.full(len(inside), size - mean))
        return float(np.exp(log_chance) @ found)

    every = np.append(np.arange(1, 65), np.geomspace(64, max(64, rows), 200).round())
    sizes = np.unique(every[every <= rows]).astype(np.int64)
    values = [expected(int(size)) for size in sizes]
    return np.append(0.0, sizes), np.append(0.0, values)


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
