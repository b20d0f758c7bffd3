"""A job's log, and how it tells what has ended it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from blendmake.errors import BlendmakeError
from blendmake.refusals import refusal
from blendmake.window import LEFT, WindowOver, told_to_end

ROOT = logging.getLogger("blendmake")


class _Log(logging.FileHandler):
    """A log whose disk may be full: that is told once, and the work goes on."""

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._told:
            self._told = True
            reason = refusal(sys.exc_info()[1] or OSError(), self.baseFilename)
            _no_log(self.baseFilename, reason or "it cannot be written.")


def opened(path: Path) -> logging.Handler:
    """The job's log, where what the package says goes; the terminal, where it cannot be written."""
    handler = _handler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    ROOT.setLevel(logging.INFO)
    ROOT.addHandler(handler)
    return handler


def tell(error: Exception) -> bool:
    """Tell what ended a job, in its log and on the terminal; whether it is the user's to mend."""
    if isinstance(error, WindowOver) and not told_to_end():
        ROOT.error("%s: %s", LEFT, error)
        print(f"\n{error}\n", file=sys.stderr, flush=True)
        return True
    if isinstance(error, BlendmakeError):
        ROOT.error("ERROR: %s", error)
        print(f"\nERROR: {error}\n", file=sys.stderr, flush=True)
        return True
    reason = refusal(error)
    if reason is None:
        ROOT.exception("This is a defect of blendmake, or a failure of the machine:")
        return False
    path = getattr(error, "filename", None)
    text = f"{path}: {reason}" if path else reason[0].upper() + reason[1:]
    ROOT.error("ERROR: %s (%s)", text, error)
    print(f"\nERROR: {text}\n", file=sys.stderr, flush=True)
    return True


def _handler(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _Log(path, mode="w", encoding="utf-8")
    except OSError as error:
        _no_log(path, refusal(error, path) or str(error))
        return logging.StreamHandler()


def _no_log(path: str | Path, reason: str) -> None:
    print(
        f"The log {path} cannot be written, the work goes on: {reason}", file=sys.stderr, flush=True
    )
