"""What a search found, as the sources that take their params from it read it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.files import note_of, read_parquet

SOURCE_KEYS = ("rounds", "class_weight")
"""Names in a space that mean the source's keys, not params of its family."""
ALL = "all"
"""Name of the study where a search has one for all its targets."""


def override(values: Mapping[str, Any], space: Iterable[str]) -> dict[str, Any]:
    """Values of a trial as an override of a source (config.sources.Override as a mapping).

    Args:
        space: names of all params of the space; those without a value are not in effect, whatever
            the source says (`without`).
    """
    own = {name: values[name] for name in SOURCE_KEYS if name in values}
    params = {k: v for k, v in values.items() if k not in (*SOURCE_KEYS, "source")}
    without = [name for name in space if name not in values and name != "source"]
    return {"params": params, "without": without, **own}


def read_tuned(
    best: Path, source: str, rank: int, targets: Sequence[str], *, own_rounds: bool = False
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The params that a search found for a source's targets.

    Args:
        best: best.parquet of the search.
        source: whose trials.
        rank: 1 for the best trial of each target.
        targets: of the source; those that were not searched keep the source's params.
        own_rounds: whether the source's rounds stay, where they were searched too.

    Returns:
        By target an override, and what the source's metadata says of it: search, rank, targets,
        search_folds.

    Raises:
        BlendmakeError: no target of the source was searched, or a study has no trial of that rank.
    """
    table = read_parquet(best)
    note = note_of(table)
    rows = [row for row in table.to_pylist() if row["source"] == source]
    searched = [target for target in targets if target in note["targets"]]
    found: dict[str, dict[str, Any]] = {}
    for target in searched:
        study = ALL if any(row["study"] == ALL for row in rows) else target
        wanted = [row for row in rows if row["study"] == study and row["rank"] == rank]
        if not wanted:
            raise BlendmakeError(
                f"{best}: study '{study}' has no trial of rank {rank} of source '{source}'. Ask for a "
                "lower rank, or more trials."
            )
        layer = override(json.loads(wanted[0]["params"]), note["space"])
        # The source as it was is the source as it is.
        found[target] = {} if wanted[0]["baseline"] else layer
        if own_rounds:
            layer.pop("rounds", None)
    if not found:
        raise BlendmakeError(
            f"{best}: none of the source's targets was searched. Correct params_from, or the targets."
        )
    told = {
        "search": note["search"],
        "rank": rank,
        "targets": searched,
        "search_folds": note["search_folds"],
    }
    return found, told
