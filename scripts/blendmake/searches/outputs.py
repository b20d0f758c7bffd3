"""What a search leaves behind: its trials, the best of them, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import damaged, replacing, write_parquet, write_text
from blendmake.searches import analysis, summary
from blendmake.searches.analysis import Row
from blendmake.searches.refining import refined_space, refined_yaml
from blendmake.searches.space import Space
from blendmake.searches.table import Trial, rated, read_trials, write_trials

FILES = (
    "trials.parquet",
    "importances.parquet",
    "directions.parquet",
    "directions.csv",
    "ranges.parquet",
    "refined_space.yaml",
    "best.yaml",
    "top.yaml",
    "best.parquet",
)
"""In the order of their writing."""


def write_analysis(
    folder: Path,
    trials: Sequence[Trial],
    space: Space,
    *,
    name: str,
    metric: str,
    trials_wanted: int,
    top: int,
    search_folds: Sequence[int],
    n_folds: int,
    note: Mapping[str, Any],
    partial: bool,
    studies: Sequence[str] = (),
) -> None:
    """Write all FILES of a search into `folder`, best.parquet last.

    Args:
        name: of the search.
        trials_wanted: of each study, complete and pruned.
        top: how many of the best are told.
        search_folds, n_folds: the folds that trials used, of how many.
        note: how it was made; the parquet files add `search`, `metric`, `search_folds`.
        partial: a search that is still going on: what there is of it.
        studies: all studies, where some may have no trial yet.

    Raises:
        BlendmakeError: a study has no complete trial, and the search is not partial.
    """
    by_study = summary.every_study(trials, studies)
    empty = [study for study, of_study in by_study.items() if not rated(of_study)]
    if not partial and (empty or not by_study):
        raise _without_result(name, empty, trials)
    folder = Path(folder)
    made = {**note, "search": name, "metric": metric, "search_folds": list(search_folds)}
    made |= {"n_folds": n_folds, "wanted": trials_wanted, "studies": list(studies)}
    write_trials(folder / "trials.parquet", trials, made)

    def write(file: str, rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
        table = pa.Table.from_pylist(rows, schema=schema)
        write_parquet(table, folder / file, made)
        return table

    write("importances.parquet", analysis.importances(trials, space, metric), analysis.IMPORTANCES)
    found = analysis.directions(trials, space, metric)
    directions = write("directions.parquet", found, analysis.DIRECTIONS)
    with replacing(folder / "directions.csv") as temporary:
        csv.write_csv(directions, temporary, csv.WriteOptions(quoting_style="needed"))
    write("ranges.parquet", analysis.ranges(trials, space), analysis.RANGES)
    refined = refined_yaml(name, *refined_space(trials, space, metric), trials)
    write_text(refined, folder / "refined_space.yaml")
    best = analysis.best_trials(trials, metric, top)
    write_text(summary.best_yaml(name, best, metric, search_folds), folder / "best.yaml")
    write_text(summary.top_yaml(name, best, metric, search_folds, top), folder / "top.yaml")
    write("best.parquet", best, analysis.BEST)


def write_summary(
    trials_path: Path, criteria: Mapping[str, float | None] | None, out: Path
) -> None:
    """Write the summary of a search (Markdown) from its trials.parquet.

    Args:
        criteria: thresholds of summary.verdict.
    """
    trials, note = read_trials(trials_path)
    text = summary.summary_text(
        note["search"],
        trials,
        note["metric"],
        wanted=note["wanted"],
        criteria=criteria,
        search_folds=note["search_folds"],
        n_folds=note["n_folds"],
        studies=note["studies"],
    )
    write_text(text, Path(out))


def write_comparison(a_folder: Path, b_folder: Path, out: Path) -> None:
    """Write the comparison of two searches (Markdown) from their folders.

    Raises:
        BlendmakeError: a trials.parquet is missing or damaged.
    """
    write_text(summary.comparison_text(_searched(a_folder), _searched(b_folder)), Path(out))


def _searched(folder: Path) -> summary.Searched:
    path = Path(folder) / "trials.parquet"
    trials, note = read_trials(path)
    try:
        return summary.Searched(note["search"], trials, note["metric"], note["search_folds"])
    except KeyError as error:
        raise damaged(path, f"its metadata lacks {error}") from error


def _without_result(name: str, empty: Sequence[str], trials: Sequence[Trial]) -> BlendmakeError:
    told = [trial for trial in trials if trial["study"] in empty]
    states = {"failed": "failed", "pruned": "were pruned"}
    causes = [(summary.reasons(told, state), verb) for state, verb in states.items()]
    found = [f"{sum(n for _, n in why)} {verb} ({why[0][0]})" for why, verb in causes if why]
    of = f" of {', '.join(empty)}" if empty else ""
    return BlendmakeError(
        f"Search {name} has no complete trial{of}: {', '.join(found) or 'none was made'}. "
        f"Mend the space or the pruner of searches.{name}, or raise its trials."
    )
