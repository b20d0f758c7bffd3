"""The check of a search: every mistake is found where it stands, and nothing where there is none."""

from __future__ import annotations

import datetime
import itertools
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pytest
import yaml
from scipy.stats import wilcoxon

from blendmake.config.base import parse_numbers
from blendmake.errors import BlendmakeError
from blendmake.searches.lint import WILCOXON_UNITS, combinations, lint_space
from blendmake.searches.lint_text import ERROR, NOTE, Finding, findings_text, refuse
from blendmake.searches.samplers import grid_points
from blendmake.searches.space import space_of

GOOD = """
learning_rate: {low: 0.02, high: 0.08, log: true}
max_depth: {low: 5, high: 10}
booster: {choices: [gbtree, dart], weights: [3, 1]}
rate_drop: {low: 0.0, high: 0.3, when: {booster: dart}}
alpha: {low: 1e-4, high: 1, log: true}
subsample: {low: 0.65, high: 0.95, step: 0.05}
max_bin: 128
"""
SETTINGS: Mapping[str, Any] = {
    "trials": 60,
    "sampler": "tpe",
    "pruner": "median",
    "rounds": 300,
    "units": 3,
}
HUGE = 10**400
HUGER = 1 << 40_000  # more digits than Python writes


def linted(entries: Any, **changes: Any) -> list[Finding]:
    """The findings; `entries`: as YAML or as read from it."""
    read = yaml.safe_load(entries) if isinstance(entries, str) else entries
    return lint_space(read, **{**SETTINGS, **changes})


def told_of(entries: Any, **changes: Any) -> list[str]:
    """Errors and warnings as `level where: text`."""
    found = linted(entries, **changes)
    return [f"{f.level} {f.where}: {f.text}" for f in found if f.level != NOTE]


def test_a_good_space_has_notes_alone() -> None:
    assert [(f.level, f.where, f.text) for f in linted(GOOD)] == [
        (NOTE, "space", "size: continuous; 60 trials are 10 per param")
    ]


A = "x: {low: 0.0, high: 1.0}\n"
"""A param beside the one that is looked at, so that there is something to search."""

