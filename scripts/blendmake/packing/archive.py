"""The archive: a tar whose first member, manifest.json, lists and describes all others.

Members are stored as they are. Nothing of an archive is trusted: its list is checked before anything is
read, and every member against its digest before anything is put in place.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
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
MOST_MANIFEST = 2**28  # bytes: some hundred thousand files
MOST_VALUES = 10**7  # of it, each of which takes some hundred bytes of memory
MOST_AT_ONCE = 2**24  # bytes read at once
MOST_PATH = 4096
KINDS = frozenset(
    {
        *(".parquet", ".arrow", ".json", ".jsonl", ".txt", ".csv", ".md", ".svg", ".html", ".log"),
        ".yaml",  # of searches
        *(".ubj", ".cbm", ".npz", ".pt"),  # models, checkpoints
    }
)
"""Suffixes of what `pack` writes: no code, and nothing that is run when it is read."""
OF_A_MAKER = ("git_revision", "versions", "code", "sizes", "seal")


class ChangedMeanwhile(BlendmakeError):
    """A file has changed while it was packed."""


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
        ChangedMeanwhile: a file has changed since its digest was taken.
        BlendmakeError: the archive cannot be written.
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
    changed = ChangedMeanwhile(
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


class _Sparing(io.RawIOBase):
    """A file of which no more is read at once than any part of an archive needs.

    The headers of a tar say how long they are; whoever believes them can be made to read terabytes.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_AT_ONCE:
            raise tarfile.ReadError(f"a header asks for {size:,} bytes")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; of a pipe, not wait for one who writes."""
    handle = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode) and not stat.S_ISDIR(os.fstat(handle).st_mode):
        os.close(handle)
        raise tarfile.ReadError("it is no plain file")
    return handle


def _no_number(text: str) -> float:
    raise ValueError(f"{MANIFEST} holds {text}")


def checked_member(given: Mapping[str, Any]) -> Member:
    """A member as the list has it.

    Raises:
        ValueError, TypeError: of another shape.
    """
    member = Member(**given)
    whole = isinstance(member.bytes, int) and not isinstance(member.bytes, bool)
    texts = isinstance(member.path, str) and isinstance(member.content, str | None)
    digest = isinstance(member.sha256, str) and re.fullmatch("[0-9a-f]{64}", member.sha256)
    if not (whole and member.bytes >= 0 and texts and digest and len(member.path) <= MOST_PATH):
        raise ValueError(f"{MANIFEST} describes a file in another form")
    return member


def _records(unit: Mapping[str, Any]) -> dict[str, Record]:
    records: dict[str, Record] = unit["records"]
    if not isinstance(records, dict) or not all(isinstance(r, dict) for r in records.values()):
        raise ValueError(f"{MANIFEST} holds records in another form")
    return records


class Archive:
    """An archive that is read.

    Args:
        mend: what to do where it is damaged, the end of the message.

    Attributes:
        manifest: what it says of itself, less its units.
        units: its files, inputs before what was made of them.
        list_bytes: how long its list is.

    Raises:
        BlendmakeError: it is missing, no archive, damaged, or of another format.
    """

    def __init__(
        self, path: Path, mend: str = "Nothing was unpacked: copy it again, or pack it again."
    ) -> None:
        self.path, self._mend = path, mend
        with self._opened() as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or not first.isreg():
                raise BlendmakeError(
                    f"{path} is no archive of blendmake: it does not begin with {MANIFEST}. Name one "
                    "that `snakemake pack` has written."
                )
            if first.size > MOST_MANIFEST:
                raise self._damaged(f"its list has {first.size:,} bytes")
            text = self._content(tar, self._plain(first)).read(MOST_MANIFEST)
            self.list_bytes = len(text)
            if (values := text.count(b",")) > MOST_VALUES:
                raise self._damaged(f"its list holds {values:,} values")
        try:
            manifest = json.loads(text, parse_constant=_no_number)
            if manifest.pop("seal") != digest_of(manifest):
                raise ValueError(f"{MANIFEST} does not match its seal")
            if manifest["format"] != FORMAT:
                raise BlendmakeError(
                    f"{path} is of format {manifest['format']}, and this version of blendmake knows "
                    f"format {FORMAT}. Use the same version on both machines."
                )
            self.units = [
                Unit([checked_member(member) for member in unit["members"]], _records(unit))
                for unit in manifest.pop("units")
            ]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise self._damaged(str(error) or type(error).__name__) from error
        size = path.stat().st_size
        if sum(member.bytes for member in self.members) > size:
            raise self._damaged(f"its files would have more bytes than it has ({size:,})")
        self.manifest: dict[str, Any] = manifest

    @property
    def members(self) -> Iterator[Member]:
        return (member for unit in self.units for member in unit.members)

    def check_form(self) -> None:
        """Refuse a list that says of itself something else than `pack` does.

        Raises:
            BlendmakeError: naming the entry.
        """
        wanted = {
            "problem": str,
            "records": str,
            "identity": dict,
            "base": dict,
            "preset": dict | None,
        }
        for key, kind in wanted.items():
            if key not in self.manifest or not isinstance(self.manifest[key], kind):
                raise self._damaged(f"{MANIFEST} has '{key}' in another form")
        if not all(isinstance(digest, str) for digest in self.manifest["base"].values()):
            raise self._damaged(f"{MANIFEST} has 'base' in another form")

    def check_paths(self, roots: Sequence[str], but: Sequence[str]) -> None:
        """Refuse paths that lie elsewhere than where they may be put.

        Args:
            roots: folders below which everything must be.
            but: files and folders in them that are not an archive's to bring.

        Raises:
            BlendmakeError: naming the path.
        """
        seen: set[str] = set()
        folders: set[str] = set()
        for path in [m.path for m in self.members] + [p for u in self.units for p in u.records]:
            if not path.isprintable():
                raise self._damaged(f"it lists {path[:100]!a}, which is no name that can be shown")
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
            if PurePosixPath(member.path).suffix not in KINDS:
                raise BlendmakeError(
                    f"{self.path} holds '{member.path}', and `snakemake pack` writes no files of that "
                    "kind. Nothing was unpacked."
                )
            if member.path in seen:
                raise self._damaged(f"it lists {member.path} twice")
            seen.add(member.path)
            folders |= {str(folder) for folder in PurePosixPath(member.path).parents}
        if both := seen & folders:
            raise self._damaged(f"it lists {min(both)} as a file and as a folder")
        for path in sorted(seen | folders):
            if Path(path).exists() and Path(path).is_dir() != (path in folders):
                what = "a folder" if path in folders else "a file"
                raise BlendmakeError(
                    f"{self.path} holds {path} as {what}, and here it is none. Nothing was unpacked."
                )
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
                if member is None:
                    raise self._damaged(f"'{info.name}' is not in its list")
                if self._plain(info).size != member.bytes:
                    raise self._damaged(f"{member.path} does not match its digest")
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
        if digest.hexdigest() != member.sha256:
            raise self._damaged(f"{member.path} does not match its digest")

    def _plain(self, info: tarfile.TarInfo) -> tarfile.TarInfo:
        """A member that is stored as pack stores all: as it is, and nothing but a file."""
        plain = info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not info.issparse()
        if not plain or not set(info.pax_headers) <= {"path", "size"}:
            raise self._damaged(f"'{info.name}' is no plain file")
        return info

    @staticmethod
    def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
        content = tar.extractfile(info)
        assert content is not None  # a plain file
        return content

    @contextmanager
    def _opened(self) -> Iterator[tarfile.TarFile]:
        try:
            with (
                open(self.path, "rb", opener=_without_waiting) as file,
                tarfile.open(fileobj=_Sparing(file), mode="r:") as tar,
            ):
                yield tar
        except IsADirectoryError:
            raise BlendmakeError(
                f"{self.path} is a folder. Name an archive: unpack=FILE.tar"
            ) from None
        except FileNotFoundError as error:
            if error.filename != str(self.path):
                raise
            raise BlendmakeError(
                f"{self.path} does not exist. Name an archive: unpack=FILE.tar"
            ) from None
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as error:
            raise self._damaged(str(error)) from error

    def _damaged(self, reason: str) -> BlendmakeError:
        return BlendmakeError(f"{self.path} is damaged ({reason}). {self._mend}")
