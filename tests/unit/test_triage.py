"""What fits into a window: the choice itself, what it is told by, and what a plan makes of it."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from snakemake.exceptions import WorkflowError

from blendmake.adapters.yeast import TARGETS
from blendmake.families import FAMILIES, JOINT
from blendmake.files import write_parquet
from blendmake.fits.store import StoredFit
from blendmake.fits.table import FITS
from blendmake.tables.facts import Facts
from blendmake.triage import JOB, RATES, Choice, Work, choose, parallelism, predicted_seconds
from blendmake.window import DEADLINE, RESERVE
from helpers import enter_folder, flip_byte, write_user_file
from plan import Plan

REPO = Path(__file__).resolve().parents[2]


# The choice


MEMBERS = {"ab": ["a", "b"], "bc": ["b", "c"], "abc": ["a", "b", "c"]}
COSTS = {"a": 10.0, "b": 20.0, "c": 40.0}


def chosen(
    wanted: Sequence[str],
    seconds: float,
    costs: Mapping[str, float] = COSTS,
    side_by_side: float = 1,
    known: bool = True,
) -> Choice:
    work = {name: Work(cost, known) for name, cost in costs.items()}
    return choose(wanted, lambda name: MEMBERS.get(name, [name]), work, seconds, side_by_side)


CHOICES: list[tuple[str, float, str]] = [
    ("a b c", 70, "a b c"),
    ("a b c", 69, "a b"),
    ("c b a", 69, "c b"),  # what is wanted first has the time first
    ("c b a", 39, "b a"),  # what is too dear is passed over
    ("c b a", 50, "c a"),
    ("a b ab bc", 30, "a b ab"),  # sources are paid once
    ("ab a b", 30, "ab a b"),  # … whoever pays them
    ("abc a", 60, "a"),
    ("a b ab", 5, ""),
    ("a", 10, "a"),
    ("d bc", 0, "d"),  # nothing is left to do of it
    ("", 100, ""),
]


@pytest.mark.parametrize(("wanted", "seconds", "expected"), CHOICES)
def test_choices(wanted: str, seconds: float, expected: str) -> None:
    found = chosen(wanted.split(), seconds)
    assert found.chosen == expected.split()
    assert list(found.left) == [name for name in wanted.split() if name not in found.chosen]


def test_what_is_chosen_never_takes_longer_than_there_is() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        costs = {name: float(rng.exponential(20)) for name in "abc"}
        wanted = rng.permutation([*costs, *MEMBERS]).tolist()
        seconds, cores = float(rng.exponential(50)), int(rng.integers(1, 4))
        found = chosen(wanted, seconds, costs, cores)
        needed = {source for name in found.chosen for source in MEMBERS.get(name, [name])}
        spent = sum(costs[name] for name in needed) / cores
        assert spent <= seconds + 1e-9
        assert sorted([*found.chosen, *found.left]) == sorted(wanted)
        for name in found.left:
            more = set(MEMBERS.get(name, [name])) - needed
            assert spent + sum(costs[source] for source in more) / cores > seconds - 1e-9


def test_fits_side_by_side_share_the_time() -> None:
    assert chosen(["a", "b", "c"], 35).chosen == ["a", "b"]
    assert chosen(["a", "b", "c"], 35, side_by_side=2).chosen == ["a", "b", "c"]


def test_the_reason_says_what_is_needed_and_what_there_was() -> None:
    found = chosen(["a", "abc"], 15 * 60, {"a": 60, "b": 120, "c": 3600})
    assert found.left == {"abc": "needs 1:02:00 more; 14:00 were left"}
    guessed = chosen(["c"], 1, known=False)
    assert guessed.left == {"c": "needs 0:40 more, by a rule of thumb; 0:01 were left"}
    none_left = choose(["a"], lambda name: [name], {"a": Work(1, True)}, -5, 1)
    assert none_left.left == {"a": "needs 0:01 more; 0:00 were left"}


@pytest.mark.parametrize(
    ("cores", "threads", "expected"),
    [(None, 1, 1), (0, 1, 1), (8, 1, 8), (8, 3, 2), (2, 4, 1), (math.inf, 2, 1)],
)
def test_fits_that_run_side_by_side(cores: Any, threads: int, expected: float) -> None:
    assert parallelism(cores, threads) == expected


# The rule of thumb


def seconds_for(
    family: str,
    *,
    rows: int = 100_000,
    columns: int = 200,
    targets: float = 10,
    folds: int = 5,
    **source: Any,
) -> float:
    facts = Facts(rows, columns, 0, ())
    return predicted_seconds({"family": family, **source}, facts, targets, folds)


def test_categories_count_as_what_becomes_of_them_and_missing_labels_do_not() -> None:
    plain = Facts(20_000, 1000, 300, (500,) * 40)
    levels = replace(plain, levels=3000)
    for family in ("linear", "mlp"):
        source = {"family": family, "rounds": 60}
        assert predicted_seconds(source, levels, 40, 5) > 2 * predicted_seconds(
            source, plain, 40, 5
        )
    trees = {"family": "lightgbm", "rounds": 100}
    assert predicted_seconds(trees, levels, 40, 5) == predicted_seconds(trees, plain, 40, 5)
    sparse = replace(plain, labelled=0.06)
    assert predicted_seconds(trees, sparse, 40, 5) < 0.3 * predicted_seconds(trees, plain, 40, 5)
    joint = {"family": "xgboost_vector", "rounds": 150}
    assert predicted_seconds(joint, sparse, 40, 5) == predicted_seconds(joint, plain, 40, 5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_more_to_do_takes_longer(family: str) -> None:
    base = seconds_for(family, rounds=100)
    assert 0 < base < math.inf
    assert seconds_for(family, rounds=100, rows=200_000) > base
    assert seconds_for(family, rounds=100, columns=400) > base
    assert seconds_for(family, rounds=100, folds=10) > base
    assert seconds_for(family, rounds=200) > base
    assert seconds_for(family, rounds=100, bagging={"bags": 3}) > 2 * base
    assert seconds_for(family, rounds=100, early_stopping={"rounds": 5}) < base
    # Nothing is so small that a job of it takes no time.
    assert seconds_for(family, rows=10, columns=1, targets=1, folds=2, rounds=1) > 2


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_targets_cost_less_where_one_model_fits_them_all(family: str) -> None:
    one, ten = (seconds_for(family, rounds=100, targets=n) - 5 * JOB for n in (1, 10))
    if family not in JOINT:
        assert ten == pytest.approx(10 * one)
    elif family in ("mlp", "tabm"):
        assert ten == one
    else:
        assert one < ten < 10 * one


def test_every_family_but_those_of_other_people_has_a_rate() -> None:
    assert set(RATES) == set(FAMILIES) - {"custom", "lightautoml"}


def test_a_split_search_in_more_dimensions_takes_longer() -> None:
    one, four = (
        seconds_for("xgboost_vector", params={"split_dimensions": n}, rounds=50) for n in (1, 4)
    )
    assert one < four < 4 * one


def test_a_timeout_is_taken_at_its_word() -> None:
    """It is the time of one target's fit."""
    found = seconds_for("lightautoml", params={"timeout": 60}, targets=3, folds=5)
    assert found == 3 * 5 * 60
    bags = {"bags": 2}
    assert seconds_for("lightautoml", params={"timeout": 60}, targets=3, bagging=bags) == 2 * found


