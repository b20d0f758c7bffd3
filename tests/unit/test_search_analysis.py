"""What the trials of a search say, and the space that follows from them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from pyarrow import csv

from blendmake.errors import BlendmakeError
from blendmake.files import read_note, read_parquet
from blendmake.searches.analysis import (
    directions,
    elite_and_rest,
    importances,
    ranges,
    values_of,
)
from blendmake.searches.lint_entries import entry_findings
from blendmake.searches.outputs import FILES, write_analysis, write_comparison, write_summary
from blendmake.searches.ranking import best_trials, overall, rank_trials
from blendmake.searches.refining import Change, closeness, refined_space, refined_yaml
from blendmake.searches.space import Space, Value
from blendmake.searches.summary import (
    BELOW,
    EXCELLENT,
    ON_TRACK,
    STOP,
    Searched,
    best_yaml,
    comparison_text,
    summary_text,
    top_yaml,
    verdict,
)
from blendmake.searches.table import Trial, read_trials, write_trials

Objective = Callable[[Mapping[str, Value]], float]


def row(number: int, value: float | None, params: Mapping[str, Value], **more: Any) -> Trial:
    """A trial as the table has it: by itself a complete one of study `t`, its folds .01 apart."""
    return {
        "study": "t",
        "number": number,
        "state": "complete",
        "value": value,
        "fold_values": [] if value is None else [value - 0.01, value, value + 0.01],
        "params": dict(params),
        "source": "xgb",
        "baseline": False,
        "in_space": True,
        "retries": 0,
        "retry_of": None,
        "worker": "host-1",
        "started": 100.0 + number,
        "seconds": 2.0,
        "intermediate": [],
        "reason": None,
        "traceback": None,
        **more,
    }


def searched(
    space: Space, objective: Objective, n: int, seed: int = 0, study: str = "t"
) -> list[Trial]:
    """Trials of Optuna's random sampler in a space."""
    made = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    rows = []
    for number in range(n):
        trial = made.ask()
        values = space.suggest(trial)
        value = objective(values)
        made.tell(trial, value)
        rows.append(row(number, value, values, study=study, source=values.get("source", "xgb")))
    return rows


def wobble(values: Mapping[str, Value], size: float) -> float:
    """Noise that repeats: of the params themselves."""
    text = json.dumps(values, sort_keys=True)
    seed = sum(ord(letter) * (i + 1) for i, letter in enumerate(text))
    return float(np.random.default_rng(seed).normal() * size)


def changes_of(
    trials: Sequence[Trial], space: Space, metric: str = "auc"
) -> tuple[dict[str, Any], dict[str, Change]]:
    """The refined space, and its changes by param, none of which changes twice."""
    entries, changes = refined_space(trials, space, metric)
    found = {change.param: change for change in changes}
    assert len(found) == len(changes)
    return entries, found


def assert_contains_elite(
    entries: Mapping[str, Any], trials: Sequence[Trial], space: Space, metric: str = "auc"
) -> None:
    refined = Space.of(entries)
    elite, _ = elite_and_rest(trials, metric)
    assert elite
    for trial in elite:
        assert refined.enqueued(values_of(trial, space)) is not None


# The best


def test_ranks_distinct_params_beside_the_baseline() -> None:
    trials = [
        row(0, 0.80, {"x": 1}, baseline=True, fold_values=[0.79, 0.81, None]),
        row(1, 0.90, {"x": 2}, fold_values=[0.88, 0.92, None]),
        row(2, 0.90, {"x": 2}),
        row(3, 0.85, {"x": 3}, fold_values=[0.85]),
        row(4, 0.95, {"x": 4}, state="pruned"),
        row(5, None, {"x": 5}, state="failed"),
    ]
    rows = best_trials(trials, "auc", 5)
    assert [(r["rank"], r["number"]) for r in rows] == [(1, 1), (2, 3), (3, 0)]
    first, second, third = rows
    assert first["standard_error"] == pytest.approx(0.02)
    assert first["baseline_value"] == 0.80
    assert first["baseline_standard_error"] == pytest.approx(0.01)
    assert first["gain"] == pytest.approx(0.10)
    assert first["gain_standard_error"] == pytest.approx(0.01)  # .09 and .11, fold by fold
    assert first["trials"] == 5
    assert json.loads(first["params"]) == {"x": 2}
    assert second["standard_error"] is None
    assert third["gain"] == 0.0 and third["gain_standard_error"] is None
    assert len(best_trials(trials, "auc", 2)) == 2


def test_smaller_log_loss_is_better_and_gains() -> None:
    trials = [row(0, 0.5, {"x": 1}, baseline=True), row(1, 0.4, {"x": 2}), row(2, 0.6, {"x": 3})]
    rows = best_trials(trials, "log_loss", 3)
    assert [r["number"] for r in rows] == [1, 0, 2]
    assert [r["gain"] for r in rows] == pytest.approx([0.1, 0.0, -0.1])


