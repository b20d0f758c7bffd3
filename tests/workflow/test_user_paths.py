"""Files of the user's where and as they are: folders of files, braces and spaces in paths."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from blendmake.files import read_parquet
from conftest import Workspace, copy_workflow

WANTED = ("results/paths/tables/targets.parquet", "results/paths/tables/test_targets.parquet")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    space = Workspace(copy_workflow(tmp_path / "space"))
    data = space.folder / "data" / "{x} y"
    data.mkdir(parents=True)
    write_part(data / "train" / "part-0.parquet", range(4))
    write_part(data / "train" / "part-1.parquet", range(4, 8))
    labels = {part: f"data/{{x}} y/<{part}>.csv" for part in ("labels", "test")}
    rows = "".join(f"{i};{'yes' if i % 2 else 'no'}\n" for i in range(8))
    (space.folder / labels["labels"]).write_text("id;y\n" + rows)
    (space.folder / labels["test"]).write_text("id;x;y\n8;1,5;yes\n9;2,5;no\n")
    space.config = {
        "problem": "paths",
        "data": {
            "train": "data/{x} y/train",
            "test": labels["test"],
            "test_targets": labels["test"],
            "id": "id",
            "targets": {"file": labels["labels"], "columns": ["y"]},
        },
        "sources": {"lgb": {"family": "lightgbm", "rounds": 5}},
    }
    space.write_config()
    return space


def write_part(path: Path, ids: range) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"id": [*ids], "x": [i / 4 for i in ids]}), path)


def test_folders_braces_and_spaces(workspace: Workspace) -> None:
    workspace.snakemake(*WANTED)
    targets = read_parquet(workspace.path("tables", "targets.parquet"))
    assert targets.to_pydict() == {"id": [*range(8)], "y": [0, 1] * 4}
    # Messages have the user's own names.
    log = (workspace.folder / "logs" / "paths" / "read_tables.log").read_text()
    assert "data/{x} y/<test>.csv is read so: delimiter ';', decimal comma" in log
    assert workspace.dry_run(*WANTED).nothing
    write_part(workspace.folder / "data" / "{x} y" / "train" / "part-1.parquet", range(14, 18))
    changed = workspace.dry_run(*WANTED)
    assert ("read_tables",) in changed.jobs()
    write_part(workspace.folder / "data" / "{x} y" / "train" / "part-1.parquet", range(4, 8))
    assert workspace.dry_run(*WANTED).nothing
    write_part(workspace.folder / "data" / "{x} y" / "train" / "part-2.parquet", range(18, 20))
    run = workspace.snakemake(*WANTED, check=False)
    assert run.code == 1
    assert "<labels>.csv lacks ids '18', '19'" in run.text
