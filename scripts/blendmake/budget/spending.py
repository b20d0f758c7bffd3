"""A budget spent: sources one after another, each followed by a blend of all that is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from blendmake.budget.scheduler import Candidate, Choice, Running, Scheduler
from blendmake.durations import clock
from blendmake.errors import BlendmakeError

LEAST_BESIDE = 2.0
HALF = 0.5
POLL = 0.25  # seconds from one look at what runs to the next
# An extra source that brings less macro AUC than this brings nothing; after so many the rest is left.
GAIN = 0.0002
VAIN = 2
# Of sources and blends, in this order, the last is handed in that none is better than by more than this.
WORSE = 0.0005


class Work(Protocol):
    """Jobs that were begun."""

    def ended(self) -> int | None:
        """Their exit status; None while they run."""

    def stop(self) -> None:
        """End them at once; what they have finished is kept."""


class Workshop(Protocol):
    """What the budget is spent in: the machine, its clock and its files."""

    def now(self) -> float: ...

    def sleep(self, seconds: float) -> None: ...

    def tell(self, text: str) -> None:
        """Say something to whoever waits."""

    def prepare(self) -> Work:
        """Begin with the tables, folds and features that all sources read."""

    def last_resort(self) -> None:
        """Begin to make what is handed in if no source ends."""

    def candidates(self) -> list[Candidate]:
        """What may be fitted, by priority; those that stand are not among them."""

    def standing(self) -> list[str]:
        """Sources that stand from an earlier run."""

    def fit(self, choice: Choice | None, whole: Sequence[str]) -> Work:
        """Begin a source, then the blend of all in `whole`, it among them, and what both hand in.

        Args:
            choice: the source; None: blend only.
        """

    def drop(self, source: str, whole: Sequence[str]) -> None:
        """Take back what `fit` has said of a source that was stopped, or has failed."""

    def progress(self, source: str) -> float:
        """Share of a source's fits that is done."""

    def is_whole(self, source: str) -> bool: ...

    def blend_of(self, whole: Sequence[str]) -> str:
        """The artifact that `fit` makes of these."""

    def score(self, artifact: str) -> float | None:
        """Macro AUC of an artifact's out-of-fold predictions; None where it does not stand."""

    def crown(self, whole: Sequence[str]) -> Work:
        """Begin the last blend."""

    def champion(self) -> str: ...

    def finish(self, left: dict[str, str], wholly: bool) -> Work:
        """Begin what shows the results: the leaderboard; wholly: all else that the config asks for."""

    def hand_in(self, artifact: str | None) -> str | None:
        """Put the submission of an artifact in place, None: the last resort; where it stands."""

    def error(self) -> str:
        """What went wrong last."""


@dataclass
class Outcome:
    """What came of a budget: what is handed in, and what was left out and why.

    `unused`: seconds that were left for fits.
    """

    handed_in: str | None = None
    of: str | None = None
    whole: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    unused: float = 0.0


