"""The report's figures, as SVG: each a function from finished tables to one file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from blendmake.reports.board_text import (
    board_score,
    boards_of,
    caption_of,
    covered,
    duration_text,
    folds_shown,
    shortened,
)
from blendmake.reports.correlations import duplicate_pairs
from blendmake.reports.drawing import (
    ANNOTATE,
    BLUE,
    DIVERGING,
    INK,
    KINDS,
    LABEL_WIDTH,
    ORANGE,
    QUIET,
    SEQUENTIAL,
    absent_legend,
    annotate_cells,
    heat_figure,
    heat_map,
    label_cells,
    label_inches,
    legend_below,
    legend_mark,
    note_figure,
    rows_figure,
    short_label,
    write_figure,
)
from blendmake.reports.measures import macro_title, metric_title, number_text, signed_text
from blendmake.score_names import MACRO


def _row_label(row: Mapping[str, Any], most: int) -> str:
    label = short_label(row["name"])
    if row["targets"] != most:
        label += f" ({covered(row, most)})"
    return label + (" *" if row["optimistic"] else "")


def _reservations(row: Mapping[str, Any]) -> str:
    """What a label adds where a score is of some folds only, or optimistic."""
    folds = shortened(folds_shown(row), 9)
    return (f" (folds {folds})" if folds else "") + (" *" if row["optimistic"] else "")


def _explained(rows: Sequence[Mapping[str, Any]], boards: bool = False) -> list[str]:
    """What the reservations in the labels of these rows mean; of boards their captions say the folds."""
    lines = []
    if any(row["optimistic"] for row in rows):
        lines.append("* optimistic: something was chosen with the labels that score it")
    if not boards and any(folds_shown(row) for row in rows):
        lines.append("(folds …): measured there only, params were searched on the others")
    return lines


def draw_leaderboard(leaderboard: pa.Table, out: Path) -> None:
    """Forest plot of macro scores with 95% intervals, in-sample and test scores beside them.

    Args:
        leaderboard: of `leaderboard.build_leaderboard`.
    """
    write_figure(out, lambda: _leaderboard_figure(leaderboard.to_pylist()))


def _leaderboard_figure(rows: list[dict[str, Any]]) -> Figure:
    if not rows:
        return note_figure("Sources and blends", "Nothing has been scored yet.")
    rows, others = _of_one_metric(rows)
    measured = macro_title(rows)
    title = f"{measured[0].upper()}{measured[1:]} of sources and blends"
    most = max(row["targets"] for row in rows)
    figure, axes = rows_figure([_row_label(row, most) for row in rows], 5.6)
    tested = any(row["test_score"] is not None for row in rows)
    above = 0.1 if tested else 0.0  # room for the test table's interval below
    for y, row in enumerate(rows):
        colour = KINDS[row["kind"]]
        tests = (row["test_score"], row["test_ci_low"], row["test_ci_high"])
        _point(axes, y - above, board_score(row), "o", colour)
        _point(axes, y + 0.22, tests, "D", QUIET)
        if row["in_sample"] is not None:
            axes.plot(row["in_sample"], y - above, "o", ms=6, mfc="none", mec=colour, mew=1.2)
        if row["leader_score"] is not None:
            axes.plot(row["leader_score"], y - above, "|", color=INK, ms=11, mew=1.4, zorder=4)
        value = board_score(row)[0]
        if value is not None:
            axes.text(
                1.01, y, number_text(value), transform=axes.get_yaxis_transform(), va="center"
            )
    below = [_measured(rows), *others]
    below += _explained(rows, boards=True)
    below += _between_boards(axes, rows)
    axes.set_xlabel("\n".join(below))
    axes.set_title(title)
    kinds = {row["kind"] for row in rows}
    handles = [
        legend_mark(
            f"{kind}, {'cross-fitted' if kind == 'blend' else 'out of fold'}", marker="o", c=colour
        )
        for kind, colour in KINDS.items()
        if kind in kinds
    ]
    if any(row["in_sample"] is not None for row in rows):
        handles.append(legend_mark("in-sample", marker="o", mfc="none", mec=ORANGE, ls=""))
    if tested:
        handles.append(legend_mark("test table", marker="D", ms=4, c=QUIET))
    legend_below(figure, handles)
    return figure


def _of_one_metric(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows of the first board's metric, as one axis has one unit; says which are left out."""
    first = rows[0]["metric"] if rows else None
    left = dict.fromkeys(row["metric"] for row in rows if row["metric"] != first)
    told = ", ".join(metric_title(name) for name in left)
    kept = [row for row in rows if row["metric"] == first]
    return kept, [f"targets measured by {told}: in the table"] if left else []