def test_sources_have_ranks_and_baselines_of_their_own() -> None:
    trials = [
        row(0, 0.7, {"x": 1}, source="a", baseline=True),
        row(1, 0.6, {"x": 1}, source="b", baseline=True),
        row(2, 0.8, {"x": 2}, source="b"),
        row(3, 0.75, {"x": 2}, source="a"),
    ]
    rows = best_trials(trials, "auc", 2)
    assert [(r["source"], r["rank"], r["number"]) for r in rows] == [
        ("a", 1, 3),
        ("a", 2, 0),
        ("b", 1, 2),
        ("b", 2, 1),
    ]
    assert rows[2]["gain"] == pytest.approx(0.2)
    assert [r["number"] for r in overall(rows, "auc")["t"]] == [2, 3, 0, 1]


# Importances and directions


SPACE = Space.of(
    {
        "rate": {"low": 0.01, "high": 1.0, "log": True},
        "depth": {"low": 1, "high": 8},
        "flag": {"choices": [True, False]},
        "booster": {"choices": ["tree", "dart", "linear"]},
        "drop": {"low": 0.0, "high": 1.0, "when": {"booster": "dart"}},
        "idle": {"low": 0.0, "high": 1.0},
        "bins": 128,
    }
)


def objective(values: Mapping[str, Value]) -> float:
    """Gets better with the rate, with `drop`, and with the flag; worse with `linear`."""
    value = 0.2 * math.log10(values["rate"]) + 0.05 * bool(values["flag"])
    value += {"tree": 0.0, "dart": 0.0, "linear": -0.1}[values["booster"]]
    return 0.5 + value + 0.3 * (values.get("drop", 0.5) - 0.5) + wobble(values, 0.005)


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return searched(SPACE, objective, 80)


def test_importances_find_what_matters(trials: list[Trial]) -> None:
    rows = importances(trials, SPACE, "auc")
    assert rows == importances(trials, SPACE, "auc")  # to the last bit
    for method in ("ped_anova", "fanova"):
        shares = {r["param"]: r["importance"] for r in rows if r["method"] == method}
        assert set(shares) == {"rate", "depth", "flag", "booster", "drop", "idle"}
        assert shares["rate"] == max(shares[name] for name in shares if name != "drop")
        assert shares["rate"] > 3 * max(shares["idle"], shares["depth"])
    fanova = {r["param"]: r["importance"] for r in rows if r["method"] == "fanova"}
    assert fanova["drop"] > 2 * fanova["idle"]
    counts = {r["param"]: r["n"] for r in rows}
    assert counts["rate"] == 80
    assert counts["drop"] == sum("drop" in trial["params"] for trial in trials) < 80


def test_importances_of_a_loss_are_those_of_the_gain(trials: list[Trial]) -> None:
    flipped = [{**trial, "value": -trial["value"]} for trial in trials]
    of_gain = [r for r in importances(trials, SPACE, "auc") if r["method"] == "ped_anova"]
    of_loss = [r for r in importances(flipped, SPACE, "log_loss") if r["method"] == "ped_anova"]
    assert of_gain == of_loss


def test_no_importance_without_trials_or_differences(trials: list[Trial]) -> None:
    assert importances([], SPACE, "auc") == []
    assert importances(trials[:3], SPACE, "auc") == []
    assert importances(trials[:1] * 6, SPACE, "auc") == []
    assert importances([{**t, "value": 0.5} for t in trials], SPACE, "auc") == []
    assert importances([{**t, "in_space": False} for t in trials], SPACE, "auc") == []
    assert importances(trials[:4], SPACE, "auc")


@pytest.mark.parametrize("metric", ["auc", "log_loss"])
def test_directions_tell_which_way_is_better(trials: list[Trial], metric: str) -> None:
    sign = 1 if metric == "auc" else -1
    given = [{**trial, "value": sign * trial["value"]} for trial in trials]
    rows = {r["param"]: r for r in directions(given, SPACE, metric)}
    assert list(rows) == ["rate", "depth", "flag", "booster", "drop", "idle"]
    assert rows["rate"]["kind"] == rows["drop"]["kind"] == "numeric"
    assert sign * rows["rate"]["rho"] > 0.7 and rows["rate"]["p"] < 1e-6
    assert rows["rate"]["trend"] == rows["drop"]["trend"] == "better_up"
    assert rows["idle"]["trend"] == "flat" and rows["idle"]["p"] >= 0.05
    assert rows["drop"]["n"] < rows["rate"]["n"] == 80
    booster = rows["booster"]
    assert booster["kind"] == "categorical" and booster["trend"] is None
    assert booster["worst"] == "linear" and booster["best"] != "linear"
    means = json.loads(booster["choice_means"])
    linear = [t["value"] for t in given if t["params"]["booster"] == "linear"]
    assert means["linear"] == pytest.approx(np.mean(linear))
    flag = rows["flag"]
    assert flag["kind"] == "boolean"
    with_flag = np.mean([t["value"] for t in given if t["params"]["flag"]])
    without = np.mean([t["value"] for t in given if not t["params"]["flag"]])
    assert flag["mean_with"] == pytest.approx(with_flag)
    assert flag["mean_without"] == pytest.approx(without)
    assert flag["difference"] == pytest.approx(with_flag - without)


