"""What fits into a window of time: artifacts by priority, until the time is used up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blendmake.durations import clock
from blendmake.families import JOINT
from blendmake.fits.bagging import bag_count
from blendmake.tables.facts import Facts


@dataclass(frozen=True)
class Work:
    """What is left to fit of one source: seconds of all its missing fits, one after another.

    `known`: whether the figure comes from fits of this source (or of its family, on these tables)
    rather than from a rule of thumb.
    """

    seconds: float
    known: bool


@dataclass(frozen=True)
class Choice:
    """What is to be built in a window, and what is left for another, with the reason."""

    chosen: list[str]
    left: dict[str, str]


# Seconds per round (epoch, tree) on one core, per million of (rows × columns, rows × targets, rows):
# fitted by hand to what one fold of toxcast41, tox21 and diabetes130 took with the params of presets;
# those of catboost are guesses.
RATES = {
    "catboost": (0.008, 0.0, 0.15),
    "extra_trees": (0.0037, 0.0, 0.2),
    "lightgbm": (0.0012, 0.0, 0.1),
    "linear": (0.00025, 0.0, 0.035),
    "mlp": (0.05, 0.0, 36.0),
    "tabm": (0.12, 0.0, 152.0),
    "xgboost": (0.0017, 0.0, 0.12),
    "xgboost_vector": (0.006, 0.04, 0.02),
}
UNKNOWN = (0.004, 0.1, 0.1)
ROUNDS = {"linear": 60, "mlp": 60, "tabm": 60}  # where the source gives none
OTHER_ROUNDS = 300
LEAST = 0.05
RESUMING = {"mlp", "tabm"}  # that go on from a checkpoint
SPREAD = {"linear", "mlp"}  # a column for each level of a category
BY_OUTPUT = {
    "catboost",
    "lightgbm",
    "linear",
    "xgboost",
}  # of classes each has its trees, or weights
# Of the rounds, where early stopping may end them.
STOPPED = {"mlp": 0.5, "tabm": 0.9}
OTHERS_STOPPED = 0.7
JOB = 2.5  # seconds of a job besides its fits: Python, imports, the matrix


def predicted_seconds(source: Mapping[str, Any], facts: Facts, targets: float, folds: int) -> float:
    """A rule of thumb for the seconds of a source's fits, where none has been seen.

    Categories count as what becomes of them: a column for each level, where the family makes them
    so. Of a model per target, only rows whose label is known count.

    Args:
        source: its config (config.sources.Source as a mapping).
        targets: how many it fits in each fold and bag.
    """
    family = str(source["family"])
    params = source.get("params", {})
    times = folds * bag_count(source.get("bagging"))
    if "timeout" in params:
        return times * targets * float(params["timeout"])
    rounds = source.get("rounds") or ROUNDS.get(family, OTHER_ROUNDS)
    per_cell, per_label, per_row = RATES.get(family, UNKNOWN)
    if family == "xgboost_vector":
        # The histograms of each dimension of the split search.
        per_cell *= max(1, params.get("split_dimensions", 1))
    if "early_stopping" in source:
        rounds *= STOPPED.get(family, OTHERS_STOPPED)
    together = family in JOINT
    if family in BY_OUTPUT and facts.targets:
        per_cell, per_row = (rate * facts.outputs / facts.targets for rate in (per_cell, per_row))
    columns = facts.columns + (max(0, facts.levels - facts.categories) if family in SPREAD else 0)
    known = 1.0 if together else facts.labelled
    trained = facts.rows * known * (folds - 1) / folds / 1e6
    one = (
        trained * (per_cell * columns + per_label * (targets if together else 1) + per_row) * rounds
    )
    return folds * JOB + times * (1 if together else targets) * max(LEAST, one)


def predicted_fit(
    source: Mapping[str, Any], facts: Facts, targets: int, folds: int, known: Sequence[float]
) -> float:
    """Seconds that the longest fit of a source takes, with the start of its job.

    Of a family that fits all targets by one model that is all of them, of one that goes on from a
    checkpoint no more than the start.

    Args:
        source, facts, targets, folds: as `predicted_seconds` takes them.
        known: seconds of finished fits by target and bag; a rule of thumb where there are none.
    """
    together = source["family"] in JOINT
    if source["family"] in RESUMING:
        return JOB
    if known:
        return JOB + (sum(known) / len(known) * targets if together else max(known))
    times = folds * bag_count(source.get("bagging"))
    fits = predicted_seconds(source, facts, targets, folds) - folds * JOB
    return JOB + fits / times / (1 if together else max(1, targets))


def choose(
    wanted: Sequence[str],
    stands_on: Callable[[str], Sequence[str]],
    work: Mapping[str, Work],
    seconds: float,
    side_by_side: float,
) -> Choice:
    """Choose artifacts in the order of `wanted` while their fits end within `seconds`.

    An artifact that does not fit is passed over, so that a cheaper one below it still has its turn.

    Args:
        stands_on: the sources of an artifact, itself for a source.
        work: what is left of each source; one that is not listed has nothing left.
        side_by_side: how many fits run at once.
    """
    paid: set[str] = set()
    spent = 0.0
    chosen, left = [], {}
    for name in wanted:
        new = [s for s in stands_on(name) if s in work and s not in paid]
        cost = sum(work[source].seconds for source in new) / side_by_side
        if spent + cost <= seconds:
            paid.update(new)
            spent += cost
            chosen.append(name)
            continue
        about = "" if all(work[source].known for source in new) else ", by a rule of thumb"
        left[name] = (
            f"needs {clock(cost)} more{about}; {clock(max(0.0, seconds - spent))} were left"
        )
    return Choice(chosen, left)


def parallelism(cores: int | None, threads: int) -> float:
    """How many fits run side by side on so many cores."""
    return 1.0 if not cores or math.isinf(cores) else max(1.0, cores // threads)
