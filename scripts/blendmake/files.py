"""Reading and writing artifacts: whole or not at all, and checked when read."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from blendmake.beside import beside
from blendmake.digests import digest_of as digest_of  # it is asked for here
from blendmake.errors import BlendmakeError

METADATA_KEY = b"blendmake"
MADE_KEY = "made"
RESULT_KEY = "result"
"""In a note: digest of what two runs of the same work have in common, where the content differs (by
seconds, memory)."""
HOST = socket.gethostname()
REFUSALS = beside("refusals")  # at once: there may be no file to open when it is needed

made: dict[str, Any] = {}
"""What the artifacts that this process writes are made of (made.say_made); empty if nobody has said."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`.

    On any failure the temporary file is removed and `path` is left as it was.

    Raises:
        BlendmakeError: where the file system refuses (full, read-only, no permission).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{HOST}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        reason = REFUSALS.refusal(error, path)
        if reason is None:
            raise
        raise BlendmakeError(f"{path} cannot be written: {reason}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what writers of `path` left when they were killed on this machine."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{glob.escape(HOST)}-*.tmp"):
        pid = left.name.removesuffix(".tmp").rpartition("-")[2]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            left.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Put a written file on the disk, past the system's cache."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    # A rename survives a power cut only once its folder is synced.
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(text: str, path: Path) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_parquet(table: pa.Table, path: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Write a table with page checksums; `metadata` (JSON-able) says how it was made."""
    of = {MADE_KEY: made} if made else {}
    content = content_digest(table)
    note = _sealed(json.loads(json.dumps({**of, **(metadata or {}), "content": content})))
    kept = {k: v for k, v in (table.schema.metadata or {}).items() if k != METADATA_KEY}
    text = json.dumps(note, sort_keys=True).encode()
    table = table.replace_schema_metadata({**kept, METADATA_KEY: text})
    with replacing(Path(path)) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read an artifact, its page checksums and (when read whole) its content digest verified.

    Raises:
        BlendmakeError: if the file is missing or damaged; names it and how to rebuild it.
    """
    path = Path(path)
    try:
        table = pq.read_table(path, columns=columns, page_checksum_verification=True)
        note = note_of(table)
    except FileNotFoundError:
        raise BlendmakeError(f"{path} does not exist. Build it: snakemake {path}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(path, str(error)) from error
    if columns is None and note.get("content") != content_digest(table):
        raise damaged(path, "its content does not match the digest stored in it")
    return table


def free_name(name: str, taken: Collection[str]) -> str:
    """`name`, or the first of `name_`, `name__`, … that is not taken."""
    while name in taken:
        name += "_"
    return name


def damaged(path: Path, reason: str) -> BlendmakeError:
    """The error for an artifact that cannot be trusted."""
    first = reason.strip().split("\n")[0]
    return BlendmakeError(
        f"{path} is damaged ({first}). Delete it and run the same command again to rebuild it: "
        f"rm {path}"
    )


def read_note(path: Path) -> dict[str, Any]:
    """How the parquet artifact at `path` was made: the JSON stored in its metadata."""
    try:
        return _note(pq.read_schema(path).metadata)
    except FileNotFoundError:
        raise BlendmakeError(f"{path} does not exist. Build it: snakemake {path}") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(Path(path), str(error)) from error


def note_of(table: pa.Table) -> dict[str, Any]:
    """How a table read from an artifact was made."""
    return _note(table.schema.metadata)


def with_note(table: pa.Table, note: Mapping[str, Any]) -> pa.Table:
    """A table in memory that carries a note as artifacts do; none where there is nothing to say."""
    if not note:
        return table
    text = json.dumps(_sealed(json.loads(json.dumps(note))), sort_keys=True).encode()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA_KEY: text})


def _note(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    text = (metadata or {}).get(METADATA_KEY)
    note: dict[str, Any] = json.loads(text) if text else {}
    if not note or note != _sealed(note):
        raise ValueError("its metadata is not what blendmake wrote")
    return note


def _sealed(note: Mapping[str, Any]) -> dict[str, Any]:
    """A note with the digest of its other entries under `seal`."""
    rest = {key: value for key, value in note.items() if key != "seal"}
    return {**rest, "seal": digest_of(rest)}


def content_digest(table: pa.Table) -> str:
    """Digest of a table's names, types and values, whatever its metadata and chunks (hex)."""
    digest = hashlib.blake2b(digest_size=16)
    for field, column in zip(table.schema, table.columns, strict=True):
        nested = pa.types.is_nested(field.type)
        # Parquet keeps the values of a dictionary, not how it was made.
        dictionary = pa.types.is_dictionary(field.type)
        kind = "nested" if nested else field.type.value_type if dictionary else field.type
        digest.update(f"{field.name}\0{kind}\0{len(column)}\0".encode())
        if nested:
            # Parquet renames the fields within; such columns are small.
            digest.update(json.dumps(column.to_pylist(), sort_keys=True).encode())
            continue
        chunk = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], field.type)
        if dictionary:
            chunk = chunk.dictionary_decode()
        if chunk.null_count:
            # What lies under a null is anybody's guess: only where the nulls are counts.
            digest.update(_serialized(chunk.is_valid()))
            chunk = chunk.drop_null()
        digest.update(_serialized(chunk))
    return digest.hexdigest()


def _serialized(array: pa.Array) -> Any:
    width = array.type.bit_width // 8 if pa.types.is_primitive(array.type) else 0
    if width and len(array):
        return array.buffers()[1].slice(array.offset * width, len(array) * width)
    # IPC normalises offsets and padding, which raw buffers do not.
    return pa.record_batch([array], ["x"]).serialize()
