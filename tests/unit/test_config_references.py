"""Config rules of target groups, external sources, bags, joint families, and what a run is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blendmake.config.loading import load_problem, load_run
from blendmake.config.problem import Problem
from blendmake.config.run import Run
from blendmake.config.sources import Bagging
from blendmake.durations import seconds_of
from blendmake.errors import BlendmakeError
from blendmake.families import JOINT
from unit.test_config import DELETE, config, mistakes

STOPPED = {"family": "lightgbm", "early_stopping": {"rounds": 5}}
WEAK = {"lowest_auc": 2, "source": "a"}
THEIRS = {"oof": "theirs/oof.csv", "test": "theirs/test.csv"}
Changes = list[tuple[str, Any]]


# Groups


def test_groups_are_lists_or_rules() -> None:
    problem = load_problem(
        config(
            ("groups", {"few": "y3", "rare": {"rate_at_most": "1e-2"}, "weak": WEAK}),
            ("groups.least", {"rarest": 3}),
            ("groups.given", {"targets": ["y1", "y2"]}),
            ("sources.a", STOPPED),
            ("sources.b.overrides", {"groups": {"least": {"rounds": 9}}}),
        )
    )
    assert {name: group.is_built for name, group in problem.groups.items()} == {
        "few": False,
        "rare": True,
        "weak": True,
        "least": True,
        "given": False,
    }
    assert problem.groups["few"].targets == ["y3"]
    assert problem.groups["rare"].rate_at_most == 0.01
    assert problem.groups["weak"].slice() == WEAK
    assert problem.sources["b"].group_names(problem.groups) == ["least", "rare"]
    assert problem.sources["a"].group_names(problem.groups) == []


ONE_WAY = "groups.g: a group is a list of targets or one of rate_at_most, rarest, lowest_auc; found"
GROUPS: list[tuple[Any, str]] = [
    ({}, f"{ONE_WAY} none"),
    (
        {"rarest": 2, "rate_at_most": 0.1},
        f"{ONE_WAY} rate_at_most, rarest",
    ),
    (
        {"targets": ["y1"], "rarest": 2},
        f"{ONE_WAY} targets, rarest",
    ),
    ({"lowest_auc": 2}, "groups.g: 'lowest_auc' and 'source' go together"),
    ({"rarest": 2, "source": "a"}, "groups.g: 'lowest_auc' and 'source' go together"),
    ({"rate_at_most": 1}, "groups.g.rate_at_most: must be below 1.0; found 1"),
    ({"rate_at_most": 0}, "groups.g.rate_at_most: must be above 0.0; found 0"),
    ({"rarest": 0}, "groups.g.rarest: must be at least 1; found 0"),
    ({"rarest": 1.5}, "groups.g.rarest: must be a whole number; found 1.5"),
    ({"rares": 2}, "groups.g: unknown key 'rares'; did you mean 'rarest'?"),
    (7, "groups.g: must be a mapping (key: value); found 7"),
    (["y1", "y1"], "groups.g.targets: 'y1' is named twice"),
    (["y1", "y9"], "groups.g: no target is called 'y9'; known: y1, y2, y3"),
    (
        {"lowest_auc": 2, "source": "aa"},
        "groups.g.source: no source is called 'aa'; did you mean 'a'?",
    ),
    (
        {"lowest_auc": 2, "source": "m"},  # a blend has no fits
        "groups.g.source: no source is called 'm'; known: a, b",
    ),
    (
        WEAK,  # of a family that watches nothing
        "groups.g.source: 'a' (linear) has no AUC on inner splits; name a source of catboost, "
        "lightgbm, mlp, tabm, xgboost, xgboost_vector",
    ),
]


@pytest.mark.parametrize(("group", "expected"), GROUPS)
def test_wrong_groups(group: Any, expected: str) -> None:
    assert mistakes(("groups.g", group)) == [expected]


def test_a_source_that_stops_on_the_fold_ranks_nothing() -> None:
    stopping = {"early_stopping": {"watch": "fold"}}
    assert mistakes(("groups.g", WEAK), ("sources.a", {**STOPPED, **stopping})) == [
        "groups.g.source: 'a' has no AUC on inner splits; give it early_stopping (watch: inner)"
    ]


# Circles

LINEAR = {"family": "linear"}


def circle(*changes: tuple[str, Any]) -> list[str]:
    return mistakes(
        ("sources.a", STOPPED), ("groups", {"weak": WEAK}), ("sources.b", LINEAR), *changes
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("sources.a.targets", "weak")], "sources: a -> group weak -> a goes in a circle"),
        (
            [("sources.a.overrides", {"groups": {"weak": {"rounds": 9}}})],
            "sources: a -> group weak -> a goes in a circle",
        ),
        (
            [
                ("groups.other", {"lowest_auc": 1, "source": "b"}),
                ("sources.b", {**STOPPED, "targets": "weak"}),
                ("sources.a.targets", ["y1", "other"]),
            ],
            # `other` leaves out the members of `weak` too.
            "sources: a -> group other -> group weak -> a goes in a circle",
        ),
        (
            # The rule of `rare` looks at no source, but the group above it does.
            [("groups.rare", {"rarest": 1}), ("sources.a.targets", "rare")],
            "sources: a -> group rare -> group weak -> a goes in a circle",
        ),
        (
            # Found on the way from a source that is no part of it.
            [
                ("groups", {"weak": {"lowest_auc": 1, "source": "b"}, "last": {"rarest": 1}}),
                ("sources.a.targets", "last"),
                ("sources.b", {**STOPPED, "targets": "weak"}),
            ],
            "groups: group weak -> b -> group weak goes in a circle",
        ),
    ],
    ids=["targets", "overrides", "two sources", "a group above", "from outside"],
)
def test_circles(changes: Changes, expected: str) -> None:
    assert circle(*changes) == [expected]


def test_no_circle_where_a_group_stands_above() -> None:
    """A group above the one that ranks by a source may be named by that source."""
    groups = {"rare": {"rarest": 1}, "weak": WEAK, "last": {"rarest": 1}}
    source = {**STOPPED, "targets": ["rare", "y2"]}
    specialist = {"family": "linear", "targets": ["weak", "last"]}
    load_problem(config(("groups", groups), ("sources.a", source), ("sources.b", specialist)))


def test_audits_read_no_group_that_is_built() -> None:
    audits = {"noise": {"targets": ["rare", "few"]}}
    groups = {"few": ["y1"], "rare": {"rarest": 2}}
    assert mistakes(("audits", audits), ("groups", groups)) == [
        "audits.noise.targets: 'rare' is built by a rule; name its targets, or all"
    ]


# External sources


def test_external_sources_are_sources() -> None:
    problem = load_problem(
        config(
            ("external", {"theirs": THEIRS}),
            ("blends.m.fallback", "theirs"),
            ("comparisons", [["theirs", "a"]]),
            ("submissions.blends", "theirs"),
            ("campaigns", {"night": ["theirs", "m"]}),
        )
    )
    assert problem.model_sources() == ["a", "b", "theirs"]
    assert problem.members("m") == ["a", "b", "theirs"]
    assert problem.artifacts() == ["a", "b", "theirs", "m"]
    alone = config(("external", {"theirs": THEIRS}), ("sources", {}))
    assert load_problem(alone).members("m") == ["theirs"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([("external", {"t": {"oof": "o.csv"}})], "external.t.test: must be given"),
        (
            [("external", {"t": {**THEIRS, "testt": "x"}})],
            "external.t: unknown key 'testt'; did you mean 'test'?",
        ),
        ([("external", ["t"])], "external: must be a mapping (key: value); found ['t']"),
        ([("external", {"a": THEIRS})], "external.a: a source has the same name"),
        ([("external", {"m": THEIRS})], "blends.m: an external source has the same name"),
        ([("external", {"macro": THEIRS})], "external.macro: a reserved word, not a name"),
        (
            [("external", {"t": THEIRS}), ("groups.g", {"lowest_auc": 1, "source": "t"})],
            "groups.g.source: no source is called 't'; known: a, b",
        ),
        (
            [("external", {"theirs": THEIRS}), ("blends.m.sources", ["their"])],
            "blends.m.sources: no source or blend is called 'their'; did you mean 'theirs'?",
        ),
    ],
)
def test_wrong_external_sources(changes: Changes, expected: str) -> None:
    assert mistakes(*changes) == [expected]


# Manifests


def manifest(folder: Path, entries: Any, name: str = "theirs.json") -> str:
    path = folder / name
    path.write_text(entries if isinstance(entries, str) else json.dumps(entries))
    return str(path)


def entry(label: str) -> dict[str, str]:
    return {"label": label, "oof_path": f"{label}_oof.csv", "test_path": f"{label}_test.csv"}


def test_manifests_list_external_sources(tmp_path: Path) -> None:
    first = manifest(tmp_path, [{**entry("x"), "score": 0.8}, entry("y")])
    second = manifest(
        tmp_path, "- label: z\n  oof_path: z_oof.csv\n  test_path: z_test.csv\n", "more.yaml"
    )
    changed = config(("manifests", [first, second]), ("external", {"theirs": THEIRS}))
    problem = load_problem(changed)
    assert list(problem.external) == ["theirs", "x", "y", "z"]
    assert problem.external["z"].model_dump() == {"oof": "z_oof.csv", "test": "z_test.csv"}
    assert list(changed["external"]) == ["theirs"], "the config was changed in place"
    only = load_problem(config(("manifests", first)))
    assert list(only.external) == ["x", "y"] and only.manifests == [first]
    assert load_problem(config(("manifests", manifest(tmp_path, "[]")))).external == {}


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([entry("x"), {"label": "y", "oof_path": "o"}], ": entry 2 has no 'test_path'."),
        ([{**entry("x"), "label": 7}], ": entry 1 has no 'label'."),
        ([entry("x"), entry("x")], ": there are two external sources 'x'."),
        ([entry("theirs")], ": there are two external sources 'theirs'."),
        ({"x": entry("x")}, " must be a list of label, oof_path, test_path."),
        ("", " must be a list of label, oof_path, test_path."),
        (["x"], " must be a list of label, oof_path, test_path."),
        ('[{"label": "x"', " cannot be read: while parsing a flow"),
    ],
)
def test_wrong_manifests(entries: Any, expected: str, tmp_path: Path) -> None:
    path = manifest(tmp_path, entries)
    with pytest.raises(BlendmakeError) as error:
        load_problem(config(("manifests", path), ("external", {"theirs": THEIRS})))
    assert str(error.value).startswith(("manifests: ", path))
    assert f"{path}{expected}" in str(error.value)


def test_manifests_that_are_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "none.json")
    with pytest.raises(BlendmakeError, match=rf"^manifests: {path} does not exist\.$"):
        load_problem(config(("manifests", path)))
    with pytest.raises(BlendmakeError, match=rf"^manifests: {tmp_path} cannot be read"):
        load_problem(config(("manifests", [str(tmp_path)])))


def test_manifests_of_another_kind_are_told_with_the_rest(tmp_path: Path) -> None:
    told = mistakes(("manifests", {"a": 1}), ("seed", "x"))
    assert told[0] == "seed: must be a whole number; found 'x'"
    assert told[1].startswith("manifests: must be a list")
    path = manifest(tmp_path, [entry("Upper"), entry("a")])
    told = mistakes(("manifests", path), ("external", ["t"]))
    assert told == ["external: must be a mapping (key: value); found ['t']"]
    assert mistakes(("manifests", path)) == [
        "external.Upper: 'Upper' is not a usable name: lower-case letters and digits, single "
        "underscores between"
    ]
    assert mistakes(("manifests", manifest(tmp_path, [entry("a")]))) == [
        "external.a: a source has the same name"
    ]


# Bags, joint families, files


@pytest.mark.parametrize(
    ("bagging", "expected"),
    [
        ({"bags": 0}, "bags: must be at least 1; found 0"),
        ({"bags": 101}, "bags: must be at most 100; found 101"),
        ({"negatives_per_positive": 0}, "negatives_per_positive: must be above 0.0; found 0"),
        ({"max_negatives": 0}, "max_negatives: must be at least 1; found 0"),
    ],
)
def test_wrong_bagging(bagging: dict[str, Any], expected: str) -> None:
    assert mistakes(("sources.a.bagging", bagging)) == [f"sources.a.bagging.{expected}"]
    overrides = {"targets": {"y1": {"bagging": bagging}}}
    where = "sources.a.overrides.targets.y1.bagging"
    assert mistakes(("sources.a.overrides", overrides)) == [f"{where}.{expected}"]


def test_bagging_defaults() -> None:
    bagging = load_problem(config(("sources.a.bagging", {}))).sources["a"].bagging
    assert bagging == Bagging(bags=5) and not bagging.undersamples
    assert load_problem(config()).sources["a"].bagging is None
    drawn = ({"max_negatives": 3}, {"negatives_per_positive": 2})
    assert all(Bagging.model_validate(one).undersamples for one in drawn)


@pytest.mark.parametrize("family", sorted(JOINT))
def test_one_model_of_all_targets_leaves_nothing_to_set_per_target(family: str) -> None:
    base: dict[str, Any] = {"family": family, "bagging": {"bags": 3}}
    if family == "custom":
        base["file"] = "mine.py"
    load_problem(config(("sources.a", base)))
    load_problem(config(("sources.a", {**base, "overrides": {"groups": {}}})))
    head = f"sources.a: family '{family}' fits one model for all targets: "
    for key, name in (("targets", "y1"), ("groups", "rare")):
        overrides = {key: {name: {"rounds": 9}}}
        assert mistakes(("sources.a", {**base, "overrides": overrides})) == [
            f"{head}'overrides' cannot apply: leave them out, or make a source per group"
        ]
    for drawn in ({"max_negatives": 9}, {"negatives_per_positive": 2.0}):
        assert mistakes(("sources.a", {**base, "bagging": drawn})) == [
            f"{head}'bagging' cannot undersample: leave out negatives_per_positive, max_negatives"
        ]


def test_a_file_belongs_to_the_custom_family() -> None:
    told = "sources.a: family 'custom' and the key 'file' go together"
    assert mistakes(("sources.a.file", "mine.py")) == [told]
    assert mistakes(("sources.a", {"family": "custom"})) == [told]
    custom = {"family": "custom", "file": "mine.py", "python": "/env/bin/python"}
    assert load_problem(config(("sources.a", custom))).sources["a"].file == "mine.py"
    assert mistakes(("sources.a", {**custom, "keep_models": True})) == [
        "sources.a: models of family 'custom' cannot be kept: leave out keep_models"
    ]


def test_an_interpreter_belongs_to_families_that_run_in_one() -> None:
    (told,) = mistakes(("sources.a.python", "/env/bin/python"))
    assert told == "sources.a: 'python' belongs to the families custom, lightautoml"


# What a run is told


def test_keys_of_a_run_are_no_keys_of_a_problem() -> None:
    assert not set(Run.model_fields) & set(Problem.model_fields)


def test_a_run_is_told_apart_from_the_problem() -> None:
    run, rest = load_run({**config(), "rows": 2000, "window": "1h30m"})
    assert (run.rows, run.window) == (2000, 5400.0)
    assert rest == config()
    assert load_run(config()) == (Run(), config())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"rows": 10}, "rows: must be at least 1000; found 10"),
        ({"rows": "many"}, "rows: must be a whole number; found 'many'"),
        ({"window": "soon"}, "window: must be a duration such as 90m, 1h30m or 45s; found 'soon'"),
        ({"window": True}, "window: must be a duration such as 90m, 1h30m or 45s; found True"),
    ],
)
def test_what_a_run_is_told_wrongly(given: dict[str, Any], expected: str) -> None:
    with pytest.raises(BlendmakeError) as error:
        load_problem({**config(), **given})
    assert str(error.value) == f"What --config says of this run is wrong:\n  {expected}"


def test_fewer_rows_are_a_problem_of_its_own() -> None:
    twin = config(("data", {"adapter": "contest_twin"}), ("groups", {}), ("sources.b", DELETE))
    problem = load_problem({**twin, "rows": 2000})
    assert (problem.problem, problem.data.rows) == ("toy_rows2000", 2000)
    # Over what the problem itself says.
    own = {**twin, "data": {**twin["data"], "rows": 5000}}
    assert load_problem({**own, "rows": 2000}).data.rows == 2000
    assert load_problem(own).problem == "toy"
    with pytest.raises(BlendmakeError, match=r"--config rows=… is for generated data sets"):
        load_problem({**config(), "rows": 2000})
    assert load_problem({**config(), "window": "90m"}) == load_problem(config())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90m", 5400),
        ("1h30m", 5400),
        ("1H 30M", 5400),
        (" 45s ", 45),
        ("2h5s", 7205),
        ("100m", 6000),
        ("600", 600),
        (600, 600),
        ("1.5", 1.5),
        (0.25, 0.25),
        *((text, None) for text in ("", "0", "0m", "m", "30m1h", "1h1h", "-5m", "1.5h", "5 days")),
        *((value, None) for value in (None, True, False, 0, -3, float("nan"), float("inf"), [5])),
    ],
)
def test_durations(text: Any, seconds: float | None) -> None:
    assert seconds_of(text) == seconds
