"""The report's figures, as SVG, and the leaderboard as an HTML table.

A figure is a function from finished tables to one file; drawn twice it gives the same bytes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pyarrow as pa
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from blendmake.files import replacing, write_text
from blendmake.labels import MACRO
from blendmake.reports.correlations import DuplicatePair, duplicate_pairs
from blendmake.reports.leaderboard import HONEST, covered, footnotes, made_by, shortened, signed

# Okabe and Ito's colours, told apart by colour-blind readers too.
BLUE, ORANGE, GREEN, INK, QUIET = "#0072b2", "#d55e00", "#009e73", "#222222", "#8a8a8a"
ABSENT = "#e9e9e9"
KINDS = {"source": BLUE, "blend": ORANGE}
SEQUENTIAL, DIVERGING = "Blues", "PuOr_r"
ANNOTATE = 20
"""Most targets (or sources) for which the cells of a heat map carry their numbers."""
LABEL_WIDTH = 34
"""Longest label drawn, in characters; of a longer one the middle is left out."""

STYLE: dict[str, Any] = {
    "svg.hashsalt": "blendmake",
    "svg.fonttype": "none",  # text stays text: to search, to copy, and sharp at any size
    "text.parse_math": False,  # a dollar sign in a target's name is a dollar sign
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
}

Floats = NDArray[np.float64]


def _write(out: Path, draw: Callable[[], Figure]) -> None:
    """Draw in the common style, whatever the user's own matplotlib settings, and write the SVG."""
    with matplotlib.style.context(["default", STYLE]):
        figure = draw()
        with replacing(Path(out)) as temporary:
            figure.savefig(
                temporary,
                format="svg",
                bbox_inches="tight",
                pad_inches=0.12,
                metadata={"Date": None, "Creator": "blendmake"},
            )


