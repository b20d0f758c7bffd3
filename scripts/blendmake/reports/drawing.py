"""How figures are drawn: the style they share, and their parts. A figure written twice is the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from blendmake.files import replacing
from blendmake.reports.board_text import shortened

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


def write_figure(out: Path, draw: Callable[[], Figure]) -> None:
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


def note_figure(title: str, text: str) -> Figure:
    """A figure that says why there is nothing to draw."""
    figure = Figure(figsize=(6.5, 1.2))
    figure.text(0.01, 0.75, title, fontsize=11, fontweight="bold")
    figure.text(0.01, 0.35, text, color=INK)
    return figure


def short_label(text: str) -> str:
    """A name as it is drawn, in LABEL_WIDTH characters at most."""
    return shortened(text, LABEL_WIDTH)


def label_inches(labels: Sequence[str], size: float = 9) -> float:
    """About the width of the longest label, in a font of `size` points."""
    return max((len(label) for label in labels), default=0) * size * 0.6 / 72


def rows_figure(labels: Sequence[str], width: float, per_row: float = 0.36) -> tuple[Figure, Any]:
    """A figure with one horizontal row per label, the first on top; `width` of the axes, inches."""
    figure = Figure(
        figsize=(width + label_inches(labels) + 0.4, per_row * len(labels) + 1.2),
        layout="constrained",
    )
    axes = figure.add_subplot()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    return figure, axes


def legend_below(figure: Figure, handles: Sequence[Any]) -> None:
    """A legend under everything else, in one row, for which the figure is made higher."""
    figure.set_figheight(figure.get_figheight() + 0.3)
    figure.legend(
        handles=list(handles),
        loc="outside lower left",
        ncols=len(handles),
        handletextpad=0.4,
        columnspacing=1.4,
    )


def legend_mark(label: str, **style: Any) -> Line2D:
    """An entry of a legend, styled as a line or marker is."""
    return Line2D([], [], label=label, **style)


def absent_legend(figure: Figure, text: str) -> None:
    """Say below a heat map what its grey cells are."""
    figure.legend(
        handles=[Patch(facecolor=ABSENT, edgecolor=QUIET, lw=0.5, label=text)],
        loc="outside lower left",
    )


def heat_figure(
    labels: Sequence[str], under: Sequence[str], per_column: float, foot: float
) -> tuple[Figure, Any]:
    """A figure for a heat map with these names of rows and columns, and a colour bar beside it.

    Args:
        per_column: width of a column, inches.
        foot: height beside the rows and the names below them, inches.
    """
    width = max(per_column * len(under), 1.6) + label_inches(labels) + 1.4
    height = 0.24 * len(labels) + label_inches(under) + foot
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def heat_map(axes: Any, values: Floats, colours: str, norm: Any) -> Any:
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


def annotate_cells(
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


def label_cells(axes: Any, columns: Sequence[str], rows: Sequence[str]) -> None:
    """Name the columns and rows of a heat map."""
    axes.set_xticks(range(len(columns)), columns, rotation=90)
    axes.set_yticks(range(len(rows)), rows)
