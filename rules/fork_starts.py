"""Jobs of this machine start as copies of a process that has the libraries loaded (`blendmake.starts`).

Snakemake starts a Python for each job, which imports for half a second and more what the one before it
has imported. All that is taken of Snakemake's own inside stands here, and holds for the releases that it
was read in; with any other, jobs start as ever.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import snakemake
from snakemake.benchmark import benchmarked
from snakemake.script import PythonScript
from snakemake_interface_executor_plugins.settings import ExecMode

from blendmake.code_digest import facts_of
from blendmake.starts.client import ForkServers

READ_IN = ("9.27",)  # releases whose ScriptBase._execute_cmd and shell are followed here
# What Snakemake has a script import, and Arrow, once it makes a column of a list.
ALWAYS = ("snakemake.logging", "snakemake.iocontainers", "pandas")
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")


def start_by_forks(workflow: Any, scripts: Path) -> None:
    """Let scripts of this run's own jobs be started by fork servers, where that can be.

    Jobs on other machines, and what a job starts of Snakemake itself, start one script only.
    """
    if snakemake.__version__.rpartition(".")[0] not in READ_IN:
        return
    if workflow.exec_mode != ExecMode.DEFAULT or not workflow.is_main_process:
        return
    servers = ForkServers(scripts)
    by_shell = PythonScript.execute_script

    def execute_script(self: Any, fname: str, edit: bool = False) -> None:
        if not _forks(self) or not _run(servers, self, os.path.abspath(fname), scripts):
            by_shell(self, fname, edit)

    PythonScript.execute_script = execute_script


def _forks(script: Any) -> bool:
    """Whether a script is one for this interpreter on this machine, and leaves GPUs alone."""
    elsewhere = (script.container_img, script.conda_env, script.env_modules, script.shadow_dir)
    asked = (script.resources.get("gpu"), script.resources.get("shell_exec"))
    return script.is_local and not any(elsewhere) and not any(asked)


def _run(servers: ForkServers, script: Any, file: str, root: Path) -> bool:
    """Run a script; False where no server can start it.

    Raises:
        CalledProcessError: it failed.
    """
    environment = _environment(script)
    started = servers.start(file, environment, _modules(script, root), script.threads)
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


def _modules(script: Any, root: Path) -> list[str]:
    """What a script imports: modules of the project, that of the family or data set it is given
    among them, and the libraries that these import in their functions."""
    params = script.params
    given = (params.get("fit", {}).get("family"), params.get("adapter"))
    own = [*_imports(Path(script.local_path), of_project=True), *filter(None, given)]
    libraries = [
        library
        for module in own
        if (file := root.joinpath(*module.split(".")).with_suffix(".py")).exists()
        for library in _imports(file, of_project=False)
    ]
    return [*ALWAYS, *own, *libraries]


def _imports(file: Path, of_project: bool) -> list[str]:
    found = {}
    for level, module, names in facts_of(file).imports:
        for name in names if level is None else [module] if level == 0 else []:
            top = name.partition(".")[0]
            if (top == "blendmake") == of_project and top not in sys.stdlib_module_names:
                found[name] = True
    return list(found)
