"""Figures of a search by study, param and worker, in the style of the report's others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from blendmake.reports.board_text import duration_text, shortened
from blendmake.reports.drawing import (
    ANNOTATE,
    BLUE,
    GREEN,
    INK,
    ORANGE,
    QUIET,
    SEQUENTIAL,
    Floats,
    absent_legend,
    annotate_cells,
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
from blendmake.reports.search_drawing import (
    NOTHING,
    beyond_text,
    explain_below,
    label_around,
    mean_importances,
    own_params,
    panels_of,
    title_of,
    value_limits,
)
from blendmake.searches.analysis import FANOVA, PED_ANOVA
from blendmake.searches.ranking import standard_error
from blendmake.searches.table import Trial, better_way, ranked, rated, sign_of, studies_of

PANELS = 12
"""Most studies that get a panel of their own."""
LANES = 40
"""Most workers of a timeline."""
PAUSE = 0.1
"""A time without any trial is cut short where it is longer than this share of the time with one."""
STATE_COLOURS = {"complete": BLUE, "pruned": QUIET, "failed": ORANGE, "lost": INK}
# Of several sources; none is the colour of a state, a best, or own params.
SOURCE_COLOURS = (BLUE, "#cc79a7", "#e69f00", "#56b4e9")
LIGHT = "#9ecae1"


# Values by study


def draw_history(name: str, trials: Sequence[Trial], metric: str, out: Path) -> None:
    """Value by trial with the best so far, beside the source's own params; a panel per study.

    Args:
        name: of the search.
        trials: all of them, by study and number (table.read_trials).
        metric: its name, as the table has it.
    """
    write_figure(out, lambda: _history_figure(name, trials, metric))


def _history_figure(name: str, trials: Sequence[Trial], metric: str) -> Figure:
    title = f"Search {short_label(name)}: {title_of(metric)} by trial"
    studies, notes = _most_gain(trials, metric, lambda of_study: bool(rated(of_study)))
    if not studies:
        return note_figure(title, NOTHING)
    sources = list(dict.fromkeys(trial["source"] for trial in trials if trial["source"]))
    figure, panels = panels_of(title, len(studies))
    clipped = 0
    for axes, (study, of_study) in zip(panels, studies.items(), strict=True):
        axes.set_title(_study_title(study, of_study, metric), fontsize=9)
        clipped += _history_panel(axes, of_study, metric, sources)
    if clipped:
        notes.append(beyond_text(clipped))
    beside = f"{title_of(metric)}, mean over search folds\n({better_way(metric)})"
    label_around(figure, panels, "trial", beside)
    several = len(sources) > 1
    of_sources = [
        legend_mark(short_label(source) if several else "complete trial", marker="o", c=c, ls="")
        for source, c in _source_colours(sources).items()
    ]
    states = {trial["state"] for of_study in studies.values() for trial in of_study}
    known = [
        *of_sources,
        legend_mark("best so far", c=INK),
        legend_mark("own params ± standard error", c=GREEN, ls="--"),
        *(
            legend_mark(state, marker=marker, c=STATE_COLOURS[state], ls="")
            for state, marker in (("pruned", "|"), ("failed", "x"))
            if state in states
        ),
    ]
    explain_below(figure, known, notes)
    return figure


def _history_panel(axes: Any, trials: Sequence[Trial], metric: str, sources: Sequence[str]) -> int:
    """Draw one study; returns how many of its values lie beyond the axis."""
    known, base = rated(trials), own_params(trials, metric)
    numbers = np.array([trial["number"] for trial in known])
    values = np.array([trial["value"] for trial in known], np.float64)
    low, high = value_limits(values, metric, [] if base is None else [base["value"]])
    within = np.clip(values, low, high)
    for source, colour in _source_colours(sources).items():
        own = np.array([trial["source"] == source for trial in known])
        axes.plot(numbers[own], within[own], "o", ms=3, color=colour, alpha=0.7, mew=0)
    last = max(trial["number"] for trial in trials)
    best = sign_of(metric) * np.maximum.accumulate(sign_of(metric) * values)
    steps = np.clip([*best, best[-1]], low, high)
    axes.plot([*numbers, last], steps, color=INK, lw=1.3, drawstyle="steps-post")
    if base is not None:
        axes.axhline(base["value"], color=GREEN, lw=1.1, ls="--", zorder=1.5)
        error = standard_error(base["fold_values"])
        if error is not None:
            band = (base["value"] - error, base["value"] + error)
            axes.axhspan(*band, color=GREEN, alpha=0.12, lw=0, zorder=0.5)
    for state, marker in (("pruned", "|"), ("failed", "x")):
        at = [trial["number"] for trial in trials if trial["state"] == state]
        place = axes.get_xaxis_transform()
        colour = STATE_COLOURS[state]
        axes.plot(at, [0.025] * len(at), marker, ms=4, mew=0.8, color=colour, transform=place)
    margin = (high - low) * 0.06
    axes.set_ylim(low - 2 * margin, high + margin)
    axes.set_xlim(-0.02 * last - 0.5, 1.02 * last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    return int(np.sum(within != values))


def draw_intermediate(
    name: str, trials: Sequence[Trial], metric: str, out: Path, *, each: bool = False
) -> None:
    """What trials told on their way, the pruned ones up to where they were ended; a panel per study.

    Args:
        name, trials, metric: as for `draw_history`.
        each: whether what they told is the value of one fit, rather than the mean so far.
    """
    write_figure(out, lambda: _intermediate_figure(name, trials, metric, each))


def _intermediate_figure(name: str, trials: Sequence[Trial], metric: str, each: bool) -> Figure:
    title = f"Search {short_label(name)}: {title_of(metric)} on the way"
    studies, notes = _most_gain(trials, metric, lambda of_study: any(map(_told, of_study)))
    if not studies:
        return note_figure(title, "No trial told a value on its way.")
    figure, panels = panels_of(title, len(studies))
    for axes, (study, of_study) in zip(panels, studies.items(), strict=True):
        axes.set_title(short_label(study), fontsize=9)
        _intermediate_panel(axes, of_study, metric)
    notes.insert(
        0, "fits by fold and target" if each else "steps: fits in order, rounds within each"
    )
    beside = f"{title_of(metric)} of {'each fit' if each else 'the fits so far'}"
    label_around(figure, panels, "fit" if each else "step", f"{beside}\n({better_way(metric)})")
    states = {t["state"] for of_study in studies.values() for t in of_study if _told(t)}
    known = [
        legend_mark(state, marker="o", ms=3, c=STATE_COLOURS[state])
        for state in ("complete", "pruned", "failed")
        if state in states
    ]
    explain_below(figure, [*known, legend_mark("best", c=INK, lw=1.8)], notes)
    return figure


def _intermediate_panel(axes: Any, trials: Sequence[Trial], metric: str) -> None:
    best = ranked(trials, metric)[:1]
    told = []
    # Pruned ones below: they are many, and end early.
    for trial in sorted(trials, key=lambda t: (t["state"] == "complete", t in best)):
        steps = [one["step"] for one in _told(trial)]
        values = [one["value"] for one in _told(trial)]
        if not steps:
            continue
        told += values
        colour, first = STATE_COLOURS[trial["state"]], trial in best
        style: dict[str, Any] = {"lw": 1.8} if first else {"lw": 0.7, "alpha": 0.7}
        ended = trial["state"] != "complete" or len(steps) == 1
        axes.plot(steps, values, color=INK if first else colour, **style)
        if ended:
            axes.plot(steps[-1:], values[-1:], "o", ms=3, mew=0, color=colour, zorder=3)
    if told:
        low, high = value_limits(np.array(told, np.float64), metric)
        margin = (high - low) * 0.06
        axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")


def _told(trial: Trial) -> list[dict[str, Any]]:
    """What a trial told; of a lost one, which was tried again, nothing."""
    return [] if trial["state"] == "lost" else list(trial["intermediate"] or ())


def _most_gain(
    trials: Sequence[Trial], metric: str, wanted: Callable[[Sequence[Trial]], bool]
) -> tuple[dict[str, list[Trial]], list[str]]:
    """Studies that are wanted, those of most gain first, PANELS at most; and notes on the others."""
    every = studies_of(trials)
    found = {study: of_study for study, of_study in every.items() if wanted(of_study)}
    notes = []
    if found and len(found) < len(every):
        without = len(every) - len(found)
        notes.append(f"{without} of {len(every)} studies have nothing to show here")
    order = sorted(found, key=lambda study: -_gain(found[study], metric))
    if len(order) > PANELS:
        notes.append(f"{PANELS} of {len(every)} studies, those with most gain")
    return {study: found[study] for study in order[:PANELS]}, notes


def _gain(trials: Sequence[Trial], metric: str) -> float:
    """How much better the best trial is than the source's own params; -inf where that is unknown."""
    base, best = own_params(trials, metric), ranked(trials, metric)
    if base is None:
        return -math.inf
    return float(sign_of(metric) * (best[0]["value"] - base["value"]))