def _note_figure(title: str, text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = Figure(figsize=(6.5, 1.2))
    figure.text(0.01, 0.75, title, fontsize=11, fontweight="bold")
    figure.text(0.01, 0.35, text, color=INK)
    return figure


def _label(text: str) -> str:
    return shortened(text, LABEL_WIDTH)


def _inches(labels: Sequence[str], size: float = 9) -> float:
    """About the width of the longest label."""
    return max((len(label) for label in labels), default=0) * size * 0.6 / 72


def _rows_figure(labels: Sequence[str], width: float, per_row: float = 0.36) -> tuple[Figure, Any]:
    """A figure with one horizontal row per label, the first on top; `width` of the axes, inches."""
    figure = Figure(
        figsize=(width + _inches(labels) + 0.4, per_row * len(labels) + 1.2), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    return figure, axes


def _legend(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend under everything else, in one row, for which the figure is made higher."""
    figure.set_figheight(figure.get_figheight() + 0.3)
    figure.legend(
        handles=list(handles),
        loc="outside lower left",
        ncols=len(handles),
        handletextpad=0.4,
        columnspacing=1.4,
    )


def _mark(label: str, **style: Any) -> Line2D:
    return Line2D([], [], label=label, **style)


def _known(values: Sequence[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _row_label(row: Mapping[str, Any], most: int) -> str:
    label = _label(row["name"])
    if row["targets"] != most:
        label += f" ({covered(row, most)})"
    return label + (" *" if row["optimistic"] else "")


def draw_leaderboard(leaderboard: pa.Table, out: Path) -> None:
    """Forest plot of macro AUC with 95% intervals, in-sample and test AUC beside it.

    Args:
        leaderboard: of `leaderboard.build_leaderboard`.
    """
    _write(out, lambda: _leaderboard_figure(leaderboard.to_pylist()))


def _leaderboard_figure(rows: list[dict[str, Any]]) -> Figure:
    title = "Macro AUC of sources and blends"
    if not rows:
        return _note_figure(title, "Nothing has been scored yet.")
    most = max(row["targets"] for row in rows)
    figure, axes = _rows_figure([_row_label(row, most) for row in rows], 5.6)
    tested = any(row["test_auc"] is not None for row in rows)
    above = 0.1 if tested else 0.0  # room for the test table's interval below
    for y, row in enumerate(rows):
        colour = KINDS[row["kind"]]
        _point(axes, y - above, row, ("macro_auc", "ci_low", "ci_high"), "o", colour)
        _point(axes, y + 0.22, row, ("test_auc", "test_ci_low", "test_ci_high"), "D", QUIET)
        if row["in_sample"] is not None:
            axes.plot(row["in_sample"], y - above, "o", ms=6, mfc="none", mec=colour, mew=1.2)
        if row["macro_auc"] is not None:
            text = f"{row['macro_auc']:.4f}"
            axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), va="center")
    below = ["macro AUC (mean of the targets' AUC; 0.5 is chance), 95% interval"]
    if any(row["optimistic"] for row in rows):
        below.append("* optimistic: something was chosen with the labels that score it")
    if any(row["targets"] != most for row in rows):
        below.append(f"(n/{most}): over n targets only, not comparable with the others")
    axes.set_xlabel("\n".join(below))
    axes.set_title(title)
    kinds = {row["kind"] for row in rows}
    handles = [
        _mark(
            f"{kind}, {'cross-fitted' if kind == 'blend' else 'out of fold'}", marker="o", c=colour
        )
        for kind, colour in KINDS.items()
        if kind in kinds
    ]
    if any(row["in_sample"] is not None for row in rows):
        handles.append(_mark("in-sample", marker="o", mfc="none", mec=ORANGE, ls=""))
    if tested:
        handles.append(_mark("test table", marker="D", ms=4, c=QUIET))
    _legend(figure, handles)
    return figure


def _point(
    axes: Any,
    y: float,
    row: Mapping[str, Any],
    keys: tuple[str, str, str],
    marker: str,
    colour: str,
) -> None:
    value, low, high = (row[key] for key in keys)
    if value is None:
        return
    main = marker == "o"
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour, lw=1.8 if main else 0.9, solid_capstyle="butt")
    axes.plot(value, y, marker, color=colour, ms=6 if main else 3.5, zorder=3)


def draw_auc_heatmap(scores: Mapping[str, pa.Table], out: Path) -> None:
    """Heat map of entries by targets: how far each AUC lies below the target's best.

    Above it, the AUC itself of every target: best entry and range. Targets are sorted by their best
    AUC, entries as in the leaderboard.

    Args:
        scores: the scores table of each entry, by name.
    """
    _write(out, lambda: _auc_figure(scores))


def _auc_figure(scores: Mapping[str, pa.Table]) -> Figure:
    found: dict[str, dict[str, float]] = {}
    macro: dict[str, float] = {}
    for name, table in scores.items():
        rows = [
            row
            for row in table.to_pylist()
            if row["metric"] == "auc" and row["estimate"] in HONEST and row["value"] is not None
        ]
        found[name] = {row["target"]: row["value"] for row in rows if row["target"] != MACRO}
        macro[name] = max((row["value"] for row in rows if row["target"] == MACRO), default=0.0)
    best: dict[str, float] = {}
    for values in found.values():
        for target, value in values.items():
            best[target] = max(best.get(target, value), value)
    title = "AUC by target"
    if not best:
        return _note_figure(title, "No target has an AUC.")
    targets = sorted(best, key=lambda target: (-best[target], target))
    names = sorted(found, key=lambda name: (-len(found[name]), -macro[name], name))
    auc = np.array([[found[name].get(target, np.nan) for target in targets] for name in names])

    annotate = len(targets) <= ANNOTATE
    cell = 0.5 if annotate else 0.27
    labels = [_label(name) for name in names]
    under = [_label(target) for target in targets]
    height = 0.3 * len(names)
    strip = 1.1
    figure = Figure(
        figsize=(
            cell * len(targets) + _inches(labels) + 1.3,
            height + strip + _inches(under) + 0.9,
        ),
        layout="constrained",
    )
    top, axes = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [strip, max(height, 0.6)]}
    )
    columns = np.arange(len(targets))
    top.vlines(columns, np.nanmin(auc, axis=0), np.nanmax(auc, axis=0), color=QUIET, lw=1.2)
    top.plot(columns, np.nanmax(auc, axis=0), "o", color=BLUE, ms=4)
    top.set_ylabel("AUC:\nbest, range")
    top.grid(axis="y")
    top.tick_params(bottom=False, labelbottom=False)
    top.set_title(title)

    gap = np.nanmax(auc, axis=0) - auc
    # A single hopeless cell must not bleach all the others.
    highest = max(0.005, float(np.nanquantile(gap, 0.95)))
    norm = Normalize(0, highest, clip=True)
    mesh = _heat(axes, gap, f"{SEQUENTIAL}_r", norm)
    if annotate:
        _annotate(axes, auc, mesh, lambda value: f"{value:.3f}"[1 if value < 1 else 0 :], size=7.5)
    _ticks(axes, under, labels)
    bar = figure.colorbar(
        mesh, ax=axes, fraction=0.04, pad=0.01, extend="max", ticks=[0, highest / 2, highest]
    )
    bar.ax.set_yticklabels(["0 (best)", f"{highest / 2:.3f}", f"{highest:.3f}"])
    bar.set_label("AUC below the\ntarget's best")
    bar.outline.set_visible(False)
    if np.isnan(auc).any():
        _absent(figure, "grey: the entry does not cover the target")
    return figure


def _absent(figure: Figure, text: str) -> None:
    figure.legend(
        handles=[Patch(facecolor=ABSENT, edgecolor=QUIET, lw=0.5, label=text)],
        loc="outside lower left",
    )


def _heat(axes: Any, values: Floats, colours: str, norm: Any) -> Any:
    """Coloured cells (rows, columns), the first row on top; NaN is grey."""
    height, width = values.shape
    axes.set_facecolor(ABSENT)
    mesh = axes.pcolormesh(
        np.arange(width + 1) - 0.5,
        np.arange(height + 1) - 0.5,
        np.ma.masked_invalid(values),
        cmap=colours,
        norm=norm,
        edgecolors="white",
        linewidth=0.8,
    )
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)
    return mesh


def _annotate(
    axes: Any, values: Floats, mesh: Any, text: Callable[[float], str], size: float = 8
) -> None:
    """Write the number into each cell, dark on light and light on dark."""
    shades = mesh.to_rgba(mesh.get_array())
    for (row, column), value in np.ndenumerate(values):
        if math.isnan(value):
            continue
        red, green, blue = shades[row, column][:3]
        light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.55
        axes.text(
            column,
            row,
            text(float(value)),
            ha="center",
            va="center",
            fontsize=size,
            color=INK if light else "white",
        )


def _ticks(axes: Any, columns: Sequence[str], rows: Sequence[str]) -> None:
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)


def draw_weights(weights: pa.Table, blend: str, out: Path) -> None:
    """Heat map of targets by sources: the weights fitted on all rows, which the test table gets.

    For a stack these are coefficients; its intercepts and the targets it looks at besides are left
    out.

    Args:
        weights: weights.parquet of the blend.
        blend: its name.
    """
    _write(out, lambda: _weights_figure(weights.to_pylist(), blend))


def _weights_figure(rows: list[dict[str, Any]], blend: str) -> Figure:
    final = [row for row in rows if row["fold"] is None]
    stack = any(row["why"].startswith("coefficient") for row in final)
    cells = {
        (row["target"], row["source"]): row["weight"]
        for row in final
        if row["source"] != "(intercept)" and not row["source"].startswith("target:")
    }
    title = f"{'Coefficients' if stack else 'Weights'} of {_label(blend)}"
    if not cells:
        return _note_figure(title, "The blend has no weights.")
    targets = list(dict.fromkeys(target for target, _ in cells))
    sources = list(dict.fromkeys(source for _, source in cells))
    held = [[cells.get((t, s), np.nan) for s in sources] for t in targets]
    values = np.array(held, np.float64)
    # Absent or not taken: no weight either way, so that the means of a target's weights sum to 1.
    values = np.vstack([values, np.nan_to_num(values).mean(axis=0)])
    labels = [*map(_label, targets), "mean of targets"]
    under = [_label(source) for source in sources]
    figure = Figure(
        figsize=(
            max(0.55 * len(sources), 1.6) + _inches(labels) + 1.4,
            0.24 * len(labels) + _inches(under) + 0.8,
        ),
        layout="constrained",
    )
    axes = figure.add_subplot()
    if stack:
        widest = max(0.1, float(np.nanquantile(np.abs(values), 0.98)))
        norm: Any = TwoSlopeNorm(0.0, -widest, widest)
    else:
        norm = Normalize(0.0, max(0.1, float(np.nanmax(values))))
    mesh = _heat(axes, values, DIVERGING if stack else SEQUENTIAL, norm)
    if len(sources) <= ANNOTATE:
        shown = np.where(values == 0, np.nan, values)
        _annotate(axes, shown, mesh, _signed, 7.5)
    _ticks(axes, under, labels)
    axes.axhline(len(targets) - 0.5, color=INK, lw=0.8)
    axes.set_title(title)
    bar = figure.colorbar(
        mesh, ax=axes, fraction=0.05, pad=0.02, aspect=25, extend="both" if stack else "neither"
    )
    bar.set_label(
        "change in log odds\nper unit of log odds" if stack else "weight (sum 1\nin a target)"
    )
    bar.outline.set_visible(False)
    if np.isnan(values).any():
        _absent(figure, "grey: the source does not cover the target")
    return figure


def draw_correlations(correlations: pa.Table, out: Path) -> None:
    """Sources by sources: mean over targets of the rank correlation; duplicates are outlined.

    Args:
        correlations: of `correlations.write_correlations`.
    """
    _write(out, lambda: _correlations_figure(correlations))


def _correlations_figure(correlations: pa.Table) -> Figure:
    title = "Rank correlation"
    pairs: dict[tuple[str, str], list[float]] = {}
    for row in correlations.to_pylist():
        values = pairs.setdefault((row["a"], row["b"]), [])
        if row["rank_correlation"] is not None:
            values.append(row["rank_correlation"])
    if not pairs:
        return _note_figure(title, "There are no two sources that cover a target in common.")
    # Every pair's a stands before its b: a name that is never an a among those left comes last.
    names = _order(list(pairs))
    matrix = np.full((len(names), len(names)), np.nan)
    for (a, b), values in pairs.items():
        if values:
            matrix[names.index(b), names.index(a)] = float(np.mean(values))
    shown = matrix[1:, :-1]
    labels = [_label(name) for name in names]
    side = max(0.44 * (len(names) - 1), 2.0)
    figure = Figure(
        figsize=(side + _inches(labels) + 1.4, side + _inches(labels) + 0.5), layout="constrained"
    )
    axes = figure.add_subplot()
    low = float(np.nanmin(shown)) if np.isfinite(shown).any() else 0.0
    mesh = _heat(axes, shown, SEQUENTIAL, Normalize(min(math.floor(low * 20) / 20, 0.95), 1.0))
    axes.set_facecolor("none")
    if len(names) <= ANNOTATE:
        _annotate(axes, shown, mesh, _correlation_text, 7.5)
    _ticks(axes, labels[:-1], labels[1:])
    axes.set_aspect("equal")
    axes.set_title(title)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.02, aspect=25)
    bar.set_label("Spearman correlation,\nmean over targets")
    bar.outline.set_visible(False)
    duplicates = duplicate_pairs(correlations)
    for pair in duplicates:
        corner = (names.index(pair.a) - 0.5, names.index(pair.b) - 1 - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, ec=ORANGE, lw=2, zorder=3))
    if duplicates:
        text = "duplicates: 0.9999 or more on every common target"
        handle = Patch(facecolor="none", edgecolor=ORANGE, lw=2, label=text)
        figure.legend(handles=[handle], loc="outside lower left")
    return figure


def _order(pairs: Sequence[tuple[str, str]]) -> list[str]:
    """Names in the order in which every pair's first stands before its second."""
    left = list(dict.fromkeys(name for pair in pairs for name in pair))
    names: list[str] = []
    while left:
        behind = {b for a, b in pairs if a in left and a != b}
        name = next((name for name in left if name not in behind), left[0])
        names.append(name)
        left.remove(name)
    return names


def _correlation_text(value: float) -> str:
    # 0.998 rounded to 1.00 would look like the same predictions.
    if 0.995 <= value < 0.9999:
        return f"{math.floor(value * 1000) / 1000:.3f}"
    return _signed(value)


def _signed(value: float) -> str:
    """Two decimals, a real minus sign, and none before zero."""
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text.replace("-", "\N{MINUS SIGN}")


def draw_honesty(leaderboard: pa.Table, out: Path) -> None:
    """Dumbbells of cross-fitted and in-sample macro AUC, the gap beside them.

    Args:
        leaderboard: of `leaderboard.build_leaderboard`.
    """
    _write(out, lambda: _honesty_figure(leaderboard.to_pylist()))


def _honesty_figure(rows: list[dict[str, Any]]) -> Figure:
    title = "What choosing with labels flatters"
    rows = [r for r in rows if r["in_sample"] is not None and r["macro_auc"] is not None]
    if not rows:
        return _note_figure(title, "Nothing was chosen with labels: there is no gap to show.")
    figure, axes = _rows_figure([_label(row["name"]) for row in rows], 5.0, 0.34)
    for y, row in enumerate(rows):
        honest, inside = row["macro_auc"], row["in_sample"]
        axes.plot([honest, inside], [y, y], color=QUIET, lw=2, zorder=1)
        axes.plot(honest, y, "o", color=ORANGE, ms=7)
        axes.plot(inside, y, "o", mfc="white", mec=ORANGE, mew=1.4, ms=7)
        if row["test_auc"] is not None:
            axes.plot(row["test_auc"], y, "D", color=QUIET, ms=4)
        text = f"{inside - honest:+.4f}".replace("-", "\N{MINUS SIGN}")
        axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), va="center")
    axes.text(1.01, -0.75, "gap", transform=axes.get_yaxis_transform(), color=QUIET, va="bottom")
    axes.set_xlabel("macro AUC")
    axes.set_title(title)
    handles = [
        _mark("cross-fitted", marker="o", c=ORANGE, ls=""),
        _mark("in-sample", marker="o", mfc="white", mec=ORANGE, ls=""),
    ]
    if any(row["test_auc"] is not None for row in rows):
        handles.append(_mark("test table", marker="D", ms=4, c=QUIET, ls=""))
    _legend(figure, handles)
    return figure


def draw_fit_seconds(fits: Mapping[str, pa.Table], out: Path) -> None:
    """Bars of the seconds spent on fits, by source, longest first.

    Args:
        fits: fits.parquet of each source, by name.
    """
    _write(out, lambda: _seconds_figure(fits))


def _seconds_figure(fits: Mapping[str, pa.Table]) -> Figure:
    title = "Time spent on fits"
    seconds = {
        name: np.asarray(table["seconds"].to_numpy(), np.float64) for name, table in fits.items()
    }
    names = sorted(seconds, key=lambda name: (-float(seconds[name].sum()), name))
    if not names:
        return _note_figure(title, "Nothing was fitted.")
    figure, axes = _rows_figure([_label(name) for name in names], 4.4, 0.32)
    for y, name in enumerate(names):
        total = float(seconds[name].sum())
        axes.barh(y, total, height=0.62, color=BLUE)
        text = "no fits"
        if len(seconds[name]):
            count = f"{len(seconds[name])} fit" + ("s" if len(seconds[name]) != 1 else "")
            text = (
                f"{_duration(total)}: {count}, median {_duration(float(np.median(seconds[name])))}"
            )
        axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), va="center")
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds, summed over targets and folds")
    axes.set_title(title)
    return figure


