"""The known word that was meant by one that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to `word`, whatever its case and spaces around it; None: none is near."""
    by_case: dict[str, str] = {}
    for name in sorted(known):
        by_case.setdefault(name.strip().lower(), name)
    close = difflib.get_close_matches(word.strip().lower(), by_case, n=1, cutoff=0.6)
    return by_case[close[0]] if close else None
