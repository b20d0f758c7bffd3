"""Durations as people read and write them."""

from __future__ import annotations

import re
from typing import Any

UNITS = {"h": 3600, "m": 60, "s": 1}


def clock(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def seconds_of(text: Any) -> float | None:
    """Seconds of a duration such as `90m`, `1h30m`, `45s` or `600` (seconds); None if it is none."""
    if isinstance(text, bool) or text is None:
        return None
    written = str(text).strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", written):
        return float(written) or None
    if not re.fullmatch(r"(\d+h)?(\d+m)?(\d+s)?", written) or not written:
        return None
    parts = re.findall(r"(\d+)([hms])", written)
    return float(sum(int(number) * UNITS[unit] for number, unit in parts)) or None
