"""Which of Snakemake's scripts are started as copies, and what is loaded for them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake
from snakemake.benchmark import BenchmarkRecord
from snakemake.script import PythonScript
from snakemake_interface_executor_plugins.settings import ExecMode

import local_jobs
from blendmake.starts.client import ForkServer, can_fork

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
Script = Callable[..., Any]


@pytest.fixture
def by_shell(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files that Snakemake's own way was asked to run."""
    asked: list[str] = []
    monkeypatch.setattr(
        PythonScript, "execute_script", lambda self, file, edit=False: asked.append(file)
    )
    return asked


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch) -> list[ForkServer]:
    """The servers that are begun; they are closed at the end."""
    begun: list[ForkServer] = []
    made = ForkServer.__init__

    def init(self: ForkServer, *arguments: Any) -> None:
        made(self, *arguments)
        begun.append(self)

    monkeypatch.setattr(ForkServer, "__init__", init)
    yield begun
    for server in begun:
        server.close()


def workflow(mode: ExecMode = ExecMode.DEFAULT) -> Any:
    return SimpleNamespace(exec_mode=mode, is_main_process=mode == ExecMode.DEFAULT)


def script(folder: Path, text: str = "", **fields: Any) -> Any:
    """A script of Snakemake's with what is looked at of it."""
    made = PythonScript.__new__(PythonScript)
    own = folder / "own.py"
    own.write_text(text)
    path = SimpleNamespace(get_path_or_uri=lambda secret_free: str(own))
    fields = {"resources": {}, "params": {}, "output": ["a file"], "threads": 1, **fields}
    for name in ("container_img", "conda_env", "env_modules", "shadow_dir", "bench_record"):
        fields.setdefault(name, None)
    vars(made).update(path=path, is_local=True, **fields)
    return made


@pytest.mark.skipif(not can_fork(), reason="Linux alone has fork servers")
def test_scripts_run_in_copies_with_variables_of_a_job(
    by_shell: list[str], servers: list[ForkServer], tmp_path: Path
) -> None:
    local_jobs.start_by_forks(workflow(), SCRIPTS)
    told = tmp_path / "told"
    text = (
        "import os\nfrom blendmake.durations import clock\n"
        f"with open({str(told)!r}, 'a') as file:\n"
        "    print(os.getppid(), os.environ['OMP_NUM_THREADS'], os.environ['TMPDIR'], file=file)\n"
    )
    for threads in (1, 2, 1):
        record = BenchmarkRecord()
        one = script(
            tmp_path, text, threads=threads, resources={"tmpdir": "/tmp/x"}, bench_record=record
        )
        one.execute_script(one.local_path)
        assert record.running_time
    first, second, third = [line.split() for line in told.read_text().splitlines()]
    assert not by_shell
    assert first == third
    assert first[0] != second[0], "libraries have counted threads when they were loaded"
    assert [first[1:], second[1:]] == [["1", "/tmp/x"], ["2", "/tmp/x"]]
    assert len(servers) == 2


@pytest.mark.skipif(not can_fork(), reason="Linux alone has fork servers")
def test_a_script_that_fails_is_told_as_snakemake_tells_it(
    by_shell: list[str], servers: list[ForkServer], tmp_path: Path
) -> None:
    local_jobs.start_by_forks(workflow(), SCRIPTS)
    one = script(tmp_path, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(subprocess.CalledProcessError, match=r"died with <Signals.SIGKILL: 9>"):
        one.execute_script(one.local_path)
    one = script(tmp_path, "raise SystemExit(3)")
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        one.execute_script(one.local_path)
    assert not by_shell


@pytest.mark.parametrize(
    "fields",
    [
        {"resources": {"gpu": 1}},
        {"resources": {"shell_exec": "sh"}},
        {"container_img": "an.img"},
        {"conda_env": "an/env"},
        {"env_modules": "a module"},
        {"shadow_dir": "there"},
        {"is_local": False},
        {"output": []},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_needs_a_process_of_its_own_gets_one(
    by_shell: list[str], servers: list[ForkServer], tmp_path: Path, fields: dict[str, Any]
) -> None:
    local_jobs.start_by_forks(workflow(), SCRIPTS)
    one = script(tmp_path)
    vars(one).update(fields)
    one.execute_script("the file")
    assert by_shell == ["the file"]
    assert not servers


def test_a_server_that_cannot_start_it_leaves_a_job_to_snakemake(
    by_shell: list[str], servers: list[ForkServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ForkServer, "start", lambda *_, **__: None)
    local_jobs.start_by_forks(workflow(), SCRIPTS)
    script(tmp_path).execute_script("the file")
    assert by_shell == ["the file"]


@pytest.mark.parametrize("mode", [ExecMode.REMOTE, ExecMode.SUBPROCESS])
def test_a_process_of_one_job_starts_no_server(by_shell: list[str], mode: ExecMode) -> None:
    before = PythonScript.execute_script
    local_jobs.start_by_forks(workflow(mode), SCRIPTS)
    assert PythonScript.execute_script is before


def test_another_release_of_snakemake_starts_jobs_in_its_own_way(
    by_shell: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = PythonScript.execute_script
    monkeypatch.setattr(snakemake, "__version__", "10.0.1")
    local_jobs.start_by_forks(workflow(), SCRIPTS)
    assert PythonScript.execute_script is before


@pytest.mark.parametrize(("local", "version"), [(True, ""), (False, ""), (True, "10.0.1")])
def test_jobs_of_this_machine_are_chosen_when_one_has_ended(
    monkeypatch: pytest.MonkeyPatch, local: bool, version: str
) -> None:
    monkeypatch.setattr(snakemake, "__version__", version or snakemake.__version__)
    scheduler = SimpleNamespace(job_rate_limiter="looks again")
    local_jobs.choose_at_ends(SimpleNamespace(local_exec=local, scheduler=scheduler))
    assert (scheduler.job_rate_limiter is None) == (local and not version)


def test_what_a_script_imports_of_the_project_is_loaded_and_its_family(tmp_path: Path) -> None:
    text = "import os, local\nwith open('x'):\n    from blendmake.labels import read_labels\n"
    one = script(tmp_path, text, params={"fit": {"family": "blendmake.families.linear"}})
    loaded = [*local_jobs.ALWAYS, "blendmake.labels", "blendmake.families.linear"]
    assert local_jobs._modules(one) == loaded