def test_directions_of_few_or_equal_trials_show_no_trend() -> None:
    space = Space.of({"x": {"low": 0.0, "high": 1.0}})
    few = [row(i, 0.1 * i, {"x": 0.1 * i}) for i in range(5)]
    assert directions(few, space, "auc")[0]["trend"] == "better_up"
    assert directions(few, space, "log_loss")[0]["trend"] == "better_down"
    assert directions(few[:4], space, "auc")[0]["trend"] is None
    same_x = directions([{**t, "params": {"x": 0.5}} for t in few], space, "auc")[0]
    assert same_x["trend"] is None and same_x["rho"] is None
    assert directions([{**t, "value": 0.5} for t in few], space, "auc")[0]["trend"] == "flat"


# Ranges


def test_ranges_tell_what_was_explored() -> None:
    space = Space.of(
        {
            "rate": {"low": 0.01, "high": 1.0, "log": True},
            "depth": {"low": 2, "high": 10},
            "kind": {"choices": ["a", "b", None]},
            "never": {"low": 0, "high": 1, "when": {"kind": "b"}},
        }
    )
    params: list[dict[str, Value]] = [
        {"rate": 0.1, "depth": 2, "kind": "a"},
        {"rate": 0.99, "depth": 3, "kind": "a"},
        {"rate": 1.0, "depth": 2, "kind": None},
        {"rate": 0.9, "depth": 2, "kind": "a"},
    ]
    trials = [row(i, 0.5, values) for i, values in enumerate(params)]
    trials.append(row(4, 0.5, {"rate": 9.0, "depth": 1}, in_space=False))
    rows = {r["param"]: r for r in ranges(trials, space)}
    assert list(rows) == ["rate", "depth", "kind"]
    rate, depth, kind = rows["rate"], rows["depth"], rows["kind"]
    assert (rate["declared_low"], rate["declared_high"]) == (0.01, 1.0)
    assert (rate["explored_low"], rate["explored_high"], rate["n"]) == (0.1, 1.0, 4)
    assert rate["explored_share"] == pytest.approx(0.5)  # one decade of two
    # .9 lies 2.3% of two decades below the bound, .99 0.2%.
    assert (rate["hits_low"], rate["hits_high"]) == (0.0, 0.5)
    assert (depth["hits_low"], depth["hits_high"]) == (0.75, 0.0)
    assert (depth["commonest"], depth["commonest_share"]) == ("2", 0.75)
    assert depth["explored_share"] == pytest.approx(1 / 8)
    assert (kind["commonest"], kind["commonest_share"]) == ("a", 0.75)
    assert kind["explored_share"] == pytest.approx(2 / 3)
    assert kind["declared_low"] is None and kind["hits_low"] is None


# Refining


def test_extends_a_bound_that_the_best_lean_on() -> None:
    space = Space.of(
        {
            "rate": {"low": 0.02, "high": 0.08, "log": True},
            "leaves": {"low": 31, "high": 127},
            "ratio": {"low": 0.0, "high": 2.0, "step": 0.25},
        }
    )

    def best_at_bounds(values: Mapping[str, Value]) -> float:
        rate = math.log(values["rate"] / 0.02) / math.log(4)
        return rate - values["leaves"] / 96 + values["ratio"] / 2

    trials = searched(space, best_at_bounds, 200)
    entries, changes = changes_of(trials, space)
    assert {name: change.change for name, change in changes.items()} == {
        "rate": "extended_high",
        "leaves": "extended_low",
        "ratio": "extended_high",
    }
    # Half the width: a factor 2 of 4; 48 of 96, which would be below 0: half the bound; 4 steps of 8.
    assert entries["rate"] == {"low": 0.02, "high": 0.16, "log": True}
    assert entries["leaves"] == {"low": 16, "high": 127}
    assert isinstance(entries["leaves"]["low"], int)
    assert entries["ratio"] == {"low": 0.0, "high": 3.0, "step": 0.25}
    assert all(c.p is not None and c.p < 0.05 and c.n == 50 for c in changes.values())
    assert_contains_elite(entries, trials, space)


