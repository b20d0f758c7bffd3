"""Figures of an audit, in the style of the report's others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from blendmake.audits.verdicts import DROP, KEEP, UNDECIDED
from blendmake.files import METADATA_KEY, note_of
from blendmake.reports.drawing import (
    BLUE,
    DIVERGING,
    GREEN,
    ORANGE,
    QUIET,
    absent_legend,
    heat_figure,
    heat_map,
    label_cells,
    legend_below,
    legend_mark,
    note_figure,
    rows_figure,
    short_label,
    write_figure,
)

TOP = 30
"""Most columns that a figure shows."""
VERDICT_COLOURS = {KEEP: GREEN, UNDECIDED: QUIET, DROP: ORANGE}


def draw_effects(name: str, folds: Sequence[pa.Table], columns: pa.Table, out: Path) -> None:
    """Columns of highest effect: mean over targets, per fold, with the range over the folds.

    Args:
        folds: per fold the effects (auditing.FEATURES).
        columns: of the assembled audit (audits.COLUMN_VERDICTS).
    """
    write_figure(out, lambda: _effects_figure(name, folds, columns))


def _effects_figure(name: str, folds: Sequence[pa.Table], columns: pa.Table) -> Figure:
    title = f"Audit {short_label(name)}: {_effect_of(folds)} when a column is permuted"
    effects = macro_effects([table.to_pylist() for table in folds])
    if not effects:
        return note_figure(title, "No column was tried: no model found a use for any.")
    verdicts = {row["feature"]: row["verdict"] for row in columns.to_pylist()}
    top = list(effects)[:TOP]
    figure, axes = rows_figure([short_label(feature) for feature in top], 5.0, 0.24)
    for y, feature in enumerate(top):
        values = effects[feature]
        colour = VERDICT_COLOURS[verdicts[feature]]
        axes.plot([min(values), max(values)], [y, y], color=colour, lw=1.6, solid_capstyle="butt")
        axes.plot(values, [y] * len(values), "|", color=colour, ms=6, mew=0.9)
        axes.plot(float(np.mean(values)), y, "o", color=colour, ms=5, zorder=3)
    axes.axvline(0, color=QUIET, lw=0.9, zorder=1)
    below = "effect, mean over targets: dot the mean over folds, line their range"
    if len(effects) > TOP:
        below += f"\n{TOP} of the {len(effects)} columns that were tried"
    axes.set_xlabel(below)
    axes.set_title(title)
    legend_below(
        figure, [legend_mark(text, marker="o", c=c) for text, c in VERDICT_COLOURS.items()]
    )
    return figure


def _effect_of(folds: Sequence[pa.Table]) -> str:
    """What effects are, in words, by the notes of their tables."""
    told: set[str] = set()
    for table in folds:
        known = METADATA_KEY in (table.schema.metadata or {})
        told |= set(note_of(table).get("judged_by", ()) if known else ())
    told = told or {"fall of the AUC"}
    return told.pop() if len(told) == 1 else "loss by each target's metric"


def macro_effects(folds: Sequence[Sequence[Mapping[str, Any]]]) -> dict[str, list[float]]:
    """Per column, its effect in each fold as the mean over the targets audited there.

    Where a column was not tried its effect counts as 0. Columns come by falling mean.
    """
    effects: dict[str, list[float]] = {}
    for k, rows in enumerate(folds):
        targets = max(1, len({row["target"] for row in rows}))
        for row in rows:
            values = effects.setdefault(row["feature"], [0.0] * len(folds))
            values[k] += row["effect"] / targets
    order = sorted(effects, key=lambda feature: (-float(np.mean(effects[feature])), feature))
    return {feature: effects[feature] for feature in order}


def draw_target_effects(
    name: str, folds: Sequence[pa.Table], features: pa.Table, out: Path
) -> None:
    """Heat map of targets by the columns of highest effect.

    Args:
        folds: as for `draw_effects`.
        features: of the assembled audit (audits.VERDICTS).
    """
    write_figure(out, lambda: _targets_figure(name, folds, features.to_pylist()))


def _targets_figure(
    name: str, folds: Sequence[pa.Table], rows: Sequence[Mapping[str, Any]]
) -> Figure:
    title = f"Audit {short_label(name)}: effect by target"
    top = list(macro_effects([table.to_pylist() for table in folds]))[:TOP]
    if not top:
        return note_figure(title, "No column was tried: no model found a use for any.")
    targets = list(dict.fromkeys(row["target"] for row in rows))
    cells = {(row["target"], row["feature"]): row["effect"] for row in rows}
    values = np.array([[cells.get((t, f), np.nan) for f in top] for t in targets], np.float64)
    labels, under = [short_label(t) for t in targets], [short_label(f) for f in top]
    figure, axes = heat_figure(labels, under, 0.27, 1.1)
    # A single strong cell must not bleach all the others.
    widest = max(1e-4, float(np.nanquantile(np.abs(values), 0.98)))
    mesh = heat_map(axes, values, DIVERGING, TwoSlopeNorm(0.0, -widest, widest))
    label_cells(axes, under, labels)
    axes.set_title(title)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.02, aspect=25, extend="both")
    bar.set_label(_effect_of(folds))
    bar.outline.set_visible(False)
    if np.isnan(values).any():
        absent_legend(figure, "grey: the column was not tried for the target")
    return figure


def draw_drift(
    name: str, columns: pa.Table, drift: Sequence[Mapping[str, float] | None], out: Path
) -> None:
    """The columns that differ most surely between train and test, by falling |z|.

    Args:
        columns: as for `draw_effects`.
        drift: per fold, AUC and z of the model that tells test from train rows.
    """
    write_figure(out, lambda: _drift_figure(name, columns.to_pylist(), drift))


def _drift_figure(
    name: str, rows: Sequence[Mapping[str, Any]], drift: Sequence[Mapping[str, float] | None]
) -> Figure:
    title = f"Audit {short_label(name)}: test against train rows"
    measured = [row for row in rows if row["null_test"] is not None]
    if not measured:
        return note_figure(title, "There is no test table to compare with.")
    measured.sort(key=lambda row: (-_sureness(row), row["feature"]))
    shown = measured[:TOP]
    figure, axes = rows_figure([short_label(row["feature"]) for row in shown], 5.0, 0.24)
    for y, row in enumerate(shown):
        colour = ORANGE if row["drifted"] else BLUE
        gap = row["null_test"] - row["null_train"]
        axes.plot(0.5 + gap / 2, y, "D", color=QUIET, ms=3.5)
        if row["drift_auc"] is not None:
            axes.plot([0.5, row["drift_auc"]], [y, y], color=colour, lw=1.6)
            axes.plot(row["drift_auc"], y, "o", color=colour, ms=5, zorder=3)
    axes.axvline(0.5, color=QUIET, lw=0.9, zorder=1)
    below = ["AUC of test against train rows by this column alone (0.5: no difference)"]
    known = [one["auc"] for one in drift if one]
    if known:
        text = f"all columns together, by a model: {float(np.mean(known)):.3f}"
        below.append(text + (f" ({min(known):.3f} to {max(known):.3f})" if len(known) > 1 else ""))
    if len(measured) > TOP:
        below.append(f"{TOP} of {len(measured)} columns, those that differ most surely")
    axes.set_xlabel("\n".join(below))
    axes.set_title(title)
    handles = [
        legend_mark("drifted", marker="o", c=ORANGE),
        legend_mark("within bounds", marker="o", c=BLUE),
        legend_mark("by being missing alone", marker="D", ms=4, c=QUIET, ls=""),
    ]
    legend_below(figure, handles)
    return figure


def _sureness(row: Mapping[str, Any]) -> float:
    # By its AUC alone, a column of hardly any values would stand first: chance parts those.
    return float(max(abs(row["drift_z"] or 0.0), abs(row["null_z"] or 0.0)))
