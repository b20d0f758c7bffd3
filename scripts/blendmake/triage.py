"""What fits into a window of time: artifacts by priority, until the time is used up."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from blendmake.durations import clock


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


# Seconds per fit, for each million of rows × columns and each round: measured on two cores.
SECONDS = {
    "xgboost": 0.012,
    "xgboost_vector": 0.2,
    "lightgbm": 0.008,
    "catboost": 0.02,
    "extra_trees": 0.02,
    "linear": 0.002,
}
FALLBACK = 0.02
LEAST = 0.05


def predicted_seconds(family: str, rows: int, columns: int, rounds: int) -> float:
    """A rule of thumb for the seconds of one fit, where none has been seen."""
    return max(LEAST, SECONDS.get(family, FALLBACK) * rows * columns / 1e6 * rounds)


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
