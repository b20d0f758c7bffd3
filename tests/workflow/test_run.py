"""The whole workflow on a small problem: what it builds, and that it builds it once."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from blendmake.starts.client import can_fork
from workflow.conftest import (
    Workspace,
    assert_leaderboard_holds,
    copy_workflow,
    digests,
    make_workspace,
)


def test_everything_is_built(finished: Workspace) -> None:
    for name in ("lgb", "xgb", "logistic", "part"):
        for file in ("oof", "test", "fits", "scores"):
            assert finished.path("sources", name, f"{file}.parquet").exists()
    for name in ("champion", "average", "both"):
        for file in ("oof", "test", "weights", "scores"):
            assert finished.path("blends", name, f"{file}.parquet").exists()
    assert finished.path("report", "leaderboard.svg").exists()
    assert not list((finished.folder / "scratch").rglob("*.parquet")), "scratch outlived its source"


@pytest.mark.skipif(not can_fork(), reason="Linux alone has fork servers")
def test_jobs_start_no_interpreters_of_their_own(finished: Workspace) -> None:
    jobs = list((finished.folder / "logs/small").rglob("*.log"))
    started = (finished.folder / "interpreters").read_text().splitlines()
    assert len(jobs) > 40
    # Snakemake's own, and a server for each number of threads that jobs have.
    assert len(started) <= 3, started


def test_second_run_does_nothing(finished: Workspace) -> None:
    assert finished.snakemake().nothing


def test_predictions_have_the_ids_and_targets_of_the_tables(finished: Workspace) -> None:
    train = pq.read_table(finished.folder / "tables/train.parquet")
    test = pq.read_table(finished.folder / "tables/test.parquet")
    for name, targets in (("lgb", ["t0", "t1", "t2", "t3"]), ("part", ["t0", "t3"])):
        oof = pq.read_table(finished.path("sources", name, "oof.parquet"))
        out = pq.read_table(finished.path("sources", name, "test.parquet"))
        assert oof.column_names == out.column_names == ["id", *targets]
        assert oof["id"].equals(train["id"])
        assert out["id"].equals(test["id"])
        assert {str(oof.schema.field(t).type) for t in targets} == {"float"}


def test_leaderboard_is_what_the_parquet_files_say(finished: Workspace) -> None:
    labels = pq.read_table(finished.folder / "tables/targets.parquet").to_pandas().set_index("id")
    rows = assert_leaderboard_holds(finished.results, labels)
    assert {row["name"] for row in rows} == {
        *("lgb", "xgb", "logistic", "part", "champion", "average", "both")
    }


def test_submission_is_shaped_as_the_sample(finished: Workspace) -> None:
    sample = pq.read_table(finished.folder / "tables/sample.parquet")
    made = pq.read_table(finished.path("submissions", "champion.parquet"))
    assert made.column_names == sample.column_names
    assert made.schema.types == sample.schema.types
    assert made["id"].equals(sample["id"])
    test = pq.read_table(finished.path("blends", "champion", "test.parquet")).to_pandas()
    frame = made.to_pandas().set_index("id")
    assert np.array_equal(frame["p2"][test["id"]].to_numpy(np.float32), test["t2"].to_numpy())
    assert finished.path("submissions", "champion.csv").exists()


def test_artifacts_tell_how_they_were_made(finished: Workspace) -> None:
    schema = pq.read_schema(finished.path("sources", "xgb", "oof.parquet"))
    note = json.loads(schema.metadata[b"blendmake"])
    assert note["config"]["params"] == {"max_depth": 3}
    assert note["versions"]["numpy"]
    assert len(note["code"]) == 32
    assert note["name"] == "xgb"
    fold = json.loads(
        pq.read_schema(finished.path("sources", "xgb", "fold0", "oof.parquet")).metadata[
            b"blendmake"
        ]
    )
    assert fold["versions"]["xgboost"]


def test_status_and_leaderboard_are_printed(finished: Workspace) -> None:
    text = finished.snakemake("status").text
    assert "champion" in text
    assert "12/12" in text
    assert "macro AUC" in finished.snakemake("show_leaderboard").text


def test_status_knows_partly_built_sources(copied: Workspace) -> None:
    copied.path("sources", "lgb", "oof.parquet").unlink()
    copied.path("sources", "lgb", "fits.parquet").unlink()
    for name in ("oof", "fits"):
        copied.path("sources", "lgb", "fold1", f"{name}.parquet").unlink()
    line = next(x for x in copied.snakemake("status").text.splitlines() if x.startswith("lgb"))
    assert "partly" in line
    assert "2/3" in line
    assert "8/12" in line


def test_one_artifact_can_be_asked_for(finished: Workspace, tmp_path) -> None:
    space = make_workspace(tmp_path / "work")
    space.snakemake("results/small/sources/xgb/test.parquet")
    assert sorted(p.name for p in space.path("sources").iterdir()) == ["xgb"]
    asked = digests(space)
    everything = digests(finished)
    assert asked
    assert all(everything[name] == digest for name, digest in asked.items())


def test_results_of_problems_lie_side_by_side(copied: Workspace) -> None:
    before = digests(copied)
    copied.write_config(problem="other", blends={}, comparisons=[], submissions={})
    copied.snakemake("results/other/sources/logistic/oof.parquet")
    assert copied.path("sources", "logistic", "oof.parquet").exists()
    copied.config["problem"] = "small"
    assert digests(copied) == before


def test_a_problem_without_test_rows(tmp_path) -> None:
    space = make_workspace(
        tmp_path / "work",
        data={"train": "tables/train.parquet", "targets": "tables/targets.parquet", "id": "id"},
        submissions={},
        sources={name: {"family": name, "rounds": 10} for name in ("xgboost", "lightgbm")},
        blends={"b": {"method": "stack", "sources": "all"}},
        comparisons=[],
    )
    space.snakemake()
    assert pq.read_table(space.path("blends", "b", "test.parquet")).num_rows == 0


def test_a_report_is_made(copied: Workspace) -> None:
    copied.snakemake("--report", "report.html")
    text = (copied.folder / "report.html").read_text()
    assert "leaderboard" in text
    assert len(text) > 100_000


def test_no_problem_named(tmp_path) -> None:
    space = Workspace(copy_workflow(tmp_path / "work"), {"problem": "none"})
    (space.folder / "problem.yaml").write_text("{}\n")
    run = space.snakemake("--dry-run", check=False)
    assert run.code != 0
    assert "No problem is given" in run.text
