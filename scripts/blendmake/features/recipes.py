"""Columns that a feature set makes without labels; what a recipe learns, it learns from train."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.features.quantiles import quantile_bins, quantile_edges
from blendmake.matrix import BLOCK_BYTES, Floats, TableFile

STATISTICS = (
    "mean",
    "min",
    "max",
    "sum",
    "null_count",
    "zero_count",
    "null_share",
    "zero_share",
)
PAIR_LEVELS = 1000


class Made:
    """Columns made from a batch of the table, without labels."""

    names: list[str]
    file = ""
    levels = 0
    level_names: Sequence[str] = ()
    dtype = pa.float32()

    def make(self, table: TableFile, batch: int) -> Any:
        """(rows of the batch, len(names)) of `dtype`."""
        raise NotImplementedError


def row_blocks(
    table: TableFile, names: Sequence[str], batch: int, width: int = 4
) -> Iterator[NDArray[np.floating]]:
    """Some columns of a batch, as blocks (rows, columns) that at `width` bytes a value stay small.

    They are float64 where one of the columns is.
    """
    parts = [table.column(name, batch).to_numpy() for name in names]
    step = max(1, BLOCK_BYTES // (width * len(parts)))
    for start in range(0, max(1, len(parts[0])), step):
        yield np.stack([part[start : start + step] for part in parts], axis=1)


def _batches(table: TableFile) -> range:
    return range(len(table.offsets) - 1)


def row_statistics(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """Eight statistics over the columns of each row, in the order of STATISTICS.

    Args:
        values: (rows, columns) float32 or float64, NaN = null. A null is not a zero and enters no
            mean, minimum, maximum or sum; a row of nulls only has null mean, minimum and maximum and
            sum 0.

    Returns:
        (rows, 8) of the type of `values`.
    """
    null = np.isnan(values)
    n_columns = values.shape[1]
    nulls = null.sum(axis=1)
    zeros = (values == 0).sum(axis=1)
    present = n_columns - nulls
    total = np.where(null, 0, values).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(present > 0, total / present, np.nan)
        low = np.where(present > 0, np.where(null, np.inf, values).min(axis=1), np.nan)
        high = np.where(present > 0, np.where(null, -np.inf, values).max(axis=1), np.nan)
    table = [mean, low, high, total, nulls, zeros, nulls / n_columns, zeros / n_columns]
    return np.stack(table, axis=1).astype(values.dtype)


class Statistics(Made):
    """Row statistics over some columns of a file; where one is wide, they are as wide."""

    def __init__(self, label: str, train: TableFile, columns: Sequence[str]) -> None:
        self.file, self.columns = label, columns
        self.names = [f"{label}__row_{statistic}" for statistic in STATISTICS]
        self.dtype = pa.float64() if any(map(train.is_wide, columns)) else pa.float32()

    def make(self, table: TableFile, batch: int) -> NDArray[np.floating]:
        return np.vstack([row_statistics(b) for b in row_blocks(table, self.columns, batch)])


class Frequency(Made):
    """A category as its share among the train rows."""

    def __init__(self, name: str, train: TableFile, levels: int) -> None:
        self.name, self.names = name, [f"{name}__frequency"]
        codes = train.values(name)
        present = codes[~np.isnan(codes)].astype(np.intp)
        counts = np.bincount(present, minlength=levels)
        # The last entry stands for a missing value.
        self.shares = np.append(counts, len(codes) - len(present)) / max(1, len(codes))

    def make(self, table: TableFile, batch: int) -> Floats:
        codes = table.column(self.name, batch).to_numpy()
        index = np.where(np.isnan(codes), len(self.shares) - 1, codes).astype(np.intp)
        return self.shares[index].astype(np.float32)[:, None]


class Codes(Made):
    """A number of few distinct values (`values`, ascending) as a category."""

    def __init__(self, name: str, values: Floats) -> None:
        self.name, self.names = name, [f"{name}__category"]
        self.values, self.levels = values, len(values)
        self.level_names = [str(value) for value in values.tolist()]

    def make(self, table: TableFile, batch: int) -> Floats:
        numbers = table.column(self.name, batch).to_numpy()
        codes = np.searchsorted(self.values, numbers).clip(max=self.levels - 1)
        # A value the train table does not hold is an unseen category: missing.
        return np.where(self.values[codes] == numbers, codes, np.nan).astype(np.float32)[:, None]


class Rounded(Made):
    """A number rounded to some decimals; of a wide column it is as wide."""

    def __init__(self, name: str, decimals: int, wide: bool = False) -> None:
        self.name, self.names, self.decimals = name, [f"{name}__rounded"], decimals
        self.dtype = pa.float64() if wide else pa.float32()

    def make(self, table: TableFile, batch: int) -> Any:
        numbers = table.column(self.name, batch).to_numpy().astype(np.float64)
        # Adding zero turns -0 into 0.
        rounded = np.round(numbers, self.decimals) + 0.0
        return rounded.astype(self.dtype.to_pandas_dtype())[:, None]


class QuantileBin(Made):
    """The index of a number's bin among the quantiles of the train rows; missing stays missing."""

    def __init__(self, name: str, train: TableFile, bins: int) -> None:
        self.name, self.names = name, [f"{name}__bin"]
        self.edges = quantile_edges(train.values(name), bins)

    def make(self, table: TableFile, batch: int) -> Floats:
        numbers = table.column(self.name, batch).to_numpy()
        bins = quantile_bins(numbers, self.edges).astype(np.float32)
        return np.where(np.isnan(numbers), np.float32(np.nan), bins)[:, None]