def test_extends_along_a_loss() -> None:
    space = Space.of({"x": {"low": -1.0, "high": 1.0}})
    trials = searched(space, lambda values: values["x"], 60)
    assert changes_of(trials, space, "auc")[0] == {"x": {"low": -1.0, "high": 2.0}}
    assert changes_of(trials, space, "log_loss")[0] == {"x": {"low": -2.0, "high": 1.0}}


@pytest.mark.parametrize(
    ("name", "entry", "sign", "after"),
    [
        ("subsample", {"low": 0.5, "high": 0.95}, 1, {"low": 0.5, "high": 1.0}),
        ("embedding_dropout", {"low": 0.1, "high": 0.9}, 1, {"low": 0.1, "high": 0.95}),
        ("depth", {"low": 6, "high": 14}, 1, {"low": 6, "high": 16}),
        ("max_depth", {"low": 2, "high": 9}, -1, {"low": 1, "high": 9}),
        ("num_leaves", {"low": 3, "high": 90}, -1, {"low": 2, "high": 90}),
        ("lambda", {"low": 0.5, "high": 6.0}, -1, {"low": 0.25, "high": 6.0}),
        ("max_bin", {"low": 2, "high": 64, "log": True}, 1, {"low": 2, "high": 363, "log": True}),
    ],
)
def test_extends_no_further_than_a_param_goes(
    name: str, entry: dict[str, Any], sign: int, after: dict[str, Any]
) -> None:
    space = Space.of({name: entry})
    trials = searched(space, lambda values: float(sign * values[name]), 60)
    assert changes_of(trials, space)[0] == {name: after}


def test_says_when_a_bound_is_the_natural_one() -> None:
    space = Space.of({"gamma": {"low": 0.0, "high": 3.0}, "subsample": {"low": 0.5, "high": 1.0}})
    trials = searched(space, lambda v: v["subsample"] * 6 - v["gamma"], 120)
    entries, changes = changes_of(trials, space)
    assert entries["gamma"]["low"] == 0.0 and entries["subsample"]["high"] == 1.0
    for change in changes.values():
        assert "natural limit" in change.reason
        assert not change.change.startswith("extended")


@pytest.mark.parametrize("log", [False, True])
def test_narrows_about_a_cluster(log: bool) -> None:
    space = Space.of({"x": {"low": 0.01, "high": 1.0, "log": log}, "n": {"low": 0, "high": 100}})
    at = 0.1 if log else 0.4

    def peak(values: Mapping[str, Value]) -> float:
        off = math.log10(values["x"] / at) / 2 if log else values["x"] - at
        return -max(abs(off), abs(values["n"] - 50) / 100)

    trials = searched(space, peak, 160)
    entries, changes = changes_of(trials, space)
    assert changes["x"].change == changes["n"].change == "narrowed"
    x, n = entries["x"], entries["n"]
    assert space["x"].low < x["low"] < at < x["high"] < space["x"].high
    assert 0 < n["low"] < 50 < n["high"] < 100 and isinstance(n["low"], int)
    assert x.get("log", False) is log
    assert_contains_elite(entries, trials, space)
    # Of no more digits than a person would write.
    assert len(repr(x["low"])) <= 6 and len(repr(x["high"])) <= 6


def test_keeps_the_grid_of_a_narrowed_range() -> None:
    space = Space.of(
        {"x": {"low": 0.1, "high": 2.1, "step": 0.2}, "n": {"low": 3, "high": 63, "step": 5}}
    )
    trials = searched(space, lambda v: -abs(v["x"] - 0.9) / 2 - abs(v["n"] - 33) / 60, 100)
    entries, changes = changes_of(trials, space)
    assert {change.change for change in changes.values()} == {"narrowed"}
    assert (entries["n"]["low"] - 3) % 5 == 0 == (entries["n"]["high"] - 3) % 5
    refined = Space.of(entries)
    assert refined["x"].distribution is not None
    assert_contains_elite(entries, trials, space)


def test_a_cluster_on_one_value_keeps_its_neighbours() -> None:
    space = Space.of({"n": {"low": 0, "high": 9}, "x": {"low": 0.0, "high": 1.0, "step": 0.1}})
    good = [row(i, 0.9 + 0.001 * i, {"n": 4, "x": 0.5}) for i in range(12)]
    bad = [row(12 + i, 0.001 * i, {"n": i % 10, "x": (i % 11) / 10}) for i in range(36)]
    entries, _ = changes_of(good + bad, space)
    assert entries == {
        "n": {"low": 3, "high": 5},
        "x": {"low": 0.4, "high": 0.6, "step": 0.1},
    }


