"""Memory that was freed, given back to the system."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


@cache
def _trim() -> Any:
    """glibc's malloc_trim; None with another C library."""
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back_freed() -> None:
    """Give the pages that were freed back to the system, where the C library can.

    glibc keeps what many small allocations took for those to come; after a library has prepared a
    large matrix that is gigabytes, which stay this process's own beside all that it does next.
    """
    if (trim := _trim()) is not None:
        trim(0)
