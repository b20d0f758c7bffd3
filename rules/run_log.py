"""What Snakemake's own log tells of a run that failed: jobs that a signal has ended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from blendmake.refusals import MEMORY

ENDED = re.compile(r"died with <Signals\.(SIG\w+): \d+>|returned non-zero exit status (1[2-6]\d)\.")
JOB = re.compile(r"Error in (?:rule|group) (\S+):(.*?)(?=\n\S|\Z)", re.DOTALL)
LOG = re.compile(r"^    log: (.+?)(?: \(check log file|$)", re.MULTILINE)
NAMES = {
    137: "SIGKILL",
    139: "SIGSEGV",
    135: "SIGBUS",
    134: "SIGABRT",
    136: "SIGFPE",
    132: "SIGILL",
}
WHY = {
    "SIGKILL": f"it was killed by the system, as it does when {MEMORY}",
    "SIGBUS": "a file that it had mapped was cut off, or its disk is full. Free some space, then run "
    "the same command again.",
}
CRASH = (
    "a library has crashed in it. Run the same command again; if it happens again, try the fit with one "
    "thread (--set-threads fit_fold=1), and look at the versions that `snakemake preflight` names."
)


def ended_jobs(text: str) -> Iterator[tuple[str, str, str]]:
    """Jobs that a signal has ended: rule, log file (may be empty) and the signal's name."""
    for found in ENDED.finditer(text):
        signal = found[1] or NAMES.get(int(found[2]))
        job = JOB.search(text, found.end())
        if signal and job:
            log = LOG.search(job[2])
            yield job[1], log[1] if log else "", signal


def told(files: Iterable[Any]) -> list[str]:
    """One message for each job that a signal has ended, of the logs that Snakemake has written."""
    messages = []
    for file in files:
        try:
            text = Path(str(file)).read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        for rule, log, signal in ended_jobs(text):
            if signal != "SIGTERM":
                why = WHY.get(signal, CRASH)
                where = f", {log}" if log else ""
                messages.append(f"A job of rule {rule} ended by {signal}{where}: {why}")
    return list(dict.fromkeys(messages))
