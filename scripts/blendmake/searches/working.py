"""A worker of a search: takes trials until there are enough, or until it is told to end."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blendmake.durations import clock
from blendmake.errors import BlendmakeError
from blendmake.files import write_text
from blendmake.fits.tuned import override
from blendmake.searches.search import Search
from blendmake.searches.storage import opened
from blendmake.searches.studies import Claimed, Study
from blendmake.searches.table import COUNTED, Trial, metric_of
from blendmake.searches.trials import Pruned, TrialFits, Watch
from blendmake.window import STARTED, WindowOver, time_left, told_to_end

log = logging.getLogger(__name__)
STOP = "STOP"
"""A file of this name in the search's folder ends its workers after their trials."""
POLL = 0.5  # seconds between looks at trials that others fit


class Unfinished(BlendmakeError):
    """A search ends before all its trials are done; they are gone on with by the next run."""


@dataclass
class Worker:
    """One worker.

    Args:
        search: what is searched.
        scratch: folder of the studies' journal.
        folder: where the search's results stand, and STOP.
        number: of the worker; workers begin with different studies.
        time_limit: seconds that it has, from its first attempt in a run.
    """

    search: Search
    scratch: Path
    folder: Path
    number: int = 0
    time_limit: float | None = None

    def __post_init__(self) -> None:
        self._began = time.monotonic() - (self._spent_before() if self.time_limit else 0.0)
        self._longest = 0.0
        self._fits = TrialFits(self.search.fits, metric_of(self.search.metric))
        # A name that no other process has, on any machine, now or after a restart.
        self._id = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def run(self) -> dict[str, int]:
        """Work until every study has its trials.

        Returns:
            Trials done (complete and pruned) by study.

        Raises:
            Unfinished: it was told to end, or its time is over; what stands is kept.
            BlendmakeError: too many trials fail.
        """
        name = f"{self.search.problem}/{self.search.name}"
        with opened(self.scratch, name) as place, place.live(self._id):
            studies = [Study(place, plan) for plan in self.search.plans()]
            first = self.number % len(studies)
            waiting = studies[first:] + studies[:first]
            suspects: dict[str, dict[int, float]] = {study.plan.name: {} for study in studies}
            while waiting:
                progress = False
                for study in list(waiting):
                    claimed = study.claim(
                        self._id, suspects[study.plan.name], lambda: self._ending() is None
                    )
                    if claimed == "end":
                        raise self._unfinished(studies)
                    if claimed == "done":
                        waiting.remove(study)
                        progress = True
                    elif isinstance(claimed, Claimed):
                        self._fit(study, claimed)
                        progress = True
                        break  # the same study again: its matrix is there
                if waiting and not progress:
                    if self._ending(0.0) is not None:
                        raise self._unfinished(studies)
                    time.sleep(POLL)
            return {study.plan.name: done_of(study) for study in studies}

    def _ending(self, needed: float | None = None) -> str | None:
        """Why this worker ends, if it does.

        Args:
            needed: seconds that there must be; left out: of a trial.
        """
        needed = self._longest if needed is None else needed
        stop = self.folder / STOP
        if stop.exists():
            return f"{stop} is there. To go on, remove it: rm {stop}"
        if min(time_left(), self._own_time_left()) <= needed:
            which = "its time_limit" if self._own_time_left() <= time_left() else "the window"
            if told_to_end():
                return "it was told to end (SIGTERM). To go on, run the same command again"
            return f"{which} is over. To go on, run the same command again"
        return None

    def _unfinished(self, studies: Sequence[Study]) -> Unfinished:
        text = ", ".join(f"{s.plan.name} {done_of(s)} of {s.plan.trials}" for s in studies[:6])
        more = " …" if len(studies) > 6 else ""
        return Unfinished(
            f"searches.{self.search.name} ends before its trials are done ({text}{more}): "
            f"{self._ending()}. What there is stands in {self.folder}/partial."
        )

    def _own_time_left(self) -> float:
        if self.time_limit is None:
            return math.inf
        return self.time_limit - (time.monotonic() - self._began)

    def _spent_before(self) -> float:
        """Seconds since this worker first began in the same run; 0 in its first attempt.

        On a cluster a job that has ended early is tried again, where its time must not begin anew.
        """
        run = os.environ.get(STARTED)
        path = self.scratch / "began" / f"{self.number}.json"
        # Torn or damaged, it is written anew: a worker then has its whole time again.
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError):
            noted = json.loads(path.read_text(encoding="utf-8"))
            if run and noted["run"] == run:
                return max(0.0, time.time() - float(noted["began"]))  # clocks of machines differ
        if run:
            write_text(json.dumps({"run": run, "began": time.time()}) + "\n", path)
        return 0.0

    # One trial

    def _fit(self, study: Study, claimed: Claimed) -> None:
        plan, trial = study.plan, claimed.trial
        began = time.monotonic()
        sources = list(self.search.sources)
        source = str(claimed.values.get("source", sources[0]))
        targets = self.search.study_targets()[plan.name]
        place = study.place
        place.patiently(lambda: trial.set_user_attr("source", source))
        each = self.search.config["pruner"] == "wilcoxon"
        stride = self.search.stride(targets)
        every = self.search.report_every(stride, source)

        def tell(step: int, value: float) -> None:
            if not each and step % stride % every:
                return

            def work() -> bool:
                trial.report(value, step)
                return not claimed.baseline and trial.should_prune()

            if place.patiently(work):
                raise Pruned("by the pruner")

        limit = self.search.config.get("trial_limit")
        deadline = math.inf if limit is None or claimed.baseline else began + limit
        watch = Watch(stride, tell, each=each, deadline=deadline)
        outcome = ""
        try:
            names = [param.name for param in plan.space.params]
            layer = None if claimed.baseline else override(claimed.values, names)
            values = self._fits.run(source, layer, targets, watch)
            known = [value for value in values if value is not None]
            if not known:
                raise BlendmakeError("the metric is defined on none of the search folds")
            value = sum(known) / len(known)
            study.tell(claimed, values, value)
            outcome = f"{value:.5f}"
        except Pruned as pruned:
            study.tell(claimed, pruned.fold_values, None, str(pruned))
            outcome = f"pruned {pruned}"
        except WindowOver as error:
            outcome = "it was told to end" if told_to_end() else "there was no time for it"
            study.put_back(claimed, outcome)
            log.info("%s", error)
        except Exception as error:  # a failed trial is a state, not the end
            study.fail(claimed, error)
            outcome = f"failed: {error}"
        spent = time.monotonic() - began
        self._longest = max(self._longest, spent)
        log.info(
            "%s %s: trial %d (%d of %d done): %s, %s",
            self.search.name,
            plan.name,
            trial.number,
            done_of(study),
            plan.trials,
            outcome,
            clock(spent),
        )


def done_of(study: Study) -> int:
    """Trials of a study that count as done."""
    counts = study.counts()
    return sum(counts[state] for state in COUNTED)


def trials_of(search: Search, scratch: Path, *, finished: bool) -> list[Trial]:
    """All trials of a search that have ended.

    Args:
        finished: whether every study must have its trials.

    Raises:
        Unfinished: it has not.
    """
    rows: list[Trial] = []
    with opened(scratch, f"{search.problem}/{search.name}") as place:
        for plan in search.plans():
            study = Study(place, plan, make=False)
            if finished and done_of(study) < plan.trials:
                raise Unfinished(
                    f"searches.{search.name}: study '{plan.name}' has {done_of(study)} of {plan.trials} "
                    f"trials in {scratch}. If its trials are gone, have them made anew: delete "
                    f"workers/ and finished.json in the search's folder of results."
                )
            rows += study.rows()
    return rows
