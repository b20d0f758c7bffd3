"""The unit of work: settings, seeds, what scratch gives back, locks, names of files."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendmake.config.features import FeatureSet
from blendmake.durations import clock
from blendmake.errors import BlendmakeError
from blendmake.features.sets import make_features
from blendmake.files import read_parquet
from blendmake.fits.settings import resolve_targets, settings_for
from blendmake.fits.table import FITS
from blendmake.seeds import derive_seed
from problems import (
    Done,
    Problem,
    kept_predictions,
    run_fold,
    source,
    synthetic,
    with_labels,
    write_problem,
)

EVERY = ["a", "b", "c", "d"]
GROUPS = {"ends": ["d", "a"], "middle": ["b", "c"], "wrong": ["a", "x"]}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240, test_rows=20)


# settings


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (["all"], EVERY),
        (["c", "a"], ["a", "c"]),
        (["ends"], ["a", "d"]),
        (["ends", "b", "a"], ["a", "b", "d"]),
        (["middle", "all"], EVERY),
    ],
)
def test_targets_are_spelled_out_in_the_order_of_the_table(
    chosen: list[str], expected: list[str]
) -> None:
    assert resolve_targets(chosen, GROUPS, EVERY) == expected


@pytest.mark.parametrize("chosen", [["nothing"], ["a", "wrong"]])
def test_a_name_that_is_no_target_is_refused(chosen: list[str]) -> None:
    name = "nothing" if chosen == ["nothing"] else "x"
    with pytest.raises(BlendmakeError, match=f"'{name}' is no target and no target group.*a, b"):
        resolve_targets(chosen, GROUPS, EVERY)


def test_the_most_specific_setting_wins() -> None:
    config = source(
        "xgboost",
        params={"eta": 0.1, "max_depth": 3, "subsample": 0.5},
        rounds=10,
        class_weight="balanced",
        overrides={
            "groups": {
                "ends": {"params": {"max_depth": 4, "learning_rate": 0.2}, "rounds": 20},
                "middle": {"early_stopping": {"rounds": 7}},
            },
            "targets": {
                "a": {"params": {"max_depth": 5}, "class_weight": 2.0},
                "b": {"params": {"eta": 0.4}},
            },
        },
    )
    aliases = {"eta": "learning_rate"}
    found = {target: settings_for(config, GROUPS, target, aliases) for target in EVERY}
    assert {target: dict(one.params) for target, one in found.items()} == {
        "a": {"learning_rate": 0.2, "max_depth": 5, "subsample": 0.5},
        "b": {"learning_rate": 0.4, "max_depth": 3, "subsample": 0.5},
        "c": {"learning_rate": 0.1, "max_depth": 3, "subsample": 0.5},
        "d": {"learning_rate": 0.2, "max_depth": 4, "subsample": 0.5},
    }
    assert {target: one.rounds for target, one in found.items()} == {
        "a": 20,
        "b": 10,
        "c": 10,
        "d": 20,
    }
    assert {target: one.class_weight for target, one in found.items()} == {
        "a": 2.0,
        "b": "balanced",
        "c": "balanced",
        "d": "balanced",
    }
    assert [found[target].early_stopping for target in "ad"] == [None, None]
    for target in "bc":
        assert found[target].early_stopping == {"rounds": 7, "watch": "inner"}


def test_an_override_switches_early_stopping_off() -> None:
    overrides = {"targets": {"b": {"early_stopping": False}}}
    config = source("xgboost", early_stopping={"rounds": 7}, overrides=overrides)
    assert settings_for(config, {}, "a").early_stopping == {"rounds": 7, "watch": "inner"}
    assert settings_for(config, {}, "b").early_stopping is None


def test_an_override_of_no_target_is_refused(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(BlendmakeError, match=r"overrides\.targets: there is no target 'nothing'"):
        run_fold(problem, "linear", tmp_path, overrides={"targets": {"nothing": {"rounds": 2}}})


def test_seeds_stay_what_they_are() -> None:
    # A change here changes every prediction that anybody has.
    assert derive_seed(1, "source", "full", 0, 0) == 215129221
    assert derive_seed(1, "source", "full", 1, 0) == 1479747157
    assert derive_seed(0, "inner", 3) == 265218598
    every = {
        derive_seed(seed, name, target, fold, 0)
        for seed in range(3)
        for name in ("a", "b", "ab")
        for target in ("t1", "t11", "t")
        for fold in range(5)
    }
    assert len(every) == 135
    assert all(0 <= seed < 2**31 for seed in every)


def test_fits_table(problem: Problem, tmp_path: Path) -> None:
    done = run_fold(problem, "linear", tmp_path, fold=1, seed=4)
    assert read_parquet(done.outputs.fits).schema.equals(FITS)
    for target, row in done.fits.items():
        assert row["seed"] == derive_seed(4, "source", target, 1, 0)
        assert row["seconds"] > 0 and row["peak_rss_mb"] > row["anonymous_mb"] > 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (61, "1:01"), (3599.6, "1:00:00"), (7384, "2:03:04")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_a_fold_that_does_not_exist(problem: Problem, tmp_path: Path) -> None:
    with pytest.raises(BlendmakeError, match="There is no fold 3"):
        run_fold(problem, "linear", tmp_path, fold=3)


# scratch


def stamps(scratch: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in scratch.glob("*/*.parquet")}


class Runs:
    """Runs of one source into the same scratch, and which fits each of them did."""

    def __init__(self, problem: Problem, folder: Path) -> None:
        self.problem, self.folder = problem, folder
        self.scratch = folder / "scratch"
        self.number = 0

    def __call__(self, problem: Problem | None = None, **settings: Any) -> tuple[Done, int]:
        """The results, and the number of fits done rather than found."""
        before = stamps(self.scratch)
        self.number += 1
        settings = {"family": "linear", "rounds": 20, **settings}
        done = run_fold(
            problem or self.problem,
            settings.pop("family"),
            self.folder / str(self.number),
            scratch=self.scratch,
            **settings,
        )
        after = stamps(self.scratch)
        return done, sum(before.get(path) != stamp for path, stamp in after.items())


@pytest.fixture
def runs(problem: Problem, tmp_path: Path) -> Runs:
    return Runs(problem, tmp_path)


def test_fits_in_scratch_are_not_done_again(runs: Runs, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "blendmake")
    first, count = runs()
    assert count == 4
    again, count = runs()
    assert count == 0
    assert "4 of 4 fits found in scratch" in caplog.text
    # Seconds and memory are those of the fit, not of the run that found it.
    assert again.fits == first.fits
    caplog.clear()
    path = next(path for path in stamps(runs.scratch) if "/gaps-" in path)
    Path(path).unlink()
    resumed, count = runs()
    assert count == 1
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "3 of 4 fits found in scratch"
    assert lines[1].startswith("source fold 0: gaps (4/4) auc 0.")
    assert lines[1].endswith("; 0:00 left")
    for part in ("oof", "test"):
        contents = {Path(getattr(d.outputs, part)).read_bytes() for d in (first, again, resumed)}
        assert len(contents) == 1


def test_a_target_more_costs_its_own_fit_only(runs: Runs) -> None:
    assert runs(targets=["full"])[1] == 1
    assert runs(targets=["full", "other"])[1] == 1


@pytest.mark.parametrize("damage", ["cut off", "a bit", "empty", "not parquet"])
def test_a_damaged_fit_is_done_again(
    damage: str, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    first, _ = runs()
    path = Path(next(path for path in stamps(runs.scratch) if "/full-" in path))
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[40] ^= 1
    changed = {
        "cut off": content[: len(content) // 2],
        "a bit": content,
        "empty": b"",
        "not parquet": b"x" * 100,
    }[damage]
    path.write_bytes(changed)
    again, count = runs()
    assert count == 1
    assert "is damaged: this fit is done again" in caplog.text
    assert np.array_equal(again.oof.values, first.oof.values)


def test_temporary_files_of_a_killed_run_are_no_fits(runs: Runs) -> None:
    runs()
    path = Path(next(iter(stamps(runs.scratch))))
    path.rename(path.with_name(f".{path.name}.1.tmp"))
    assert runs()[1] == 1


OTHERWISE: dict[str, dict[str, Any]] = {
    "params": {"params": {"C": 0.5}},
    "rounds": {"rounds": 21},
    "class weight": {"class_weight": "balanced"},
    "code": {"code": "other code"},
    "seed": {"seed": 2},
    "family": {"family": "extra_trees"},
}


@pytest.mark.parametrize("name", OTHERWISE)
def test_other_settings_do_not_find_the_fits(name: str, runs: Runs) -> None:
    assert runs()[1] == 4
    assert runs(**OTHERWISE[name])[1] == 4
    assert runs()[1] == 0  # and take nothing away


def test_an_override_touches_its_own_fits_only(runs: Runs) -> None:
    runs()
    assert runs(overrides={"targets": {"full": {"params": {"C": 0.5}}}})[1] == 1


def test_other_inputs_do_not_find_the_fits(runs: Runs, problem: Problem, tmp_path: Path) -> None:
    runs()
    labels = problem.labels.copy()
    labels[0, 0] = 1 - labels[0, 0]
    assert runs(with_labels(problem, labels, "relabelled"))[1] == 4
    # The same labels in another file are the same labels.
    assert runs(with_labels(problem, problem.labels, "copied"))[1] == 0
    fewer = tmp_path / "fewer.parquet"
    make_features(
        problem.inputs.tables,
        problem.inputs.tables["train"].with_name("columns.parquet"),
        FeatureSet(files={"main": {"first": 3}}).model_dump(),
        out_columns=fewer,
        out={part: tmp_path / f"{part}.arrow" for part in ("train", "test")},
    )
    inputs = {**vars(problem.inputs), "columns": fewer}
    other = Problem(
        problem.folder,
        type(problem.inputs)(**inputs),
        problem.targets,
        problem.labels,
        problem.features,
    )
    assert runs(other)[1] == 4


def test_models_wanted_later_are_fitted_for(runs: Runs, problem: Problem) -> None:
    assert runs()[1] == 4
    done, count = runs(keep_models=True)
    assert count == 4
    assert runs(keep_models=True)[1] == runs()[1] == 0
    model = next(path for path in runs.scratch.glob("*/full-*-model.json"))
    model.unlink()
    assert runs(keep_models=True)[1] == 1
    saved = kept_predictions(done.outputs.models, "full", problem.test_files())
    assert np.abs(saved - done.tested("full")).max() < 1e-6


HOLDS = """
import fcntl, os, sys, time
handle = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_run_waits_for_the_first(runs: Runs, tmp_path: Path) -> None:
    first, _ = runs()
    (lock,) = runs.scratch.glob("*/lock")
    for path in stamps(runs.scratch):
        Path(path).unlink()
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, lock], stdout=subprocess.PIPE)
    paths = {
        name: {part: str(p) for part, p in value.items()} if isinstance(value, dict) else str(value)
        for name, value in vars(runs.problem.inputs).items()
        if value is not None
    }
    code = f"""
import json, logging, sys
from pathlib import Path
sys.path[:0] = {sys.path[:]!r}
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
from problems import FoldInputs, Problem, run_fold
paths = {{
    name: {{part: Path(p) for part, p in value.items()}} if isinstance(value, dict) else Path(value)
    for name, value in json.loads({json.dumps(paths)!r}).items()
}}
problem = Problem(Path(), FoldInputs(**paths), (), None, {{}})
out, scratch = Path({str(tmp_path / "second")!r}), Path({str(runs.scratch)!r})
run_fold(problem, "linear", out, scratch=scratch, rounds=20)
"""
    second = subprocess.Popen([sys.executable, "-uc", code], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and second.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        assert "another run does the same work: waiting" in second.stdout.readline()
        time.sleep(0.3)
        assert second.poll() is None and not stamps(runs.scratch)
        # Killed outright, a run leaves no lock behind.
        holder.kill()
        rest = second.communicate(timeout=60)[0]
        assert second.returncode == 0 and "(4/4)" in rest
    finally:
        for process in (holder, second):
            process.kill()
            process.communicate()
    assert (tmp_path / "second" / "oof.parquet").read_bytes() == first.outputs.oof.read_bytes()


# names


LONG = "x" * 140
ODD = ["a/b c", "..", "models", "a.constant", "ü" * 60, f"{LONG}_one", f"{LONG}_two", "A", "%41"]


def test_odd_target_names(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(120, len(ODD)))
    labels = (x + 0.3 * rng.normal(size=x.shape) > 0).astype(float)
    train = {f"n{j}": x[:, j] for j in range(len(ODD))}
    test = {name: values[:15] + 0.01 for name, values in train.items()}
    made = write_problem(tmp_path / "p", train, test, labels, ODD, fold=np.arange(120) % 3)
    scratch = tmp_path / "scratch"
    done = run_fold(made, "linear", tmp_path / "out", scratch=scratch, keep_models=True)
    assert done.oof.targets == tuple(ODD)
    assert len(stamps(scratch)) == len(ODD)
    assert all(len(os.fsencode(path.name)) < 200 for path in scratch.glob("*/*"))
    assert {path.name for path in tmp_path.iterdir()} == {"p", "out", "scratch"}
    assert len(list(done.outputs.models.iterdir())) == len(ODD) + 1
    for target in ODD:
        assert done.fits[target]["score"] > 0.8, target
        saved = kept_predictions(done.outputs.models, target, made.test_files())
        assert np.abs(saved - done.tested(target)).max() < 1e-6, target
    before = stamps(scratch)
    again = run_fold(made, "linear", tmp_path / "out", scratch=scratch, keep_models=True)
    assert stamps(scratch) == before
    assert np.array_equal(again.oof.values, done.oof.values)
