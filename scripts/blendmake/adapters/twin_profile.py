"""What the contest twin is made like: its columns, its targets, and what ties them together.

The figures stand in `twin_calibration/` as they were published. The model behind them is derived
here: for targets the correlations of their latent scores, for columns the loadings on
the targets' factors that give the published correlations. Nothing here depends on a run's seed: the
seed draws the customers, not the world they live in.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from blendmake.adapters.twin_tables import ROWS, TEST_ROWS, calibration
from blendmake.seeds import derive_seed

SCREENED = 89_728  # of them, those that correlations of columns were measured on
EXCLUSIVE = "target_10_1"  # 1 means that all others are 0
BEHAVIOURS = 8  # factors that targets depend on in other ways than linearly
LINEAR = 0.45  # share of the signal's variance that is linear in the targets' factors
SIGNAL = (0.6, 0.35)  # share of a score's variance: least, and more with its strongest column
RIDGE = 0.05  # of the columns' loadings on the targets' factors
PROJECTIONS, AWAY = 100, 0.05  # to the nearest correlation matrix, and away from a singular one
MANY_LEVELS = 20  # more than so many levels fall off in number
MOST = 0.85  # of a column's variance that targets' factors may be
LIKE = 0.99  # correlation of the latent values of columns that are almost the same

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Target:
    """A target's name, positive rate, and published correlations (T,) with the targets in order."""

    name: str
    rate: float
    correlations: Matrix = field(repr=False)


@dataclass(frozen=True)
class Column:
    """A column of a feature file.

    Its latent value has mean 0 and variance 1: `targets` (factor, loading), …, then `behaviour`
    times the behaviour factor `which`, `shared` times a factor of the columns that are missing
    together, and `noise` times noise of its own. A column `like` another is that one and a little
    noise. Categories have the probabilities `shares` of their levels, numbers a `shape` and a
    `step`.
    """

    name: str
    file: str
    null_rate: float
    origin: str  # the column that this one repeats, or its own name
    like: str
    targets: tuple[tuple[int, float], ...] = field(repr=False)
    behaviour: float
    which: int
    shared: float
    noise: float
    shares: Matrix | None = field(repr=False)
    unseen_levels: int
    unseen_rate: float
    shape: str
    step: float


@dataclass(frozen=True)
class Profile:
    """The targets, the columns, and the scores that labels are cut from.

    `signal` (T,) is the share of a score's variance that features can tell, `root` (T, T) makes
    independent factors correlate as scores do.
    """

    targets: tuple[Target, ...]
    columns: tuple[Column, ...] = field(repr=False)
    signal: Matrix = field(repr=False)
    root: Matrix = field(repr=False)

    @property
    def exclusive(self) -> int:
        """The position of the target that excludes all others."""
        return [target.name for target in self.targets].index(EXCLUSIVE)


def structure(*name: str | float) -> np.random.Generator:
    """Random choices that belong to a name, the same in every run."""
    return np.random.default_rng([derive_seed("structure", *name), derive_seed(*name)])


def read_profile() -> Profile:
    """Read the calibration and derive the model.

    Raises:
        BlendmakeError: where a table is missing or is not the one that this version came with.
    """
    rows = calibration("targets.csv")
    names = [row["name"] for row in rows]
    targets = tuple(
        Target(row["name"], int(row["positives"]) / ROWS, np.array([float(row[n]) for n in names]))
        for row in rows
    )
    rates = np.array([target.rate for target in targets])
    between = np.array([target.correlations for target in targets])
    scores = _score_correlations(rates, between, names.index(EXCLUSIVE))
    given = calibration("columns.csv")
    to_targets = np.array([_correlations(row["correlations"], names) for row in given])
    asked, signal, weights = _score_loadings(to_targets, rates, between, names.index(EXCLUSIVE))
    return Profile(targets, _columns(given, asked, scores, weights), signal, _root(scores))


def _correlations(text: str, names: list[str]) -> Matrix:
    """Correlations (T,) with targets, from `1_3:-0.061 10_1:0.057`; those left out are 0."""
    found = np.zeros(len(names))
    for part in text.split():
        target, value = part.split(":")
        found[names.index(f"target_{target}")] = float(value)
    return found


