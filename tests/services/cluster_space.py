"""A workspace whose Snakemake submits to a Slurm of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.slurm import Slurm
from workflow.conftest import Fits, Run, Workspace, finished_fits_if_readable

SECONDS = 600.0  # for what takes some tens on a machine that is free


@dataclass
class ClusterSpace(Workspace):
    """A workspace, run through a profile of clusters.

    Attributes:
        environment: variables beside those of the cluster.
    """

    cluster: Slurm | None = None
    profile: str = "slurm"
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def slurm(self) -> Slurm:
        assert self.cluster is not None
        return self.cluster

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake", "--configfile", "problem.yaml"),
            *("--workflow-profile", f"profiles/{self.profile}", *arguments),
        ]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a run; what it says goes to run.log."""
        with open(self.folder / "run.log", "ab") as log:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env={**self.slurm.environment, **self.environment},
                stdout=log,
                stderr=log,
            )

    def said(self) -> str:
        return (self.folder / "run.log").read_text(errors="replace")

    def snakemake(self, *arguments: str, check: bool = True) -> Run:
        return self._run(self.command(*arguments), check)

    def snakemake_here(self, *arguments: str, check: bool = True) -> Run:
        """Run on this machine alone, through the default profile."""
        return self._run(super().command(*arguments), check)

    def _run(self, command: list[str], check: bool) -> Run:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**self.slurm.environment, **self.environment},
            capture_output=True,
            text=True,
        )
        run = Run(done.returncode, done.stdout + done.stderr)
        if check:
            assert run.code == 0, run.text[-6000:]
        return run

    def jobs(self, *states: str) -> list[dict[str, str]]:
        """Jobs of this folder that wait or run."""
        own = [job for job in self.slurm.jobs() if job["folder"] == os.path.realpath(self.folder)]
        return [job for job in own if not states or job["state"] in states]

    def wait_until(
        self, condition: Callable[[], object], run: subprocess.Popen[bytes] | None = None
    ) -> None:
        """Wait for something to come about, as long as the run lives."""
        until = time.monotonic() + SECONDS
        while not condition():
            alive = run is None or run.poll() is None
            assert alive and time.monotonic() < until, self.said()[-6000:]
            time.sleep(0.2)

    def wait_for_fits(self, count: int, run: subprocess.Popen[bytes]) -> Fits:
        """Wait until so many fits are finished, with more to come; returns them."""
        self.wait_until(lambda: len(finished_fits_if_readable(self)) >= count, run)
        return finished_fits_if_readable(self)

    def finish(self, run: subprocess.Popen[bytes], *arguments: str) -> bool:
        """Wait for a run to end; if it failed, the same command again must not. Whether it failed."""
        failed = run.wait(SECONDS) != 0
        if failed:
            self.snakemake(*arguments)
        return failed


def on_cluster(
    space: Workspace,
    folder: Path,
    cluster: Slurm,
    profile: str,
    environment: Mapping[str, str] | None = None,
) -> ClusterSpace:
    """A copy of a workspace, dates and all, for a cluster."""
    shutil.copytree(space.folder, folder, symlinks=True)
    return ClusterSpace(folder, dict(space.config), cluster, profile, dict(environment or {}))
