"""What the system's refusals mean, and the mend."""

from __future__ import annotations

import contextlib
import errno
import os

AGAIN = "then run the same command again: what is finished stays."
LARGE = (
    "it would be larger than the file system, or `ulimit -f`, allows. Put results and scratch on "
    f"another, or raise the limit; {AGAIN}"
)
LOST = (
    f"the file system does not answer as it should. Mount it again, or look for its server; {AGAIN}"
)
DENIED = "permission denied. Make the folder writable for this user."
MEMORY = (
    "memory has run out. Run fewer jobs at a time (--cores 2), or fits of fewer threads "
    "(--set-threads fit_fold=1); or tell Snakemake how much there is, and it starts no more than fit in "
    f"(--resources mem_mb=16000); {AGAIN}"
)
IN_THE_WAY = (
    "a file stands where a folder must be, or a folder in place of a file. Move away what is in the "
    f"way, {AGAIN}"
)
REFUSALS = {
    errno.ENOSPC: f"no space left on the device. Free some, {AGAIN}",
    errno.EDQUOT: f"the disk quota is used up. Free some space, {AGAIN}",
    errno.EROFS: "the file system is read-only. Mount it writable, or run in a writable folder.",
    errno.EACCES: DENIED,
    errno.EPERM: DENIED,
    errno.EIO: "the disk, or the server of the file system, reports an input/output error. Look what "
    f"the system says of it (dmesg), or put the folder elsewhere; {AGAIN}",
    errno.EMFILE: "too many files are open in this process. Allow more (ulimit -n 8192), or run fewer "
    f"jobs at a time (--cores 2); {AGAIN}",
    errno.ENFILE: f"too many files are open on this machine. Run fewer jobs at a time; {AGAIN}",
    errno.ENAMETOOLONG: "its name is longer than the file system bears. Shorten the name in the config, "
    "or run in a folder with a shorter path.",
    errno.EFBIG: LARGE,
    errno.ESTALE: LOST,
    errno.ENOTCONN: LOST,
    errno.ETIMEDOUT: LOST,
    errno.EHOSTDOWN: LOST,
    errno.ENXIO: LOST,
    errno.ENOTDIR: IN_THE_WAY,
    errno.EEXIST: IN_THE_WAY,
    errno.EISDIR: IN_THE_WAY,
    errno.ELOOP: "its links lead in a circle. Correct the link.",
    errno.ENOMEM: MEMORY,
}
"""What may be wrong with a machine rather than with the program, by number, with the mend."""
NO_INODES = (
    "the file system has space, but bears no more files (inodes; see df -i). Delete some, in scratch/ "
    f"of problems that are done, say; {AGAIN}"
)


def refusal(error: BaseException, path: str | os.PathLike[str] | None = None) -> str | None:
    """What the system's refusal means, with the mend; None where it is a matter of the program.

    Args:
        path: where it was refused, if the error does not say it.
    """
    if isinstance(error, MemoryError):
        return MEMORY
    if not isinstance(error, OSError):
        return None
    if error.errno == errno.ENOSPC and _has_no_inodes(error.filename or path):
        return NO_INODES
    return REFUSALS.get(error.errno or 0)


def _has_no_inodes(path: object) -> bool:
    """Whether the file system of a path has room for bytes, but for no further file."""
    with contextlib.suppress(OSError, TypeError, ValueError):
        folder = os.path.dirname(os.path.abspath(os.fspath(path)))  # type: ignore[call-overload]
        found = os.statvfs(folder)
        return bool(found.f_files) and found.f_favail == 0 and found.f_bavail > 0
    return False
