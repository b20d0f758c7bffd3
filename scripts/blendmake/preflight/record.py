"""What the inputs were at the last preflight, and what has changed since."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from blendmake.digests import digest_of
from blendmake.errors import BlendmakeError
from blendmake.files import content_digest, write_text
from blendmake.preflight.findings import PASS, WARN, Finding
from blendmake.tables.folders import parts_of
from blendmake.tables.ids import read_ids
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import UserTable

Entry = dict[str, Any]  # path, content, and of a table: columns (type by name), rows, ids


def record_findings(
    record: Path,
    files: Mapping[str, str],
    tables: Mapping[str, UserTable],
    id_columns: Sequence[str],
) -> Iterator[Finding]:
    """Compare the inputs with the record, and record them.

    Args:
        record: JSON: per file its columns and types, rows, digest of ids, checksum of its content.
        files: path of each input by what it is.
        tables: those that can be opened, by path; of others the last entry stays.
    """
    last = _read(record)
    here = {
        what: _entry(path, tables.get(path), id_columns)
        for what, path in files.items()
        if Path(path).exists()
    }
    kept = {what: entry for what, entry in (last or {}).items() if what in files}
    write_text(json.dumps({"inputs": {**kept, **here}}, indent=1) + "\n", record)
    if last is None:
        yield Finding(PASS, "inputs", f"first run: {len(here)} files recorded in {record}")
        return
    changed = False
    for what in sorted(set(last) - set(files)):
        changed = True
        yield Finding(WARN, "inputs", f"{what} ({last[what]['path']}) is no longer an input")
    for what, entry in here.items():
        text = changes(last[what], entry) if what in last else ["it is new"]
        if text:
            changed = True
            yield Finding(
                WARN,
                "inputs",
                f"{what} ({entry['path']}) since the last preflight: {'; '.join(text)}",
                "if that is meant, go on: what stands on it is built anew; this run is recorded",
            )
    if not changed:
        yield Finding(PASS, "inputs", f"{len(here)} files as at the last preflight")


def _read(record: Path) -> dict[str, Entry] | None:
    """The last entries; None where there is no record, or none that can be read."""
    try:
        found: dict[str, Entry] = json.loads(record.read_text(encoding="utf-8"))["inputs"]
        whole = all(isinstance(entry["path"], str) for entry in found.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return found if whole else None


def _entry(path: str, table: UserTable | None, id_columns: Sequence[str]) -> Entry:
    contents = []
    for part in parts_of(path):
        with open(part, "rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16))
        contents.append(digest.hexdigest())
    content = contents[0] if Path(path).is_file() else digest_of(contents)
    entry: Entry = {"path": path, "content": content}
    if table is not None:
        entry["columns"] = {field.name: str(field.type) for field in table.schema}
        entry["rows"] = table.rows
        entry["ids"] = _ids_digest(table, id_columns)
    return entry


def _ids_digest(table: UserTable, id_columns: Sequence[str]) -> str | None:
    """Digest of the ids in their order; None without any, and of ids that fail their check."""
    if not id_columns:
        return None
    try:
        return content_digest(read_ids(table, id_columns))
    except BlendmakeError:
        return None


def changes(old: Entry, new: Entry) -> list[str]:
    """In words what is otherwise than it was; the checksum alone where nothing else is."""
    found = []
    if old["path"] != new["path"]:
        found.append(f"the path was {old['path']}")
    if "columns" in old and "columns" in new:
        before, after = old["columns"], new["columns"]
        gone = [name for name in before if name not in after]
        added = [name for name in after if name not in before]
        types = [
            f"{n} {before[n]} → {after[n]}" for n in before if n in after and before[n] != after[n]
        ]
        found += [f"columns gone: {some_of(gone)}"] if gone else []
        found += [f"columns new: {some_of(added)}"] if added else []
        found += [f"types: {some_of(types)}"] if types else []
        if not gone and not added and list(before) != list(after):
            found.append("the order of the columns")
        if old["rows"] != new["rows"]:
            found.append(f"rows: {old['rows']:,} → {new['rows']:,}")
        if old["ids"] != new["ids"]:
            found.append("other ids, or their order")
    if old["content"] != new["content"]:
        found.append("other content" if found else "other content of the same shape and ids")
    return found
