"""What an artifact is made of, written into it: the rule, the params and the inputs, by digests.

The records of a build system may be lost, torn or of another moment. This stands in the artifact, goes
where it goes, and is whole when the artifact is: it decides where there is no record.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from blendmake import files
from blendmake.digests import sha256
from blendmake.errors import BlendmakeError
from blendmake.job_digests import is_mark, params_digest, serialised

MADE = files.MADE_KEY
SHA256 = "sha256:"


def say_made(
    rule: str, params: Iterable[Any], inputs: Iterable[str], own: Collection[str] = ()
) -> None:
    """Let the artifacts that this process writes tell what they are made of.

    To be called before the inputs are read: a file that is replaced meanwhile then differs from what
    the artifact tells.

    Args:
        rule: name of the rule.
        params: its params.
        inputs: the files that are read, in order. Their names do not count.
        own: those that are the user's. They go by their bytes: what was an artifact once and was
            changed by another program may still have its note.
    """
    files.made = {
        "rule": rule,
        "params": params_digest(map(serialised, params)),
        "inputs": [
            SHA256 + sha256(Path(path)) if path in own else content_of(Path(path))
            for path in inputs
            if not is_mark(path)
        ],
    }


def content_of(path: Path) -> str:
    """What identifies a file's content: an artifact's own digest, of anything else that of its bytes.

    Artifacts of other bytes may hold the same: their notes tell by what they were written.

    Raises:
        BlendmakeError: the file cannot be read.
    """
    note = _note(path)
    for key in (files.RESULT_KEY, "content"):
        if key in note:
            return f"{key}:{note[key]}"
    return SHA256 + sha256(path)


def made_of(path: Path) -> dict[str, Any] | None:
    """What an artifact says that it is made of; None if it says nothing."""
    made: Any = _note(path).get(MADE)
    return made if isinstance(made, dict) and {"params", "inputs"} <= set(made) else None


def _note(path: Path) -> Mapping[str, Any]:
    """The note of an artifact; nothing of a file that is none, or damaged."""
    try:
        if path.suffix == ".parquet":
            return files.read_note(path)
        if path.suffix == ".arrow":
            from blendmake.matrix import table_note

            return table_note(path)
    except BlendmakeError:
        pass
    return {}
