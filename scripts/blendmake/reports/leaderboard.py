"""The leaderboard: every source and blend with its scores, in one table and in three formats.

Nothing is computed here that the artifacts do not say: the numbers come from their scores and fits
tables, the settings from the notes in their prediction files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import damaged, read_note, read_parquet, replacing, write_parquet, write_text
from blendmake.honest import ALL, FELL_BACK
from blendmake.labels import MACRO

TEXT_WIDTH = 100
HONEST = ("oof", "cross_fitted")
"""Estimates by which entries are ranked: no row is scored by what was fitted on it."""

_LEADERBOARD: list[tuple[str, pa.DataType]] = [
    ("name", pa.string()),
    ("kind", pa.string()),
    ("method", pa.string()),
    ("members", pa.list_(pa.string())),
    ("targets", pa.int32()),
    ("macro_auc", pa.float64()),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("estimate", pa.string()),
    ("optimistic", pa.bool_()),
    ("fell_back", pa.bool_()),
    ("folds", pa.string()),
    ("in_sample", pa.float64()),
    ("auc_fold_mean", pa.float64()),
    ("test_auc", pa.float64()),
    ("test_ci_low", pa.float64()),
    ("test_ci_high", pa.float64()),
    ("fit_seconds", pa.float64()),
    ("public_score", pa.float64()),
    ("private_score", pa.float64()),
    ("score_difference", pa.float64()),
]
LEADERBOARD = pa.schema(_LEADERBOARD)
"""Columns of `build_leaderboard`."""


@dataclass(frozen=True)
class Entry:
    """A scored artifact: its name, `source` or `blend`, and its files.

    `fits` is None for a blend, and for a source whose predictions somebody else made. `public` and
    `private` are what the competition's leaderboard gave its submission.
    """

    name: str
    kind: str
    oof: Path
    scores: Path
    fits: Path | None = None
    public: float | None = None
    private: float | None = None


def build_leaderboard(entries: Sequence[Entry]) -> pa.Table:
    """The leaderboard of some entries, best first.

    Those that cover most targets stand first: the macro AUC of a partial source is over its own
    targets and cannot be compared with the others'. Then by macro AUC, then by name.

    Returns:
        One row per entry: name, kind; method (a source's family, a blend's method); members (none
        for a source); targets (how many it covers); macro_auc with its 95% interval; estimate
        (`oof` or `cross_fitted`); optimistic; fell_back (whether a fit, its own or a member's, was
        made otherwise than asked for, for lack of GPU memory); folds (on which it was scored:
        `all`, or those honest for it); in_sample (macro AUC of what was chosen on all rows,
        null if labels chose nothing); auc_fold_mean; test_auc with its 95% interval (null where
        test labels are unknown); fit_seconds (of a blend: of the distinct sources it stands on,
        directly or through other blends; null if nothing was fitted here); public_score and
        private_score as the config has them; score_difference (private, else public score, less
        macro_auc).

    Raises:
        BlendmakeError: a file is missing or damaged, or a blend stands on something not among the
            entries.
    """
    return _build(entries, {entry.name: read_note(entry.oof) for entry in entries})


def write_leaderboard(
    entries: Sequence[Entry],
    parquet: Path,
    csv_path: Path,
    experiments: Path,
    note: Mapping[str, Any],
) -> None:
    """Write the leaderboard as parquet and CSV, and `experiments`, a JSON line per entry.

    The JSON lines hold name, kind, members, settings, macro_auc, estimate, folds, in_sample, the
    digests of content and code; sorted by name and rebuilt whole each time, without times or dates,
    so that the same artifacts give the same bytes.

    Raises:
        BlendmakeError: as for `build_leaderboard`, or a file cannot be written.
    """
    notes = {entry.name: read_note(entry.oof) for entry in entries}
    table = _build(entries, notes)
    write_parquet(table, parquet, note)
    joined = pa.array(["+".join(names) for names in table["members"].to_pylist()], pa.string())
    flat = table.set_column(table.column_names.index("members"), "members", joined)
    with replacing(csv_path) as temporary:
        csv.write_csv(flat, temporary, csv.WriteOptions(quoting_style="needed"))
    lines = []
    for row in sorted(table.to_pylist(), key=lambda row: str(row["name"])):
        made = notes[row["name"]]
        line = {key: row[key] for key in ("name", "kind", "members", "macro_auc", "estimate")}
        line |= {"folds": row["folds"], "in_sample": row["in_sample"]}
        line |= {"settings": made.get("config", {})}
        line |= {"digest": made.get("content"), "code": made.get("code")}
        lines.append(json.dumps(line, sort_keys=True) + "\n")
    write_text("".join(lines), experiments)


def _build(entries: Sequence[Entry], notes: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    seconds = {entry.name: _seconds(entry) for entry in entries}
    rows = [_row(entry, notes, seconds) for entry in entries]
    rows.sort(
        key=lambda row: (
            -row["targets"],
            row["macro_auc"] is None,
            -(row["macro_auc"] or 0.0),
            row["name"],
        )
    )
    return pa.Table.from_pylist(rows, schema=LEADERBOARD)


def _row(
    entry: Entry,
    notes: Mapping[str, Mapping[str, Any]],
    seconds: Mapping[str, float | None],
) -> dict[str, Any]:
    note = notes[entry.name]
    config = note.get("config", {})
    scores = read_parquet(entry.scores).to_pylist()
    honest = [row for row in scores if row["estimate"] in HONEST]
    if not honest:
        raise damaged(entry.scores, f"it has no score of kind {' or '.join(HONEST)}")

    def macro(estimates: Sequence[str], metric: str) -> dict[str, Any]:
        for row in scores:
            if (row["target"], row["metric"]) == (MACRO, metric) and row["estimate"] in estimates:
                return dict(row)
        return {}

    main, test = macro(HONEST, "auc"), macro(["test"], "auc")
    given = entry.public if entry.private is None else entry.private
    known = given is not None and main.get("value") is not None
    return {
        "name": entry.name,
        "kind": entry.kind,
        "method": config.get("method" if entry.kind == "blend" else "family", "external"),
        "members": list(note.get("members") or []) if entry.kind == "blend" else [],
        "targets": len({row["target"] for row in honest} - {MACRO}),
        "macro_auc": main.get("value"),
        "ci_low": main.get("ci_low"),
        "ci_high": main.get("ci_high"),
        "estimate": honest[0]["estimate"],
        "optimistic": any(row["optimistic"] for row in honest),
        "fell_back": bool(note.get(FELL_BACK)),
        "folds": honest[0].get("folds") or ALL,
        "in_sample": macro(["in_sample"], "auc").get("value"),
        "auc_fold_mean": macro(HONEST, "auc_fold_mean").get("value"),
        "test_auc": test.get("value"),
        "test_ci_low": test.get("ci_low"),
        "test_ci_high": test.get("ci_high"),
        "fit_seconds": _total(_sources_of(entry.name, notes), seconds),
        "public_score": entry.public,
        "private_score": entry.private,
        "score_difference": given - main["value"] if known else None,
    }


def _seconds(entry: Entry) -> float | None:
    if entry.fits is None:
        return None
    return float(pc.sum(read_parquet(entry.fits)["seconds"]).as_py() or 0.0)


def _sources_of(name: str, notes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The distinct sources that an entry stands on, sorted; a source stands on itself."""
    sources: set[str] = set()
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        if one not in notes:
            raise BlendmakeError(
                f"Blend '{name}' stands on '{one}', which is not among the entries of the "
                "leaderboard. Delete the blend's files and run the same command again."
            )
        below = _stands_on(notes[one])
        if below:
            waiting.extend(below)
        else:
            sources.add(one)
    return sorted(sources)


