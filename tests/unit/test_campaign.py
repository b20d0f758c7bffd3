"""The manifest of a campaign: of what stands, what is missing, and what is damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from blendmake.config.loading import load_problem
from blendmake.files import read_note, read_parquet
from blendmake.fits.assembly import assemble_source
from blendmake.fits.external import read_external
from blendmake.predictions import read_predictions
from blendmake.reports.campaign import manifest, manifest_text, write_manifest
from blendmake.scoring import score_artifact
from helpers import files_below, flip_byte
from problems import FOLDS, Problem, run_fold, synthetic

Item = dict[str, Any]
NAMES = ("linear", "trees")


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=150, test_rows=20)


@pytest.fixture(scope="module")
def finished(problem: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two sources, fitted, put together and scored as the workflow does."""
    folder = tmp_path_factory.mktemp("finished")
    settings: dict[str, dict[str, Any]] = {
        "linear": {"family": "linear"},
        "trees": {"family": "extra_trees", "rounds": 10, "targets": ["full"]},
    }
    for name in NAMES:
        here = folder / name
        parts = []
        for k in range(FOLDS):
            run_fold(problem, out=here / f"fold{k}", fold=k, **settings[name])
            parts.append({p: here / f"fold{k}" / f"{p}.parquet" for p in ("oof", "test", "fits")})
        inputs = problem.inputs
        out = {part: here / f"{part}.parquet" for part in ("oof", "test", "fits")}
        assemble_source(parts, inputs.folds, out, {"name": name})
        score_artifact(
            out["oof"],
            out["test"],
            inputs.targets,
            inputs.folds,
            here / "scores.parquet",
            estimate="oof",
            groups=None,
            test_targets=None,
            in_sample=None,
            note={},
        )
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "sources"))


def item(folder: Path, name: str, fits: bool = True) -> Item:
    """An artifact as a plan lists it."""
    here = folder / name
    parts = ("oof", "test", "fits", "scores") if fits else ("oof", "test", "scores")
    files = {part: str(here / f"{part}.parquet") for part in parts}
    found: Item = {"label": name, "files": list(files.values()), "scores": files["scores"]}
    found |= {f"{part}_path": files[part] for part in ("oof", "test")}
    return found | ({"fits": files["fits"]} if fits else {})


def listed(folder: Path, reasons: dict[str, str] | None = None) -> dict[str, Any]:
    items = [item(folder, name) for name in NAMES]
    return {entry["label"]: entry for entry in manifest(items, reasons or {})}


def test_what_stands_is_listed_with_what_it_is_worth(folder: Path) -> None:
    items = [
        item(folder, "trees"),
        item(folder, "linear", fits=False),
        {"label": "folds.parquet", "files": [str(folder / "linear" / "oof.parquet")]},
    ]
    entries = manifest(items, {"trees": "a reason that does not count: it stands"})
    assert [entry["label"] for entry in entries] == ["trees", "linear", "folds.parquet"]
    assert {entry["state"] for entry in entries} == {"built"}
    trees, linear, path = entries
    for entry in (trees, linear):
        assert entry["digest"] == read_note(Path(entry["oof_path"]))["content"]
        scores = read_parquet(folder / entry["label"] / "scores.parquet").to_pylist()
        macro = [row for row in scores if (row["target"], row["metric"]) == ("macro", "auc")]
        assert [entry["score"]] == [row["value"] for row in macro]
        assert 0.5 < entry["score"] < 1
    fits = read_parquet(folder / "trees" / "fits.parquet")
    assert trees["seconds"] == pytest.approx(sum(fits["seconds"].to_pylist()))
    assert trees["seconds"] > 0
    assert linear["seconds"] is None  # fitted elsewhere, or blended
    assert path == {"label": "folds.parquet", "state": "built"}


def test_what_is_missing_says_why(folder: Path) -> None:
    (folder / "trees" / "scores.parquet").unlink()
    absent = str(folder / "trees" / "scores.parquet")
    entry = listed(folder)["trees"]
    assert entry == {"label": "trees", "state": "missing", "reason": f"{absent} is not there"}
    (folder / "trees" / "fits.parquet").unlink()
    reason = listed(folder)["trees"]["reason"]
    assert reason.endswith("fits.parquet is not there (2 files)")
    left = "needs 5:00 more; 1:00 were left"
    entries = listed(folder, {"trees": left})
    assert entries["trees"] == {"label": "trees", "state": "missing", "reason": left}
    assert entries["linear"]["state"] == "built"


