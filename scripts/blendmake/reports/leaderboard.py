"""The leaderboard: every source and blend with its scores, ranked where they can be compared.

Nothing is computed here that the artifacts do not say: the numbers come from their scores and fits
tables, the settings from the notes in their prediction files. Only where entries are honest on
different folds are they scored again, on those that they have in common.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
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
from blendmake.metrics.choice import Given
from blendmake.metrics.finding import find_metric
from blendmake.reports.board_text import also_of
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
    ("metric", pa.string()),
    ("higher_is_better", pa.bool_()),
    ("score", pa.float64()),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("part_score", pa.float64()),
    ("part_ci_low", pa.float64()),
    ("part_ci_high", pa.float64()),
    ("leader", pa.string()),
    ("leader_score", pa.float64()),
    ("own_score", pa.float64()),
    ("own_folds", pa.string()),
    ("estimate", pa.string()),
    ("optimistic", pa.bool_()),
    ("fell_back", pa.bool_()),
    ("in_sample", pa.float64()),
    ("probabilities", pa.bool_()),
    ("test_score", pa.float64()),
    ("test_ci_low", pa.float64()),
    ("test_ci_high", pa.float64()),
    ("fit_seconds", pa.float64()),
    ("public_score", pa.float64()),
    ("private_score", pa.float64()),
    ("score_difference", pa.float64()),
]
LEADERBOARD = pa.schema(_LEADERBOARD)
"""Columns of `build_leaderboard`, but for those of further metrics, which follow `probabilities`."""

_BY_TARGET: list[tuple[str, pa.DataType]] = [
    ("name", pa.string()),
    ("board", pa.int32()),
    ("target", pa.string()),
    ("folds", pa.string()),
    ("metric", pa.string()),
    ("higher_is_better", pa.bool_()),
    ("score", pa.float64()),
    ("ci_low", pa.float64()),
    ("ci_high", pa.float64()),
    ("n", pa.int64()),
    ("positives", pa.int64()),
]
BY_TARGET = pa.schema(_BY_TARGET)
"""Columns of `LeaderboardTables.by_target`, but for those of further metrics, which come last."""


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
    """Files that entries are scored against: targets, folds and, where there are any, groups.

    `metric`, `also`: of the config, as for `metrics.choice.metrics_for`.
    """

    targets: Path
    folds: Path
    groups: Path | None
    metric: Given = None
    also: Sequence[str] | None = None


@dataclass(frozen=True)
class LeaderboardTables:
    """The leaderboard, and by target what stands behind it.

    `by_target` has a row per entry and target, in the order of the leaderboard: name, board, target,
    and on the rows that its board ranks on (folds) metric, higher_is_better, score, ci_low, ci_high, n,
    positives and the further metrics.
    """

    leaderboard: pa.Table
    by_target: pa.Table


def build_leaderboard(entries: Sequence[Entry], truth: Truth | None = None) -> pa.Table:
    """The leaderboard of some entries: boards of those that can be compared, each best first.

    Returns:
        One row per entry (and metric, where its targets have several): board (1, 2, ...; see
        `boards.make_boards`) and rank on it; name, kind; method (a source's family, a blend's method);
        members (none for a source); targets (how many it covers); folds (on which its board ranks:
        `all`, or those honest for all on it); metric, higher_is_better.
        score (of the macro row), ci_low, ci_high on these rows, on the first board: on others null, and
        the same in part_score, part_ci_low, part_ci_high, so that what cannot be compared is not in one
        column. There also leader, the best of the first board that is honest on these rows, and
        leader_score, its own on them (null if there is none). own_score: on all folds honest for it,
        own_folds.
        estimate (`oof` or `cross_fitted`); optimistic; fell_back (whether a fit, its own or a
        member's, was made otherwise than asked for, for lack of GPU memory). On the board's rows
        too: in_sample (of what was chosen on all rows, null if labels chose nothing); a column for each
        further metric (null where it needs probabilities or numbers and predictions are none, which
        `probabilities` says). test_score with its 95% interval (null where test labels are unknown);
        fit_seconds (of a blend: of the distinct sources it stands on, directly or through other
        blends; null if nothing was fitted here); public_score and private_score as the config has
        them; score_difference (private, else public score, less that on the board's rows).

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
        line = {key: row[key] for key in [*EXPERIMENT, *also_of(table, all_of_them=True)]}
        line |= {"settings": made.get("config", {})}
        line |= {"digest": made.get("content"), "code": made.get("code")}
        lines.append(json.dumps(line, sort_keys=True) + "\n")
    write_text("".join(lines), experiments)


EXPERIMENT = ["name", "kind", "members", "estimate", "board", "rank", "targets", "folds"]
EXPERIMENT += ["metric", "score", "part_score", "own_score", "own_folds", "in_sample"]


ONLY_ORDER = {"auc", "auc_fold_mean", "average_precision"}
"""What is measured of predictions that are no probabilities."""


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
        # In the order of the targets table; the first metric of each is what choices are made by.
        self.metric_of: dict[str, str] = {}
        for row in honest:
            if row["target"] != MACRO:
                self.metric_of.setdefault(row["target"], row["metric"])
        self.metrics = {row["metric"] for row in honest}
        self.optimistic = any(row["optimistic"] for row in honest)

    def targets(self, metric: str) -> tuple[str, ...]:
        """The targets that a metric is the metric of."""
        return tuple(target for target, own in self.metric_of.items() if own == metric)

    @property
    def standings(self) -> list[Standing]:
        """What it is scored on, by metric."""
        return [
            Standing(self.entry.name, self.targets(metric), self.folds, metric)
            for metric in dict.fromkeys(self.metric_of.values())
        ]

    def covers(self, board: Board) -> bool:
        """Whether it is honestly scored on all rows and targets of a board."""
        return any(standing.covers(board) for standing in self.standings)

    def on(self, board: Board, truth: Truth | None, known: Known | None) -> list[dict[str, Any]]:
        """The rows of its scores table, but of the board's folds and targets."""
        alone = set(self.metric_of) == set(self.targets(board.metric))
        if board.folds == self.folds and alone:
            return self.rows
        if truth is None or known is None:
            raise ValueError("entries are honest on different folds: give the truth to score them")
        given: dict[str, Any] = {
            "folds": board.folds,
            "targets": self.targets(board.metric),
            "metric": truth.metric,
            "also": truth.also,
        }
        entry, order = self.entry, self.entry.uncalibrated
        tables = [score_file(known, entry.oof, self.estimate, uncalibrated=order, **given)]
        if entry.in_sample is not None:
            tables.append(score_file(known, entry.in_sample, "in_sample", **given))
        tests = [row for row in self.rows if row["estimate"] == "test"]
        return [*pa.concat_tables(tables).to_pylist(), *tests]


def _build(
    entries: Sequence[Entry], truth: Truth | None, notes: Mapping[str, Mapping[str, Any]]
) -> LeaderboardTables:
    scored = {entry.name: _Scored(entry, notes[entry.name]) for entry in entries}
    seconds = {entry.name: _seconds(entry) for entry in entries}
    standings = [standing for one in scored.values() for standing in one.standings]
    boards = make_boards(standings)
    several = len({one.folds for one in scored.values()}) > 1 or len(standings) > len(scored)
    known = None
    if truth is not None and several:
        known = read_known(truth.targets, truth.folds, truth.groups)
    higher = _directions(scored.values(), truth)
    also = list(dict.fromkeys(row["metric"] for one in scored.values() for row in one.rows))
    also = [name for name in also if len(higher) > 1 or name != next(iter(higher))]
    rows: list[dict[str, Any]] = []
    by_target: list[dict[str, Any]] = []
    for number, board in enumerate(boards, start=1):
        here = {name: scored[name].on(board, truth, known) for name in board.names}
        up = higher[board.metric]
        score = {
            name: _macro(found, HONEST, board.metric).get("value") for name, found in here.items()
        }
        order = sorted(here, key=lambda name: (*_place(score[name], up), name))
        leader = None
        if number > 1 and board.metric == boards[0].metric:
            leader = _leader(rows, scored, board, truth, known)
        for rank, name in enumerate(order, start=1):
            row = _row(scored[name], here[name], board, number == 1)
            row |= {"board": number, "rank": rank, "higher_is_better": up} | (leader or {})
            row |= {m: _macro(here[name], HONEST, m).get("value") for m in also}
            row["fit_seconds"] = _total(_sources_of(name, notes), seconds)
            rows.append(row)
            told = _target_rows(name, number, board, here[name], also)
            by_target += [{**line, "higher_is_better": up} for line in told]
    return LeaderboardTables(
        pa.Table.from_pylist(rows, schema=_with(LEADERBOARD, also, "probabilities")),
        pa.Table.from_pylist(by_target, schema=_with(BY_TARGET, also, "positives")),
    )


def _directions(scored: Iterable[_Scored], truth: Truth | None) -> dict[str, bool]:
    """By metric that something is ranked by, whether more is better."""
    names = dict.fromkeys(name for one in scored for name in one.metric_of.values())
    told: dict[str, bool] = {}
    if truth is not None:
        said = truth.metric.values() if isinstance(truth.metric, Mapping) else [truth.metric]
        own = [find_metric(text) for text in said if text is not None]
        told = {metric.name: metric.higher_is_better for metric in own}
    return {
        name: told[name] if name in told else find_metric(name).higher_is_better for name in names
    }


def _place(value: float | None, higher_is_better: bool) -> tuple[bool, float]:
    """What orders scores, the best first, those that are undefined last."""
    return value is None, (-1 if higher_is_better else 1) * (value or 0.0)


def _with(schema: pa.Schema, names: Sequence[str], after: str) -> pa.Schema:
    """A schema with columns of numbers after one of its own."""
    at = schema.get_field_index(after) + 1
    fields = list(schema)
    return pa.schema([*fields[:at], *(pa.field(n, pa.float64()) for n in names), *fields[at:]])


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
    truth: Truth | None,
    known: Known | None,
) -> dict[str, Any] | None:
    """The first in rank on the first board that is honest on this board's rows, and its score there."""
    for row in rows:
        one = scored[row["name"]]
        if row["board"] != 1 or not one.covers(board):
            continue
        if known is None and one.folds != board.folds:
            raise ValueError("entries are honest on different folds: give the truth to score them")
        values = [
            found["value"]
            for found in one.on(board, truth, known)
            if found["metric"] == board.metric
            and found["estimate"] in HONEST
            and found["target"] in board.targets
            and found["value"] is not None
        ]
        mean = math.fsum(values) / len(values) if values else None
        return {"leader": row["name"], "leader_score": mean}
    return None


def _row(
    one: _Scored, scores: Sequence[Mapping[str, Any]], board: Board, first: bool
) -> dict[str, Any]:
    entry, config = one.entry, one.note.get("config", {})
    metric = board.metric
    main, test = _macro(scores, HONEST, metric), _macro(scores, ["test"], metric)
    given = entry.public if entry.private is None else entry.private
    known = given is not None and main.get("value") is not None
    shown = ("score", "ci_low", "ci_high")
    if not first:
        shown = ("part_score", "part_ci_low", "part_ci_high")
    return {
        "name": entry.name,
        "kind": entry.kind,
        "method": config.get("method" if entry.kind == "blend" else "family", "external"),
        "members": list(one.note.get("members") or []) if entry.kind == "blend" else [],
        "targets": len(one.targets(metric)),
        "folds": folds_text(board.folds),
        "metric": metric,
        **dict(zip(shown, map(main.get, ("value", "ci_low", "ci_high")), strict=True)),
        "own_score": _macro(one.rows, HONEST, metric).get("value"),
        "own_folds": folds_text(one.folds),
        "estimate": one.estimate,
        "optimistic": one.optimistic,
        "fell_back": bool(one.note.get(FELL_BACK)),
        "in_sample": _macro(scores, ["in_sample"], metric).get("value"),
        "probabilities": not one.metrics <= ONLY_ORDER,
        "test_score": test.get("value"),
        "test_ci_low": test.get("ci_low"),
        "test_ci_high": test.get("ci_high"),
        "public_score": entry.public,
        "private_score": entry.private,
        "score_difference": given - main["value"] if known else None,
    }


def _target_rows(
    name: str,
    number: int,
    board: Board,
    scores: Sequence[Mapping[str, Any]],
    also: Sequence[str],
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
        if row["metric"] == board.metric:
            line |= {"metric": row["metric"], "score": row["value"]}
            line |= {key: row[key] for key in ("ci_low", "ci_high", "n", "positives")}
        if row["metric"] in also:
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