CHOICES = {
    "kind": {"choices": ["a", "b", "c"], "weights": [3, 2, 1]},
    "flag": {"choices": [True, False]},
    "idle": {"choices": ["p", "q"]},
    "calm": {"low": 0.0, "high": 1.0},
    "of_a": {"low": 0.0, "high": 1.0, "when": {"kind": ["a", "c"]}},
    "of_c": {"low": 0.0, "high": 1.0, "when": {"kind": "c"}},
    "below": {"choices": [1, 2], "when": {"kind": ["a", "b"], "flag": True}},
    "fixed": 7,
    "list": {"value": [1, 2]},
    "none": {"value": None},
}


def dead_and_unanimous(values: Mapping[str, Value]) -> float:
    """`c` is dead, the flag decides, `idle` and `calm` do nothing."""
    return bool(values["flag"]) - 2.0 * (values["kind"] == "c") + wobble(values, 0.1)


def test_drops_fixes_and_leaves_alone() -> None:
    space = Space.of(CHOICES)
    trials = searched(space, dead_and_unanimous, 120)
    entries, changes = changes_of(trials, space)
    kinds = {name: change.change for name, change in changes.items()}
    assert kinds == {
        "kind": "dropped_choices",
        "flag": "fixed",
        "idle": "kept",
        "calm": "kept",
        "of_a": "kept",
        "of_c": "removed",
        "below": "kept",
    }
    assert entries["kind"] == {"choices": ["a", "b"], "weights": [3.0, 2.0]}
    assert entries["flag"] is True
    assert entries["idle"] == CHOICES["idle"] and entries["calm"] == CHOICES["calm"]
    assert entries["of_a"]["when"] == {"kind": "a"}
    assert entries["below"]["when"] == {"kind": ["a", "b"]}  # the flag is always true now
    assert "of_c" not in entries and entries["fixed"] == 7
    for name in ("kind", "flag"):
        p = changes[name].p
        assert p is not None and p < 0.05 and changes[name].n == 30
    assert changes["calm"].reason == "the elite lies as chance would have it"
    assert changes["of_c"].after is None
    assert_contains_elite(entries, trials, space)


def test_what_depends_on_a_fixed_param_inherits_its_conditions() -> None:
    space = Space.of(
        {
            "net": {"choices": ["mlp", "tabm"]},
            "embed": {"choices": ["plain", "periodic"], "when": {"net": "tabm"}},
            "waves": {"low": 0.0, "high": 1.0, "when": {"embed": "periodic"}},
            "bare": {"low": 0.0, "high": 1.0, "when": {"embed": "plain"}},
        }
    )
    trials = searched(space, lambda v: 1.0 * (v.get("embed") == "periodic") + wobble(v, 0.6), 240)
    some = [t for t in trials if t["params"].get("embed") != "plain" or t["value"] < 0.3]
    entries, changes = changes_of(some, space)
    assert changes["net"].change == "kept" and changes["embed"].change == "fixed"
    assert entries["embed"] == {"value": "periodic", "when": {"net": "tabm"}}
    assert entries["waves"]["when"] == {"net": "tabm"}
    assert "bare" not in entries and changes["bare"].change == "removed"


def test_nothing_is_cut_on_a_small_elite() -> None:
    space = Space.of({**CHOICES, "x": {"low": 0.0, "high": 1.0}})

    def peak(values: Mapping[str, Value]) -> float:
        return dead_and_unanimous(values) - 10 * abs(values["x"] - 0.5)

    for n, cut in ((36, False), (120, True)):
        trials = searched(space, peak, n)
        entries, changes = changes_of(trials, space)
        assert len(elite_and_rest(trials, "auc")[0]) == n // 4
        kinds = {change.change for change in changes.values()}
        assert bool(kinds & {"narrowed", "dropped_choices", "fixed", "removed"}) is cut
        if not cut:
            assert Space.of(entries) == Space.of({**CHOICES, "x": {"low": 0.0, "high": 1.0}})
            assert "fewer than 10" in changes["x"].reason


def test_without_effect_nothing_changes_most_times() -> None:
    space = Space.of(
        {
            "x": {"low": 0.0, "high": 1.0},
            "n": {"low": 1, "high": 8},
            "kind": {"choices": ["a", "b", "c"]},
        }
    )
    changed = 0
    for seed in range(100):
        noise = np.random.default_rng(seed)
        trials = searched(space, lambda _, noise=noise: float(noise.normal()), 60, seed)
        changed += sum(c.change != "kept" for c in refined_space(trials, space, "auc")[1])
    assert changed <= 25  # of 300; 15 would be 5%