# What is looked at, how its finding begins, and the same without the mistake.
ENTRIES: list[tuple[str, str, str]] = [
    # bounds
    ("a: {low: 8, high: 5}", "error low 8 is above high 5: exchange", "a: {low: 5, high: 8}"),
    ("a: {low: 5, high: 5}", "error low and high are both 5: write the value", "a: 5"),
    ("a: {low: 5, high: 5.0}", "error low and high are both 5", "a: {low: 5, high: 6}"),
    ("a: {low: 5}", "error has no high: give both", "a: {low: 5, high: 6}"),
    ("a: {high: 5}", "error has no low: give both", "a: {low: 2, high: 5}"),
    ("a: {low: , high: 5}", "error has no low: give both", "a: {low: 2, high: 5, step: }"),
    ("a: {low: '3', high: 5}", "error low must be a number; found '3'", "a: {low: 3, high: 5}"),
    ("a: {low: true, high: 5}", "error low must be a number; found True", "a: {low: 1, high: 5}"),
    ("a: {low: .nan, high: 5}", "error low nan is not finite", "a: {low: 1.5, high: 5}"),
    ("a: {low: 0, high: .inf}", "error high inf is not finite", "a: {low: 0, high: 9}"),
    ("a: {low: 0, high: 1e999}", "error high inf is not finite", "a: {low: 0, high: 1e9}"),
    # log
    ("a: {low: 0, high: 9, log: true}", "error low 0 must be above 0", "a: {low: 0, high: 9}"),
    (
        "a: {low: -1.5, high: 9, log: true}",
        "error low -1.5 must be above 0",
        "a: {low: 1e-7, high: 9, log: true}",
    ),
    ("a: {low: 1, high: 9, log: 'no'}", "error log must be true or false", "a: {low: 1, high: 9}"),
    # type
    (
        "a: {low: 1.5, high: 9, type: int}",
        "error low 1.5 is no whole number: round it, or write type: float",
        "a: {low: 1.5, high: 9, type: float}",
    ),
    (
        "a: {low: 1, high: 9.5, type: int}",
        "error high 9.5 is no whole number",
        "a: {low: 1, high: 9.0, type: int}",
    ),
    (
        "a: {low: 1, high: 2, step: 0.5, type: int}",
        "error step 0.5 is no whole number",
        "a: {low: 1, high: 2, step: 0.5}",
    ),
    (
        "a: {low: 1, high: 9, type: inte}",
        "error type must be int or float; found 'inte'; did you mean 'int'?",
        "a: {low: 1, high: 9, type: int}",
    ),
    ("a: {low: 1, high: 9, type: [int]}", "error type must be int", "a: {low: 1, high: 9}"),
    # step
    (
        "a: {low: 0, high: 10, step: 3}",
        "error step 3 does not lead from 0 to 10: write high: 9 or 12",
        "a: {low: 0, high: 9, step: 3}",
    ),
    (
        "a: {low: 0.1, high: 0.7, step: 0.25}",
        "error step 0.25 does not lead from 0.1 to 0.7: write high: 0.6 or 0.85",
        "a: {low: 0.1, high: 0.7, step: 0.1}",
    ),
    (
        "a: {low: 1, high: 3, step: 5}",
        "error step 5 does not lead from 1 to 3: write high: 6",
        "a: {low: 1, high: 6, step: 5}",
    ),
    ("a: {low: 0, high: 9, step: 0}", "error step 0 must be", "a: {low: 0, high: 9, step: 1}"),
    ("a: {low: 0, high: 9, step: -3}", "error step -3 must be", "a: {low: 0, high: 9, step: 3}"),
    ("a: {low: 0, high: 9, step: many}", "error step must be", "a: {low: 0, high: 9, step: 3}"),
    (
        "a: {low: 1, high: 10, step: 2, log: true}",
        "error has both log and step",
        "a: {low: 1, high: 9, step: 2, log: false}",
    ),
    # choices and weights
    ("a: {choices: []}", "error choices are empty", "a: {choices: [1, 2]}"),
    ("a: {choices: }", "error choices must be a list; found None", "a: {choices: [1, null]}"),
    ("a: {choices: both}", "error choices must be a list; found 'both'", "a: {choices: [b, c]}"),
    ("a: {choices: [1, 2, 1.0]}", "error choice 1.0 is repeated", "a: {choices: [1, 2, true]}"),
    ("a: {choices: [c, d, c]}", "error choice 'c' is repeated", "a: {choices: [c, d, C]}"),
    ("a: {choices: [1e-7, 0.0000001]}", "error choice 1e-07 is repeated", "a: {choices: [1, 2]}"),
    (
        "a: {choices: [[64, 64], [64, 64.0]]}",
        "error choice [64, 64.0] is repeated",
        "a: {choices: [[64, 64], [64]]}",
    ),
    ("a: {choices: [1, .inf]}", "error choice inf is not finite", "a: {choices: [1, 2]}"),
    (
        "a: {choices: [1, 2020-01-01]}",
        "error choice 2020-01-01 is no number, text",
        "a: {choices: [1, '2020-01-01']}",
    ),
    (
        "a: {choices: ['[64]', 2]}",
        "error choice '[64]' would be read as a list",
        "a: {choices: [[64], 2]}",
    ),
    (
        "a: {choices: [b, c], weights: [1, 2, 3]}",
        "error 3 weights for 2 choices: give one each",
        "a: {choices: [b, c], weights: [1, 2]}",
    ),
    (
        "a: {choices: [b, c], weights: [2, -1]}",
        "error weight -1 must be a finite number, 0 or more",
        "a: {choices: [b, c], weights: [2, 0]}",
    ),
    (
        "a: {choices: [b, c], weights: [2, .nan]}",
        "error weight nan must be",
        "a: {choices: [b, c], weights: [2, 1e-3]}",
    ),
    (
        "a: {choices: [b, c], weights: [2, x]}",
        "error weight 'x' must be",
        "a: {choices: [b, c], weights: }",
    ),
    ("a: {choices: [b, c], weights: 2}", "error weights must be", "a: {choices: [b, c]}"),
    (
        "a: {choices: [b, c], weights: [0, 0.0]}",
        "error the weights are all 0",
        "a: {choices: [b, c], weights: [0, 0.1]}",
    ),
    # keys
    (
        "a: {lo: 1, high: 3}",
        "error has no key 'lo': did you mean 'low'?",
        "a: {low: 1, high: 3}",
    ),
    (
        "a: {choices: [1, 2], weight: [1, 2]}",
        "error has no key 'weight': did you mean 'weights'?",
        "a: {choices: [1, 2], weights: [1, 2]}",
    ),
    ("a: {}", "error says nothing of its values", "a: text"),
    ("a: {log: true}", "error says nothing of its values", "a: {low: 1, high: 9, log: true}"),
    (
        "a: {choices: [1, 2], low: 1, high: 2}",
        "error has low and high beside choices: leave one",
        "a: {choices: [1, 2]}",
    ),
    ("a: {value: 1, choices: [1, 2]}", "error has choices beside value", "a: {value: 1}"),
    (
        "a: {choices: [1, 2], step: 1}",
        "error 'step' goes with low and high: leave it out",
        "a: {choices: [1, 2], step: }",
    ),
    ("a: {value: 1, type: int}", "error 'type' goes with low and high", "a: {value: 1}"),
    (
        "a: {low: 1, high: 2, weights: [1, 1]}",
        "error 'weights' goes with choices",
        "a: {low: 1, high: 2}",
    ),
    # fixed values
    ("a: .inf", "error value inf is not finite", "a: 1e9"),
    ("a: {value: [1, .nan]}", "error value [1, nan] is not finite", "a: {value: [1, 2]}"),
    ("a: 2020-01-01", "error value 2020-01-01 is no", "a: '2020-01-01'"),
    ("a: {value: {1: 2}}", "error value {1: 2} has keys that are", "a: {value: {'1': 2}}"),
    ("a: [3, 8]", "warning a list is a fixed value: write {choices", "a: {value: [3, 8]}"),
    ("a:", "warning is empty, which fixes it to null", "a: {value: null}"),
    # odd ranges
    ("a: {choices: [gbtree]}", "warning has one choice only: write the value, 'gbtree'", "a: b"),
    (
        "a: {low: 0.5, high: 0.504}",
        "warning from 0.5 to 0.504 there is hardly a difference",
        "a: {low: 0.5, high: 0.51}",
    ),
    (
        "a: {low: 100.0, high: 104.0, log: true}",
        "warning from 100.0 to 104.0 there is hardly",
        "a: {low: 100.0, high: 106.0, log: true}",
    ),
    ("a: {low: -1000, high: -995}", "warning from -1000 to", "a: {low: -1000, high: -985}"),
    ("a: {low: 0, high: 1}", "warning is 0 or 1 and nothing", "a: {low: 0, high: 1, type: int}"),
    (
        "a: {low: 100, high: 1e3}",
        "warning has a bound with a point or exponent, so it is a float",
        "a: {low: 100, high: 1e3, type: int}",
    ),
    # conditions
    ("a: {value: 1, when: b}", "error when must be {param: value", "a: {value: 1, when: }"),
    ("a: {value: 1, when: {}}", "error when must be {param: value", "a: {value: 1}"),
    ("a: {value: 1, when: {a: 1}}", "error depends on itself", "a: {value: 1}"),
    (
        "enc: {choices: [cnn, mlp]}\na: {value: 1, when: {encc: cnn}}",
        "error depends on 'encc', which is no param above it: did you mean 'enc'?",
        "enc: {choices: [cnn, mlp]}\na: {value: 1, when: {enc: cnn}}",
    ),
    (
        "a: {value: 1, when: {enc: cnn}}\nenc: {choices: [cnn, mlp]}",
        "error depends on 'enc', which comes after it: move 'enc' above",
        "enc: {choices: [cnn, mlp]}\na: {value: 1, when: {enc: [cnn]}}",
    ),
    (
        "enc: {low: 1, high: 3}\na: {value: 1, when: {enc: 2}}",
        "error depends on 'enc', which has no choices",
        "enc: {choices: [1, 2, 3]}\na: {value: 1, when: {enc: 2}}",
    ),
    (
        "enc: {choices: [cnn, mlp]}\na: {value: 1, when: {enc: [cnn, mpl]}}",
        "error when asks for 'mpl', which 'enc' never is: did you mean 'mlp'?",
        "enc: {choices: [cnn, mlp, mpl]}\na: {value: 1, when: {enc: [cnn, mpl]}}",
    ),
    (
        "enc: {choices: [1, 2]}\na: {value: 1, when: {enc: true}}",
        "error when asks for True, which 'enc' never is",
        "enc: {choices: [true, false]}\na: {value: 1, when: {enc: true}}",
    ),
    (
        "enc: {choices: [1, 2]}\na: {value: 1, when: {enc: []}}",
        "error when names no value of 'enc'",
        "enc: {choices: [1, 2]}\na: {value: 1, when: {enc: 1.0}}",
    ),
    (
        "enc: dart\na: {value: 1, when: {enc: gbtree}}",
        "error when asks for 'gbtree', which 'enc' never is",
        "enc: {choices: [dart, gbtree]}\na: {value: 1, when: {enc: gbtree}}",
    ),
    (
        "enc: dart\na: {value: 1, when: {enc: dart}}",
        "warning its condition always holds: drop it",
        "enc: dart\na: {value: 1}",
    ),
    (
        "enc: {choices: [b, c]}\na: {value: 1, when: {enc: [b, c]}}",
        "warning its condition always holds: drop it",
        "enc: {choices: [b, c, d]}\na: {value: 1, when: {enc: [b, c]}}",
    ),
    (
        "b: {choices: [1, 2]}\nc: {choices: [3, 4], when: {b: 1}}\na: {value: 1, when: {b: 2, c: 3}}",
        "error never exists: no value of 'b' suits both its condition and those of the params it",
        "b: {choices: [1, 2]}\nc: {choices: [3, 4], when: {b: 1}}\na: {value: 1, when: {b: 1, c: 3}}",
    ),
    (
        "source: {choices: [xgb, lgb]}\na: 1",
        "error is the name of the source itself",
        "sources: {choices: [xgb, lgb]}\na: 1",
    ),
    (
        "a: {value: 1, when: {source: xgb}}",
        "error depends on 'source', but there is one source only",
        "a: {value: 1}",
    ),
]


