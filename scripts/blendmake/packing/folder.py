"""A folder of archives, one for each unit of work: carried out as each ends, unpacked together.

`<folder>/<problem>/<what>.<number>.tar`: each is whole by itself, and later ones have higher numbers. Of
files that stand in several, the latest counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.packing.archive import MOST_MANIFEST, Archive, Unit
from blendmake.packing.records import Records

NAME = re.compile(r"(.+)\.(\d{6,})\.tar")
MEND = "The others are taken; of this one, copy it again."


@dataclass(frozen=True)
class Placed:
    """A unit, the archive that holds it, and the digests of the base files that it was made of."""

    unit: Unit
    archive: Archive

    @property
    def base(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.archive.manifest["base"]
        return found


def archives_in(path: Path, problem: str) -> list[Path]:
    """The archives of a problem in a folder, as they were written; none of those being written.

    Args:
        path: the folder that `keep_at` named, or the problem's own in it.
    """
    folder = path / problem
    found = [one for one in (folder if folder.is_dir() else path).glob("*.tar") if _number(one)]
    return sorted(found, key=lambda one: (_number(one), one.name))


def label_of(path: Path) -> str:
    """What an archive of a folder holds, by its name."""
    found = NAME.fullmatch(path.name)
    return found[1] if found else path.name


def _number(path: Path) -> int:
    found = NAME.fullmatch(path.name)
    return int(found[2]) if found else 0


def next_number(paths: Iterable[Path]) -> int:
    """A number above those of some archives."""
    return max(map(_number, paths), default=0) + 1


def opened(path: Path, problem: str) -> tuple[list[Archive], dict[str, str]]:
    """The archives that `unpack=` names: a file, or all of a folder that are whole.

    Returns:
        The archives as they were written, and the reason by name of those that cannot be read.

    Raises:
        BlendmakeError: a file that is missing or damaged; a folder without an archive of the problem.
    """
    if not path.is_dir():
        return [Archive(path)], {}
    found: list[Archive] = []
    torn: dict[str, str] = {}
    size = 0
    for one in archives_in(path, problem):
        try:
            archive = Archive(one, MEND)
        except BlendmakeError as error:
            torn[one.name] = str(error)
            continue
        found.append(archive)
        size += archive.list_bytes
        if size > MOST_MANIFEST:
            raise BlendmakeError(
                f"The lists of the archives in {path} have more than {MOST_MANIFEST:,} bytes. Nothing "
                "was unpacked."
            )
    if not found:
        why = next(iter(torn.values()), "")
        raise BlendmakeError(
            f"{path} holds no whole archive of problem '{problem}'. Name what `snakemake pack` or a run "
            f"with keep_at has written: unpack=FILE.tar or unpack=FOLDER.{' ' + why if why else ''}"
        )
    return found, torn


def preset_in(path: Path, problem: str) -> dict[str, Any] | None:
    """The preset of an archive, or of the latest in a folder; None without one.

    Raises:
        BlendmakeError: as `opened`.
    """
    archive = opened(path, problem)[0][-1]
    archive.check_form()
    found: dict[str, Any] | None = archive.manifest["preset"]
    return found


def in_order(archives: Sequence[Archive], records: Records) -> list[Placed]:
    """The units of some archives, inputs before what was made of them; of a file, the latest unit.

    Raises:
        BlendmakeError: units that were made of each other, or a path that is a file and a folder.
    """
    every = [Placed(unit, archive) for archive in archives for unit in archive.units]
    if len(archives) == 1:
        return every
    latest = {member.path: n for n, one in enumerate(every) for member in one.unit.members}
    folders = {str(folder) for path in latest for folder in PurePosixPath(path).parents}
    if both := folders & set(latest):
        raise BlendmakeError(
            f"{archives[-1].path.parent} holds {min(both)} as a file and as a folder. Nothing was "
            "unpacked."
        )
    graph = {
        n: [
            latest[path]
            for record in one.unit.records.values()
            for path in records.inputs_of(record)
            if path in latest
        ]
        for n, one in enumerate(every)
        if all(latest[member.path] == n for member in one.unit.members)
    }
    try:
        order = TopologicalSorter({n: [k for k in of if k in graph] for n, of in graph.items()})
        return [every[n] for n in order.static_order()]
    except CycleError:
        raise BlendmakeError(
            f"{archives[-1].path.parent} holds what no run has written: files made of each other."
        ) from None