# A plan with a window


SOURCES: dict[str, Any] = {
    "dear": {"family": "catboost", "rounds": 1_000_000},
    "cheap": {"family": "linear"},
    "light": {"family": "lightgbm", "rounds": 20},
}
CONFIG: dict[str, Any] = {
    "problem": "genes",
    "data": {"adapter": "yeast"},
    "folds": {"n": 3},
    "sources": SOURCES,
    "blends": {
        "every": {"method": "mean", "sources": "all"},
        "small": {"method": "mean", "sources": ["cheap", "light"]},
        "above": {"method": "mean", "sources": ["every", "small"]},
    },
    "comparisons": [["every", "small"], ["small", "cheap"]],
    "submissions": {"blends": ["above", "small"]},
}
RESULTS = Path("results/genes")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_folder(tmp_path, monkeypatch)


def planned(*asked: str, cores: int | None = 1, **changes: Any) -> Plan:
    return Plan({**CONFIG, **changes}, str(REPO), cores, ["snakemake", *asked])


def test_without_a_window_everything_is_wanted() -> None:
    plan = planned()
    assert plan.left == {} and plan.shown == plan.artifacts
    assert DEADLINE not in os.environ


def test_what_does_not_fit_is_left_with_all_that_stands_on_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    plan = planned(window="2m")
    assert list(plan.left) == ["dear", "every", "above"]
    assert plan.shown == ["cheap", "light", "small"]
    told = capsys.readouterr().err.splitlines()
    assert [line.split(" (")[0] for line in told] == [
        f"left for another window: {name}" for name in plan.left
    ]
    assert all("by a rule of thumb" in line for line in told)


