"""What goes into an archive: finished files with all that they were made of, and partial work."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blendmake.digests import sha256
from blendmake.packing.archive import Member, Unit, content_key
from blendmake.packing.records import Record, Records


@dataclass(frozen=True)
class Scratch:
    """A folder of partial work: files by shell pattern; `whole`: all of them stand together or not."""

    folder: str
    patterns: Sequence[str]
    whole: bool = False


@dataclass
class Chosen:
    """Units in order, inputs before what was made of them; base files read; files left out, and why.

    Attributes:
        base: SHA-256 (hex) of the files that each machine makes itself and that these were made of.
    """

    units: list[Unit] = field(default_factory=list)
    base: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class Choice:
    """Files are chosen by what the records say that they were made of.

    Args:
        root: the folder of results; what was read from elsewhere is each machine's own.
        own: files and folders in it that each machine makes itself.
        beside: by file, what its job has made beside it, undeclared: files and folders.
        digest: SHA-256 (hex) of a file; each is asked for once.
    """

    def __init__(
        self,
        records: Records,
        root: str,
        own: Sequence[str],
        beside: Mapping[str, Sequence[str]],
        digest: Callable[[Path], str] = sha256,
    ) -> None:
        self._sha256 = digest
        self._records, self._root, self._own, self._beside = records, root, own, beside
        self._digests: dict[str, str] = {}
        self._jobs: dict[str, Unit | None] = {}
        self._seen: set[str] = set()
        self.chosen = Chosen()

    def add(self, paths: Iterable[str]) -> None:
        """Choose those of some files that are finished, and all that they were made of."""
        for path in paths:
            if path not in self._seen and Path(path).is_file():
                self._seen.add(path)
                self._add(path)

    def _add(self, path: str) -> None:
        record = self._records.read(path)
        if record is None:
            self.chosen.left_out[path] = "it is not finished, or nobody knows how it was made"
            return
        job = self._records.job_of(record)
        if job not in self._jobs:
            self._jobs[job] = self._unit(path, record)
        unit = self._jobs[job]
        if unit is None:
            self.chosen.left_out[path] = "what it was made of has changed since, or is left out"
            return
        unit.members.append(self._member(path))
        unit.records[path] = record
        for other in self._beside.get(path, ()):
            if Path(other).is_dir():
                unit.members += [self._member(file) for file in files_in(other, ["**/*"])]
            else:
                self.add([other])

    def _unit(self, path: str, record: Record) -> Unit | None:
        """A unit for what a job made, its inputs chosen before; None if one is not as it was."""
        inputs = self._records.inputs_of(record)
        inside = [one for one in inputs if one.startswith(f"{self._root}/")]
        self.add(one for one in inside if not self._is_own(one))
        for one, digest in inputs.items():
            changed = Path(one).is_file() and digest and self._digest(one) != digest
            if changed or one in self.chosen.left_out:
                return None
        self.chosen.base |= {
            one: self._digest(one) for one in inside if self._is_own(one) and Path(one).is_file()
        }
        unit = Unit()
        self.chosen.units.append(unit)
        return unit

    def _is_own(self, path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in self._own)

    def _digest(self, path: str) -> str:
        if path not in self._digests:
            self._digests[path] = self._sha256(Path(path))
        return self._digests[path]

    def _member(self, path: str) -> Member:
        file = Path(path)
        return Member(path, file.stat().st_size, self._digest(path), content_key(file))

    def add_scratch(self, scratch: Scratch) -> None:
        """Choose partial work; its names tell what it belongs to, so that none is taken for another."""
        found = []
        for path in files_in(scratch.folder, scratch.patterns):
            try:
                found.append(begun(path))
            except FileNotFoundError:
                continue  # its job has just finished
        if scratch.whole:
            self.chosen.units += [Unit(found)] if found else []
        else:
            self.chosen.units += [Unit([member]) for member in found]


def begun(path: str) -> Member:
    """A file that may be growing, as it is now: journals are only added to."""
    content = Path(path).read_bytes()
    return Member(path, len(content), hashlib.sha256(content).hexdigest())


def files_in(folder: str, patterns: Sequence[str]) -> list[str]:
    """Plain files of a folder; locks and what is being written left out."""
    found = {path for pattern in patterns for path in Path(folder).glob(pattern)}
    return sorted(
        str(path)
        for path in found
        if path.is_file() and not path.is_symlink() and not re.match(r"\.|lock(-|$)", path.name)
    )
