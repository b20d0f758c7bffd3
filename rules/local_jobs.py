"""Jobs of this machine: copies of a process that has the libraries loaded, chosen when one ends.

Snakemake starts a Python for each job, which imports for half a second and more what the one before it
has imported (`blendmake.starts`). All that is taken of Snakemake's own inside stands here, and holds for
the releases that it was read in; with any other, jobs start as ever.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import snakemake
from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript
from snakemake_interface_executor_plugins.settings import ExecMode

from blendmake.code_digest import facts_of
from blendmake.starts.client import ForkServers

READ_IN = ("9.27",)  # releases whose PythonScript, shell and JobScheduler are followed here
# What Snakemake has a script import, and Arrow, once it makes a column of a list.
ALWAYS = ("snakemake.logging", "snakemake.iocontainers", "pandas")
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")


def start_by_forks(workflow: Any, scripts: Path) -> None:
    """Let scripts of this run's own jobs be started by fork servers, where that can be.

    Jobs on other machines, and what a job starts of Snakemake itself, start one script only.
    """
    if not _is_read():
        return
    if workflow.exec_mode != ExecMode.DEFAULT or not workflow.is_main_process:
        return
    servers = ForkServers(scripts)
    by_shell = PythonScript.execute_script

    def execute_script(self: Any, fname: str, edit: bool = False) -> None:
        if not _forks(self) or not _run(servers, self, os.path.abspath(fname)):
            by_shell(self, fname, edit)

    PythonScript.execute_script = execute_script


def choose_at_ends(workflow: Any) -> None:
    """Let jobs of this machine be chosen when one has ended, and at no other time; once a run begins.

    To start no more than a hundred in a second Snakemake looks again a second after every choice, and
    after that one too: with each job that has ended one more look in every second, through all jobs that
    are ready, beside fits that want the cores. A run would also end with the last of them.
    """
    if _is_read() and workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


def _is_read() -> bool:
    return snakemake.__version__.rpartition(".")[0] in READ_IN


def _forks(script: Any) -> bool:
    """Whether a script is one of many for this interpreter on this machine, and leaves GPUs alone.

    What makes no file (the board, the status, the spending of a budget) is the only job of its run.
    """
    elsewhere = (script.container_img, script.conda_env, script.env_modules, script.shadow_dir)
    asked = (script.resources.get("gpu"), script.resources.get("shell_exec"))
    return script.is_local and bool(script.output) and not any(elsewhere) and not any(asked)


def _run(servers: ForkServers, script: Any, file: str) -> bool:
    """Run a script; False where no server can start it.

    Raises:
        CalledProcessError: it failed.
    """
    environment = _environment(script)
    started = servers.start(file, environment, _modules(script), script.threads)
    if started is None:
        return False
    record = script.bench_record
    with nullcontext() if record is None else benchmarked(started.pid, record):
        status = started.wait()
    if status:
        raise subprocess.CalledProcessError(status, ["python", file])
    return True


def _environment(script: Any) -> dict[str, str]:
    """Variables of a job, as Snakemake's shell sets them."""
    environment = dict(os.environ)
    for name in THREADS:
        environment[f"{name}_NUM_THREADS"] = str(script.threads)
    environment["VECLIB_MAXIMUM_THREADS"] = str(script.threads)
    if folder := script.resources.get("tmpdir"):
        for name in ("TMPDIR", "TMP", "TEMPDIR", "TEMP"):
            environment[name] = str(folder)
    return environment


def _modules(script: Any) -> list[str]:
    """What a script imports of the project, and the module of the family or data set it is given."""
    imports = facts_of(Path(script.local_path)).imports
    named = [module for level, module, _ in imports if level == 0]
    params = script.params
    named += [params.get("fit", {}).get("family", ""), params.get("adapter", "")]
    return [*ALWAYS, *(name for name in named if name.partition(".")[0] == "blendmake")]
