"""Rows as linear models take them: imputed and scaled numbers, one-hot or hashed categories.

All that columns become is learnt from the fold's own training rows, without labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from blendmake.matrix import Floats, Rows

CLIP = 10.0  # standard deviations: one wild value must not rule the fit
MOST_HASH_BITS = 24
SCALINGS = ("auto", "standard", "rows")
# `auto`: a column of which fewer values differ from zero is mostly zero; from so many such columns on
# they are taken for counts of words, fingerprints and the like.
MOSTLY_ZERO = 0.5
MANY = 100
# Category levels become dense columns where these are small, or not much larger than what is in them:
# a product with them is then many times as fast.
DENSE_BYTES = 256 << 20
DENSE_SHARE = 0.02

# What BLAS is handed is padded to whole tiles: at the edge it sums in another order, so that a row's (a
# model's) sums would depend on what stands beside it.
TILE_MODELS = 16
TILE_ROWS = 256


@dataclass(frozen=True)
class Regressors:
    """Rows of regressors: `dense` (rows, d) float32 in C order, then `hot` (rows, s) CSR, if any."""

    dense: Floats
    hot: Any = None

    @property
    def shape(self) -> tuple[int, int]:
        width = self.dense.shape[1] + (0 if self.hot is None else self.hot.shape[1])
        return len(self.dense), width

    def at(self, places: NDArray[np.intp]) -> Regressors:
        """Some of the rows."""
        return Regressors(self.dense[places], None if self.hot is None else self.hot[places])

    def below(self, other: Regressors) -> Regressors:
        """These rows, and those of `other` below them."""
        hot = None if self.hot is None else sparse.vstack([self.hot, other.hot], format="csr")
        return Regressors(np.concatenate([self.dense, other.dense]), hot)

    def whole(self) -> Any:
        """In one piece, as scikit-learn takes it: an array, or a CSR matrix."""
        if self.hot is None:
            return self.dense
        return sparse.hstack([sparse.csr_matrix(self.dense), self.hot], format="csr")

    def times(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """The products with the vectors `weights` (n, width): (rows, n).

        To the byte the same for a row and a vector, whatever stands beside them.
        """
        d = self.dense.shape[1]
        out = np.zeros((len(self.dense), len(weights)))
        if d:
            padded = np.ascontiguousarray(_padded(weights[:, :d].astype(np.float32), TILE_MODELS).T)
            cut = len(out) - len(out) % TILE_ROWS
            if cut:
                out[:cut] = (self.dense[:cut] @ padded)[:, : len(weights)]
            if cut < len(out):
                last = _padded(self.dense[cut:], TILE_ROWS) @ padded
                out[cut:] = last[: len(out) - cut, : len(weights)]
        if self.hot is not None:  # row by row, term by term
            out += self.hot @ np.ascontiguousarray(weights[:, d:].T)
        return out

    def against(self, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Residuals (n, rows) times the regressors: (n, width)."""
        parts = []
        if self.dense.shape[1]:
            padded = _padded(residuals.astype(np.float32), TILE_MODELS)
            parts.append((padded @ self.dense)[: len(residuals)].astype(np.float64))
        if self.hot is not None:
            parts.append((self.hot.T @ np.ascontiguousarray(residuals.T)).T)
        return np.hstack(parts) if parts else np.zeros((len(residuals), 0))


def _padded(rows: NDArray[Any], multiple: int) -> NDArray[Any]:
    """With rows of zeros behind, up to a multiple."""
    missing = -len(rows) % multiple
    return np.pad(rows, ((0, missing), (0, 0))) if missing else rows


