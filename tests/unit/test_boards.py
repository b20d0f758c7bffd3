"""Entries are ranked against entries scored on the same rows and targets only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, roc_auc_score

from artifacts import FOLD, LABELS, NOISE, SIGNAL, Artifacts
from blendmake.files import read_parquet
from blendmake.predictions import read_predictions
from blendmake.reports.board_text import leaderboard_text
from blendmake.reports.boards import Standing, make_boards
from blendmake.reports.figures import draw_heatmap, draw_leaderboard
from blendmake.reports.leaderboard import Entry, Truth, build_leaderboard, write_leaderboard
from blendmake.reports.leaderboard_page import leaderboard_html
from blendmake.reports.status import read_status, status_text

LATER = np.isin(FOLD, [3, 4])
# Good on the search folds, whose labels its params have seen, and nowhere else.
TUNED = np.where(LATER[:, None], SIGNAL + NOISE, LABELS * 4.0 + SIGNAL)
EASY = np.where(LATER[:, None], SIGNAL - 2 * NOISE, SIGNAL + LABELS)


def chance(values: Any) -> Any:
    return 1 / (1 + np.exp(-values))


class Campaign(Artifacts):
    """Artifacts, each scored, as the leaderboard takes them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.entries: list[Entry] = []

    @property
    def truth(self) -> Truth:
        return Truth(self.targets, self.folds, None)

    def source(self, name: str, values: Any, **more: Any) -> Path:
        oof = self.predictions(name, chance(values), **more)
        self._score(Entry(name, "source", oof, self.folder / f"{name}_scores.parquet"))
        return oof

    def blended(self, name: str, members: dict[str, Path], **settings: Any) -> dict[str, Path]:
        files = self.blend(members, **settings)
        for part, path in files.items():
            files[part] = path.rename(self.folder / f"{name}_{part}.parquet")
        scores = self.folder / f"{name}_scores.parquet"
        parts = {part: files[part] for part in ("in_sample", "uncalibrated")}
        self._score(Entry(name, "blend", files["oof"], scores, **parts))
        return files

    def _score(self, entry: Entry) -> None:
        estimate = "oof" if entry.kind == "source" else "cross_fitted"
        self.score(entry.oof, estimate, entry.in_sample, entry.uncalibrated).rename(entry.scores)
        self.entries.append(entry)

    def board(self) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in build_leaderboard(self.entries, self.truth).to_pylist()}

    def text(self) -> list[str]:
        return leaderboard_text(build_leaderboard(self.entries, self.truth)).splitlines()


@pytest.fixture
def campaign(tmp_path: Path) -> Campaign:
    """A tuned source, honest on folds 3 and 4, among two that nobody tuned, and a blend of all."""
    made = Campaign(tmp_path / "made")
    oof = {
        "tuned": made.source("tuned", TUNED, honest=[3, 4]),
        "plain": made.source("plain", SIGNAL),
        "easy": made.source("easy", EASY),
    }
    made.blended("champion", oof)
    return made


def macro(values: Any, rows: Any) -> float:
    return float(np.mean([roc_auc_score(LABELS[rows, j], values[rows, j]) for j in range(2)]))


def test_tuned_and_untuned_are_ranked_on_the_folds_honest_for_all(campaign: Campaign) -> None:
    rows = campaign.board()
    for name, values in (("tuned", TUNED), ("plain", SIGNAL), ("easy", EASY)):
        held = chance(values).astype(np.float32)
        assert rows[name]["score"] == pytest.approx(macro(held, LATER), abs=1e-12)
        assert (rows[name]["board"], rows[name]["folds"]) == (1, "3 4")
    assert rows["plain"]["own_score"] == pytest.approx(
        macro(chance(SIGNAL).astype(np.float32), np.ones(len(FOLD), bool)), abs=1e-12
    )
    assert [rows[name]["own_folds"] for name in ("tuned", "plain", "champion")] == [
        "3 4",
        "all",
        "3 4",
    ]
    # By each one's own rows easy would stand above plain: there it knew the labels.
    assert rows["easy"]["own_score"] > rows["plain"]["own_score"]
    assert rows["easy"]["rank"] > rows["plain"]["rank"]
    ranks = {row["rank"]: row["score"] for row in rows.values()}
    assert sorted(ranks) == [1, 2, 3, 4]
    assert list(dict(sorted(ranks.items())).values()) == sorted(ranks.values(), reverse=True)


