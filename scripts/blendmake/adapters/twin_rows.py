"""The rows of the contest twin: factors, labels and columns, drawn from the profile.

Each factor, score and column has a random stream of its own, named by (seed, part, name) and read row
after row. A row's features are therefore the same whatever the number of rows, the chunks they are
made in and the other columns that are written. Sums are taken element by element, not by BLAS, for
the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from blendmake.adapters.twin_profile import (
    BEHAVIOURS,
    LIKE,
    LINEAR,
    MANY_LEVELS,
    Column,
    Profile,
    cuts_of,
    structure,
)
from blendmake.seeds import derive_seed

Floats = NDArray[np.float32]
Labels = NDArray[np.int8]
# Values of a column and where they are missing (None: nowhere).
Made = tuple[NDArray[np.float32] | NDArray[np.int32], NDArray[np.bool_] | None]
Chunk = list[Made]

CHUNK_ROWS = 32_768
MIN_TEST_POSITIVES = 4
DRIFT = 0.6  # standard deviations of the latent value
FILLED = 0.38  # correlation of the exclusive target's score with how much is filled
# How missing goes with how much a customer has on file, and with one of the behaviours.
ON_FILE, ON_BEHAVIOUR = 0.75, 0.25
EFFECTS = ("cat_feature_39", "cat_feature_34", "cat_feature_52", "cat_feature_9", "cat_feature_6")
# A category of many levels has each of them once where there are so many rows for each.
ROWS_PER_LEVEL = 50


def stream(seed: int, part: str, *name: str | float) -> np.random.Generator:
    """The random numbers of one name: independent of every other name's."""
    words = [derive_seed(seed, part, *name), derive_seed(*name, part, seed)]
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(words)))


class Rows:
    """The rows of one part (`train`, `test`): factors first, then columns chunk by chunk.

    `factors` (T + BEHAVIOURS + 1, rows) are the targets' linear factors, the behaviours, and how
    much a customer has on file; each has mean 0 and variance 1.
    """

    def __init__(self, profile: Profile, seed: int, part: str, rows: int) -> None:
        self.profile, self.seed, self.part, self.rows = profile, seed, part, rows
        count = len(profile.targets)
        self.factors: Floats = np.zeros((count + BEHAVIOURS + 1, rows), np.float32)
        for k in range(count, len(self.factors)):
            self.factors[k] = self._normals("factor", k)
        self._own: Floats = np.empty((count, rows), np.float32)
        for t, target in enumerate(profile.targets):
            self._own[t] = self._normals("target", target.name)
        # The exclusive target's factor is partly how much is on file.
        t = profile.exclusive
        on_file = FILLED / np.sqrt(profile.signal[t] * LINEAR)
        self._own[t] *= np.float32(np.sqrt(1 - on_file**2))
        self._own[t] += np.float32(on_file) * self.factors[-1]
        for t in range(count):
            self._add(self.factors[:count], t, self._own[t], np.ones(count))

    def _normals(self, *name: str | int) -> Floats:
        return stream(self.seed, self.part, *name).standard_normal(self.rows, np.float32)

    def _add(self, to: Floats, t: int, values: Floats, scale: NDArray[np.float64]) -> None:
        """Add what an independent factor of target `t` is to every target, `scale` (T,) times."""
        for other in np.flatnonzero(self.profile.root[:, t]):
            to[other] += np.float32(scale[other] * self.profile.root[other, t]) * values

    def scores(self) -> Floats:
        """Scores (T, rows): linear part, other signal, noise."""
        signal = self.profile.signal
        count = len(signal)
        codes = self._codes()
        found = self.factors[:count] * np.sqrt(signal * LINEAR).astype(np.float32)[:, None]
        for t, target in enumerate(self.profile.targets):
            self._add(found, t, self._bent(t, codes), np.sqrt(signal * (1 - LINEAR)))
            self._add(found, t, self._normals("noise", target.name), np.sqrt(1 - signal))
        return found

    def _codes(self) -> dict[str, NDArray[np.int32]]:
        columns = [column for column in self.profile.columns if column.name in EFFECTS]
        parts = list(self.chunks(columns, plain=True))
        return {
            column.name: np.concatenate([chunk[j][0] for chunk in parts]).astype(np.int32)
            for j, column in enumerate(columns)
        }

    def _bent(self, t: int, codes: dict[str, NDArray[np.int32]]) -> Floats:
        """Signal (rows,) of variance 1 that no straight line in any column tells.

        A band of one behaviour, the size of another, a product of two, a linear factor whose sign
        a behaviour turns, and the effect of a category's levels.
        """
        draw = structure("bent", self.profile.targets[t].name)
        count = len(self.profile.targets)
        which = draw.permutation(BEHAVIOURS)
        a, b, c, d, e = (self.factors[count + k] for k in which[:5])
        name = EFFECTS[int(draw.integers(len(EFFECTS)))]
        shares = next(x.shares for x in self.profile.columns if x.name == name)
        assert shares is not None
        effect = draw.standard_normal(len(shares))
        effect -= shares @ effect
        effect /= np.sqrt(shares @ effect**2)
        inside = 0.4515  # of the rows lie within 0.6
        band = (np.abs(a) < 0.6).astype(np.float32) - np.float32(inside)
        band /= np.float32(draw.choice([-1, 1]) * np.sqrt(inside * (1 - inside)))
        size = (np.abs(b) - np.float32(np.sqrt(2 / np.pi))) / np.float32(np.sqrt(1 - 2 / np.pi))
        size *= np.float32(draw.choice([-1, 1]))
        turned = np.where(e > 0, self._own[t], -self._own[t])
        weights = np.sqrt(draw.dirichlet([6.0, 6.0, 2.0, 2.0, 3.0])).astype(np.float32)
        terms = (band, size, c * d, turned, effect.astype(np.float32)[codes[name]])
        total: Floats = np.zeros(self.rows, np.float32)
        for weight, term in zip(weights, terms, strict=True):
            total += weight * term
        return total

    def chunks(
        self,
        columns: Sequence[Column],
        *,
        drift: Sequence[str] = (),
        plain: bool = False,
        size: int = CHUNK_ROWS,
    ) -> Iterator[Chunk]:
        """Values of `columns` and where they are missing, `size` rows at a time.

        Args:
            columns: any of the profile's.
            drift: names of columns whose latent values are shifted.
            plain: categories as labels see them, without levels put in for their own sake.
        """
        maker = _Columns(self, columns, drift, plain)
        for start in range(0, self.rows, size):
            yield maker.chunk(start, min(start + size, self.rows))


