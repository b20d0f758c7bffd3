"""The leaderboard: its numbers, its order and its three formats."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.errors import BlendmakeError
from blendmake.files import read_note, read_parquet, write_parquet
from blendmake.predictions import write_predictions
from blendmake.reports.board_text import leaderboard_text, shortened
from blendmake.reports.leaderboard import (
    LEADERBOARD,
    Entry,
    build_leaderboard,
    write_leaderboard,
)
from blendmake.scores import SCORES

TARGETS = ("t0", "t1", "t2")


def score_rows(
    macro: float | None,
    estimate: str,
    targets: Sequence[str] = TARGETS,
    optimistic: bool = False,
    folds: str = "all",
) -> list[dict[str, Any]]:
    """A scores table's rows: every target has the macro's value; the folds' mean is 0.01 less."""
    rows = []
    for target in (*targets, "macro"):
        for metric, less in (("auc", 0.0), ("auc_fold_mean", 0.01)):
            value = None if macro is None else macro - less
            rows.append(
                {
                    "target": target,
                    "metric": metric,
                    "value": value,
                    "ci_low": None if value is None else value - 0.02,
                    "ci_high": None if value is None else value + 0.03,
                    "n": 4,
                    "positives": 2,
                    "estimate": estimate,
                    "optimistic": optimistic,
                    "folds": folds,
                }
            )
    return rows


def make(
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    *,
    config: Mapping[str, Any],
    members: Sequence[str] | None = None,
    seconds: Sequence[float] | None = None,
) -> Entry:
    """An entry's files, with the notes that the real ones have."""
    kind = "source" if members is None else "blend"
    here = folder / name
    note: dict[str, Any] = {"name": name, "kind": kind, "config": config, "code": f"code of {name}"}
    if members is not None:
        note["members"] = list(members)
    targets = sorted({row["target"] for row in rows} - {"macro"})
    ids = pa.table({"id": pa.array(range(4))})
    values = np.full((4, len(targets)), 0.5, np.float32)
    write_predictions(here / "oof.parquet", ids, targets, values, note)
    write_parquet(pa.Table.from_pylist(list(rows), schema=SCORES), here / "scores.parquet")
    fits = None
    if seconds is not None:
        fits = here / "fits.parquet"
        write_parquet(pa.table({"seconds": pa.array(seconds, pa.float64())}), fits)
    return Entry(name, kind, here / "oof.parquet", here / "scores.parquet", fits)


@pytest.fixture
def entries(tmp_path: Path) -> list[Entry]:
    """Three sources (one partial, one external), a blend, and a blend of that blend."""
    return [
        make(
            tmp_path,
            "lgb",
            score_rows(0.70, "oof", optimistic=True) + score_rows(0.69, "test"),
            config={"family": "lightgbm", "params": {"eta": 0.1}},
            seconds=[1.0, 2.0],
        ),
        make(
            tmp_path,
            "part",
            score_rows(0.99, "oof", ["t1"]),
            config={"family": "linear"},
            seconds=[10.0],
        ),
        make(tmp_path, "given", score_rows(0.60, "oof"), config={}),
        make(
            tmp_path,
            "base",
            score_rows(0.74, "in_sample") + score_rows(0.72, "cross_fitted"),
            config={"method": "greedy"},
            members=["lgb", "given"],
        ),
        make(
            tmp_path,
            "top",
            score_rows(0.72, "cross_fitted"),
            config={"method": "mean", "fallback": "part"},
            members=["base", "lgb"],
        ),
    ]


def by_name(table: pa.Table) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in table.to_pylist()}


def with_further(names: list[str]) -> list[str]:
    """The columns of a leaderboard, and of the further metric of what has no probabilities."""
    at = names.index("probabilities") + 1
    return [*names[:at], "auc_fold_mean", *names[at:]]


def test_order_is_coverage_then_auc_then_name(entries: list[Entry]) -> None:
    table = build_leaderboard(entries)
    assert table.column_names == with_further(LEADERBOARD.names)
    assert table["name"].to_pylist() == ["base", "top", "lgb", "given", "part"]
    assert build_leaderboard(entries[::-1]).equals(table)


