"""Bags, specialists on built groups, and predictions of somebody else, by Snakemake for real."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from workflow.conftest import Workspace, copy_workflow, write_tables

TARGETS = ["t0", "t1", "t2", "t3"]
BAGGED = {
    "family": "lightgbm",
    "rounds": 8,
    "params": {"num_leaves": 5},
    "bagging": {"bags": 3, "negatives_per_positive": 2},
    "overrides": {"targets": {"t0": {"bagging": {"bags": 2}}}},
}
FITS = 2 * (2 + 3 * 3)  # of the source `bagged`, over folds, targets and bags
CONFIG: dict[str, Any] = {
    "problem": "mixed",
    "seed": 3,
    "data": {
        "train": "tables/train.parquet",
        "test": "tables/test.parquet",
        "id": "id",
        "targets": "tables/targets.parquet",
    },
    "folds": {"n": 2},
    "groups": {
        "first": ["t2"],
        "rare": {"rate_at_most": 0.23},
        "weak": {"lowest_auc": 1, "source": "lgb"},
        "unused": {"rarest": 1},
    },
    "sources": {
        "lgb": {"family": "lightgbm", "rounds": 20, "early_stopping": {"rounds": 5}},
        "bagged": BAGGED,
        "special": {"family": "linear", "targets": "rare"},
        "expert": {"family": "linear", "targets": "weak", "params": {"C": 0.5}},
    },
    "external": {"theirs": {"oof": "theirs/oof.csv", "test": "theirs/test.csv"}},
    "manifests": "theirs/manifest.json",
    "blends": {"crossed": {"method": "cross_target", "sources": "all"}},
    "submissions": {
        "blends": ["crossed"],
        "rename": {"pattern": "^t", "replace": "predict_t"},
    },
}


def predictions(folder: Path, seed: int) -> dict[str, pd.DataFrame]:
    """Predictions by id in another order, named as in a submission; six characters each."""
    draw = np.random.default_rng(seed)
    made = {}
    for part, table in (("oof", "train"), ("test", "test")):
        ids = pq.read_table(folder / f"tables/{table}.parquet")["id"].to_pylist()
        values = draw.integers(1000, 9000, (len(ids), 4)) / 10_000
        frame = pd.DataFrame(values, index=pd.Index(ids, name="id"))
        frame.columns = [f"predict_{target}" for target in TARGETS]
        made[part] = frame.iloc[draw.permutation(len(ids))]
    return made


def write_theirs(folder: Path) -> None:
    """An external source as two CSV files, and one as a manifest has it: of two targets only."""
    theirs = folder / "theirs"
    theirs.mkdir()
    for part, frame in predictions(folder, 1).items():
        frame.to_csv(theirs / f"{part}.csv", float_format="%.4f")
    for part, frame in predictions(folder, 2).items():
        frame[["predict_t3", "predict_t1"]].reset_index().to_parquet(theirs / f"{part}.parquet")
    paths = {f"{part}_path": f"theirs/{part}.parquet" for part in ("oof", "test")}
    (theirs / "manifest.json").write_text(json.dumps([{"label": "listed", **paths}]))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run that tests look at but do not change."""
    folder = copy_workflow(tmp_path_factory.mktemp("mixed") / "work")
    write_tables(folder / "tables")
    write_theirs(folder)
    space = Workspace(folder)
    space.write_config(**CONFIG)
    space.snakemake()
    return space


