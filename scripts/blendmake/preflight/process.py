"""Work in processes of their own: with a time limit, and so that a crash there is a message here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendmake.files import write_text
from blendmake.job import THREAD_VARIABLES
from blendmake.window import DEADLINE

SCRIPTS = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit code (None: it was stopped at its limit) and what it said."""

    code: int | None
    output: str
    errors: str

    @property
    def last_words(self) -> str:
        """The last line that it wrote."""
        lines = [line.strip() for line in (self.errors + self.output).splitlines() if line.strip()]
        return lines[-1] if lines else ""


@dataclass(frozen=True)
class Reply:
    """What a task gave, or in words why it gave nothing."""

    value: Any = None
    error: str | None = None


def run_limited(
    command: Sequence[str], seconds: float, *, environment: Mapping[str, str] | None = None
) -> Ended:
    """Run a command, and stop it and all that it started when its time is over.

    Args:
        environment: variables beside those of this process.

    Raises:
        OSError: it cannot be started.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        code: int | None = None
        try:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(seconds)
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said = []
        for stream in (output, errors):
            stream.seek(0)
            said.append(stream.read().decode("utf-8", "replace"))
    return Ended(code, *said)


def ask(task: str, arguments: Mapping[str, Any], seconds: float) -> Reply:
    """Have a task of `tasks` done in a process of its own, with one thread.

    Args:
        task: its name.
        arguments: JSON-able; so is what it gives.
        seconds: its time limit.
    """
    environment = dict.fromkeys(THREAD_VARIABLES, "1")
    found = os.environ.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(SCRIPTS), *([found] if found else [])])
    environment[DEADLINE] = ""  # the window is for real fits
    with tempfile.TemporaryDirectory(prefix="blendmake-preflight-") as folder:
        call, answer = Path(folder) / "call.json", Path(folder) / "answer.json"
        write_text(json.dumps({"task": task, "arguments": dict(arguments)}), call)
        command = [sys.executable, "-m", "blendmake.preflight.tasks", str(call), str(answer)]
        ended = run_limited(command, seconds, environment=environment)
        if answer.exists():
            return Reply(**json.loads(answer.read_text(encoding="utf-8")))
    return Reply(error=_without_answer(ended, seconds))


def _without_answer(ended: Ended, seconds: float) -> str:
    words = f" Its last words: {ended.last_words}" if ended.last_words else ""
    if ended.code is None:
        return f"it was not done after {seconds:.0f} seconds and was stopped.{words}"
    if ended.code < 0:
        name = signal.Signals(-ended.code).name
        why = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"its process was killed by {name}{why}.{words}"
    return f"its process ended with exit code {ended.code}.{words}"
