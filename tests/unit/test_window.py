"""The time of a run: no work is begun that would not end in it, and the next run goes on."""

from __future__ import annotations

import importlib
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES, extra_trees
from blendmake.family import Fitted
from blendmake.window import DEADLINE, RESERVE, open_window, require_time, time_left
from fold_data import fold_data, joint_fit
from helpers import files_below
from joint_family import Together
from problems import Done, Problem, run_fold, stored_fits, synthetic

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(autouse=True)
def no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window is open, and none stays open afterwards."""
    monkeypatch.setenv(DEADLINE, "")
    monkeypatch.delenv(DEADLINE)
    monkeypatch.setitem(FAMILIES, "joint_family", "joint_family")


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=150, test_rows=10)


def end_in(seconds: float) -> None:
    os.environ[DEADLINE] = str(time.time() + seconds)


def end_now() -> None:
    end_in(-1)


# The deadline


def test_without_a_window_there_is_time_for_all() -> None:
    assert time_left() == math.inf
    require_time(1e9, "")


def test_a_window_keeps_a_reserve() -> None:
    open_window(1000)
    assert time_left() == pytest.approx(1000 * (1 - RESERVE), abs=2)
    require_time(890, "")
    with pytest.raises(BlendmakeError):
        require_time(901, "")


def test_what_a_run_starts_keeps_its_deadline() -> None:
    open_window(1000)
    given = os.environ[DEADLINE]
    open_window(5)  # as a job does that reads the same config
    assert os.environ[DEADLINE] == given
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "from blendmake.window import *\n"
        "open_window(7200)\n"
        "print(time_left())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == pytest.approx(time_left(), abs=60)


MESSAGES: list[tuple[float, float, str]] = [
    (-30, 0, "The window of this run is over: 0:00 left. 3 of 4 fits are kept. Run the same"),
    (-30, 0.4, "The window of this run is over: 0:00 left. 3 of 4 fits are kept. Run the same"),
    (125.4, 3600, "over: 2:05 left; the next takes about 1:00:00. 3 of 4 fits are kept."),
]


@pytest.mark.parametrize(("left", "seconds", "message"), MESSAGES)
def test_the_message_says_what_is_left_and_what_is_kept(
    left: float, seconds: float, message: str
) -> None:
    end_in(left)
    with pytest.raises(BlendmakeError) as error:
        require_time(seconds, "3 of 4 fits are kept.")
    assert message in str(error.value)
    assert str(error.value).endswith("Run the same command again to go on.")


# Fits of a fold


@dataclass
class Watched:
    """The fits that are made, and what happens after one of them, by its number."""

    targets: list[str] = field(default_factory=list)
    after: dict[int, Callable[[], None]] = field(default_factory=dict)

    def tell(self, target: str) -> None:
        self.targets.append(target)
        self.after.get(len(self.targets), lambda: None)()


def watched(monkeypatch: pytest.MonkeyPatch, family: type[Any]) -> Watched:
    seen = Watched()
    fit = family.fit

    def told(self: Any, task: Any) -> Fitted:
        made: Fitted = fit(self, task)
        seen.tell(task.title)
        return made

    monkeypatch.setattr(family, "fit", told)
    return seen


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Fits of the family `extra_trees`, one after another."""
    return watched(monkeypatch, extra_trees.FAMILY)


