"""Setting up on a bare machine: each thing that may be missing is told in one sentence."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(REPO / "envs", tmp_path / "work" / "envs")
    return tmp_path / "work"


def fake_python(folder: Path, script: str) -> str:
    path = folder / "fake-python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def install(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "envs/install.sh", "envs/cpu.txt"],
        cwd=checkout,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 1
    return [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")]


def test_an_old_python(checkout: Path) -> None:
    python = fake_python(checkout, '[ "$1" = --version ] && echo Python 3.9.2 && exit 0; exit 1')
    (message,) = errors(install(checkout, PYTHON=python))
    assert "Python 3.11, 3.12 or 3.13 is needed; found Python 3.9.2" in message
    assert not (checkout / ".venv").exists()


def test_no_venv_module(checkout: Path) -> None:
    python = fake_python(checkout, 'case "$2" in *venv*) exit 1;; esac; exit 0')
    (message,) = errors(install(checkout, PYTHON=python))
    assert "venv module is missing" in message
    assert "apt install python3-venv" in message


def test_a_half_made_environment_is_made_again(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable + "-gone")
    (checkout / "envs" / "cpu.txt").write_text("")
    done = install(checkout, PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    assert (checkout / ".venv" / "bin" / "pip").exists()


def test_no_network(checkout: Path) -> None:
    done = install(
        checkout,
        PYTHON=sys.executable,
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_EXTRA_INDEX_URL="",
        PIP_FIND_LINKS="",
        PIP_CONFIG_FILE=os.devnull,
        PIP_NO_CACHE_DIR="1",
        PIP_RETRIES="0",
    )
    (message,) = (line for line in errors(done) if "packages" in line)
    assert "is there a network" in message
    assert not (checkout / ".venv" / ".installed-cpu").exists()


def test_services_that_cannot_be_installed_are_told(checkout: Path, tmp_path: Path) -> None:
    # A machine with neither Slurm nor apt-get.
    (tmp_path / "bin").mkdir()
    for program in ("id", "ls", "sh"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    done = subprocess.run(
        [str(shutil.which("sh")), "envs/services.sh"],
        cwd=checkout,
        env={"PATH": str(tmp_path / "bin")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "will be skipped where these are missing: munge slurm-wlm" in done.stderr
    assert "needs root" in done.stderr or "needs apt-get" in done.stderr


@pytest.mark.parametrize(("config", "told"), [("my conf.yaml", "results/mine/"), ("no.yaml", "")])
def test_make_run_takes_a_config_of_any_name(tmp_path: Path, config: str, told: str) -> None:
    shutil.copy(REPO / "Makefile", tmp_path)
    (tmp_path / "my conf.yaml").write_text("problem: mine\nsources: {a: {family: tabm}}\n")
    command = ["make", "-n", "run", f"CONFIG={config}"]
    (tmp_path / "envs").mkdir()
    for name in ("cpu", "neural", "constraints"):
        (tmp_path / f"envs/{name}.txt").touch()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert f'--configfile "{config}"' in done.stdout and told in done.stdout
    assert ("envs/neural.txt" in done.stdout) == (config == "my conf.yaml")
