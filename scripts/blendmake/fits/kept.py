"""The last finished fold of a source, kept beside scratch: who would fit the same takes it over.

The build system starts a job where anything that it is given has changed: a column that no model reads,
a table written anew. What is really read is known here.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.files import MADE_KEY, note_of, read_parquet, write_parquet

log = logging.getLogger(__name__)
OF_A_JOB = {MADE_KEY, "content", "seal", "jobs"}


def keep_fold(files: Mapping[str, Path], folder: Path, fits: str) -> None:
    """Keep the files of a finished fold, and nothing that was kept before.

    Args:
        files: by name; they are linked, so that they take no place of their own while they stand.
        folder: where they are kept.
        fits: digest of all that the fits depend on.
    """
    shutil.rmtree(folder, ignore_errors=True)
    stage = folder / f".{fits}.{os.getpid()}"
    stage.mkdir(parents=True)
    for name, path in files.items():
        try:
            os.link(path, stage / name)
        except OSError:  # another file system, or one without links
            shutil.copyfile(path, stage / name)
    stage.rename(folder / fits)


def take_fold(
    files: Mapping[str, Path], folder: Path, fits: str, notes: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Write a kept fold's files anew, if one of the same fits is kept; whether it was.

    Args:
        files, folder, fits: as `keep_fold` takes them.
        notes: what each file says of itself now, over what it said.
    """
    try:
        tables = {name: read_parquet(folder / fits / name) for name in files}
    except BlendmakeError as error:
        if (folder / fits).exists():
            log.warning("what was kept of this fold cannot be used: %s", error)
        return False
    for name, path in files.items():
        old = {k: v for k, v in note_of(tables[name]).items() if k not in OF_A_JOB}
        write_parquet(tables[name], path, {**old, **notes[name]})
    return True