def test_pools_the_elite_of_every_study() -> None:
    space = Space.of({"x": {"low": 0.0, "high": 1.0}, "kind": {"choices": ["a", "b"]}})
    trials: list[Trial] = []
    for place in range(3):  # on scales of their own, eight of an elite each
        trials += searched(
            space,
            lambda v, place=place: 10.0 * place - abs(v["x"] - 0.5),
            32,
            seed=place,
            study=f"t{place}",
        )
    entries, changes = changes_of(trials, space)
    assert changes["x"].n == 24 and changes["x"].change == "narrowed"
    assert entries["x"]["low"] < 0.5 < entries["x"]["high"]
    flat = [row(i, 0.5, {"x": 0.9, "kind": "a"}, study="flat") for i in range(40)]
    assert changes_of([*trials, *flat], space)[1]["x"].n == 24


def test_closeness_is_the_chance_of_so_small_a_span() -> None:
    every = np.array([0.0, 0.1, 0.2, 0.5, 0.9])
    # Of ten pairs (0, .1) and (.1, .2) are as close; of ten triples one spans .2 or less.
    assert closeness(np.array([0.1, 0.2]), every) == pytest.approx(0.2)
    assert closeness(np.array([0.0, 0.1, 0.2]), every) == pytest.approx(0.1)
    assert closeness(every, every) == 1.0


def test_refined_yaml_loads_and_gives_reasons() -> None:
    space = Space.of(
        {
            "source": {"choices": ["a", "b"]},
            **CHOICES,
            "tiny": {"low": 1e-7, "high": 1e-2, "log": True},
        }
    )

    def of_a(values: Mapping[str, Value]) -> float:
        return dead_and_unanimous(values) + 3 * (values["source"] == "a")

    trials = searched(space, of_a, 160)
    entries, changes = refined_space(trials, space, "auc")
    text = refined_yaml("s", entries, changes, trials)
    loaded = yaml.safe_load(text)
    assert "source" not in loaded  # the search's list of sources makes it
    assert "source: [a]" in text
    assert Space.of(loaded) == Space.of({k: v for k, v in entries.items() if k != "source"})
    assert entry_findings(loaded, ["a"]) == []
    assert isinstance(loaded["tiny"]["low"], float)
    for change in changes:
        line = next(x for x in text.splitlines() if x.startswith(f"# {change.param}: "))
        assert change.change in line and change.reason in line and f"(n {change.n}" in line
        assert change.p is None or f"p {change.p:.2g}" in line


# In words


def test_verdicts() -> None:
    criteria = {"excellent": 0.85, "on_track": 0.8, "stop": 0.7}
    assert verdict(0.85, "auc", criteria, 1, 60) == EXCELLENT
    assert verdict(0.84, "auc", criteria, 60, 60) == ON_TRACK
    assert verdict(0.75, "auc", criteria, 60, 60) == BELOW
    assert verdict(0.65, "auc", criteria, 19, 60) == BELOW
    assert verdict(0.65, "auc", criteria, 20, 60) == STOP
    assert verdict(0.65, "auc", {"on_track": 0.8, "stop": None}, 60, 60) == BELOW
    loss = {"excellent": 0.1, "on_track": 0.2, "stop": 0.3}
    assert verdict(0.1, "log_loss", loss, 1, 60) == EXCELLENT
    assert verdict(0.25, "log_loss", loss, 60, 60) == BELOW
    assert verdict(0.35, "log_loss", loss, 30, 60) == STOP
    assert verdict(None, "auc", criteria, 30, 60) is verdict(0.9, "auc", {}, 30, 60) is None


def told(trials: Sequence[Trial], **more: Any) -> str:
    settings: dict[str, Any] = {"wanted": 4, "search_folds": [0, 2], "n_folds": 5} | more
    return summary_text("s", trials, "auc", **settings)


def cells(text: str, first: str) -> list[list[str]]:
    """The cells of the tables' lines that begin with a name."""
    lines = [[x.strip() for x in line.strip("|").split(" | ")] for line in text.splitlines()]
    return [line for line in lines if line[0] == first]


def test_summary_of_a_finished_search() -> None:
    trials = [
        row(0, 0.80, {"x": 1}, baseline=True),
        row(1, 0.86, {"x": 2}, seconds=4.0),
        row(2, 0.83, {"x": 3}, seconds=3.0),
        row(3, 0.70, {"x": 4}, state="pruned", reason="median"),
        row(4, None, {"x": 5}, state="failed", reason="out of\nmemory", seconds=3591.0),
        row(5, None, {"x": 5}, state="failed", reason="out of memory", seconds=None),
        row(6, None, {"x": 6}, state="lost", reason="worker died", seconds=None),
    ]
    text = told(trials, criteria={"excellent": 0.85, "on_track": 0.8, "stop": 0.7})
    error = "± 0.00577"  # .01 / sqrt(3)
    assert cells(text, "t")[0] == [
        "t",
        f"0.86000 {error}",
        f"0.80000 {error}",
        "+0.06000 ± 0.00000",
        "0.83000",
        "excellent",
    ]
    assert cells(text, "t")[1] == ["t", "3", "1", "2", "1", "3.0", "1.00"]
    assert cells(text, "failed") == [["failed", "out of memory", "2"]]
    assert cells(text, "lost") == [["lost", "worker died", "1"]]
    assert "Unfinished" not in text
    assert "best of up to 4 trials" in text and "other folds (1, 3, 4)" in text
    assert "excellent at least 0.85, on track at least 0.8" in text
    assert "no fold is left" in told(trials, search_folds=[0, 1, 2, 3, 4])