def _measured(rows: Sequence[Mapping[str, Any]]) -> str:
    """What the axis of scores shows."""
    names = {row["metric"] for row in rows}
    if names == {"auc"}:
        return "macro AUC (mean of the targets' AUC; 0.5 is chance), 95% interval"
    better = {row["higher_is_better"] for row in rows}
    way = {frozenset([True]): "; more is better", frozenset([False]): "; less is better"}
    return f"{macro_title(rows)} (mean over targets{way.get(frozenset(better), '')}), 95% interval"


def _between_boards(axes: Any, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Lines between entries that are not to be compared; says what each part is ranked on."""
    told, y = [], 0
    for number, board in enumerate(boards_of(rows)):
        caption = caption_of(board, rows).partition(";")[0]
        if number > 0:
            axes.axhline(y - 0.5, color=QUIET, lw=0.9, ls="--")
            caption = f"below line {number}, {caption}"
        told += [caption] if caption else []
        y += len(board)
    if any(row["leader_score"] is not None for row in rows):
        told.append("upright mark: the best of the first part on the same rows")
    return told


def _point(
    axes: Any,
    y: float,
    found: tuple[float | None, float | None, float | None],
    marker: str,
    colour: str,
) -> None:
    value, low, high = found
    if value is None:
        return
    main = marker == "o"
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour, lw=1.8 if main else 0.9, solid_capstyle="butt")
    axes.plot(value, y, marker, color=colour, ms=6 if main else 3.5, zorder=3)


def draw_heatmap(by_target: pa.Table, out: Path) -> None:
    """Heat map of entries by targets: how far each score is from the target's best.

    Above it, the score itself of every target: best entry and range. Targets are sorted by their best
    score, entries as in the leaderboard. What is scored on other folds than the first board, or by
    another metric, is left out, and named.

    Args:
        by_target: of `leaderboard.LeaderboardTables`.
    """
    write_figure(out, lambda: _heatmap_figure(by_target.to_pylist()))


def _heatmap_figure(rows: list[dict[str, Any]]) -> Figure:
    found: dict[str, dict[str, float]] = {}
    elsewhere: list[str] = []
    measured = metric_title(rows[0]["metric"]) if rows else "score"
    up = not rows or bool(rows[0]["higher_is_better"])
    for row in rows:
        if (row["folds"], row["metric"]) != (rows[0]["folds"], rows[0]["metric"]):
            elsewhere += [] if row["name"] in elsewhere else [row["name"]]
        elif row["score"] is not None:
            found.setdefault(row["name"], {})[row["target"]] = row["score"]
    best: dict[str, float] = {}
    for values in found.values():
        for target, value in values.items():
            best[target] = (max if up else min)(best.get(target, value), value)
    title = f"{measured} by target"
    if not best:
        return note_figure(title, "No target has a score.")
    targets = sorted(best, key=lambda target: (-best[target] if up else best[target], target))
    names = list(found)
    score = np.array([[found[name].get(target, np.nan) for target in targets] for name in names])
    top_score = np.array([best[target] for target in targets])

    annotate = len(targets) <= ANNOTATE
    cell = 0.5 if annotate else 0.27
    labels = [short_label(name) for name in names]
    under = [short_label(target) for target in targets]
    height = 0.3 * len(names)
    strip = 1.1
    figure = Figure(
        figsize=(
            cell * len(targets) + label_inches(labels) + 1.3,
            height + strip + label_inches(under) + 0.9,
        ),
        layout="constrained",
    )
    top, axes = figure.subplots(
        2, 1, sharex=True, gridspec_kw={"height_ratios": [strip, max(height, 0.6)]}
    )
    columns = np.arange(len(targets))
    top.vlines(columns, np.nanmin(score, axis=0), np.nanmax(score, axis=0), color=QUIET, lw=1.2)
    top.plot(columns, top_score, "o", color=BLUE, ms=4)
    top.set_ylabel(f"{measured}:\nbest, range")
    top.grid(axis="y")
    top.tick_params(bottom=False, labelbottom=False)
    top.set_title(title)

    gap = np.abs(top_score - score)
    # A single hopeless cell must not bleach all the others.
    highest = max(0.005, float(np.nanquantile(gap, 0.95)))
    norm = Normalize(0, highest, clip=True)
    mesh = heat_map(axes, gap, f"{SEQUENTIAL}_r", norm)
    if annotate:
        annotate_cells(axes, score, mesh, lambda value: _short_number(value), size=7.5)
    label_cells(axes, under, labels)
    bar = figure.colorbar(
        mesh, ax=axes, fraction=0.04, pad=0.01, extend="max", ticks=[0, highest / 2, highest]
    )
    bar.ax.set_yticklabels(["0 (best)", f"{highest / 2:.3g}", f"{highest:.3g}"])
    bar.set_label(f"{measured}: distance\nfrom the target's best")
    bar.outline.set_visible(False)
    told = ["grey: the entry does not cover the target"] if np.isnan(score).any() else []
    if elsewhere:
        told.append(
            f"on other folds, or by another metric, not shown: {', '.join(map(short_label, elsewhere))}"
        )
    if told:
        absent_legend(figure, "; ".join(told))
    return figure


def draw_weights(weights: pa.Table, blend: str, out: Path) -> None:
    """Heat map of targets by sources: the weights fitted on all rows, which the test table gets.

    For a stack these are coefficients; its intercepts and the targets it looks at besides are left
    out.

    Args:
        weights: weights.parquet of the blend.
        blend: its name.
    """
    write_figure(out, lambda: _weights_figure(weights.to_pylist(), blend))


def _weights_figure(rows: list[dict[str, Any]], blend: str) -> Figure:
    final = [row for row in rows if row["fold"] is None]
    stack = any(row["why"].startswith("coefficient") for row in final)
    cells = {
        (row["target"], row["source"]): row["weight"]
        for row in final
        if row["source"] != "(intercept)" and not row["source"].startswith("target:")
    }
    title = f"{'Coefficients' if stack else 'Weights'} of {short_label(blend)}"
    if not cells:
        return note_figure(title, "The blend has no weights.")
    targets = list(dict.fromkeys(target for target, _ in cells))
    sources = list(dict.fromkeys(source for _, source in cells))
    held = [[cells.get((t, s), np.nan) for s in sources] for t in targets]
    values = np.array(held, np.float64)
    # Absent or not taken: no weight either way, so that the means of a target's weights sum to 1.
    values = np.vstack([values, np.nan_to_num(values).mean(axis=0)])
    labels = [*map(short_label, targets), "mean of targets"]
    under = [short_label(source) for source in sources]
    figure, axes = heat_figure(labels, under, 0.55, 0.8)
    if stack:
        widest = max(0.1, float(np.nanquantile(np.abs(values), 0.98)))
        norm: Any = TwoSlopeNorm(0.0, -widest, widest)
    else:
        norm = Normalize(0.0, max(0.1, float(np.nanmax(values))))
    mesh = heat_map(axes, values, DIVERGING if stack else SEQUENTIAL, norm)
    if len(sources) <= ANNOTATE:
        shown = np.where(values == 0, np.nan, values)
        annotate_cells(axes, shown, mesh, _signed, 7.5)
    label_cells(axes, under, labels)
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
        absent_legend(figure, "grey: the source does not cover the target")
    return figure


def draw_correlations(correlations: pa.Table, out: Path) -> None:
    """Sources by sources: mean over targets of the rank correlation; duplicates are outlined.

    Args:
        correlations: of `correlations.write_correlations`.
    """
    write_figure(out, lambda: _correlations_figure(correlations))


def _correlations_figure(correlations: pa.Table) -> Figure:
    title = "Rank correlation"
    pairs: dict[tuple[str, str], list[float]] = {}
    for row in correlations.to_pylist():
        values = pairs.setdefault((row["a"], row["b"]), [])
        if row["rank_correlation"] is not None:
            values.append(row["rank_correlation"])
    if not pairs:
        return note_figure(title, "There are no two sources that cover a target in common.")
    # Every pair's a stands before its b: a name that is never an a among those left comes last.
    names = _order(list(pairs))
    matrix = np.full((len(names), len(names)), np.nan)
    for (a, b), values in pairs.items():
        if values:
            matrix[names.index(b), names.index(a)] = float(np.mean(values))
    shown = matrix[1:, :-1]
    labels = [short_label(name) for name in names]
    side = max(0.44 * (len(names) - 1), 2.0)
    margin = label_inches(labels)
    figure = Figure(figsize=(side + margin + 1.4, side + margin + 0.5), layout="constrained")
    axes = figure.add_subplot()
    low = float(np.nanmin(shown)) if np.isfinite(shown).any() else 0.0
    mesh = heat_map(axes, shown, SEQUENTIAL, Normalize(min(math.floor(low * 20) / 20, 0.95), 1.0))
    axes.set_facecolor("none")
    if len(names) <= ANNOTATE:
        annotate_cells(axes, shown, mesh, _correlation_text, 7.5)
    label_cells(axes, labels[:-1], labels[1:])
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


def _short_number(value: float) -> str:
    """Three decimals without the leading zero, of large numbers four digits."""
    if abs(value) >= 10:
        return f"{value:.4g}"
    return f"{value:.3f}"[1 if 0 <= value < 1 else 0 :]


def draw_honesty(leaderboard: pa.Table, out: Path) -> None:
    """Dumbbells of cross-fitted and in-sample macro scores, the gap beside them.

    Args:
        leaderboard: of `leaderboard.build_leaderboard`.
    """
    write_figure(out, lambda: _honesty_figure(leaderboard.to_pylist()))


def _honesty_figure(rows: list[dict[str, Any]]) -> Figure:
    title = "What choosing with labels flatters"
    rows = [r for r in rows if r["in_sample"] is not None and board_score(r)[0] is not None]
    rows, others = _of_one_metric(rows)
    if not rows:
        return note_figure(title, "Nothing was chosen with labels: there is no gap to show.")
    figure, axes = rows_figure([short_label(row["name"]) for row in rows], 5.0, 0.34)
    for y, row in enumerate(rows):
        honest, inside = board_score(row)[0], row["in_sample"]
        assert honest is not None
        axes.plot([honest, inside], [y, y], color=QUIET, lw=2, zorder=1)
        axes.plot(honest, y, "o", color=ORANGE, ms=7)
        axes.plot(inside, y, "o", mfc="white", mec=ORANGE, mew=1.4, ms=7)
        if row["test_score"] is not None:
            axes.plot(row["test_score"], y, "D", color=QUIET, ms=4)
        text = signed_text(inside - honest).replace("-", "\N{MINUS SIGN}")
        axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), va="center")
    axes.text(1.01, -0.75, "gap", transform=axes.get_yaxis_transform(), color=QUIET, va="bottom")
    axes.set_xlabel("\n".join([macro_title(rows), *others]))
    axes.set_title(title)
    handles = [
        legend_mark("cross-fitted", marker="o", c=ORANGE, ls=""),
        legend_mark("in-sample", marker="o", mfc="white", mec=ORANGE, ls=""),
    ]
    if any(row["test_score"] is not None for row in rows):
        handles.append(legend_mark("test table", marker="D", ms=4, c=QUIET, ls=""))
    legend_below(figure, handles)
    return figure


def draw_fit_seconds(fits: Mapping[str, pa.Table], out: Path) -> None:
    """Bars of the seconds spent on fits, by source, longest first.

    Args:
        fits: fits.parquet of each source, by name.
    """
    write_figure(out, lambda: _seconds_figure(fits))


def _seconds_figure(fits: Mapping[str, pa.Table]) -> Figure:
    title = "Time spent on fits"
    seconds = {
        name: np.asarray(table["seconds"].to_numpy(), np.float64) for name, table in fits.items()
    }
    names = sorted(seconds, key=lambda name: (-float(seconds[name].sum()), name))
    if not names:
        return note_figure(title, "Nothing was fitted.")
    figure, axes = rows_figure([short_label(name) for name in names], 4.4, 0.32)
    for y, name in enumerate(names):
        total = float(seconds[name].sum())
        axes.barh(y, total, height=0.62, color=BLUE)
        text = "no fits"
        if len(seconds[name]):
            count = f"{len(seconds[name])} fit" + ("s" if len(seconds[name]) != 1 else "")
            median = duration_text(float(np.median(seconds[name])))
            text = f"{duration_text(total)}: {count}, median {median}"
        axes.text(1.01, y, text, transform=axes.get_yaxis_transform(), va="center")
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds, summed over targets and folds")
    axes.set_title(title)
    return figure


def draw_comparisons(comparisons: Mapping[str, pa.Table], out: Path) -> None:
    """Paired differences of scores: the macro's with its 95% interval, and a dot per target.

    Args:
        comparisons: tables of `scores.compare_predictions`, by a title such as `a vs b`.
    """
    write_figure(out, lambda: _comparisons_figure(comparisons))


def _comparisons_figure(comparisons: Mapping[str, pa.Table]) -> Figure:
    if not comparisons:
        return note_figure("Paired differences", "No comparison was asked for.")
    tables = [table.to_pylist() for table in comparisons.values()]
    # The metric that choices are made by comes first.
    metric = tables[0][0]["metric"]
    title = f"Paired differences of {metric_title(metric)}"
    found = [[row for row in rows if row["metric"] == metric] for rows in tables]
    # The last row is the macro's.
    most = max(len(rows) - 1 for rows in found)
    labels = [
        _comparison_label(name)
        + (f" ({len(rows) - 1}/{most} targets)" if len(rows) - 1 < most else "")
        + _reservations(rows[-1])
        for name, rows in zip(comparisons, found, strict=True)
    ]
    figure, axes = rows_figure(labels, 5.0, 0.5)
    for y, every in enumerate(found):
        rows = [row for row in every if row["difference"] is not None]
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
    below = ["difference of AUC (right of 0: the first is better)"]
    below += _explained([rows[-1] for rows in found])
    axes.set_xlabel("\n".join(below))
    axes.set_title(title)
    handles = [
        legend_mark("macro, paired 95% interval", marker="o", c=BLUE),
        legend_mark("one target", marker="|", c=QUIET, ls=""),
    ]
    legend_below(figure, handles)
    return figure


def _comparison_label(name: str) -> str:
    # Two long names side by side would leave no room for the picture.
    a, found, b = name.partition(" vs ")
    return f"{short_label(a)}\nvs {short_label(b)}" if found and len(name) > LABEL_WIDTH else name