class Spending:
    """A budget under way.

    Args:
        workshop: the machine.
        end: when all must be over, by the workshop's clock.
        began: when the run began.
        closing: seconds that are kept for the end: leaderboard, report.
        folds: number of folds.
    """

    def __init__(
        self,
        workshop: Workshop,
        scheduler: Scheduler,
        *,
        began: float,
        end: float,
        closing: float,
        folds: int,
    ) -> None:
        self.shop, self.scheduler = workshop, scheduler
        self.began, self.end, self.closing, self.folds = began, end, closing, folds
        self.blending = LEAST_BESIDE  # seconds from a whole source to its submission
        self.outcome = Outcome()
        self.vain = 0
        self.tried: dict[str, str] = {}

    def spend(self) -> Outcome:
        """Spend it all, as far as there is something to spend it on.

        Raises:
            BlendmakeError: what all sources read could not be made.
        """
        shop, before = self.shop, self.shop.now()
        if self._wait(shop.prepare(), None) != 0:
            raise BlendmakeError(shop.error())
        took = shop.now() - before
        # A source is put together, blended and handed in by about half as many jobs.
        self.blending = self.scheduler.beside = max(LEAST_BESIDE, HALF * took)
        self._tell("tables and folds stand")
        shop.last_resort()
        self._take_in_standing()
        while (choice := self._next()) is not None:
            self._fit(choice)
        self._end()
        return self.outcome

    # One source after another

    def _next(self) -> Choice | None:
        if self.vain >= VAIN:
            return None
        candidates = [c for c in self.shop.candidates() if c.name not in self.tried]
        left = self.end - self.closing - self.shop.now()
        return self.scheduler.choose(left, candidates, bool(self.outcome.whole))

    @property
    def _last_fit(self) -> float:
        """When the last fit must be over: after it come a blend, and the end."""
        return self.end - self.closing - self.blending

    def _take_in_standing(self) -> None:
        standing = self.shop.standing()
        if not standing:
            return
        self.outcome.whole = standing
        self._wait(self.shop.fit(None, standing), self.end)
        self._hand_in()

    def _fit(self, choice: Choice) -> None:
        """Begin a source and look after it: it stands at the end, or is stopped, or has failed."""
        shop, name = self.shop, choice.candidate.name
        share = "" if choice.share == 1 else f", {choice.share:.0%} of its rounds"
        self._tell(f"{name} begins, about {clock(choice.seconds)}{share}")
        whole = [*self.outcome.whole, name]
        before = shop.score(self.outcome.of) if self.outcome.of else None
        began = shop.now()
        running = Running(choice, began, self.folds, self.scheduler.side_by_side)
        start = shop.progress(name)
        work = shop.fit(choice, whole)
        stood: float | None = None
        while (status := work.ended()) is None:
            shop.sleep(POLL)
            now = shop.now()
            if stood is None and shop.is_whole(name):
                stood = now
                self.scheduler.learn(running, now, True)
            if stood is None:
                done = (shop.progress(name) - start) / max(1e-9, 1 - start)
                running = running.seen(min(1.0, done), now)
                if self.scheduler.gives_up(running, now, self._last_fit):
                    work.stop()
                    shop.drop(name, whole)
                    self._give_up(running, now)
                    return
            elif now >= self.end:
                work.stop()
                break
        if stood is None and not shop.is_whole(name):
            shop.drop(name, whole)
            self.tried[name] = f"failed: {shop.error()}"
            self._tell(f"{name} {self.tried[name]}")
            return
        if stood is None:
            self.scheduler.learn(running, shop.now(), True)
        else:
            self.blending = max(0.5 * self.blending, shop.now() - stood)
            self.scheduler.beside = self.blending
        self.outcome.whole = whole
        self.tried[name] = ""
        self._hand_in()
        self._tell_of(name, before, status)

    def _give_up(self, running: Running, now: float) -> None:
        name = running.choice.candidate.name
        self.scheduler.learn(running, now, False)
        expected, left = running.expected(now), self._last_fit - running.began
        reason = f"stopped: it would take {clock(expected)}, {clock(left)} were left"
        self._tell(f"{name} {reason}; what it has finished is kept")
        self.outcome.left[name] = reason
        # Where nothing stands it may be tried again, with fewer rounds.
        if self.outcome.whole or running.choice.share <= running.choice.candidate.least:
            self.tried[name] = reason

    def _tell_of(self, name: str, before: float | None, status: int | None) -> None:
        self.outcome.left.pop(name, None)
        score = self.shop.score(name)
        after = self.shop.score(self.outcome.of) if self.outcome.of else None
        told = f"{name} stands" + ("" if score is None else f", macro AUC {score:.4f} out of fold")
        if after is not None and self.outcome.of != name:
            told += f"; {self.outcome.of} {after:.4f}"
        self._tell(told)
        if before is not None and after is not None:
            self.vain = 0 if after >= before + GAIN else self.vain + 1

    # What is handed in

    def _hand_in(self) -> None:
        """The best of what stands, in place."""
        whole = self.outcome.whole
        blends = [self.shop.blend_of(whole[:n]) for n in range(2, len(whole) + 1)]
        best = self._best([*whole, *blends, self.shop.champion()])
        if best is not None:
            self.outcome.of = best
            self.outcome.handed_in = self.shop.hand_in(best) or self.outcome.handed_in

    def _best(self, names: Sequence[str]) -> str | None:
        """The last of those that stand that none is better than by more than chance."""
        scores = {name: s for name in names if (s := self.shop.score(name)) is not None}
        if not scores:
            return None
        highest = max(scores.values())
        return [name for name, score in scores.items() if score >= highest - WORSE][-1]

    def _end(self) -> None:
        """The last blend, what is handed in, what shows it."""
        shop, outcome = self.shop, self.outcome
        outcome.unused = max(0.0, self.end - self.closing - shop.now())
        for candidate in shop.candidates():
            name = candidate.name
            if name not in outcome.whole and name not in outcome.left:
                outcome.left[name] = self.tried.get(name) or self._why(candidate)
        if outcome.whole:
            if self._room() > 2 * self.blending:
                self._wait(shop.crown(outcome.whole), self._stop)
                self._hand_in()
            self._wait(shop.finish(outcome.left, self._room() > 3 * self.blending), self._stop)
        if outcome.handed_in is None:
            outcome.handed_in = shop.hand_in(None)

    def _why(self, candidate: Candidate) -> str:
        if self.vain >= VAIN:
            return "the sources before it have brought nothing"
        return f"needs about {clock(self.scheduler.seconds(candidate, 1.0))}"

    @property
    def _stop(self) -> float:
        """When whatever still runs is stopped."""
        return self.end

    def _room(self) -> float:
        return self._stop - self.shop.now()

    def _wait(self, work: Work, until: float | None) -> int | None:
        """Wait for work, as long as there is time; its status, None where it was stopped."""
        while (status := work.ended()) is None:
            if until is not None and self.shop.now() >= until:
                work.stop()
                return None
            self.shop.sleep(POLL)
        return status

    def _tell(self, text: str) -> None:
        spent = self.shop.now() - self.began
        self.shop.tell(f"[{clock(spent)} of {clock(self.end - self.began)}] {text}")


def summary(outcome: Outcome, seconds: float) -> str:
    """One line: what is handed in, and what was left out and why."""
    if outcome.handed_in is None:
        told = "nothing to hand in (there is no test table)"
        told += f"; the best is {outcome.of}" if outcome.of else "; no source ended in time"
    elif outcome.of is None:
        told = f"LAST RESORT handed in, as no source ended in time: {outcome.handed_in}"
    else:
        told = f"handed in: {outcome.handed_in} ({outcome.of}; {', '.join(outcome.whole)} stand)"
    left = "; ".join(f"{name} ({reason})" for name, reason in outcome.left.items())
    if left:
        left += f"; {clock(outcome.unused)} were left"
    return f"budget {clock(seconds)}: {told}. Left out: {left or 'nothing'}."
