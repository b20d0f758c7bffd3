"""How long fits take here: rules of thumb, put right by what the machine did in this run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

# What a prediction is multiplied by: of a family that was measured, and of one that was not.
MEASURED = 1.1
FROM_OTHERS = 1.35
BY_THUMB = 1.35
# How far the pace of other families may move a rule of thumb: they need not err together.
FURTHEST = 20.0


@dataclass
class Pace:
    """Seconds measured in this run against those that a rule of thumb gave, by family.

    Attributes:
        crowding: how many times as long as on an idle machine work takes, as long as nothing was
            measured: rules of thumb know of no other users.
    """

    crowding: float = 1.0
    _ratios: dict[str, float] = field(default_factory=dict)

    def note(self, family: str, guessed: float, took: float) -> None:
        """Take in what fits of a family took: the last word on it."""
        if guessed > 0 and took > 0:
            self._ratios[family] = took / guessed

    def note_at_least(self, family: str, guessed: float, took: float) -> None:
        """Take in that fits of a family, stopped before their end, take longer than this."""
        if guessed > 0 and took / guessed > self._ratios.get(family, 0.0):
            self._ratios[family] = took / guessed

    @property
    def is_measured(self) -> bool:
        """Whether anything was."""
        return bool(self._ratios)

    def seconds(self, family: str, guessed: float) -> float:
        """What fits of a family are expected to take, by all that is known, on the safe side."""
        if family in self._ratios:
            return guessed * self._ratios[family] * MEASURED
        if not self._ratios:
            return guessed * BY_THUMB * min(FURTHEST, max(1.0, self.crowding))
        mean = math.exp(sum(map(math.log, self._ratios.values())) / len(self._ratios))
        return guessed * min(FURTHEST, max(1 / FURTHEST, mean)) * FROM_OTHERS