@pytest.fixture
def copied(mixed: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished run, free to be changed; dates are kept."""
    shutil.copytree(mixed.folder, tmp_path / "work", symlinks=True)
    return Workspace(tmp_path / "work", dict(mixed.config))


def table(space: Workspace, *parts: str) -> pd.DataFrame:
    return pq.read_table(space.path(*parts)).to_pandas()


def members(space: Workspace, group: str) -> list[str]:
    found: list[str] = table(space, "groups", f"{group}.parquet")["target"].tolist()
    return found


# What is built


def test_nothing_is_left_to_do(mixed: Workspace) -> None:
    assert mixed.snakemake().nothing
    assert not list((mixed.folder / "scratch").rglob("*.parquet"))


def test_specialists_cover_the_groups_that_were_found(mixed: Workspace) -> None:
    labels = pd.read_parquet(mixed.folder / "tables/targets.parquet").set_index("id")
    rates = labels.mean()
    assert rates["t1"] > 0.23 > rates["t2"] > rates["t3"]
    assert members(mixed, "rare") == ["t3"]  # t2 is in the group above
    # Of the targets that the groups above have left.
    fits = table(mixed, "sources", "lgb", "fits.parquet")
    assert set(fits["stopped_on"]) == {"inner"}
    left = fits[fits["target"].isin(["t0", "t1"])].groupby("target")["stop_score"].mean()
    assert members(mixed, "weak") == [left.idxmin()]
    assert table(mixed, "groups", "weak.parquet")["value"].tolist() == [pytest.approx(left.min())]
    for source, group in (("special", "rare"), ("expert", "weak")):
        for part in ("oof", "test"):
            found = table(mixed, "sources", source, f"{part}.parquet")
            assert list(found.columns) == ["id", *members(mixed, group)]
    assert not mixed.path("groups", "unused.parquet").exists()


def test_bags_are_fits_of_their_own(mixed: Workspace) -> None:
    fits = table(mixed, "sources", "bagged", "fits.parquet")
    assert len(fits) == FITS
    assert fits.groupby("target")["bag"].nunique().to_dict() == dict(
        zip(TARGETS, (2, 3, 3, 3), strict=True)
    )
    assert fits["seed"].nunique() == FITS
    drawn = fits[fits["target"] != "t0"]
    most = np.minimum(3 * drawn["positives"], 200)  # a fold's training rows
    assert (drawn["rows"] == most).all()
    assert drawn["rows"].min() < 150
    labels = pd.read_parquet(mixed.folder / "tables/targets.parquet").set_index("id")
    oof = table(mixed, "sources", "bagged", "oof.parquet").set_index("id")
    # Corrected: near the share of positives, though a third of what t3's bags saw was positive.
    assert abs(oof["t3"].mean() - labels["t3"].mean()) < 0.06


def test_their_predictions_are_put_in_order(mixed: Workspace) -> None:
    for name, seed, targets in (("theirs", 1, TARGETS), ("listed", 2, ["t1", "t3"])):
        for part, frame in predictions(mixed.folder, seed).items():
            rows = "train" if part == "oof" else part
            ids = pq.read_table(mixed.folder / f"tables/{rows}.parquet")["id"].to_pylist()
            found = table(mixed, "sources", name, f"{part}.parquet")
            assert found["id"].tolist() == ids
            assert list(found.columns) == ["id", *targets]
            expected = frame.loc[ids, [f"predict_{t}" for t in targets]].to_numpy(np.float32)
            assert np.array_equal(found[targets].to_numpy(), expected)
    rows = table(mixed, "leaderboard.parquet").set_index("name")
    assert set(rows.index) == {*CONFIG["sources"], "theirs", "listed", "crossed"}
    assert rows.loc["theirs", "score"] < 0.6 < rows.loc["lgb", "score"]
    sent = table(mixed, "submissions", "crossed.parquet")
    assert list(sent.columns) == ["id", *(f"predict_{target}" for target in TARGETS)]


def lines_of_status(space: Workspace) -> dict[str, str]:
    lines = space.snakemake("status").text.splitlines()
    names = {*CONFIG["sources"], "theirs", "listed", "crossed"}
    return {line.split()[0]: line for line in lines if line.split() and line.split()[0] in names}


def test_status_counts_bags(copied: Workspace) -> None:
    lines = lines_of_status(copied)
    assert f"{FITS}/{FITS}" in lines["bagged"]
    assert "2/2" in lines["special"] and "2/2" in lines["expert"]
    assert lines["theirs"].split()[:3] == ["theirs", "source", "built"]
    for name in ("oof", "test", "fits"):
        copied.path("sources", "bagged", f"{name}.parquet").unlink()
        copied.path("sources", "bagged", "fold1", f"{name}.parquet").unlink()
    copied.path("groups", "weak.parquet").unlink()
    copied.path("sources", "theirs", "test.parquet").unlink()
    lines = lines_of_status(copied)
    assert lines["bagged"].split()[2:5] == ["partly", "1/2", f"{FITS // 2}/{FITS}"]
    assert lines["expert"].split()[2:5] == ["built", "2/2", "2/?"]
    assert lines["theirs"].split()[2] == "missing"


# What a change rebuilds


def rebuilt(space: Workspace) -> dict[str, set[str]]:
    """What a dry run would do about groups and sources, by rule."""
    jobs: dict[str, set[str]] = {}
    for rule, *wild in space.dry_run().jobs():
        if rule in ("build_group", "fit_fold", "read_external"):
            jobs.setdefault(rule, set()).add(wild[0])
    return jobs


def test_a_groups_rule_rebuilds_what_names_it(copied: Workspace) -> None:
    groups = CONFIG["groups"]
    copied.write_config(groups={**groups, "weak": {"lowest_auc": 2, "source": "lgb"}})
    assert rebuilt(copied) == {"build_group": {"weak"}, "fit_fold": {"expert"}}
    # The groups below leave out other targets then.
    copied.write_config(groups={**groups, "rare": {"rate_at_most": 0.18}})
    assert rebuilt(copied) == {"build_group": {"rare", "weak"}, "fit_fold": {"special", "expert"}}
    copied.write_config(groups={**groups, "unused": {"rarest": 2}})
    assert copied.dry_run().nothing
    # A list above them, too.
    copied.write_config(groups={**groups, "first": ["t1"]})
    assert rebuilt(copied) == {"build_group": {"rare", "weak"}, "fit_fold": {"special", "expert"}}


def test_a_refit_source_ranks_its_targets_again(copied: Workspace) -> None:
    lgb = {**CONFIG["sources"]["lgb"], "rounds": 21}
    copied.write_config(sources={**CONFIG["sources"], "lgb": lgb})
    assert rebuilt(copied) == {"build_group": {"weak"}, "fit_fold": {"lgb", "expert"}}


def test_their_changed_file_is_read_again(copied: Workspace) -> None:
    """Newer and of the same size; a date alone is no change."""
    path = copied.folder / "theirs" / "oof.csv"
    path.touch()
    assert copied.snakemake().nothing
    size = path.stat().st_size
    frame = predictions(copied.folder, 5)["oof"]
    frame.to_csv(path, float_format="%.4f")
    assert path.stat().st_size == size
    assert rebuilt(copied) == {"read_external": {"theirs"}}
    copied.snakemake("results/mixed/sources/theirs/oof.parquet")
    found = table(copied, "sources", "theirs", "oof.parquet").set_index("id")
    expected = frame["predict_t2"].loc[found.index].to_numpy(np.float32)
    assert np.array_equal(found["t2"], expected)


def test_what_is_wrong_with_their_file_is_told_at_the_end(copied: Workspace) -> None:
    path = copied.folder / "theirs" / "test.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    run = copied.snakemake("results/mixed/sources/theirs/oof.parquet", check=False)
    assert run.code != 0
    assert "ERROR: theirs/test.csv lacks ids" in run.text


# kill -9

GOAL = "results/mixed/sources/bagged/oof.parquet"
SLOWER = {**BAGGED, "rounds": 120}


def finished_bags(space: Workspace) -> dict[int, float]:
    """Seconds of every finished fit, by its seed, from scratch and from files of folds."""
    found = {}
    for path in (space.folder / "scratch").rglob("*.parquet"):
        if not path.name.startswith("."):
            row = json.loads(pq.read_schema(path).metadata[b"blendmake"])["fit"]
            found[row["seed"]] = row["seconds"]
    for path in space.results.glob("sources/bagged/fold*/fits.parquet"):
        for row in pq.read_table(path).to_pylist():
            found[row["seed"]] = row["seconds"]
    return found


def kill_once_finished(space: Workspace, fits: int) -> None:
    """Run until so many more fits stand in scratch, then kill -9 the whole process tree."""
    scratch = space.folder / "scratch"
    before = len(list(scratch.rglob("[!.]*.parquet")))
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        space.command(GOAL), cwd=space.folder, stdout=quiet, stderr=quiet, start_new_session=True
    )
    try:
        while len(list(scratch.rglob("[!.]*.parquet"))) < before + fits:
            assert process.poll() is None, "the run was over before it could be killed"
            time.sleep(0.005)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    time.sleep(0.2)


def test_a_killed_bagged_source_repeats_no_bag(copied: Workspace, tmp_path: Path) -> None:
    copied.write_config(sources={**CONFIG["sources"], "bagged": SLOWER})
    shutil.rmtree(copied.path("sources", "bagged"))
    shutil.copytree(copied.folder, tmp_path / "undisturbed", symlinks=True)
    undisturbed = Workspace(tmp_path / "undisturbed", dict(copied.config))
    undisturbed.snakemake(GOAL)
    kept: dict[int, float] = {}
    for _ in range(2):
        kill_once_finished(copied, 3)
        now = finished_bags(copied)
        assert len(kept) < len(now) < FITS
        assert kept.items() <= now.items(), "a finished bag was lost or done again"
        kept = now
    copied.snakemake(GOAL)
    final = finished_bags(copied)
    assert len(final) == FITS
    assert kept.items() <= final.items()
    for part in ("oof", "test", "fold0/oof", "fold1/test"):
        digest = {
            hashlib.sha256(space.path("sources", "bagged", f"{part}.parquet").read_bytes()).digest()
            for space in (copied, undisturbed)
        }
        assert len(digest) == 1, part
    assert not list((copied.folder / "scratch").rglob("*.parquet"))
