"""Checkpoints of a fit: whole or not at all, and never taken by another fit or when damaged.

A file is the BLAKE2b digest of its content (32 bytes), then the content as `torch.save` writes it;
torch itself does not notice a changed byte. Read with `weights_only`: tensors and plain values.
"""

from __future__ import annotations

import hashlib
import io
import logging
import pickle
import time
from pathlib import Path
from typing import Any

import torch

from blendmake.files import replacing

log = logging.getLogger(__name__)

DIGEST_BYTES = 32
SHARE = 0.1  # of a fit's time that may go into writing them


class Checkpoints:
    """The checkpoint of one fit, in its scratch folder.

    Args:
        path: the file.
        key: what identifies the fit; a checkpoint with another key is not taken.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key
        self._next = 0.0

    def write(self, content: dict[str, Any], at_once: bool = False) -> None:
        """Write `content`, unless epochs are so short that writing would take most of the time.

        `at_once`: whatever it takes.
        """
        started = time.monotonic()
        if started < self._next and not at_once:
            return
        buffer = io.BytesIO()
        torch.save({**content, "key": self.key}, buffer)
        with replacing(self.path) as temporary, open(temporary, "wb") as file:
            file.write(_digest(buffer.getbuffer()))
            file.write(buffer.getbuffer())
        now = time.monotonic()
        self._next = now + (now - started) / SHARE

    def read(self) -> dict[str, Any] | None:
        """The content last written; None if there is none, or none that is whole and of this fit."""
        try:
            stored = self.path.read_bytes()
        except FileNotFoundError:
            return None
        digest, content = stored[:DIGEST_BYTES], stored[DIGEST_BYTES:]
        if digest != _digest(content):
            log.warning("%s is damaged; the fit starts anew", self.path)
            return None
        try:
            found: dict[str, Any] = torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
        except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
            log.warning("%s cannot be read (%s); the fit starts anew", self.path, error)
            return None
        if found["key"] != self.key:
            log.warning("%s belongs to another fit; this one starts anew", self.path)
            return None
        return found


def _digest(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