def _study_title(study: str, trials: Sequence[Trial], metric: str) -> str:
    gain = _gain(trials, metric)
    if math.isinf(gain):
        return short_label(study)
    better = f"{gain:.4f} better" if gain >= 5e-5 else "no better"
    return f"{shortened(study, 24)}: {better}"


def _source_colours(sources: Sequence[str]) -> dict[str, str]:
    return {source: SOURCE_COLOURS[k % len(SOURCE_COLOURS)] for k, source in enumerate(sources)}


# Importances


def draw_importances(name: str, trials: Sequence[Trial], importances: pa.Table, out: Path) -> None:
    """How much each param matters: of several studies a heat map, of one study bars by method.

    Args:
        name, trials: as for `draw_history`.
        importances: importances.parquet of the search (analysis.IMPORTANCES).
    """
    write_figure(out, lambda: _importances_figure(name, trials, importances.to_pylist()))


def _importances_figure(
    name: str, trials: Sequence[Trial], rows: Sequence[Mapping[str, Any]]
) -> Figure:
    title = f"Search {short_label(name)}: importance of params"
    if not any(row["method"] == PED_ANOVA for row in rows):
        return note_figure(title, "Too few trials are complete, or all are equally good.")
    studies = list(studies_of(trials))
    shares = {(row["method"], row["study"], row["param"]): row["importance"] for row in rows}
    params = list(dict.fromkeys(row["param"] for row in rows))

    def share(method: str, study: str, param: str) -> float:
        return float(shares.get((method, study, param), math.nan))

    if len(studies) == 1:
        both = [[share(m, studies[0], param) for m in (PED_ANOVA, FANOVA)] for param in params]
        return _importance_bars(title, params, np.array(both, np.float64))
    means = mean_importances(rows)
    params.sort(key=lambda param: -means.get(param, 0.0))
    held = [[share(PED_ANOVA, study, param) for param in params] for study in studies]
    values = np.array(held, np.float64)
    values = np.vstack([values, [means.get(param, math.nan) for param in params]])
    labels = [*map(short_label, studies), "mean of studies"]
    under = [short_label(param) for param in params]
    figure, axes = heat_figure(labels, under, 0.42, 0.9)
    mesh = heat_map(axes, values, SEQUENTIAL, Normalize(0.0, max(0.1, float(np.nanmax(values)))))
    if len(params) <= ANNOTATE:
        annotate_cells(axes, values, mesh, lambda value: f"{value:.0%}", 7)
    label_cells(axes, under, labels)
    axes.axhline(len(studies) - 0.5, color=INK, lw=0.8)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
    bar = figure.colorbar(mesh, ax=axes, fraction=0.05, pad=0.02, aspect=25)
    bar.set_label("importance by PED-ANOVA\n(sum 1 in a study)")
    bar.outline.set_visible(False)
    if np.isnan(values).any():
        absent_legend(figure, "grey: too few trials to tell")
    return figure


