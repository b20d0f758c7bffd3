"""Groups of targets that a rule has built, read inside jobs (made by `group_rules`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from blendmake.files import read_parquet


def read_group_files(files: Sequence[str]) -> dict[str, list[str]]:
    """Members of built groups, by name; a file is called after its group."""
    return {Path(file).stem: read_parquet(Path(file))["target"].to_pylist() for file in files}
