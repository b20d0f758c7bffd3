"""The ledger of a machine: which processes of blendmake hold which GPU, and how much of its memory.

A holder is a file in a folder that all users of the machine share, with a lock that its process holds
as long as it lives: the system drops it with the process, however that dies. Who looks at the ledger
holds a lock on the folder's own file meanwhile, and removes files whose holders are gone.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import pwd
import stat
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
GUARDED = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
MOST_BYTES = 65536  # of what a holder writes
LOCKED = 60.0  # seconds for which the ledger may be held before something is wrong


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
            _make(self.folder)
            handle = _open(self.folder / "lock")
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        try:
            self._lock(handle)
            yield list(self._living())
        finally:
            os.close(handle)

    def _unusable(self, why: str) -> BlendmakeError:
        return BlendmakeError(
            f"{self.folder}, where jobs note which GPU they hold, cannot be used: {why}. Name a folder "
            f"that all users of this machine may write by the environment variable {FOLDER}."
        )

    def _lock(self, handle: int) -> None:
        """Lock the ledger, which others hold for a moment only."""
        end = time.monotonic() + LOCKED
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    raise self._unusable(
                        f"for {LOCKED:.0f} seconds a process has held its lock (see it: lsof "
                        f"{self.folder / 'lock'})"
                    ) from None
                time.sleep(0.02)

    def _living(self) -> Iterator[Holder]:
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                # What is no plain file is nobody's: opening a pipe would wait, a link lead elsewhere.
                handle = os.open(path, os.O_RDONLY | GUARDED)
            except OSError:
                continue
            try:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    continue
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = _holder(os.read(handle, MOST_BYTES))
                if holder is not None:
                    yield holder
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
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | GUARDED, 0o644)
            os.fchmod(handle, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            os.write(handle, json.dumps(asdict(holder)).encode())
        except OSError as error:
            raise self._unusable(error.strerror or str(error)) from error
        return path, handle

    @staticmethod
    def remove(path: Path, handle: int) -> None:
        """End a hold."""
        path.unlink(missing_ok=True)
        os.close(handle)


def _make(folder: Path) -> None:
    """Make the folder, as /tmp is: all may write, and nobody removes what is another's.

    Raises:
        OSError: something else stands there; of the usual place, also a link, which anybody may set.
    """
    with suppress(FileExistsError):
        folder.mkdir(parents=True)
        folder.chmod(0o1777)
    usual = str(folder) == DEFAULT
    if not stat.S_ISDIR((folder.lstat() if usual else folder.stat()).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, f"it is no folder{_owner(folder)}")


def _open(path: Path) -> int:
    """A plain file that every user of the machine may lock, made if it is not there.

    Raises:
        OSError: it cannot be made, or something else stands there.
    """
    handle = None
    for _ in range(3):
        # Some systems refuse O_CREAT for what is there and another's, in a folder as /tmp.
        with suppress(FileNotFoundError):
            handle = _opened(path, os.O_RDWR)
        if handle is None:
            with suppress(FileExistsError):
                handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | GUARDED, 0o666)
                os.fchmod(handle, 0o666)
        if handle is not None:
            return handle
    raise FileNotFoundError(errno.ENOENT, f"{path} comes and goes")


def _opened(path: Path, flags: int) -> int:
    """Open a file that must be a plain one."""
    try:
        handle = os.open(path, flags | GUARDED)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise _no_file(path) from error
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _no_file(path)
    return handle


def _no_file(path: Path) -> OSError:
    return OSError(errno.EINVAL, f"{path} is no plain file{_owner(path)}: remove it")


def _owner(path: Path) -> str:
    """Whose it is, in brackets."""
    uid = path.lstat().st_uid
    try:
        return f" (of {pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f" (of user {uid})"


def _holder(text: bytes) -> Holder | None:
    """What a holder has written; None for anything else: any user may write any file there."""
    try:
        found = Holder(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    numbers = (found.pid, found.memory_mb, found.since)
    plain = all(isinstance(n, int | float) and not isinstance(n, bool) and n >= 0 for n in numbers)
    texts = (found.device, found.user, found.what)
    return found if plain and all(isinstance(one, str) for one in texts) else None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