def test_numbers_come_from_the_scores(entries: list[Entry]) -> None:
    rows = by_name(build_leaderboard(entries))
    lgb, base = rows["lgb"], rows["base"]
    assert (lgb["score"], lgb["ci_low"], lgb["ci_high"]) == (0.70, 0.70 - 0.02, 0.70 + 0.03)
    assert (lgb["test_score"], lgb["test_ci_low"]) == (0.69, 0.69 - 0.02)
    assert lgb["auc_fold_mean"] == 0.70 - 0.01
    assert (lgb["estimate"], lgb["optimistic"], lgb["method"]) == ("oof", True, "lightgbm")
    assert lgb["members"] == []
    assert lgb["in_sample"] is None
    # The in-sample rows stand first in its file and must not be taken for the score.
    assert (base["score"], base["in_sample"]) == (0.72, 0.74)
    assert (base["estimate"], base["optimistic"]) == ("cross_fitted", False)
    assert (base["method"], base["members"]) == ("greedy", ["lgb", "given"])
    assert base["test_score"] is None
    assert [rows[name]["targets"] for name in ("lgb", "part")] == [3, 1]
    assert rows["given"]["method"] == "external"


def test_fit_seconds_count_each_source_once(entries: list[Entry]) -> None:
    rows = by_name(build_leaderboard(entries))
    assert rows["lgb"]["fit_seconds"] == 3.0
    assert rows["given"]["fit_seconds"] is None
    assert rows["base"]["fit_seconds"] == 3.0
    # lgb directly and through base, and the fallback.
    assert rows["top"]["fit_seconds"] == 13.0


def test_an_entry_without_auc_stands_last(tmp_path: Path) -> None:
    config = {"family": "linear"}
    made = [
        make(tmp_path, "nothing", score_rows(None, "oof"), config=config),
        make(tmp_path, "poor", score_rows(0.4, "oof"), config=config),
    ]
    table = build_leaderboard(made)
    assert table["name"].to_pylist() == ["poor", "nothing"]
    assert "nothing" in leaderboard_text(table)


def test_a_blend_on_something_unknown_is_named(entries: list[Entry]) -> None:
    with pytest.raises(BlendmakeError, match=r"'base' stands on 'given'"):
        build_leaderboard([entry for entry in entries if entry.name != "given"])


def test_scores_without_an_honest_estimate_are_refused(tmp_path: Path) -> None:
    entry = make(tmp_path, "x", score_rows(0.7, "in_sample"), config={"method": "x"}, members=[])
    with pytest.raises(BlendmakeError, match="no score of kind"):
        build_leaderboard([entry])


def written(entries: list[Entry], folder: Path) -> tuple[Path, Path, Path]:
    paths = (folder / "l.parquet", folder / "l.csv", folder / "experiments.jsonl")
    write_leaderboard(entries, None, *paths, folder / "t.parquet", {"made": "here"})
    return paths