@pytest.mark.parametrize(("bad", "expected", "good"), ENTRIES)
def test_entries(bad: str, expected: str, good: str) -> None:
    level, text = expected.split(" ", 1)
    where = "space.source" if bad.startswith("source:") else "space.a"
    found = [f for f in linted(A + bad) if f.level != NOTE]
    assert [(f.level, f.where) for f in found] == [(level, where)]
    assert found[0].text.startswith(text)
    assert told_of(A + good) == []
    space_of(parse_numbers(yaml.safe_load(A + good)))


def test_a_param_below_one_that_never_exists_is_not_told_of_twice() -> None:
    entries = """
    b: {choices: [1, 2]}
    c: {choices: [3, 4], when: {b: 1}}
    d: {choices: [5, 6], when: {b: 2, c: 3}}
    e: {value: 1, when: {d: 5}}
    """
    assert [f.where for f in linted(entries) if f.level == ERROR] == ["space.d"]


@pytest.mark.parametrize(("entries", "found"), [("1: 2", "1"), ("on: 2", "True"), ("'': 2", "")])
def test_names_must_be_text(entries: str, found: str) -> None:
    assert told_of(A + entries)[0].startswith(f"error space.{found}: the name of a param must be")
    assert told_of(A + "'on': 2") == []


def test_numbers_that_yaml_reads_as_text() -> None:
    entries = yaml.safe_load("a: {low: 1e-7, high: 1e-2, log: true}")
    assert entries["a"]["low"] == "1e-7"
    assert told_of(entries) == []
    (param,) = space_of(parse_numbers(entries))
    assert (param.low, param.high, param.kind) == (1e-7, 1e-2, "float")
    assert told_of({"a": {"low": "1e-7", "high": "1e-9"}}) == [
        "error space.a: low 1e-07 is above high 1e-09: exchange them"
    ]


