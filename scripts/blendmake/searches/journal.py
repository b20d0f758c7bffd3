"""The journal of a search's studies: a file whose lines check themselves and the line before them.

Optuna's own journal has no checksum: a digit that a disk has changed would be another result of a trial.
Here each line ends with a digest of itself and of the whole line before it, so that what is changed,
lost or out of place in the middle is found by the next who opens the file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import threading
from pathlib import Path
from shlex import quote
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from blendmake.errors import BlendmakeError

CHECK = re.compile(rb',"check":"([0-9a-f]{16})"\}\n\Z')
BLOCK = 65536


class JournalLock(BaseJournalFileLock):
    """A lock that dies with its process: Optuna's own files would stay behind after a kill.

    What a process that was killed has half written is cut off: the next line would be lost with it.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._path = journal.with_name(journal.name + ".lock")
        self._handle: int | None = None
        self._thread = threading.Lock()

    def acquire(self) -> bool:
        self._thread.acquire()
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        self._mend()
        return True

    def release(self) -> None:
        assert self._handle is not None
        os.close(self._handle)
        self._handle = None
        self._thread.release()

    def _mend(self) -> None:
        if not self._journal.exists() or self._journal.stat().st_size == 0:
            return
        with open(self._journal, "rb+") as file:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.seek(0)
                whole = file.read().rfind(b"\n") + 1
                file.truncate(whole)


class Journal(JournalFileBackend):
    """Optuna's journal file, with a digest in each line that is written.

    Raises:
        BlendmakeError: a line is damaged.
    """

    def __init__(self, file: Path) -> None:
        self._own_lock = JournalLock(file)
        super().__init__(str(file), self._own_lock)
        self._own_lock.acquire()
        try:
            check_journal(file)
        finally:
            self._own_lock.release()

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._own_lock.acquire()
        try:
            with open(self._file_path, "rb+") as file:
                before, lines = _last_line(file), []
                for log in logs:
                    before = _checked_line(before, json.dumps(log, separators=(",", ":")).encode())
                    lines.append(before)
                file.seek(0, os.SEEK_END)
                file.write(b"".join(lines))
                file.flush()
                os.fsync(file.fileno())
        finally:
            self._own_lock.release()


def check_journal(file: Path) -> None:
    """Look at every line: one that is lost in the middle would give later trials the wrong numbers.

    Lines without a digest, as earlier versions wrote them, stand before all that have one.

    Raises:
        BlendmakeError: a line is no entry of a journal, or not as it was written.
    """
    if not file.exists():
        return
    before, had_check = b"", False
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            found = CHECK.search(line)
            if not _is_entry(line) or (had_check and not found):
                raise _damaged(file, number)
            if found and line != _checked_line(before, line[: found.start()] + b"}"):
                # Of a line without a digest only this one tells.
                raise _damaged(file, number if had_check or number == 1 else number - 1)
            before, had_check = line, found is not None


def _is_entry(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line)["op_code"], int)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False


def _damaged(file: Path, number: int) -> BlendmakeError:
    old, new = quote(str(file)), quote(f"{file}.new")
    return BlendmakeError(
        f"{file}, line {number} is damaged. Go on with what stands before it: head -n {number - 1} "
        f"{old} > {new} && mv {new} {old}; then run the same command again."
    )


def _checked_line(before: bytes, entry: bytes) -> bytes:
    """An entry (JSON, a mapping) as a line with its digest; `before` is the line above it, whole."""
    digest = hashlib.blake2b(before + entry, digest_size=8).hexdigest()
    return entry[:-1] + f',"check":"{digest}"}}\n'.encode()


def _last_line(file: Any) -> bytes:
    """The last line of a file that ends with one, newline included; empty if the file is."""
    end = file.seek(0, os.SEEK_END)
    tail = b""
    while end > 0 and tail.count(b"\n") < 2:
        start = max(0, end - BLOCK)
        file.seek(start)
        tail = file.read(end - start) + tail
        end = start
    return tail[tail.rfind(b"\n", 0, -1) + 1 :]