def _stands_on(note: Mapping[str, Any]) -> list[str]:
    members = list(note.get("members") or [])
    fallback = note.get("config", {}).get("fallback") if members else None
    return [*members, fallback] if isinstance(fallback, str) else members


def _total(sources: Sequence[str], seconds: Mapping[str, float | None]) -> float | None:
    known = [value for source in sources if (value := seconds[source]) is not None]
    return sum(known) if known else None


OPTIONAL = ("folds", "in-sample", "test AUC", "public", "private", "diff")


def leaderboard_text(table: pa.Table) -> str:
    """The leaderboard as aligned plain text, at most 100 columns wide, with footnotes.

    Args:
        table: of `build_leaderboard`.
    """
    rows = table.to_pylist()
    most = max((row["targets"] for row in rows), default=0)
    header = ["#", "name", "made by", "targets", "macro AUC", "95% interval"]
    header += ["folds", "in-sample", "test AUC", "public", "private", "diff", "fit s"]
    cells = [
        [
            str(rank),
            row["name"],
            made_by(row),
            covered(row, most),
            _number(row["macro_auc"]) + (marks(row) or " "),
            _interval(row["ci_low"], row["ci_high"]),
            shortened(folds_shown(row), 9),
            _number(row["in_sample"]),
            _number(row["test_auc"]),
            _number(row["public_score"]),
            _number(row["private_score"]),
            signed(row["score_difference"]),
            _seconds_text(row["fit_seconds"]),
        ]
        for rank, row in enumerate(rows, start=1)
    ]
    # A column that nobody fills says nothing.
    kept = [
        i
        for i, title in enumerate(header)
        if title not in OPTIONAL or any(line[i] for line in cells)
    ]
    header = [header[i] for i in kept]
    cells = [[line[i] for i in kept] for line in cells]
    _fit_names(header, cells)
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    lines = [_line(header, widths), "  ".join("-" * width for width in widths)]
    lines += [_line(line, widths) for line in cells]
    notes = footnotes(rows)
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


def marks(row: Mapping[str, Any]) -> str:
    """What stands behind an entry's score; `footnotes` says what it means."""
    return ("*" if row["optimistic"] else "") + ("!" if row.get("fell_back") else "")


def footnotes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of these rows must know, a line of at most 100 characters each."""
    most = max((row["targets"] for row in rows), default=0)
    notes = []
    if any(row["optimistic"] for row in rows):
        notes.append(
            "* optimistic: something (say, early stopping) was chosen with the labels scoring it."
        )
    if any(row.get("fell_back") for row in rows):
        notes.append(
            "! a fit, its own or a member's, was made smaller or on the CPU for lack of GPU memory."
        )
    for folds in sorted({folds_shown(row) for row in rows} - {""}):
        notes.append(
            f"on folds {shortened(folds, 24)} only: params, its own or a member's, were searched "
            "on the others."
        )
    if any(row["in_sample"] is not None for row in rows):
        notes.append(
            "in-sample: weights scored on the rows they were fitted on; what it has over macro AUC "
            "flatters."
        )
    if any(row["score_difference"] is not None for row in rows):
        notes.append("diff: the competition's score (private, else public) less macro AUC.")
    if any(row["targets"] < most for row in rows):
        notes.append(
            f"n/{most} targets: its macro AUC is over those only, not comparable with the others."
        )
    return notes


def made_by(row: Mapping[str, Any]) -> str:
    """A source's family; of a blend, `method of n`."""
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


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    # Words to the left, numbers to the right.
    padded = [
        cell.ljust(width) if i in (1, 2) else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def signed(value: float | None) -> str:
    """A difference with its sign."""
    return "" if value is None else f"{value:+.4f}"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{low:.3f}-{high:.3f}"


def _seconds_text(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