def test_what_is_left_is_in_nothing_that_a_run_asks_for() -> None:
    plan = planned(window="2m")
    left, whole = plan.everything, planned_without_window().everything
    assert set(left) < set(whole)
    for name in plan.left:
        assert [path for path in whole if f"/{name}" in path or f"_{name}." in path]
        assert not [path for path in left if f"/{name}" in path or f"_{name}." in path]
    assert f"{RESULTS}/comparisons/small__vs__cheap.parquet" in left
    assert f"{RESULTS}/submissions/small.parquet" in left
    listed = [entry["name"] for entry in plan.leaderboard_entries]
    assert listed == plan.shown and plan.shown_sources == ["cheap", "light"]
    assert all(len(files) in (2, 3) for files in plan.scored_files.values())
    # What a job depends on does not change, nor what `status` tells.
    assert plan.slices == planned_without_window().slices
    assert [entry["name"] for entry in plan.status_entries] == plan.artifacts


def planned_without_window() -> Plan:
    deadline = os.environ.pop(DEADLINE, None)
    plan = planned()
    if deadline is not None:
        os.environ[DEADLINE] = deadline
    return plan


def test_campaigns_come_first_and_in_their_order() -> None:
    campaigns = {"first": ["light"], "second": ["small", "dear"]}
    plan = planned(campaigns=campaigns)
    assert plan.ranking == ["light", "small", "dear", "cheap", "every", "above"]
    assert plan.priorities == {"light": 6, "cheap": 4, "dear": 2}
    assert planned().priorities == {"dear": 6, "cheap": 4, "light": 2}


def test_the_order_decides_who_has_the_time() -> None:
    sources = {name: {"family": "linear", "rounds": 60} for name in ("one", "two")}
    changes = {"sources": sources, "blends": {}, "comparisons": [], "submissions": {}}
    work = planned(**changes)._work()
    assert not work["one"].known and work["one"].seconds == work["two"].seconds
    window = work["one"].seconds * 1.5 / (1 - RESERVE)
    assert list(planned(**changes, window=window).left) == ["two"]
    del os.environ[DEADLINE]
    campaigns = {"best": ["two"]}
    assert list(planned(**changes, window=window, campaigns=campaigns).left) == ["one"]
    del os.environ[DEADLINE]
    assert planned(**changes, window=window, cores=2).left == {}


def test_a_campaign_that_is_asked_for_has_the_window_to_itself() -> None:
    paths = [
        "sources/dear/oof.parquet",
        "comparisons/every__vs__small.parquet",
        "report/weights/every.svg",
        "features/dear/columns.parquet",
    ]
    campaigns = {
        "night": ["dear", "every", "small", *paths],
        "other": ["light", "above"],
        "files": ["sources/dear/oof.parquet"],
    }
    plan = planned("campaign_night", "--config", campaigns=campaigns, window="2m")
    assert plan.asked == ["night"] and list(plan.left) == ["dear", "every"]
    files = plan.campaign_files("night")
    # Of the paths only that of a feature set is none of what is left, though it has a name in common.
    assert files == [
        *plan.artifact_files("small"),
        f"{RESULTS}/submissions/small.parquet",
        f"{RESULTS}/features/dear/columns.parquet",
    ]
    assert [item["label"] for item in plan.campaign_items("night")] == campaigns["night"]
    assert f"{RESULTS}/blends/above/oof.parquet" in plan.campaign_files("other")
    # Paths alone are asked for whatever time they need.
    paths_alone = planned("campaign_files", campaigns=campaigns, window="2m")
    assert paths_alone.left == {}
    assert paths_alone.campaign_files("files") == [f"{RESULTS}/sources/dear/oof.parquet"]


def test_a_campaign_builds_every_form_of_a_submission() -> None:
    submissions = {"blends": ["small"], "csv": True}
    plan = planned(campaigns={"all_of_it": ["small", "cheap"]}, submissions=submissions)
    files = plan.campaign_files("all_of_it")
    stems = [f"{RESULTS}/submissions/small.{suffix}" for suffix in ("parquet", "csv")]
    assert files == [*plan.artifact_files("small"), *stems, *plan.artifact_files("cheap")]


