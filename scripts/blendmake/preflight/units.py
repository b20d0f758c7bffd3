"""How a source's work is cut into jobs: advice on `targets_per_job`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from blendmake.durations import clock
from blendmake.families import JOINT
from blendmake.preflight.findings import WARN, Finding
from blendmake.tables.facts import Facts
from blendmake.triage import predicted_seconds

LONG = 4 * 3600.0  # seconds of a job that a cluster's time limits and machines that go away may hit
GOOD = 3600.0  # seconds of a job that is advised
START = 5.0  # seconds that a cluster's job takes beside its work
SHARE = 0.05  # of a job's work that its start may take


def unit_findings(
    sources: Mapping[str, Mapping[str, Any]], rows: int, columns: int, targets: int, folds: int
) -> Iterator[Finding]:
    """Sources whose jobs would be too long, or too short.

    Args:
        sources: by name `family`, `source` (its slice) and `targets_per_job`, None where it is not set.
        targets: how many a source fits, at most.
    """
    for name, one in sources.items():
        source = {**one["source"], "family": one["family"]}
        fold = predicted_seconds(source, Facts(rows, columns, 0, ()), targets, folds) / folds
        chosen, check = one["targets_per_job"], f"jobs of {name}"
        about = f"a fold takes about {clock(fold)} by a rule of thumb"
        advised = min(targets, max(1, round(targets * GOOD / fold)))
        if chosen is None and fold > LONG and one["family"] not in JOINT and advised < targets:
            each = clock(fold * advised / targets)
            yield Finding(
                WARN,
                check,
                f"{about}, in one job",
                f"on a cluster: sources.{name}.targets_per_job: {advised}, for jobs of about {each}",
            )
        elif chosen is not None and fold * chosen / targets < START / SHARE and chosen < targets:
            least = min(targets, math.ceil(targets * START / SHARE / fold))
            yield Finding(
                WARN,
                check,
                f"{about}, about {clock(fold * chosen / targets)} in each of its jobs; a job of a "
                f"cluster takes {START:.0f} s to start",
                f"sources.{name}.targets_per_job: {least} or more",
            )
