"""A machine that refuses: one sentence with the mend, and the work stands where its log does not."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from blendmake import refusals
from blendmake.errors import BlendmakeError
from blendmake.files import replacing
from blendmake.job import job
from blendmake.refusals import refusal
from run_log import told

FULL = "/dev/full"  # every write to it fails with ENOSPC
NUMBERS = (
    *("EIO", "EMFILE", "ENFILE", "ENAMETOOLONG", "ESTALE", "EFBIG"),
    *("ENOTDIR", "EEXIST", "EISDIR"),
    *("ENOSPC", "EROFS", "EDQUOT", "EACCES", "ENOMEM"),
)


@pytest.fixture(autouse=True)
def root_logger() -> Any:
    logger = logging.getLogger("blendmake")
    before = list(logger.handlers)
    yield
    logger.handlers = before


@pytest.mark.parametrize("name", NUMBERS)
def test_a_refusal_is_one_sentence(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = getattr(errno, name)
    with pytest.raises(SystemExit) as caught, job(str(tmp_path / "a.log")):
        raise OSError(number, os.strerror(number), "results/x.parquet")
    assert caught.value.code == 1
    said = capsys.readouterr().err.strip()
    assert said == f"ERROR: results/x.parquet: {refusals.REFUSALS[number]}"
    assert said.endswith(".") and "\n" not in said
    assert " ERROR: " in (tmp_path / "a.log").read_text()
    refused = pytest.raises(BlendmakeError, match=r"y\.txt cannot be written: ")
    with refused, replacing(tmp_path / "y.txt"):
        raise OSError(number, os.strerror(number))


def test_memory_that_runs_out_names_the_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), job(str(tmp_path / "a.log")):
        raise MemoryError("Unable to allocate 1 TiB")
    said = capsys.readouterr().err
    assert "Memory has run out" in said and "--cores" in said and "mem_mb" in said


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), job(str(tmp_path / "a.log")):
        Path(tmp_path / "nothing").read_text()
    assert "Traceback" in (tmp_path / "a.log").read_text()


def test_no_inodes_is_told_from_no_space(monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(errno.ENOSPC, "full", "/tmp/x")
    real = os.statvfs("/tmp")
    full = os.statvfs_result([*real[:3], 10, 10, 1000, 0, 0, *real[8:]])
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert "inodes" in str(refusal(error))
    monkeypatch.setattr(os, "statvfs", lambda _: real)
    assert "no space left" in str(refusal(error))


@pytest.mark.parametrize("log", [FULL, "/proc/nowhere/a.log", "file/below/a.log"])
def test_the_work_stands_though_its_log_does_not(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with job(log):
        for _ in range(3):
            logging.getLogger("blendmake").info("a line")
        (tmp_path / "done").touch()
    assert (tmp_path / "done").exists()
    said = capsys.readouterr().err
    assert said.count("cannot be written, the work goes on") == 1
    assert "Traceback" not in said


def test_home_and_user_may_be_missing(tmp_path: Path) -> None:
    code = (
        "import getpass, os, sys\nos.getuid = lambda: 4_000_000_000\nfrom blendmake.job import job\n"
        "with job(sys.argv[1]):\n    import pathlib; pathlib.Path.home(); getpass.getuser()\n"
        "    print(os.environ['HOME'], os.environ['USER'])\n"
    )
    scripts = Path(__file__).resolve().parents[2] / "scripts"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.log")],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(scripts)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["/tmp", "4000000000"], done.stderr


RUN_LOG = """
RuleException:
CalledProcessError in file "/w/rules/sources.smk", line 6:
Command 'set -euo pipefail;  python /w/.snakemake/scripts/tmpx.fit_fold.py' {ended}.
[Tue Dec  1 00:17:51 2026]
Error in rule fit_fold:
    message: None
    jobid: 1
    output: a.parquet
    log: logs/small/fit_fold/lgb/fold0.log (check log file(s) for error details)
Exiting because a job execution failed. Look above for error messages
"""


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (
            "died with <Signals.SIGKILL: 9>",
            ["SIGKILL", "memory has run out", "mem_mb", "--cores 2"],
        ),
        ("returned non-zero exit status 137", ["SIGKILL", "memory has run out"]),
        ("died with <Signals.SIGSEGV: 11>", ["SIGSEGV", "a library has crashed"]),
        ("returned non-zero exit status 135", ["SIGBUS", "disk is full"]),
    ],
)
def test_a_job_that_the_system_killed_is_told(tmp_path: Path, ended: str, words: list[str]) -> None:
    path = tmp_path / "run.log"
    path.write_text(RUN_LOG.format(ended=ended))
    (message,) = told([path, tmp_path / "absent"])
    assert message.startswith("A job of rule fit_fold ended by ")
    assert "logs/small/fit_fold/lgb/fold0.log: " in message
    assert [word for word in words if word not in message] == []


@pytest.mark.parametrize(
    "ended", ["returned non-zero exit status 1", "died with <Signals.SIGTERM: 15>"]
)
def test_other_ends_are_not_the_systems(tmp_path: Path, ended: str) -> None:
    path = tmp_path / "run.log"
    path.write_text(RUN_LOG.format(ended=ended))
    assert told([path]) == []