def test_summary_of_a_search_that_goes_on() -> None:
    trials = [row(0, 0.80, {"x": 1}, study="a|b"), row(1, 0.7, {"x": 2}, study="a|b")]
    text = told(trials, studies=["a|b", "c"], criteria={"on_track": 0.9, "stop": 0.85})
    assert "**Unfinished**: 2 of 8 trials. Short of 4: a\\|b 2, c 0." in text
    assert cells(text, "a\\|b")[0][-1] == "stop"
    assert cells(text, "c")[0] == ["c", *["–"] * 5]
    assert "**Unfinished**: 0 of 4 trials" in told([], studies=["c"])


def test_summary_tells_sources_apart() -> None:
    trials = [row(i, 0.5 + i / 100, {"x": i}, source="ab"[i % 2]) for i in range(4)]
    text = told(trials)
    assert [line[1:3] for line in cells(text, "t")[-2:]] == [["b", "2"], ["a", "2"]]


def test_yaml_of_the_best_repeats_its_params() -> None:
    params = {"rate": 0.1 + 0.2, "tiny": 1e-7, "n": 3, "flag": True, "text": "on", "none": None}
    params |= {"list": [1, 2]}
    trials = [
        row(0, 0.8, {"n": 1}, baseline=True),
        row(1, 0.9, params),
        row(2, 0.85, {"n": 2}, source="lgb"),
        row(3, 0.5, {"n": 4}, study="u"),
    ]
    rows = best_trials(trials, "auc", 2)
    best = yaml.safe_load(best_yaml("s", rows, "auc", [0, 1]))
    assert best["t"]["params"] == params and best["t"]["source"] == "xgb"
    assert best["t"]["trials"] == 3 and best["u"]["trials"] == 1
    assert best["t"]["value"] == 0.9 and best["t"]["gain"] == pytest.approx(0.1)
    assert best["t"]["baseline_value"] == 0.8 and best["u"]["baseline_value"] is None
    top = yaml.safe_load(top_yaml("s", rows, "auc", [0, 1], 2))
    assert [(one["rank"], one["number"]) for one in top["t"]] == [(1, 1), (2, 2)]
    assert len(top["u"]) == 1


def test_comparison_of_two_searches() -> None:
    space = Space.of({"x": {"low": 0.0, "high": 1.0}, "kind": {"choices": ["a", "b"]}, "same": 1})
    a = searched(space, lambda v: v["x"], 20)
    b = searched(space, lambda v: v["x"] + 2 * (v["kind"] == "b"), 40, seed=1)
    text = comparison_text(Searched("one", a, "auc", [0]), Searched("two", b, "auc", [0]))
    lines = cells(text, "t")
    assert [line[1] for line in lines] == ["one", "two", "two less one"]
    best = [max(t["value"] for t in trials) for trials in (a, b)]
    assert [float(line[2].split(" ")[0]) for line in lines] == pytest.approx(
        [*best, best[1] - best[0]], abs=1e-5
    )
    assert float(lines[1][3]) == pytest.approx(max(t["value"] for t in b[:20]), abs=1e-5)
    assert [line[5] for line in lines] == ["20", "40", ""]
    shares = {line[1]: line[2:] for line in cells(text, "kind")}
    elite = [t["params"]["kind"] for t in elite_and_rest(a, "auc")[0]]
    assert shares["b"] == [f"{elite.count('b') / 5:.0%}", "100%"]
    medians = [np.median([t["params"]["x"] for t in elite_and_rest(s, "auc")[0]]) for s in (a, b)]
    quartiles = cells(text, "x")[0]
    assert [q.split(" / ")[1] for q in quartiles[2:]] == [f"{m:.4g}" for m in medians]
    assert cells(text, "same") == []
    other = comparison_text(Searched("one", a, "auc", [0]), Searched("two", b, "log_loss", [0]))
    assert "cannot be compared" in other and "two less one" not in other
    mixed = [row(i, i / 8, {"depth": i if i % 2 else "auto"}) for i in range(8)]
    text = comparison_text(Searched("one", a, "auc", [0]), Searched("two", mixed, "auc", [0]))
    assert cells(text, "depth") == [
        ["depth", "quartiles", "–", "7 / 7 / 7"],
        ["depth", "auto", "–", "50%"],
    ]
    assert comparison_text(Searched("one", [], "auc", [0]), Searched("two", [], "auc", [0]))


