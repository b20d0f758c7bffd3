"""What is too good to be true is told where people look: log, board and page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from conftest import Workspace, copy_workflow

TELLS = "one column tells the target: 'answer' alone has an AUC of 1.0000 for 'y'"


def test_an_answer_among_the_features_is_told_everywhere(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    labels = np.tile([0, 1], 150)
    folder = copy_workflow(tmp_path / "run")
    columns = {"id": np.arange(300), "answer": labels * 1.0}
    columns |= {"x": draw.normal(size=300), "y": labels}
    (folder / "data").mkdir()
    pq.write_table(pa.table(columns), folder / "data" / "train.parquet")
    space = Workspace(folder)
    space.write_config(
        problem="leak",
        data={"train": "data/train.parquet", "id": "id", "targets": "y"},
        folds={"n": 3},
        sources={"lgb": {"family": "lightgbm", "rounds": 40}},
    )
    page = "results/leak/report/leaderboard.html"
    run = " ".join(space.snakemake("show_leaderboard", page).text.split())
    assert f"DOUBTFUL lgb: {TELLS}" in run
    assert "DOUBTFUL lgb: too good: an AUC of 1.00000 for 'y' with 150 positives" in run
    logs = sorted((folder / "logs" / "leak" / "fit_fold" / "lgb").glob("fold*.log"))
    assert len(logs) == 3
    assert [log.name for log in logs if f"WARNING: {TELLS}" in log.read_text()] == ["fold0.log"]
    assert "DOUBTFUL lgb: one column tells the target" in (folder / page).read_text()
