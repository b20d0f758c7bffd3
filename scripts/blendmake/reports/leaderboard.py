"""The leaderboard: every source and blend with its scores, ranked where they can be compared.

Nothing is computed here that the artifacts do not say: the numbers come from their scores and fits
tables, the settings from the notes in their prediction files. Only where entries are honest on
different folds are they scored again, on those that they have in common.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import damaged, read_note, read_parquet, replacing, write_parquet, write_text
from blendmake.fits.notes import FELL_BACK
from blendmake.honest import HONEST, folds_text
from blendmake.reports.boards import Board, Standing, make_boards, read_folds_text
from blendmake.score_names import MACRO
from blendmake.scoring import Known, read_known, score_file

_LEADERBOARD: list[tuple[str, pa.DataType]] = [
    ("board", pa.int32()),
    ("rank", pa.int32()),
    ("name", pa.string()),
    ("kind", pa.string()),
    ("method", pa.string()),
    ("members", pa.list_(pa.string())),
    ("targets", pa.int32()),
    ("folds", pa.string()),
    ("macro_auc", pa.float64()),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("part_auc", pa.float64()),
    ("part_ci_low", pa.float64()),
    ("part_ci_high", pa.float64()),
    ("leader", pa.string()),
    ("leader_auc", pa.float64()),
    ("own_auc", pa.float64()),
    ("own_folds", pa.string()),
    ("estimate", pa.string()),
    ("optimistic", pa.bool_()),
    ("fell_back", pa.bool_()),
    ("in_sample", pa.float64()),
    ("auc_fold_mean", pa.float64()),
    ("brier", pa.float64()),
    ("log_loss", pa.float64()),
    ("probabilities", pa.bool_()),
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

_BY_TARGET: list[tuple[str, pa.DataType]] = [
    ("name", pa.string()),
    ("board", pa.int32()),
    ("target", pa.string()),
    ("folds", pa.string()),
    ("auc", pa.float64()),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("brier", pa.float64()),
    ("log_loss", pa.float64()),
    ("n", pa.int64()),
    ("positives", pa.int64()),
]
BY_TARGET = pa.schema(_BY_TARGET)
"""Columns of `LeaderboardTables.by_target`."""


@dataclass(frozen=True)
class Entry:
    """A scored artifact: its name, `source` or `blend`, and its files.

    `fits` is None for a blend, and for a source whose predictions somebody else made; `in_sample`
    and `uncalibrated` are a blend's. `public` and `private` are what the competition's leaderboard
    gave its submission.
    """

    name: str
    kind: str
    oof: Path
    scores: Path
    fits: Path | None = None
    in_sample: Path | None = None
    uncalibrated: Path | None = None
    public: float | None = None
    private: float | None = None


@dataclass(frozen=True)
class Truth:
    """Files that entries are scored against: targets, folds and, where there are any, groups."""

    targets: Path
    folds: Path
    groups: Path | None


@dataclass(frozen=True)
class LeaderboardTables:
    """The leaderboard, and by target what stands behind it.

    `by_target` has a row per entry and target, in the order of the leaderboard: name, board, target,
    and on the rows that its board ranks on (folds) auc, ci_low, ci_high, brier, log_loss, n and
    positives.
    """

    leaderboard: pa.Table
    by_target: pa.Table


def build_leaderboard(entries: Sequence[Entry], truth: Truth | None = None) -> pa.Table:
    """The leaderboard of some entries: boards of those that can be compared, each best first.

    Returns:
        One row per entry: board (1, 2, ...; see `boards.make_boards`) and rank on it; name, kind;
        method (a source's family, a blend's method); members (none for a source); targets (how many
        it covers); folds (on which its board ranks: `all`, or those honest for all on it).
        macro_auc, ci_low, ci_high on these rows, on the first board: on others null, and the same
        in part_auc, part_ci_low, part_ci_high, so that what cannot be compared is not in one column.
        There also leader, the best of the first board that is honest on these rows, and leader_auc,
        its AUC on them (null if there is none). own_auc: on all folds honest for it, own_folds.
        estimate (`oof` or `cross_fitted`); optimistic; fell_back (whether a fit, its own or a
        member's, was made otherwise than asked for, for lack of GPU memory). On the board's rows
        too: in_sample (macro AUC of what was chosen on all rows, null if labels chose nothing),
        auc_fold_mean, brier and log_loss (null where predictions are no probabilities, which
        `probabilities` says). test_auc with its 95% interval (null where test labels are unknown);
        fit_seconds (of a blend: of the distinct sources it stands on, directly or through other
        blends; null if nothing was fitted here); public_score and private_score as the config has
        them; score_difference (private, else public score, less the AUC on the board's rows).

    Raises:
        BlendmakeError: a file is missing or damaged, or a blend stands on something not among the
            entries.
        ValueError: entries must be scored again on common folds and there is no truth.
    """
    notes = {entry.name: read_note(entry.oof) for entry in entries}
    return _build(entries, truth, notes).leaderboard


def write_leaderboard(
    entries: Sequence[Entry],
    truth: Truth | None,
    parquet: Path,
    csv_path: Path,
    experiments: Path,
    by_target: Path,
    note: Mapping[str, Any],
) -> None:
    """Write the leaderboard as parquet and CSV, `by_target`, and `experiments`, a JSON line each.

    The JSON lines hold name, kind, members, settings, the scores with what they were measured on,
    the digests of content and code; sorted by name and rebuilt whole each time, without times or
    dates, so that the same artifacts give the same bytes.

    Raises:
        BlendmakeError, ValueError: as for `build_leaderboard`, or a file cannot be written.
    """
    notes = {entry.name: read_note(entry.oof) for entry in entries}
    tables = _build(entries, truth, notes)
    table = tables.leaderboard
    write_parquet(table, parquet, note)
    write_parquet(tables.by_target, by_target, note)
    joined = pa.array(["+".join(names) for names in table["members"].to_pylist()], pa.string())
    flat = table.set_column(table.column_names.index("members"), "members", joined)
    with replacing(csv_path) as temporary:
        csv.write_csv(flat, temporary, csv.WriteOptions(quoting_style="needed"))
    lines = []
    for row in sorted(table.to_pylist(), key=lambda row: str(row["name"])):
        made = notes[row["name"]]
        line = {key: row[key] for key in EXPERIMENT}
        line |= {"settings": made.get("config", {})}
        line |= {"digest": made.get("content"), "code": made.get("code")}
        lines.append(json.dumps(line, sort_keys=True) + "\n")
    write_text("".join(lines), experiments)


EXPERIMENT = ["name", "kind", "members", "estimate", "board", "rank", "targets", "folds"]
EXPERIMENT += ["macro_auc", "part_auc", "own_auc", "own_folds", "in_sample", "brier", "log_loss"]


class _Scored:
    """An entry's scores, as they stand and on the rows of a board."""

    def __init__(self, entry: Entry, note: Mapping[str, Any]) -> None:
        self.entry, self.note = entry, note
        self.rows: list[dict[str, Any]] = read_parquet(entry.scores).to_pylist()
        honest = [row for row in self.rows if row["estimate"] in HONEST]
        if not honest:
            raise damaged(entry.scores, f"it has no score of kind {' or '.join(HONEST)}")
        self.estimate = honest[0]["estimate"]
        self.folds = read_folds_text(honest[0].get("folds"))
        # In the order of the targets table.
        self.targets = tuple(dict.fromkeys(r["target"] for r in honest if r["target"] != MACRO))
        self.probabilities = any(row["metric"] == "brier" for row in honest)
        self.optimistic = any(row["optimistic"] for row in honest)

    @property
    def standing(self) -> Standing:
        return Standing(self.entry.name, self.targets, self.folds)

    def on(self, board: Board, known: Known | None) -> list[dict[str, Any]]:
        """The rows of its scores table, but of the board's folds."""
        if board.folds == self.folds:
            return self.rows
        if known is None:
            raise ValueError("entries are honest on different folds: give the truth to score them")
        entry, folds = self.entry, board.folds
        order = entry.uncalibrated
        tables = [score_file(known, entry.oof, self.estimate, uncalibrated=order, folds=folds)]
        if entry.in_sample is not None:
            tables.append(score_file(known, entry.in_sample, "in_sample", folds=folds))
        tests = [row for row in self.rows if row["estimate"] == "test"]
        return [*pa.concat_tables(tables).to_pylist(), *tests]


def _build(
    entries: Sequence[Entry], truth: Truth | None, notes: Mapping[str, Mapping[str, Any]]
) -> LeaderboardTables:
    scored = {entry.name: _Scored(entry, notes[entry.name]) for entry in entries}
    seconds = {entry.name: _seconds(entry) for entry in entries}
    boards = make_boards([one.standing for one in scored.values()])
    known = None
    if truth is not None and len({one.folds for one in scored.values()}) > 1:
        known = read_known(truth.targets, truth.folds, truth.groups)
    rows: list[dict[str, Any]] = []
    by_target: list[dict[str, Any]] = []
    for number, board in enumerate(boards, start=1):
        here = {name: scored[name].on(board, known) for name in board.names}
        auc = {name: _macro(scores, HONEST, "auc").get("value") for name, scores in here.items()}
        order = sorted(here, key=lambda name: (auc[name] is None, -(auc[name] or 0.0), name))
        leader = None if number == 1 else _leader(rows, scored, board, known)
        for rank, name in enumerate(order, start=1):
            row = _row(scored[name], here[name], board, number == 1)
            row |= {"board": number, "rank": rank} | (leader or {})
            row["fit_seconds"] = _total(_sources_of(name, notes), seconds)
            rows.append(row)
            by_target += _target_rows(name, number, board, here[name])
    return LeaderboardTables(
        pa.Table.from_pylist(rows, schema=LEADERBOARD),
        pa.Table.from_pylist(by_target, schema=BY_TARGET),
    )


def _macro(
    scores: Sequence[Mapping[str, Any]], estimates: Sequence[str], metric: str
) -> Mapping[str, Any]:
    for row in scores:
        if (row["target"], row["metric"]) == (MACRO, metric) and row["estimate"] in estimates:
            return row
    return {}


def _leader(
    rows: Sequence[Mapping[str, Any]],
    scored: Mapping[str, _Scored],
    board: Board,
    known: Known | None,
) -> dict[str, Any] | None:
    """The first in rank on the first board that is honest on this board's rows, and its AUC there."""
    for row in rows:
        one = scored[row["name"]]
        if row["board"] != 1 or not one.standing.covers(board):
            continue
        if known is None and one.folds != board.folds:
            raise ValueError("entries are honest on different folds: give the truth to score them")
        values = [
            found["value"]
            for found in one.on(board, known)
            if found["metric"] == "auc"
            and found["estimate"] in HONEST
            and found["target"] in board.targets
            and found["value"] is not None
        ]
        mean = math.fsum(values) / len(values) if values else None
        return {"leader": row["name"], "leader_auc": mean}
    return None


def _row(
    one: _Scored, scores: Sequence[Mapping[str, Any]], board: Board, first: bool
) -> dict[str, Any]:
    entry, config = one.entry, one.note.get("config", {})
    main, test = _macro(scores, HONEST, "auc"), _macro(scores, ["test"], "auc")
    given = entry.public if entry.private is None else entry.private
    known = given is not None and main.get("value") is not None
    shown = ("macro_auc", "ci_low", "ci_high")
    if not first:
        shown = ("part_auc", "part_ci_low", "part_ci_high")
    return {
        "name": entry.name,
        "kind": entry.kind,
        "method": config.get("method" if entry.kind == "blend" else "family", "external"),
        "members": list(one.note.get("members") or []) if entry.kind == "blend" else [],
        "targets": len(one.targets),
        "folds": folds_text(board.folds),
        **dict(zip(shown, map(main.get, ("value", "ci_low", "ci_high")), strict=True)),
        "own_auc": _macro(one.rows, HONEST, "auc").get("value"),
        "own_folds": folds_text(one.folds),
        "estimate": one.estimate,
        "optimistic": one.optimistic,
        "fell_back": bool(one.note.get(FELL_BACK)),
        "in_sample": _macro(scores, ["in_sample"], "auc").get("value"),
        "auc_fold_mean": _macro(scores, HONEST, "auc_fold_mean").get("value"),
        "brier": _macro(scores, HONEST, "brier").get("value"),
        "log_loss": _macro(scores, HONEST, "log_loss").get("value"),
        "probabilities": one.probabilities,
        "test_auc": test.get("value"),
        "test_ci_low": test.get("ci_low"),
        "test_ci_high": test.get("ci_high"),
        "public_score": entry.public,
        "private_score": entry.private,
        "score_difference": given - main["value"] if known else None,
    }


def _target_rows(
    name: str, number: int, board: Board, scores: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for row in scores:
        if row["estimate"] not in HONEST or row["target"] == MACRO:
            continue
        line = found.setdefault(
            row["target"],
            {
                "name": name,
                "board": number,
                "target": row["target"],
                "folds": folds_text(board.folds),
            },
        )
        if row["metric"] == "auc":
            line |= {key: row[key] for key in ("ci_low", "ci_high", "n", "positives")}
        if row["metric"] in BY_TARGET.names:
            line[row["metric"]] = row["value"]
    return list(found.values())


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
