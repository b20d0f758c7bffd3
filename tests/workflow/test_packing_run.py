"""Two folders that share nothing: what one has built counts as built in the other."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from helpers import files_below
from workflow.conftest import CONFIG, Workspace, digests, make_workspace
from workflow.test_resume import finished_fits

OF_FITS = {"fit_fold", "assemble_source", "make_features", "split_inner"}


def commit(space: Workspace) -> Workspace:
    """Give a workspace a revision of its own, so that what it makes has other bytes."""
    for words in (
        ["init", "-q"],
        ["add", "rules"],
        ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", space.folder.name],
    ):
        subprocess.run(["git", *words], cwd=space.folder, check=True)
    return space


def rules(space: Workspace) -> set[str]:
    """Rules that a dry run would run."""
    return {job[0] for job in space.dry_run().jobs()}


@pytest.fixture
def archive(copied: Workspace, tmp_path: Path) -> Path:
    """The sources of a finished run and one blend; the machine that built them is gone."""
    path = tmp_path / "window.tar"
    shutil.rmtree(copied.path("blends", "champion"))
    copied.snakemake("pack", "--config", f"pack={path}")
    shutil.rmtree(copied.folder)
    return path


def test_what_was_packed_counts_as_built(archive: Path, tmp_path: Path) -> None:
    space = commit(make_workspace(tmp_path / "b"))
    run = space.snakemake("unpack", "--config", f"unpack={archive}")
    assert "sources/lgb" in run.text
    assert not OF_FITS & rules(space)
    jobs = space.dry_run().jobs()
    assert {job for job in jobs if job[0] == "blend_sources"} == {("blend_sources", "champion")}
    # It stays so when dates change, and with a source more that reads the same features.
    for path in [*space.path("tables").iterdir(), space.path("folds.parquet")]:
        path.touch()
    assert not OF_FITS & rules(space)
    new = {"family": "linear", "params": {"C": 0.1}}
    space.write_config(sources={**CONFIG["sources"], "new": new})
    fits = {job for job in space.dry_run().jobs() if job[0] in OF_FITS}
    assert fits == {*(("fit_fold", "new", str(k)) for k in range(3)), ("assemble_source", "new")}
    # It goes out of date by its params as anything that was built here.
    edited = {**CONFIG["sources"]["xgb"], "rounds": 31}
    space.write_config(sources={**CONFIG["sources"], "xgb": edited})
    fits = {job for job in space.dry_run().jobs() if job[0] in OF_FITS}
    assert fits == {*(("fit_fold", "xgb", str(k)) for k in range(3)), ("assemble_source", "xgb")}


def test_bytes_are_those_of_one_machine(archive: Path, finished: Workspace, tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "b")
    space.snakemake("unpack", "--config", f"unpack={archive}")
    space.snakemake()
    assert digests(space) == digests(finished)
    assert space.snakemake().nothing
    run = space.snakemake("unpack", "--config", f"unpack={archive}")
    assert "put in place" not in run.text and "differ here" not in run.text


def test_other_folds_and_other_code(archive: Path, tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "b", seed=8)
    run = space.snakemake("unpack", "--config", f"unpack={archive}", check=False)
    assert run.code != 0 and "Traceback" not in run.text
    assert "the folds differ" in run.text
    assert not space.path("sources").exists()
    # Another config of a source or other code is no matter of refusal, but of what is out of date.
    shutil.rmtree(space.results)
    edited = {**CONFIG["sources"]["xgb"], "rounds": 31}
    space.write_config(seed=7, sources={**CONFIG["sources"], "xgb": edited})
    space.edit("scripts/blendmake/families/linear.py", "\n\n\n", "\n\n\nMORE = 1\n\n\n")
    space.snakemake("unpack", "--config", f"unpack={archive}")
    fits = {job[1] for job in space.dry_run().jobs() if job[0] == "fit_fold"}
    assert fits == {"xgb", "logistic"}


def test_how_it_is_called(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "b")
    before = files_below(space.folder)
    run = space.snakemake("pack", check=False)
    assert "Name the archive: snakemake pack --config pack=FILE.tar" in run.text
    run = space.snakemake("unpack", check=False)
    assert "Name the archive: snakemake unpack --config unpack=FILE.tar" in run.text
    run = space.snakemake("pack", "--config", "pack=x.tar", "only=lbg", check=False)
    assert run.code != 0 and "did you mean 'lgb'?" in run.text
    left = [name for name in files_below(space.folder) if name not in before]
    left = [name for name in left if "__pycache__" not in name]
    assert not [name for name in left if not name.startswith((".snakemake", "logs"))]


def test_a_part_is_packed_with_what_it_stands_on(copied: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "part.tar"
    run = copied.snakemake("pack", "--config", f"pack={path}", "only=average,part")
    assert "sources/lgb" not in run.text and "blends/champion" not in run.text
    space = make_workspace(tmp_path / "b")
    space.snakemake("unpack", "--config", f"unpack={path}")
    jobs = space.dry_run().jobs()
    assert {job[1] for job in jobs if job[0] == "fit_fold"} == {"lgb"}
    assert {job[1] for job in jobs if job[0] == "blend_sources"} == {"champion", "both"}


def test_fits_of_a_killed_machine_go_on(tmp_path: Path) -> None:
    slow = {"xgb": {**CONFIG["sources"]["xgb"], "rounds": 400}}
    quiet: dict[str, Any] = {"blends": {}, "comparisons": [], "submissions": {}}
    a = make_workspace(tmp_path / "a", sources=slow, **quiet)
    a.snakemake("results/small/features/all/columns.parquet", "results/small/folds.parquet")
    process = subprocess.Popen(
        a.command(), cwd=a.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((a.folder / "scratch").rglob("*.parquet")):
        time.sleep(0.05)
    process.kill()
    process.wait()
    before = finished_fits(a)
    assert 0 < len(before) < 12, "the run was over before it could be killed"
    a.snakemake("pack", "--config", "pack=../x.tar")
    before = finished_fits(a)
    shutil.rmtree(a.folder)
    b = make_workspace(tmp_path / "b", sources=slow, **quiet)
    b.snakemake("unpack", "--config", "unpack=../x.tar")
    assert finished_fits(b) == before
    b.snakemake()
    after = finished_fits(b)
    assert len(after) == 12
    assert {fit: after[fit] for fit in before} == before


def test_searches_audits_groups_and_features_travel(tmp_path: Path) -> None:
    """All that fits may stand on, and models; then nothing of it is made again."""
    xgb: dict[str, Any] = {"family": "xgboost", "rounds": 5, "features": "chosen"}
    changes: dict[str, Any] = {
        "features": {
            "chosen": {
                "audit": {"name": "main", "list": "drift_pruned"},
                "target_encoding": {"columns": ["kind"]},
                "row_stats": "main",
            }
        },
        "groups": {"hard": {"lowest_auc": 2, "source": "first"}},
        "sources": {
            "first": {**xgb, "features": "all", "early_stopping": {"rounds": 3}},
            "second": {**xgb, "targets": "hard", "keep_models": True},
            "tuned": {**xgb, "features": "all", "params_from": "tune"},
        },
        "audits": {"main": {"rounds": 5, "null_repeats": 1, "repeats": 1, "shortlist": 3}},
        "searches": {
            "tune": {
                "source": "first",
                "targets": ["t0"],
                "trials": 2,
                "folds": [0, 1],
                "space": {"max_depth": {"low": 1, "high": 3}},
            }
        },
        "blends": {"both": {"method": "mean", "sources": "all"}},
        "comparisons": [],
        "submissions": {},
    }
    a = make_workspace(tmp_path / "a", **changes)
    a.snakemake()
    a.snakemake("pack", "--config", "pack=../x.tar", "only=both")
    models = [name for name in files_below(a.results) if "/models/" in name]
    assert models
    journal = (a.folder / "scratch/small/searches/tune/journal.log").read_bytes()
    shutil.rmtree(a.folder)
    b = commit(make_workspace(tmp_path / "b", **changes))
    run = b.snakemake("unpack", "--config", "unpack=../x.tar")
    assert "left out" not in run.text
    assert rules(b) <= {
        *("all", "build_leaderboard", "correlate_sources", "draw_figures", "draw_weights"),
        *("draw_audit", "draw_search", "draw_comparisons", "compare_artifacts"),
    }
    assert all((b.results / name).exists() for name in models)
    assert (b.folder / "scratch/small/searches/tune/journal.log").read_bytes() == journal
    manifest_of_features = b.path("features", "chosen", "fold0", "selection.parquet")
    assert manifest_of_features.exists()
    # A change far down reaches all that stands on it, as at home.
    b.write_config(audits={"main": {**changes["audits"]["main"], "rounds": 6}})
    fits = {job[1] for job in b.dry_run().jobs() if job[0] == "fit_fold"}
    assert fits == {"second"}


def test_a_preset_comes_as_it_was_written_out(tmp_path: Path) -> None:
    quiet: dict[str, Any] = {"sources": {}, "blends": {}, "comparisons": [], "submissions": {}}
    a = make_workspace(tmp_path / "a", preset="quick", **quiet)
    a.snakemake("results/small/folds.parquet")
    preset = json.loads(a.path("preset.json").read_text())
    # As if this machine had other cores, by which it was chosen.
    preset["sources"]["lightgbm"]["rounds"] = 3
    a.path("preset.json").write_text(json.dumps(preset, indent=1) + "\n")
    a.snakemake("results/small/sources/lightgbm/oof.parquet")
    a.snakemake("pack", "--config", "pack=../x.tar")
    b = make_workspace(tmp_path / "b", preset="quick", **quiet)
    b.snakemake("unpack", "--config", "unpack=../x.tar")
    assert json.loads(b.path("preset.json").read_text()) == preset
    assert not [job for job in b.dry_run().jobs() if job[:2] == ("fit_fold", "lightgbm")]
    c = make_workspace(tmp_path / "c", preset="quick", **quiet)
    c.snakemake("results/small/folds.parquet")
    run = c.snakemake("unpack", "--config", "unpack=../x.tar", check=False)
    assert run.code != 0 and "Delete results/small/preset.json" in run.text


# What is carried out of a machine while it works


def test_a_machine_that_dies_has_its_finished_work_elsewhere(tmp_path: Path) -> None:
    """Killed after its first folds; what was there then is not fitted again by another."""
    kept = tmp_path / "kept"
    kept.mkdir()
    slow = {"part": CONFIG["sources"]["part"], "xgb": {**CONFIG["sources"]["xgb"], "rounds": 300}}
    changes: dict[str, Any] = {"blends": {}, "comparisons": [], "submissions": {}, "sources": slow}
    a = make_workspace(tmp_path / "a", **changes)
    # It says so at once where it cannot.
    run = a.snakemake("--dry-run", "--config", f"keep_at={tmp_path}/none", check=False)
    assert run.code != 0 and "there is no such folder; mount its disk" in run.text
    process = subprocess.Popen(
        a.command("--config", f"keep_at={kept}"),
        cwd=a.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and len(list(kept.glob("small/sources.*.tar"))) < 3:
        time.sleep(0.05)
    assert process.poll() is None, "the run was over before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    held = sorted(path.name for path in kept.glob("small/sources.*.fold*.tar"))
    assert len(held) >= 2
    shutil.rmtree(a.folder)
    os.truncate(kept / "small" / held[-1], 20_000)  # its copy had not ended

    b = make_workspace(tmp_path / "b", **changes)
    run = b.snakemake("unpack", "--config", f"unpack={kept}")
    assert f"not taken: {kept}/small/{held[-1]} is damaged" in run.text
    before = finished_fits(b)
    assert before and "put in place" in run.text
    left = {f"{job[1]}.fold{job[2]}" for job in b.dry_run().jobs() if job[0] == "fit_fold"}
    assert left == {f"{s}.fold{k}" for s in slow for k in range(3)} - {
        name.partition(".oof")[0].removeprefix("sources.") for name in held[:-1]
    }
    run = b.snakemake("--config", f"keep_at={kept}")
    assert f"keep_at: what stands is at {kept} (" in run.text
    after = finished_fits(b)
    assert {fit: after[fit] for fit in before} == before  # each has its own seconds
    # Nothing is written again where nothing is to be done.
    dates = {path.name: path.stat().st_mtime_ns for path in kept.rglob("*.tar")}
    run = b.snakemake("--config", f"keep_at={kept}")
    assert run.nothing and "(0 archives written in this run, 0.0 MB)" in run.text
    assert dates == {path.name: path.stat().st_mtime_ns for path in kept.rglob("*.tar")}
    shutil.rmtree(b.folder)
    c = make_workspace(tmp_path / "c", **changes)
    c.snakemake("unpack", "--config", f"unpack={kept}")
    assert not OF_FITS & rules(c)