def _importance_bars(title: str, params: Sequence[str], values: Floats) -> Figure:
    """Bars of one study, a pair per param: `values` (params, methods)."""
    order = np.argsort(-np.nan_to_num(values).mean(axis=1), kind="stable")
    figure, axes = rows_figure([short_label(params[i]) for i in order], 4.6, 0.36)
    for k, colour in enumerate((BLUE, LIGHT)):
        widths = np.nan_to_num(values[order, k])
        axes.barh(np.arange(len(order)) + (k - 0.5) * 0.36, widths, height=0.34, color=colour)
    axes.set_xlim(left=0)
    axes.set_xlabel("share of the importance of all params")
    axes.set_title(title)
    marks = {"PED-ANOVA": BLUE, "fANOVA": LIGHT}
    style = {"marker": "s", "ms": 7, "ls": ""}
    legend_below(figure, [legend_mark(text, c=colour, **style) for text, colour in marks.items()])
    return figure


# The workers


def draw_timeline(name: str, trials: Sequence[Trial], out: Path) -> None:
    """When each worker was fitting which trials, and how they ended; a lane per worker.

    Long times without any trial are cut short. Of a lost trial only its start is known.

    Args:
        name, trials: as for `draw_history`.
    """
    write_figure(out, lambda: _timeline_figure(name, trials))


