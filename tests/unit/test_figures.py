"""Figures: what they say, that they are SVG, and that they are the same bytes twice."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib
import pyarrow as pa
import pytest

from blendmake.blends.blending import WEIGHTS_SCHEMA
from blendmake.reports.correlations import CORRELATIONS, DuplicatePair
from blendmake.reports.figures import (
    draw_comparisons,
    draw_correlations,
    draw_fit_seconds,
    draw_heatmap,
    draw_honesty,
    draw_leaderboard,
    draw_weights,
)
from blendmake.reports.leaderboard import BY_TARGET, LEADERBOARD
from blendmake.reports.leaderboard_page import leaderboard_html
from blendmake.scores import COMPARISON

MINUS = "\N{MINUS SIGN}"
TARGETS = ("easy", "cost_$_<b>&", "hard")


def entry(name: str, kind: str, macro: float, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(LEADERBOARD.names)
    row |= {"metric": "auc", "higher_is_better": True}
    row |= {"name": name, "kind": kind, "method": "mean", "members": [], "targets": 3}
    row |= {"score": macro, "ci_low": macro - 0.01, "ci_high": macro + 0.01}
    row |= {"estimate": "oof", "optimistic": False, "fit_seconds": 7.0}
    row |= {"board": 1, "rank": 1, "folds": "all", "own_folds": "all", "own_score": macro}
    return row | more


def leaderboard(in_sample: float | None = 0.74, test: float | None = 0.69) -> pa.Table:
    apart = {"board": 2, "score": None, "ci_low": None, "ci_high": None}
    apart |= {"leader": "both", "leader_score": 0.71}
    rows = [
        entry("both", "blend", 0.72, in_sample=in_sample, test_score=test, members=["lgb", "lin"]),
        entry("lgb", "source", 0.70, optimistic=True),
        entry("lin", "source", 0.75, targets=1, part_score=0.75, **apart),
        entry("void", "source", 0.0, targets=1, **apart),
    ]
    return pa.Table.from_pylist(rows, schema=LEADERBOARD)


def by_target(**entries: dict[str, float]) -> pa.Table:
    """Scores by entry and target; an entry called `elsewhere` is scored on other folds."""
    rows = [
        {
            "name": name,
            "target": target,
            "metric": "auc",
            "higher_is_better": True,
            "score": value,
            "folds": FOLDS_OF.get(name, "all"),
        }
        for name, auc in entries.items()
        for target, value in auc.items()
    ]
    return pa.Table.from_pylist(rows, schema=BY_TARGET)


FOLDS_OF = {"elsewhere": "3 4"}
SCORED = by_target(
    lgb={"easy": 0.911, TARGETS[1]: 0.822, "hard": 0.633},
    lin={"hard": 0.644},
    elsewhere={"easy": 0.999},
)


def weights(why: str, *found: tuple[str, str, int | None, float]) -> pa.Table:
    rows = [dict(zip(("target", "source", "fold", "weight"), row, strict=True)) for row in found]
    return pa.Table.from_pylist([{**row, "why": why} for row in rows], schema=WEIGHTS_SCHEMA)


WEIGHTS = weights(
    "taken",
    ("easy", "lgb", None, 0.75),
    ("easy", "lin", None, 0.25),
    ("easy", "lgb", 0, 0.11),
    ("easy", "elsewhere", 0, 0.89),
    ("hard", "lgb", None, 1.0),
)
STACK = weights(
    "coefficient",
    ("easy", "lgb", None, 0.5),
    ("easy", "lin", None, -0.25),
    ("easy", "(intercept)", None, -3.0),
    ("easy", "target:hard", None, 0.1),
)
PAIRS = pa.Table.from_pylist(
    [
        {"a": "lgb", "b": "lin", "target": "t0", "rank_correlation": 0.6, "identical": False},
        {"a": "lgb", "b": "lin", "target": "t1", "rank_correlation": 0.8, "identical": False},
        {"a": "lgb", "b": "twin", "target": "t0", "rank_correlation": 1.0, "identical": True},
        {"a": "lin", "b": "twin", "target": "t0", "rank_correlation": None, "identical": False},
        {"a": "lin", "b": "near", "target": "t0", "rank_correlation": 0.9987, "identical": False},
    ],
    schema=CORRELATIONS,
)
FITS = {
    "slow": pa.table({"seconds": [100.0, 100.0, 400.0]}),
    "fast": pa.table({"seconds": [0.25]}),
}
DIFFERENCES = pa.Table.from_pylist(
    [
        {"target": "easy", "metric": "auc", "difference": -0.03},
        {"target": "hard", "metric": "auc", "difference": None},
        {
            "target": "macro",
            "metric": "auc",
            "difference": -0.0123,
            "ci_low": -0.02,
            "ci_high": 0.001,
        },
        {"target": "macro", "metric": "auc_fold_mean", "difference": 0.5},
    ],
    schema=COMPARISON,
)

Draw = Callable[[Path], None]
FIGURES: dict[str, tuple[Draw, set[str]]] = {
    "leaderboard": (
        lambda out: draw_leaderboard(leaderboard(), out),
        {
            *("both", "lgb *", "lin (1/3)", "void (1/3)", "0.7200", "0.7500", "in-sample"),
            *("test table", "below line 1, apart: ranked on 1 of 3 targets"),
            "upright mark: the best of the first part on the same rows",
        },
    ),
    "auc": (
        lambda out: draw_heatmap(SCORED, out),
        {
            *TARGETS,
            "lgb",
            "lin",
            ".911",
            ".644",
            "grey: the entry does not cover the target; on other folds, or by another metric, "
            "not shown: elsewhere",
        },
    ),
    "weights": (
        lambda out: draw_weights(WEIGHTS, "both", out),
        {"Weights of both", "easy", "hard", "lgb", "lin", "0.75", "0.88", "mean of targets"},
    ),
    "stack": (
        lambda out: draw_weights(STACK, "both", out),
        {"Coefficients of both", f"{MINUS}0.25", "0.50"},
    ),
    "correlations": (
        lambda out: draw_correlations(PAIRS, out),
        {"lgb", "lin", "twin", "0.70", "1.00", "0.998"},
    ),
    "honesty": (
        lambda out: draw_honesty(leaderboard(), out),
        {"both", "+0.0200", "cross-fitted", "in-sample", "test table"},
    ),
    "seconds": (
        lambda out: draw_fit_seconds(FITS, out),
        {"slow", "10.0 min: 3 fits, median 100.0 s", "250 ms: 1 fit, median 250 ms"},
    ),
    "comparisons": (
        lambda out: draw_comparisons({"both vs lgb": DIFFERENCES}, out),
        {"both vs lgb", f"{MINUS}0.0123  [{MINUS}0.0200, +0.0010]", "one target"},
    ),
}


def texts(path: Path) -> list[str]:
    """Every text in an SVG, which must be well-formed."""
    root = ET.parse(path).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return [
        "".join(node.itertext()).strip() for node in root.iter("{http://www.w3.org/2000/svg}text")
    ]


@pytest.mark.parametrize("name", FIGURES)
def test_figure_says_what_it_shows_the_same_twice(name: str, tmp_path: Path) -> None:
    draw, expected = FIGURES[name]
    first, second = tmp_path / "new" / "one.svg", tmp_path / "two.svg"
    draw(first)
    with matplotlib.rc_context({"font.size": 20, "svg.hashsalt": None, "axes.facecolor": "red"}):
        draw(second)
    assert expected <= set(texts(first))
    assert second.read_bytes() == first.read_bytes()
    assert [p.name for p in first.parent.iterdir()] == ["one.svg"]


def test_heat_map_compares_on_the_same_rows_only_and_sorts_by_them(tmp_path: Path) -> None:
    draw_heatmap(SCORED, tmp_path / "f.svg")
    found = texts(tmp_path / "f.svg")
    assert ".999" not in found
    assert [text for text in found if text in TARGETS] == list(TARGETS)
    assert found.index("lgb") < found.index("lin")


def test_heat_map_of_many_targets_has_no_numbers_and_short_names(tmp_path: Path) -> None:
    targets = {f"target_{i:02d}_{'y' * 40}": 0.6 for i in range(40)}
    draw_heatmap(by_target(lgb={"easy": 0.9, **targets}), tmp_path / "f.svg")
    found = texts(tmp_path / "f.svg")
    assert ".900" not in found
    assert sum(text.startswith("target_") for text in found) == 40
    assert max(map(len, found)) <= 34
    assert len({text for text in found if text.startswith("target_")}) == 40


def test_weights_are_those_of_all_rows(tmp_path: Path) -> None:
    draw_weights(WEIGHTS, "both", tmp_path / "f.svg")
    assert not {"0.11", "elsewhere"} & set(texts(tmp_path / "f.svg"))
    draw_weights(STACK, "both", tmp_path / "f.svg")
    assert not {"(intercept)", "target:hard", f"{MINUS}3.00"} & set(texts(tmp_path / "f.svg"))


def test_only_duplicates_are_outlined(tmp_path: Path) -> None:
    draw_correlations(PAIRS, tmp_path / "f.svg")
    assert any("0.9999" in text for text in texts(tmp_path / "f.svg"))
    rest = PAIRS.filter(pa.array([not same for same in PAIRS["identical"].to_pylist()]))
    draw_correlations(rest, tmp_path / "f.svg")
    assert not any("0.9999" in text for text in texts(tmp_path / "f.svg"))


@pytest.mark.parametrize(
    ("draw", "told"),
    [
        (lambda out: draw_leaderboard(LEADERBOARD.empty_table(), out), "Nothing has been scored"),
        (lambda out: draw_heatmap(BY_TARGET.empty_table(), out), "No target has a score"),
        (lambda out: draw_weights(WEIGHTS_SCHEMA.empty_table(), "b", out), "has no weights"),
        (lambda out: draw_correlations(CORRELATIONS.empty_table(), out), "no two sources"),
        (lambda out: draw_honesty(leaderboard(in_sample=None), out), "Nothing was chosen"),
        (lambda out: draw_fit_seconds({}, out), "Nothing was fitted"),
        (lambda out: draw_comparisons({}, out), "No comparison"),
    ],
)
def test_nothing_to_draw_is_said(draw: Draw, told: str, tmp_path: Path) -> None:
    draw(tmp_path / "f.svg")
    assert any(told in text for text in texts(tmp_path / "f.svg"))


def test_scores_of_some_folds_or_optimistic_ones_are_marked(tmp_path: Path) -> None:
    out = tmp_path / "f.svg"
    tuned = entry("tuned", "source", 0.7, folds="3 4", own_folds="3 4", optimistic=True)
    draw_leaderboard(pa.Table.from_pylist([tuned], schema=LEADERBOARD), out)
    told = {"(folds …): measured there only, params were searched on the others"}
    caption = "ranked on folds 3 4, which are honest for all of these"
    assert {"tuned *", caption} <= set(texts(out))
    rows = [{**row, "folds": "3 4", "optimistic": False} for row in DIFFERENCES.to_pylist()]
    some = pa.Table.from_pylist(rows, schema=COMPARISON)
    flattered = [{**row, "folds": "all", "optimistic": True} for row in rows]
    every = pa.Table.from_pylist(flattered, schema=COMPARISON)
    draw_comparisons({"a vs b": some, "c vs d": every}, out)
    told.add("* optimistic: something was chosen with the labels that score it")
    assert {"a vs b (folds 3 4)", "c vs d *", *told} <= set(texts(out))
    draw_comparisons({"a vs b": DIFFERENCES}, out)
    assert not told & set(texts(out))


class _Cells(HTMLParser):
    """The cells of a page, row by row, and the tags left open."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "meta":
            return
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def test_html_is_a_page_of_its_own(tmp_path: Path) -> None:
    out = tmp_path / "l.html"
    table = leaderboard()
    odd = table.set_column(2, "name", pa.array(["a<b>&", "lgb", "lin", "void"]))
    leaderboard_html(odd, out)
    page = out.read_text()
    assert not re.search(r"https?:|src=|href=", page)
    cells = _Cells()
    cells.feed(page)
    assert cells.open == []
    head, *rows = cells.rows
    assert rows.pop(2) == [
        "apart: ranked on 1 of 3 targets; = is the best of the first board on these rows"
    ]
    assert {len(row) for row in rows} == {len(head)}
    first = dict(zip(head, rows[0], strict=True))
    assert first["name"] == "a<b>&"
    assert (first["macro AUC"], first["in-sample"], first["test AUC"]) == (
        "0.7200",
        "0.7400",
        "0.6900",
    )
    assert first["members"] == "lgb, lin"
    assert dict(zip(head, rows[1], strict=True))["macro AUC"] == "0.7000*"
    leader = dict(zip(head, rows[2], strict=True))
    assert (leader["#"], leader["name"], leader["macro AUC"]) == ("=", "both", "0.7100")
    part = dict(zip(head, rows[3], strict=True))
    assert (part["targets"], part["macro AUC"]) == ("1/3", "0.7500")
    assert "mean of folds" not in head
    assert html.escape("* optimistic") in page


def test_duplicates_are_named_in_the_table(tmp_path: Path) -> None:
    pairs = [
        DuplicatePair("lgb", "lgb_again", 14, 1.0, True),
        DuplicatePair("xgb", "xgb_twin", 3, 0.99995, False),
    ]
    leaderboard_html(leaderboard(), tmp_path / "board.html", pairs)
    page = (tmp_path / "board.html").read_text()
    assert "lgb and lgb_again are equal on all 14 common targets" in page
    assert "xgb and xgb_twin are of rank correlation ≥ 0.99995 on all 3" in page
