"""What a budget is spent in, as the spending of it sees it: jobs, a clock, files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from blendmake.budget.scheduler import Candidate, Choice


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

    def ground_of(self, source: str) -> Work | None:
        """Begin with what a source reads beside that; None where it stands."""

    def crowding(self) -> float:
        """How many times as long as on an idle machine work takes here, on what it waited so far."""

    def look_after(self) -> None:
        """See to what is handed in if no source ends: it is made beside all else. Called often."""

    def last_resort(self) -> str:
        """What that is, in words."""

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
        """Take back what `fit` has said of a source that was stopped, or has failed.

        Where no source stands, the folds that it has finished may be handed in.
        """

    def progress(self, source: str) -> float:
        """Share of a source's fits that is done."""

    def is_whole(self, source: str) -> bool: ...

    def blend_of(self, whole: Sequence[str]) -> str:
        """The artifact that `fit` makes of these."""

    def measure(self) -> str:
        """What `score` is, in words."""

    def score(self, artifact: str) -> float | None:
        """How good an artifact's out-of-fold predictions are (measure.measured), None where it does
        not stand."""

    def crown(self, whole: Sequence[str]) -> Work:
        """Begin the last blend."""

    def champion(self) -> str: ...

    def finish(self, left: dict[str, str], wholly: bool) -> Work:
        """Begin what shows the results: the leaderboard; wholly: all else that the config asks for."""

    def hand_in(self, artifact: str | None) -> str | None:
        """Put the submission of an artifact in place; None: the last resort. Where it stands."""

    def error(self) -> str:
        """What went wrong last."""