def test_the_source_is_a_param_where_there_are_several() -> None:
    entries = A + "a: {value: 1, when: {source: lgb}}"
    assert told_of(entries, sources=["xgb", "lgb"]) == []
    assert told_of(entries, sources=["xgb", "catboost"]) == [
        "error space.a: when asks for 'lgb', which 'source' never is: did you mean 'xgb'?"
    ]
    assert told_of({"x": {"value": 1}}, sources=["xgb", "lgb"], trials=2) == []
    assert told_of({"x": {"value": 1}}, sources=["xgb"])[0].startswith(
        "error space: has nothing to search"
    )
    (*_, error) = told_of("a: {choices: [b]}")
    assert error.startswith("error space: has nothing to search")
    assert told_of({})[0].startswith("error space: has nothing to search")


# The trials and the size of the space


def test_trials_against_the_number_of_params() -> None:
    assert told_of(GOOD, trials=17) == [
        "warning trials: 17 for 6 params is fewer than 3 per param: raise them to 18, or fix some params"
    ]
    assert told_of(GOOD, trials=18) == []
    assert len(told_of(GOOD + "one: {choices: [x]}", trials=18)) == 1  # which is told of its choice
    # All combinations are enough, however few they are.
    assert told_of("a: {choices: [b, c]}", trials=2) == []


