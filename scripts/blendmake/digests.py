"""Digests of values and of files; without pyarrow, which costs a plan more than all the rest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from blendmake.errors import BlendmakeError


def digest_of(value: Any) -> str:
    """Digest of a JSON-able value (hex)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes (hex).

    Raises:
        BlendmakeError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BlendmakeError(f"{path} cannot be read: {error.strerror}") from error
