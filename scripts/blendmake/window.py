"""The time that a run has: no work is begun that would not end in it.

A scheduler's time limit comes as SIGTERM some seconds before the end: it closes the window. The deadline
travels in the environment (BLENDMAKE_DEADLINE, seconds since the epoch): it is a matter of the run, and
no artifact depends on it.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time

from blendmake.durations import clock
from blendmake.errors import BlendmakeError

DEADLINE = "BLENDMAKE_DEADLINE"
STARTED = "BLENDMAKE_STARTED"
"""Environment variable of jobs: when their run began, by which a second attempt knows the first's."""
RESERVE = 0.1  # of the window: for what follows the last fit (blends, scores, submissions)


def open_window(seconds: float) -> float:
    """Set the deadline of this run's fits, for this process and those that it starts.

    A process that was started by such a run keeps the deadline it was given.

    Returns:
        The end of the window, in seconds since the epoch: what follows the fits has until then.
    """
    os.environ.setdefault(DEADLINE, str(time.time() + seconds * (1 - RESERVE)))
    return float(os.environ[DEADLINE]) + seconds * RESERVE


class WindowOver(BlendmakeError):
    """There is no time left: the window is over, or SIGTERM has come."""


LEFT = "LEFT FOR ANOTHER RUN"
"""In a job's log, before what it says where the window of its run has ended it: that is no failure."""


_told_to_end = threading.Event()


def heed_sigterm() -> None:
    """Have SIGTERM end this process after the work in hand, as the end of a window does."""
    signal.signal(signal.SIGTERM, lambda *_: _told_to_end.set())


def told_to_end() -> bool:
    """Whether SIGTERM has come."""
    return _told_to_end.is_set()


def time_left() -> float:
    """Seconds until the deadline; infinite without one, 0 once SIGTERM has come."""
    if told_to_end():
        return 0.0
    deadline = os.environ.get(DEADLINE)
    return float(deadline) - time.time() if deadline else math.inf


def require_time(seconds: float, done: str) -> None:
    """Stop here if work of so many seconds would not end in the window.

    Args:
        done: what stands so far, for the message.

    Raises:
        WindowOver: the window is over, or SIGTERM has come.
    """
    left = time_left()
    if told_to_end():
        raise WindowOver(
            f"This job was told to end (SIGTERM: a time limit, scancel, preemption). {done} "
            "Run the same command again to go on."
        )
    if left <= seconds:
        needs = f"; the next takes about {clock(seconds)}" if seconds >= 1 else ""
        raise WindowOver(
            f"The window of this run is over: {clock(max(0.0, left))} left{needs}. {done} "
            "Run the same command again to go on."
        )
