"""Groups of targets that a rule builds: applied once, frozen in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.errors import BlendmakeError
from blendmake.files import read_parquet, write_parquet
from blendmake.labels import read_known
from blendmake.metrics.finding import find_metric


def build_group(
    name: str,
    rule: Mapping[str, Any],
    targets: Path,
    taken: Mapping[str, Sequence[str]],
    fits: Path | None,
    out: Path,
    note: Mapping[str, Any],
) -> None:
    """Find the members of a group and write them.

    Args:
        rule: config.groups.Group as a mapping.
        taken: members of the groups above it, which it leaves out.
        fits: fits.parquet of the source that `lowest_auc` names.
        out: parquet: target, value (what the rule looked at), in the order of the targets table.

    Raises:
        BlendmakeError: no target is left for it, or none of which it can speak; names the group.
    """
    known = read_known(targets)
    names, labels = known.names, known.labels
    used = {target for members in taken.values() for target in members}
    free = [target for target in names if target not in used]
    if "lowest_auc" not in rule:
        binary = [target.name for target in known.targets if target.task.name == "binary"]
        free = [target for target in free if target in binary]
        if not binary:
            raise BlendmakeError(
                f"groups.{name}: '{next(iter(rule))}' goes by positives, which binary targets alone "
                "have, and there are none. List the targets by name."
            )
    if "lowest_auc" in rule:
        assert fits is not None
        values, wanted = inner_scores(fits), int(rule["lowest_auc"])
        unrated = [target for target in free if target not in values]
        free = [target for target in free if target in values]
        if not free and unrated:
            raise BlendmakeError(
                f"groups.{name}: {fits} has no score on inner splits for any target that is left."
            )
        rated = [row for row in read_parquet(fits).to_pylist() if row["stop_score"] is not None]
        metrics = {row["metric"] for row in rated if row["target"] in free}
        if len(metrics) > 1:
            raise BlendmakeError(
                f"groups.{name}: which targets are hard cannot be told of scores by several metrics "
                f"({', '.join(sorted(metrics))}): list targets by name, or have them go by one (metric)."
            )
        if any(find_metric(metric).has_unit for metric in metrics):
            spreads = np.nanstd(labels.astype(np.float64), axis=0)
            values = {target: values[target] / spreads[names.index(target)] for target in free}
    elif "rarest" in rule:
        counts = (labels == 1).sum(axis=0)
        values, wanted = dict(zip(names, map(float, counts), strict=True)), int(rule["rarest"])
    else:
        # In double precision: in single, 5 of 100 are more than 0.05.
        rates = (labels == 1).sum(axis=0) / (~np.isnan(labels)).sum(axis=0)
        values = dict(zip(names, map(float, rates), strict=True))
        free = [target for target in free if values[target] <= rule["rate_at_most"]]
        wanted = len(free)
    chosen = set(sorted(free, key=lambda target: values[target])[:wanted])
    if not chosen:
        above = f" (the groups {', '.join(taken)} have taken {len(used)})" if used else ""
        raise BlendmakeError(
            f"groups.{name}: no target is in it{above}. Widen its rule, or leave it out."
        )
    members = [target for target in names if target in chosen]
    table = pa.table(
        {"target": members, "value": pa.array([values[t] for t in members], pa.float64())}
    )
    write_parquet(table, out, note)


def inner_scores(fits: Path) -> dict[str, float]:
    """Mean score on the inner splits over a source's fits, more being better, by target that has one."""
    found: dict[str, list[float]] = {}
    for row in read_parquet(fits).to_pylist():
        if row["stop_score"] is not None and row["stopped_on"] == "inner":
            score = find_metric(row["metric"]).utility(row["stop_score"])
            found.setdefault(row["target"], []).append(score)
    return {target: float(np.mean(values)) for target, values in found.items()}
