"""Figures of a search over its space: params against values, all studies together.

Of several studies the values are those less the value of their source's own params, so that easy and
hard targets can be laid over each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, islice
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyarrow as pa
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.tri import Triangulation

from blendmake.reports.board_text import shortened
from blendmake.reports.drawing import (
    GREEN,
    INK,
    QUIET,
    Floats,
    label_inches,
    legend_mark,
    note_figure,
    short_label,
    write_figure,
)
from blendmake.reports.search_drawing import (
    DPI,
    NOTHING,
    beyond_text,
    explain_below,
    mean_importances,
    named_metric,
    own_params,
    panels_of,
    shades_of,
    title_of,
    value_limits,
)
from blendmake.searches.analysis import elite_and_rest, positions, text_of, with_param
from blendmake.searches.space import Param, Space, Value, same
from blendmake.searches.table import Trial, better_way, ranked, rated, studies_of

PAIRS = 3
"""Pairs of params whose contours are drawn."""
SURFACE = 10
"""Fewer different points are not joined to a surface."""
CELLS = 12
"""Of many points the surface joins the means over so many by so many cells."""
DENSE = 600
"""More marks in a panel are drawn as an image: as shapes they would make the file heavy."""
EDGE = 0.05
"""How far beyond a range, as a share of its width, values outside it are drawn."""
SPACING = 1.05
"""Inches between parallel axes."""
OFF = -0.13
"""Where a line passes an axis whose param was not in effect."""
AT_BOUND = 0.2
"""From this share of trials at a bound on, a panel says so."""


# Figures


def draw_slices(
    name: str, trials: Sequence[Trial], ranges: pa.Table, space: Space, metric: str, out: Path
) -> None:
    """Value against each param that is searched, a panel per param; later trials are darker.

    Args:
        name, trials, metric: as for `draw_history`.
        ranges: ranges.parquet of the search (analysis.RANGES).
        space: of the search.
    """
    write_figure(out, lambda: _slices_figure(name, trials, ranges.to_pylist(), space, metric))


def _slices_figure(
    name: str,
    trials: Sequence[Trial],
    ranges: Sequence[Mapping[str, Any]],
    space: Space,
    metric: str,
) -> Figure:
    title = f"Search {short_label(name)}: {title_of(metric)} by param"
    pooled, label, notes = _pooled(trials, metric, space)
    if not pooled:
        return note_figure(title, notes[0])
    pooled.sort(key=lambda trial: trial["number"])  # later ones on top
    values = np.array([trial["value"] for trial in pooled], np.float64)
    low, high = value_limits(values, metric)
    norm = Normalize(0, max(1, pooled[-1]["number"]))
    figure, panels = panels_of(title, len(space.searched), height=2.3, sharey=True)
    for axes, param in zip(panels, space.searched, strict=True):
        known = with_param(pooled, space, param)
        places = _places(param, [value for _, value in known])
        x = _spread(param, places)
        y = np.clip([trial["value"] for trial, _ in known], low, high)
        numbers = np.array([trial["number"] for trial, _ in known])
        own = np.array([bool(trial["baseline"]) for trial, _ in known], bool)
        axes.scatter(
            x[~own],
            y[~own],
            c=numbers[~own],
            cmap=shades_of(),
            norm=norm,
            s=11,
            lw=0,
            rasterized=len(x) > DENSE,
        )
        axes.plot(places[own], y[own], "D", ms=5, mfc="none", mec=GREEN, mew=1.2, zorder=3)
        axes.set_title(short_label(param.name), fontsize=9)
        axes.set_xlabel(_param_note(param, ranges), fontsize=8)
        _param_ticks(axes.xaxis, param)
        for bound in (0, 1) if param.kind != "categorical" else ():
            axes.axvline(bound, color=QUIET, lw=0.7, ls=":", zorder=0.5)
        axes.set_xlim(-2 * EDGE, 1 + 2 * EDGE)
        axes.grid(axis="y")
    margin = (high - low) * 0.06
    panels[0].set_ylim(low - margin, high + margin)
    beyond = int(np.sum((values < low) | (values > high)))
    figure.supylabel(label, fontsize=9)
    scale = matplotlib.cm.ScalarMappable(norm, shades_of())
    aspect = 12 * figure.get_figheight()
    bar = figure.colorbar(scale, ax=panels, fraction=0.03, pad=0.01, aspect=aspect)
    bar.set_label("trial")
    bar.locator = MaxNLocator(5, integer=True, steps=[1, 2, 5, 10])
    bar.outline.set_visible(False)
    handles = [
        legend_mark("own params", marker="D", mfc="none", mec=GREEN, ls=""),
        legend_mark("range that is searched; values outside it stand at its edge", c=QUIET, ls=":"),
    ]
    explain_below(figure, handles, [*notes, *([beyond_text(beyond)] if beyond else [])])
    return figure


def draw_parallel(name: str, trials: Sequence[Trial], space: Space, metric: str, out: Path) -> None:
    """Each trial as a line over its params to its value; the best quarter of each study on top.

    Args:
        name, trials, space, metric: as for `draw_slices`.
    """
    write_figure(out, lambda: _parallel_figure(name, trials, space, metric))


def _parallel_figure(name: str, trials: Sequence[Trial], space: Space, metric: str) -> Figure:
    title = f"Search {short_label(name)}: params and {title_of(metric)}"
    pooled, label, notes = _pooled(trials, metric, space)
    if not pooled:
        return note_figure(title, notes[0])
    # The best quarter on top, the best of it topmost.
    elite = {(trial["study"], trial["number"]) for trial in elite_and_rest(pooled, metric)[0]}
    pooled = ranked(pooled, metric)[::-1]
    top = np.array([(trial["study"], trial["number"]) in elite for trial in pooled], bool)
    order = np.argsort(top, kind="stable")
    pooled, top = [pooled[i] for i in order], top[order]
    values = np.array([trial["value"] for trial in pooled], np.float64)
    low, high = value_limits(values, metric)
    values = np.clip(values, low, high)

    params = space.searched
    heights = np.full((len(pooled), len(params) + 1), np.nan)
    row_of = {id(trial): i for i, trial in enumerate(pooled)}
    for k, param in enumerate(params):
        known = with_param(pooled, space, param)
        at = _spread(param, _places(param, [value for _, value in known]))
        for (trial, _), place in zip(known, at, strict=True):
            heights[row_of[id(trial)], k] = place
    heights[:, -1] = (values - low) / (high - low)
    off = np.isnan(heights)
    heights[off] = OFF

    under = [short_label(param.name) for param in params]
    steep = label_inches(under) > 0.95 * max(SPACING, 5.3 / len(params))
    figure = Figure(
        figsize=(
            max(6.5, SPACING * len(params) + 1.2),
            3.6 + (0.5 * label_inches(under) if steep else 0),
        ),
        layout="constrained",
        dpi=DPI,
    )
    axes = figure.add_subplot()
    norm = Normalize(low, high)
    across = np.broadcast_to(np.arange(len(params) + 1), heights.shape)
    lines = np.stack([across, heights], axis=2)
    for chosen, width, most in ((~top, 0.6, 0.5), (top, 1.1, 1.0)):
        # The more lines, the fainter each: a thousand would be one dark band.
        style = {"linewidths": width, "alpha": min(most, max(0.08, 60 / (1 + chosen.sum())))}
        drawn = LineCollection(lines[chosen], cmap=shades_of(metric), norm=norm, **style)
        drawn.set_array(values[chosen])
        drawn.set_rasterized(int(chosen.sum()) > DENSE / 2)
        axes.add_collection(drawn)
    for k, param in enumerate(params):
        places, texts = _ticks(param)
        if off[:, k].any():
            places, texts = [OFF, *places], ["—", *texts]
        _upright(axes, k, places, texts)
    ticks = _round_ticks(low, high, whole=False)
    places = [(tick - low) / (high - low) for tick in ticks]
    _upright(axes, len(params), places, [f"{tick:g}" for tick in ticks])
    axes.set_xlim(-0.35, len(params) + 0.15)
    axes.set_ylim(OFF - 0.04 if off.any() else -0.04, 1.05)
    axes.set_yticks([])
    names = [*under, title_of(metric)]
    axes.set_xticks(range(len(names)), names, rotation=30 if steep else 0)
    if steep:
        for tick in axes.get_xticklabels():
            tick.set(ha="right", rotation_mode="anchor")
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    told = [f"right: {' '.join(label.split())}"]
    told.append("darker is better; thick: the best quarter of each study")
    if off.any():
        told.append("—: the param is not in effect, or has a value that the axis lacks")
    axes.set_xlabel("\n".join([*told, *notes]), loc="left")
    axes.set_title(title)
    return figure


def _upright(axes: Any, x: float, places: Sequence[float], texts: Sequence[str]) -> None:
    """An axis of parallel coordinates, its numbers left of it."""
    axes.plot([x, x], [0, 1], color=INK, lw=0.8, zorder=3)
    plain = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "lw": 0}
    for place, text in zip(places, texts, strict=True):
        axes.plot([x - 0.03, x], [place, place], color=INK, lw=0.8, zorder=3)
        axes.text(
            x - 0.05,
            place,
            shortened(text, 12),
            fontsize=7,
            ha="right",
            va="center",
            bbox=plain,
            zorder=4,
        )


def draw_contours(
    name: str,
    trials: Sequence[Trial],
    importances: pa.Table,
    space: Space,
    metric: str,
    out: Path,
) -> None:
    """Value over the pairs of numeric params that matter most, as points on a surface.

    The surface joins the points by triangles; of many points, the means over cells of the plane.

    Args:
        name, trials, space, metric: as for `draw_slices`.
        importances: as for `draw_importances`.
    """
    rows = importances.to_pylist()
    write_figure(out, lambda: _contours_figure(name, trials, rows, space, metric))


def _contours_figure(
    name: str,
    trials: Sequence[Trial],
    rows: Sequence[Mapping[str, Any]],
    space: Space,
    metric: str,
) -> Figure:
    title = f"Search {short_label(name)}: {title_of(metric)} over pairs of params"
    pooled, label, notes = _pooled(trials, metric, space)
    if not pooled:
        return note_figure(title, notes[0])
    means = mean_importances(rows)
    numeric = [param for param in space.searched if param.kind in ("int", "float")]
    every = sorted(
        combinations(numeric, 2),
        key=lambda pair: -sum(means.get(param.name, 0.0) for param in pair),
    )
    points_of = ((pair, _plane(pooled, space, *pair)) for pair in every)
    shown = list(islice(((pair, points) for pair, points in points_of if len(points) > 1), PAIRS))
    if not shown:
        return note_figure(title, "No two numeric params are in effect in the same trials.")
    pooled_values = np.array([trial["value"] for trial in pooled], np.float64)
    low, high = value_limits(pooled_values, metric)
    norm, shades = Normalize(low, high), shades_of(metric)
    figure, panels = panels_of(title, len(shown), height=3.0, narrow=4.2)
    for axes, ((a, b), points) in zip(panels, shown, strict=True):
        points[:, 2] = np.clip(points[:, 2], low, high)
        surface = _surface(points)
        if surface is not None:
            mesh, heights = surface
            levels = np.linspace(low, high, 11)
            axes.tricontourf(mesh, heights, levels, cmap=shades, norm=norm, alpha=0.75)
        many = len(points) > DENSE
        marks = {"s": 4 if many else 13, "lw": 0.0 if many else 0.4, "rasterized": many}
        x, y, values = points.T
        axes.scatter(x, y, c=values, cmap=shades, norm=norm, edgecolors="white", **marks)
        for axis, param in ((axes.xaxis, a), (axes.yaxis, b)):
            _param_ticks(axis, param)
            axis.set_label_text(short_label(param.name) + (" (log)" if param.log else ""))
        axes.set_xlim(-1.5 * EDGE, 1 + 1.5 * EDGE)
        axes.set_ylim(-1.5 * EDGE, 1 + 1.5 * EDGE)
    if len(every) > PAIRS:
        notes.insert(0, f"{len(shown)} of {len(every)} pairs, those of most importance together")
    beyond = int(np.sum((pooled_values < low) | (pooled_values > high)))
    notes += [beyond_text(beyond, "scale")] if beyond else []
    figure.supxlabel("\n".join(notes), x=0.01, ha="left", fontsize=8.5)
    scale = matplotlib.cm.ScalarMappable(norm, shades)
    bar = figure.colorbar(scale, ax=panels, fraction=0.03, pad=0.01, aspect=25)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure


def _plane(trials: Sequence[Trial], space: Space, a: Param, b: Param) -> Floats:
    """Places of the trials that have both params, and their values: (n, 3)."""
    of_b = {id(trial): value for trial, value in with_param(trials, space, b)}
    both = [(t, value) for t, value in with_param(trials, space, a) if id(t) in of_b]
    x = _places(a, [value for _, value in both])
    y = _places(b, [of_b[id(trial)] for trial, _ in both])
    points = np.column_stack([x, y, [trial["value"] for trial, _ in both]]).astype(np.float64)
    return points[~np.isnan(points).any(axis=1)]


def _surface(points: Floats) -> tuple[Triangulation, Floats] | None:
    """Triangles over the points (n, 3) and their heights; None of too few, or of points in a line."""
    cells: dict[tuple[int, ...], list[Floats]] = {}
    many = len(points) > 2 * CELLS * CELLS
    for point in points:
        # Points at one place are one, too: triangles know but one height of it.
        scale = CELLS if many else 1e6
        cells.setdefault(tuple(np.round(point[:2] * scale).astype(int)), []).append(point)
    means = np.array([np.mean(cell, axis=0) for cell in cells.values()])
    if len(means) < SURFACE or np.linalg.matrix_rank(means[:, :2] - means[0, :2], 1e-6) < 2:
        return None
    return Triangulation(means[:, 0], means[:, 1]), means[:, 2]


def _pooled(
    trials: Sequence[Trial], metric: str, space: Space
) -> tuple[list[Trial], str, list[str]]:
    """The complete trials of all studies, their values on one scale; its label; notes.

    Of one study the values themselves, of several the difference to the study's baseline; a study
    without one is left out. Without any trial, the note says why.
    """
    if not space.searched:
        return [], "", ["Every param of the space is fixed."]
    every = studies_of(trials)
    studies = {study: known for study, of_study in every.items() if (known := rated(of_study))}
    if not studies:
        return [], "", [NOTHING]
    if len(every) == 1:
        (known,) = studies.values()
        return list(known), named_metric(metric), []
    found: list[Trial] = []
    taken = 0
    for known in studies.values():
        base = own_params(known, metric)
        if base is not None:
            taken += 1
            found += [{**trial, "value": trial["value"] - base["value"]} for trial in known]
    if not found:
        return [], "", ["In no study is the trial of the source's own params complete."]
    label = f"{title_of(metric)} less own params'\n({better_way(metric)})"
    left = len(every) - taken
    notes = [
        f"{taken} studies together: each {title_of(metric)} less that of its study's own params"
    ]
    if left:
        notes.append(f"without {left} of {len(every)} studies, whose own params have no value")
    return found, label, notes


# Params as axes from 0 to 1


def _places(param: Param, values: Sequence[Value]) -> Floats:
    """Where values stand on the axis of a param, outside its range at the edge; NaN: nowhere."""
    if param.kind == "categorical":
        n = len(param.choices)
        found = [[k for k, one in enumerate(param.choices) if same(one, v)] for v in values]
        return np.array([(at[0] + 0.5) / n if at else np.nan for at in found], np.float64)
    # Only what comes from outside the space may be none, a text, or have no logarithm.
    numbers = [
        float(v)
        if isinstance(v, int | float) and not isinstance(v, bool) and (v > 0 or not param.log)
        else math.nan
        for v in values
    ]
    return np.clip(positions(param, numbers), -EDGE, 1 + EDGE)


def _spread(param: Param, places: Floats) -> Floats:
    """Places of choices drawn apart, so that trials do not hide each other; others as they are."""
    if param.kind != "categorical":
        return places
    golden = (np.arange(len(places)) * 0.6180339887) % 1 - 0.5
    return np.asarray(places + golden * 0.5 / len(param.choices), np.float64)


def _ticks(param: Param) -> tuple[list[float], list[str]]:
    """Places of the ticks of a param's axis, and their texts."""
    if param.kind == "categorical":
        places = _places(param, param.choices)
        return places.tolist(), [text_of(choice) for choice in param.choices]
    assert param.low is not None and param.high is not None
    if param.log:
        numbers = _log_ticks(param.low, param.high)
    else:
        numbers = _round_ticks(param.low, param.high, whole=param.kind == "int")
    return positions(param, numbers).tolist(), [f"{number:g}" for number in numbers]


