"""What is fresh is known by what it is made of: without records, and whatever the dates say."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workflow.conftest import CONFIG, Workspace, digests, finished_fits
from workflow.test_rebuild import fits

# Rules of what has no note of its own: text and figures, made anew in seconds.
WITHOUT_NOTE = {
    *("all", "build_leaderboard", "write_submission"),
    *("draw_figures", "draw_weights", "draw_comparisons"),
}
PARAMS = {"num_leaves": 15}


def edited(space: Workspace) -> None:
    sources = copy.deepcopy(CONFIG["sources"])
    sources["lgb"]["params"] = PARAMS
    space.write_config(sources=sources)


def swapped_bytes(path: Path) -> None:
    """Another file of the same size, of an older date."""
    text = bytearray(path.read_bytes())
    text[200:210] = bytes(255 - byte for byte in text[200:210])
    path.write_bytes(text)
    os.utime(path, (1_000_000_000, 1_000_000_000))


def test_without_records_the_notes_decide(copied: Workspace) -> None:
    shutil.rmtree(copied.folder / ".snakemake" / "metadata")
    assert {job[0] for job in copied.dry_run().jobs()} <= WITHOUT_NOTE
    swapped_bytes(copied.folder / "tables" / "targets.parquet")
    jobs = copied.dry_run().jobs()
    assert ("read_targets",) in jobs and ("read_tables",) not in jobs
    edited(copied)
    assert fits("lgb") <= copied.dry_run().jobs()


def test_a_run_writes_lost_records_down_again(copied: Workspace) -> None:
    shutil.rmtree(copied.folder / ".snakemake")
    copied.snakemake()
    assert copied.snakemake().nothing
    for path in (copied.folder / ".snakemake" / "metadata").iterdir():
        text = path.read_text()
        path.write_text(text[: len(text) // 2])  # torn
    assert {job[0] for job in copied.dry_run().jobs()} <= WITHOUT_NOTE


def test_a_record_of_another_moment_makes_nothing_fresh(copied: Workspace) -> None:
    # As where a power cut took the records that were written last, and left those before.
    records = copied.folder / ".snakemake" / "metadata"
    shutil.copytree(records, copied.folder / "old")
    sources = copy.deepcopy(CONFIG["sources"])
    sources["logistic"]["params"] = {"C": 0.01}
    copied.write_config(sources=sources)
    copied.snakemake("results/small/sources/logistic/oof.parquet")
    shutil.rmtree(records)
    (copied.folder / "old").rename(records)
    assert not fits("logistic") & copied.dry_run().jobs()
    copied.write_config(sources=CONFIG["sources"])
    assert fits("logistic") <= copied.dry_run().jobs()


def test_dates_hide_nothing(copied: Workspace) -> None:
    for path in copied.results.rglob("*"):
        os.utime(path, (4_000_000_000, 4_000_000_000))
    assert copied.dry_run().nothing
    swapped_bytes(copied.folder / "tables" / "train.parquet")
    assert ("read_tables",) in copied.dry_run().jobs()


def test_what_no_model_reads_refits_nothing(copied: Workspace) -> None:
    # Test rows are read by every fit: of them nothing may change but what no model reads.
    before, bytes_before = finished_fits(copied), digests(copied)
    features = {"few": {"files": {"main": {"first": 5}}}}
    sources = {"lin": {"family": "linear", "features": "few"}}
    rest = {"features": features, "blends": {}, "comparisons": [], "submissions": {}}
    copied.write_config(sources={**CONFIG["sources"], **sources}, **rest)
    copied.snakemake("results/small/sources/lin/oof.parquet")
    before = finished_fits(copied)
    for part in ("train", "test"):
        path = copied.folder / "tables" / f"{part}.parquet"
        table = pq.read_table(path)
        other = pa.array(np.arange(len(table), dtype=float)[::-1])
        table = table.set_column(table.column_names.index("x6"), "x6", other)
        pq.write_table(table, path, compression="gzip", row_group_size=50)
    labels = copied.folder / "tables" / "targets.parquet"
    pq.write_table(pq.read_table(labels), labels, compression="none", row_group_size=7)
    run = copied.snakemake("results/small/sources/lin/oof.parquet")
    assert "read_tables" in run.text and "read_targets" in run.text
    assert finished_fits(copied) == before
    assert digests(copied)["folds.parquet"] == bytes_before["folds.parquet"]
    # What is taken over tells what it is made of now.
    shutil.rmtree(copied.folder / ".snakemake" / "metadata")
    assert copied.dry_run("results/small/sources/lin/oof.parquet").nothing
    # A column that it reads refits it.
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "x0", table["x6"]), path)
    copied.snakemake("results/small/sources/lin/oof.parquet")
    after = finished_fits(copied)
    assert {fit for fit in after if after[fit] != before[fit]} == {
        f for f in before if f[0] == "lin"
    }
