"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest

from blendmake.heap import give_back_freed

BLOCKS, SIZE = 100_000, 1024


def anonymous() -> int:
    """Bytes of this process that are no file's."""
    found = re.search(r"^RssAnon:\s*(\d+)", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
def test_what_small_allocations_took_is_given_back() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    libc.free.restype = None
    blocks = [libc.malloc(SIZE) for _ in range(BLOCKS)]
    for block in blocks:
        ctypes.memset(block, 1, SIZE)
    # The last one stays: below it nothing goes back by itself.
    for block in blocks[:-1]:
        libc.free(block)
    before = anonymous()
    give_back_freed()
    assert before - anonymous() > BLOCKS * SIZE / 2
    libc.free(blocks[-1])
