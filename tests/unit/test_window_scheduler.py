"""What may begin in a window, what its end leaves, and what counts as a failure all the same."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake.api  # noqa: F401 (first: its modules import each other)
from snakemake.scheduling.job_scheduler import JobScheduler

from blendmake.tables.facts import Facts
from blendmake.triage import JOB, predicted_fit, predicted_seconds
from blendmake.window import DEADLINE, LEFT
from window_scheduler import WindowScheduler, left_by_window, left_text

NEEDED = 30.0  # seconds of a fit


class Wildcards(SimpleNamespace):
    def items(self) -> Any:
        return vars(self).items()


class Job(SimpleNamespace):
    def is_group(self) -> bool:
        return False

    def __hash__(self) -> int:
        return id(self)


def job(rule: str, log: str = "", chunks: Any = (), **wildcards: str) -> Job:
    return Job(
        rule=SimpleNamespace(name=rule),
        is_norun=rule == "all",
        wildcards=Wildcards(**wildcards),
        input={"chunks": chunks},
        log=[log] if log else [],
    )


FIT = job("fit_fold", source="lgb", fold="0")
PUT_TOGETHER = job("fit_fold", source="lgb", fold="0", chunks=["0of2.json"])
BLEND = job("blend_sources", blend="champion")
ALL = job("all")


def scheduler(ready: list[Job], ends_in: float, monkeypatch: pytest.MonkeyPatch) -> WindowScheduler:
    """A scheduler whose fits have until a tenth before the end."""
    now = time.time()
    monkeypatch.setenv(DEADLINE, str(now + 0.9 * ends_in))
    made = WindowScheduler.__new__(WindowScheduler)
    made._plan = SimpleNamespace(ends=now + ends_in, fit_seconds=lambda source: NEEDED)  # type: ignore[assignment]
    made.workflow = SimpleNamespace(dag=SimpleNamespace(ready_jobs=ready))
    made.keepgoing, made._errors, made.failed = False, False, set()
    return made


@pytest.mark.parametrize(
    ("ends_in", "begun"),
    [
        (100.0, [FIT, PUT_TOGETHER, BLEND, ALL]),
        (32.0, [PUT_TOGETHER, BLEND, ALL]),  # 28.8 seconds for a fit of 30
        (5.0, [PUT_TOGETHER, BLEND, ALL]),
        (-1.0, [ALL]),
    ],
)
def test_no_job_begins_that_has_no_time(
    ends_in: float, begun: list[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = [FIT, PUT_TOGETHER, BLEND, ALL]
    made = scheduler(ready, ends_in, monkeypatch)
    assert made.open_jobs == begun
    # Otherwise Snakemake takes it for its own mistake that something is left.
    assert made.keepgoing == (begun != ready)


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (f"2026-01-01 00:00:00 {LEFT}: The window of this run is over", False),
        ("2026-01-01 00:00:00 ERROR: no such param", True),
        (f"2026-01-01 00:00:00 ERROR: params.{LEFT}: there is no such param", True),
        ("", True),
        (None, True),
    ],
)
def test_what_found_no_time_is_no_failure(
    text: str | None, failure: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = job("fit_fold", log=str(tmp_path / "fold0.log"), source="lgb", fold="0")
    if text is not None:
        (tmp_path / "fold0.log").write_text(f"2026-01-01 00:00:00 1 of 9 fits\n{text}\n")
    made = scheduler([], 100.0, monkeypatch)

    def failed(self: Any, job: Job, postprocess_job: bool) -> None:
        self._errors = True
        self.failed.add(job)

    monkeypatch.setattr(JobScheduler, "_handle_error", failed)
    made._handle_error(one)
    assert one in made.failed and made._errors == failure
    # A failure before it stays one.
    made._errors = True
    made._handle_error(one)
    assert made._errors


def test_what_is_left_is_told_in_a_line() -> None:
    plan: Any = SimpleNamespace(ends=1.0, ranking=["champion", "lgb", "xgb"], left={})
    waiting = [FIT, BLEND, ALL, job("fit_fold", source="lgb", fold="1"), job("draw_figures")]
    waiting.append(job("fit_fold", source="xgb", fold="0"))
    dag = SimpleNamespace(needrun_jobs=lambda: iter(waiting), jobs=[FIT, job("build")])
    workflow = SimpleNamespace(dag=dag)
    assert left_by_window(workflow, plan) == ["champion", "lgb", "xgb"]
    waiting[:] = [ALL, job("draw_figures"), job("build_leaderboard")]
    assert left_by_window(workflow, plan) == ["build_leaderboard", "draw_figures"]
    waiting[:] = [ALL]
    plan.left = {"xgb": "needs 1:00 more"}
    assert left_by_window(workflow, plan) == []  # another run's, of what is named
    dag.jobs.append(ALL)
    assert left_by_window(workflow, plan) == ["xgb"]
    plan.ends = None
    waiting[:] = [FIT]
    assert left_by_window(workflow, plan) == []
    line = left_text([f"s{k}" for k in range(20)], 5400.0)
    assert line.startswith("The window of 1:30:00 has left for another run: s0, s1, ")
    assert "s11 and 8 more." in line and "\n" not in line


def test_a_fit_is_as_long_as_the_longest_that_was_seen() -> None:
    facts = Facts(10_000, 100, 0, (500,) * 20)
    one = {"family": "lightgbm", "rounds": 100}
    assert predicted_fit(one, facts, 20, 5, [3.0, 9.0, 4.0]) == JOB + 9
    every = predicted_seconds(one, facts, 20, 5) - 5 * JOB
    assert predicted_fit(one, facts, 20, 5, []) == pytest.approx(JOB + every / 5 / 20)
    # One model for all: the fit is that of them all, and its rows hold a share each.
    joint = {"family": "xgboost_vector", "rounds": 100}
    assert predicted_fit(joint, facts, 20, 5, [0.5] * 40) == JOB + 10
    bagged = joint | {"bagging": {"bags": 4}}
    every = predicted_seconds(bagged, facts, 20, 5) - 5 * JOB
    assert predicted_fit(bagged, facts, 20, 5, []) == pytest.approx(JOB + every / 5 / 4)
    # What goes on from a checkpoint loses nothing by the end.
    assert predicted_fit({"family": "mlp"}, facts, 20, 5, [1000.0]) == JOB