@dataclass(frozen=True)
class Preparation:
    """How columns become regressors, in this order:

    - numbers: the median for missing ones, standardised and clipped;
    - a flag per number of which some were missing in training;
    - mostly-zero numbers (`counts`), which standardising would blow up: zero for missing ones, divided
      by the median of their values other than zero, a row of them by its length and made as
      long as so many standardised numbers;
    - categories: one column per level seen in training; a missing or unseen one has none. With
      `hash_bits` above 0, instead, all levels of all columns share 2 ** hash_bits columns (see hashed).

    `dense_levels`: whether the levels are held like numbers.
    """

    numbers: NDArray[np.intp]
    medians: Floats
    means: Floats
    scales: Floats
    flagged: NDArray[np.intp]  # column indices
    counts: NDArray[np.intp]
    count_scales: Floats
    categories: NDArray[np.intp]
    levels: tuple[NDArray[np.intp], ...]  # codes seen, per category column; none if hashed
    hash_bits: int = 0
    dense_levels: bool = False

    @staticmethod
    def learn(rows: Rows, hash_bits: int = 0, scaling: str = "auto") -> Preparation:
        """Learn from training rows, without labels; one column is held at a time.

        Args:
            scaling: `rows` for mostly-zero numbers as counts, `standard` for all numbers alike, `auto`
                for the first where there are many such.
        """
        rows = rows.measuring()
        is_category = np.array([column.is_category for column in rows.columns], bool)
        found = [_number(int(index), rows) for index in np.flatnonzero(~is_category)]
        zeros = [one for one in found if one.mostly_zero]
        apart = scaling == "rows" or (scaling == "auto" and len(zeros) >= MANY)
        counts = zeros if apart else []
        numbers = [one for one in found if not (apart and one.mostly_zero)]
        categories = np.flatnonzero(is_category)
        levels, present = [], 0
        for index in categories if hash_bits == 0 else ():
            codes = rows.codes(int(index))
            known = codes[~np.isnan(codes)]
            present += len(known)
            levels.append(np.unique(known).astype(np.intp))
        cells = len(rows) * sum(map(len, levels))
        return Preparation(
            numbers=np.array([one.index for one in numbers], np.intp),
            medians=np.array([one.median for one in numbers], np.float32),
            means=np.array([one.mean for one in numbers], np.float32),
            scales=np.array([one.deviation for one in numbers], np.float32),
            flagged=np.array([one.index for one in found if one.has_missing], np.intp),
            counts=np.array([one.index for one in counts], np.intp),
            count_scales=np.array([one.size for one in counts], np.float32),
            categories=categories,
            levels=tuple(levels),
            hash_bits=hash_bits,
            dense_levels=0 < 4 * cells <= DENSE_BYTES and present >= DENSE_SHARE * cells,
        )

    @property
    def width(self) -> int:
        """Number of regressors."""
        return len(self.numbers) + len(self.flagged) + len(self.counts) + self._hot_width

    @property
    def _hot_width(self) -> int:
        hot = 2**self.hash_bits if self.hash_bits else sum(len(part) for part in self.levels)
        return hot if len(self.categories) else 0

    def apply(self, rows: Rows) -> Regressors:
        """The regressors of `rows`, made in blocks, dense ones in the place where they stay."""
        plain = len(self.numbers) + len(self.flagged)
        hot_kinds = len(self.counts) > 0 or (self._hot_width > 0 and not self.dense_levels)
        dense = np.empty((len(rows), plain + self.dense_levels * self._hot_width), np.float32)
        hot: list[Any] = []
        start = 0
        for block in rows.measuring().blocks():
            here = dense[start : start + len(block)]
            here[:, :plain] = self._scaled(block)
            parts = [self._counted(block)] if len(self.counts) else []
            if self.dense_levels:
                here[:, plain:] = sparse.hstack(self._one_hot(block)).toarray()
            elif self._hot_width:
                parts += self._hashed(block) if self.hash_bits else self._one_hot(block)
            if parts:
                hot.append(sparse.hstack(parts, format="csr"))
            start += len(block)
        if not hot_kinds:
            return Regressors(dense)
        width = self.width - dense.shape[1]
        empty = sparse.csr_matrix((0, width), dtype=np.float32)
        return Regressors(dense, sparse.vstack(hot, format="csr") if hot else empty)

    def _scaled(self, block: Floats) -> Floats:
        """Of a block, the numbers and the flags of missing ones."""
        numbers = block[:, self.numbers]
        filled = np.where(np.isnan(numbers), self.medians, numbers)
        with np.errstate(over="ignore"):  # clipped in the next step
            scaled = np.clip((filled - self.means) / self.scales, -CLIP, CLIP)
        return np.hstack([scaled, np.isnan(block[:, self.flagged])]).astype(np.float32)

    def _counted(self, block: Floats) -> Any:
        """Of a block, the mostly-zero numbers, all rows of one length (or zero)."""
        values = np.nan_to_num(block[:, self.counts], nan=0.0) / self.count_scales
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
        lengths[lengths == 0] = 1
        # As large, all together, as so many standardised columns: one penalty does for both.
        lengths /= np.sqrt(len(self.counts))
        return sparse.csr_matrix((values / lengths[:, None]).astype(np.float32))

    def _one_hot(self, block: Floats) -> list[Any]:
        """Of a block, for each category column a matrix of its levels."""
        hot = []
        for index, levels in zip(self.categories, self.levels, strict=True):
            codes = np.nan_to_num(block[:, index], nan=-1).astype(np.intp)
            place = np.searchsorted(levels, codes).clip(max=max(len(levels) - 1, 0))
            seen = np.flatnonzero(levels[place] == codes) if len(levels) else np.empty(0, np.intp)
            shape = (len(block), len(levels))
            hot.append(
                sparse.csr_matrix(
                    (np.ones(len(seen), np.float32), (seen, place[seen])), shape=shape
                )
            )
        return hot

    def _hashed(self, block: Floats) -> list[Any]:
        """Of a block, the one matrix that all category columns share."""
        seen, places, signs = [], [], []
        for index in self.categories:
            present = np.flatnonzero(~np.isnan(block[:, index]))
            place, sign = hashed(int(index), block[present, index].astype(np.int64), self.hash_bits)
            seen.append(present)
            places.append(place)
            signs.append(sign)
        at = (np.concatenate(seen), np.concatenate(places))
        shape = (len(block), 2**self.hash_bits)
        # Levels of one row that meet in a column add up.
        return [sparse.csr_matrix((np.concatenate(signs), at), shape=shape)]

    def to_json(self) -> dict[str, Any]:
        """Everything needed to apply it to new rows."""
        arrays = {name: v.tolist() for name, v in vars(self).items() if isinstance(v, np.ndarray)}
        levels = [part.tolist() for part in self.levels]
        return {
            **arrays,
            "levels": levels,
            "hash_bits": self.hash_bits,
            "dense_levels": self.dense_levels,
        }

    @staticmethod
    def from_json(stored: dict[str, Any]) -> Preparation:
        """The inverse of to_json."""

        def indices(values: Sequence[int]) -> NDArray[np.intp]:
            return np.array(values, np.intp)

        return Preparation(
            numbers=indices(stored["numbers"]),
            medians=np.array(stored["medians"], np.float32),
            means=np.array(stored["means"], np.float32),
            scales=np.array(stored["scales"], np.float32),
            flagged=indices(stored["flagged"]),
            counts=indices(stored["counts"]),
            count_scales=np.array(stored["count_scales"], np.float32),
            categories=indices(stored["categories"]),
            levels=tuple(map(indices, stored["levels"])),
            hash_bits=stored["hash_bits"],
            dense_levels=stored["dense_levels"],
        )


