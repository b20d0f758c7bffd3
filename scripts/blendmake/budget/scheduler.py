"""What a budget is spent on next, and when a source is given up: decisions alone, no clock, no files.

Seconds are of the wall, since any one moment; `end` is when the last fit must be over.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from blendmake.budget.pace import Pace

# Of its own rounds, what a source may be given, as far as it bears it (`Candidate`): more only where
# that takes so small a part of the time left; the fewest only where nobody ends with more.
GROWN = (3.0, 2.0)
GROWN_PART = 0.25
SHORTER = (0.75, 0.5)
SHORTEST = (0.35, 0.25, 0.15)
# Rounds that cost less than this part of what is beside them are not worth cutting.
WORTH_CUTTING = 0.25
# The part of the time left that the first source may be expected to take: something must stand.
SURE = 0.5
# What is expected is on the safe side: time that nothing surely fits into goes to what is longer by so
# little that it might end.
HOPE = 1.2
# How far what a source is expected to take may be wrong, before anything of it is done.
UNSURE = 0.5


@dataclass(frozen=True)
class Candidate:
    """A source that may be fitted.

    Attributes:
        fixed, variable: seconds of its fits by a rule of thumb, one after another: beside its rounds,
            and in all its rounds.
        least, most: between which shares of its rounds it may be given.
        done: share of its fits that is kept from an earlier run; its rounds stay as they are then.
        further: whether it is one of those that have their turn when no other ends in time.
    """

    name: str
    family: str
    fixed: float
    variable: float
    least: float = 1.0
    most: float = 1.0
    done: float = 0.0
    further: bool = False

    @property
    def fewest(self) -> float:
        """The smallest share of its rounds that makes it shorter."""
        worth = not self.done and self.variable >= WORTH_CUTTING * self.fixed
        return min(1.0, self.least) if worth else 1.0

    def guess(self, share: float) -> float:
        """Seconds by a rule of thumb at a share of the rounds, of what is not done."""
        return (self.fixed + share * self.variable) * (1 - self.done)


@dataclass(frozen=True)
class Choice:
    """What is fitted next, with which share of its rounds, and the seconds that are expected."""

    candidate: Candidate
    share: float
    seconds: float


@dataclass(frozen=True)
class Running:
    """A source under way.

    Attributes:
        began: when its first job could begin.
        folds: how many jobs there are, `side_by_side` of them at a time.
        progress, at: share of its fits that is done, and when that was seen first.
        first, first_at: the same when the first of them was done: what comes before it is no pace.
    """

    choice: Choice
    began: float
    folds: int
    side_by_side: float
    progress: float = 0.0
    at: float = 0.0
    first: float = 0.0
    first_at: float = 0.0

    def seen(self, progress: float, now: float) -> Running:
        """The same with another share done."""
        if progress <= self.progress:
            return self
        first = (self.first, self.first_at) if self.progress else (progress, now)
        return replace(self, progress=progress, at=now, first=first[0], first_at=first[1])

    def expected(self, now: float) -> float:
        """Seconds from `began` to its end, by what it has done so far."""
        spent = now - self.began
        if self.progress >= 1 / self.folds:
            return max(spent, (self.at - self.began) / self.progress)
        if self.progress > self.first:
            each = (self.at - self.first_at) / (self.progress - self.first)
            return max(spent, self.at - self.began + each * (1 - self.progress))
        # No job is over: each of those after it takes at least as long as the first has by now.
        return spent * math.ceil(self.folds / max(1.0, self.side_by_side))


@dataclass
class Scheduler:
    """Decides by the pace of this run.

    Attributes:
        side_by_side: how many fits run at once.
        beside: seconds of a source beside its fits, until it stands and is handed in.
        folds: number of folds.
    """

    pace: Pace
    side_by_side: float
    beside: float = 0.0
    folds: int = 5

    def seconds(self, candidate: Candidate, share: float) -> float:
        """Expected seconds until a source stands."""
        fits = self.pace.seconds(candidate.family, candidate.guess(share)) / self.side_by_side
        return self.beside + fits

    def choose(self, left: float, candidates: Sequence[Candidate], anything: bool) -> Choice | None:
        """The first candidate that ends in time; None where none does.

        A source that is whole beats one that is good and unfinished: rounds are cut as far as they may
        be. As long as nothing stands, what ends surely goes first, and if nothing does, what ends
        soonest: rules of thumb keep nobody from trying it, and its first folds are worth handing in.

        Args:
            left: seconds until the last fit must be over.
            candidates: by priority.
            anything: whether a source stands already.
        """
        listed = [one for one in candidates if not one.further]
        if len(listed) < len(candidates):
            found = self.choose(left, listed, anything)
            return found or self.choose(
                left, [replace(one, further=False) for one in candidates], True
            )
        room = left if anything else SURE * left
        for shares in ((*GROWN, 1.0), SHORTER, SHORTEST):
            for candidate in candidates:
                for share in shares:
                    if (choice := self._choice(candidate, share, room)) is not None:
                        return choice
        if left <= self.beside or not candidates:
            return None
        tries = [(self.seconds(c, c.fewest), c) for c in candidates]
        seconds, cheapest = min(tries, key=lambda one: one[0])
        if anything:
            return Choice(cheapest, cheapest.fewest, seconds) if seconds <= HOPE * left else None
        if self.pace.is_measured and self._first_folds(seconds) > left:
            return None
        return Choice(cheapest, cheapest.fewest, seconds)

    def _first_folds(self, seconds: float) -> float:
        """Seconds until the first folds of a source are done that takes `seconds`."""
        return seconds / math.ceil(self.folds / max(1.0, self.side_by_side))

    def _choice(self, candidate: Candidate, share: float, left: float) -> Choice | None:
        fits = share == 1 or candidate.fewest <= share <= candidate.most
        if not fits or (share > 1 and candidate.done):
            return None
        seconds = self.seconds(candidate, share)
        room = left * GROWN_PART if share > 1 else left
        return Choice(candidate, share, seconds) if seconds <= room else None

    def gives_up(self, running: Running, now: float, end: float) -> bool:
        """Whether a source under way is to be stopped, as it would not end in time."""
        if now >= end:
            return True
        slack = 1 + UNSURE * (1 - running.progress) ** 2
        return running.began + running.expected(now) / slack > end

    def has_better(
        self, running: Running, now: float, left: float, candidates: Sequence[Candidate]
    ) -> bool:
        """Whether another would end in the time left, if the source under way were stopped now."""
        other = replace(self, pace=copy.deepcopy(self.pace))
        other.learn(running, now, False)
        mine, share = running.choice.candidate.name, running.choice.share
        return any(
            other.seconds(one, one.fewest) <= left
            for one in candidates
            if one.name != mine or one.fewest < share
        )

    def learn(self, running: Running, now: float, whole: bool) -> None:
        """Take in what a source took, or that it was stopped after so long."""
        family, guessed = running.choice.candidate.family, self._guessed(running)
        if whole:
            self.pace.note(family, guessed, now - running.began)
        elif running.progress > 0:
            self.pace.note(family, guessed, running.expected(now))
        else:
            self.pace.note_at_least(family, guessed, running.expected(now))

    def _guessed(self, running: Running) -> float:
        return running.choice.candidate.guess(running.choice.share) / self.side_by_side
