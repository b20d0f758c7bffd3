"""What `snakemake build` and campaigns are told by name: `only` and `from` of --config."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from blendmake.config.run import check_known

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
    check_known("only", plan.run.only or [], _known(plan))
    items = plan.run.chosen(plan.run.only or plan.ranking)
    return [file for item in items for file in plan.item_files(item)]


def _known(plan: Plan) -> list[str]:
    return [*plan.artifacts, *plan.problem.audits, *plan.searches]
