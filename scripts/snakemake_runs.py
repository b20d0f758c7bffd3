"""Runs of Snakemake begun from a process that has it loaded: a copy of that process each.

A run of its own costs the imports of Snakemake and of the plan each time, seconds of a budget's minute.
"""

import ctypes
import importlib
import os
import signal
import sys
import time
from contextlib import suppress

GRACE = 1.0  # seconds that a run has to end its jobs, before all of it is killed
PARENT_DIED = 1  # PR_SET_PDEATHSIG


def load(rules):
    """Import what every run needs, unless that is done.

    Args:
        rules: the folder of the workflow's rules.
    """
    if rules in sys.path:
        return
    sys.path.insert(0, rules)
    for name in ("plan", "blendmake.presets", "blendmake.triage", "blendmake.reports.status"):
        importlib.import_module(name)
    importlib.import_module("snakemake.cli").get_argument_parser()


class SnakemakeRun:
    """A run of Snakemake in a process group of its own (budget.spending.Work).

    Args:
        targets: files or rules that it builds.
        arguments: all else of its command line.
        log: file that what it prints is appended to.
        environment: variables of its jobs.
    """

    def __init__(self, targets, arguments, log, environment):
        self._status = None
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            _run([*targets, *arguments], log, environment)
        # Here too: whichever of the two is first, a signal to the group finds it.
        with suppress(OSError):
            os.setpgid(self._pid, self._pid)

    def ended(self):
        if self._status is None:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status

    def stop(self):
        """End it and its jobs as Ctrl-C does, and kill what is left after a moment."""
        until = time.monotonic() + GRACE
        self._signal(signal.SIGINT)
        while self.ended() is None and time.monotonic() < until:
            time.sleep(0.05)
        self._signal(signal.SIGKILL)
        while self.ended() is None:
            time.sleep(0.02)

    def _signal(self, number):
        with suppress(ProcessLookupError):
            os.killpg(self._pid, number)


def _run(words, log, environment):
    """Of the copy: become a run of Snakemake; does not return."""
    status = 1
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with suppress(OSError):
            ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGINT)
        sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.environ.update(environment)
        sys.argv = ["snakemake", *words]
        importlib.import_module("snakemake.cli").main(words)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        pass
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
