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
def locked(folder: Path) -> Iterator[None]:
    """Hold a scratch folder, so that two runs at once never do the same work twice.

    The system drops the lock with the process, however it dies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run does the same work: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
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
