"""The demo, whole: what `make run` builds, with real data and true test labels."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from workflow.conftest import assert_leaderboard_holds, copy_workflow


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_workflow(tmp_path_factory.mktemp("yeast") / "work")
    _snakemake(folder)
    return folder / "results" / "yeast"


def _snakemake(folder: Path, *arguments: str) -> str:
    # No config and no cores are named: profiles/default must do.
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


def test_the_champion_is_as_good_as_it_should_be(results: Path) -> None:
    rows = {row["name"]: row for row in pq.read_table(results / "leaderboard.parquet").to_pylist()}
    assert rows["champion"]["estimate"] == "cross_fitted"
    assert rows["champion"]["score"] >= 0.715
    assert rows["champion"]["test_score"] >= 0.70


def test_every_number_of_the_leaderboard_holds(results: Path) -> None:
    labels = {
        part: pq.read_table(results / "data" / f"{part}.parquet").to_pandas().set_index("gene")
        for part in ("targets", "test_targets")
    }
    rows = assert_leaderboard_holds(results, labels["targets"], labels["test_targets"])
    assert len(rows) == 9


def test_the_submission_is_shaped_as_the_sample(results: Path) -> None:
    sample = pq.read_table(results / "data" / "sample_submission.parquet")
    made = pq.read_table(results / "submissions" / "champion.parquet")
    assert made.num_rows == 917
    assert made.schema.names == sample.schema.names
    assert made.schema.types == sample.schema.types
    assert made["gene"].equals(sample["gene"])


def test_a_second_run_does_nothing(results: Path) -> None:
    assert "Nothing to be done" in _snakemake(results.parents[1])
    text = _snakemake(results.parents[1], "show_leaderboard", "--quiet", "all")
    assert "macro AUC" in text
    assert "submissions/champion.parquet" in text
