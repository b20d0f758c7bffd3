"""What a LightGBM model predicts after one column is permuted, without predicting anew.

A split keeps the leaves on the side that it sends a row to; the leaf of a row is the one that all
splits of the tree keep. Sets of leaves are 64-bit masks, as in QuickScorer (Lucchese et al., "A Fast
Algorithm to Rank Documents with Additive Ensembles of Regression Trees", SIGIR 2015). All splits of
a tree on one column make one table, from the column's bin to the leaves kept, and the splits on the
other columns say for which rows that column decides anything at all. A permutation then costs one
look-up per tree that splits on the column and row for which it matters.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from blendmake.errors import BlendmakeError
from blendmake.families.lightgbm import SHIFT
from blendmake.matrix import Floats

MOST_LEAVES = 64
BLOCK_ROWS = 8192
"""Rows worked on at a time, so that the masks of one tree stay in the processor's cache."""
CATEGORY, DEFAULT_LEFT = 1, 2  # bits of a split's decision_type; bits 2 and 3 say what is missing
MISSING_NONE, MISSING_NAN = 0, 2

Masks = NDArray[np.uint64]
Bins = NDArray[np.intp]
Scores = NDArray[np.float64]


@dataclass(frozen=True)
class _Tree:
    """`kept[i]` (bins,): the leaves that the splits on column `columns[i]` keep, by its bin.

    `output`: which of the model's outputs it adds to.
    """

    columns: Sequence[int]
    kept: Sequence[Masks]
    values: Scores
    output: int


LINKS = {  # by LightGBM's objective: what makes predictions of scores
    "binary": "logistic",
    "multiclass": "softmax",
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "none"),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
}


