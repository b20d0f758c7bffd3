"""The archive: a tar whose first member, manifest.json, lists and describes all others.

Members are stored as they are. Nothing of an archive is trusted: its list is checked before anything is
read, and every member against its digest before anything is put in place.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any

from blendmake.errors import BlendmakeError
from blendmake.files import digest_of, read_note, replacing
from blendmake.packing.records import Record

FORMAT = 1
MANIFEST = "manifest.json"
CHUNK = 2**20  # bytes
OF_A_MAKER = ("git_revision", "versions", "code", "sizes", "seal")


@dataclass(frozen=True)
class Member:
    """A file of an archive: its path below the working folder, size in bytes and SHA-256 (hex).

    `content`: what identifies the content of an artifact, whatever its bytes (content_key).
    """

    path: str
    bytes: int
    sha256: str
    content: str | None = None


@dataclass
class Unit:
    """Files that were made together, and stay together; `records` by path, of those that have one."""

    members: list[Member] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)


def content_key(path: Path) -> str | None:
    """What a parquet artifact holds and says of itself, but for when and with what it was made."""
    try:
        note = read_note(path) if path.suffix == ".parquet" else {}
    except BlendmakeError:
        return None
    return digest_of({k: v for k, v in note.items() if k not in OF_A_MAKER}) if note else None


def write_archive(path: Path, units: Sequence[Unit], about: Mapping[str, Any]) -> None:
    """Write an archive, whole or not at all.

    Args:
        units: their files are read from the present folder; inputs before what was made of them.
        about: what else the manifest says.

    Raises:
        BlendmakeError: a file has changed since its digest was taken.
    """
    manifest = {**about, "format": FORMAT, "units": [asdict(unit) for unit in units]}
    manifest = json.loads(json.dumps(manifest))
    text = json.dumps({**manifest, "seal": digest_of(manifest)}, indent=1).encode()
    with (
        replacing(path) as temporary,
        tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as to,
    ):
        head = tarfile.TarInfo(MANIFEST)
        head.size = len(text)
        to.addfile(head, io.BytesIO(text))
        for member in (member for unit in units for member in unit.members):
            _add(to, member)


def _add(to: tarfile.TarFile, member: Member) -> None:
    changed = BlendmakeError(
        f"{member.path} has changed while it was packed. Wait for the run that makes it, or leave it "
        "out (only=…), and pack again."
    )
    info = tarfile.TarInfo(member.path)
    info.size, info.mode = member.bytes, 0o644
    try:
        with open(member.path, "rb") as file:
            reader = _Hashing(file, member.bytes)
            to.addfile(info, reader)
    except (FileNotFoundError, tarfile.TarError) as error:
        raise changed from error
    if reader.digest.hexdigest() != member.sha256:
        raise changed


class _Hashing(io.RawIOBase):
    """The first `size` bytes of a file, hashed as they are read: a journal may have grown since."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left, self.digest = file, size, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise tarfile.ReadError("the file has become shorter")
        self._left -= len(data)
        self.digest.update(data)
        return data


class Archive:
    """An archive that is read.

    Attributes:
        manifest: what it says of itself, less its units.
        units: its files, inputs before what was made of them.

    Raises:
        BlendmakeError: it is missing, no archive, damaged, or of another format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._opened() as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or not first.isreg():
                raise BlendmakeError(
                    f"{path} is no archive of blendmake: it does not begin with {MANIFEST}. Name one "
                    "that `snakemake pack` has written."
                )
            text = self._content(tar, first).read()
        try:
            manifest = json.loads(text)
            if manifest.pop("seal") != digest_of(manifest):
                raise ValueError(f"{MANIFEST} does not match its seal")
            if manifest["format"] != FORMAT:
                raise BlendmakeError(
                    f"{path} is of format {manifest['format']}, and this version of blendmake knows "
                    f"format {FORMAT}. Use the same version on both machines."
                )
            self.units = [
                Unit([Member(**member) for member in unit["members"]], unit["records"])
                for unit in manifest.pop("units")
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._damaged(str(error)) from error
        self.manifest: dict[str, Any] = manifest

    @property
    def members(self) -> Iterator[Member]:
        return (member for unit in self.units for member in unit.members)

    def check_paths(self, roots: Sequence[str], but: Sequence[str]) -> None:
        """Refuse paths that lie elsewhere than where they may be put.

        Args:
            roots: folders below which everything must be.
            but: files and folders in them that are not an archive's to bring.

        Raises:
            BlendmakeError: naming the path.
        """
        seen: set[str] = set()
        for path in [m.path for m in self.members] + [p for u in self.units for p in u.records]:
            parts = PurePosixPath(path).parts
            below = any(path.startswith(f"{root}/") for root in roots)
            foreign = any(path == one or path.startswith(f"{one}/") for one in but)
            odd = any(part.startswith(".") for part in parts) or "/".join(parts) != path
            if not below or foreign or odd or "\0" in path or "\\" in path:
                raise BlendmakeError(
                    f"{self.path} holds '{path}', which is no place for a file of an archive: only "
                    f"those below {' and '.join(roots)} are. Nothing was unpacked."
                )
        for member in self.members:
            if member.path in seen:
                raise self._damaged(f"it lists {member.path} twice")
            seen.add(member.path)
        if strays := {path for unit in self.units for path in unit.records} - seen:
            raise self._damaged(f"it describes {min(strays)}, which it does not hold")

    def extract(self, places: Mapping[str, Path]) -> None:
        """Write every member to the place that is given for it; those without are only checked.

        Raises:
            BlendmakeError: a member is missing, damaged, unlisted or no plain file.
        """
        wanted = {member.path: member for member in self.members}
        with self._opened() as tar:
            tar.next()
            while (info := tar.next()) is not None:
                member = wanted.pop(info.name, None)
                if member is None or not info.isreg():
                    raise self._damaged(f"'{info.name}' is not in its list, or no plain file")
                place = places.get(member.path)
                if place is None:
                    self._copy(tar, info, member, None)
                    continue
                with replacing(place) as temporary, open(temporary, "wb") as file:
                    self._copy(tar, info, member, file)
        if wanted:
            raise self._damaged(f"it ends before {next(iter(wanted))}")

    def _copy(
        self, tar: tarfile.TarFile, info: tarfile.TarInfo, member: Member, to: IO[bytes] | None
    ) -> None:
        digest = hashlib.sha256()
        source = self._content(tar, info)
        while chunk := source.read(CHUNK):
            digest.update(chunk)
            if to is not None:
                to.write(chunk)
        if info.size != member.bytes or digest.hexdigest() != member.sha256:
            raise self._damaged(f"{member.path} does not match its digest")

    @staticmethod
    def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
        content = tar.extractfile(info)
        assert content is not None  # a plain file
        return content

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        try:
            with tarfile.open(self.path, "r:") as tar:
                yield tar
        except FileNotFoundError as error:
            if error.filename != str(self.path):
                raise
            raise BlendmakeError(
                f"{self.path} does not exist. Name an archive: unpack=FILE.tar"
            ) from None
        except (tarfile.TarError, EOFError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> BlendmakeError:
        return BlendmakeError(
            f"{self.path} is damaged ({reason}). Nothing was unpacked: copy it again, or pack it again."
        )