def test_a_window_that_is_over_leaves_all_but_what_stands(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a process that a run starts when its time is up."""
    monkeypatch.setenv(DEADLINE, str(time.time() - 5))
    plan = planned(window="10h")
    assert plan.shown == []
    assert not [path for path in plan.everything if "/sources/" in path or "leaderboard" in path]


def test_the_window_of_the_environment_and_of_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BLENDMAKE_WINDOW", "90m")
    assert planned().window == 5400
    assert float(os.environ[DEADLINE]) - time.time() == pytest.approx(5400 * (1 - RESERVE), abs=5)
    assert planned(window="2m").window == 120
    monkeypatch.setenv("BLENDMAKE_WINDOW", "soon")
    with pytest.raises(WorkflowError, match="window: must be a duration"):
        planned()


def test_a_budget_is_a_window() -> None:
    assert planned(preset="quick", budget="30m").window == 1800
    assert planned(preset="quick", budget="30m", window="1m").window == 60


# What is left to do


def write_targets() -> None:
    columns = {name: pa.array([0, 1], pa.int8()) for name in TARGETS}
    table = pa.table({"gene": ["a", "b"], **columns})
    write_parquet(table, RESULTS / "tables" / "targets.parquet", {"id_columns": ["gene"]})


def fit_row(source: str, target: str, fold: int, seconds: float) -> dict[str, Any]:
    values: dict[str, Any] = dict.fromkeys(FITS.names)
    return {**values, "source": source, "target": target, "fold": fold, "seconds": seconds}


def write_fits(source: str, fold: int, seconds: float, targets: Sequence[str] = TARGETS) -> None:
    rows = [fit_row(source, target, fold, seconds) for target in targets]
    path = RESULTS / "sources" / source / f"fold{fold}" / "fits.parquet"
    write_parquet(pa.Table.from_pylist(rows, schema=FITS), path)


def test_seconds_come_from_finished_fits() -> None:
    write_targets()
    write_fits("light", 0, 2.0)
    write_fits("light", 1, 4.0)
    found = planned(sources={**SOURCES, "lighter": {"family": "lightgbm", "targets": "Class3"}})
    work = found._work()
    # One fold of `light` is missing; `lighter` is of its family, with one target in three folds.
    assert work["light"] == Work(14 * 3.0, True)
    assert work["lighter"] == Work(3 * 3.0, True)
    assert not work["cheap"].known


def test_fits_in_scratch_are_not_done_again() -> None:
    write_targets()
    ones = np.ones(1, np.float32)
    for target in TARGETS[:4]:
        stored = StoredFit(ones, ones, fit_row("cheap", target, 0, 5.0), None)
        stored.write(Path(f"scratch/genes/sources/cheap/fold0/digest/{target}.parquet"))
    assert planned()._work()["cheap"] == Work(5.0 * (3 * 14 - 4), True)


def test_nothing_is_left_of_what_stands() -> None:
    write_targets()
    for name in ("oof", "test", "fits"):
        rows = [fit_row("dear", TARGETS[0], 0, 1e6)]
        path = RESULTS / "sources" / "dear" / f"{name}.parquet"
        write_parquet(pa.Table.from_pylist(rows, schema=FITS), path)
    plan = planned(window="2m")
    assert set(plan._work()) == {"cheap", "light"}
    assert plan.left == {}


def thumb(**source: Any) -> float:
    """Seconds of a linear source of which nothing is known."""
    groups = {"pair": ["Class1", "Class2"], "few": {"rarest": 3}, "low": {"rate_at_most": 0.1}}
    sources = {"one": {"family": "linear", **source}}
    work = planned(sources=sources, groups=groups, blends={}, comparisons=[], submissions={})
    return float(work._work()["one"].seconds)


@pytest.mark.parametrize("tables", [False, True])
def test_a_source_of_few_targets_is_no_dearer_than_they_are(tables: bool) -> None:
    """Before there are tables too, which is when a first window opens."""
    if tables:
        write_targets()

    def expected(targets: int, bags: int = 1) -> float:
        source = {"family": "linear", "bagging": {"bags": bags}}
        facts = Facts(2, 0, 0, ()) if tables else Facts(1500, 103, 0, ())
        return predicted_seconds(source, facts, targets, 3)

    if tables:
        write_parquet(
            pa.table({"kind": pa.array([], pa.string())}), RESULTS / "tables" / "columns.parquet"
        )
    assert thumb() == expected(14)
    assert thumb(targets=["Class3"]) == expected(1)
    assert thumb(targets=["pair", "Class2", "Class3"]) == expected(3)
    assert thumb(targets="few") == expected(3)
    assert thumb(targets=["few", *TARGETS]) == expected(14)
    assert thumb(targets="low") == expected(14)
    assert thumb(targets=["pair"], bagging={"bags": 5}) == expected(2, 5)


def test_what_a_source_stands_on() -> None:
    """Also the sources that rank the groups above those it names."""
    stops = {"family": "lightgbm", "early_stopping": {"rounds": 5}}
    plan = planned(
        sources={
            "ranker": stops,
            "other": stops,
            "rare_one": {"family": "linear", "targets": "rare"},
            "hard_one": {"family": "linear", "targets": "hard"},
            "given_one": {"family": "linear", "targets": "given"},
        },
        groups={
            "given": ["Class1"],
            "hard": {"lowest_auc": 2, "source": "ranker"},
            "rare": {"rarest": 2},
            "last": {"lowest_auc": 2, "source": "other"},
        },
        blends={
            "b": {"method": "mean", "sources": ["rare_one", "given_one"]},
            "c": {"method": "mean", "sources": ["b", "other"], "fallback": "hard_one"},
        },
        comparisons=[],
        submissions={},
    )
    assert plan.stands_on("ranker") == ["ranker"]
    assert plan.stands_on("given_one") == ["given_one"]
    assert plan.stands_on("hard_one") == ["hard_one", "ranker"]
    assert plan.stands_on("rare_one") == ["rare_one", "ranker"]
    assert set(plan.stands_on("b")) == {"rare_one", "ranker", "given_one"}
    assert set(plan.stands_on("c")) == set(plan.sources)


# Threads of a fit


TWIN = {"adapter": "contest_twin", "rows": 750_000}


@pytest.mark.parametrize(
    ("data", "megabytes", "threads"),
    [
        ({"adapter": "yeast"}, 1500 * 103 * 4 / 2**20, 1),
        ({**TWIN, "extra_columns": 1}, 750_000 * 200 * 4 / 2**20, 4),
        (TWIN, 750_000 * 2440 * 4 / 2**20, 8),
        ({**TWIN, "rows": 30_000}, 30_000 * 2440 * 4 / 2**20, 2),
    ],
)
def test_threads_of_a_built_in_set_follow_its_shape(
    data: dict[str, Any], megabytes: float, threads: int, folder: Path
) -> None:
    plan = planned(data=data)
    assert plan.feature_megabytes == pytest.approx(megabytes)
    assert plan.fit_threads == threads
    # What is written by then does not count, so that a plan is the same before and after.
    for path in plan.table_files:
        write_sparse(folder / path, 3 * 2**30)
    assert planned(data=data).fit_threads == threads


def write_sparse(path: Path, size: int) -> None:
    """A file of so many bytes that takes no room."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, size)


@pytest.mark.parametrize(("size", "threads"), [(100, 1), (200, 3), (10_000, 8)])
def test_threads_follow_the_size_of_the_users_files(size: int, threads: int, folder: Path) -> None:
    """In megabytes of each of two."""
    data = {"train": "train.csv", "test": "test.csv", "id": "id", "targets": "labels.csv"}
    (folder / "labels.csv").touch()
    for name in ("train.csv", "test.csv"):
        write_sparse(folder / name, size * 2**20)
    plan = planned(data=data)
    assert plan.feature_megabytes == 2 * size
    assert plan.fit_threads == threads


# What cannot be read


def test_a_damaged_table_is_an_error_with_a_mend() -> None:
    write_targets()
    flip_byte(RESULTS / "tables" / "targets.parquet", 20)
    with pytest.raises(WorkflowError, match=r"targets\.parquet is damaged.*Delete it"):
        planned(window="2m")
    planned()  # without a window, nobody looks at it here


def test_a_file_that_is_not_there_is_an_error(folder: Path) -> None:
    train = write_user_file(folder / "train.csv", {"id": [1, 2], "x": [0.5, 1.5]})
    given = {
        "problem": "own",
        "data": {"train": train, "id": "id", "targets": "labels.csv"},
        "sources": {"cheap": {"family": "linear"}},
        "window": "5m",
    }
    with pytest.raises(WorkflowError, match=r"do not exist[^#]*data.targets: labels\.csv"):
        Plan(given, str(REPO), 1)
    write_user_file(folder / "labels.csv", {"id": [1, 2], "y": [0, 1]})
    assert Plan(given, str(REPO), 1).facts.positives == (1,)


def test_classes_take_as_many_trees() -> None:
    numbers = Facts(2_000_000, 16, 0, (0,), tasks=("regression",))
    classes = Facts(2_000_000, 16, 0, (0,), tasks=("multiclass",), classes=(26,))
    for family, more in (("lightgbm", True), ("linear", True), ("extra_trees", False)):
        few, many = (
            predicted_seconds({"family": family, "rounds": 100}, facts, 1, 5)
            for facts in (numbers, classes)
        )
        assert (many > 2 * few) == more
