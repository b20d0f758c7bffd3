"""Workers of a search as processes: killed at random, and cut off from their storage."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

import postgres
from blendmake.searches import storage
from blendmake.searches.search import Search
from blendmake.searches.storage import opened
from blendmake.searches.studies import Study
from blendmake.searches.table import COUNTED, Trial, write_trials
from blendmake.searches.working import trials_of
from problems import Problem, synthetic
from search_worker import search_in, search_params, start_worker

SOURCES: dict[str, dict[str, Any]] = {
    "xgb": {"family": "xgboost", "rounds": 5},
    "lgb": {"family": "lightgbm", "rounds": 5},
    "cat": {"family": "catboost", "rounds": 5},
}
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 0.02, "high": 0.5, "log": True},
    "max_depth": {"low": 1, "high": 5, "when": {"source": ["xgb", "cat"]}},
    "num_leaves": {"low": 4, "high": 16, "when": {"source": "lgb"}},
}
TARGETS = ("full", "other", "gaps")
TRIALS, RETRIES, WORKERS = 12, 4, 4
SECONDS = 600.0  # for what takes a few on a machine that is free
GRACE = 1.0  # of a database, for which a worker must be silent to be taken for dead

Process = subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240, test_rows=20)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    yield from postgres.server_or_skip()


@pytest.fixture
def database(
    server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """The storage of a test: a database of its own."""
    name = f"searches{abs(hash(request.node.name))}"
    monkeypatch.setenv(storage.URL, server.make_database(name))
    monkeypatch.setattr(storage.DatabasePlace, "grace", GRACE)


@pytest.fixture(params=["journal", "postgres"])
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either storage."""
    monkeypatch.delenv(storage.URL, raising=False)
    if request.param == "postgres":
        request.getfixturevalue("database")
    return str(request.param)


class Workers:
    """Workers of one search as processes, and a view of its studies."""

    def __init__(self, problem: Problem, folder: Path, **config: Any) -> None:
        given = {"trials": TRIALS, "retries": RETRIES, "pruner": "median", **config}
        self.params = search_params(**given)
        self.problem, self.folder = problem, folder
        self.search: Search = search_in(problem, self.params)
        self.processes: list[Process] = []
        self._place = opened(folder / "scratch", f"{self.search.problem}/{self.search.name}")
        place = self._place.__enter__()
        self.studies = [Study(place, plan) for plan in self.search.plans()]

    def start(self, count: int, **options: Any) -> list[Process]:
        first = len(self.processes)
        options = {"grace": GRACE, **options}
        started = [
            start_worker(self.problem, self.params, self.folder, first + k, **options)
            for k in range(count)
        ]
        self.processes += started
        return started

    def close(self) -> None:
        for process in self.processes:
            process.kill()  # those that a failed test has left
            process.wait()
        self._place.__exit__(None, None, None)

    def running(self) -> set[int]:
        """Process ids of those that are in the middle of a trial."""
        found = set()
        for study in self.studies:
            for trial in study.study.get_trials(deepcopy=False):
                if trial.state == TrialState.RUNNING and "values" in trial.user_attrs:
                    found.add(int(trial.user_attrs["worker"].split("-")[-2]))
        return found

    def done(self) -> int:
        return sum(study.counts()[state] for study in self.studies for state in COUNTED)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < until and any(p.poll() is None for p in self.processes), (
                self.logs()
            )
            time.sleep(0.05)

    def kill(self, processes: Sequence[Process]) -> None:
        """Kill -9 these in the middle of a trial each."""
        for process in processes:
            self.wait_until(lambda process=process: self._caught(process))  # type: ignore[misc]
            process.kill()
        for process in processes:
            assert process.wait() == -signal.SIGKILL

    def _caught(self, process: Process) -> bool:
        """Whether a process stands still in a trial: it cannot end it any more."""
        assert process.poll() is None, self.logs()
        if process.pid not in self.running():
            return False
        os.kill(process.pid, signal.SIGSTOP)
        if process.pid in self.running():
            return True
        os.kill(process.pid, signal.SIGCONT)
        return False

    def finish(self, processes: Sequence[Process]) -> None:
        for process in processes:
            assert process.wait(SECONDS) == 0, self.logs()

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

    def rows(self) -> list[Trial]:
        return trials_of(self.search, self.folder / "scratch", finished=True)

    def check(self) -> list[Trial]:
        """The trials; exactly as many as asked for are done, and none is left in the middle."""
        rows = self.rows()
        for study in self.studies:
            states = Counter(row["state"] for row in rows if row["study"] == study.plan.name)
            assert states["complete"] + states["pruned"] == TRIALS, states
            assert states["failed"] == 0, rows
            left = study.counts()
            assert left["running"] == 0 and left["waiting"] == 0, left
        lost = {(row["study"], row["number"]): row for row in rows if row["state"] == "lost"}
        again = {(row["study"], row["retry_of"]): row for row in rows if row["retries"]}
        taken = {key for key, row in lost.items() if row["params"]}  # the others had none yet
        assert again.keys() == taken, "each lost trial is tried again, once"
        for key, row in again.items():
            assert row["params"] == lost[key]["params"], "with the same params"
            assert row["baseline"] == lost[key]["baseline"]
            assert row["retries"] == lost[key]["retries"] + 1
        write_trials(self.folder / "trials.parquet", rows, {})
        for path in self.folder.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                for secret in (postgres.PASSWORD, postgres.ENCODED, "postgresql://searcher"):
                    assert secret.encode() not in content, path
        return rows