def test_all_numbers_of_a_line_are_of_the_rows_it_is_ranked_on(campaign: Campaign) -> None:
    row = campaign.board()["champion"]
    parts = {entry.name: entry for entry in campaign.entries}["champion"]
    assert parts.in_sample is not None and parts.uncalibrated is not None
    for key, path in (("score", parts.uncalibrated), ("in_sample", parts.in_sample)):
        assert row[key] == pytest.approx(macro(read_predictions(path).values, LATER), abs=1e-12)
    values = read_predictions(parts.oof).values.astype(float)
    briers = [brier_score_loss(LABELS[LATER, j], values[LATER, j]) for j in range(2)]
    assert row["brier"] == pytest.approx(np.mean(briers), abs=1e-12)
    plain = campaign.board()["plain"]
    held = chance(SIGNAL).astype(np.float32).astype(float)
    briers = [brier_score_loss(LABELS[LATER, j], held[LATER, j]) for j in range(2)]
    assert plain["brier"] == pytest.approx(np.mean(briers), abs=1e-12)


def test_the_table_says_which_rows_it_is_ranked_on(campaign: Campaign) -> None:
    lines = campaign.text()
    assert lines[0] == "ranked on folds 3 4, which are honest for all of these"
    head = lines[1].split("  ")
    assert [title for title in map(str.strip, head) if title.startswith("own")] == [
        "own AUC",
        "own folds",
    ]
    plain = next(line for line in lines if " plain " in line)
    rows = campaign.board()
    assert f"{rows['plain']['score']:.4f}" in plain and f"{rows['plain']['own_score']:.4f}" in plain


def test_the_usual_board_has_no_word_more(tmp_path: Path) -> None:
    made = Campaign(tmp_path / "usual")
    made.blended("both", {"a": made.source("a", SIGNAL), "b": made.source("b", NOISE)})
    assert made.text()[0].split()[:4] == ["#", "name", "made", "by"]
    assert not any("own" in line or "ranked" in line for line in made.text())
    assert {row["board"] for row in made.board().values()} == {1}


def test_a_partial_source_is_on_a_board_of_its_own(campaign: Campaign) -> None:
    campaign.source("part", SIGNAL[:, :1] + LABELS[:, :1], targets=["a"], honest=[2, 3, 4])
    rows = campaign.board()
    part = rows["part"]
    assert (part["board"], part["rank"], part["targets"], part["folds"]) == (2, 1, 1, "2 3 4")
    # Sorted by score it can never come out above those it cannot be compared with.
    assert part["score"] is None
    here = np.isin(FOLD, [2, 3, 4])
    held = chance(SIGNAL[:, 0] + LABELS[:, 0]).astype(np.float32)
    assert part["part_score"] == pytest.approx(
        roc_auc_score(LABELS[here, 0], held[here]), abs=1e-12
    )
    # Beside it the best of the others that is honest on these rows too: not tuned, not champion.
    assert part["leader"] == "plain"
    beside = chance(SIGNAL[here, 0]).astype(np.float32)
    assert part["leader_score"] == pytest.approx(roc_auc_score(LABELS[here, 0], beside), abs=1e-12)
    lines = campaign.text()
    at = next(i for i, line in enumerate(lines) if line.startswith("apart"))
    assert lines[at] == (
        "apart: ranked on 1 of 2 targets, folds 2 3 4; = is the best of the first board on these rows"
    )
    assert lines[at + 1].split()[:2] == ["=", "plain"]
    assert f"{part['leader_score']:.4f}" in lines[at + 1]
    assert lines[at + 2].split()[:2] == ["1", "part"]
    # A tuned specialist takes no rows from the others' board.
    assert len({row["folds"] for row in rows.values()}) == 2 and rows["plain"]["folds"] == "3 4"


def test_without_common_honest_folds_there_are_two_boards(tmp_path: Path) -> None:
    made = Campaign(tmp_path / "made")
    made.source("early", SIGNAL, honest=[0, 1])
    made.source("late", SIGNAL + NOISE, honest=[3, 4])
    made.source("always", NOISE)
    rows = made.board()
    # As many as can be are ranked together; the one left over stands apart.
    assert {name: row["board"] for name, row in rows.items()} == {
        "early": 1,
        "always": 1,
        "late": 2,
    }
    assert (rows["always"]["folds"], rows["late"]["folds"]) == ("0 1", "3 4")
    # What was searched with these rows' labels is not held against it.
    assert rows["late"]["leader"] == "always"


