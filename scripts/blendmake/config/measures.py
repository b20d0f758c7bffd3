"""The keys that say what targets are and how predictions of them are measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from blendmake.config.base import as_list, nearest, shown
from blendmake.errors import BlendmakeError
from blendmake.metrics import METRICS
from blendmake.tasks import AUTO as TOLD
from blendmake.tasks import FIRST_METRIC, TASKS

AUTO = "auto"


def _check_task(value: Any) -> Any:
    for where, name in _items("task", value):
        if name not in (AUTO, *TASKS):
            _refuse("{where}unknown task {found}; {hint}", where, name, (AUTO, *TASKS))
    return value


def _check_metric(value: Any) -> Any:
    for where, name in _items("metric", value):
        _check_name(where, name)
    _check_files([name for _, name in _items("metric", value)])
    return value


def _check_also(value: Any) -> Any:
    names = as_list(value)
    if not isinstance(names, list):
        _refuse("must be a list [a, b]; found {found}", "", value)
    for name in names:
        _check_name("", name)
    _check_files(names)
    return names


def _check_one(value: Any) -> Any:
    if value is not None:
        _check_name("", value)
    return value


def _items(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """What is said of all targets, or of each, with where it is said for messages."""
    if not isinstance(value, Mapping):
        yield "", value
        return
    if not value:
        _refuse("must not be empty", "", value)
    for target, name in value.items():
        if not isinstance(target, str):
            _refuse("target {found} is no text: put the key in quotes", "", target)
        yield f"of target '{target}': ", name


def _check_name(where: str, name: Any) -> None:
    if not isinstance(name, str):
        _refuse("{where}must be the name of a metric; found {found}", where, name)
    if is_file(name):
        stem = PurePath(name).stem
        if stem in METRICS:
            text = "{where}{found} would be called '" + stem + "', as another metric is: rename it"
            _refuse(text, where, name)
    elif name.partition("(")[0].strip() not in METRICS:
        _refuse("{where}there is no metric {found}; {hint}", where, name, METRICS)
    else:
        from blendmake.metrics.finding import find_metric  # with numpy, which a plan seldom needs

        try:
            find_metric(name)
        except BlendmakeError as error:
            _refuse("{where}{text}", where, name, text=str(error).rstrip("."))


def _check_files(names: list[Any]) -> None:
    """Refuse two files of one name, which would be one metric in every table."""
    found: dict[str, str] = {}
    for name in filter(is_file, names):
        other = found.setdefault(PurePath(name).stem, name)
        if other != name:
            _refuse(f"{other} and {{found}} would both be called '{PurePath(name).stem}'", "", name)


def _refuse(says: str, where: str, found: Any, known: Any = (), **more: str) -> None:
    told = {"where": where, "found": shown(found), "hint": nearest(str(found), known), **more}
    raise PydanticCustomError("measure", says, told)  # type: ignore[arg-type]


def is_file(metric: Any) -> bool:
    """Whether a metric is a Python file of the user's."""
    return isinstance(metric, str) and metric.endswith(".py")


TaskOfTargets = Annotated[
    str | dict[str, str],
    BeforeValidator(_check_task, json_schema_input_type=str | dict[str, str]),
]
MetricOfTargets = Annotated[
    str | dict[str, str] | None,
    BeforeValidator(_check_metric, json_schema_input_type=str | dict[str, str] | None),
]
OneMetric = Annotated[str | None, BeforeValidator(_check_one, json_schema_input_type=str | None)]
MetricNames = Annotated[
    list[str] | None,
    BeforeValidator(_check_also, json_schema_input_type=str | list[str] | None),
]


def of_target(said: str | Mapping[str, str] | None, target: str) -> str | None:
    """What a key says of one target."""
    return said.get(target) if isinstance(said, Mapping) else said


def metric_files(metric: str | Mapping[str, str] | None, also: list[str] | None) -> dict[str, str]:
    """The user's files among the metrics, by the config's key."""
    named = metric.items() if isinstance(metric, Mapping) else [("", metric)]
    found = {f"metric.{target}" if target else "metric": name for target, name in named}
    found |= {f"also.{name}": name for name in also or []}
    return {key: name for key, name in found.items() if name is not None and is_file(name)}


def tasks_said(task: str | Mapping[str, str]) -> set[str]:
    """The tasks that targets may have."""
    tasks = set(task.values() if isinstance(task, Mapping) else [task])
    if AUTO in tasks or isinstance(task, Mapping):  # which need not name every target
        return {*tasks - {AUTO}, *TOLD}
    return tasks


def fit_modules(task: str | Mapping[str, str], metric: str | Mapping[str, str] | None) -> list[str]:
    """The modules of the tasks that targets may have, and of the metrics that their fits go by.

    They are part of what decides a fit, as its family is; that there are others is none.
    """
    tasks = tasks_said(task)
    named = set(metric.values()) if isinstance(metric, Mapping) else {metric}
    names = {FIRST_METRIC[one] for one in tasks} | {name for name in named if name is not None}
    known = {METRICS[name.partition("(")[0].strip()] for name in names if not is_file(name)}
    own = {"blendmake.metrics.own"} if any(map(is_file, names)) else set()
    return sorted({TASKS[one] for one in tasks} | known | own)


def measures_task(metric: str, task: str) -> bool:
    """Whether a metric is of a task, as far as can be told before its file is run."""
    from blendmake.metrics.finding import find_metric  # with numpy, which a plan seldom needs

    return task == AUTO or is_file(metric) or task in find_metric(metric).tasks