DISCRETE = (
    "a: {low: 1, high: 6}\nb: {choices: [x, y]}\nc: {low: 0.0, high: 0.5, step: 0.1, when: {b: x}}"
)
"""6 × (6 + 1) = 42 combinations."""


def test_size_and_coverage() -> None:
    (note,) = linted(DISCRETE, trials=21)
    assert note == Finding(NOTE, "space", "size: 42 combinations; 21 trials cover 50% of it")
    assert told_of(DISCRETE, trials=42) == []
    assert told_of(DISCRETE, trials=43) == [
        "warning trials: 43 trials for 42 combinations repeat some: lower them to 42"
    ]
    many = {f"p{k}": {"low": 1, "high": 100} for k in range(10)}
    assert linted(many)[0].text.startswith("size: about 1e20 combinations; 60 trials cover 6e-17%")


def random_space(draw: np.random.Generator) -> dict[str, Any]:
    """A discrete space with conditions on up to two of the params above."""
    entries: dict[str, Any] = {}
    for number in range(int(draw.integers(1, 7))):
        entry: dict[str, Any] = [
            {"choices": ["b", 2, True][: int(draw.integers(2, 4))]},
            {"low": 1, "high": int(draw.integers(2, 4))},
            {"low": 0.1, "high": 0.5, "step": 0.2},
            {"low": 1, "high": 3, "log": True},
            {"value": "b"},
        ][int(draw.choice(5, p=[0.5, 0.1, 0.1, 0.1, 0.2]))]
        parents = [name for name, one in entries.items() if "choices" in one or "value" in one]
        chosen = draw.permutation(parents)[: int(draw.integers(0, 3))].tolist()
        if chosen:
            entry["when"] = {
                name: draw.permutation(
                    np.array(entries[name].get("choices", ["b"]), dtype=object)
                ).tolist()[: int(draw.integers(1, 3))]
                for name in chosen
            }
        entries[f"p{number}"] = entry
    return entries


def test_combinations_are_as_many_as_the_grid_lists() -> None:
    draw = np.random.default_rng(0)
    conditional = 0
    for _ in range(300):
        space = space_of(random_space(draw))
        points = grid_points(space)
        assert len({repr(point) for point in points}) == len(points)
        assert combinations(space) == len(points)
        conditional += any(param.when for param in space)
    assert conditional > 100


def test_combinations_of_many_branches_take_no_time() -> None:
    # 2 branches of 24 parents with one child each, all children declared last.
    entries: dict[str, Any] = {"top": {"choices": ["a", "b"]}}
    for number in range(24):
        entries[f"p{number}"] = {"choices": [0, 1], "when": {"top": "ab"[number % 2]}}
    for number in range(24):
        entries[f"c{number}"] = {"low": 1, "high": 3, "when": {f"p{number}": 1}}
    assert combinations(space_of(entries)) == 2 * (1 + 3) ** 12
    assert combinations(space_of({**entries, "z": {"low": 0.0, "high": 1.0}})) is None


def test_what_never_exists_is_what_no_trial_has() -> None:
    draw = np.random.default_rng(1)
    outcomes = {True: 0, False: 0}
    for _ in range(600):
        entries = random_space(draw)
        findings = linted(entries)
        named = {f.where for f in findings if f.level == ERROR and f.where != "space"}
        points = grid_points(space_of(entries))
        absent = {f"space.{name}" for name in entries if all(name not in p for p in points)}
        # Told of are the first ones of a chain, each of them rightly.
        assert named <= absent and bool(named) == bool(absent)
        outcomes[bool(named)] += 1
        always = {f.where for f in findings if "always holds" in f.text}
        for name, entry in entries.items():
            exists_always = all(name in p for p in points)
            assert (f"space.{name}" in always) == ("when" in entry and exists_always)
    assert min(outcomes.values()) > 10


