"""Config keys that say what targets are and how predictions of them are measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from snakemake.exceptions import WorkflowError

from blendmake.code_digest import imported_files
from blendmake.config.loading import load_problem
from blendmake.config.measures import fit_modules, metric_files
from blendmake.families import FAMILIES
from blendmake.metrics import METRICS
from blendmake.metrics.finding import find_metric
from blendmake.tables.user_labels import read_targets, write_targets
from blendmake.tasks import TASKS
from blendmake.tasks.base import find_task
from helpers import write_user_file
from plan import Plan
from unit.test_config import DELETE, config, mistakes
from workflow.conftest import REPO

RANKING, PROBABILITY = "blendmake.metrics.ranking", "blendmake.metrics.probability"
TARGETS = {"y1": "regression", "y2": "multiclass", "y3": "binary"}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_with_all_that_measures_it(task: str) -> None:
    names = [name for name in METRICS if task in find_metric(name).tasks]
    for name in names:
        problem = load_problem(config(("task", task), ("metric", name), ("also", names)))
        assert (problem.task, problem.metric, problem.also) == (task, name, names)
    own = find_task(task)
    assert {own.metric, *own.also} <= set(names)


@pytest.mark.parametrize("task", TASKS)
def test_a_metric_of_another_task_is_refused(task: str) -> None:
    others = [name for name in METRICS if task not in find_metric(name).tasks]
    assert others
    for name in others:
        (text,) = mistakes(("task", task), ("metric", name))
        assert text.startswith(f"metric of target 'y1': '{name}' does not measure {task}; ")
        (text,) = mistakes(("task", task), ("also", [name]))
        assert text == f"also: '{name}' does not measure {task}"


def test_tasks_and_metrics_by_target() -> None:
    metric = {"y1": "mae", "y3": "log_loss"}
    problem = load_problem(config(("task", TARGETS), ("metric", metric), ("also", "rmse")))
    assert problem.task == TARGETS
    assert problem.metric == metric
    assert problem.also == ["rmse"]
    # What is told from the column is not judged before it is read.
    assert load_problem(config(("metric", "rmse"))).metric == "rmse"
    assert load_problem(config(("task", {"y1": "regression"}), ("metric", {"y2": "auc"})))


WRONG: dict[str, tuple[list[tuple[str, Any]], str]] = {
    "task": ([("task", "regresion")], "task: unknown task 'regresion'; did you mean 'regression'?"),
    "task of a target": (
        [("task", {"y1": "sorting"})],
        "task: of target 'y1': unknown task 'sorting'; known: auto, binary, multiclass, regression",
    ),
    "no task": ([("task", 3)], "task: unknown task 3; known: auto, binary, multiclass, regression"),
    "tasks of none": ([("task", {})], "task: must not be empty"),
    "a number as target": (
        [("task", {1: "binary"})],
        "task: target 1 is no text: put the key in quotes",
    ),
    "target": ([("task", {"y4": "binary"})], "task: no target is called 'y4'; known: y1, y2, y3"),
    "target of metric": (
        [("metric", {"y_1": "auc"})],
        "metric: no target is called 'y_1'; did you mean 'y1'?",
    ),
    "metric": (
        [("metric", "logloss")],
        "metric: there is no metric 'logloss'; did you mean 'log_loss'?",
    ),
    "argument": ([("metric", "rmse(3)")], "metric: Metric 'rmse(3)'"),
    "list of metrics": (
        [("metric", ["auc"])],
        "metric: must be the name of a metric; found ['auc']",
    ),
    "also": (
        [("also", ["auc", "briar"])],
        "also: there is no metric 'briar'; did you mean 'brier'?",
    ),
    "also by target": (
        [("also", {"y1": "auc"})],
        "also: must be a list [a, b]; found {'y1': 'auc'}",
    ),
    "file called as another": (
        [("metric", "my/auc.py")],
        "metric: 'my/auc.py' would be called 'auc', as another metric is: rename it",
    ),
    "files called alike": (
        [("also", ["a/gain.py", "b/gain.py"])],
        "also: a/gain.py and 'b/gain.py' would both be called 'gain'",
    ),
    "positive": (
        [("task", "regression"), ("data.targets.positive", "7")],
        "data.targets.positive: which value is 1 is asked of binary targets, but 'y1' is regression "
        "by `task`",
    ),
    "positive of one": (
        [("task", TARGETS), ("data.targets.positive", {"y2": "7", "y3": "7"})],
        "data.targets.positive: which value is 1 is asked of binary targets, but 'y2' is multiclass "
        "by `task`",
    ),
    "groups by positives": (
        [("task", "regression"), ("groups", {"g": {"rarest": 1}}), ("sources", DELETE)]
        + [("blends", DELETE)],
        "groups.g.rarest: goes by positives, which binary targets alone have; list the targets",
    ),
    "targets by file": (
        [("task", "multiclass"), ("metric", "rmse"), ("groups", DELETE), ("sources", DELETE)]
        + [("blends", DELETE), ("data.targets", "labels.csv")],
        "metric: 'rmse' does not measure multiclass; auc",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes(name: str) -> None:
    changes, says = WRONG[name]
    assert mistakes(*changes)[0].startswith(says)


def test_files_of_metrics() -> None:
    metric = {"y1": "mine.py", "y2": "auc"}
    assert metric_files(metric, ["their.py", "auc"]) == {
        "metric.y1": "mine.py",
        "also.their.py": "their.py",
    }
    assert metric_files("mine.py", None) == {"metric": "mine.py"}


# Slices


def planned(folder: Path, **changes: Any) -> Plan:
    (folder / "train.csv").write_text("id,x,y\n" + "".join(f"{i},{i},{i % 2}\n" for i in range(20)))
    sources = {"a": {"family": "linear"}}
    data = {"train": "train.csv", "id": "id", "targets": ["y"]}
    return Plan({"problem": "toy", "data": data, "sources": sources, **changes}, str(REPO))


def test_what_is_not_said_is_in_no_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = planned(tmp_path).slices
    assert plain["metrics"] == {}
    assert "task" not in plain["targets"]
    assert planned(tmp_path, task="auto").slices == plain
    said = planned(tmp_path, task={"y": "binary"}, metric="brier", also=[]).slices
    assert said["metrics"] == {"metric": "brier", "also": []}
    assert said["targets"]["task"] == {"y": "binary"}
    rest = {key for key in plain if said[key] != plain[key]}
    assert rest == {"targets", "metrics"}


def test_an_own_metric_counts_as_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Exception, match=r"metric: mine\.py"):
        planned(tmp_path, metric="mine.py")
    text = "def score(labels, predictions):\n    return {}\n"
    (tmp_path / "mine.py").write_text(text.format(1))
    first = planned(tmp_path, metric="mine.py").slices["metrics"]
    (tmp_path / "mine.py").write_text(text.format(1) + "# a remark\n")
    assert planned(tmp_path, metric="mine.py").slices["metrics"] == first
    (tmp_path / "mine.py").write_text(text.format(2))
    assert planned(tmp_path, metric="mine.py").slices["metrics"] != first


def test_a_fit_is_decided_by_its_own_tasks_and_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = ["blendmake.metrics.ranking", "blendmake.tasks.binary"]
    assert fit_modules("binary", None) == binary
    assert fit_modules("binary", "brier") == sorted([*binary, PROBABILITY])
    assert fit_modules("regression", None) == [
        "blendmake.metrics.errors",
        "blendmake.tasks.regression",
    ]
    every = fit_modules("auto", None)
    assert {TASKS[name] for name in TASKS} <= set(every) and RANKING in every
    # A mapping need not name every target.
    assert fit_modules({"y": "binary"}, {"y": "mine.py"}) == sorted(
        [*every, "blendmake.metrics.own"]
    )
    # A task or a metric that is new decides nothing of a problem that has neither.
    monkeypatch.setitem(TASKS, "ranking", "blendmake.tasks.ranking")
    monkeypatch.setitem(METRICS, "ndcg", "blendmake.metrics.gain")
    assert fit_modules("binary", None) == binary and fit_modules("auto", None) == every


def test_other_tasks_and_metrics_are_not_followed() -> None:
    """What a fit imports names no task and no metric: they come by the plan alone."""
    scripts = REPO / "scripts"
    for module in FAMILIES.values():
        own = scripts.joinpath(*module.split(".")).with_suffix(".py")
        covered = imported_files([scripts / "fit_fold.py", own], scripts)
        found = {
            path.relative_to(scripts).as_posix()
            for path in covered
            if path.parent.name in ("tasks", "metrics")
        }
        known = {"tasks/base.py", "metrics/base.py", "metrics/finding.py"}
        assert found == {f"blendmake/{path}" for path in known}, module


def test_a_metric_is_held_against_the_labels_as_they_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a target is told to be from its column the config cannot know before."""
    monkeypatch.chdir(tmp_path)
    ids = pa.table({"id": range(20)})
    given = write_user_file(
        tmp_path / "y.parquet", {"id": range(20), "y": [i / 2 for i in range(20)]}
    )
    table = read_targets(given, ["y"], ids, ["id"])
    slices = planned(tmp_path, metric="auc").slices["targets"]
    path = tmp_path / "results" / "toy" / "tables" / "targets.parquet"
    note = {"id_columns": ["id"], "config": slices}
    write_targets(table, path, note)
    with pytest.raises(
        WorkflowError, match=r"'auc' does not measure regression, which target 'y' is"
    ):
        planned(tmp_path, metric="auc")
    planned(tmp_path, metric="mae")
    # Labels that will be read anew are not looked at.
    planned(tmp_path, metric="auc", task="binary")