def _round_ticks(low: float, high: float, *, whole: bool) -> list[float]:
    if low == high:
        return [low]
    if whole and high - low <= 6:
        return [low + k for k in range(int(high - low) + 1)]
    found = MaxNLocator(4, integer=whole, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    room = 1e-9 * (high - low)
    # 0.1 * 3 is not 0.3, and would be written as it is.
    return [float(f"{value:.10g}") for value in found if low - room <= value <= high + room]


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, of a narrow range also twice and five times them, or its bounds."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = [10.0**k for k in range(first, last + 1)]
    powers = [power for power in every if low * (1 - 1e-9) <= power <= high * (1 + 1e-9)]
    if len(powers) > 2:
        return powers[:: -(-len(powers) // 5)]
    finer = [float(f"{m * power:.3g}") for power in every for m in (1, 2, 5)]
    inside = [value for value in finer if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return inside if len(inside) > 1 else list(dict.fromkeys([low, high]))


def _param_ticks(axis: Any, param: Param) -> None:
    places, texts = _ticks(param)
    texts = [shortened(text, 16) for text in texts]
    axis.set_ticks(places, texts)
    crowded = sum(map(len, texts)) > 26 and axis.axis_name == "x"
    axis.set_tick_params(labelsize=8, length=2, **({"labelrotation": 90} if crowded else {}))


def _param_note(param: Param, ranges: Sequence[Mapping[str, Any]]) -> str:
    """What to know of a param beside its values: its scale, its condition, trials at its bounds."""
    told = ["log scale"] if param.log else []
    told += [
        f"where {parent} is {' or '.join(shortened(text_of(one), 16) for one in wanted)}"
        for parent, wanted in (param.when or {}).items()
    ]
    rows = [row for row in ranges if row["param"] == param.name and row["hits_low"] is not None]
    trials = sum(row["n"] for row in rows)
    for bound, text in (("hits_low", "lower"), ("hits_high", "upper")):
        share = sum(row["n"] * row[bound] for row in rows) / trials if trials else 0.0
        if share >= AT_BOUND and param.low != param.high:
            told.append(f"{share:.0%} at the {text} bound")
    return "\n".join(told)
