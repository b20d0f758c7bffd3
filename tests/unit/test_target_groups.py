"""Groups of targets by a rule: who is in, what the rule looks at, and at which rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.config.groups import Group
from blendmake.errors import BlendmakeError
from blendmake.files import note_of, read_parquet, write_parquet
from blendmake.fits.group_rules import build_group, inner_scores
from blendmake.fits.table import FITS
from blendmake.fits.target_groups import read_group_files
from blendmake.tables.user_labels import read_targets, write_targets
from helpers import write_user_file
from problems import Problem, run_fold, synthetic, with_labels

NAMES = ("a", "b", "c", "d", "e")
POSITIVES = (30, 5, 10, 5, 60)
ROWS = 100


@pytest.fixture(scope="module")
def targets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 rows; of `c` only half of the labels are known."""
    path = tmp_path_factory.mktemp("tables") / "targets.parquet"
    columns: dict[str, Any] = {"id": pa.array(range(ROWS))}
    for name, count in zip(NAMES, POSITIVES, strict=True):
        values = np.where(np.arange(ROWS) < count, 1, 0).astype(np.int8)
        unknown = (np.arange(ROWS) >= 50) if name == "c" else np.zeros(ROWS, bool)
        columns[name] = pa.array(values, mask=unknown)
    write_parquet(pa.table(columns), path, {"id_columns": ["id"]})
    return path


def built(
    targets: Path,
    out: Path,
    rule: dict[str, Any],
    taken: dict[str, list[str]] | None = None,
    fits: Path | None = None,
) -> dict[str, float]:
    """Members and what the rule saw of each."""
    sliced = Group(**rule).slice()
    build_group("weak", sliced, targets, taken or {}, fits, out, {"config": sliced})
    table = read_parquet(out)
    assert note_of(table)["config"] == sliced
    return dict(zip(table["target"].to_pylist(), table["value"].to_pylist(), strict=True))


def write_fits(
    path: Path, rows: list[tuple[str, float | None, str | None]], metric: str = "auc"
) -> Path:
    """A fits.parquet of (target, stop score, what it stopped on)."""
    made = [
        dict.fromkeys(FITS.names)
        | {"target": t, "metric": metric, "stop_score": s, "stopped_on": on}
        for t, s, on in rows
    ]
    write_parquet(pa.Table.from_pylist(made, schema=FITS), path)
    return path


def test_rules_of_positives_speak_of_binary_targets_alone(tmp_path: Path) -> None:
    columns: dict[str, Any] = {"id": [*range(30)], "price": [0.5, 1.0, 2.5] * 10}
    columns |= {"kind": ["a", "b", "c"] * 10, "won": [0, 0, 1] * 10}
    given = write_user_file(tmp_path / "labels.parquet", columns)
    ids = pa.table({"id": range(30)})
    path = tmp_path / "targets.parquet"
    write_targets(read_targets(given, None, ids, ["id"]), path, {"id_columns": ["id"]})
    for rule in ({"rarest": 3}, {"rate_at_most": 0.9}):
        assert list(built(path, tmp_path / "g.parquet", rule)) == ["won"]
    only = tmp_path / "only.parquet"
    write_targets(read_targets(given, ["price"], ids, ["id"]), only, {"id_columns": ["id"]})
    with pytest.raises(
        BlendmakeError, match=r"groups\.weak: 'rarest' goes by positives, which binary"
    ):
        built(only, tmp_path / "g.parquet", {"rarest": 3})


@pytest.mark.parametrize(
    ("rule", "members"),
    [
        ({"rate_at_most": 0.3}, {"a": 0.3, "b": 0.05, "c": 0.2, "d": 0.05}),
        # Exactly at most: 5 of 100 are 0.05, 10 of the 50 that are known 0.2.
        ({"rate_at_most": 0.05}, {"b": 0.05, "d": 0.05}),
        ({"rate_at_most": 0.2}, {"b": 0.05, "c": 0.2, "d": 0.05}),
        ({"rate_at_most": 0.199}, {"b": 0.05, "d": 0.05}),
        ({"rarest": 3}, {"b": 5, "c": 10, "d": 5}),
        ({"rarest": 1}, {"b": 5}),  # the first in the table of those that are equal
        ({"rarest": 9}, dict(zip(NAMES, POSITIVES, strict=True))),
    ],
)
def test_members(
    rule: dict[str, Any], members: dict[str, float], targets: Path, tmp_path: Path
) -> None:
    found = built(targets, tmp_path / "g.parquet", rule)
    assert found == members
    assert list(found) == [name for name in NAMES if name in members]


def test_members_of_groups_above_are_left_out(targets: Path, tmp_path: Path) -> None:
    taken = {"rare": ["b", "c"], "other": ["c", "d"]}
    assert list(built(targets, tmp_path / "g.parquet", {"rarest": 2}, taken)) == ["a", "e"]
    assert list(built(targets, tmp_path / "g.parquet", {"rate_at_most": 0.3}, taken)) == ["a"]


@pytest.mark.parametrize("rule", [{"rate_at_most": 0.04}, {"rarest": 2}])
def test_an_empty_group_is_told(rule: dict[str, Any], targets: Path, tmp_path: Path) -> None:
    taken = {"rare": ["b", "d"], "most": ["a", "c", "e"]}
    out = tmp_path / "g.parquet"
    with pytest.raises(BlendmakeError) as error:
        built(targets, out, rule, taken)
    assert str(error.value) == (
        "groups.weak: no target is in it (the groups rare, most have taken 5). Widen its rule, or leave "
        "it out."
    )
    assert not out.exists()
    with pytest.raises(BlendmakeError, match=r"groups\.weak: no target is in it\. Widen"):
        built(targets, out, {"rate_at_most": 0.01})


