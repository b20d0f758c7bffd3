"""What packing and unpacking say of what they did."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blendmake.packing.choosing import Chosen
from blendmake.packing.unpacking import Unpacked


def packed_text(chosen: Chosen, archive: Path, roots: Iterable[str]) -> str:
    """What went into an archive, and what did not."""
    roots = list(roots)
    members = [member for unit in chosen.units for member in unit.members]
    lines = _counted([member.path for member in members], roots, "packed")
    lines += _reasons(chosen.left_out, roots)
    size = archive.stat().st_size / 2**20
    return "\n".join([*lines, "", f"{archive}: {len(members)} files, {size:.1f} MB"])


def unpacked_text(result: Unpacked, manifest: Mapping[str, Any], roots: Iterable[str]) -> str:
    """What became of an archive's files."""
    roots = list(roots)
    lines = [f"packed {manifest['packed']} at revision {manifest['git_revision']}", ""]
    lines += _counted(result.placed, roots, "put in place")
    lines += _counted(result.there, roots, "stood already")
    lines += _counted(result.kept, roots, "differ here, and stay as they are")
    lines += _reasons(result.left_out, roots)
    lines += [f"not taken: {reason}" for reason in result.refused.values()]
    if result.kept:
        lines += ["", "To have the archive's, delete those that differ, and unpack again."]
    return "\n".join(lines)


def _counted(paths: Iterable[str], roots: list[str], words: str) -> list[str]:
    counts = Counter(_whose(path, roots) for path in paths)
    return [f"{name:<32} {n:>5} {words}" for name, n in counts.items()]


def _reasons(left_out: Mapping[str, str], roots: list[str]) -> list[str]:
    counts = Counter((_whose(path, roots), reason) for path, reason in left_out.items())
    return [f"{name:<32} {n:>5} left out: {reason}" for (name, reason), n in counts.items()]


def _whose(path: str, roots: list[str]) -> str:
    """The artifact that a file belongs to: the folder two levels below a root."""
    for root in roots:
        if path.startswith(f"{root}/"):
            below = Path(path.removeprefix(f"{root}/")).parts
            return "/".join([*([] if root == roots[0] else ["scratch"]), *below[:2]])
    return path
