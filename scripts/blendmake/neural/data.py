"""Rows as networks take them: prepared in blocks, fed in a seeded order within a memory bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri
from torch import Tensor

from blendmake.family import Labels
from blendmake.matrix import BLOCK_BYTES, Floats, Positions, Rows

SCALINGS = ("robust", "quantile")
QUANTILES = 1000
TAIL = 1e-3  # quantiles nearer to 0 or 1 are taken for this
FARTHEST = 1e6  # of robust scales; what is beyond is squeezed to the same anyway
PIECE_ROWS = 1024  # rows that stand together are read together: a page of a column holds so many
PIECES = 16  # in a buffer at least, so that rows from all over the table meet
BATCH_ROWS = 1024  # of predictions


@dataclass(frozen=True)
class Inputs:
    """Prepared rows: `numbers` (rows, n) float32, flags after numbers; `codes` (rows, c) int32."""

    numbers: Tensor
    codes: Tensor

    def __len__(self) -> int:
        return len(self.numbers)

    def take(self, index: Tensor) -> Inputs:
        """Some rows; an index of two dimensions gives inputs of three."""
        return Inputs(self.numbers[index], self.codes[index])


@dataclass(frozen=True)
class Preparation:
    """How columns become inputs.

    Numbers, `robust`: less the median, over the range between the quartiles (where that is 0, half
    the whole range), squeezed smoothly to (-3, 3) (Holzmüller, Grinsztajn & Steinwart 2024, "Better
    by default"). `quantile`: the normal quantile of the rank. A missing number is 0, the middle;
    where some were missing in training a flag tells. Categories: 1, 2, … for the levels seen in
    training, 0 for a missing or unseen one. What did not vary in training is left out.
    """

    scaling: str
    numbers: NDArray[np.intp]  # columns
    flagged: NDArray[np.intp]  # columns
    categories: NDArray[np.intp]  # columns
    centers: Floats  # (numbers,)
    scales: Floats  # (numbers,)
    quantiles: Floats  # (numbers, QUANTILES), of `quantile` only
    levels: tuple[NDArray[np.intp], ...]  # codes seen, ascending, per category column

    @staticmethod
    def learn(rows: Rows, scaling: str) -> Preparation:
        """Learn from training rows, a column at a time, without labels."""
        rows = rows.measuring()
        numbers, flagged, categories, levels = [], [], [], []
        centers, scales, quantiles = [], [], []
        for index, column in enumerate(rows.columns):
            values = rows.codes(index)
            null = np.isnan(values)
            present = values[~null]
            if len(present) == 0:
                continue
            varies = present.min() < present.max()
            if column.is_category:
                if varies or null.any():
                    categories.append(index)
                    levels.append(np.unique(present).astype(np.intp))
                continue
            if null.any():
                flagged.append(index)
            if not varies:
                continue
            numbers.append(index)
            low, center, high = np.quantile(present.astype(np.float64), [0.25, 0.5, 0.75])
            width = high - low
            if width == 0:
                width = (float(present.max()) - float(present.min())) / 2
            centers.append(center)
            scales.append(min(1 / width, 1e30))
            if scaling == "quantile":
                quantiles.append(np.quantile(present, np.linspace(0, 1, QUANTILES)))
        return Preparation(
            scaling,
            np.array(numbers, np.intp),
            np.array(flagged, np.intp),
            np.array(categories, np.intp),
            np.array(centers, np.float32),
            np.array(scales, np.float32),
            np.array(quantiles, np.float32).reshape(len(quantiles), QUANTILES),
            tuple(levels),
        )

    @property
    def width(self) -> int:
        """Columns of `Inputs.numbers`; one, of zeros, where there would be no input at all."""
        found = len(self.numbers) + len(self.flagged)
        return found if found or len(self.categories) else 1

    @property
    def row_bytes(self) -> int:
        """Memory of a prepared row."""
        return 4 * (self.width + len(self.categories))

    def scaled(self, values: Floats, which: slice = slice(None)) -> Floats:
        """Values (rows, k) of the numbers `which`, on their scale; NaN stays."""
        if self.scaling == "quantile":
            columns = zip(values.T, self.quantiles[which], strict=True)
            return np.column_stack([_normal(column, marks) for column, marks in columns])
        with np.errstate(over="ignore"):  # clipped in the next step
            far = (values - self.centers[which]) * self.scales[which]
        near = np.clip(far, -FARTHEST, FARTHEST)
        squeezed: Floats = near / np.sqrt(1 + (near / 3) ** 2)
        return squeezed

    def apply(self, block: Floats) -> tuple[Floats, NDArray[np.int32]]:
        """Numbers with flags, and codes, of a block (rows, columns) as read."""
        n, f = len(self.numbers), len(self.flagged)
        numbers = np.zeros((len(block), self.width), np.float32)
        if n:
            numbers[:, :n] = np.nan_to_num(self.scaled(block[:, self.numbers]), copy=False)
        numbers[:, n : n + f] = np.isnan(block[:, self.flagged])
        codes = np.zeros((len(block), len(self.categories)), np.int32)
        for j, (index, levels) in enumerate(zip(self.categories, self.levels, strict=True)):
            given = np.nan_to_num(block[:, index], nan=-1).astype(np.intp)
            place = np.searchsorted(levels, given).clip(max=len(levels) - 1)
            codes[:, j] = np.where(levels[place] == given, place + 1, 0)
        return numbers, codes

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything needed to apply it to new rows."""
        kept = {name: value for name, value in vars(self).items() if name != "levels"}
        return {**{name: np.asarray(value) for name, value in kept.items()}, **pack(self.levels)}

    @staticmethod
    def from_arrays(stored: Mapping[str, NDArray[Any]]) -> Preparation:
        """The inverse of to_arrays."""
        arrays: dict[str, Any] = {
            name: stored[name]
            for name in ("numbers", "flagged", "categories", "centers", "scales", "quantiles")
        }
        return Preparation(scaling=str(stored["scaling"]), levels=unpack(stored), **arrays)


def pack(parts: Sequence[NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays of several lengths as one and their lengths."""
    joined = np.concatenate(parts) if parts else np.empty(0, np.intp)
    return {"parts": joined, "lengths": np.array([len(part) for part in parts], np.intp)}


def unpack(stored: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """The inverse of pack."""
    lengths = stored["lengths"]
    return tuple(np.split(stored["parts"], np.cumsum(lengths)[:-1])) if len(lengths) else ()


def _normal(values: Floats, marks: Floats) -> Floats:
    """The normal quantile of where values (rows,) stand among the quantiles `marks`."""
    shares = np.linspace(0, 1, len(marks))
    # From both sides: a value that occurs often stands in the middle of its ranks.
    below = np.interp(values, marks, shares)
    above = -np.interp(-values, -marks[::-1], -shares[::-1])
    return np.asarray(ndtri(np.clip((below + above) / 2, TAIL, 1 - TAIL)), np.float32)


def prepare(rows: Rows, preparation: Preparation, block_bytes: int = BLOCK_BYTES) -> Inputs:
    """All of `rows`, read and prepared block by block; on the CPU."""
    numbers = torch.empty((len(rows), preparation.width), dtype=torch.float32)
    codes = torch.empty((len(rows), len(preparation.categories)), dtype=torch.int32)
    start = 0
    for block in rows.measuring().blocks(block_bytes):
        stop = start + len(block)
        numbers.numpy()[start:stop], codes.numpy()[start:stop] = preparation.apply(block)
        start = stop
    return Inputs(numbers, codes)


class Feeder:
    """Batches of labelled training rows, every row once per epoch, in an order of (seed, epoch).

    Rows that fit in the bound are prepared once and shuffled all together. Others are read anew in
    every epoch: runs of neighbouring rows, in random order, fill a buffer whose rows are shuffled.

    Args:
        rows, labels: training rows and their labels (rows, targets), NaN where unknown.
        batch_size: rows of a batch; batches of a buffer are of one size, give or take a row.
        buffer_bytes: bound of the prepared rows held at a time; at least one batch is.
        members: where above 1, each of so many members gets batches of its own; (b, members, …).

    Attributes:
        buffer_rows: rows that may be prepared at a time.
        most_rows: the most that were.
    """

    def __init__(
        self,
        rows: Rows,
        labels: Labels,
        preparation: Preparation,
        *,
        batch_size: int,
        buffer_bytes: int,
        seed: int,
        device: torch.device,
        members: int = 1,
    ) -> None:
        self.rows, self.labels, self.preparation = rows, labels, preparation
        self.batch_size, self.seed, self.device, self.members = batch_size, seed, device, members
        self._block_bytes = min(BLOCK_BYTES, buffer_bytes)
        row_bytes = preparation.row_bytes + 4 * labels.shape[1]
        self.buffer_rows = max(buffer_bytes // row_bytes, batch_size, 4)
        self.most_rows = 0
        self._whole: tuple[Inputs, Tensor] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def epoch(self, number: int) -> Iterator[tuple[Inputs, Tensor]]:
        """Inputs and labels (b, targets) of each batch of epoch `number`."""
        rng = np.random.default_rng([self.seed, number])
        for chosen in self._buffers(rng):
            inputs, labels = self._buffer(chosen)
            for batch in self._batches(len(chosen), rng):
                index = torch.from_numpy(batch).to(self.device)
                yield inputs.take(index), labels[index]

    def _buffers(self, rng: np.random.Generator) -> list[Positions]:
        rows = len(self.rows)
        if rows <= self.buffer_rows:
            return [np.arange(rows)]
        piece_rows = min(max(self.buffer_rows // PIECES, 2), PIECE_ROWS)
        pieces = np.array_split(np.arange(rows), max(rows // piece_rows, 1))
        at_once = max(self.buffer_rows // len(pieces[0]), 1)
        order = rng.permutation(len(pieces))
        parts = np.array_split(order, -(-len(pieces) // at_once))
        return [np.concatenate([pieces[i] for i in np.sort(part)]) for part in parts]

    def _buffer(self, chosen: Positions) -> tuple[Inputs, Tensor]:
        if self._whole is not None:
            return self._whole
        self.most_rows = max(self.most_rows, len(chosen))
        part = replace(self.rows, positions=self.rows.positions[chosen])
        inputs = prepare(part, self.preparation, self._block_bytes)
        labels = torch.tensor(self.labels[chosen], device=self.device)
        ready = Inputs(inputs.numbers.to(self.device), inputs.codes.to(self.device)), labels
        if len(chosen) == len(self.rows):
            self._whole = ready
        return ready

    def _batches(self, rows: int, rng: np.random.Generator) -> list[Positions]:
        """Positions in a buffer; never a batch of one row, which cannot be normalised."""
        count = min(-(-rows // self.batch_size), max(rows // 2, 1))
        orders = [rng.permutation(rows) for _ in range(self.members)]
        order = orders[0] if self.members == 1 else np.column_stack(orders)
        return np.array_split(order, count)


class Blocks:
    """Rows in order, prepared in blocks of at most BATCH_ROWS; kept if they fit in the bound."""

    def __init__(
        self, rows: Rows, preparation: Preparation, device: torch.device, keep_bytes: int = 0
    ) -> None:
        self.rows, self.preparation, self.device = rows, preparation, device
        self._keep = len(rows) * preparation.row_bytes <= keep_bytes
        self._kept: list[Inputs] = []

    def __iter__(self) -> Iterator[Inputs]:
        if self._kept:
            yield from self._kept
            return
        for block in self.rows.measuring().blocks():
            for start in range(0, len(block), BATCH_ROWS):
                numbers, codes = self.preparation.apply(block[start : start + BATCH_ROWS])
                # Copies: sums may depend on how memory is aligned, and torch aligns its own.
                ready = Inputs(
                    torch.tensor(numbers, device=self.device),
                    torch.tensor(codes, device=self.device),
                )
                if self._keep:
                    self._kept.append(ready)
                yield ready
