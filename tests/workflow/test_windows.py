"""Windows of time, campaigns that fail, priorities and presets, by Snakemake for real."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from workflow.conftest import CONFIG, Workspace, make_workspace

CHEAP: dict[str, Any] = {
    "lgb": {"family": "lightgbm", "rounds": 10, "params": {"num_leaves": 7}},
    "logistic": {"family": "linear"},
    "trees": {"family": "extra_trees", "rounds": 10},
}
RENAME = CONFIG["submissions"]["rename"]
DEAR = {"family": "catboost", "rounds": 50_000_000}
NOTHING_ELSE: dict[str, Any] = {"blends": {}, "comparisons": [], "submissions": {}}


def mean(*sources: str) -> dict[str, Any]:
    return {"method": "mean", "sources": list(sources)}


def entries(space: Workspace, campaign: str) -> dict[str, dict[str, Any]]:
    """The entries of a manifest by label, in its order."""
    listed = json.loads(space.path("campaigns", f"{campaign}.json").read_text())
    return {entry["label"]: entry for entry in listed}


def shown(space: Workspace) -> set[str]:
    """What the leaderboard lists."""
    return set(pq.read_table(space.path("leaderboard.parquet"))["name"].to_pylist())


def left_files(space: Workspace, *names: str) -> list[str]:
    """Files that are there of artifacts that should not be."""
    found = [path for path in space.results.rglob("*") if set(names) & {path.stem, *path.parts}]
    return sorted(str(path.relative_to(space.results)) for path in found)


# A window that is too short for all


def test_what_fits_is_built_and_the_rest_is_told(tmp_path: Path) -> None:
    space = make_workspace(
        tmp_path / "work",
        sources={"dear": DEAR, "lgb": CHEAP["lgb"], "logistic": CHEAP["logistic"]},
        blends={"every": mean("dear", "lgb"), "small": mean("lgb", "logistic")},
        comparisons=[["every", "small"], ["small", "lgb"]],
        submissions={"blends": ["every", "small"], "rename": RENAME},
        campaigns={"night": ["dear", "every", "small"], "rest": ["logistic"]},
    )
    run = space.snakemake("--config", "window=30m")
    for name in ("dear", "every"):
        assert f"left for another window: {name} (needs " in run.text
    assert "left for another window: small" not in run.text
    assert "The window of 30:00 has left for another run: dear, every. " in run.text
    assert shown(space) == {"lgb", "logistic", "small"}
    assert left_files(space, "dear", "every", "every__vs__small") == []
    assert space.path("submissions", "small.parquet").exists()
    assert space.path("comparisons", "small__vs__lgb.parquet").exists()
    # The same window again: nothing is left to do of what it chooses.
    assert space.snakemake("--config", "window=30m").nothing
    # A campaign in the window: its manifest says what is left, and why.
    run = space.snakemake("campaign_night", "--config", "window=30m")
    assert "campaign night: 1 of 3 artifacts are built" in run.text
    found = entries(space, "night")
    assert list(found) == ["dear", "every", "small"]
    assert found["small"]["state"] == "built" and found["small"]["score"] > 0.5
    for name in ("dear", "every"):
        assert found[name]["state"] == "missing"
        assert found[name]["reason"].startswith("needs ")
    # Without a window it would all be built.
    wanted = space.dry_run().jobs()
    assert {("fit_fold", "dear", str(k)) for k in range(3)} <= wanted
    assert ("blend_sources", "every") in wanted and ("blend_sources", "small") not in wanted


# A deadline in the middle of a source


BAGS, PAUSE, WINDOW = 16, 1, 12  # more than a window of pauses

SLOW = f"""
import time
import numpy as np

def fit_fold(fold):
    time.sleep({PAUSE})
    draw = np.random.default_rng(fold.seed)
    shapes = [(len(part), len(fold.targets)) for part in (fold.valid, fold.test)]
    return tuple(draw.random(shape) for shape in shapes)
