"""The journal of a search: no damage goes unseen, and the command of the message mends it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from blendmake.errors import BlendmakeError
from blendmake.searches.journal import Journal, check_journal

optuna.logging.set_verbosity(optuna.logging.ERROR)


def study_of(backend: JournalFileBackend) -> optuna.Study:
    storage = JournalStorage(backend)
    return optuna.create_study(study_name="s", storage=storage, load_if_exists=True)


def add_trial(study: optuna.Study, value: float) -> None:
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    trial.set_user_attr("seconds", 1.25)
    study.tell(trial, value)


def values_of(file: Path) -> list[Any]:
    return [(trial.value, trial.params) for trial in study_of(Journal(file)).trials]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Any]]:
    """A journal of three trials, and what stands in it."""
    file = tmp_path_factory.mktemp("journal") / "journal.log"
    for value in (0.25, 0.5, 0.75):
        add_trial(study_of(Journal(file)), value)
    return file.read_bytes(), values_of(file)


def test_optuna_reads_what_is_written(tmp_path: Path, written: tuple[bytes, list[Any]]) -> None:
    file = tmp_path / "journal.log"
    file.write_bytes(written[0])
    plain = study_of(JournalFileBackend(str(file)))
    assert [(trial.value, trial.params) for trial in plain.trials] == written[1]
    assert [value for value, _ in written[1]] == [0.25, 0.5, 0.75]


def test_a_changed_byte_is_found_wherever_it_is(
    tmp_path: Path, written: tuple[bytes, list[Any]]
) -> None:
    """The last newline alone may go: its line then counts as half written, as after a kill."""
    file, content = tmp_path / "journal.log", written[0]
    wrong = []
    for place in [*range(0, len(content) - 1, 5), len(content) - 2]:
        file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        line = content.count(b"\n", 0, place) + 1
        told = ""
        try:
            check_journal(file)
        except BlendmakeError as error:
            told = str(error)
        if f"line {line} is damaged" not in told:
            wrong.append((content[max(0, place - 20) : place + 1], told))
    assert wrong == []


@pytest.mark.parametrize("what", ["lost", "twice", "moved", "another journal's"])
def test_lines_out_of_place_are_found(
    tmp_path: Path, written: tuple[bytes, list[Any]], what: str
) -> None:
    file = tmp_path / "a folder" / "journal.log"
    file.parent.mkdir()
    lines = written[0].splitlines(keepends=True)
    changed = {
        "lost": [*lines[:4], *lines[5:]],
        "twice": [*lines[:5], *lines[4:]],
        "moved": [*lines[:4], lines[5], lines[4], *lines[6:]],
        "another journal's": [*lines[:4], lines[8], *lines[4:]],
    }
    file.write_bytes(b"".join(changed[what]))
    with pytest.raises(BlendmakeError) as told:
        Journal(file)
    command = str(told.value).split("before it: ")[1].split("; then")[0]
    subprocess.run(command, shell=True, check=True)
    stands = values_of(file)
    assert stands == written[1][: len(stands)] or stands[-1][0] is None
    add_trial(study_of(Journal(file)), 1.0)
    assert values_of(file)[-1][0] == 1.0


def test_a_journal_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    add_trial(study_of(JournalFileBackend(str(file))), 0.25)
    earlier = file.read_bytes()
    assert b'"check"' not in earlier
    add_trial(study_of(Journal(file)), 0.5)
    assert [value for value, _ in values_of(file)] == [0.25, 0.5]
    content = file.read_bytes()
    # What stood last without a digest is held by the first line that has one.
    file.write_bytes(content.replace(b"0.25]", b"0.26]"))
    with pytest.raises(BlendmakeError, match=rf"line {earlier.count(bytes([10]))} is damaged"):
        check_journal(file)


@settings(max_examples=20)
@given(st.lists(st.text(max_size=200), max_size=5), st.integers(0, 200_000))
def test_any_entry_is_held(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], size: int
) -> None:
    file = tmp_path_factory.mktemp("any") / "journal.log"
    logs = [{"op_code": 2, "text": text} for text in texts] + [{"op_code": 2, "text": "x" * size}]
    for log in logs:
        Journal(file).append_logs([log])
    Journal(file).append_logs(logs)
    read = [{k: v for k, v in log.items() if k != "check"} for log in Journal(file).read_logs(0)]
    assert read == logs * 2
    assert all(json.loads(line)["check"] for line in file.read_bytes().splitlines())
