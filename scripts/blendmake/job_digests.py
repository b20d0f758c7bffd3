"""By what records know a job's params and files; without pyarrow, as `digests`."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from blendmake.digests import digest_of

PART = 1 << 16  # bytes that are read at the head, in the middle and at the end of a file
PARQUET = b"PAR1"


def serialised(value: Any) -> str | None:
    """A param as text, in the order in which it came; None if it cannot be told."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return None


def params_digest(params: Iterable[str | None]) -> str:
    """Digest of a job's params, each serialised (hex)."""
    return digest_of(sorted(text for text in params if text is not None))


def quick_digest(path: Path) -> str:
    """Digest of a file's size, head, middle and end (hex).

    The end of an artifact (the footer of a parquet file, the last batch of a table file) holds the
    digest of all its content.
    """
    size = os.path.getsize(path)
    digest = hashlib.blake2b(str(size).encode(), digest_size=16)
    with open(path, "rb") as file:
        end = PART
        if size > 8:
            file.seek(size - 8)
            last = file.read(8)
            if last[4:] == PARQUET:
                end = max(end, int.from_bytes(last[:4], "little") + 8)
        for start, length in ((0, PART), (max(0, size // 2 - PART // 2), PART), (size - end, end)):
            file.seek(max(0, start))
            digest.update(file.read(min(length, size)))
    return digest.hexdigest()


def is_mark(path: str | Path) -> bool:
    """Whether a file only says that some targets of a fold were fitted, in how many jobs they were.

    How work is spread is no part of what an artifact is made of.
    """
    return Path(path).parent.name == "chunks"
