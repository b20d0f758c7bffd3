"""The leaderboard as an HTML page."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from blendmake.files import write_text
from blendmake.reports.board_text import (
    also_of,
    board_score,
    boards_of,
    caption_of,
    covered,
    duration_text,
    footnotes,
    made_by,
    marks,
    several_folds,
    value_score,
    with_leader,
)
from blendmake.reports.correlations import DuplicatePair
from blendmake.reports.drawing import KINDS
from blendmake.reports.measures import (
    headed,
    interval_text,
    macro_title,
    metric_title,
    number_text,
    signed_text,
)

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
td.board {{ color: #555; padding-top: 1.4em; }}
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
    leaderboard: pa.Table,
    out: Path,
    duplicates: Sequence[DuplicatePair] = (),
    doubts: Sequence[str] = (),
) -> None:
    """Write the leaderboard as an HTML page that needs nothing else.

    Args:
        leaderboard: of `leaderboard.build_leaderboard`.
        duplicates: of `correlations.duplicate_pairs`; named below the table.
        doubts: of `doubts.doubt_lines`; likewise.
    """
    rows = leaderboard.to_pylist()
    most = max((row["targets"] for row in rows), default=0)
    several = several_folds(rows)
    further = [
        (metric_title(name), "n", partial(_further, name=name))
        for name in also_of(leaderboard, all_of_them=True)
    ]
    columns: list[tuple[str, str, Callable[[Mapping[str, Any]], str]]] = [
        ("name", "", lambda row: row["name"]),
        ("kind", "", lambda row: row["kind"]),
        ("made by", "", made_by),
        ("targets", "n", lambda row: covered(row, most)),
        (
            macro_title(rows),
            "n",
            lambda row: number_text(board_score(row)[0]) + marks(row),
        ),
        ("95% interval", "n", lambda row: interval_text(*board_score(row)[1:], " to ", 4)),
        (headed("own", rows), "n", lambda row: number_text(row["own_score"]) if several else ""),
        ("own folds", "n", lambda row: row["own_folds"] or "" if several else ""),
        ("in-sample", "n", lambda row: number_text(row["in_sample"])),
        *further,
        (headed("test", rows), "n", lambda row: number_text(row["test_score"])),
        (
            "test 95% interval",
            "n",
            lambda row: interval_text(row["test_ci_low"], row["test_ci_high"], " to ", 4),
        ),
        ("public score", "n", lambda row: number_text(row["public_score"])),
        ("private score", "n", lambda row: number_text(row["private_score"])),
        (f"score less {macro_title(rows)}", "n", lambda row: signed_text(row["score_difference"])),
        (
            "fit time",
            "n",
            lambda row: "" if row["fit_seconds"] is None else duration_text(row["fit_seconds"]),
        ),
        ("members", "members", lambda row: ", ".join(row["members"] or [])),
    ]
    # A column that nobody fills says nothing.
    columns = [
        column
        for column in columns
        if not rows or any(column[2](row) not in ("", "ranks", "scores") for row in rows)
    ]
    head = '<th class="n">#</th>' + "".join(_cell("th", c, title) for title, c, _ in columns)
    body = []
    for board in boards_of(rows):
        caption = caption_of(board, rows)
        if caption:
            what = f'<td class="board" colspan="{len(columns) + 1}">{html.escape(caption)}</td>'
            body.append(f"<tr>{what}</tr>")
        for row in with_leader(board):
            cells = [f'<td class="n">{"=" if row["rank"] is None else row["rank"]}</td>']
            for title, name, text in columns:
                kind = row["kind"] if title in ("name", "kind") else name
                cells.append(_cell("td", kind or "", text(row) or ""))
            body.append(f"<tr>{''.join(cells)}</tr>")
    texts = [*doubts, *footnotes(rows), *map(_duplicate_text, duplicates)]
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


def _further(row: Mapping[str, Any], name: str) -> str:
    return value_score(row, name)
