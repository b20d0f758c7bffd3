"""Presets: the ladders by the shape of data and by time, as plain config that stays what it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.exceptions import WorkflowError

from blendmake.config.loading import load_problem
from blendmake.config.problem import Problem
from blendmake.config.run import Run
from blendmake.errors import BlendmakeError
from blendmake.presets import (
    CONDEMNED,
    FASTEST,
    LADDERS,
    MORE,
    PRESETS,
    SECTIONS,
    candidate,
    expand,
    resized,
    with_preset,
)
from blendmake.tables.facts import Facts
from blendmake.tasks import TASKS
from blendmake.triage import predicted_seconds
from helpers import enter_folder
from plan import Plan
from problems import Problem as Tables
from problems import run_fold, synthetic

REPO = Path(__file__).resolve().parents[2]
YEAST: dict[str, Any] = {"problem": "genes", "data": {"adapter": "yeast"}, "folds": {"n": 3}}
SHAPES = {
    "few rows": Facts(300, 12, 0, (30, 40, 50)),
    "many rows": Facts(400_000, 60, 4, (9000,) * 4),
    "one target": Facts(2000, 20, 0, (400,)),
    "many targets": Facts(5000, 40, 0, (200,) * 41),
    "categories": Facts(5000, 2, 30, (900, 800)),
    "wide": Facts(5000, 2400, 0, (900, 800, 700)),
    "numbers": Facts(20_000, 8, 0, (0,), tasks=("regression",)),
    "classes": Facts(700, 0, 35, (0,), tasks=("multiclass",), classes=(19,)),
    "mixed": Facts(5000, 20, 3, (900, 0, 0), tasks=(*TASKS,), classes=(0, 4, 0)),
}
each_preset = pytest.mark.parametrize("preset", PRESETS)
each_shape = pytest.mark.parametrize("shape", SHAPES)


def chosen_for(preset: str, shape: str, budget: float | None = None) -> dict[str, Any]:
    return expand(preset, SHAPES[shape], budget)


def problem_of(preset: str, chosen: dict[str, Any], **own: Any) -> Problem:
    return with_preset(load_problem({**YEAST, "preset": preset, **own}), chosen)


# The ladders


CHOSEN: list[tuple[str, str, list[str]]] = [
    ("quick", "few rows", ["vector", "logistic", "lightgbm"]),
    ("quick", "one target", ["logistic", "lightgbm"]),
    ("standard", "wide", ["vector", "logistic", "lightgbm", "vector_wide", "extra_trees"]),
    ("standard", "many rows", ["vector", "logistic", "lightgbm", "vector_wide"]),
    ("standard", "one target", ["logistic", "lightgbm", "extra_trees"]),
    (
        "strong",
        "categories",
        ["vector", "logistic", "lightgbm", "mlp", "vector_wide", "extra_trees", "xgboost", "tabm"],
    ),
    ("strong", "one target", ["logistic", "lightgbm", "mlp", "extra_trees", "xgboost", "tabm"]),
    (
        "strong",
        "many rows",
        ["vector", "logistic", "lightgbm", "mlp", "vector_wide", "xgboost", "tabm"],
    ),
]


@pytest.mark.parametrize(("preset", "shape", "names"), CHOSEN)
def test_the_ladder_by_the_shape_of_the_data(preset: str, shape: str, names: list[str]) -> None:
    assert list(chosen_for(preset, shape)["sources"]) == names


@each_preset
@each_shape
def test_every_preset_is_a_config_without_a_mistake(preset: str, shape: str) -> None:
    chosen = chosen_for(preset, shape)
    problem = problem_of(preset, chosen)
    sources, blends = list(chosen["sources"]), chosen["blends"]
    assert [*problem.sources] == sources and [*problem.blends] == [*blends]
    assert len({*sources, *blends}) == len(sources) + len(blends)
    order = chosen["campaigns"][preset]
    assert sorted(order) == sorted([*sources, *blends])
    for blend, config in blends.items():
        # Each stands on what the campaign has built before it.
        assert set(config["sources"]) <= set(order[: order.index(blend)])
        if blend.startswith("best_of_"):
            count = int(blend.removeprefix("best_of_"))
            assert config["sources"] == sources[:count] and 1 < count < len(sources)
            assert order.index(blend) == 1 + order.index(sources[count - 1])
    assert set(_leaves(problem, "champion")) == set(sources)
    assert problem.submissions.blends == ["champion"]


def _leaves(problem: Problem, name: str) -> list[str]:
    if name in problem.sources:
        return [name]
    return [leaf for member in problem.members(name) for leaf in _leaves(problem, member)]


def test_one_target_needs_no_neighbours_and_several_have_them() -> None:
    assert list(chosen_for("quick", "one target")["blends"]) == ["champion"]
    for shape, neighbours in (("categories", 1), ("wide", 2), ("many targets", 5)):
        assert chosen_for("quick", shape)["blends"]["stacked"]["neighbours"] == neighbours


def test_rounds_and_columns_follow_the_shape() -> None:
    few, many, wide, long = (
        chosen_for("strong", shape)["sources"]
        for shape in ("few rows", "many targets", "wide", "many rows")
    )
    for name in ("lightgbm", "xgboost"):
        assert many[name]["rounds"] < few[name]["rounds"]
    assert wide["lightgbm"]["params"]["feature_fraction"] == 0.3
    assert wide["xgboost"]["params"]["colsample_bynode"] == 0.3
    assert wide["logistic"]["params"]["C"] < few["logistic"]["params"]["C"]
    for name in ("mlp", "tabm"):
        assert long[name]["rounds"] < few[name]["rounds"]
        assert long[name]["params"]["batch_size"] == 1024
        assert "batch_size" not in few[name]["params"]
        assert few[name]["early_stopping"]["rounds"] > long[name]["early_stopping"]["rounds"]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return synthetic(tmp_path_factory.mktemp("problem"), rows=120, test_rows=10)


@pytest.mark.parametrize("shape", ["few rows", "many rows", "wide"])
@pytest.mark.parametrize("name", sorted(chosen_for("strong", "few rows")["sources"]))
def test_what_stands_in_a_ladder_can_be_fitted(
    name: str, shape: str, tables: Tables, tmp_path: Path
) -> None:
    """Families refuse params that they do not know, so that a wrong one would show."""
    source = chosen_for("strong", shape)["sources"].get(name)
    if source is None:
        assert (name, shape) == ("extra_trees", "many rows")
        return
    if name in ("mlp", "tabm"):
        pytest.importorskip("torch", reason="envs/neural.txt is not installed")
    done = run_fold(tables, out=tmp_path, **{**source, "rounds": 2})
    assert done.oof.targets == ("full", "other", "gaps", "rare")


# Time


@each_preset
@each_shape
def test_a_budget_chooses_on_the_way(preset: str, shape: str) -> None:
    """All that may be fitted is named, and nothing is said to stand."""
    chosen = chosen_for(preset, shape, 600)
    ladder = list(chosen_for(preset, shape)["sources"])
    assert list(chosen["sources"])[: len(ladder)] == ladder
    more = set(chosen["sources"]) - set(ladder)
    assert more and more <= {rung.name for rung in MORE[preset]}
    assert set(chosen["left"]) == {*chosen["sources"], "champion"}
    problem = problem_of(preset, chosen, budget="10m")
    assert problem.submissions.blends == ["champion"]


def test_many_missing_labels_bring_forests_forward() -> None:
    missing = replace(SHAPES["many targets"], labelled=0.06)
    names = list(expand("strong", missing)["sources"])
    assert names[:2] == ["vector", "extra_trees"] and sorted(names) == sorted(
        chosen_for("strong", "many targets")["sources"]
    )


def test_a_source_of_fewer_rounds_learns_faster_and_one_of_more_as_before() -> None:
    whole = chosen_for("strong", "wide")["sources"]["vector"]
    for share in (0.15, 0.5, 1.0, 3.0):
        source = resized(whole, share)
        assert source["rounds"] == pytest.approx(share * whole["rounds"], abs=1)
        rate = min(FASTEST, whole["params"]["learning_rate"] / min(1.0, share))
        assert source["params"]["learning_rate"] == pytest.approx(rate, rel=0.01)
        assert {**source["params"], "learning_rate": 0} == {**whole["params"], "learning_rate": 0}
    forest = chosen_for("strong", "few rows")["sources"]["extra_trees"]
    assert resized(forest, 2.0) == {**forest, "rounds": 2 * forest["rounds"]}


@each_shape
def test_what_a_candidate_costs_at_its_own_rounds_is_the_rule_of_thumb(shape: str) -> None:
    facts = SHAPES[shape]
    for name, source in chosen_for("strong", shape)["sources"].items():
        one = candidate(name, source, facts, 3)
        assert one.guess(1.0) == pytest.approx(predicted_seconds(source, facts, facts.targets, 3))
        assert one.guess(one.least) <= one.guess(1.0) <= one.guess(one.most)
        assert one.fixed >= 0 and one.variable >= 0
    own = candidate("mine", {"family": "catboost", "params": {}}, facts, 3)
    assert (own.least, own.most, own.variable) == (1.0, 1.0, 0.0)


def test_no_member_is_in_the_champion_that_its_own_score_condemns() -> None:
    champion = chosen_for("strong", "many targets")["blends"]["champion"]
    assert champion["max_auc_gap"] == CONDEMNED and set(champion["sources"]) == {
        "greedy",
        "stacked",
    }


def test_each_preset_has_a_ladder_and_more() -> None:
    for preset in PRESETS:
        names = [rung.name for rung in (*LADDERS[preset], *MORE[preset])]
        assert len(set(names)) == len(names)


# What the user gives beside a preset


def test_own_sections_win_and_the_rest_stays() -> None:
    chosen = chosen_for("quick", "few rows")
    own = {
        "sources": {"lightgbm": {"family": "lightgbm", "rounds": 7}, "mine": {"family": "linear"}},
        "blends": {"champion": {"method": "mean", "sources": ["mine", "vector"]}},
        "campaigns": {"quick": ["mine", "champion"], "other": ["best_of_2"]},
        "comparisons": [["champion", "vector"]],
    }
    problem = problem_of("quick", chosen, **own)
    assert list(problem.sources) == ["vector", "logistic", "lightgbm", "mine"]
    assert problem.sources["lightgbm"].slice() == {
        **problem.sources["mine"].slice(),
        "family": "lightgbm",
        "rounds": 7,
    }
    assert problem.sources["vector"].rounds == chosen["sources"]["vector"]["rounds"]
    assert problem.members("champion") == ["mine", "vector"]
    assert problem.blends["greedy"].sources == ["vector", "logistic", "lightgbm"]
    assert problem.campaigns == own["campaigns"]
    assert problem.comparisons == [("champion", "vector")]
    assert problem.preset == "quick"


def test_own_submissions_win() -> None:
    chosen = chosen_for("quick", "few rows")
    rename = {"pattern": "^Class", "replace": "p"}
    with_csv = problem_of("quick", chosen, submissions={"csv": True, "rename": rename})
    assert with_csv.submissions.blends == ["champion"] and with_csv.submissions.csv
    named = problem_of("quick", chosen, submissions={"blends": ["best_of_2", "vector"]})
    assert named.submissions.blends == ["best_of_2", "vector"]
    files = {"train": "a.csv", "id": "id", "targets": {"columns": ["y"]}}
    for submissions in ({}, {"csv": True}):
        given = {"problem": "p", "preset": "quick", "data": files, "submissions": submissions}
        assert with_preset(load_problem(given), chosen).submissions.blends == []


OWN_MISTAKES: list[tuple[dict[str, Any], str]] = [
    (
        {"submissions": {"blends": ["champio"]}},
        "submissions.blends: no source or blend is called 'champio'; did you mean 'champion'?",
    ),
    (
        {"blends": {"b": {"method": "mean", "sources": ["vector", "extra_trees"]}}},
        "blends.b.sources: no source or blend is called 'extra_trees'",
    ),
    (
        {"sources": {"mine": {"family": "linear", "features": "fewer"}}},
        "sources.mine.features: no feature set is called 'fewer'",
    ),
    (
        {
            "sources": {"mine": {"family": "linear"}},
            "blends": {"vector": {"method": "mean", "sources": "mine"}},
        },
        "blends.vector: a source has the same name",
    ),
]


@pytest.mark.parametrize(("own", "message"), OWN_MISTAKES)
def test_wrong_names_are_told_with_those_of_the_preset(own: dict[str, Any], message: str) -> None:
    with pytest.raises(BlendmakeError) as error:
        problem_of("quick", chosen_for("quick", "few rows"), **own)
    head, *lines, last = str(error.value).split("\n")
    assert head == "The config of problem 'genes' is wrong:"
    assert lines[0].strip().startswith(message)
    assert last.startswith("Preset 'quick' brings vector, logistic, lightgbm, best_of_2, ")


# Written out: by show_config, and frozen


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_folder(tmp_path, monkeypatch)


def planned(preset: str = "quick", cores: int = 2, **changes: Any) -> Plan:
    return Plan({**YEAST, "preset": preset, **changes}, str(REPO), cores)


FROZEN = Path("results/genes/preset.json")


@each_preset
def test_what_show_config_prints_loads_to_the_same_problem(preset: str) -> None:
    own = {
        "sources": {"mine": {"family": "linear", "targets": ["pair", "Class9"]}},
        "groups": {"pair": ["Class1", "Class2"], "few": {"rarest": 2}},
        "submissions": {"csv": True},
    }
    plan = planned(preset, budget="2h", **own)
    text = yaml.safe_dump(plan.written_out, sort_keys=False)
    written = load_problem(yaml.safe_load(text))
    assert written == plan.problem.model_copy(update={"preset": None, "budget": None})
    again = Plan(yaml.safe_load(text), str(REPO), 2)
    assert again.slices == plan.slices and again.everything == plan.everything
    assert list(again.problem.sources) == list(plan.problem.sources)


@pytest.mark.parametrize("name", ["yeast", "cyberpolka"])
def test_what_show_config_prints_of_a_shipped_config(name: str, folder: Path) -> None:
    given = yaml.safe_load((REPO / "config" / f"{name}.yaml").read_text(encoding="utf-8"))
    for source in given["sources"].values():
        if "file" in source:
            path = folder / source["file"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    plan = Plan({**given, "rows": 2000} if name == "cyberpolka" else given, str(REPO))
    text = yaml.safe_dump(plan.written_out, sort_keys=False)
    assert not set(yaml.safe_load(text)) & set(Run.model_fields)
    assert load_problem(yaml.safe_load(text)) == plan.problem


def test_a_preset_is_frozen_by_the_first_run_and_read_by_the_next() -> None:
    plan = planned()
    assert not FROZEN.exists()  # a dry run asks for the plan only
    plan.freeze()
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    assert frozen["asked"] == {"preset": "quick", "budget": None, "folds": 3}
    assert set(frozen) == {"asked", *SECTIONS}
    frozen["sources"]["lightgbm"]["rounds"] = 11
    FROZEN.write_text(json.dumps(frozen), encoding="utf-8")
    again = planned()
    assert again.problem.sources["lightgbm"].rounds == 11
    assert again.slices["source"]["vector"] == plan.slices["source"]["vector"]
    again.freeze()
    before = FROZEN.stat().st_mtime_ns
    planned().freeze()
    assert FROZEN.stat().st_mtime_ns == before  # nothing is written twice


@pytest.mark.parametrize("changes", [{"preset": "standard"}, {"budget": "1h"}, {"folds": {"n": 4}}])
def test_another_wish_has_it_chosen_anew(changes: dict[str, Any]) -> None:
    planned().freeze()
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    frozen["sources"]["vector"]["rounds"] = 11
    FROZEN.write_text(json.dumps(frozen), encoding="utf-8")
    preset = changes.pop("preset", "quick")
    plan = planned(preset, **changes)
    assert plan.problem.sources["vector"].rounds != 11
    assert json.loads(FROZEN.read_text(encoding="utf-8")) == frozen
    plan.freeze()
    asked = {"preset": preset, "budget": plan.problem.budget, "folds": plan.problem.folds.n}
    assert json.loads(FROZEN.read_text(encoding="utf-8"))["asked"] == asked


def test_a_frozen_preset_stays_on_other_machines() -> None:
    small = planned("strong", cores=1, budget="1m")
    small.freeze()
    assert planned("strong", cores=64, budget="1m").problem == small.problem


ASKED = '{"asked": {"preset": "quick", "budget": null, "folds": 3}'
DAMAGED = [
    "",
    '{"asked": {"preset": "qu',
    "[1, 2]",
    "7",
    ASKED + "}",
    ASKED + ', "sources": {}, "blends": {}, "campaigns": {}}',
    ASKED + ', "sources": [], "blends": {}, "campaigns": {}}',
    "\udcff",
    "[" * 9999,
]
# What no preset writes: functions, programs and files of somebody else's choice.
BROUGHT = [
    {"family": "custom", "file": "config/custom/example.py"},
    {"family": "custom", "file": "x.py", "python": "rm"},
    {"family": "lightautoml"},
    {"family": "lightautoml", "python": "rm"},
    {"family": "lightgbm", "python": "rm"},
    {"family": "lightgbm", "environment": ["AWS_SECRET_ACCESS_KEY"]},
    {"family": "lightgbm", "params_from": {"search": "s"}},
    {"family": "catboost", "params": {"train_dir": "/tmp/x"}},
    {"family": "lightgbm", "params": {"forcedsplits_filename": ["../x"]}},
    {"rounds": 3},
    "lightgbm",
    None,
]
DAMAGED += [
    ASKED + f', "sources": {{"x": {json.dumps(one)}}}, "blends": {{}}, "campaigns": {{}}}}'
    for one in BROUGHT
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_is_an_error_with_a_mend(text: str) -> None:
    FROZEN.parent.mkdir(parents=True)
    FROZEN.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(WorkflowError, match=r"preset\.json is damaged .*\. Delete it.*: rm "):
        planned()
    FROZEN.unlink()
    assert planned().sources == ["vector", "logistic", "lightgbm"]


def test_a_frozen_source_that_is_no_config_any_more_is_named() -> None:
    planned().freeze()
    frozen = json.loads(FROZEN.read_text(encoding="utf-8"))
    frozen["sources"]["vector"]["round"] = frozen["sources"]["vector"].pop("rounds")
    FROZEN.write_text(json.dumps(frozen), encoding="utf-8")
    with pytest.raises(WorkflowError, match=r"sources\.vector: unknown key 'round'") as error:
        planned()
    assert "Preset 'quick' brings vector," in str(error.value)


# Other tasks and metrics


@pytest.mark.parametrize("shape", ["numbers", "classes", "mixed"])
def test_presets_of_other_tasks(shape: str) -> None:
    chosen = chosen_for("strong", shape)
    assert "xgboost_vector" not in {one["family"] for one in chosen["sources"].values()}
    assert chosen["blends"]["champion"]["method"] == "greedy"
    assert not any({"scale", "max_auc_gap"} & set(one) for one in chosen["blends"].values())
    assert chosen_for("strong", shape, 600)["blends"]["champion"].keys() == {"method", "sources"}


def test_another_metric_than_the_auc_has_no_gap_of_it() -> None:
    facts = SHAPES["few rows"]
    assert "max_auc_gap" in expand("quick", facts)["blends"]["champion"]
    assert "max_auc_gap" not in expand("quick", facts, by_auc=False)["blends"]["champion"]


def test_a_preset_is_chosen_anew_for_another_task_or_metric(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first = planned("quick")
    first.freeze()
    assert first.preset is not None and "max_auc_gap" in first.preset["blends"]["champion"]
    again = planned("quick", metric="log_loss")
    assert again.preset is not None and "max_auc_gap" not in again.preset["blends"]["champion"]
    assert again.preset["asked"]["metric"] == "log_loss"
