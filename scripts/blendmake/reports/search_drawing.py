"""Parts that the figures of a search share."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

from blendmake.reports.drawing import SEQUENTIAL, Floats, legend_below
from blendmake.searches.analysis import PED_ANOVA
from blendmake.searches.table import Trial, better_way, metric_of, ranked, sign_of

NOTHING = "No trial is complete."
COLUMNS = 3
"""Most panels side by side."""
DPI = 150  # of what is drawn as an image


def panels_of(
    title: str,
    count: int,
    *,
    height: float = 2.0,
    narrow: float = 6.5,
    sharey: bool = False,
) -> tuple[Figure, list[Any]]:
    """A figure of `count` panels, COLUMNS to a row; a single one is `narrow` inches wide."""
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    width = {1: narrow, 2: 7.4, 3: 9.6}[columns]
    tall = height + (0.6 if count == 1 else 0.0)
    figure = Figure(figsize=(width, tall * rows + 0.9), layout="constrained", dpi=DPI)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=sharey).ravel().tolist()
    for spare in grid[count:]:
        spare.remove()
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    return figure, grid[:count]


def label_around(figure: Figure, panels: Sequence[Any], below: str, beside: str) -> None:
    """Labels that all panels share: `below` the lowest of each column, `beside` them all."""
    for axes in panels[-COLUMNS:]:
        axes.set_xlabel(below)
    figure.supylabel(beside, fontsize=9)


def explain_below(figure: Figure, handles: Sequence[Any], notes: Sequence[str]) -> None:
    """Notes under the panels, a line each, and under these a legend."""
    legend_below(figure, handles)
    figure.set_figheight(figure.get_figheight() + 0.17 * len(notes))
    if notes:
        figure.legends[-1].set_title("\n".join(notes), FontProperties(size=8.5))
        figure.legends[-1].set_alignment("left")


def value_limits(values: Floats, metric: str, also: Sequence[float] = ()) -> tuple[float, float]:
    """Bounds of an axis that shows the good values apart: single hopeless ones lie beyond it.

    All of `also` lies within.
    """
    signed = np.sort(sign_of(metric) * values)
    best, middle = signed[-1], float(np.median(signed))
    worst = min(middle - 4 * (best - middle), float(np.quantile(signed, 0.1)))
    ends = [sign_of(metric) * max(worst, signed[0]), sign_of(metric) * best, *also]
    low, high = float(min(ends)), float(max(ends))
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        room = max(abs(high) * 1e-3, 1e-6)
        return low - room, high + room
    return low, high


def beyond_text(count: int, what: str = "axis") -> str:
    """What to say of values that `value_limits` leaves out."""
    values = "value beyond it stands" if count == 1 else "values beyond it stand"
    return f"the {what} shows the better values: {count} {values} at its end"


def shades_of(metric: str | None = None) -> ListedColormap:
    """The sequential colours, of which the lightest would not be seen; for a metric darker is better."""
    shades = matplotlib.colormaps[SEQUENTIAL](np.linspace(0.25, 1.0, 256))
    return ListedColormap(shades[::-1] if metric and sign_of(metric) < 0 else shades)


def named_metric(metric: str) -> str:
    """A metric and which way is better, in two lines."""
    return f"{title_of(metric)}\n({better_way(metric)})"


def title_of(metric: str) -> str:
    """A metric as people read it."""
    return metric_of(metric).title


def own_params(trials: Sequence[Trial], metric: str) -> Trial | None:
    """The trial of the source's own params; of several sources that of the best."""
    known = ranked([trial for trial in trials if trial["baseline"]], metric)
    return known[0] if known else None


def mean_importances(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """By param its importance by PED-ANOVA, mean over the studies that tell it."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row["method"] == PED_ANOVA:
            found.setdefault(row["param"], []).append(row["importance"])
    return {param: statistics.fmean(values) for param, values in found.items()}
