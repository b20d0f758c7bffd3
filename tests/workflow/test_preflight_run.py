"""`snakemake preflight`: a table, a last line, and an exit code that tells."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflow.conftest import REPO, Run, Workspace, make_workspace

QUIET = {"blends": {}, "comparisons": [], "sources": {}, "submissions": {}}
RENAME = {"rename": {"pattern": "^t", "replace": "p"}}


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path / "work", **{**QUIET, "submissions": RENAME})
    shutil.copytree(REPO / "envs", made.folder / "envs", dirs_exist_ok=True)
    return made


def failing(space: Workspace, *arguments: str) -> Run:
    """A run that fails by itself, and says so in one line, once more at the end."""
    run = space.snakemake("preflight", *arguments, check=False)
    assert run.code != 0
    assert "Traceback" not in run.text
    errors = [line for line in run.text.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) >= 2
    assert len(set(errors)) == 1
    assert "The preflight has failed: " in errors[0]
    return run


def failed_lines(run: Run) -> list[str]:
    return [line for line in run.text.splitlines() if line.startswith("FAIL ")]


def test_a_clean_pass(space: Workspace) -> None:
    sources = {
        "lgb": {"family": "lightgbm", "rounds": 500, "early_stopping": {"rounds": 10}},
        "logistic": {"family": "linear", "features": "encoded"},
    }
    features = {"encoded": {"target_encoding": {"columns": ["kind"]}, "row_stats": "main"}}
    space.write_config(sources=sources, features=features)
    run = space.snakemake("preflight")
    assert failed_lines(run) == []
    for words in (
        "pass  fit lgb",
        "pass  fit logistic",
        " 0 failed",
        "first run: 4 files recorded",
    ):
        assert words in run.text
    # It remembers the inputs, and builds nothing.
    assert [path.name for path in space.results.rglob("*") if path.is_file()] == ["preflight.json"]
    assert not (space.folder / "scratch").exists()
    record = json.loads(space.path("preflight.json").read_text())
    assert record["inputs"]["train.main"]["rows"] == 400


def test_what_is_wrong_is_told_all_at_once(space: Workspace) -> None:
    path = space.folder / "tables" / "targets.parquet"
    table = pq.read_table(path)
    values = table["t0"].to_pylist()
    table = table.set_column(1, "t0", pa.array([2, *values[1:]], pa.int8()))
    pq.write_table(table, path)
    theirs = [
        {"label": "gone", "oof_path": "theirs/oof.parquet", "test_path": "theirs/test.parquet"}
    ]
    (space.folder / "theirs.json").write_text(json.dumps(theirs))
    sources = {"lgb": {"family": "lightgbm"}}
    space.write_config(sources=sources, manifests="theirs.json", task="binary")
    run = failing(space, "--resources", "gpu=10000")
    lines = failed_lines(run)
    assert "the profile asks for 10000" in run.text
    for words in (
        "tables/targets.parquet: target 't0' holds 2",
        "theirs/oof.parquet does not exist",
        "theirs/test.parquet does not exist",
    ):
        assert any(words in line for line in lines), words
    assert len(lines) == 4
    assert "WARN  fit lgb" in run.text
    assert run.text.index("4 failed") > run.text.index(lines[-1])


def test_what_is_missing_before_there_is_a_plan(space: Workspace) -> None:
    space.write_config(data={**space.config["data"], "train": "tables/trian.parquet"})
    run = space.snakemake("preflight", check=False)
    assert run.code != 0
    assert "data.train.main: tables/trian.parquet" in run.text
    space.write_config(data={**space.config["data"], "train": "tables/train.parquet"})
    space.write_config(manifests="none.json")
    run = space.snakemake("preflight", check=False)
    assert run.code != 0
    assert "none.json does not exist" in run.text


def test_changed_inputs_schema_and_params(space: Workspace) -> None:
    sources = {"xgb": {"family": "xgboost", "rounds": 5}}
    space.write_config(sources=sources)
    assert failed_lines(space.snakemake("preflight")) == []
    path = space.folder / "tables" / "test.parquet"
    whole = pq.read_table(path)
    pq.write_table(whole.drop_columns(["x3"]), path)
    run = failing(space)
    assert (
        "test.main (tables/test.parquet) since the last preflight: columns gone: 'x3'" in run.text
    )
    assert any("'x3'" in line and "absent from test" in line for line in failed_lines(run))
    pq.write_table(whole.set_column(1, "x0", pa.array(np.zeros(whole.num_rows))), path)
    space.write_config(sources={"xgb": {**sources["xgb"], "params": {"max_dept": 3}}})
    run = failing(space)
    (line,) = failed_lines(run)
    assert "sources.xgb" in line and "max_dept" in line
    assert "columns new: 'x3'" in run.text


def test_too_little_disk(space: Workspace) -> None:
    # More rows than any disk holds: of what is written, a few are looked at.
    data = {"adapter": "contest_twin", "rows": 900_000_000, "extra_columns": 10}
    rename = {"pattern": "^target_", "replace": "predict_"}
    space.write_config(data=data, groups={}, submissions={"rename": rename})
    run = failing(space)
    (line,) = failed_lines(run)
    assert line.startswith("FAIL  disk")
    assert "results/small" in line
    assert not space.path("data").exists()