def test_the_lowest_auc(targets: Path, tmp_path: Path) -> None:
    """The mean over folds and bags; what stopped on the fold, or on nothing, does not count."""
    rows = [
        *(("a", value, "inner") for value in (0.9, 0.5, 0.7)),
        *(("b", value, "inner") for value in (0.69, 0.72)),
        ("c", 0.1, "fold"),
        ("c", None, None),
        *(("d", value, "inner") for value in (0.8, None)),
        ("e", 0.71, "inner"),
    ]
    fits = write_fits(tmp_path / "fits.parquet", rows)
    means = {"a": 0.7, "b": 0.705, "d": 0.8, "e": 0.71}
    assert inner_scores(fits) == pytest.approx(means)
    for wanted, members in ((1, "a"), (2, "ab"), (3, "abe"), (5, "abde")):
        rule = {"lowest_auc": wanted, "source": "s"}
        found = built(targets, tmp_path / "g.parquet", rule, fits=fits)
        assert found == pytest.approx({name: means[name] for name in members})
        assert "".join(found) == members
    rule = {"lowest_auc": 2, "source": "s"}
    found = built(targets, tmp_path / "g.parquet", rule, {"rare": ["a", "b"]}, fits)
    assert list(found) == ["d", "e"]


def test_no_auc_to_go_by(targets: Path, tmp_path: Path) -> None:
    fits = write_fits(tmp_path / "fits.parquet", [("a", 0.7, "inner"), ("b", 0.6, "fold")])
    rule = {"lowest_auc": 2, "source": "s"}
    told = rf"groups\.weak: {fits} has no score on inner splits for any target that is left"
    with pytest.raises(BlendmakeError, match=told):
        built(targets, tmp_path / "g.parquet", rule, {"rare": ["a"]}, fits)


def test_hard_targets_by_errors_in_spreads_of_the_target(tmp_path: Path) -> None:
    """The larger error is of the wider target, which is the better one."""
    labels = np.arange(40.0)
    columns = {"id": pa.array(range(40)), "wide": labels * 1000, "narrow": labels}
    note = {"tasks": {name: {"task": "regression"} for name in ("wide", "narrow")}}
    write_parquet(pa.table(columns), tmp_path / "y.parquet", {"id_columns": ["id"], **note})
    rows = [("wide", 50.0, "inner"), ("narrow", 9.0, "inner")]
    fits = write_fits(tmp_path / "fits.parquet", rows, metric="rmse")
    rule = {"lowest_auc": 1, "source": "s"}
    found = built(tmp_path / "y.parquet", tmp_path / "g.parquet", rule, fits=fits)
    assert found == pytest.approx({"narrow": -9.0 / np.std(labels)})
    several = pa.concat_tables(
        [
            read_parquet(write_fits(tmp_path / f"{metric}.parquet", [row], metric=metric))
            for row, metric in zip(rows, ("rmse", "r2"), strict=True)
        ]
    )
    write_parquet(several, fits, {})
    with pytest.raises(BlendmakeError, match=r"groups\.weak: .*several metrics \(r2, rmse\)"):
        built(tmp_path / "y.parquet", tmp_path / "g.parquet", rule, fits=fits)


def test_built_groups_are_read_by_name(targets: Path, tmp_path: Path) -> None:
    built(targets, tmp_path / "rare.parquet", {"rarest": 2})
    built(targets, tmp_path / "common.parquet", {"rate_at_most": 0.9}, {"rare": ["b", "d"]})
    files = [str(tmp_path / f"{name}.parquet") for name in ("common", "rare")]
    assert read_group_files(files) == {"common": ["a", "c", "e"], "rare": ["b", "d"]}


# What it looks at

STOPPING: dict[str, Any] = {
    "rounds": 15,
    "params": {"num_leaves": 4, "min_data_in_leaf": 5},
    "early_stopping": {"rounds": 4},
    "bagging": {"bags": 2, "negatives_per_positive": 3},
}


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=240, test_rows=6)


def aucs(problem: Problem, out: Path) -> dict[str, float]:
    return inner_scores(run_fold(problem, "lightgbm", out, **STOPPING).outputs.fits)


def test_labels_of_the_fold_have_no_say_in_what_is_recorded(
    problem: Problem, tmp_path: Path
) -> None:
    """The AUC that ranks targets comes from rows that the fold trains on, set aside."""
    before = aucs(problem, tmp_path / "before")
    assert set(before) == set(problem.targets)
    rows = problem.rows(0)
    for name, positions, same in (("held_out", rows.valid, True), ("train", rows.train, False)):
        labels = problem.labels.copy()
        labels[positions] = 1 - labels[positions]
        after = aucs(with_labels(problem, labels, name), tmp_path / name)
        assert (after == before) == same


def test_stopping_on_the_fold_ranks_nothing(problem: Problem, tmp_path: Path) -> None:
    settings = {**STOPPING, "early_stopping": {"rounds": 4, "watch": "fold"}}
    done = run_fold(problem, "lightgbm", tmp_path, **settings)
    assert {row["stopped_on"] for row in done.every_fit()} == {"fold"}
    assert inner_scores(done.outputs.fits) == {}
