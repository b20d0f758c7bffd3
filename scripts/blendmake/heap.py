"""The heaps of the C library and of Arrow: what was freed is used again, or goes back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from typing import Any

M_ARENA_MAX = -8  # of glibc's malloc.h


@cache
def _libc(name: str) -> Any:
    """A function of glibc's; None with another C library."""
    return getattr(ctypes.CDLL(None), name, None)


def share_heap() -> None:
    """Let all threads take memory from one heap, where the C library can be told so.

    glibc gives threads heaps of their own, and none of them uses what was freed in another: in a fit
    of XGBoost, with histograms of some megabytes for each node, 70 MB of 400. It counts only before
    the second thread starts, and NumPy starts some when it is imported.
    """
    if (mallopt := _libc("mallopt")) is not None:
        mallopt(M_ARENA_MAX, 1)


def give_back_freed() -> None:
    """Give the pages that were freed back to the system, where the C library can; and Arrow's.

    glibc keeps what many small allocations took for those to come; after a library has prepared a
    large matrix that is gigabytes, which stay this process's own beside all that it does next. Arrow
    keeps what it read and unpacked tables into.
    """
    if (trim := _libc("malloc_trim")) is not None:
        trim(0)
    # Not imported here: threads that it starts would come before `share_heap`.
    if (arrow := sys.modules.get("pyarrow")) is not None:
        arrow.default_memory_pool().release_unused()
