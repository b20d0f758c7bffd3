"""Carrying what stands out of the machine while a run goes on: one archive for each unit of work.

Looked at again and again: what is new since the last look, and finished, is written to the folder under
a name of its own, whole or not at all; nothing that stands there already is written twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from blendmake.digests import sha256
from blendmake.errors import BlendmakeError
from blendmake.files import digest_of
from blendmake.packing.archive import (
    KINDS,
    Archive,
    ChangedMeanwhile,
    Member,
    Unit,
    write_archive,
)
from blendmake.packing.choosing import Choice, begun, files_in
from blendmake.packing.folder import archives_in, label_of, next_number
from blendmake.packing.identity import identity
from blendmake.packing.packing import about
from blendmake.packing.records import Records
from blendmake.refusals import refusal

# Below results/<problem>/: what is carried, with all that it was made of.
FINISHED = (
    *("sources/*/*", "sources/*/fold*/*", "blends/*/*", "submissions/*"),
    *("audits/**/*", "searches/**/*"),
)
# Below scratch/<problem>/: folders whose finished fits each stand alone, and those with what grows.
FITS = ("sources/*/fold*", "audits/*/fold*")
GROWING = {"searches/*": ("journal.log", "place.json"), "sources/*/fold*/*/*": ("checkpoint.pt",)}
HOLD_FITS = (".oof.parquet", ".columns.parquet")  # what an archive with all fits of a fold ends in
SCRATCH = "scratch."
BATCH = 15.0  # seconds from one archive of a fold's finished fits to the next
OFTEN = 60.0  # seconds from one copy of what grows to the next

Stat = tuple[int, int, int]  # size in bytes, mtime in ns, place on the disk


class Carrier:
    """What of a problem stands in this folder, and what of it has been carried to another.

    Args:
        plan: `problem`, `roots`, `own`, `base` as packing.pack takes them; `preset_file`; `keep_at`: the
            folder, which is there.
        clock: seconds.

    Attributes:
        archives, bytes: how many have been written.
    """

    def __init__(
        self,
        plan: Mapping[str, Any],
        records: Records,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._plan, self._records, self._clock = plan, records, clock
        self._results, self._scratch = (Path(root) for root in plan["roots"])
        self._root = Path(plan["keep_at"])
        self._folder = self._root / plan["problem"]
        self._device = self._root.stat().st_dev
        self._sums: dict[tuple[str, Stat | None], str] = {}
        self._found: dict[str, Stat | None] = {}  # at the last look
        self._seen: dict[str, Stat | None] = {}  # of partial work, at the last look
        self._units: dict[str, str] = {}  # by label, what a unit held at the last look
        self._at: dict[str, float] = {}  # by label of partial work, when it was last carried
        self._identity: tuple[Any, dict[str, Any]] = (None, {})
        self.archives = self.bytes = 0
        self._there: dict[str, str] = {}  # by label of a unit, what has been carried of it
        self._fits: dict[str, str] = {}  # by path of partial work, its digest
        self._preset: Any = None
        self._read_folder()

    def _read_folder(self) -> None:
        """Know what has been carried before; what is damaged is carried again."""
        for path in archives_in(self._root, self._plan["problem"]):
            try:
                archive = Archive(path)
            except BlendmakeError:
                continue
            self._preset = archive.manifest.get("preset")
            members = list(archive.members)
            if label_of(path).startswith(SCRATCH):
                self._fits |= {member.path: member.sha256 for member in members}
            else:
                self._there[label_of(path)] = _held(members)

    def look(self, last: bool = False) -> None:
        """Carry what is finished and new.

        Args:
            last: nothing is being made any more, so that nothing is waited for.

        Raises:
            BlendmakeError: the folder cannot be written.
        """
        if not all(Path(p).exists() for k, p in self._plan["base"].items() if k != "test"):
            return
        found = {path: _stat(path) for path in self._files()}
        waiting = any(self._there.get(label) != held for label, held in self._units.items())
        if last or waiting or found != self._found:
            self._found = found
            try:
                self._carry_finished(last)
            except FileNotFoundError:
                self._found = {}  # a job has just begun to make it anew
        self._carry_preset()
        self._carry_fits(last)
        self._carry_growing(last)

    def _files(self) -> list[str]:
        found = (path for pattern in FINISHED for path in self._results.glob(pattern))
        return sorted(
            str(path)
            for path in found
            if path.suffix in KINDS and path.is_file() and not path.name.startswith(".")
        )

    # What is finished

    def _carry_finished(self, last: bool) -> None:
        self._records.refresh()
        choice = Choice(
            self._records, str(self._results), self._plan["own"], self._beside(), self._sum
        )
        choice.add(self._found)
        before, self._units = self._units, {}
        for unit in choice.chosen.units:
            if not unit.members:
                continue
            label, held = self._label(unit), _held(unit.members)
            self._units[label] = held
            # Records of a job's files are written one after another: what is seen twice is whole.
            if self._there.get(label) == held or not (last or before.get(label) == held):
                continue
            if self._write(label, [unit], choice.chosen.base):
                self._there[label] = held
                if label.endswith(HOLD_FITS):
                    self._drop(SCRATCH + label.rsplit(".", 2)[0])

    def _beside(self) -> dict[str, list[str]]:
        """By file, what its job makes beside it that no rule asks for."""
        fits = self._results.glob("sources/*/fold*/oof.parquet")
        made = self._results.glob("features/*/fold*/columns.parquet")
        return {str(path): [str(path.parent / "models")] for path in fits} | {
            str(path): [str(path.parent / "selection.parquet")] for path in made
        }

    def _label(self, unit: Unit) -> str:
        """A name for a job's files: that of the first, of oof where there is one."""
        first = min(unit.records, key=lambda path: (not path.endswith("/oof.parquet"), path))
        return first.removeprefix(f"{self._results}/").replace("/", ".")

    def _sum(self, path: Path) -> str:
        """SHA-256 of a file, read once while its size and date stay."""
        key = (str(path), _stat(path))
        if key not in self._sums:
            self._sums[key] = sha256(path)
        return self._sums[key]

    def _carry_preset(self) -> None:
        if self._preset_here not in (None, self._preset):
            self._write("preset", [], {})

    @property
    def _preset_here(self) -> Any:
        path = Path(self._plan["preset_file"])
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    # What has been begun

    def _carry_fits(self, last: bool) -> None:
        """Finished fits of unfinished folds, and targets of audits: those since the last time."""
        for folder in self._folders(FITS):
            label = self._label_of_scratch(folder)
            if not self._is_due(label, BATCH, last):
                continue
            files = [path for path in files_in(str(folder), ["*/*"]) if Path(path).suffix in KINDS]
            members = [one for path in files if (one := self._new(path, folder, last)) is not None]
            if members and self._write(label, [Unit([one]) for one in members], {}, replaces=False):
                self._fits |= {one.path: one.sha256 for one in members}
                self._at[label] = self._clock()

    def _new(self, path: str, folder: Path, last: bool) -> Member | None:
        """A finished fit that has not been carried, and that no finished fold holds."""
        stat, before = _stat(path), self._seen.get(path)
        self._seen[path] = stat
        if stat is None or not (last or before == stat):
            return None
        whole = _stat(self._results / folder.relative_to(self._scratch) / "oof.parquet")
        if whole is not None and whole[1] > stat[1]:
            return None
        try:
            digest = self._sum(Path(path))
        except FileNotFoundError:
            return None
        return None if self._fits.get(path) == digest else Member(path, stat[0], digest)

    def _carry_growing(self, last: bool) -> None:
        """Studies and checkpoints of networks: each time the whole, so seldom."""
        for pattern, names in GROWING.items():
            for folder in self._folders([pattern]):
                label = f"{self._label_of_scratch(folder)}.growing"
                if not self._is_due(label, OFTEN, last):
                    continue
                try:
                    members = [begun(path) for path in files_in(str(folder), names)]
                except FileNotFoundError:
                    continue  # its job has just finished
                new = any(self._fits.get(one.path) != one.sha256 for one in members)
                if new and self._write(label, [Unit(members)], {}):
                    self._fits |= {one.path: one.sha256 for one in members}
                    self._at[label] = self._clock()

    def _folders(self, patterns: Any) -> list[Path]:
        found = (path for pattern in patterns for path in sorted(self._scratch.glob(pattern)))
        return [path for path in found if path.is_dir()]

    def _label_of_scratch(self, folder: Path) -> str:
        return SCRATCH + ".".join(folder.relative_to(self._scratch).parts)

    def _is_due(self, label: str, seconds: float, last: bool) -> bool:
        return last or label not in self._at or self._clock() - self._at[label] >= seconds

    # The folder

    def _write(
        self, label: str, units: list[Unit], base: Mapping[str, str], *, replaces: bool = True
    ) -> bool:
        """Write an archive, and remove what it replaces; whether its files stayed as they were."""
        try:
            if self._root.stat().st_dev != self._device:
                raise BlendmakeError(
                    f"{self._root} is no longer the file system that it was when the run began: nothing "
                    "more is carried there. Mount it again, then run the same command again."
                )
            old = archives_in(self._root, self._plan["problem"]) if self._folder.exists() else []
            path = self._folder / f"{label}.{next_number(old):06d}.tar"
            preset = self._preset_here
            told = about({**self._plan, "preset": preset}, self._records, self._here(), base)
            write_archive(path, units, told)
            self._preset = preset
            self.archives += 1
            self.bytes += path.stat().st_size
            for one in old:
                if replaces and label_of(one) == label:
                    one.unlink(missing_ok=True)
        except ChangedMeanwhile:
            return False
        except OSError as error:
            raise BlendmakeError(f"{self._root}: {refusal(error, self._root) or error}") from error
        return True

    def _here(self) -> dict[str, Any]:
        """What identifies data and folds, found once while their files stay."""
        key = {path: _stat(path) for path in self._plan["base"].values()}
        if self._identity[0] != key:
            self._identity = (key, identity(self._plan["base"]))
        return self._identity[1]

    def _drop(self, label: str) -> None:
        """Remove partial work that a finished unit holds."""
        for path in archives_in(self._root, self._plan["problem"]):
            if label_of(path) == label or label_of(path).startswith(f"{label}."):
                path.unlink(missing_ok=True)


def _held(members: list[Member]) -> str:
    """What identifies the files of a unit."""
    return digest_of(sorted([member.path, member.sha256] for member in members))


def _stat(path: str | Path) -> Stat | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino
