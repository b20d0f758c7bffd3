"""The GPUs of this machine as nvidia-smi tells them, and what runs on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from blendmake.errors import BlendmakeError

VISIBLE = "CUDA_VISIBLE_DEVICES"
LIMIT = 60.0  # seconds that nvidia-smi may take; the first call after a start wakes the driver
MEND = (
    "See what nvidia-smi says in a shell (driver, container); or run on the CPU: a profile without "
    "`resources: gpu`, or the source's key `device: cpu`."
)


@dataclass(frozen=True)
class Process:
    """A process that has a GPU open to compute on it; `used_mb`: of its memory, None if not told."""

    pid: int
    name: str
    used_mb: int | None = None

    def __str__(self) -> str:
        """The process in messages; its name is empty or in brackets where the driver tells none."""
        known = self.name and not self.name.startswith("[")
        return f"{self.pid}, {self.name}" if known else str(self.pid)


@dataclass(frozen=True)
class Device:
    """One GPU.

    `uuid` is what CUDA_VISIBLE_DEVICES gets: it means the same in whatever order devices are counted.
    `total_mb`, `used_mb`: memory, None where the driver tells none. `processes`: as far as the
    driver tells.
    """

    uuid: str
    name: str
    total_mb: int | None = None
    used_mb: int | None = None
    processes: tuple[Process, ...] = ()


def devices(limit: float = LIMIT) -> list[Device]:
    """The GPUs that this process may use: all, or those that CUDA_VISIBLE_DEVICES names.

    What that names and nvidia-smi does not list (a part of a GPU, `MIG-…`) is taken as named. Without
    nvidia-smi, or where it finds no device, there are none.

    Args:
        limit: seconds that a call of nvidia-smi may take.

    Raises:
        BlendmakeError: nvidia-smi hangs or fails.
    """
    wanted = os.environ.get(VISIBLE)
    if (wanted is not None and not wanted.strip()) or shutil.which("nvidia-smi") is None:
        return []
    rows = _query("gpu", ("index", "uuid", "name", "memory.total", "memory.used"), limit)
    running: dict[str, list[Process]] = {}
    fields = ("gpu_uuid", "pid", "used_memory", "process_name")
    for uuid, pid, memory, name in _query("compute-apps", fields, limit) if rows else []:
        if pid.isdigit():
            running.setdefault(uuid, []).append(Process(int(pid), name, _number(memory)))
    found = {
        index: Device(
            uuid,
            f"GPU {index} ({name})",
            _number(total),
            _number(used),
            tuple(running.get(uuid, ())),
        )
        for index, uuid, name, total, used in rows
    }
    return list(found.values()) if wanted is None or not found else _named(wanted, found)


def _named(wanted: str, found: Mapping[str, Device]) -> list[Device]:
    """The devices of CUDA_VISIBLE_DEVICES: indexes as nvidia-smi counts, or UUIDs, or their begins."""
    chosen: dict[str, Device] = {}
    for word in wanted.split(","):
        name = word.strip()
        if name.startswith("-") or not name:
            break  # as CUDA reads it: what follows is not seen
        matching = [d for d in found.values() if name in found and found[name] is d]
        matching = matching or [d for d in found.values() if d.uuid.startswith(name)]
        if name.isdigit() and not matching:
            break
        one = matching[0] if matching else Device(name, name)
        chosen.setdefault(one.uuid, one)
    return list(chosen.values())


def _number(text: str) -> int | None:
    """Megabytes; None for `[N/A]` and the like."""
    with suppress(ValueError):
        return int(float(text))
    return None


def _query(what: str, fields: Sequence[str], limit: float) -> list[list[str]]:
    command = ["nvidia-smi", f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"]
    output, code = _run(command, limit)
    if "no devices were found" in output.lower():
        return []
    if code != 0:
        last = [line.strip() for line in output.splitlines() if line.strip()]
        words = f": {last[-1]}" if last else ""
        raise BlendmakeError(f"nvidia-smi fails with exit code {code}{words}. {MEND}")
    # The last field may hold commas.
    parted = [line.split(",", len(fields) - 1) for line in output.splitlines()]
    lines = [[part.strip() for part in line] for line in parted]
    return [line for line in lines if len(line) == len(fields)]


def _run(command: Sequence[str], limit: float) -> tuple[str, int]:
    """What a command says, and its exit code."""
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )
        except OSError as error:
            raise BlendmakeError(f"nvidia-smi cannot be run: {error.strerror}. {MEND}") from error
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            # Not waited for: one that hangs in the driver does not die either.
            process.kill()
            raise BlendmakeError(
                f"nvidia-smi gave no answer within {limit:g} seconds: the driver hangs. {MEND}"
            ) from None
        output.seek(0)
        return output.read().decode("utf-8", "replace"), code
