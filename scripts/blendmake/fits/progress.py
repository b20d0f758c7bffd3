"""How far the fits of a fold are, told while they run."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from blendmake.durations import clock

log = logging.getLogger(__name__)


class Progress:
    """A line of the log per fit, and a bar on a terminal."""

    def __init__(self, title: str, total: int, done: int) -> None:
        self._title, self._total, self._before, self._done = title, total, done, done
        self._started = time.monotonic()
        self._bar = tqdm(
            total=total, initial=done, desc=title, unit="fit", leave=False, disable=None
        )

    def tell(self, target: str, bag: int, row: Mapping[str, Any]) -> None:
        self._done += 1
        self._bar.update()
        spent = time.monotonic() - self._started
        left = spent / (self._done - self._before) * (self._total - self._done)
        log.info(
            "%s: %s (%d/%d) %s %s, %d rounds, %.1f s; %s left",
            self._title,
            target if bag == 0 else f"{target} bag {bag}",
            self._done,
            self._total,
            row["metric"],
            "-" if row["score"] is None else f"{row['score']:.4g}",
            row["rounds"],
            row["seconds"],
            clock(left),
        )

    def close(self) -> None:
        self._bar.close()
