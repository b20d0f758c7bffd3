"""How an artifact was made: what goes into its parquet metadata."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


@cache
def git_revision() -> str | None:
    """Revision of the checkout this code stands in, None outside git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@cache
def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def provenance(
    config: Mapping[str, Any], code: str, *, packages: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """The note of an artifact.

    Args:
        config: the slice of the config it was made from.
        code: digest of the code that made it.
        packages: packages whose versions matter, beside numpy and pyarrow.
    """
    versions = {name: _version(name) for name in ("numpy", "pyarrow", *packages)}
    return {
        "config": dict(config),
        "code": code,
        "versions": versions,
        "git_revision": git_revision(),
        **more,
    }
