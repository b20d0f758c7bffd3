"""Scratch folders: where a job keeps what it has finished, one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from blendmake.errors import BlendmakeError
from blendmake.files import read_parquet, write_parquet

log = logging.getLogger(__name__)


@contextlib.contextmanager
def locked(folder: Path, *, part: str | None = None) -> Iterator[None]:
    """Hold a scratch folder, so that two runs at once never do the same work twice.

    The system drops the lock with the process, however it dies.

    Args:
        part: the name of a part of the work: other parts may be done meanwhile, but not the whole.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        held.enter_context(
            _flock(folder / "lock", fcntl.LOCK_EX if part is None else fcntl.LOCK_SH)
        )
        if part is not None:
            held.enter_context(_flock(folder / f"lock-{part}", fcntl.LOCK_EX))
        yield


@contextlib.contextmanager
def _flock(path: Path, kind: int) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run does the same work: waiting for it")
            fcntl.flock(handle, kind)
        yield
    finally:
        os.close(handle)


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