# Samplers


def test_samplers_and_pruners_have_names() -> None:
    assert told_of(GOOD, sampler="tp", pruner="medians") == [
        "error sampler: 'tp' is no sampler: did you mean 'tpe'?",
        "error pruner: 'medians' is no pruner: did you mean 'median'?",
    ]
    assert told_of(GOOD, sampler="random", pruner="none") == []


def test_a_grid_is_discrete() -> None:
    entries = DISCRETE + "\nd: {low: 0.0, high: 1.0}"
    assert told_of(entries, sampler="grid") == [
        "error space.d: is continuous, which a grid cannot be: give it a step or choices, or another "
        "sampler"
    ]
    assert told_of(DISCRETE, sampler="grid", trials=42) == []


def test_a_grid_has_as_many_trials_as_combinations() -> None:
    assert told_of(DISCRETE, sampler="grid", trials=43) == [
        "error trials: 43, but the grid has 42 combinations: lower them to 42"
    ]
    assert told_of(DISCRETE, sampler="grid", trials=41)[0].startswith(
        "warning trials: 41 end in the middle of a grid of 42 combinations"
    )
    inside = {"all": {"a": 2, "b": "y", "seed": 3}}
    beside = {"all": {"a": 9, "b": "y"}}
    assert told_of(DISCRETE, sampler="grid", trials=43, known=beside) == []
    assert told_of(DISCRETE, sampler="grid", trials=43, known=inside)[0].startswith("error trials")
    assert told_of(DISCRETE, sampler="grid", trials=44, known=beside) == [
        "error trials: 44, but the grid has 42 combinations and the source's present params: lower "
        "them to 43"
    ]


def test_a_grid_is_listed() -> None:
    entries = {"a": {"low": 1, "high": 10**9}}
    (error,) = told_of(entries, sampler="grid")
    assert error.startswith("error space: has 1,000,000,000 combinations, too many for a grid")
    assert told_of(entries) == []
    assert told_of({"a": {"low": 1, "high": 60}}, sampler="grid") == []


def test_weights_mean_nothing_to_a_grid() -> None:
    entries = {"a": {"choices": [1, 2, 3], "weights": [1, 2, 3]}}
    assert told_of(entries, sampler="grid", trials=3)[0].startswith("warning space.a: its weights")
    assert told_of(entries, trials=3) == []


def test_cmaes_needs_two_numbers() -> None:
    entries = "a: {low: 0.0, high: 2.0}\nb: {low: 0, high: 4}"
    assert told_of(entries, sampler="cmaes", trials=15) == []
    entries = "a: {low: 0.0, high: 2.0}\nb: {choices: [x, y]}\nc: {low: 1, high: 4, when: {b: x}}"
    assert told_of(entries, sampler="cmaes", trials=15) == [
        "error sampler: cmaes needs 2 numeric params without conditions, here 1: take sampler: tpe"
    ]


def test_cmaes_draws_the_others_at_random() -> None:
    (warning,) = told_of(GOOD, sampler="cmaes")
    assert warning.startswith(
        "warning sampler: cmaes models no categorical or conditional params: booster, rate_drop are"
    )
    assert told_of(GOOD) == []
    entries = "a: {low: 0.0, high: 2.0}\nb: y\nc: {low: 1, high: 4, when: {b: y}}"
    (warning,) = told_of(entries, sampler="cmaes")
    assert "always holds" in warning
    # A condition that holds wherever its parent exists holds no further than that.
    entries = "a: {choices: [x, y]}\nb: {choices: [1, 2], when: {a: x}}\n"
    entries += "c: {low: 1, high: 4, when: {b: [1, 2]}}\nd: {low: 1, high: 5}"
    (error,) = told_of(entries, sampler="cmaes", trials=12)
    assert error.startswith(
        "error sampler: cmaes needs 2 numeric params without conditions, here 1"
    )


# The first trial