class MissingFlags(Made):
    """1 where a number is missing; of columns that miss the same train rows, the first stands for all.

    Columns that miss none of the train rows, or all, get no flag.
    """

    def __init__(self, label: str, train: TableFile, columns: Sequence[str]) -> None:
        self.file = label
        first: dict[bytes, str] = {}
        for name in columns:
            missing = np.isnan(train.values(name))
            if missing.any() and not missing.all():
                first.setdefault(hashlib.blake2b(np.packbits(missing).data).digest(), name)
        self.columns = list(first.values())
        self.names = [f"{name}__missing" for name in self.columns]

    def make(self, table: TableFile, batch: int) -> Floats:
        if not self.columns:
            return np.empty((int(np.diff(table.offsets)[batch]), 0), np.float32)
        flags = [np.isnan(block) for block in row_blocks(table, self.columns, batch)]
        return np.vstack(flags).astype(np.float32)


class Pair(Made):
    """Two categories as one, whose levels are the pairs found among the train rows.

    A row that misses either is missing, and so is a pair that is not among the `limit` most frequent
    (of equally frequent ones, those first in the order of levels).

    Args:
        levels: names of the levels of either column.
    """

    def __init__(
        self,
        names: tuple[str, str],
        levels: tuple[Sequence[str], Sequence[str]],
        train: TableFile,
        limit: int,
    ) -> None:
        self.pair, self.names = names, ["__x__".join(names)]
        self.second_levels = len(levels[1])
        keys = self._keys(train.values(names[0]), train.values(names[1]))
        found, counts = np.unique(keys[keys >= 0], return_counts=True)
        most = np.argsort(-counts, kind="stable")[:limit]
        self.keys = np.sort(found[most])
        self.levels = len(self.keys)
        if not self.levels:
            raise BlendmakeError(
                f"pairs: no train row has both '{names[0]}' and '{names[1]}'. Leave the pair out."
            )
        first, second = np.divmod(self.keys, self.second_levels)
        self.level_names = [
            json.dumps([levels[0][i], levels[1][j]], ensure_ascii=False)
            for i, j in zip(first.tolist(), second.tolist(), strict=True)
        ]

    def _keys(self, first: Floats, second: Floats) -> NDArray[np.int64]:
        """One number per pair of codes, -1 where either is missing."""
        with np.errstate(invalid="ignore"):
            keys = first.astype(np.int64) * self.second_levels + second.astype(np.int64)
        return np.where(np.isnan(first) | np.isnan(second), -1, keys)

    def make(self, table: TableFile, batch: int) -> Floats:
        keys = self._keys(*(table.column(name, batch).to_numpy() for name in self.pair))
        codes = np.searchsorted(self.keys, keys).clip(max=self.levels - 1)
        return np.where(self.keys[codes] == keys, codes, np.nan).astype(np.float32)[:, None]


class Components(Made):
    """Principal components of some columns of a file, as numbers on their own scale.

    Columns are standardised over the train rows, a missing value counting as the mean; the components
    are the leading right singular vectors of the result, which standardising has centred (PCA of the
    correlations). They come from its Gram matrix (columns, columns), summed in double precision over
    blocks of rows, so that memory does not grow with the rows. The largest loading of each component
    is positive. Constant columns take no part.

    Raises:
        BlendmakeError: more components are asked for than the columns' rank.
    """

    def __init__(
        self, label: str, train: TableFile, columns: Sequence[str], components: int
    ) -> None:
        self.file = label
        self.names = [f"svd__{label}__{i + 1}" for i in range(components)]
        moments = {name: _moments(train.values(name)) for name in columns}
        self.columns = [name for name in columns if moments[name][1] > 0]
        used = np.array([moments[name] for name in self.columns]).reshape(-1, 2)
        self.mean, self.spread = used[:, 0], used[:, 1]
        gram = np.zeros((len(self.columns), len(self.columns)))
        for batch in _batches(train) if self.columns else ():
            for block in self._standardised(train, batch):
                gram += block.T @ block
        values, vectors = np.linalg.eigh(gram)
        noise = max(gram.shape) * np.finfo(np.float64).eps * values.max(initial=0)
        rank = int((values > noise).sum())
        if components > rank:
            raise BlendmakeError(
                f"svd.components: {components} are asked for, but the selected numeric columns of file "
                f"'{label}' have rank {rank}. Ask for at most that many."
            )
        loadings = vectors[:, ::-1][:, :components]
        largest = loadings[np.abs(loadings).argmax(axis=0), np.arange(components)]
        self.loadings = loadings * np.sign(largest)

    def _standardised(self, table: TableFile, batch: int) -> Iterator[NDArray[np.float64]]:
        for block in row_blocks(table, self.columns, batch, width=8):
            yield np.nan_to_num((block - self.mean) / self.spread)

    def make(self, table: TableFile, batch: int) -> Floats:
        parts = [block @ self.loadings for block in self._standardised(table, batch)]
        return np.vstack(parts).astype(np.float32)


def _moments(values: Floats) -> tuple[float, float]:
    """Mean of the present values, and their spread with missing ones at the mean; 0 if constant."""
    present = values[~np.isnan(values)].astype(np.float64)
    if not len(present) or present.min() == present.max():
        return 0.0, 0.0
    mean = present.mean()
    return float(mean), float(np.sqrt(((present - mean) ** 2).sum() / len(values)))