class Forest:
    """A LightGBM model as its text file holds it: of two classes, of several, or of numbers.

    Args:
        path: the file.
        levels: per column, the number of its category codes, 0 for a number.

    Raises:
        BlendmakeError: a kind of model that is not read: more than 64 leaves in a tree, linear
            leaves, zeros taken for missing.

    Attributes:
        gains: (columns,) float64, the total gain of the splits on each column.
    """

    def __init__(self, path: Path, levels: Sequence[int]) -> None:
        text = Path(path).read_text(encoding="utf-8")
        head, *blocks = text.split("\nTree=")
        shift = re.search(rf"^{SHIFT}(\S+)\s*\Z", text, re.M)
        self._shift = float(shift[1]) if shift else 0.0
        objective = re.search(r"^objective=(\S+)(.*)$", head, re.M)
        link = LINKS.get(objective[1]) if objective else None
        if "\nversion=v4\n" not in head or objective is None or link is None:
            raise BlendmakeError(f"{path} is no LightGBM model of format v4 that an audit reads.")
        if " sqrt" in objective[2]:
            raise BlendmakeError(f"{path}: reg_sqrt cannot be audited. Leave it out.")
        self._link = link
        steepness = re.search(r"sigmoid:(\S+)", objective[2])
        self._steepness = float(steepness[1]) if steepness else 1.0
        outputs = re.search(r"^num_tree_per_iteration=(\d+)", head, re.M)
        self.outputs = int(outputs[1]) if outputs else 1
        self._averages = len(blocks) // self.outputs if "\naverage_output\n" in head else 1
        self.levels = levels
        self.gains: Scores = np.zeros(len(levels))
        parts = [_parsed(block) for block in blocks]
        self._thresholds = _thresholds(parts, levels)
        largest = sum(float(np.abs(part["leaf_value"]).max()) for part in parts)
        # Leaf values become multiples of a step so small that a sum of them is exact: predictions
        # that tie still tie whatever the order in which they are put together.
        step = 2.0 ** (math.ceil(math.log2(max(largest, 1e-300))) - 52)
        self._trees = []
        for place, part in enumerate(parts):
            np.add.at(self.gains, part["split_feature"].astype(np.intp), part["split_gain"])
            values = np.rint(part["leaf_value"] / step) * step
            self._trees.append(_Tree(*self._kept(part, path), values, place % self.outputs))

    @property
    def columns(self) -> list[int]:
        """The columns that some tree splits on, ascending."""
        return sorted({column for tree in self._trees for column in tree.columns})

    def bins(self, column: int, values: Floats) -> Bins:
        """The bin of each value (rows,) of a column: between which of its thresholds it lies."""
        missing = np.isnan(values)
        if self.levels[column]:
            return np.where(missing, self.levels[column], values).astype(np.intp)
        thresholds = self._thresholds[column]
        bins = np.searchsorted(thresholds, values.astype(np.float64), "left")
        return np.where(missing, len(thresholds) + 1, bins)

    def predictions(self, scores: Scores) -> Scores:
        """The model's predictions from its scores, of the same shape."""
        scores = scores / self._averages
        if self._link == "logistic":
            return np.asarray(1 / (1 + np.exp(-self._steepness * scores)))
        if self._link == "softmax":
            shares: Scores = softmax(scores, axis=1)
            return shares
        return np.exp(scores) if self._link == "exp" else scores + self._shift

    def _kept(self, part: Mapping[str, Scores], path: Path) -> tuple[list[int], list[Masks]]:
        leaves = len(part["leaf_value"])
        kinds = part["decision_type"].astype(np.intp)
        missing = (kinds >> 2) & 3
        if leaves > MOST_LEAVES:
            raise BlendmakeError(
                f"{path}: a tree has {leaves} leaves, more than the {MOST_LEAVES} that an audit "
                "reads. Lower num_leaves."
            )
        if part.get("is_linear", np.zeros(1)).any() or not np.isin(missing, (0, 2)).all():
            raise BlendmakeError(
                f"{path}: linear_tree and zero_as_missing cannot be audited. Leave them out."
            )
        sides, every = _sides(part, leaves), np.uint64(2**leaves - 1)
        kept: dict[int, Masks] = {}
        for node, column in enumerate(part["split_feature"].astype(np.intp).tolist()):
            left = self._goes_left(part, node, column, int(kinds[node]), int(missing[node]))
            table = np.where(left, every ^ sides[1][node], every ^ sides[0][node])
            kept[column] = kept[column] & table if column in kept else table
        return list(kept), list(kept.values())

    def _goes_left(
        self, part: Mapping[str, Scores], node: int, column: int, kind: int, missing: int
    ) -> NDArray[np.bool_]:
        """For each bin of the column, whether the split sends it to the left."""
        if kind & CATEGORY:
            chosen = _categories(part, node)
            left = np.zeros(self.levels[column] + 1, bool)
            left[chosen[chosen < self.levels[column]]] = True
            return left
        thresholds = self._thresholds[column]
        place = int(np.searchsorted(thresholds, part["threshold"][node]))
        left = np.arange(len(thresholds) + 2) <= place
        if missing == MISSING_NAN:
            left[-1] = bool(kind & DEFAULT_LEFT)
        else:
            left[-1] = bool(part["threshold"][node] >= 0.0)  # a missing value is read as zero
        return left

    def scores(self, bins: Mapping[int, Bins]) -> Scores:
        """The model's scores (log odds, numbers) of rows: (rows,), or (rows, outputs) of several.

        Args:
            bins: (rows,) of every column that the model splits on.
        """
        rows = len(next(iter(bins.values()))) if bins else 0
        scores = np.zeros((self.outputs, rows))
        for block in _blocks(rows):
            for tree, _, _, leaf in self._walk(bins, block):
                scores[tree.output, block] += tree.values.take(leaf)
        return self._turned(scores)

    def _turned(self, values: Scores) -> Scores:
        """From (outputs, …) to (…), or (…, outputs) of several."""
        return values[0] if self.outputs == 1 else np.ascontiguousarray(np.moveaxis(values, 0, -1))

    def changes(
        self, bins: Mapping[int, Bins], permuted: Mapping[int, NDArray[np.intp]]
    ) -> dict[int, Scores]:
        """By how much scores change when one column is permuted and all others stay.

        Args:
            bins: as for `scores`.
            permuted: by column, (repeats, rows) its permuted bins.

        Returns:
            By column, (repeats, rows), or (repeats, rows, outputs) of several: to be added to the
            scores; the sums are exact.
        """
        changes = {
            column: np.zeros((self.outputs, *table.shape)) for column, table in permuted.items()
        }
        rows = len(next(iter(bins.values()))) if bins else 0
        for block in _blocks(rows):
            for tree, masks, after, leaf in self._walk(bins, block):
                before: Masks | None = None
                for i, column in enumerate(tree.columns):
                    if column in permuted:
                        others = _and(before, after[i + 1])
                        own = changes[column][tree.output]
                        self._change(tree, i, others, leaf, permuted[column], own, block.start)
                    before = _and(before, masks[i])
        return {column: self._turned(change) for column, change in changes.items()}

    def _walk(
        self, bins: Mapping[int, Bins], block: slice
    ) -> Iterator[tuple[_Tree, list[Masks], list[Masks | None], NDArray[np.uint8]]]:
        """Per tree: the masks of each column, of the columns from the i-th on, and the leaf."""
        for tree in self._trees:
            masks = [
                kept.take(bins[column][block])
                for column, kept in zip(tree.columns, tree.kept, strict=True)
            ]
            after: list[Masks | None] = [None]
            for mask in reversed(masks):
                after.append(_and(mask, after[-1]))
            after.reverse()
            full = after[0]
            rows = block.stop - block.start
            leaf = np.zeros(rows, np.uint8) if full is None else _leaf(full)
            yield tree, masks, after, leaf

    @staticmethod
    def _change(
        tree: _Tree,
        index: int,
        others: Masks | None,
        leaf: NDArray[np.uint8],
        permuted: NDArray[np.intp],
        changes: Scores,
        start: int,
    ) -> None:
        if others is None:  # the tree splits on this column only
            touched = np.arange(len(leaf))
            reachable = np.full(len(leaf), np.uint64(2**64 - 1))
        else:
            touched = np.flatnonzero(others & (others - ONE))
            reachable = others.take(touched)
        present = tree.values.take(leaf.take(touched))
        touched += start
        for repeat in range(len(permuted)):
            kept = tree.kept[index].take(permuted[repeat].take(touched))
            kept &= reachable
            new = tree.values.take(_leaf(kept))
            new -= present
            changes[repeat][touched] += new


