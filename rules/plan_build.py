"""What `snakemake build` and campaigns are told by name: `only` and `from` of --config."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from blendmake.config.run import check_known

if TYPE_CHECKING:
    from plan import Plan


def build_files(plan: Plan, words: Iterable[str]) -> list[str]:
    """What `build` asks for: what `only` and `force` name, or from an item on, or everything.

    Args:
        words: the command; nothing, where it asks for something else.

    Raises:
        BlendmakeError: `only` or `from` names what there is not, also for campaigns of the command.
    """
    for campaign in plan.asked:
        plan.campaign_chosen(campaign)
    if "build" not in words:
        return []
    forced = plan.run.force or []
    chosen = plan.run.only is not None or plan.run.start is not None
    if not chosen and not forced:
        return plan.everything
    check_known("only", plan.run.only or [], _known(plan))
    items = plan.run.chosen(plan.run.only or plan.ranking) if chosen else []
    return [file for item in dict.fromkeys([*items, *forced]) for file in plan.item_files(item)]


def _known(plan: Plan) -> list[str]:
    return [*plan.artifacts, *plan.problem.audits, *plan.searches]
