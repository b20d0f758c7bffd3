"""What `snakemake build` and campaigns are told by name: `only` and `from` of --config."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from blendmake.config.base import nearest
from blendmake.config.run import Run
from blendmake.errors import BlendmakeError

if TYPE_CHECKING:
    from plan import Plan


def build_files(plan: Plan, words: Iterable[str]) -> list[str]:
    """What `build` asks for: what is named by `only`, or from an item on, or everything.

    Args:
        words: the command; nothing, where it asks for something else.

    Raises:
        BlendmakeError: `only` or `from` names what there is not, also for campaigns of the command.
    """
    for campaign in plan.asked:
        plan.campaign_chosen(campaign)
    if "build" not in words:
        return []
    if plan.run.only is None and plan.run.start is None:
        return plan.everything
    _check_names("only", plan.run.only or [], _known(plan))
    items = chosen(plan.run, plan.run.only or plan.ranking)
    return [file for item in items for file in plan.item_files(item)]


def chosen(run: Run, items: Sequence[str]) -> list[str]:
    """Of items in their order, those that `only` names, from the one that `from` names on.

    Raises:
        BlendmakeError: `from` is not among them.
    """
    start, only = run.start, run.only
    if start is not None:
        _check_names("from", [start], items)
        items = items[list(items).index(start) :]
    return [item for item in items if only is None or item in only]


def _known(plan: Plan) -> list[str]:
    return [*plan.artifacts, *plan.problem.audits, *plan.searches]


def _check_names(key: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise BlendmakeError(f"{key}={name}: there is no '{name}' here; {nearest(name, known)}")
