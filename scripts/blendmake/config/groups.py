"""Groups of targets: given as lists, or built by a rule and frozen."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from blendmake.config.base import NamesOnce, Strict

WAYS = ("targets", "rate_at_most", "rarest", "lowest_auc")


def _as_group(value: Any) -> Any:
    return {"targets": value} if isinstance(value, str | list) else value


class Group(Strict):
    """A group of targets: a list, or one rule that a job applies once and freezes in a file.

    A built group leaves out the targets of the groups above it, so that specialists do not overlap.
    """

    targets: NamesOnce | None = Field(None, description="The targets by name (or just the list).")
    rate_at_most: float | None = Field(
        None, gt=0, lt=1, description="Targets whose share of positives is at most this."
    )
    rarest: int | None = Field(None, ge=1, description="The n targets with the fewest positives.")
    lowest_auc: int | None = Field(
        None,
        ge=1,
        description="The n targets that `source` is worst at on its inner splits: of the lowest AUC, or "
        "by the metric that they all go by (errors in units of the label in spreads of the target).",
    )
    source: str | None = Field(
        None, description="lowest_auc: the source, which must stop early on `inner`."
    )

    @model_validator(mode="after")
    def _one_way(self) -> Group:
        given = [name for name in WAYS if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "group",
                "a group is a list of targets or one of rate_at_most, rarest, lowest_auc; found {found}",
                {"found": ", ".join(given) or "none"},
            )
        if (self.lowest_auc is None) != (self.source is None):
            raise PydanticCustomError("group", "'lowest_auc' and 'source' go together")
        return self

    @property
    def is_built(self) -> bool:
        """Whether a job finds its members."""
        return self.targets is None


GroupOrList = Annotated[
    Group, BeforeValidator(_as_group, json_schema_input_type=str | list[str] | Group)
]
