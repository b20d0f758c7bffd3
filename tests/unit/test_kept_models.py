"""Kept models: damage is found before anything is loaded, and a file decides nothing of what is run."""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendmake.errors import BlendmakeError
from blendmake.fits.models import write_description
from helpers import flip_byte
from problems import Problem, kept_predictions, run_fold, synthetic

FAMILIES = ("linear", "lightgbm", "xgboost", "extra_trees")


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=200)


@pytest.fixture(scope="module")
def kept(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The models of some families, not to be changed."""
    folder = tmp_path_factory.mktemp("kept")
    return {
        name: run_fold(problem, name, folder / name, rounds=4, keep_models=True).outputs.models
        for name in FAMILIES
    }


@pytest.fixture
def models(kept: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept["linear"], tmp_path / "lin" / "fold0" / "models"))


def predicted(problem: Problem, models: Path) -> dict[str, Any]:
    return {t: kept_predictions(models, t, problem.test_files()) for t in problem.targets}


def edited(folder: Path, **changes: Any) -> None:
    """`models.json` with other entries, sealed again as a forger would."""
    description = json.loads((folder / "models.json").read_text())
    write_description({**description, **changes}, folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_damage_is_loaded(
    family: str, problem: Problem, kept: dict[str, Path], tmp_path: Path
) -> None:
    right = predicted(problem, kept[family])
    draw = random.Random(family)
    files = sorted(path.name for path in kept[family].iterdir())
    for number in range(12):
        models = Path(shutil.copytree(kept[family], tmp_path / f"{number}" / "fold0" / "models"))
        path = models / draw.choice(files)
        if number % 3:
            flip_byte(path, draw.randrange(path.stat().st_size))
        else:
            path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])
        told = []
        for target in problem.targets:
            try:
                found = kept_predictions(models, target, problem.test_files())
            except BlendmakeError as error:
                told.append(str(error))
            else:
                assert np.array_equal(found, right[target])  # from a model that is whole
        assert told
        mend = f"rm -r {models.parent} {models.parent.parent}/oof.parquet"
        assert all(f"{path} is damaged" in text and mend in text for text in told)


def test_what_is_missing_is_told(problem: Problem, models: Path) -> None:
    with pytest.raises(BlendmakeError, match="has no model of 'nobody'"):
        kept_predictions(models, "nobody", problem.test_files())
    for path in models.iterdir():
        if path.name != "models.json":
            path.unlink()
    with pytest.raises(BlendmakeError, match="No such file"):
        predicted(problem, models)
    (models / "models.json").unlink()
    with pytest.raises(BlendmakeError, match="keep_models: true"):
        predicted(problem, models)


def test_a_file_names_no_module(
    problem: Problem, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mischief.py").write_text("raise SystemExit('run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("mischief", "blendmake.fits.models", None, ["linear"]):
        edited(models, family=name)
        with pytest.raises(BlendmakeError, match="names the family"):
            predicted(problem, models)
    assert "mischief" not in sys.modules


@pytest.mark.parametrize("name", ["../outside.json", "/etc/passwd", "..", "a/../b", "link"])
def test_a_model_stands_beside_its_description(problem: Problem, models: Path, name: str) -> None:
    (models / "link").symlink_to("models.json")
    (models.parent / "outside.json").write_text("{}")
    listed = json.loads((models / "models.json").read_text())["models"]
    for bags in listed.values():
        bags[0]["file"] = name
    edited(models, models=listed)
    with pytest.raises(BlendmakeError, match="is no file of its folder"):
        predicted(problem, models)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"models": 1e999}'])
def test_a_description_of_another_shape_is_told(problem: Problem, models: Path, text: str) -> None:
    (models / "models.json").write_text(text)
    with pytest.raises(BlendmakeError, match=r"models\.json is damaged"):
        predicted(problem, models)


def test_a_damaged_model_in_scratch_is_fitted_again(problem: Problem, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    first = run_fold(problem, "linear", tmp_path / "a", scratch=scratch, keep_models=True)
    model = sorted(scratch.rglob("*-model*"))[0]
    flip_byte(model, model.stat().st_size // 2)
    second = run_fold(problem, "linear", tmp_path / "b", scratch=scratch, keep_models=True)
    right, again = (
        predicted(problem, first.outputs.models),
        predicted(problem, second.outputs.models),
    )
    for target in problem.targets:
        assert np.array_equal(right[target], again[target])
