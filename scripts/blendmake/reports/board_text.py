"""The leaderboard as text: what each board ranks on stands above it, in the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from textwrap import wrap
from typing import Any

import pyarrow as pa

from blendmake.honest import ALL
from blendmake.reports.measures import (
    headed,
    interval_text,
    macro_title,
    metric_title,
    number_text,
    signed_text,
)

TEXT_WIDTH = 110

OPTIONAL = ["own folds", "in-sample", "public", "private", "diff"]
NOT_SHOWN = ("auc_fold_mean",)  # in the page and the file: next to the AUC it says little here
Row = Mapping[str, Any]


def leaderboard_text(table: pa.Table) -> str:
    """The leaderboard as aligned plain text, at most 110 columns wide, with footnotes.

    Args:
        table: of `leaderboard.build_leaderboard`.
    """
    rows = table.to_pylist()
    most = max((row["targets"] for row in rows), default=0)
    header = ["#", "name", "made by", "targets", macro_title(rows), "95% interval"]
    also = also_of(table)
    own, test = headed("own", rows), headed("test", rows)
    header += [own, "own folds", "in-sample", test]
    header += [metric_title(name) for name in also] + ["public", "private", "diff", "fit s"]
    boards = boards_of(rows)
    cells = [
        _cells(row, most, several_folds(rows), also)
        for board in boards
        for row in with_leader(board)
    ]
    # A column that nobody fills says nothing.
    empty = ("", "ranks", "scores")
    kept = [
        i
        for i, title in enumerate(header)
        if title not in [own, test, *OPTIONAL, *map(metric_title, also)]
        or any(line[i] not in empty for line in cells)
    ]
    header = [header[i] for i in kept]
    cells = [[line[i] for i in kept] for line in cells]
    _fit_names(header, cells)
    left_out = _leave_out(header, cells, [*map(metric_title, reversed(also)), test])
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [_line(header, widths), "  ".join("-" * width for width in widths)]
    shown = iter(cells)
    for number, board in enumerate(boards):
        caption = caption_of(board, rows)
        if caption and number == 0:
            lines.insert(0, caption)
        elif caption:
            lines += ["", caption]
        lines += [_line(next(shown), widths) for _ in with_leader(board)]
    notes = footnotes(rows)
    if left_out:
        notes += wrap(
            f"{', '.join(left_out)}: no room here; in leaderboard.csv and the report.", 100
        )
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def also_of(table: pa.Table, all_of_them: bool = False) -> list[str]:
    """The metrics of a leaderboard that are shown beside the one that it ranks by."""
    names = table.column_names
    if "probabilities" not in names:
        return []
    found = names[names.index("probabilities") + 1 : names.index("test_score")]
    return [name for name in found if all_of_them or name not in NOT_SHOWN]


def _cells(row: Row, most: int, several: bool, also: Sequence[str]) -> list[str]:
    value, low, high = board_score(row)
    return [
        "=" if row["rank"] is None else str(row["rank"]),
        row["name"],
        made_by(row),
        covered(row, most),
        number_text(value) + (marks(row) or " "),
        interval_text(low, high, "-", 3),
        number_text(row["own_score"]) if several else "",
        shortened(row["own_folds"] or "", 9) if several else "",
        number_text(row["in_sample"]),
        number_text(row["test_score"]),
        *(value_score(row, name) for name in also),
        number_text(row["public_score"]),
        number_text(row["private_score"]),
        signed_text(row["score_difference"]),
        _seconds_text(row["fit_seconds"]),
    ]


def boards_of(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each board, in their order."""
    return [list(board) for _, board in groupby(rows, key=lambda row: row["board"])]


def with_leader(board: Sequence[Row]) -> list[Row]:
    """A board's rows; before them, without a rank, the best of the first board on the same rows."""
    first = board[0]
    if first["leader"] is None:
        return list(board)
    kept = ("board", "metric", "targets", "folds", "leader", "leader_score")
    leader = dict.fromkeys(first) | {key: first[key] for key in kept}
    leader |= {"name": first["leader"], "part_score": first["leader_score"]}
    return [leader, *board]


def board_score(row: Row) -> tuple[float | None, float | None, float | None]:
    """The macro score that a row is ranked by, with its 95% interval."""
    if row["score"] is not None or row["part_score"] is None:
        return row["score"], row["ci_low"], row["ci_high"]
    return row["part_score"], row["part_ci_low"], row["part_ci_high"]


def several_folds(rows: Sequence[Row]) -> bool:
    """Whether some entry is honest on more folds than its board ranks on."""
    return any(row["own_folds"] != row["folds"] for row in rows)