def _duration(seconds: float) -> str:
    for least, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * least:
            return f"{seconds / least:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def draw_comparisons(comparisons: Mapping[str, pa.Table], out: Path) -> None:
    """Paired differences of AUC: the macro's with its 95% interval, and a dot per target.

    Args:
        comparisons: tables of `scores.compare_predictions`, by a title such as `a vs b`.
    """
    _write(out, lambda: _comparisons_figure(comparisons))


def _comparisons_figure(comparisons: Mapping[str, pa.Table]) -> Figure:
    title = "Paired differences of AUC"
    if not comparisons:
        return _note_figure(title, "No comparison was asked for.")
    labels = [_comparison_label(name) for name in comparisons]
    figure, axes = _rows_figure(labels, 5.0, 0.5)
    for y, table in enumerate(comparisons.values()):
        rows = [
            row
            for row in table.to_pylist()
            if row["metric"] == "auc" and row["difference"] is not None
        ]
        points = sorted(row["difference"] for row in rows if row["target"] != MACRO)
        axes.plot(points, [y + 0.24] * len(points), "|", color=QUIET, ms=7, mew=0.9)
        for row in rows:
            if row["target"] == MACRO:
                low, high = row["ci_low"], row["ci_high"]
                text = f"{row['difference']:+.4f}"
                if low is not None and high is not None:
                    axes.plot([low, high], [y - 0.08] * 2, color=BLUE, lw=2, solid_capstyle="butt")
                    text += f"  [{low:+.4f}, {high:+.4f}]"
                axes.plot(row["difference"], y - 0.08, "o", color=BLUE, ms=6, zorder=3)
                text = text.replace("-", "\N{MINUS SIGN}")
                axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), va="center")
    axes.axvline(0, color=INK, lw=0.9, zorder=1)
    axes.set_xlabel("difference of AUC (right of 0: the first is better)")
    axes.set_title(title)
    handles = [
        _mark("macro, paired 95% interval", marker="o", c=BLUE),
        _mark("one target", marker="|", c=QUIET, ls=""),
    ]
    _legend(figure, handles)
    return figure


