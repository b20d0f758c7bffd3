"""What a search leaves behind: its trials, the best of them, and what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv

from blendmake.files import damaged, replacing, write_parquet, write_text
from blendmake.searches import analysis, summary
from blendmake.searches.ranking import Row, best_trials
from blendmake.searches.refining import refined_space, refined_yaml
from blendmake.searches.space import Space
from blendmake.searches.table import read_trials

FILES = (
    "importances.parquet",
    "directions.parquet",
    "directions.csv",
    "ranges.parquet",
    "refined_space.yaml",
    "best.yaml",
    "top.yaml",
)
"""In the order of their writing."""


def write_analysis(
    trials_path: Path, folder: Path, space: Space, *, top: int, note: Mapping[str, Any]
) -> None:
    """Write all FILES of a search into `folder`, from its trials.parquet.

    Args:
        top: how many of the best are told.
        note: how it was made; the parquet files add `search`, `metric`, `search_folds`.
    """
    trials, told = read_trials(trials_path)
    name, metric, search_folds = told["search"], told["metric"], told["search_folds"]
    made = {**note, "search": name, "metric": metric, "search_folds": search_folds}

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
    best = best_trials(trials, metric, top)
    write_text(summary.best_yaml(name, best, metric, search_folds), folder / "best.yaml")
    write_text(summary.top_yaml(name, best, metric, search_folds, top), folder / "top.yaml")


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
