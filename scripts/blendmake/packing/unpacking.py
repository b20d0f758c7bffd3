"""What of an archive is put in place on this machine, and how."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blendmake.digests import sha256
from blendmake.errors import BlendmakeError
from blendmake.packing.archive import Archive, Member, Unit, content_key
from blendmake.packing.folder import Placed, in_order, opened
from blendmake.packing.identity import differences, identity
from blendmake.packing.records import Record, Records
from blendmake.scratch import locked

STAGE = "unpacking"


@dataclass
class Unpacked:
    """What became of an archive's files.

    Attributes:
        placed: put in place.
        there: stood already, with the same content.
        kept: stood already with another content, and stay as they are.
        left_out: not put in place, and why.
        refused: archives of a folder of which nothing is taken, by name, and why.
    """

    placed: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def unpack(plan: Mapping[str, Any], records: Records) -> tuple[Unpacked, Mapping[str, Any]]:
    """Put the files of an archive in place, after all of them have proved whole.

    Of a folder of archives, those that are whole and go with what stands here; the others are told.

    Files are dated like the newest of the base files here: not older than what they are made of, not
    newer than what was made here of the same. Their records go first, so that a kill leaves no file that
    nobody knows how to judge.

    Args:
        plan: as packing.pack takes it.

    Returns:
        What became of the files, and what the archive says of itself.

    Raises:
        BlendmakeError: no archive is named, a damaged one, one of another problem, of other data,
            folds or records; then nothing is put in place.
    """
    if not plan["archive"]:
        raise BlendmakeError("Name the archive: snakemake unpack --config unpack=FILE.tar")
    roots, path = plan["roots"], Path(plan["archive"])
    archives, refused = opened(path, plan["problem"])
    here = identity(plan["base"])
    if path.is_dir():
        archives = _accepted(archives, refused, plan, records, here)
    else:
        _check(archives[0], plan, records, here)
    _check_preset(archives[-1], plan)
    folders = {root: Path(root) / STAGE for root in roots}
    with locked(folders[roots[-1]]):
        try:
            decided = _Decisions(in_order(archives, records), records, plan["own"])
            stage = {
                path: folders[root] / path.removeprefix(f"{root}/")
                for root in roots
                for path in decided.result.placed
                if path.startswith(f"{root}/")
            }
            for archive in archives:
                taken = decided.places_from(archive)
                if taken or len(archives) == 1:
                    archive.extract({path: stage[path] for path in taken})
            decided.place(stage)
        finally:
            for folder in folders.values():
                shutil.rmtree(folder, ignore_errors=True)
    decided.result.refused = refused
    return decided.result, archives[-1].manifest


def _accepted(
    archives: Sequence[Archive],
    refused: dict[str, str],
    plan: Mapping[str, Any],
    records: Records,
    here: Mapping[str, Any],
) -> list[Archive]:
    """Those of a folder's archives that are whole and go with what stands here; the others are told.

    Raises:
        BlendmakeError: none does.
    """
    found = []
    for archive in archives:
        try:
            _check(archive, plan, records, here)
            archive.extract({})
            found.append(archive)
        except BlendmakeError as error:
            refused[archive.path.name] = str(error)
    if not found:
        raise BlendmakeError(next(reversed(refused.values())))
    return found


def _check(
    archive: Archive, plan: Mapping[str, Any], records: Records, here: Mapping[str, Any]
) -> None:
    """Refuse what cannot be unpacked here.

    Args:
        here: identity.identity of what stands here.
    """
    archive.check_form()
    manifest = archive.manifest
    if manifest["problem"] != plan["problem"]:
        raise BlendmakeError(
            f"{archive.path} is of problem '{manifest['problem']}', and the config of problem "
            f"'{plan['problem']}'. Name the archive's config with --configfile."
        )
    if manifest["records"] != records.format:
        raise BlendmakeError(
            f"{archive.path} holds records in {manifest['records']}, and here they are in "
            f"{records.format}: without them nobody knows what is out of date. Install the same "
            "version on both machines."
        )
    archive.check_paths(plan["roots"], plan["own"])
    if found := differences(manifest["identity"], here):
        raise BlendmakeError(
            f"{archive.path} does not go with what stands here; nothing of it was unpacked.\n"
            + "\n".join(f"  - {line}" for line in found)
        )


def _check_preset(archive: Archive, plan: Mapping[str, Any]) -> None:
    manifest = archive.manifest
    if manifest["preset"] and plan["preset"] and manifest["preset"] != plan["preset"]:
        raise BlendmakeError(
            f"{archive.path} is of a preset that was written out otherwise than the one here. Delete "
            f"{plan['roots'][0]}/preset.json to take the archive's, and unpack again."
        )


class _Decisions:
    """Which units are put in place: inputs are decided before what was made of them.

    Args:
        own: files and folders that each machine makes itself; their content is known to be the same.
    """

    def __init__(self, units: Sequence[Placed], records: Records, own: Sequence[str]) -> None:
        self._records, self._own = records, own
        self._members = {member.path: member for one in units for member in one.unit.members}
        self._archives = {path: one.archive for one in units for path in _paths(one)}
        self._base = {path for one in units for path in one.base}
        self._digests: dict[str, str | None] = {}  # of files as they will stand here
        self._written: dict[str, Record] = {}
        self.result = Unpacked()
        for one in units:
            self._decide(one.unit, one.base)

    def places_from(self, archive: Archive) -> list[str]:
        """What is put in place of an archive's files."""
        return [path for path in self.result.placed if self._archives[path] is archive]

    def _decide(self, unit: Unit, base: Mapping[str, str]) -> None:
        result, members = self.result, {member.path: member for member in unit.members}
        # What a job leaves undeclared beside its files, a killed one has left too.
        standing = {path for path in unit.records or members if self._stands(members[path])}
        same = {path for path in standing if self._is_same(path, members[path].sha256)}
        if standing - same:
            result.kept += sorted(standing)
            others = (path for path in members if not Path(path).is_file())
            result.left_out |= dict.fromkeys(others, "its job has made other files here")
            return
        missing = [path for path in members if path not in same]
        if same:
            # What stands undeclared beside the same files is theirs.
            missing = [p for p in missing if p in unit.records or not Path(p).is_file()]
        changed = next(filter(None, map(self._changed_input, unit.records.values())), None)
        result.there += sorted(set(members) - set(missing))
        if changed:
            result.left_out |= dict.fromkeys(missing, f"made of another {changed}")
            return
        for path in missing:
            self._digests[path] = members[path].sha256
            result.placed.append(path)
        for path, record in unit.records.items():
            if path not in same or self._records.read(path) is None:
                self._written[path] = self._adapted(record, base)

    def _stands(self, member: Member) -> bool:
        """Whether a file stands here; what a killed job left, unless it is the very same, does not."""
        if not Path(member.path).is_file():
            return False
        return not self._records.is_unfinished(member.path) or self._is_same(
            member.path, member.sha256
        )

    def _digest(self, path: str) -> str | None:
        if path not in self._digests:
            there = Path(path).is_file()
            self._digests[path] = sha256(Path(path)) if there else None
        return self._digests[path]

    def _is_same(self, path: str, digest: str) -> bool:
        """Whether a file here has the content of one there, whatever its bytes."""
        if self._digest(path) == digest:
            return True
        member = self._members.get(path)
        if member is None or member.content is None or member.sha256 != digest:
            return False
        return Path(path).is_file() and content_key(Path(path)) == member.content

    def _is_own(self, path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in self._own)

    def _changed_input(self, record: Record) -> str | None:
        """An input of a job whose content here is not what its files were made of."""
        for path, digest in self._records.inputs_of(record).items():
            here = None if self._is_own(path) else self._digest(path)
            if (here and digest and not self._is_same(path, digest)) or (
                not here and path in self.result.left_out
            ):
                return path
        return None

    def _adapted(self, record: Record, base: Mapping[str, str]) -> Record:
        """A record with the digests of the inputs as they are here: bytes may differ, content does not.

        Of a file that each machine makes, only where it was really made of the one that stood there.
        """
        own = {}
        for path, digest in self._records.inputs_of(record).items():
            was_there = not self._is_own(path) or base.get(path) == digest
            if digest and was_there and (here := self._digest(path)):
                own[path] = here
        return self._records.with_inputs(record, own)

    def place(self, stage: Mapping[str, Path]) -> None:
        """Move what is staged to its place."""
        date = max(
            (Path(path).stat().st_mtime_ns for path in self._base if Path(path).exists()),
            default=None,
        )
        for path, record in self._written.items():
            self._records.write(path, record)
        for path in self.result.placed:
            if date is not None:
                os.utime(stage[path], ns=(date, date))
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            os.replace(stage[path], path)
        for path in self._written:
            self._records.placed(path)


def _paths(one: Placed) -> list[str]:
    return [member.path for member in one.unit.members]