def caption_of(board: Sequence[Row], rows: Sequence[Row]) -> str:
    """What a board of the leaderboard's rows ranks on; empty for the usual one, on everything."""
    first, most = board[0], max(row["targets"] for row in rows)
    folds = folds_shown(first)
    if first["board"] == rows[0]["board"]:
        several = len({row["metric"] for row in rows}) > 1
        by = f" by {metric_title(first['metric'])}" if several else ""
        on = f" on folds {shortened(folds, 24)}, which are honest for all of these" if folds else ""
        return f"ranked{by}{on}" if by or on else ""
    what = []
    if first["targets"] < most:
        what.append(f"{first['targets']} of {most} targets")
    elif first["metric"] != rows[0]["metric"]:
        what.append("other targets by " + metric_title(first["metric"]))
    elif first["folds"] == rows[0]["folds"]:
        what.append("other targets")
    if folds or not what:
        what.append(f"folds {shortened(folds, 24)}" if folds else "all folds")
    text = f"apart: ranked on {', '.join(what)}"
    return text + ("; = is the best of the first board on these rows" if first["leader"] else "")


def value_score(row: Row, key: str) -> str:
    """A score of a further metric, or what the predictions are where it has none as they are no
    probabilities."""
    if row[key] is not None or row["probabilities"] is not False:
        return number_text(row[key])
    return "ranks" if row["kind"] == "blend" else "scores"


def marks(row: Mapping[str, Any]) -> str:
    """What stands behind an entry's score; `footnotes` says what it means."""
    return ("*" if row["optimistic"] else "") + ("!" if row.get("fell_back") else "")


def footnotes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of these rows must know, a line of at most 100 characters each."""
    notes = []
    if any(row["optimistic"] for row in rows):
        notes.append(
            "* optimistic: something (say, early stopping) was chosen with the labels scoring it."
        )
    if any(row.get("fell_back") for row in rows):
        notes.append(
            "! a fit, its own or a member's, was made smaller or on the CPU for lack of GPU memory."
        )
    if several_folds(rows):
        own = headed("own", rows)
        notes.append(
            f"{own}: on all folds honest for the entry (params, its own or a member's, were searched"
        )
        notes.append("on the others); not to be compared between lines of other own folds.")
    if any(row["in_sample"] is not None for row in rows):
        notes.append(
            "in-sample: weights scored on the rows they were fitted on; what it is better by "
            "flatters."
        )
    if any(row["score_difference"] is not None for row in rows):
        notes.append("diff: the competition's score (private, else public) less the macro score.")
    return notes


def made_by(row: Mapping[str, Any]) -> str:
    """A source's family; of a blend, `method of n`; empty where another line says it."""
    if row["method"] is None:
        return ""
    if row["kind"] != "blend":
        return str(row["method"])
    return f"{row['method']} of {len(row['members'])}"


def covered(row: Mapping[str, Any], most: int) -> str:
    """How many targets an entry covers: `41`, or `12/41` if others cover more."""
    return str(row["targets"]) if row["targets"] == most else f"{row['targets']}/{most}"


def folds_shown(row: Mapping[str, Any]) -> str:
    """The folds on which an entry was scored, or two compared; empty where it was on all."""
    folds = row.get("folds")
    return "" if folds in (None, ALL) else str(folds)


def duration_text(seconds: float) -> str:
    """A duration in the unit that suits it, from milliseconds to hours."""
    for least, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * least:
            return f"{seconds / least:.1f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def shortened(text: str, width: int) -> str:
    """The text in at most `width` characters, its middle left out: names differ at their ends."""
    if len(text) <= width:
        return text
    head = (width - 2 + 1) // 2
    tail = width - 2 - head
    return text[:head] + ".." + text[len(text) - tail :]


def _fit_names(header: Sequence[str], cells: Sequence[list[str]]) -> None:
    """Shorten names, and if need be what made them, until the lines are narrow enough."""
    for column, least in ((1, 14), (2, 12)):
        widths = [max(map(len, c)) for c in zip(header, *cells, strict=True)]
        excess = sum(widths) + 2 * (len(widths) - 1) - TEXT_WIDTH
        if excess > 0:
            for line in cells:
                line[column] = shortened(line[column], max(widths[column] - excess, least))


def _leave_out(
    header: list[str], cells: Sequence[list[str]], dispensable: Sequence[str]
) -> list[str]:
    """Take out what can best be done without while the lines are too wide; the titles taken out."""
    left_out: list[str] = []
    for title in dispensable:
        widths = [max(map(len, c)) for c in zip(header, *cells, strict=True)]
        if title in header and sum(widths) + 2 * (len(widths) - 1) > TEXT_WIDTH:
            at = header.index(title)
            for line in (header, *cells):
                del line[at]
            left_out.append(title)
    return left_out


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    # Words to the left, numbers to the right.
    padded = [
        cell.ljust(width) if i in (1, 2) else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _seconds_text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
