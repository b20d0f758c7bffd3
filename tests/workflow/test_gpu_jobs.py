"""Jobs on pretend GPUs, by Snakemake for real: who gets one, and that it changes no artifact."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pretend_gpus import PretendGpus
from workflow.conftest import CONFIG, Workspace, digests, make_workspace

XGB = {**CONFIG["sources"]["xgb"], "rounds": 5}
SOURCES = {
    "xgb": XGB,
    "kept": {**XGB, "device": "cpu"},
    "logistic": CONFIG["sources"]["logistic"],
}
CHANGES = {"sources": SOURCES, "blends": {}, "comparisons": [], "submissions": {}}
WANTED = [f"results/small/sources/{name}/oof.parquet" for name in SOURCES]


def log_of(space: Workspace, source: str, fold: int) -> str:
    return (space.folder / f"logs/small/fit_fold/{source}/fold{fold}.log").read_text()


def test_fits_run_on_gpus_and_nothing_hangs_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = make_workspace(tmp_path / "here", **CHANGES)
    space.snakemake(*WANTED)
    assert "GPU" not in log_of(space, "xgb", 0)
    (tmp_path / "gpus").mkdir()
    for name, value in PretendGpus(tmp_path / "gpus").environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    offered = ("--resources", "gpu=2", "--set-resources", "fit_fold:gpu_mem_mb=4000")
    assert space.dry_run(*WANTED, *offered).nothing
    other = make_workspace(tmp_path / "there", **CHANGES)
    other.snakemake(*WANTED, *offered)
    for fold in range(3):
        # XGBoost takes no pretence: it sees no such GPU, and says so.
        log = log_of(other, "xgb", fold)
        assert re.search(r"on GPU \d \(Pretend\), 4000 MB of it", log)
        assert "sees no GPU: on the CPU" in log
        for source in ("kept", "logistic"):
            assert "GPU" not in log_of(other, source, fold)
    fits = pq.read_table(other.path("sources", "xgb", "fits.parquet"))
    assert set(fits["device"].to_pylist()) == {"cpu"}
    assert set(fits["fallback"].to_pylist()) == {None}
    assert digests(other) == digests(space)
    changed = {**XGB, "device": "cpu", "out_of_memory": "cpu"}
    other.write_config(sources={**SOURCES, "xgb": changed})
    assert other.dry_run(*WANTED, *offered).nothing
    assert other.dry_run(*WANTED).nothing
