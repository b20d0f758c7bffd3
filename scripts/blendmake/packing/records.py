"""What packing needs to know of the build system's own book-keeping, without knowing the system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

Record = dict[str, Any]
"""How a file was made, as the build system writes it down; JSON-able, and opaque here."""


class Records(Protocol):
    """The records of one working folder; files go by their path relative to it."""

    @property
    def format(self) -> str:
        """Name and version of the format: records of another are not understood."""

    def refresh(self) -> None:
        """Look at files and records anew: both may have changed since."""

    def read(self, path: str) -> Record | None:
        """The record of a finished file; None without one, or while the file is being made."""

    def is_unfinished(self, path: str) -> bool:
        """Whether a job that makes the file runs, or was killed."""

    def write(self, path: str, record: Record) -> None:
        """Keep the record of a file that is about to be put in place."""

    def placed(self, path: str) -> None:
        """Count a file that was put in place as finished."""

    def job_of(self, record: Record) -> str:
        """What the files that one job made have in common."""

    def inputs_of(self, record: Record) -> dict[str, str | None]:
        """The files that a job read, with their SHA-256 (hex) where it is on record."""

    def with_inputs(self, record: Record, digests: Mapping[str, str]) -> Record:
        """The record with other digests (SHA-256, hex) of some of the files that its job read."""
