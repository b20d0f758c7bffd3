"""Memory that was freed goes back to the system."""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from blendmake.heap import give_back_freed

BLOCKS, SIZE = 100_000, 1024


def anonymous() -> int:
    """Bytes of this process that are no file's."""
    found = re.search(r"^RssAnon:\s*(\d+)", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) * 1024


needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="not glibc")
# Four threads that are there at the same time; then glibc is asked how many heaps it has.
IN_ANOTHER_PROCESS = """
import ctypes, sys, threading
sys.path[:0] = {path!r}
from blendmake.heap import share_heap
if {shared}:
    share_heap()
libc = ctypes.CDLL(None)
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
libc.fopen.argtypes, libc.fopen.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_void_p
libc.malloc_info.argtypes, libc.fclose.argtypes = [ctypes.c_int, ctypes.c_void_p], [ctypes.c_void_p]
together = threading.Barrier(4)
def take():
    together.wait()
    libc.malloc(5000)
    together.wait()
threads = [threading.Thread(target=take) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
file = libc.fopen(b"{out}", b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


@needs_glibc
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


def test_what_arrow_freed_is_given_back() -> None:
    start = anonymous()
    buffers = [pa.allocate_buffer(64 << 10) for _ in range(1500)]
    for buffer in buffers:
        ctypes.memset(buffer.address, 1, buffer.size)
    taken = anonymous() - start
    del buffer, buffers
    assert anonymous() - start > taken / 2  # else there would be nothing to give back
    give_back_freed()
    assert anonymous() - start < taken / 4


@needs_glibc
def test_threads_share_one_heap(tmp_path: Path) -> None:
    def heaps(shared: bool) -> int:
        out = tmp_path / "info.xml"
        code = IN_ANOTHER_PROCESS.format(path=sys.path[:], shared=shared, out=out)
        subprocess.run([sys.executable, "-c", code], check=True)
        return out.read_text().count("<heap nr")

    assert heaps(shared=True) == 1 < heaps(shared=False)
