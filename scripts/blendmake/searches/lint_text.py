"""What a check of a search finds, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from blendmake.config.base import shown
from blendmake.errors import BlendmakeError

ERROR, WARNING, NOTE = LEVELS = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing found: how grave it is, where (`space.learning_rate`), and what, with the mend."""

    level: str
    where: str
    text: str


def refuse(findings: Iterable[Finding], search_name: str) -> None:
    """End with an error where a search cannot be run.

    Raises:
        BlendmakeError: one line for each finding that is an error.
    """
    lines = [f"searches.{search_name}.{f.where}: {f.text}" for f in findings if f.level == ERROR]
    if lines:
        raise BlendmakeError("\n".join(lines))


def findings_text(name: str, findings: Sequence[Finding]) -> str:
    """The findings of a search as lines: errors, then warnings, then notes."""
    found = [[f for f in findings if f.level == level] for level in LEVELS]
    counts = [
        f"{len(some)} {level}" + ("s" if len(some) > 1 else "")
        for level, some in zip(LEVELS[:2], found, strict=False)
        if some
    ]
    lines = [f"searches.{name}: {', '.join(counts) or 'nothing found'}"]
    lines += [f"  {f.level:<9}{f.where}: {f.text}" for some in found for f in some]
    return "\n".join(lines)


def told(value: Any) -> str:
    """A value as it stands in a message, whatever it is."""
    try:
        return shown(value)
    except ValueError:  # an integer of more digits than Python writes
        return f"a huge {type(value).__name__}"