ONE = np.uint64(1)


def _and(a: Masks | None, b: Masks | None) -> Masks | None:
    if a is None or b is None:
        return b if a is None else a
    return a & b


def _leaf(masks: Masks) -> NDArray[np.uint8]:
    """The one leaf that each mask keeps."""
    leaves: NDArray[np.uint8] = np.bitwise_count(masks - ONE)
    return leaves


def _blocks(rows: int) -> Iterator[slice]:
    for start in range(0, rows, BLOCK_ROWS):
        yield slice(start, min(start + BLOCK_ROWS, rows))


def _parsed(block: str) -> dict[str, Scores]:
    """The arrays of one tree."""
    lines = block.split("\n\n", 1)[0].splitlines()[1:]
    pairs = (line.partition("=") for line in lines)
    part = {key: np.array(text.split(), np.float64) for key, _, text in pairs}
    for name in ("split_feature", "split_gain", "threshold", "decision_type"):
        part.setdefault(name, np.empty(0))  # of a tree that is one leaf
    return part


def _thresholds(parts: Sequence[Mapping[str, Scores]], levels: Sequence[int]) -> dict[int, Scores]:
    """The distinct thresholds of each number, ascending."""
    none = np.empty(0)
    columns = np.concatenate([none, *(part["split_feature"] for part in parts)]).astype(np.intp)
    thresholds = np.concatenate([none, *(part["threshold"] for part in parts)])
    return {
        column: np.unique(thresholds[columns == column])
        for column in np.unique(columns).tolist()
        if not levels[column]
    }


def _sides(part: Mapping[str, Scores], leaves: int) -> tuple[list[np.uint64], list[np.uint64]]:
    """The leaves below each split on its left and on its right."""
    nodes = leaves - 1
    children = [part[side].astype(np.intp).tolist() if nodes else [] for side in SIDES]
    masks: tuple[list[int], list[int]] = ([0] * nodes, [0] * nodes)
    for node in reversed(range(nodes)):  # a split is numbered before those below it
        for side, of in zip(masks, children, strict=True):
            child = of[node]
            side[node] = masks[0][child] | masks[1][child] if child >= 0 else 1 << ~child
    return ([np.uint64(m) for m in masks[0]], [np.uint64(m) for m in masks[1]])


SIDES = ("left_child", "right_child")


def _categories(part: Mapping[str, Scores], node: int) -> NDArray[np.intp]:
    """The category codes that a split sends to the left."""
    index = int(part["threshold"][node])
    first, last = part["cat_boundaries"][index : index + 2].astype(np.intp)
    words = part["cat_threshold"][first:last].astype(np.uint32)
    bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.flatnonzero(bits.ravel())


def permuted_drops(
    forest: Forest,
    read: Callable[[int], Floats],
    wanted: Sequence[int],
    orders: Callable[[int, int], NDArray[np.intp]],
    repeats: int,
    score: Callable[[Scores], float],
) -> tuple[float, Scores]:
    """How far a score falls when one column is permuted.

    Args:
        read: gives the values (rows,) of a column.
        wanted: the columns to permute, one at a time.
        orders: gives the order (rows,) of a column's rows in a repeat.
        score: of the model's scores, as `Forest.scores` gives them; higher is better.

    Returns:
        The score as it is, and (wanted, repeats) the score as it is less the score permuted; 0 for a
        column that the model does not split on.
    """
    bins = {column: forest.bins(column, read(column)) for column in forest.columns}
    used = [column for column in wanted if column in bins]
    drops = np.zeros((len(wanted), repeats))
    if not bins:
        return float("nan"), drops
    scores = forest.scores(bins)
    base = score(scores)
    permuted = {
        column: np.stack([bins[column][orders(column, repeat)] for repeat in range(repeats)])
        for column in used
    }
    changes = forest.changes(bins, permuted)
    for column, change in changes.items():
        drops[list(wanted).index(column)] = [base - score(scores + one) for one in change]
    return base, drops