def _comparison_label(name: str) -> str:
    # Two long names side by side would leave no room for the picture.
    a, found, b = name.partition(" vs ")
    return f"{_label(a)}\nvs {_label(b)}" if found and len(name) > LABEL_WIDTH else name


HTML = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Leaderboard</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; color: #222; margin: 1.5em; }}
table {{ border-collapse: collapse; }}
caption {{ text-align: left; font-weight: bold; font-size: 16px; padding-bottom: .5em; }}
th, td {{ padding: .3em .8em; text-align: left; border-bottom: 1px solid #e3e3e3; white-space: nowrap; }}
th {{ border-bottom: 2px solid #8a8a8a; }}
td.n, th.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
td.members {{ color: #666; font-size: 12px; white-space: normal; min-width: 34em; }}
.source {{ color: {source}; }} .blend {{ color: {blend}; }}
tr:hover td {{ background: #f5f8fb; }}
p {{ color: #555; margin: .3em 0; }}
</style></head><body>
<table><caption>Leaderboard</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table>
{notes}
</body></html>
"""


def leaderboard_html(
    leaderboard: pa.Table, out: Path, duplicates: Sequence[DuplicatePair] = ()
) -> None:
    """Write the leaderboard as an HTML page that needs nothing else.

    Args:
        leaderboard: of `leaderboard.build_leaderboard`.
        duplicates: of `correlations.duplicate_pairs`; named below the table.
    """
    rows = leaderboard.to_pylist()
    most = max((row["targets"] for row in rows), default=0)
    columns: list[tuple[str, str, Callable[[Mapping[str, Any]], str]]] = [
        ("name", "", lambda row: row["name"]),
        ("kind", "", lambda row: row["kind"]),
        ("made by", "", made_by),
        ("targets", "n", lambda row: covered(row, most)),
        (
            "macro AUC",
            "n",
            lambda row: _auc_text(row["macro_auc"]) + ("*" if row["optimistic"] else ""),
        ),
        ("95% interval", "n", lambda row: _interval_text(row["ci_low"], row["ci_high"])),
        ("in-sample", "n", lambda row: _auc_text(row["in_sample"])),
        ("mean of folds", "n", lambda row: _auc_text(row["auc_fold_mean"])),
        ("test AUC", "n", lambda row: _auc_text(row["test_auc"])),
        (
            "test 95% interval",
            "n",
            lambda row: _interval_text(row["test_ci_low"], row["test_ci_high"]),
        ),
        ("public score", "n", lambda row: _auc_text(row["public_score"])),
        ("private score", "n", lambda row: _auc_text(row["private_score"])),
        ("score less macro AUC", "n", lambda row: signed(row["score_difference"])),
        (
            "fit time",
            "n",
            lambda row: "" if row["fit_seconds"] is None else _duration(row["fit_seconds"]),
        ),
        ("members", "members", lambda row: ", ".join(row["members"])),
    ]
    # A column that nobody fills says nothing.
    columns = [column for column in columns if not rows or any(column[2](row) for row in rows)]
    head = '<th class="n">#</th>' + "".join(_cell("th", c, title) for title, c, _ in columns)
    body = []
    for rank, row in enumerate(rows, start=1):
        cells = [f'<td class="n">{rank}</td>']
        for title, name, text in columns:
            cells.append(_cell("td", row["kind"] if title in ("name", "kind") else name, text(row)))
        body.append(f"<tr>{''.join(cells)}</tr>")
    texts = [*footnotes(rows), *map(_duplicate_text, duplicates)]
    notes = "\n".join(f"<p>{html.escape(text)}</p>" for text in texts)
    page = HTML.format(
        source=KINDS["source"], blend=KINDS["blend"], head=head, body="\n".join(body), notes=notes
    )
    write_text(page, out)


def _duplicate_text(pair: DuplicatePair) -> str:
    same = "equal" if pair.identical else f"of rank correlation ≥ {pair.rank_correlation:.5f}"
    return f"duplicates: {pair.a} and {pair.b} are {same} on all {pair.targets} common targets."


def _cell(tag: str, name: str, text: str) -> str:
    kind = f' class="{name}"' if name else ""
    return f"<{tag}{kind}>{html.escape(text)}</{tag}>"


def _auc_text(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _interval_text(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.4f} to {high:.4f}"
