"""Real services, started by the tests themselves; without them tests are skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services import slurm
from services.buckets import BUCKET, KEY, SECRET, Door, Store, s3_server


@pytest.fixture(scope="session")
def a_slurm() -> Iterator[slurm.Slurm]:
    """A cluster of two nodes with two cores and a stand-in GPU each."""
    if reason := slurm.missing():
        pytest.skip(reason)
    with slurm.running_slurm(kill_wait=10) as cluster:
        yield cluster


@pytest.fixture
def cluster(a_slurm: slurm.Slurm) -> Iterator[slurm.Slurm]:
    """The cluster, whole and without jobs before and after the test."""
    yield a_slurm
    a_slurm.mend()


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    with s3_server(tmp_path) as address:
        Store(address, BUCKET).client.create_bucket(Bucket=BUCKET)
        yield address


@pytest.fixture
def door(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    """The endpoint as Snakemake sees it."""
    one = Door(endpoint)
    monkeypatch.setenv("BLENDMAKE_BUCKET", f"s3://{BUCKET}/team")
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ENDPOINT_URL", one.address)
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_ACCESS_KEY", KEY)
    monkeypatch.setenv("SNAKEMAKE_STORAGE_S3_SECRET_KEY", SECRET)
    yield one
    one.shut()


@pytest.fixture
def store(endpoint: str) -> Store:
    return Store(endpoint, BUCKET)