"""


def kept_fits(space: Workspace) -> dict[str, bytes]:
    paths = (space.folder / "scratch/small/sources/slow").rglob("*.parquet")
    return {str(path.relative_to(space.folder)): path.read_bytes() for path in paths}


def bags_of(kept: Mapping[str, bytes]) -> int:
    return len(kept) // 4  # targets


def test_a_deadline_ends_a_source_between_fits_and_the_next_run_goes_on(tmp_path: Path) -> None:
    space = make_workspace(
        tmp_path / "work",
        sources={
            "slow": {"family": "custom", "file": "slow.py", "bagging": {"bags": BAGS}},
            "logistic": CHEAP["logistic"],
        },
        **NOTHING_ELSE,
    )
    (space.folder / "slow.py").write_text(SLOW)
    # What a fit reads stands before; the window is then that of fits alone.
    space.snakemake("results/small/sources/logistic/fold0/oof.parquet")
    whole = "results/small/sources/slow/oof.parquet"
    run = space.snakemake(whole, "--cores", "1", "--config", f"window={WINDOW}")
    [begun] = (space.folder / "logs/small/fit_fold/slow").iterdir()  # the others are not begun
    fold = int(begun.stem.removeprefix("fold"))
    goal = f"results/small/sources/slow/fold{fold}/oof.parquet"
    lines = [line for line in run.text.splitlines() if "The window of this run is over" in line]
    assert len(set(lines)) == 1 and "ERROR: " not in run.text and "Traceback" not in run.text
    told = [line for line in run.text.splitlines() if "has left for another run" in line]
    window = f"The window of 0:{WINDOW} has left for another run: slow. "
    assert told == [f"{window}Run the same command again to go on."]
    before = kept_fits(space)
    done = bags_of(before)
    assert 0 < done < BAGS and len(before) == 4 * done
    assert f"{4 * done} of {4 * BAGS} fits of slow fold {fold} are done and kept." in lines[0]
    assert left_files(space, "slow") == ["sources/slow"] or not space.path("sources/slow").exists()

    space.snakemake(goal)
    after = kept_fits(space)
    assert bags_of(after) == BAGS
    assert {name: after[name] for name in before} == before
    log = (space.folder / f"logs/small/fit_fold/slow/fold{fold}.log").read_text()
    assert f"{4 * done} of {4 * BAGS} fits found in scratch" in log
    fits = pq.read_table(space.folder / goal.replace("oof", "fits")).to_pylist()
    assert len({(row["target"], row["bag"]) for row in fits}) == len(fits) == 4 * BAGS
    assert space.snakemake(goal).nothing


# A campaign that fails


def test_a_campaign_that_fails_leaves_a_manifest_with_reasons(tmp_path: Path) -> None:
    wrong = {"family": "lightgbm", "rounds": 5, "params": {"num_leafs": 7}}
    space = make_workspace(
        tmp_path / "work",
        sources={"logistic": CHEAP["logistic"], "wrong": wrong, "dear": DEAR},
        blends={"both": mean("logistic", "wrong"), "one": mean("logistic")},
        comparisons=[],
        submissions={},
        campaigns={"night": ["wrong", "logistic", "both", "dear", "one", "tables/targets.parquet"]},
    )
    run = space.snakemake("campaign_night", "--config", "window=30m", check=False)
    assert run.code == 1
    assert "num_leafs" in run.text and "campaign night: 3 of 6 artifacts are built" in run.text
    found = entries(space, "night")
    assert list(found) == space.config["campaigns"]["night"]
    built = [label for label, entry in found.items() if entry["state"] == "built"]
    assert built == ["logistic", "one", "tables/targets.parquet"]
    for label in ("wrong", "both"):
        assert found[label]["reason"] == "not built in this run; see the errors above"
    assert found["dear"]["reason"].startswith("needs ")
    assert found["logistic"]["seconds"] > 0
    # Mended, the same campaign ends well, and its manifest is of now.
    sources = {**space.config["sources"], "wrong": CHEAP["lgb"]}
    space.write_config(sources=sources)
    space.snakemake("campaign_night", "--config", "window=30m")
    states = {label: entry["state"] for label, entry in entries(space, "night").items()}
    assert states == {**dict.fromkeys(found, "built"), "dear": "missing"}


# Priorities


def test_what_a_campaign_lists_first_is_fitted_first(tmp_path: Path) -> None:
    """Also by a run that asks for all; and a blend comes as soon as its sources are there."""
    order = ["trees", "logistic", "lgb"]
    space = make_workspace(
        tmp_path / "work",
        sources=CHEAP,
        blends={"early": mean("trees", "logistic")},
        comparisons=[],
        submissions={},
        campaigns={"night": order},
    )
    space.snakemake("--cores", "1")
    made = {
        path.parts[-2] if path.stem.startswith("fold") else "early": path.stat().st_mtime_ns
        for path in sorted((space.folder / "logs/small").rglob("*.log"), key=_written)
        if path.parts[-3] == "fit_fold" or path.parts[-2:] == ("blend_sources", "early.log")
    }
    # Of each source, the log that was written last.
    assert sorted(made, key=lambda name: made[name]) == ["trees", "logistic", "early", "lgb"]
    logs = sorted((space.folder / "logs/small/fit_fold").rglob("*.log"), key=_written)
    fitted = [path.parts[-2] for path in logs]
    assert fitted == [name for name in order for _ in range(3)]


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


# Presets


def test_a_preset_is_plain_config(tmp_path: Path) -> None:
    """Built, frozen, and the same when it is written out and taken for the config."""
    space = make_workspace(tmp_path / "work", blends={}, sources={}, comparisons=[])
    own = {"own": mean("vector", "logistic")}
    submissions = {"csv": True, "rename": RENAME}
    changes: dict[str, Any] = {"preset": "quick", "blends": own}
    space.write_config(**changes, submissions=submissions)
    assert not space.path("preset.json").exists()
    space.snakemake()
    chosen = json.loads(space.path("preset.json").read_text())
    assert list(chosen["sources"]) == ["vector", "logistic", "lightgbm"]
    assert shown(space) == {*chosen["sources"], *chosen["blends"], "own"}
    assert space.path("submissions", "champion.csv").exists()
    assert space.snakemake().nothing
    command = space.command("show_config", "--quiet", "all")
    done = subprocess.run(command, cwd=space.folder, capture_output=True, text=True, check=True)
    written = yaml.safe_load(done.stdout)
    assert "preset" not in written and set(written["blends"]) == {*chosen["blends"], "own"}
    space.config = written
    space.write_config()
    assert space.snakemake().nothing


# Budgets


def planted(space: Workspace, factor: str) -> None:
    """Have every rule of thumb be wrong by so much."""
    old = "    return folds * JOB + times * (1 if together else targets) * max(LEAST, one)"
    new = f"    return {factor} * (folds * JOB + times * (1 if together else targets) * max(LEAST, one))"
    space.edit("scripts/blendmake/triage.py", old, new)


def budget_run(space: Workspace, seconds: int) -> tuple[str, str]:
    """Spend a budget: all that is said, and the line of what is handed in and left out."""
    began = time.monotonic()
    run = space.snakemake()
    # That it keeps to its time is for a bench to measure; that it ends at all is seen here.
    assert time.monotonic() - began <= 2 * seconds
    lines = [line for line in run.text.splitlines() if line.startswith("budget ")]
    assert len(lines) == 1
    return run.text, lines[0]


@pytest.mark.parametrize("factor", ["0.1", "10"])
def test_a_budget_hands_in_though_its_first_prediction_is_wrong_by_ten_times(
    factor: str, tmp_path: Path
) -> None:
    space = make_workspace(
        tmp_path / "work",
        **{**NOTHING_ELSE, "submissions": {"csv": True, "rename": RENAME}},
        sources={},
        preset="quick",
        budget="150s",  # far more than it needs where nothing else runs
    )
    planted(space, factor)
    text, line = budget_run(space, 150)
    assert "handed in: results/small/submissions/" in line and "LAST RESORT" not in line
    assert "tables and folds stand" in text and " stands, macro AUC 0." in text
    best = line.split("(")[1].split(";")[0]
    for suffix in ("csv", "parquet"):
        handed_in = space.path(f"submission.{suffix}")
        assert handed_in.read_bytes() == space.path("submissions", f"{best}.{suffix}").read_bytes()
    assert not list(space.path("submissions").glob("last_resort*"))
    frozen = json.loads(space.path("preset.json").read_text())
    whole = frozen["whole"]
    # What stands is made of ordinary artifacts: a run that looks finds nothing to be done of them.
    files = [f"results/small/sources/{name}/oof.parquet" for name in whole]
    assert space.dry_run(f"results/small/submissions/{best}.csv", *files).nothing
    status = space.snakemake("status").text
    assert all(re.search(rf"^{name} +source +built ", status, re.M) for name in whole)


def test_where_no_source_can_end_a_linear_model_on_a_sample_is_handed_in(tmp_path: Path) -> None:
    """Of a source that is longer than the budget whatever the machine; its fits go on the next time."""
    space = make_workspace(
        tmp_path / "work",
        **{**NOTHING_ELSE, "submissions": {"rename": RENAME}},
        sources={},
        preset="quick",
        budget="60s",
    )
    first = "        units = self.units(targets, folder)\n        held_out"
    space.edit("scripts/blendmake/fits/fold_job.py", first, f"        time.sleep(600)\n{first}")
    _, line = budget_run(space, 60)
    assert "LAST RESORT handed in, a linear model on a sample (macro AUC 0." in line
    assert ", as no source ended in time: " in line and "logistic (" in line
    table = pq.read_table(space.path("submission.parquet"))
    note = json.loads(table.schema.metadata[b"blendmake"])["last_resort"]
    assert note["kind"] == "linear" and note["macro_auc"] > 0.6
    assert table.column_names == ["id", "p2", "p0", "p1", "p3"] and table.num_rows == 120
    assert space.path("submissions", "last_resort.parquet").exists()


@pytest.mark.parametrize("damage", ["{", "[]"])
def test_a_damaged_preset_is_one_message(damage: str, tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "work", sources={}, **NOTHING_ELSE, preset="quick")
    space.path("preset.json").parent.mkdir(parents=True)
    space.path("preset.json").write_text(damage)
    run = space.snakemake("--dry-run", check=False)
    assert run.code == 1 and "Traceback" not in run.text
    assert "preset.json is damaged (" in run.text
    assert "). Delete it, and the preset is chosen anew: rm " in run.text
