"""How far the studies of a problem are, read while workers run."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blendmake.durations import clock
from blendmake.errors import BlendmakeError
from blendmake.fits.target_groups import read_group_files
from blendmake.searches.search import Search, search_of
from blendmake.searches.storage import PLACE, opened
from blendmake.searches.studies import Study
from blendmake.searches.summary import verdict
from blendmake.searches.table import COUNTED, Trial, ranked

HEAD = (
    "search", "study", "done", "complete", "pruned", "failed", "running", "best", "s/trial", "left",
    "verdict",
)  # fmt: skip


def status_text(
    problem: str,
    slices: Mapping[str, Mapping[str, Any]],
    files: Mapping[str, Mapping[str, Any]],
    criteria: Mapping[str, Mapping[str, float]],
    results: Path,
    scratch: Path,
) -> str:
    """A line per study: trials done of how many, by state, the best value, time left.

    Args:
        slices, files: of each search, what its jobs depend on, and its files of features.
        criteria: of each search, the thresholds of its verdicts.
        results: folder of the problem's results.
        scratch: folder with a folder for each search.
    """
    rows: list[Sequence[str]] = []
    for name, params in slices.items():
        if not (scratch / name / PLACE).exists():
            rows.append([name, "-", f"0 of {params['search']['trials']}", *["-"] * 8])
            continue
        search = _search(problem, name, params, files[name], results)
        rows += _studies(search, scratch / name, criteria[name])
    if not rows:
        return f"Problem '{problem}' has no searches."
    widths = [max(len(row[i]) for row in [HEAD, *rows]) for i in range(len(HEAD))]
    lines = [
        "  ".join(
            text.ljust(width) if i < 2 else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [HEAD, *rows]
    ]
    return "\n".join(lines)


def _search(
    problem: str, name: str, params: Mapping[str, Any], files: Mapping[str, Any], results: Path
) -> Search:
    tables = {
        "train": results / "tables" / "train.arrow",
        "test": results / "tables" / "test.arrow",
        "targets": results / "tables" / "targets.parquet",
        "folds": results / "folds.parquet",
    }
    absent = [str(path) for path in tables.values() if not path.exists()]
    if absent:
        raise BlendmakeError(
            f"{absent[0]} does not exist any more. Build it: snakemake {absent[0]}"
        )
    return search_of(params, problem, name, {**tables, **files}, read_group_files(files["groups"]))


def _studies(search: Search, scratch: Path, criteria: Mapping[str, float]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = []
    with opened(scratch, f"{search.problem}/{search.name}") as place:
        for plan in search.plans():
            study = Study(place, plan, make=False)
            counts, trials = study.counts(), study.rows()
            rows.append(_row(search, plan.trials, plan.name, counts, trials, criteria))
    return rows


def _row(
    search: Search,
    wanted: int,
    study: str,
    counts: Counter[str],
    trials: Sequence[Trial],
    criteria: Mapping[str, float],
) -> Sequence[str]:
    done = sum(counts[state] for state in COUNTED)
    metric = search.metric
    best = ranked(trials, metric)[:1]
    value = best[0]["value"] if best else None
    took = [t["seconds"] for t in trials if t["state"] in COUNTED and t["seconds"] is not None]
    each = statistics.mean(took) if took else None
    left = "-"
    if each is not None:
        # Workers go from study to study: those that are at this one now are what is known.
        left = clock(each * (wanted - done) / max(1, counts["running"]))
    return [
        search.name,
        study,
        f"{done} of {wanted}",
        str(counts["complete"]),
        str(counts["pruned"]),
        str(counts["failed"]),
        str(counts["running"]),
        f"{best[0]['value']:.5f}" if best else "-",
        "-" if each is None else f"{each:.1f}",
        left,
        verdict(value, metric, criteria, done, wanted) or "-",
    ]