def test_the_written_formats_agree(entries: list[Entry], tmp_path: Path) -> None:
    parquet, text, experiments = written(entries, tmp_path / "out")
    table = read_parquet(parquet)
    assert table.to_pylist() == build_leaderboard(entries).to_pylist()
    assert read_note(parquet)["made"] == "here"
    with open(text, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == table["name"].to_pylist()
    shown = [float(row["score"]) if row["score"] else None for row in rows]
    assert shown == table["score"].to_pylist()
    assert [row["board"] for row in rows] == ["1", "1", "1", "1", "2"]
    assert rows[0]["members"] == "lgb+given"
    assert rows[2]["members"] == ""
    assert rows[0]["test_score"] == ""
    lines = [json.loads(line) for line in experiments.read_text().splitlines()]
    assert [line["name"] for line in lines] == ["base", "given", "lgb", "part", "top"]
    lgb = lines[2]
    assert lgb["settings"] == {"family": "lightgbm", "params": {"eta": 0.1}}
    assert lgb["code"] == "code of lgb"
    assert lgb["digest"] == read_note(entries[0].oof)["content"]
    assert (lines[0]["score"], lines[0]["in_sample"]) == (0.72, 0.74)
    assert lines[0]["members"] == ["lgb", "given"]


def test_experiments_are_the_same_bytes_whatever_the_seconds(
    entries: list[Entry], tmp_path: Path
) -> None:
    before = written(entries, tmp_path / "one")[2].read_bytes()
    fits = entries[0].fits
    assert fits is not None
    write_parquet(pa.table({"seconds": pa.array([99.0])}), fits)
    after = written(entries[::-1], tmp_path / "two")[2].read_bytes()
    assert after == before
    # Built anew, never appended to.
    assert written(entries, tmp_path / "one")[2].read_bytes() == before


def test_text_is_aligned_and_explains_itself(entries: list[Entry]) -> None:
    text = leaderboard_text(build_leaderboard(entries))
    lines = text.splitlines()
    header = "#  name  made by      targets  macro AUC  95% interval  in-sample  test AUC  fit s"
    assert re.split(r" {2,}", lines[0]) == re.split(r" {2,}", header)
    assert "greedy of 2" in lines[2]
    assert "0.7200" in lines[2]
    assert "0.7400" in lines[2]
    lgb = next(line for line in lines if " lgb " in line)
    assert "0.7000*" in lgb
    assert "0.680-0.730" in lgb
    assert "1/3" in next(line for line in lines if " part " in line)
    # Points stand under each other, star or not.
    assert {line.index("0.7") for line in (lines[2], lgb)} == {lines[2].index("0.7200")}
    assert "* optimistic" in text
    assert "in-sample: weights" in text
    assert "apart: ranked on 1 of 3 targets; = is the best of the first board" in text


def test_text_leaves_out_what_nobody_has(entries: list[Entry]) -> None:
    text = leaderboard_text(build_leaderboard([entries[2]]))
    for absent in ("in-sample", "test AUC", "optimistic", "n/"):
        assert absent not in text
    assert len(text.splitlines()) == 3


def test_many_folds_take_little_room(tmp_path: Path) -> None:
    folds = " ".join(map(str, range(3, 40)))
    rows = score_rows(0.75, "oof", folds=folds)
    entry = make(tmp_path, "tuned", rows, config={"family": "lightgbm"})
    lines = leaderboard_text(build_leaderboard([entry])).splitlines()
    assert max(map(len, lines)) <= 110
    assert lines[0].startswith("ranked on folds 3 4 5") and "38 39, which" in lines[0]


def test_text_stays_within_the_terminal(tmp_path: Path) -> None:
    names = [f"lightgbm_every_feature_{'x' * 40}_variant_{i}" for i in range(3)]
    made = []
    for i, name in enumerate(names):
        rows = score_rows(0.7, "cross_fitted", optimistic=True) + score_rows(0.71, "in_sample")
        rows += [{**row, "metric": "brier"} for row in rows if row["metric"] == "auc"]
        rows += [{**row, "metric": "log_loss"} for row in rows if row["metric"] == "brier"]
        members = names[:i]
        config = {"method": "optimize_weights"}
        made.append(
            make(tmp_path, name, rows + score_rows(0.6, "test"), config=config, members=members)
        )
    lines = leaderboard_text(build_leaderboard(made)).splitlines()
    assert max(map(len, lines)) <= 110
    # Names that differ only in their ends can still be told apart.
    assert len({line.split()[1] for line in lines[2:5]}) == 3


def test_text_of_nothing_is_a_header() -> None:
    assert leaderboard_text(LEADERBOARD.empty_table()).startswith("#  name")


@pytest.mark.parametrize("width", [5, 6, 9, 10])
def test_shortened_keeps_both_ends(width: int) -> None:
    short = shortened("abcdefghijk", width)
    assert len(short) == width
    assert short[0] == "a"
    assert short[-1] == "k"
    assert shortened("abc", width) == "abc"
