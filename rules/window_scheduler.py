"""A window of time inside one run: what may begin in it, and that its end is no failure.

Snakemake's own scheduler begins whatever is ready, and counts a job that found no time as failed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import snakemake.workflow as engine
from snakemake.scheduling.job_scheduler import JobScheduler

from blendmake.durations import clock
from blendmake.window import LEFT, time_left
from bucket import FITTING

if TYPE_CHECKING:
    from plan import Plan

NAMED_BY = ("source", "external", "scored", "blend", "artifact", "audit", "search", "set", "pair")
SHOWN = 12


class WindowScheduler(JobScheduler):  # type: ignore[misc]
    """Begins no job after the end of the window, and no fit that would not end before the deadline.

    Args:
        plan: of a run with a window.
    """

    def __init__(self, *arguments: Any, plan: Plan, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._plan = plan

    @property
    def open_jobs(self) -> list[Any]:
        ready = super().open_jobs
        found = [job for job in ready if all(map(self._may_begin, _jobs_of(job)))]
        if len(found) < len(ready):
            self._left_some()
        return found

    def _may_begin(self, job: Any) -> bool:
        if job.is_norun:
            return True
        if job.rule.name in FITTING and not _has_its_fits(job):
            needed = self._plan.fit_seconds(getattr(job.wildcards, "source", None))
            return bool(time_left() > needed)
        return time.time() < self._plan.ends

    def _handle_error(self, job: Any, postprocess_job: bool = True) -> None:
        failed = self._errors
        super()._handle_error(job, postprocess_job)
        if job in self.failed and all(map(_found_no_time, _jobs_of(job))):
            self._errors = failed
            self._left_some()

    def _left_some(self) -> None:
        """What is left is no reason to end with an error; other jobs may still begin."""
        if not self._errors:
            self.keepgoing = True


def keep_to_window(workflow: Any, plan: Plan) -> None:
    """Let the run keep to the window that its plan has opened, if it has."""
    if workflow.is_main_process and plan.ends is not None:
        # As with records, Snakemake makes its own by this name.
        engine.JobScheduler = partial(WindowScheduler, plan=plan)


def left_by_window(workflow: Any, plan: Plan) -> list[str]:
    """What the end of the window has left of a run that ended without a failure: names, in order."""
    if plan.ends is None:
        return []
    jobs = [job for job in workflow.dag.needrun_jobs() if not job.is_norun]
    names = {name for job in jobs for name in _names_of(job)}
    if any(_asks_for_all(job.rule.name) for job in workflow.dag.jobs):
        names.update(plan.left)
    known = [name for name in plan.ranking if name in names]
    return known + sorted(names.difference(known)) if known else sorted({j.rule.name for j in jobs})


def left_text(names: list[str], window: float) -> str:
    """The line at the end of a run that has left something."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return (
        f"The window of {clock(window)} has left for another run: {', '.join(names[:SHOWN])}{more}. "
        "Run the same command again to go on."
    )


def _jobs_of(job: Any) -> Iterable[Any]:
    return job.jobs if job.is_group() else [job]


def _asks_for_all(rule: str) -> bool:
    """Whether a rule asks for all that the window has chosen, and not for what is named."""
    return rule == "all" or rule.startswith("campaign_")


def _names_of(job: Any) -> list[str]:
    given = dict(job.wildcards.items())
    return [given[key] for key in NAMED_BY if key in given]


def _has_its_fits(job: Any) -> bool:
    """Whether other jobs have shared the fits of this one: it only puts them together."""
    return job.rule.name == "fit_fold" and bool(job.input.get("chunks"))


def _found_no_time(job: Any) -> bool:
    """Whether a job that ended with an error did so because the window was over."""
    for log in map(Path, job.log):
        if log.exists() and f" {LEFT}: " in log.read_text(encoding="utf-8", errors="replace"):
            return True
    return False