def test_a_first_trial_outside_the_space_is_noted() -> None:
    inside = {"learning_rate": 0.05, "max_depth": 6, "booster": "gbtree", "alpha": 0.1}
    inside |= {"subsample": 0.8, "max_bin": 128, "nthread": 4}
    assert linted(GOOD, known={"y1": inside}) == linted(GOOD)
    outside = {**inside, "learning_rate": 0.1, "booster": "dart"}
    found = linted(GOOD, known={"y1": inside, "y2": outside, "y3": outside})
    assert [f for f in found if "first trial" in f.text] == [
        Finding(
            NOTE,
            "space",
            "the source's present params, first trial of y2 and 1 more, lie outside (rate_drop not set; "
            "learning_rate 0.1 outside): it is fitted, but the sampler learns nothing from it",
        )
    ]
    space = space_of(yaml.safe_load(GOOD.replace("1e-4", "1.0e-4")))
    assert space.enqueued(inside) is not None and space.enqueued(outside) is None


# Pruners


@pytest.mark.parametrize(
    ("rounds", "units", "every", "expected"),
    [
        (9, 1, 1, ""),
        (
            8,
            1,
            1,
            "error pruner: a trial reports 8× (8 rounds, every 1, 1 fits), and hyperband needs 9",
        ),
        (300, 3, 10, ""),
        (30, 3, 10, ""),
        (
            29,
            5,
            10,
            "warning pruner: 29 rounds, reported every 10, are fewer than 3 reports per fit",
        ),
        (29, 3, 10, "error pruner: a trial reports 6×"),
        (5, 9, 10, "warning pruner: 5 rounds"),
        (5, 8, 10, "error pruner: a trial reports 8×"),
        (None, 8, 1, "warning pruner: the rounds are unknown"),
        (None, 9, 1, "note pruner: the rounds are unknown"),
    ],
)
def test_the_resource_of_hyperband(
    rounds: int | None, units: int, every: int, expected: str
) -> None:
    settings = {"rounds": rounds, "units": units, "every": every}
    found = [f for f in linted(GOOD, pruner="hyperband", **settings) if f.where == "pruner"]
    assert len(found) == (1 if expected else 0)
    assert [f"{f.level} pruner: {f.text}"[: len(expected)] for f in found if expected] == [
        expected for _ in found
    ]
    for pruner in ("median", "none"):
        assert told_of(GOOD, pruner=pruner, **settings) == []


def test_wilcoxon_needs_four_fits() -> None:
    assert told_of(GOOD, pruner="wilcoxon", units=3)[0].startswith(
        "warning pruner: wilcoxon can never prune"
    )
    assert told_of(GOOD, pruner="wilcoxon", units=4)[0].startswith(
        "warning pruner: wilcoxon can prune after 4 fits at the earliest"
    )
    assert told_of(GOOD, pruner="wilcoxon", units=5) == []
    # The least p of the test that Optuna's pruner makes, below its 0.1 from there on.
    for units in range(2, 8):
        p = wilcoxon(-np.arange(1.0, units + 1), alternative="less", zero_method="zsplit").pvalue
        assert (p < 0.1) == (units >= WILCOXON_UNITS)


# What comes of it


def test_errors_are_refused_all_at_once() -> None:
    findings = linted("a: {low: 8, high: 5}\nb: {choices: []}\nc: {choices: [1]}", sampler="gird")
    with pytest.raises(BlendmakeError) as error:
        refuse(findings, "xgb_rare")
    assert str(error.value).split("\n") == [
        "searches.xgb_rare.space.a: low 8 is above high 5: exchange them",
        "searches.xgb_rare.space.b: choices are empty: name some, or leave the param out",
        "searches.xgb_rare.sampler: 'gird' is no sampler: did you mean 'grid'?",
    ]
    refuse(linted(GOOD, trials=2), "xgb_rare")


def test_findings_as_text() -> None:
    assert findings_text("xgb", linted(GOOD)) == (
        "searches.xgb: nothing found\n"
        "  note     space: size: continuous; 60 trials are 10 per param"
    )
    findings = linted("c: {choices: [1]}\na: {low: 8, high: 5}\nb: {choices: [2]}")
    assert findings_text("xgb", findings).split("\n") == [
        "searches.xgb: 1 error, 2 warnings",
        "  error    space.a: low 8 is above high 5: exchange them",
        "  warning  space.c: has one choice only: write the value, 1",
        "  warning  space.b: has one choice only: write the value, 2",
    ]
    assert findings_text("xgb", []) == "searches.xgb: nothing found"


