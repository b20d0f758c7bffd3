"""Locks of scratch folders: parts beside each other, the whole alone, and an end to waiting."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from blendmake.errors import BlendmakeError
from blendmake.scratch import locked
from blendmake.window import DEADLINE

HOLDER = """
import sys
sys.path[:0] = {path!r}
import logging
from pathlib import Path
from blendmake.scratch import locked
from blendmake.window import heed_sigterm
heed_sigterm()
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
part = sys.argv[2] or None
try:
    with locked(Path(sys.argv[1]), part=part):
        print("held", flush=True)
        sys.stdin.read()
except Exception as error:
    print(error, flush=True)
"""


class Holder:
    """Another process that holds a folder, or waits for it, until it is let go."""

    def __init__(self, folder: Path, part: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-uc", HOLDER.format(path=sys.path[:]), str(folder), part],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def holders(tmp_path: Path) -> Iterator[list[Holder]]:
    made: list[Holder] = []
    yield made
    for one in made:
        one.end()


WAITS = "another run does the same work: waiting for it"


def test_parts_go_beside_each_other_and_the_whole_alone(
    tmp_path: Path, holders: list[Holder]
) -> None:
    def hold(part: str = "") -> Holder:
        holders.append(Holder(tmp_path, part))
        return holders[-1]

    first, second = hold("0of2"), hold("1of2")
    assert first.says() == second.says() == "held"
    same, whole = hold("0of2"), hold()
    assert same.says() == whole.says() == WAITS
    first.end()
    assert same.says() == "held"
    same.end()
    second.end()  # however it dies
    assert whole.says() == "held"
    part = hold("0of2")
    assert part.says() == WAITS
    whole.end()
    assert part.says() == "held"


def test_a_job_that_waits_can_be_told_to_end(tmp_path: Path, holders: list[Holder]) -> None:
    holders += [Holder(tmp_path), Holder(tmp_path)]
    first = next(one for one in holders if one.says() == "held")
    waiting = holders[1 - holders.index(first)]
    time.sleep(0.1)
    os.kill(waiting.process.pid, signal.SIGTERM)
    said = waiting.says()
    assert "told to end (SIGTERM" in (said if said != WAITS else waiting.says())
    assert first.process.poll() is None


def test_a_window_that_is_over_ends_the_wait_but_takes_what_is_free(
    tmp_path: Path, holders: list[Holder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(DEADLINE, str(time.time() - 1))
    with locked(tmp_path):
        pass
    holders.append(Holder(tmp_path))
    assert holders[0].says() == "held"
    with pytest.raises(BlendmakeError, match="Another run does the same work"), locked(tmp_path):
        pass
