"""What the checks before a campaign find: lines of pass, warn or fail, each with its mend."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from blendmake.errors import BlendmakeError

PASS, WARN, FAIL = "pass", "WARN", "FAIL"
WIDTH = 24  # of the column that says what was checked


@dataclass(frozen=True)
class Finding:
    """One line: how grave it is, what was checked, what was found, and what to do about it.

    Messages of the package's own errors hold their mend; `mend` is empty then.
    """

    level: str
    check: str
    found: str
    mend: str = ""


def guarded(check: str, work: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """The findings of a check; an error of the user's is one that failed."""
    try:
        yield from work()
    except BlendmakeError as error:
        yield Finding(FAIL, check, str(error))


def head_text() -> str:
    """The two lines above the findings."""
    return f"{'':<6}{'checked':<{WIDTH}}found\n" + "-" * 72


def finding_text(finding: Finding) -> str:
    """A finding as a line of the table, its mend on a line of its own."""
    indent = " " * (6 + WIDTH)
    found = finding.found.replace("\n", "\n" + indent)
    text = f"{finding.level:<6}{finding.check:<{WIDTH}}{found}"
    return text + (f"\n{indent}mend: {finding.mend}" if finding.mend else "")


def totals_text(findings: Sequence[Finding]) -> str:
    """The last line: how many passed, warned and failed."""
    counts = Counter(finding.level for finding in findings)
    return f"{counts[PASS]} passed, {counts[WARN]} to look at, {counts[FAIL]} failed"


def raise_if_failed(findings: Sequence[Finding]) -> None:
    """End with an error where a check failed.

    Raises:
        BlendmakeError: names the checks.
    """
    names = list(dict.fromkeys(f.check for f in findings if f.level == FAIL))
    if names:
        raise BlendmakeError(
            f"The preflight has failed: {', '.join(names)}. Its table says why, and what to do."
        )


def size_text(size: float) -> str:
    """A size in bytes as people read it."""
    for unit, name in ((2**30, "GB"), (2**20, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 2**10:.1f} KB"
