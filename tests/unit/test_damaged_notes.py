"""Small files that the project writes for itself: damage is told, or costs no more than the note."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from blendmake.errors import BlendmakeError
from blendmake.preflight.record import record_findings
from blendmake.runs import MARKS, OWN, live_runs
from blendmake.searches.joining import joined
from blendmake.searches.working import Worker
from blendmake.window import STARTED

GARBAGE = ["", "{", "[]", "null", "3", '{"inputs": 1}', '{"trials": [1]}', '{"run": 1}', "[" * 9999]


@pytest.mark.parametrize("text", [*GARBAGE, '{"trials": {"s": "3"}}'])
def test_what_a_worker_has_left(tmp_path: Path, text: str) -> None:
    files = [tmp_path / f"{k}.json" for k in range(2)]
    for file in files:
        file.write_text('{"trials": {"s": 3}}')
    assert joined([*map(str, files)]) == {"trials": {"s": 3}, "workers": 2}
    files[1].write_text(text)
    with pytest.raises(BlendmakeError, match=rf"1\.json is damaged .*: rm {files[1]}"):
        joined([*map(str, files)])


@pytest.mark.parametrize("text", [*GARBAGE, '{"run": "now"}', '{"run": "now", "began": "x"}'])
def test_when_a_worker_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(STARTED, "now")
    note = tmp_path / "began" / "0.json"
    note.parent.mkdir()
    note.write_text(text)
    worker: Any = SimpleNamespace(scratch=tmp_path, number=0)
    assert Worker._spent_before(worker) == 0
    assert json.loads(note.read_text())["run"] == "now"


@pytest.mark.parametrize("text", [text for text in GARBAGE if text])
def test_the_mark_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OWN, raising=False)
    MARKS.mkdir(parents=True)
    mark = MARKS / "login-2-4711.json"
    mark.write_text(text)
    with open(mark) as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (found,) = live_runs()
    assert (found.host, found.process) == ("login-2", 4711)
    assert "its mark is damaged" in str(found)


@pytest.mark.parametrize("text", [*GARBAGE, '{"inputs": {"train": 3}}', '{"inputs": {"t": {}}}'])
def test_the_record_of_a_preflight(tmp_path: Path, text: str) -> None:
    record, data = tmp_path / "preflight.json", tmp_path / "a.csv"
    data.write_text("x\n1\n")
    record.write_text(text)
    (finding,) = record_findings(record, {"train": str(data)}, {}, [])
    assert "first run: 1 files recorded" in finding.found
