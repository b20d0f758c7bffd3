"""Which metrics a problem's targets are measured by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from blendmake.errors import BlendmakeError
from blendmake.metrics.base import Metric
from blendmake.metrics.finding import find_metric
from blendmake.tasks.base import Target, Task

Chosen = Mapping[str, tuple[Metric, ...]]
"""By target its metrics: the one that choices are made by, then those that are shown beside it."""
Given = str | Mapping[str, str] | None
"""`metric:` of a config: for all targets, or by target."""


def metrics_of(
    task: Task, metric: str | None = None, also: Sequence[str] | None = None
) -> tuple[Metric, ...]:
    """The metrics of targets of a task.

    Args:
        metric: what choices are made by; None: the task's own.
        also: what is shown beside it, where it is of the task; None: the task's own.

    Raises:
        BlendmakeError: a metric that there is not, or `metric` is not of the task.
    """
    first = find_metric(metric or task.metric)
    if task.name not in first.tasks:
        raise BlendmakeError(
            f"Metric '{first.name}' is not of {task.title} ({', '.join(sorted(first.tasks))})."
        )
    names = (task.metric, *task.also) if also is None else also
    others = [find_metric(name) for name in dict.fromkeys(names)]
    return (first, *(m for m in others if m.name != first.name and task.name in m.tasks))


def metrics_for(
    targets: Sequence[Target], metric: Given = None, also: Sequence[str] | None = None
) -> dict[str, tuple[Metric, ...]]:
    """By target its metrics, as a config chooses them; see `metrics_of`.

    Raises:
        BlendmakeError: as for `metrics_of`; names the target.
    """
    chosen = {}
    for target in targets:
        own = metric.get(target.name) if isinstance(metric, Mapping) else metric
        try:
            chosen[target.name] = metrics_of(target.task, own, also)
        except BlendmakeError as error:
            raise BlendmakeError(f"target '{target.name}': {error}") from None
    return chosen