def _score_correlations(rates: Matrix, between: Matrix, exclusive: int) -> Matrix:
    """Correlations (T, T) of normal scores whose exceedances correlate as the targets do.

    Tetrachoric correlations among the rows without the exclusive target, by bisection; that target
    excludes the others by construction, so its own score is independent. Pairs that are expected
    together in few rows say little and are shrunk.
    """
    p = rates / (1 - rates[exclusive])
    spread = np.sqrt(rates * (1 - rates))
    joint = (between * np.outer(spread, spread) + np.outer(rates, rates)) / (1 - rates[exclusive])
    cut = -ndtri(np.minimum(p, 0.999))
    nodes, weights = np.polynomial.legendre.leggauss(48)
    x = cut[:, None] + 3.5 * (nodes + 1)
    mass = 3.5 * weights * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    low, high = np.full(joint.shape, -0.6), np.full(joint.shape, 0.97)
    for _ in range(30):
        middle = (low + high) / 2
        scale = np.sqrt(1 - middle**2)[:, :, None]
        beyond = ndtr((middle[:, :, None] * x[:, None, :] - cut[None, :, None]) / scale)
        above = (mass[:, None, :] * beyond).sum(axis=2) > joint
        low, high = np.where(above, low, middle), np.where(above, middle, high)
    together = ROWS * np.maximum(np.outer(rates, rates), joint)
    found = (low + high) / 2 * together / (together + 10)
    found = (found + found.T) / 2
    found[exclusive], found[:, exclusive] = 0.0, 0.0
    np.fill_diagonal(found, 1.0)
    # A correlation of scores shows in the labels as far as the targets are common.
    return _nearest(found, np.sqrt(p))


def _nearest(wanted: Matrix, weights: Matrix) -> Matrix:
    """The correlation matrix nearest to `wanted`, the more so where `weights` (T,) are high.

    Alternating projections with Dykstra's correction in the norm of the weights (Higham, "Computing
    the nearest correlation matrix", IMA Journal of Numerical Analysis 22, 2002).
    """
    scale = np.sqrt(np.outer(weights, weights))
    found, correction = wanted.copy(), np.zeros_like(wanted)
    for _ in range(PROJECTIONS):
        values, vectors = np.linalg.eigh((found - correction) * scale)
        projected: Matrix = (vectors * np.maximum(values, 0.0)) @ vectors.T / scale
        correction = projected - (found - correction)
        found = projected.copy()
        np.fill_diagonal(found, 1.0)
    # Away from singular, so that loadings on correlated factors stay small.
    return (1 - AWAY) * found + AWAY * np.eye(len(found))


