"""The time that a run has: no work is begun that would not end in it.

The deadline travels in the environment (BLENDMAKE_DEADLINE, seconds since the epoch): it is a matter of
the run, and no artifact depends on it.
"""

from __future__ import annotations

import math
import os
import time

from blendmake.durations import clock
from blendmake.errors import BlendmakeError

DEADLINE = "BLENDMAKE_DEADLINE"
RESERVE = 0.1  # of the window: for what follows the last fit (blends, scores, submissions)


def open_window(seconds: float) -> None:
    """Set the deadline of this run's fits, for this process and those that it starts.

    A process that was started by such a run keeps the deadline it was given.
    """
    os.environ.setdefault(DEADLINE, str(time.time() + seconds * (1 - RESERVE)))


def time_left() -> float:
    """Seconds until the deadline; infinite without one."""
    deadline = os.environ.get(DEADLINE)
    return float(deadline) - time.time() if deadline else math.inf


def require_time(seconds: float, done: str) -> None:
    """Stop here if work of so many seconds would not end in the window.

    Args:
        done: what stands so far, for the message.

    Raises:
        BlendmakeError: the window is over.
    """
    left = time_left()
    if left <= seconds:
        needs = f"; the next takes about {clock(seconds)}" if seconds >= 1 else ""
        raise BlendmakeError(
            f"The window of this run is over: {clock(max(0.0, left))} left{needs}. {done} "
            "Run the same command again to go on."
        )
