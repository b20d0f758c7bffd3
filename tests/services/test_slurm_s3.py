"""Slurm and a bucket together: jobs on nodes fetch what they read and store what they make."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("moto", reason="moto is not installed (envs/services.txt)")
pytest.importorskip("snakemake_storage_plugin_s3", reason="the S3 plugin is not installed")

from services.buckets import KEY, SECRET, Door, Store
from services.cluster_space import ClusterSpace
from services.slurm import Slurm
from workflow.conftest import CONFIG, Workspace, digests, make_workspace

PROFILES = ("--profile", "profiles/s3")
XGB = {"xgb": CONFIG["sources"]["xgb"]}


def test_a_campaign_on_a_cluster_with_its_artifacts_in_a_bucket(
    cluster: Slurm, door: Door, store: Store, tmp_path: Path
) -> None:
    plain = {"folds": {"n": 2}, "sources": XGB, "blends": {}, "comparisons": [], "submissions": {}}
    here = make_workspace(tmp_path / "here", **plain)
    here.snakemake()
    there = make_workspace(tmp_path / "there", **plain)
    space = ClusterSpace(there.folder, there.config, cluster, "slurm")
    run = space.start(*PROFILES, "--slurm-keep-successful-logs")
    submitted: set[str] = set()
    while run.poll() is None:
        submitted |= {job["comment"] for job in space.jobs()}
    assert run.wait() == 0, space.said()[-6000:]
    assert {f"rule_fit_fold_wildcards_xgb_{k}" for k in range(2)} <= submitted

    in_bucket = Workspace(store.download(tmp_path / "bucket") / "team", here.config)
    assert len(digests(here)) > 8
    assert digests(in_bucket) == digests(here)
    assert not space.results.exists()
    assert space.snakemake(*PROFILES).nothing
    # A machine without a cluster has nothing left to do either.
    laptop = make_workspace(tmp_path / "laptop", **plain)
    assert laptop.dry_run(*PROFILES).nothing

    # Slurm itself hands jobs their environment, keys in it; nothing of ours writes them down.
    secrets = re.compile(f"{KEY}|{SECRET}".encode())
    folders = (space.folder, laptop.folder, tmp_path / "bucket")
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert [path for path in files if secrets.search(path.read_bytes())] == []