@dataclass(frozen=True)
class _Number:
    """What is learnt of a number column; `size`: of its values other than zero, the median."""

    index: int
    has_missing: bool
    median: float = 0.0
    mean: float = 0.0
    deviation: float = 1.0
    mostly_zero: bool = False
    size: float = 1.0


def _number(index: int, rows: Rows) -> _Number:
    column = rows.codes(index)
    null = np.isnan(column)
    present = column[~null]
    if len(present) == 0:
        return _Number(index, bool(null.any()))
    median = np.median(present)
    filled = np.where(null, median, column).astype(np.float64)
    deviation = np.float32(filled.std())
    others = present[present != 0].astype(np.float64)
    return _Number(
        index,
        bool(null.any()),
        float(median),
        float(filled.mean()),
        # A constant column stays at zero instead of being blown up.
        float(deviation) if deviation > 0 and np.isfinite(deviation) else 1.0,
        len(others) < MOSTLY_ZERO * len(present),
        float(np.median(np.abs(others))) if len(others) else 1.0,
    )


def hashed(
    column: int, codes: NDArray[np.int64], bits: int
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Places and signs of the levels of a category column (Weinberger et al. 2009).

    "Feature Hashing for Large Scale Multitask Learning", ICML: the sign, a hash of its own, makes
    what meets in one place cancel out on average. The hash of (column, code) is the finaliser of
    SplitMix64 (Steele, Lea and Flood 2014), the same everywhere.

    Args:
        column: index of the column in the feature set.
        codes: (n,) codes ≥ 0.
        bits: places are below 2 ** bits.

    Returns:
        places (n,) and signs (n,), 1 or -1.
    """
    x = np.uint64((column + 1) << 32) + codes.astype(np.uint64)
    x *= np.uint64(0x9E3779B97F4A7C15)  # runs over, as it must
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    places = (x >> np.uint64(64 - bits)).astype(np.intp)
    return places, np.where(x & np.uint64(1), np.float32(1), np.float32(-1))