def _root(correlations: Matrix) -> Matrix:
    """The symmetric square root (T, T), rows of length 1; rounded, so that machines agree."""
    values, vectors = np.linalg.eigh(correlations)
    root = np.round((vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T, 3)
    root[np.abs(root) < 0.005] = 0.0
    scaled: Matrix = root / np.sqrt((root**2).sum(axis=1, keepdims=True))
    return scaled


def _score_loadings(
    to_targets: Matrix, rates: Matrix, between: Matrix, exclusive: int
) -> tuple[Matrix, Matrix, Matrix]:
    """Correlations (columns, T) of latent values with the linear factors, and the signal (T,).

    The third (T,) is how much of a correlation with a factor is left with its target.
    """
    # What the exclusion alone brings a column that goes with the exclusive target.
    brought = np.outer(to_targets[:, exclusive], between[exclusive])
    brought[:, exclusive] = 0.0
    left = np.where(np.abs(to_targets) > 0, to_targets - brought, 0.0)
    # A normal value that correlates r with a normal score correlates r × weakened with its cut.
    eligible = np.full(len(rates), 1 - rates[exclusive])
    eligible[exclusive] = 1.0
    cut = -ndtri(rates / eligible)
    height = np.exp(-(cut**2) / 2) / np.sqrt(2 * np.pi)
    weakened = eligible * height / np.sqrt(rates * (1 - rates))
    with_scores = left / weakened
    # A correlation with a target of few screened positives may be one customer's.
    with_scores *= np.minimum(SCREENED * rates / 150, 1.0)
    strongest = np.clip(np.abs(with_scores).max(axis=0), 0.0, 0.6)
    signal = np.clip(SIGNAL[0] + SIGNAL[1] * strongest, 0.0, 0.85)
    asked = with_scores / np.sqrt(signal * LINEAR)
    return np.clip(asked, -0.9, 0.9), signal, weakened


def _columns(
    given: list[dict[str, str]], asked: Matrix, scores: Matrix, weights: Matrix
) -> tuple[Column, ...]:
    # Least squares of what is asked, rare targets counting less; a ridge keeps opposite loadings on
    # correlated factors small.
    counted = scores * weights
    solve: Matrix = counted.T @ np.linalg.inv(scores @ counted.T + RIDGE * np.eye(len(scores)))
    # Well-filled numbers of the main file show the behaviours in turn.
    filled = [row for row in given if row["file"] == "main" and not row["levels"]]
    filled = [row for row in filled if float(row["null_rate"]) < 0.6]
    filled.sort(key=lambda row: (float(row["null_rate"]), row["name"]))
    turns = {row["name"]: i % BEHAVIOURS for i, row in enumerate(filled)}
    made: dict[str, Column] = {}
    for row, wanted in zip(given, asked, strict=True):
        name, copied = row["name"], row["copy_of"]
        if copied:
            made[name] = replace(made[copied], name=name, file=row["file"])
        else:
            made[name] = _column(row, wanted, solve, scores, turns.get(name))
    return tuple(made.values())


def _column(
    row: dict[str, str], wanted: Matrix, solve: Matrix, scores: Matrix, turn: int | None
) -> Column:
    name, levels = row["name"], int(row["levels"] or 0)
    draw = structure(name)
    shares = None
    if levels:
        in_test = int(row["test_levels"]) - int(row["unseen_levels"] or 0)
        shares = _shares(levels, in_test, structure(row["like"] or name, "shares"))
        wanted = np.clip(wanted / _kept(shares), -0.9, 0.9)
    loadings = wanted @ solve
    loadings[np.abs(loadings) < 0.02] = 0.0
    power = float(loadings @ scores @ loadings)
    loadings *= np.sqrt(min(1.0, MOST / max(power, 1e-9)))
    left = 1 - min(power, MOST)
    behaviour = _behaviour_share(row, turn, draw) * left
    shared = 0.0 if levels else 0.1 * left
    kind = draw.choice(["plain", "ratio", "amount", "count"], p=[0.4, 0.2, 0.25, 0.15])
    # Published correlations are linear: columns with strong ones are not skewed.
    strong = bool(np.abs(wanted).max() > 0.1)
    return Column(
        name=name,
        file=row["file"],
        null_rate=float(row["null_rate"]),
        origin=name,
        like=row["like"],
        targets=tuple((int(t), round(float(loadings[t]), 4)) for t in np.flatnonzero(loadings)),
        behaviour=float(np.sqrt(behaviour)),
        which=int(draw.integers(BEHAVIOURS)) if turn is None else turn,
        shared=float(np.sqrt(shared)),
        noise=float(np.sqrt(left - behaviour - shared)),
        shares=shares,
        unseen_levels=int(row["unseen_levels"] or 0),
        unseen_rate=float(row["unseen_rate"] or 0),
        shape="plain" if strong else str(kind),
        step=float(10.0 ** draw.integers(-4, 2)),
    )


def _behaviour_share(row: dict[str, str], turn: int | None, draw: np.random.Generator) -> float:
    """How much of what targets leave of a column's variance shows a behaviour."""
    if turn is not None:
        return 0.85
    if row["levels"]:
        return 0.3
    # Of columns without a correlation of note many are noise.
    noise = not row["correlations"] and draw.random() < 0.5
    return 0.0 if noise else float(draw.uniform(0.05, 0.4))


def _shares(levels: int, in_test: int, draw: np.random.Generator) -> Matrix:
    """Probabilities (levels,) of a category's levels.

    Those of many levels fall off as a power of the rank, such that about `in_test` of them occur
    in the published test table.
    """
    if levels <= MANY_LEVELS:
        few: Matrix = 0.15 + draw.random(levels)
        few /= few.sum()
        return few
    low, high = 0.0, 6.0
    for _ in range(40):
        power = (low + high) / 2
        shares = np.arange(1.0, levels + 1) ** -power
        shares = shares / shares.sum()
        occurring = (1 - np.exp(-TEST_ROWS * shares)).sum()
        low, high = (power, high) if occurring > in_test else (low, power)
    # The frequent ones stand in the middle: codes with tails on both sides keep more of an order.
    return np.concatenate([shares[::2][::-1], shares[1::2]])


def cuts_of(shares: Matrix) -> Matrix:
    """Where a normal value passes from each level to the next (levels - 1,)."""
    cuts: Matrix = ndtri(np.minimum(np.cumsum(shares)[:-1], 1 - 1e-12))
    return cuts


def _kept(shares: Matrix) -> float:
    """Correlation of a normal value with the position of its level."""
    cuts = cuts_of(shares)
    height = np.exp(-(cuts**2) / 2) / np.sqrt(2 * np.pi)
    codes = np.arange(len(shares))
    spread = np.sqrt(shares @ codes**2 - (shares @ codes) ** 2)
    return float(height.sum() / spread)
