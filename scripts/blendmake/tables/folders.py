"""Folders of the user's that are one table; without pyarrow, as plans look at them too."""

from __future__ import annotations

import os


def is_parquet(name: str) -> bool:
    """Whether a file is parquet, by its name."""
    return name.lower().endswith((".parquet", ".pq"))


def parts_of(path: str | os.PathLike[str]) -> list[str]:
    """The files of a table: of a folder all below it in the order of their names; else the file.

    What begins with `.` or `_` is no data, as other programs have it (`_SUCCESS`, `.part-0.crc`).
    """
    if not os.path.isdir(path):
        return [os.fspath(path)]
    found = []
    for folder, folders, names in os.walk(path, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        found += [os.path.join(folder, name) for name in names if not name.startswith((".", "_"))]
    return sorted(found)


def bytes_of(path: str | os.PathLike[str]) -> int:
    """The size of a file, or of a folder's files together."""
    return sum(os.path.getsize(part) for part in parts_of(path))