def test_every_format_names_the_board(campaign: Campaign, tmp_path: Path) -> None:
    campaign.source("part", SIGNAL[:, :1], targets=["a"], honest=[3, 4])
    out = [tmp_path / name for name in ("l.parquet", "l.csv", "x.jsonl", "t.parquet")]
    write_leaderboard(campaign.entries, campaign.truth, *out, {})
    lines = {line["name"]: line for line in map(json.loads, out[2].read_text().splitlines())}
    assert (lines["plain"]["folds"], lines["plain"]["own_folds"]) == ("3 4", "all")
    assert lines["part"]["score"] is None and lines["part"]["board"] == 2
    by_target = read_parquet(out[3]).to_pylist()
    found = {(row["name"], row["target"]): row for row in by_target}
    assert {row["folds"] for row in by_target} == {"3 4"}
    expected = roc_auc_score(LABELS[LATER, 1], chance(SIGNAL[LATER, 1]).astype(np.float32))
    assert found["plain", "b"]["score"] == pytest.approx(expected, abs=1e-12)
    table = read_parquet(out[0])
    leaderboard_html(table, tmp_path / "board.html")
    page = (tmp_path / "board.html").read_text()
    assert "ranked on folds 3 4" in page and "apart: ranked on 1 of 2 targets" in page
    draw_leaderboard(table, tmp_path / "board.svg")
    assert "apart" in (tmp_path / "board.svg").read_text()
    draw_heatmap(read_parquet(out[3]), tmp_path / "map.svg")


def test_ranks_are_said_where_there_are_no_probabilities(tmp_path: Path) -> None:
    made = Campaign(tmp_path / "made")
    members = {"a": made.source("a", SIGNAL), "b": made.source("b", NOISE)}
    made.blended("ranks", members, calibrate="none")
    lines = made.text()
    head = [title.strip() for title in lines[0].split("  ") if title.strip()]
    assert head[-3:] == ["Brier", "log loss", "fit s"] or head[-2:] == ["Brier", "log loss"]
    assert next(line for line in lines if " ranks " in line).count("ranks") >= 2
    assert made.board()["ranks"]["brier"] is None
    assert made.board()["a"]["brier"] is not None


FOLD_SETS = st.one_of(st.none(), st.lists(st.integers(0, 4), min_size=1, unique=True))
TARGET_SETS = st.sampled_from([("a",), ("b",), ("a", "b"), ("a", "b", "c")])


@given(st.lists(st.tuples(FOLD_SETS, TARGET_SETS), min_size=1, max_size=8))
@settings(max_examples=200, deadline=None)
def test_every_entry_is_on_one_board_of_rows_honest_for_it(
    drawn: list[tuple[Sequence[int] | None, tuple[str, ...]]],
) -> None:
    standings = [Standing(f"s{i}", targets, folds) for i, (folds, targets) in enumerate(drawn)]
    boards = make_boards(standings)
    assert sorted(name for board in boards for name in board.names) == sorted(
        s.name for s in standings
    )
    for board in boards:
        for one in (s for s in standings if s.name in board.names):
            assert set(one.targets) == set(board.targets)
            if board.folds is None:
                assert one.folds is None
            else:
                assert board.folds and (one.folds is None or set(board.folds) <= set(one.folds))
    assert len(boards[0].targets) == max(len(s.targets) for s in standings)
    assert make_boards(standings[::-1]) == boards


def test_a_tuned_specialist_alone_is_compared_on_its_own_folds(tmp_path: Path) -> None:
    made = Campaign(tmp_path / "made")
    made.source("plain", SIGNAL)
    made.source("part", NOISE[:, :1], targets=["a"], honest=[3, 4])
    row = made.board()["part"]
    beside = chance(SIGNAL[LATER, 0]).astype(np.float32)
    assert row["leader_score"] == pytest.approx(roc_auc_score(LABELS[LATER, 0], beside), abs=1e-12)
    assert made.text()[0].startswith("#")
    with pytest.raises(ValueError, match="give the truth"):
        build_leaderboard(made.entries)


def test_status_says_what_a_number_was_measured_on(campaign: Campaign) -> None:
    campaign.source("part", NOISE[:, :1], targets=["a"])
    entries = []
    for entry in campaign.entries:
        folder = campaign.folder / "each" / entry.name
        folder.mkdir(parents=True)
        (folder / "scores.parquet").write_bytes(entry.scores.read_bytes())
        entries.append({"name": entry.name, "kind": entry.kind, "folder": str(folder)})
    lines = status_text(read_status(entries, campaign.targets, 5)).splitlines()
    assert lines[0].endswith("measured on")
    told = {line.split()[0]: line for line in lines if line}
    assert told["tuned"].endswith("folds 3 4") and told["part"].endswith("1 of 2 targets")
    assert "folds" not in told["plain"] and "targets" not in told["plain"]
    usual = status_text(read_status(entries[1:3], campaign.targets, 5))
    assert "measured on" not in usual