@pytest.fixture
def workers(problem: Problem, tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    made: list[Workers] = []

    def make(**config: Any) -> Workers:
        made.append(Workers(problem, tmp_path / "search", **config))
        return made[-1]

    yield make
    for one in made:
        one.close()


def three_families(make: Callable[..., Workers]) -> Workers:
    return make(sources=SOURCES, targets=list(TARGETS), space=SPACE, studies="per_target")


def test_two_of_four_workers_are_killed(place: str, workers: Callable[..., Workers]) -> None:
    search = three_families(workers)
    started = search.start(WORKERS, slow=0.5)
    chosen = random.Random(place).sample(started, 2)
    search.wait_until(lambda: search.done() >= 4)
    search.kill(chosen)
    search.finish([process for process in started if process not in chosen])
    rows = search.check()
    assert sum(row["state"] == "lost" for row in rows) == 2
    dead = {str(process.pid) for process in chosen}
    assert {row["worker"].split("-")[-2] for row in rows if row["state"] == "lost"} == dead
    assert {row["study"] for row in rows} == set(TARGETS)
    for target in TARGETS:
        of = [row for row in rows if row["study"] == target and row["state"] in COUNTED]
        assert sum(row["baseline"] for row in of) == len(SOURCES)
        assert {row["source"] for row in of} == set(SOURCES)
        assert all(row["value"] is not None and 0 <= row["value"] <= 1 for row in of)


def test_all_workers_are_killed_and_others_go_on(
    place: str, workers: Callable[..., Workers]
) -> None:
    search = three_families(workers)
    started = search.start(WORKERS, slow=0.5)
    search.wait_until(lambda: search.done() >= 3 and len(search.running()) == WORKERS)
    before = search.done()
    search.kill(started)
    # The last to be killed may just then have been between two trials.
    left = len(search.running())
    assert search.done() >= before and left >= WORKERS - 2
    search.finish(search.start(2))
    assert sum(row["state"] == "lost" for row in search.check()) == left


@pytest.mark.usefixtures("database")
def test_the_database_is_away_for_a_while(
    server: postgres.Postgres, workers: Callable[..., Workers]
) -> None:
    search = workers()
    started = search.start(3, slow=0.4)
    search.wait_until(lambda: search.done() >= 3)
    server.stop()
    try:
        time.sleep(4)
        assert all(process.poll() is None for process in started), search.logs()
    finally:
        server.start()
    search.finish(started)
    rows = search.check()
    assert all(row["value"] is not None for row in rows if row["state"] in COUNTED)
    assert "the database is away" in search.logs()


@pytest.mark.usefixtures("database")
def test_the_database_stays_away(
    server: postgres.Postgres, workers: Callable[..., Workers]
) -> None:
    search = workers()
    started = search.start(2, slow=0.4, outage=3.0)
    search.wait_until(lambda: search.done() >= 3)
    server.stop()
    try:
        for process in started:
            assert process.wait(SECONDS) == 1, search.logs()
    finally:
        server.start()
    for k in range(2):
        text = (search.folder / f"worker{k}.log").read_text()
        assert text.count("ERROR") == 2  # the level, and the word
        assert f"The database of {storage.URL} cannot be used" in text
        assert "Traceback" not in text and str(server.port) not in text
    search.finish(search.start(2))
    rows = search.check()
    assert sum(row["state"] == "lost" for row in rows) <= 2