# Garbage

ITSELF: list[Any] = [1]
ITSELF.append(ITSELF)
JUNK: list[Any] = [
    *(
        None,
        True,
        False,
        0,
        1,
        2,
        -3,
        7,
        0.5,
        1.0,
        math.nan,
        math.inf,
        -math.inf,
        HUGE,
        -HUGE,
        HUGER,
    ),
    *(1e300, -1e300, 5e-324, "", "1e-7", "1e999", "x", "low", "[1", "{", [], [1, 2], [[1], [1.0]]),
    *({}, {"low": 1}, {1: 2}, datetime.date(2020, 1, 1), b"x", {1, 2}, [1, 1.0], [True, 1], ITSELF),
    *(
        0.1,
        0.7,
        3,
        4,
        ["x", "y"],
        {"p0": "x"},
        {"p0": ["x", 1]},
        {"p1": True},
        {"source": "x"},
        {HUGER: 1},
    ),
]
JUNK_KEYS = [
    *("low", "high", "step", "log", "type", "choices", "weights", "value", "when"),
    *("lo", 1, None, True, HUGER),
]


def junk_entry(draw: np.random.Generator) -> Any:
    if draw.random() < 0.15:
        return JUNK[int(draw.integers(len(JUNK)))]
    shapes: Sequence[Sequence[Any]] = [("low", "high"), ("choices",), ("value",), JUNK_KEYS]
    keys = list(shapes[int(draw.integers(4))])
    keys = keys if len(keys) < 3 else [keys[k] for k in draw.permutation(len(keys))[:3]]
    for extra in draw.permutation(5)[: int(draw.integers(0, 3))]:
        keys.append(("step", "log", "type", "weights", "when")[extra])
    return {key: JUNK[int(draw.integers(len(JUNK)))] for key in keys}


def judged(entries: Any, **changes: Any) -> bool:
    """Whether a space passes; then it must be one that Optuna takes without a word."""
    findings = linted(entries, **changes)
    findings_text("s", findings)
    if any(f.level == ERROR for f in findings):
        with pytest.raises(BlendmakeError):
            refuse(findings, "s")
        return False
    space = space_of(parse_numbers(entries), changes.get("sources", ()))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            values = space.suggest(study.ask())
            assert all(
                param.contains(values[param.name]) for param in space if param.name in values
            )
    return True


def test_garbage_is_found_and_never_raises() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    draw = np.random.default_rng(2)
    passed = 0
    for number, sampler in zip(range(4000), itertools.cycle(["tpe", "cmaes", "random"])):
        entries: dict[Any, Any] = {"good": {"low": 1, "high": 9}, "other": {"low": 0.5, "high": 2}}
        for k in range(int(draw.integers(1, 3))):
            entries[f"p{k}" if draw.random() < 0.97 else JUNK_KEYS[k - 4]] = junk_entry(draw)
        passed += judged(entries, sampler=sampler, sources=["x", "y"] if number % 3 else [])
    assert 100 < passed < 3900


@pytest.mark.parametrize("entries", [None, 1, "text", [1, 2], [{"a": 1}], math.nan, ITSELF])
def test_what_is_no_space(entries: Any) -> None:
    (error, *_) = [f for f in lint_space(entries, **SETTINGS) if f.level == ERROR]
    assert error.where == "space" and error.text.startswith("must hold params by name; found")


def test_what_holds_itself_is_an_error() -> None:
    entries = yaml.safe_load(A + "a: &loop {choices: [1, *loop]}")
    assert told_of(entries) == [
        "error space.a: holds itself (a YAML anchor within its own value): write it out"
    ]


def test_numbers_that_cannot_be_written() -> None:
    entries = {"x": {"low": 1, "high": 9}, HUGER: {"low": 1, "high": 2}}
    assert len(told_of({**entries, "a": {"value": 1, "when": {HUGER: HUGER}}})) == 2
    assert told_of({"x": {"low": 1, "high": HUGER}}) == [
        "error space.x: high must be a number; found a huge int"
    ]