def _timeline_figure(name: str, trials: Sequence[Trial]) -> Figure:
    title = f"Search {short_label(name)}: trials by worker"
    known = [trial for trial in trials if trial["worker"] and trial["started"] is not None]
    if not known:
        return note_figure(title, "No trial was begun.")
    known.sort(key=lambda trial: (trial["started"], trial["worker"]))
    workers: dict[str, list[Trial]] = {}
    for trial in known:
        workers.setdefault(trial["worker"], []).append(trial)
    shown = dict(list(workers.items())[:LANES])
    known = [trial for of_worker in shown.values() for trial in of_worker]
    knots, places, pauses = _shown_times(known)
    unit, size = _time_unit(places[-1])
    figure, axes = rows_figure([f"w{k + 1}" for k in range(len(shown))], 6.5, 0.26)
    for y, of_worker in enumerate(shown.values()):
        for state, colour in STATE_COLOURS.items():
            chosen = [trial for trial in of_worker if trial["state"] == state]
            begun = np.interp([trial["started"] for trial in chosen], knots, places) / size
            ended = np.interp([_end(trial) for trial in chosen], knots, places) / size
            if state == "lost":
                axes.plot(begun, [y] * len(begun), "x", color=colour, ms=5, mew=1.2, zorder=3)
            else:
                bars = list(zip(begun, ended - begun, strict=True))
                style = {"facecolors": colour, "edgecolors": "white", "linewidth": 0.3}
                axes.broken_barh(bars, (y - 0.36, 0.72), **style)
    for place, seconds in pauses:
        axes.axvline(place / size, color=QUIET, lw=0.9, ls=":", zorder=0.5)
        axes.text(
            place / size,
            -0.65,
            f"{duration_text(seconds)} pause",
            fontsize=7,
            color=QUIET,
            ha="center",
            va="bottom",
        )
    axes.set_xlim(-0.01 * places[-1] / size, 1.01 * places[-1] / size)
    below = [f"{unit} since the first trial" + (", pauses cut short" if pauses else "")]
    if len(workers) > LANES:
        below.append(f"{LANES} of {len(workers)} workers, those that began first")
    axes.set_xlabel("\n".join(below))
    axes.set_title(title, pad=14 if pauses else None)
    states = {trial["state"] for trial in known}
    marks = [
        legend_mark(
            f"{state} (its start)" if state == "lost" else state,
            marker="x" if state == "lost" else "s",
            c=colour,
            ls="",
        )
        for state, colour in STATE_COLOURS.items()
        if state in states
    ]
    legend_below(figure, marks)
    return figure


def _end(trial: Trial) -> float:
    return float(trial["started"] + (trial["seconds"] or 0.0))


def _shown_times(
    trials: Sequence[Trial],
) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """How time is drawn: knots in seconds since the epoch, their places, and pauses cut short.

    Trials come by their start. A pause is its place and how long it was.
    """
    spans: list[list[float]] = []
    for trial in sorted(trials, key=lambda trial: float(trial["started"])):
        if spans and trial["started"] <= spans[-1][1]:
            spans[-1][1] = max(spans[-1][1], _end(trial))
        else:
            spans.append([trial["started"], _end(trial)])
    busy = max(sum(end - begin for begin, end in spans), 1e-3)
    knots, places = [spans[0][0]], [0.0]
    pauses = []
    for k, (begin, end) in enumerate(spans):
        if k:
            gap = begin - knots[-1]
            cut = gap > max(PAUSE * busy, 1.0)
            drawn = min(gap, 0.03 * busy) if cut else gap
            if cut:
                pauses.append((places[-1] + drawn / 2, gap))
            knots.append(begin)
            places.append(places[-1] + drawn)
        knots.append(end)
        places.append(places[-1] + end - begin)
    places[-1] = max(places[-1], 1e-3)  # one lost trial alone takes no time
    return knots, places, pauses


def _time_unit(seconds: float) -> tuple[str, float]:
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return unit, size
    return "seconds", 1.0