class _Columns:
    """Columns of one part, made chunk after chunk; holds their streams."""

    def __init__(
        self, rows: Rows, columns: Sequence[Column], drift: Sequence[str], plain: bool
    ) -> None:
        self.rows, self.columns, self.drift = rows, columns, set(drift)
        self._known = {column.name: column for column in rows.profile.columns}
        self._needed = {c.like for c in columns} | {c.origin for c in columns if c.origin != c.name}
        self._streams: dict[tuple[str | float, ...], np.random.Generator] = {}
        self._latents: dict[str, Floats] = {}
        self._blocks: dict[float, tuple[NDArray[np.bool_], Floats]] = {}
        self._cuts = {
            c.origin: cuts_of(c.shares).astype(np.float32) for c in columns if c.shares is not None
        }
        placed = () if plain else self._cuts
        self._placed = {name: self._put_in(self._known[name]) for name in placed}

    def chunk(self, start: int, stop: int) -> Chunk:
        """Values and missing rows of each column, from row `start` to before `stop`."""
        self._latents.clear()
        self._blocks.clear()
        return [self._values(column, start, stop) for column in self.columns]

    def _values(self, column: Column, start: int, stop: int) -> Made:
        latent = self._latent(column.origin, start, stop)
        if column.name in self.drift:
            latent = latent + np.float32(DRIFT)
        if column.shares is None:
            null = self._block(column.null_rate, start, stop)[0] if column.null_rate else None
            return SHAPES[column.shape](latent) * np.float32(column.step), null
        codes = np.searchsorted(self._cuts[column.origin], latent).astype(np.int32)
        if column.origin in self._placed:
            positions, levels = self._placed[column.origin]
            first, last = np.searchsorted(positions, [start, stop])
            codes[positions[first:last] - start] = levels[first:last]
        return codes, None

    def _latent(self, name: str, start: int, stop: int) -> Floats:
        if name in self._latents:
            return self._latents[name]
        column, factors = self._known[name], self.rows.factors[:, start:stop]
        made = self._normals(stop - start, "column", name)
        if column.like:
            made *= np.float32(np.sqrt(1 - LIKE**2))
            made += np.float32(LIKE) * self._latent(column.like, start, stop)
        else:
            made *= np.float32(column.noise)
            for t, loading in column.targets:
                made += np.float32(loading) * factors[t]
            if column.behaviour:
                count = len(self.rows.profile.targets)
                made += np.float32(column.behaviour) * factors[count + column.which]
            if column.shared:
                made += np.float32(column.shared) * self._block(column.null_rate, start, stop)[1]
        if name in self._needed:
            self._latents[name] = made
        return made

    def _block(self, rate: float, start: int, stop: int) -> tuple[NDArray[np.bool_], Floats]:
        """Where the columns of a null rate are missing, and a factor that they share.

        Columns with one rate were filled from one place: they are missing together.
        """
        if rate not in self._blocks:
            factors = self.rows.factors[:, start:stop]
            which = int(structure("missing", rate).integers(BEHAVIOURS))
            filled = np.sqrt(1 - ON_FILE**2 - ON_BEHAVIOUR**2).astype(np.float32)
            filled = filled * self._normals(stop - start, "missing", rate)
            filled += np.float32(ON_FILE) * factors[-1]
            filled += np.float32(ON_BEHAVIOUR) * factors[len(self.rows.profile.targets) + which]
            null = filled < np.float32(ndtri(rate))
            self._blocks[rate] = null, self._normals(stop - start, "shared", rate)
        return self._blocks[rate]

    def _normals(self, rows: int, *name: str | float) -> Floats:
        if name not in self._streams:
            self._streams[name] = stream(self.rows.seed, self.rows.part, *name)
        return self._streams[name].standard_normal(rows, np.float32)

    def _put_in(self, column: Column) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Rows, ascending, that are given a level for its own sake, and the level.

        In test the levels that train lacks, at their rate but in one row at least; in train, where
        there are rows enough, each level of a column of many.
        """
        assert column.shares is not None
        count, rows, levels = 0, self.rows.rows, len(column.shares)
        given = np.arange(levels)
        if self.rows.part == "test" and column.unseen_levels:
            count = max(round(column.unseen_rate * rows), 1)
            given = levels + np.arange(column.unseen_levels)
        elif self.rows.part == "train" and MANY_LEVELS < levels <= rows // ROWS_PER_LEVEL:
            count = levels
        draw = stream(self.rows.seed, self.rows.part, "placed", column.name)
        positions = np.sort(draw.choice(rows, count, replace=False))
        codes = draw.permutation(np.resize(given, count)).astype(np.int32)
        return positions, codes


# Monotone in the latent value, and with few distinct values, as what is measured has.
SHAPES: dict[str, Callable[[Floats], Floats]] = {
    "plain": lambda latent: np.rint(latent * np.float32(100)),
    "ratio": lambda latent: np.rint(np.float32(1000) / (1 + np.exp(np.float32(-1.2) * latent))),
    "amount": lambda latent: np.rint(np.float32(100) * np.exp(np.float32(0.9) * latent)),
    "count": lambda latent: np.floor(np.exp(np.float32(0.9) * latent + np.float32(0.3))),
}


def cut_labels(
    train: Floats, test: Floats, positives: Sequence[int], exclusive: int
) -> tuple[Labels, Labels]:
    """Cut scores (T, rows) of train and test into labels of 0 and 1, highest scores first.

    Test is cut where train is, with MIN_TEST_POSITIVES at least.

    Args:
        positives: (T,), of the train rows.
        exclusive: the target that excludes all others.
    """
    labels = np.zeros(train.shape, np.int8), np.zeros(test.shape, np.int8)
    # Labels of the others are cut from the rows that the exclusive one leaves.
    for t in [exclusive, *(t for t in range(len(positives)) if t != exclusive)]:
        free = [np.flatnonzero(part[exclusive] == 0) for part in labels]
        scores = train[t, free[0]]
        chosen = np.argpartition(-scores, positives[t] - 1)[: positives[t]]
        labels[0][t, free[0][chosen]] = 1
        reached = int((test[t, free[1]] >= scores[chosen].min()).sum())
        best = np.argsort(-test[t, free[1]], kind="stable")[: max(reached, MIN_TEST_POSITIVES)]
        labels[1][t, free[1][best]] = 1
    return labels