@pytest.fixture
def joint_fits(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Fits of a family of one model for all targets."""
    return watched(monkeypatch, Together)


def run(problem: Problem, folder: Path, family: str = "extra_trees", **settings: Any) -> Done:
    settings = {"rounds": 5, **settings} if family == "extra_trees" else settings
    return run_fold(problem, family, folder / "out", scratch=folder / "scratch", **settings)


def stopped(problem: Problem, folder: Path, family: str = "extra_trees", **settings: Any) -> str:
    """The message with which a fold ends; nothing of it stands but what is in scratch."""
    with pytest.raises(BlendmakeError) as error:
        run(problem, folder, family, **settings)
    assert not (folder / "out").exists()
    return str(error.value)


def contents(done: Done) -> tuple[bytes, bytes]:
    return done.outputs.oof.read_bytes(), done.outputs.test.read_bytes()


def kept_files(folder: Path) -> dict[str, bytes]:
    names = [name for name in files_below(folder / "scratch") if name.endswith(".parquet")]
    return {name: (folder / "scratch" / name).read_bytes() for name in names}


def test_no_fit_is_begun_after_the_end_and_the_next_run_goes_on(
    problem: Problem, fits: Watched, tmp_path: Path
) -> None:
    whole = run(problem, tmp_path / "whole")
    every, fits.targets = fits.targets, []
    assert len(every) == 4
    fits.after[2] = end_now
    message = stopped(problem, tmp_path)
    assert fits.targets == every[:2]
    assert message.startswith("The window of this run is over: 0:00 left. ")
    assert "2 of 4 fits of source fold 0 are done and kept." in message
    before = kept_files(tmp_path)
    assert len(before) == 2 == len(stored_fits(problem, tmp_path / "scratch"))
    # In a window that is over, the same command does nothing, and loses nothing.
    assert "2 of 4 fits" in stopped(problem, tmp_path)
    assert fits.targets == every[:2] and kept_files(tmp_path) == before
    del os.environ[DEADLINE]
    done = run(problem, tmp_path)
    assert fits.targets == every
    assert {name: kept_files(tmp_path)[name] for name in before} == before
    assert contents(done) == contents(whole)


def test_a_fit_that_would_not_end_is_not_begun(
    problem: Problem, fits: Watched, tmp_path: Path
) -> None:
    """It is taken to need as long as the longest so far."""
    fits.after = {2: lambda: time.sleep(1.0), 3: lambda: end_in(0.9)}
    assert "3 of 4 fits" in stopped(problem, tmp_path)
    assert time_left() > 0 and len(fits.targets) == 3


def test_the_next_run_remembers_how_long_fits_take(
    problem: Problem, fits: Watched, tmp_path: Path
) -> None:
    fits.after = {1: lambda: time.sleep(1.5), 2: end_now}
    stopped(problem, tmp_path)
    end_in(1.4)
    message = stopped(problem, tmp_path)
    assert len(fits.targets) == 2
    assert "; the next takes about 0:02. 2 of 4 fits" in message
    end_in(600)
    run(problem, tmp_path)
    assert len(fits.targets) == 4


def test_a_fold_whose_fits_stand_needs_no_time(
    problem: Problem, fits: Watched, tmp_path: Path
) -> None:
    fits.after[4] = end_now
    first = run(problem, tmp_path)
    again = run_fold(
        problem, "extra_trees", tmp_path / "again", scratch=tmp_path / "scratch", rounds=5
    )
    assert len(fits.targets) == 4 and contents(again) == contents(first)


def test_bags_of_all_targets_are_kept_one_by_one(
    problem: Problem, joint_fits: Watched, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"bagging": {"bags": 3}, "rounds": 5}
    whole = run(problem, tmp_path / "whole", "joint_family", **settings)
    joint_fits.targets.clear()
    joint_fits.after[1] = end_now
    message = stopped(problem, tmp_path, "joint_family", **settings)
    assert "4 of 12 fits of source fold 0 are done and kept." in message
    assert {bag for _, bag in stored_fits(problem, tmp_path / "scratch")} == {0}
    del os.environ[DEADLINE]
    done = run(problem, tmp_path, "joint_family", **settings)
    assert len(joint_fits.targets) == 3
    assert contents(done) == contents(whole)


def test_a_model_of_all_targets_takes_the_time_of_all_its_fits(
    problem: Problem, joint_fits: Watched, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"bagging": {"bags": 2}, "rounds": 5}
    joint_fits.after[1] = lambda: (time.sleep(1.2), end_now())[1]
    stopped(problem, tmp_path, "joint_family", **settings)
    end_in(1.1)
    message = stopped(problem, tmp_path, "joint_family", **settings)
    assert "the next takes about 0:01. 4 of 8 fits" in message
    assert len(joint_fits.targets) == 1


# Networks go on between epochs


NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [16], "batch_size": 32},
    "tabm": {"k": 2, "d_block": 16, "batch_size": 32, "n_bins": 8, "d_embedding": 4},
}
each_network = pytest.mark.parametrize("family", sorted(NETWORKS))


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """Epochs of networks, as texts: each is told with its number."""
    pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    from blendmake.neural.trainer import Trainer

    seen = Watched()
    epoch = Trainer._epoch

    def told(self: Trainer, number: int) -> None:
        epoch(self, number)
        seen.tell(str(number))

    monkeypatch.setattr(Trainer, "_epoch", told)
    return seen


def train(problem: Problem, family: str, scratch: Path, stop_rounds: int | None) -> Fitted:
    data = fold_data(problem, inner=stop_rounds is not None)
    scratch.mkdir(exist_ok=True)
    params = NETWORKS[family]
    task = joint_fit(problem, data, scratch, params=params, rounds=7, stop_rounds=stop_rounds)
    made: Fitted = importlib.import_module(FAMILIES[family]).FAMILY(data, 1).fit(task)
    return made


@each_network
@pytest.mark.parametrize("stop_rounds", [None, 20])
def test_a_network_stops_between_epochs_and_goes_on_to_the_same_bytes(
    family: str, stop_rounds: int | None, problem: Problem, epochs: Watched, tmp_path: Path
) -> None:
    whole = train(problem, family, tmp_path / "whole", stop_rounds)
    assert epochs.targets == list("0123456")
    epochs.targets.clear()
    # Epochs are short here: most of them would write no checkpoint by themselves.
    epochs.after = {3: end_now, 5: end_now}
    for done in (3, 5):
        with pytest.raises(BlendmakeError, match=f"{done} epochs of this fit are done and kept"):
            train(problem, family, tmp_path / "cut", stop_rounds)
        assert files_below(tmp_path / "cut") == ["checkpoint.pt"]
        assert len(epochs.targets) == done
        end_in(600)
    resumed = train(problem, family, tmp_path / "cut", stop_rounds)
    assert epochs.targets == list("0123456")
    assert np.array_equal(whole.valid, resumed.valid) and np.array_equal(whole.test, resumed.test)
    assert whole.rounds == resumed.rounds
    assert stop_rounds is None or np.array_equal(whole.stop_scores, resumed.stop_scores)


def test_an_epoch_that_would_not_end_is_not_begun(
    problem: Problem, epochs: Watched, tmp_path: Path
) -> None:
    epochs.after = {2: lambda: time.sleep(1.0), 3: lambda: end_in(0.9)}
    with pytest.raises(BlendmakeError, match="3 epochs of this fit are done and kept"):
        train(problem, "mlp", tmp_path / "cut", None)
    assert time_left() > 0 and len(epochs.targets) == 3


def test_no_epoch_leaves_no_checkpoint(problem: Problem, epochs: Watched, tmp_path: Path) -> None:
    end_now()
    with pytest.raises(BlendmakeError, match="0 epochs of this fit are done and kept"):
        train(problem, "mlp", tmp_path / "cut", None)
    assert epochs.targets == [] and files_below(tmp_path / "cut") == []


def test_a_source_of_networks_goes_on_within_a_fit(
    problem: Problem, epochs: Watched, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings: dict[str, Any] = {"params": NETWORKS["mlp"], "rounds": 4, "bagging": {"bags": 2}}
    whole = run(problem, tmp_path / "whole", "mlp", **settings)
    epochs.targets.clear()
    epochs.after[6] = end_now
    message = stopped(problem, tmp_path, "mlp", **settings)
    assert message.startswith("sources.source: The window of this run is over: 0:00 left. 2 epochs")
    assert {bag for _, bag in stored_fits(problem, tmp_path / "scratch")} == {0}
    del os.environ[DEADLINE]
    with caplog.at_level(logging.INFO, "blendmake"):
        done = run(problem, tmp_path, "mlp", **settings)
    assert "4 of 8 fits found in scratch" in caplog.text
    assert "going on after epoch 2" in caplog.text
    assert epochs.targets == list("01230123")
    assert contents(done) == contents(whole)
    assert not list((tmp_path / "scratch").rglob("*.pt"))


def test_a_fit_that_can_go_on_is_begun_though_it_would_not_end(
    problem: Problem, epochs: Watched, tmp_path: Path
) -> None:
    """Else windows shorter than a fit would never end one."""
    settings: dict[str, Any] = {"params": NETWORKS["mlp"], "rounds": 4, "bagging": {"bags": 2}}
    epochs.after = {2: lambda: time.sleep(2.0), 4: lambda: end_in(1.9), 5: end_now}
    message = stopped(problem, tmp_path, "mlp", **settings)
    assert "1 epochs of this fit" in message and epochs.targets == list("01230")
