"""Scratch folders: where a job keeps what it has finished, one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pyarrow as pa

from blendmake.beside import beside
from blendmake.errors import BlendmakeError
from blendmake.files import read_parquet, write_parquet

log = logging.getLogger(__name__)
POLL = 0.2  # seconds from one look at a lock to the next


@contextlib.contextmanager
def locked(folder: Path, *, part: str | None = None, patient: bool = False) -> Iterator[None]:
    """Hold a scratch folder, so that two runs at once never do the same work twice.

    The system drops the lock with the process, however it dies.

    Args:
        part: the name of a part of the work: other parts may be done meanwhile, but not the whole.
        patient: wait for another run even where the window is over: it is a matter of seconds.

    Raises:
        BlendmakeError: the window is over, or SIGTERM has come, while another run has the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        kind = fcntl.LOCK_EX if part is None else fcntl.LOCK_SH
        held.enter_context(_flock(folder / "lock", kind, patient))
        if part is not None:
            held.enter_context(_flock(folder / f"lock-{part}", fcntl.LOCK_EX, patient))
        yield


@contextlib.contextmanager
def _flock(path: Path, kind: int, patient: bool) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        waiting = False
        while True:
            try:
                fcntl.flock(handle, kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    log.info("another run does the same work: waiting for it")
                waiting = True
                # Not a wait in the system: it would outlast a window, and SIGTERM.
                if not patient:
                    beside("window").require_time(0.0, "Another run does the same work.")
                time.sleep(POLL)
        yield
    finally:
        os.close(handle)


def dates(paths: Iterable[Path]) -> list[tuple[int, int] | None]:
    """When files were written and where on the disk, by which one shows that was replaced meanwhile."""
    found: list[tuple[int, int] | None] = []
    for path in paths:
        try:
            stat = path.stat()
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((stat.st_mtime_ns, stat.st_ino))
    return found


def found_or_made(path: Path, make: Callable[[], pa.Table]) -> pa.Table:
    """The table that stands at `path`; made and written there if there is none, or a damaged one."""
    if path.exists():
        try:
            return read_parquet(path)
        except BlendmakeError:
            log.warning("%s is damaged: it is made again", path)
    table = make()
    write_parquet(table, path)
    return table