@pytest.mark.parametrize("part", ["oof", "test", "scores", "fits"])
@pytest.mark.parametrize("cut", [True, False])
def test_what_is_damaged_is_missing(part: str, cut: bool, folder: Path) -> None:
    path = folder / "trees" / f"{part}.parquet"
    if cut:
        path.write_bytes(path.read_bytes()[:-50])
    else:
        flip_byte(path, 40)  # among the values of the first column
    entries = listed(folder)
    assert entries["linear"]["state"] == "built"
    assert entries["trees"]["state"] == "missing"
    assert set(entries["trees"]) == {"label", "state", "reason"}
    reason = entries["trees"]["reason"]
    assert f"{path} is damaged" in reason and "Delete it and run the same command again" in reason


def test_the_text_for_the_terminal(folder: Path) -> None:
    (folder / "trees" / "oof.parquet").unlink()
    left = "needs 5:00 more; 1:00 were left"
    items = [
        item(folder, "linear"),
        item(folder, "trees"),
        {"label": "audits/x.txt", "files": [str(folder / "linear" / "oof.parquet")]},
    ]
    entries = manifest(items, {"trees": left})
    entries[0] |= {"score": 0.71234, "seconds": 12.6}
    assert manifest_text("night", entries, Path("out.json")).split("\n") == [
        "campaign night: 2 of 3 artifacts are built (out.json)",
        "  linear        0.7123      13 s",
        f"  trees                           missing: {left}",
        "  audits/x.txt",
    ]
    assert manifest_text("none", [], Path("out.json")).startswith("campaign none: 0 of 0")


def test_an_artifact_of_which_no_macro_score_is_known(folder: Path) -> None:
    """No target of it has both classes in a fold, say: it stands all the same."""
    entry = {**listed(folder)["trees"], "score": None}
    text = manifest_text("night", [entry], Path("out.json"))
    assert "1 of 1" in text and "missing" not in text


def test_another_problem_takes_what_stands(
    folder: Path, problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`manifests:` reads the file; entries without predictions, or missing, are passed over."""
    items = [
        item(folder, "linear"),
        {"label": "audit", "files": [str(folder / "linear" / "oof.parquet")]},
        item(folder, "trees"),
        {**item(folder, "trees"), "label": "gone", "files": ["nowhere"]},
    ]
    path = tmp_path / "campaigns" / "night.json"
    write_manifest(path, manifest(items, {}))
    assert files_below(path.parent) == ["night.json"]
    assert [entry["state"] for entry in json.loads(path.read_text())].count("missing") == 1
    given = {
        "problem": "other",
        "data": {"train": "t.csv", "id": "id", "targets": {"columns": ["full"]}},
        "blends": {"theirs": {"method": "mean", "sources": "all"}},
        "manifests": [str(path)],
    }
    external = load_problem(given).external
    assert list(external) == ["linear", "trees"]
    inputs = problem.inputs
    for name, one in external.items():
        out = {part: tmp_path / "read" / name / f"{part}.parquet" for part in ("oof", "test")}
        files = {"oof": one.oof, "test": one.test}
        read_external(
            files,
            inputs.targets,
            inputs.tables["test"],
            inputs.folds,
            out,
            id_columns=["id"],
            rename=None,
            note={},
        )
        for part, made in out.items():
            first = read_predictions(folder / name / f"{part}.parquet")
            assert np.array_equal(read_predictions(made).values, first.values)


def test_scores_of_other_rows_or_targets_are_not_side_by_side_without_a_word(folder: Path) -> None:
    entries = manifest([item(folder, "linear"), item(folder, "trees")], {})
    whole, part = entries
    assert (whole["folds"], part["targets"], part["folds"]) == ("all", 1, "all")
    assert whole["targets"] > 1
    lines = manifest_text("night", entries, Path("out.json")).split("\n")
    assert "  on " not in lines[1]
    assert lines[2].endswith(f"  on 1 of {whole['targets']} targets")
    tuned = {**whole, "folds": "3 4"}
    assert manifest_text("night", [tuned], Path("o")).endswith("  on folds 3 4")
