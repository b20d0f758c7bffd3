"""Real services, started by the tests themselves; without them tests are skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services import slurm


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
