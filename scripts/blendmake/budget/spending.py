"""A budget spent: sources one after another, each followed by a blend of all that is whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from blendmake.budget.scheduler import Candidate, Choice, Running, Scheduler
from blendmake.budget.workshop import Work, Workshop
from blendmake.durations import clock
from blendmake.errors import BlendmakeError

LEAST_BESIDE = 2.0
HALF = 0.5
HAND_IN = 0.05  # of the budget: to hand in what has finished, where no source stands
POLL = 0.25  # seconds from one look at what runs to the next
# A source that brings less macro AUC than this brings nothing. After so many of a family, one after
# another, that have brought nothing, what is left of the family is left out; others have their turn.
GAIN = 0.0002
VAIN = 2
# Of sources and blends, in this order, the last is handed in that none is better than by more than this.
WORSE = 0.0005


@dataclass
class Outcome:
    """What came of a budget: what is handed in, and what was left out and why.

    Attributes:
        handed_in: where it stands.
        of: the artifact that it is of; None: of none.
        last_resort: what it is then, in words.
        unused: seconds that were left for fits.
    """

    handed_in: str | None = None
    of: str | None = None
    last_resort: str = ""
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
        self.vain: dict[str, int] = {}  # by family
        self.tried: dict[str, str] = {}
        self.grounded: set[str] = set()  # sources for which what they read was built

    def spend(self) -> Outcome:
        """Spend it all, as far as there is something to spend it on.

        Raises:
            BlendmakeError: what all sources read could not be made.
        """
        if self._prepare():
            self._take_in_standing()
            while (choice := self._next()) is not None:
                if self._has_ground(choice.candidate.name):
                    self._fit(choice)
            self._say_what_is_left()
        self._end()
        return self.outcome

    def _prepare(self) -> bool:
        """Build what all sources read, as long as there is time; whether it stands."""
        shop, before = self.shop, self.shop.now()
        until = self.end - self.closing
        status = self._wait(shop.prepare(), until) if before < until else None
        if status is None:
            late = self.outcome.left["all sources"] = "tables and folds were not whole in time"
            self._tell(late)
            return False
        if status != 0:
            raise BlendmakeError(shop.error())
        # A source is put together, blended and handed in by about half as many jobs.
        self.blending = max(LEAST_BESIDE, HALF * (shop.now() - before))
        self.scheduler.beside, self.scheduler.folds = self.blending, self.folds
        self.scheduler.pace.crowding = shop.crowding()
        self._tell("tables and folds stand")
        return True

    # One source after another

    def _next(self) -> Choice | None:
        left = self._last_blend - self.shop.now()
        return self.scheduler.choose(left, self._open(), bool(self.outcome.whole))

    def _open(self) -> list[Candidate]:
        """What may still be begun."""
        untried = [c for c in self.shop.candidates() if c.name not in self.tried]
        return [c for c in untried if not self._is_vain(c)]

    def _is_vain(self, candidate: Candidate) -> bool:
        return self.vain.get(candidate.family, 0) >= VAIN

    @property
    def _last_blend(self) -> float:
        """When the last blend must be over; a first source needs no time for what shows it."""
        return self.end - (self.closing if self.outcome.whole else 0.0)

    @property
    def _last_fit(self) -> float:
        """When the last fit must be over: after it comes a blend.

        Where nothing stands the finished folds are handed in, which takes a moment.
        """
        most = self.blending if self.outcome.whole else HAND_IN * (self.end - self.began)
        return self._last_blend - min(self.blending, most)

    def _has_ground(self, name: str) -> bool:
        """Whether all that a source reads stands; else it is built, which takes time: choose anew."""
        work = None if name in self.grounded else self.shop.ground_of(name)
        if work is None:
            return True
        status = self._wait(work, self._last_fit)
        self.grounded.add(name)
        if status != 0:
            late = "what it reads is not whole in time"
            self.tried[name] = late if status is None else f"failed: {self.shop.error()}"
            self._tell(f"{name} is left out: {self.tried[name]}")
        return False

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
        while work.ended() is None:
            self._pause()
            now = shop.now()
            if stood is None and shop.is_whole(name):
                stood = now
                self.scheduler.learn(running, now, True)
            if stood is None:
                done = (shop.progress(name) - start) / max(1e-9, 1 - start)
                running = running.seen(min(1.0, done), now)
                if self._is_hopeless(running, now):
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
        self._tell_of(choice.candidate, before)

    def _is_hopeless(self, running: Running, now: float) -> bool:
        """Whether a source is to be stopped now: it would not end, and another has a use for the time.

        Where nothing stands the folds that it finishes are worth more than an early end.
        """
        if not self.scheduler.gives_up(running, now, self._last_fit):
            return False
        if self.outcome.whole or now >= self._last_fit:
            return True
        left = self._last_blend - now
        return self.scheduler.has_better(running, now, left, self._open())

    def _give_up(self, running: Running, now: float) -> None:
        name = running.choice.candidate.name
        self.scheduler.learn(running, now, False)
        expected, left = running.expected(now), self._last_fit - running.began
        reason = f"stopped: it would take {clock(expected)}, {clock(left)} were left"
        self._tell(f"{name} {reason}; what it has finished is kept")
        self.outcome.left[name] = reason
        # Where nothing stands it may be tried again, with fewer rounds.
        if self.outcome.whole or running.choice.share <= running.choice.candidate.fewest:
            self.tried[name] = reason

    def _tell_of(self, candidate: Candidate, before: float | None) -> None:
        name, family = candidate.name, candidate.family
        self.outcome.left.pop(name, None)
        score = self.shop.score(name)
        after = self.shop.score(self.outcome.of) if self.outcome.of else None
        measured = "" if score is None else f", {self.shop.measure()} {score:.4f} out of fold"
        told = f"{name} stands{measured}"
        if after is not None and self.outcome.of != name:
            told += f"; {self.outcome.of} {after:.4f}"
        self._tell(told)
        if before is not None and after is not None:
            gains = after >= before + GAIN
            self.vain[family] = 0 if gains else self.vain.get(family, 0) + 1

    # What is handed in

    def _hand_in(self) -> None:
        """The best of what stands, in place; of what is not made into a submission yet the next best."""
        shop, outcome, whole = self.shop, self.outcome, self.outcome.whole
        blends = [shop.blend_of(whole[:n]) for n in range(2, len(whole) + 1)]
        best = self._best_first([*whole, *blends, shop.champion()])
        for name in best:
            if (path := shop.hand_in(name)) is not None:
                outcome.of, outcome.handed_in = name, path
                return
        if outcome.handed_in is None and best:
            outcome.of = best[0]

    def _best_first(self, names: Sequence[str]) -> list[str]:
        """Those that stand; first, of those that none is better than by more than chance, the last."""
        scores = {name: s for name in names if (s := self.shop.score(name)) is not None}
        highest = max(scores.values(), default=0.0)
        good = [name for name, score in scores.items() if score >= highest - WORSE]
        return [*good[::-1], *sorted(scores.keys() - good, key=lambda name: -scores[name])]

    def _end(self) -> None:
        """The last blend, what is handed in, what shows it."""
        shop, outcome = self.shop, self.outcome
        outcome.unused = max(0.0, self.end - self.closing - shop.now())
        if outcome.whole:
            if self._room() > 2 * self.blending:
                self._wait(shop.crown(outcome.whole), self.end)
                self._hand_in()
            self._wait(shop.finish(outcome.left, self._room() > 3 * self.blending), self.end)
        if outcome.handed_in is None:
            outcome.handed_in = shop.hand_in(None)
            if outcome.handed_in is not None:
                outcome.of, outcome.last_resort = None, shop.last_resort()

    def _say_what_is_left(self) -> None:
        for candidate in (one for one in self.shop.candidates() if not one.further):
            name, left = candidate.name, self.outcome.left
            if name not in self.outcome.whole and name not in left:
                left[name] = self.tried.get(name) or self._why(candidate)

    def _why(self, candidate: Candidate) -> str:
        if self._is_vain(candidate):
            return f"other sources of its family ({candidate.family}) brought nothing"
        return f"needs about {clock(self.scheduler.seconds(candidate, 1.0))}"

    def _room(self) -> float:
        return self.end - self.shop.now()

    def _wait(self, work: Work, until: float) -> int | None:
        """Wait for work, as long as there is time; its status, None where it was stopped."""
        while (status := work.ended()) is None:
            if self.shop.now() >= until:
                work.stop()
                return None
            self._pause()
        return status

    def _pause(self) -> None:
        self.shop.sleep(POLL)
        self.shop.look_after()

    def _tell(self, text: str) -> None:
        spent = self.shop.now() - self.began
        self.shop.tell(f"[{clock(spent)} of {clock(self.end - self.began)}] {text}")


def summary(outcome: Outcome, seconds: float) -> str:
    """One line: what is handed in, and what was left out and why."""
    if outcome.handed_in is None:
        told = "nothing to hand in (there is no test table)"
        told += f"; the best is {outcome.of}" if outcome.of else "; no source ended in time"
    elif outcome.of is None:
        told = f"LAST RESORT handed in, {outcome.last_resort}, as no source ended in time"
        told += f": {outcome.handed_in}"
    else:
        told = f"handed in: {outcome.handed_in} ({outcome.of}; {', '.join(outcome.whole)} stand)"
    left = "; ".join(f"{name} ({reason})" for name, reason in outcome.left.items())
    if left:
        left += f"; {clock(outcome.unused)} were left"
    return f"budget {clock(seconds)}: {told}. Left out: {left or 'nothing'}."
