"""The ledger of a machine: which processes of blendmake hold which GPU, and how much of its memory.

A holder is a file in a folder that all users of the machine share, with a lock that its process holds
as long as it lives: the system drops it with the process, however that dies. Who looks at the ledger
holds a lock on the folder's own file meanwhile, and removes files whose holders are gone.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from blendmake.errors import BlendmakeError

FOLDER = "BLENDMAKE_GPU_LOCKS"
# Not TMPDIR: users of one machine have different ones.
DEFAULT = "/tmp/blendmake-gpus"
SUFFIX = ".holder"


@dataclass(frozen=True)
class Holder:
    """A process that holds a GPU; `memory_mb` 0: all of it."""

    device: str
    pid: int
    memory_mb: int
    user: str
    what: str
    since: float

    @property
    def text(self) -> str:
        """The holder in messages."""
        share = f", {self.memory_mb} MB" if self.memory_mb else ""
        return f"{self.what} (process {self.pid} of {self.user}{share})"


class Ledger:
    """The holders of this machine.

    Args:
        folder: where their files stand; left out: what BLENDMAKE_GPU_LOCKS names, or DEFAULT.

    Raises:
        BlendmakeError: the folder cannot be used.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(os.environ.get(FOLDER) or DEFAULT) if folder is None else folder

    @contextmanager
    def opened(self) -> Iterator[list[Holder]]:
        """Hold the ledger for a moment: the holders that live."""
        try:
            if not self.folder.is_dir():
                self.folder.mkdir(parents=True, exist_ok=True)
                # As /tmp: all may write, and nobody removes what is another's.
                self.folder.chmod(0o1777)
            handle = _open(self.folder / "lock")
        except OSError as error:
            raise BlendmakeError(
                f"{self.folder}, where jobs note which GPU they hold, cannot be used: "
                f"{error.strerror}. Name a folder that all users of this machine may write by the "
                f"environment variable {FOLDER}."
            ) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield list(self._living())
        finally:
            os.close(handle)

    def _living(self) -> Iterator[Holder]:
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                handle = os.open(path, os.O_RDONLY)
            except OSError:
                continue
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                with suppress(ValueError, TypeError):
                    yield Holder(**json.loads(path.read_text(encoding="utf-8")))
            else:
                with suppress(OSError):  # another user's; he, or root, removes it
                    path.unlink()
            finally:
                os.close(handle)

    def add(self, device: str, memory_mb: int, what: str) -> tuple[Path, int]:
        """Enter this process; to be called while the ledger is held.

        Returns:
            The file, and the handle whose end is the end of the hold.
        """
        holder = Holder(device, os.getpid(), memory_mb, _user(), what, time.time())
        path = self.folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}{SUFFIX}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        os.fchmod(handle, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, json.dumps(asdict(holder)).encode())
        return path, handle

    @staticmethod
    def remove(path: Path, handle: int) -> None:
        """End a hold."""
        path.unlink(missing_ok=True)
        os.close(handle)


def _open(path: Path) -> int:
    """A file that every user of the machine may lock, made if it is not there."""
    for _ in range(2):
        # Some systems refuse O_CREAT for what is there and another's, in a folder as /tmp.
        with suppress(FileNotFoundError):
            return os.open(path, os.O_RDWR)
        with suppress(FileExistsError):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
            os.fchmod(handle, 0o666)
            return handle
    return os.open(path, os.O_RDWR)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