# On disk


EVERY = sorted([*FILES, "trials.parquet", "best.parquet"])


def written(folder: Path, trials: Sequence[Trial], *, partial: bool = False, **more: Any) -> Path:
    """Everything that is made of some trials; `more` are words of their note."""
    told: dict[str, Any] = {
        "search": "s",
        "metric": "auc",
        "targets": ["t"],
        "studies": ["t"],
        "wanted": len(trials),
        "space": [param.name for param in SPACE],
        "search_folds": [0, 1, 2],
        "n_folds": 5,
        "folds": "digest",
    }
    write_trials(folder / "trials.parquet", trials, told | more)
    rank_trials(folder / "trials.parquet", folder / "best.parquet", {"seed": 1}, partial=partial)
    write_analysis(folder / "trials.parquet", folder, SPACE, top=3, note={"seed": 1})
    return folder


def test_writes_every_file_and_says_where_from(tmp_path: Path, trials: list[Trial]) -> None:
    folder = written(tmp_path / "s", trials)
    assert sorted(path.name for path in folder.iterdir()) == EVERY
    note = read_note(folder / "best.parquet")
    assert note["search_folds"] == [0, 1, 2] and note["metric"] == "auc" and note["seed"] == 1
    best = read_parquet(folder / "best.parquet").to_pylist()
    assert [r["rank"] for r in best] == list(range(1, len(trials) + 1))
    assert best[0]["value"] == max(t["value"] for t in trials)
    assert len(yaml.safe_load((folder / "top.yaml").read_text())["t"]) == 3
    assert read_trials(folder / "trials.parquet")[0] == list(trials)
    table = read_parquet(folder / "directions.parquet")
    assert csv.read_csv(folder / "directions.csv").column_names == table.column_names
    assert table.num_rows == 6
    assert read_parquet(folder / "ranges.parquet").num_rows == 6
    assert read_parquet(folder / "importances.parquet").num_rows == 12
    Space.of(yaml.safe_load((folder / "refined_space.yaml").read_text()))
    again = written(tmp_path / "again", trials)
    for name in EVERY:
        assert (folder / name).read_bytes() == (again / name).read_bytes()


def test_a_study_without_a_complete_trial_is_an_error(tmp_path: Path, trials: list[Trial]) -> None:
    bad = [
        row(i, None, {"x": 1}, study="u", state="failed", reason="no such device") for i in (0, 1)
    ]
    with pytest.raises(BlendmakeError, match=r"searches\.s: study 'u' .*\(no such device\)"):
        written(tmp_path / "s", [*trials, *bad])
    with pytest.raises(BlendmakeError, match=r"'c' has no complete trial \(none was made\)"):
        written(tmp_path / "s", trials, studies=["t", "c"])
    assert not (tmp_path / "s" / "best.parquet").exists()


def test_partial_writes_what_there_is(tmp_path: Path, trials: list[Trial]) -> None:
    bad = [row(0, None, {"x": 1}, study="u", state="failed", reason="no such device")]
    for name, some in (("none", []), ("few", [*trials[:2], *bad])):
        folder = written(tmp_path / name, some, partial=True, studies=["t", "u"], wanted=9)
        assert sorted(path.name for path in folder.iterdir()) == EVERY
        write_summary(folder / "trials.parquet", {"on_track": 0.5}, folder / "summary.md")
        assert "Unfinished" in (folder / "summary.md").read_text()
        assert Space.of(yaml.safe_load((folder / "refined_space.yaml").read_text())) == SPACE
        rows = read_parquet(folder / "best.parquet").to_pylist()
        assert [r["study"] for r in rows] == ["t"] * min(len(some), 2)


def test_compares_folders(tmp_path: Path, trials: list[Trial]) -> None:
    a = written(tmp_path / "a", trials, search="first")
    b = written(tmp_path / "b", trials[:40], search="second")
    write_comparison(a, b, tmp_path / "out.md")
    assert "# first against second" in (tmp_path / "out.md").read_text()
    write_trials(tmp_path / "bare" / "trials.parquet", trials, {"seed": 1})
    with pytest.raises(BlendmakeError, match=r"bare.*damaged.*lacks 'search'"):
        write_comparison(a, tmp_path / "bare", tmp_path / "out.md")
    with pytest.raises(BlendmakeError, match="does not exist"):
        write_comparison(a, tmp_path / "missing", tmp_path / "out.md")
