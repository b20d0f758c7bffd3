"""Learning rates over a fit, as functions of how far it is and of what it has scored.

None of them keeps a state, so that a resumed fit needs none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

SCHEDULES = ("constant", "plateau", "cosine", "cosine_restarts")


@dataclass(frozen=True)
class Schedule:
    """The factor on the learning rate.

    `constant`: 1. `plateau`: times `factor` whenever `wait` epochs brought nothing better.
    `cosine`: half a cosine down to 0 over all `epochs`. `cosine_restarts`: the same over every
    `period` epochs anew (Loshchilov & Hutter 2017, "SGDR"). Before that, in all of them, a linear
    rise over the first `warmup` epochs.
    """

    kind: str
    epochs: int
    warmup: float = 0.0
    period: int = 10
    wait: int = 4
    factor: float = 0.5

    def __call__(self, progress: float, scores: Sequence[float]) -> float:
        """The factor after `progress` epochs, of which the finished ones had `scores`."""
        if progress < self.warmup:
            # Not 0 at the very start: the first batch is to count.
            return (progress + 0.01) / (self.warmup + 0.01)
        since = progress - self.warmup
        if self.kind == "plateau":
            return self.factor ** self._plateaus(scores)
        if self.kind == "cosine":
            return _half_cosine(since / max(self.epochs - self.warmup, 1e-9))
        if self.kind == "cosine_restarts":
            return _half_cosine(since % self.period / self.period)
        return 1.0

    def _plateaus(self, scores: Sequence[float]) -> int:
        found, best, waited = 0, -math.inf, 0
        for score in scores:
            waited += 1
            if score > best:
                best, waited = score, 0
            elif waited == self.wait:
                found, waited = found + 1, 0
        return found


def _half_cosine(share: float) -> float:
    return (1 + math.cos(math.pi * min(share, 1.0))) / 2
