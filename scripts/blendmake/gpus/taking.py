"""A job takes a GPU of its own, or a part of one, before any library starts CUDA."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from blendmake.durations import clock, seconds_of
from blendmake.errors import BlendmakeError
from blendmake.gpus.devices import LIMIT, VISIBLE, Device, Process, devices
from blendmake.gpus.holders import Holder, Ledger
from blendmake.window import require_time

log = logging.getLogger(__name__)

PATIENCE = "BLENDMAKE_GPU_PATIENCE"
PATIENT = 1800.0  # seconds, where the variable does not say it
DAEMONS = frozenset({"nvidia-cuda-mps-server", "Xorg", "gnome-shell"})
"""They have a GPU open all the time; with little memory they do not compute."""
IDLE_MB = 1000  # that a GPU may have in use though nobody computes on it: driver, screen
POLL = 2.0  # seconds between looks while all are taken


@contextmanager
def take_gpu(
    memory_mb: int = 0,
    what: str = "a job",
    *,
    folder: Path | None = None,
    limit: float = LIMIT,
    poll: float = POLL,
) -> Iterator[float]:
    """Hold a GPU while the work inside runs; CUDA_VISIBLE_DEVICES names it alone.

    Waits while all are taken: by jobs of blendmake without end, by others alone as long as
    BLENDMAKE_GPU_PATIENCE says, half an hour if it is not set.

    Args:
        memory_mb: memory that the job declares, to share a GPU with others that do; 0: a whole GPU.
        what: the job, for others' messages.
        folder: of the ledger.
        limit: seconds that nvidia-smi may take.
        poll: seconds between looks.

    Yields:
        The share of the GPU's memory that is the job's, 1 for a whole one; 0: there is no GPU.

    Raises:
        BlendmakeError: nvidia-smi fails, no GPU is that large, others leave none, or the window ends
            meanwhile.
    """
    ledger = Ledger(folder)
    patience = _patience()
    told: str | None = None
    taken = None
    ours = time.monotonic()  # when a job of blendmake was last seen on a device
    while taken is None:
        found = devices(limit)  # before the ledger is held: it may take its time
        if not found:
            log.warning("a GPU was given, but there is none here: on the CPU")
            yield 0.0
            return
        _check(found, memory_mb)
        with ledger.opened() as holders:
            reasons = {one.uuid: _refusal(one, holders, memory_mb) for one in found}
            free = [one for one in found if reasons[one.uuid] is None]
            if free:
                device = max(free, key=lambda one: _left(one, holders))
                taken = ledger.add(device.uuid, memory_mb, what)
        if taken is None:
            why = [f"{one.name}: {reasons[one.uuid]}" for one in found]
            told = _tell(why, told)
            if {one.device for one in holders} & set(reasons):
                ours = time.monotonic()
            elif time.monotonic() - ours >= patience:
                raise BlendmakeError(_impatient(patience, why))
            require_time(0.0, "No fit was begun: all GPUs are taken.")
            time.sleep(poll)
    before = os.environ.get(VISIBLE)
    os.environ[VISIBLE] = device.uuid
    share = memory_mb / device.total_mb if memory_mb and device.total_mb else 1.0
    log.info("on %s%s", device.name, f", {memory_mb} MB of it" if memory_mb else "")
    try:
        yield share
    finally:
        ledger.remove(*taken)
        if before is None:
            os.environ.pop(VISIBLE, None)
        else:
            os.environ[VISIBLE] = before


def _check(found: Sequence[Device], memory_mb: int) -> None:
    sizes = [one.total_mb for one in found if one.total_mb is not None]
    if len(sizes) == len(found) and memory_mb > max(sizes):
        raise BlendmakeError(
            f"A job asks for {memory_mb} MB of a GPU (resource gpu_mem_mb), and the largest here has "
            f"{max(sizes)} MB. Ask for less, or for a whole GPU: gpu_mem_mb=0."
        )


def _refusal(device: Device, holders: Sequence[Holder], memory_mb: int) -> str | None:
    """Why a job cannot have a device now; None if it can."""
    own = [one for one in holders if one.device == device.uuid]
    strangers = _strangers(device, [one.pid for one in own])
    if strangers:
        some = "; process ".join(map(str, strangers[:3]))
        return f"somebody else computes on it (process {some})"
    whole = [one for one in own if not one.memory_mb]
    if whole or (own and not memory_mb):
        return "held by " + ", ".join(one.text for one in own)
    used = device.used_mb or 0
    if not own and used > IDLE_MB and not memory_mb:
        return f"somebody else uses {used} MB of it"
    if not memory_mb:
        return None
    if device.total_mb is None:
        return "held by " + ", ".join(one.text for one in own) if own else None
    if _left(device, own) < memory_mb:
        held = ", ".join(one.text for one in own) or "somebody else"
        return f"{_left(device, own)} MB are left, the job asks for {memory_mb} (held by {held})"
    return None


def _left(device: Device, holders: Sequence[Holder]) -> int:
    """Memory (MB) that neither is in use nor declared."""
    declared = sum(one.memory_mb for one in holders if one.device == device.uuid)
    return (device.total_mb or 0) - max(device.used_mb or 0, declared)


def _strangers(device: Device, pids: Sequence[int]) -> list[Process]:
    """Processes that compute on a device and are neither holders nor started by one.

    Where there are holders, only processes that are seen here count: in a container the driver tells
    numbers of another kind, and holders' own would be taken for strangers.
    """
    found = [
        one
        for one in sorted(device.processes, key=lambda one: one.pid)
        if not _is_idle_daemon(one) and not _descends(one.pid, set(pids))
    ]
    return [one for one in found if Path(f"/proc/{one.pid}").exists()] if pids else found


def _is_idle_daemon(process: Process) -> bool:
    known = process.name.split(" ")[0].rpartition("/")[2] in DAEMONS
    return known and (process.used_mb or 0) <= IDLE_MB


def _patience() -> float:
    """Seconds to wait for GPUs that others use."""
    text = os.environ.get(PATIENCE)
    seconds = seconds_of(text) if text else PATIENT
    if seconds is None:
        raise BlendmakeError(f"{PATIENCE} must be a duration such as 90m or 10h; found {text!r}.")
    return seconds


def _impatient(patience: float, why: Sequence[str]) -> str:
    return (
        f"For {clock(patience)} every GPU was in use by others than jobs of blendmake. "
        f"{'; '.join(why)}. End what uses them; or share one on which nobody computes, by declared "
        "memory (--set-resources fit_fold:gpu_mem_mb=8000, or of run_trials); or run on the CPU (a "
        "profile without `resources: gpu`, or the source's key `device: cpu`); or wait longer: "
        f"{PATIENCE}=10h in the environment. Then run the same command again."
    )


def _descends(pid: int, ancestors: set[int]) -> bool:
    seen: set[int] = set()
    while pid > 1 and pid not in seen:
        if pid in ancestors:
            return True
        seen.add(pid)
        try:
            status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        pid = int(status.rpartition(")")[2].split()[1])  # behind the name, which may hold anything
    return False


def _tell(reasons: Sequence[str], told: str | None) -> str:
    """Say why the job waits, once for each state of things."""
    text = "waiting for a GPU. " + "; ".join(reasons)
    if text != told:
        log.info(text)
        print(text, file=sys.stderr, flush=True)
    return text
