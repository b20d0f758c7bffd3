"""What is said of one run (`snakemake --config rows=20000 window=90m`), not of the problem."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from blendmake.config.base import NamesOnce, Strict, shown
from blendmake.durations import seconds_of


def _as_seconds(value: Any) -> Any:
    seconds = seconds_of(value)
    if seconds is None:
        raise PydanticCustomError(
            "duration",
            "must be a duration such as 90m, 1h30m or 45s; found {found}",
            {"found": shown(value)},
        )
    return seconds


def _listed(value: Any) -> Any:
    """`--config only=a,b` is one text."""
    return value.split(",") if isinstance(value, str) else value


Duration = Annotated[float, BeforeValidator(_as_seconds, json_schema_input_type=str | float)]


class Run(Strict):
    """Keys of `--config`; none of them is a key of a problem."""

    rows: int | None = Field(
        None,
        ge=1000,
        description="Train rows of a generated data set; results stand under `<problem>_rows<n>`.",
    )
    window: Duration | None = Field(
        None,
        description="Time that this run has: no fit is begun that would not end in it, and what fits "
        "into it is chosen by priority. Also as BLENDMAKE_WINDOW.",
    )
    pack: str | None = Field(None, description="The archive that `snakemake pack` writes.")
    only: Annotated[NamesOnce, BeforeValidator(_listed)] | None = Field(
        None,
        description="What `snakemake build`, campaigns and `snakemake pack` take, with all that it "
        "stands on: names of sources, blends, audits and searches, `only=a,b`. Left out: everything.",
    )
    start: str | None = Field(
        None,
        alias="from",
        description="Where `snakemake build` and campaigns begin: this item and those behind it.",
    )
    unpack: str | None = Field(None, description="The archive that `snakemake unpack` reads.")
    replace: bool = Field(
        False,
        description="Fit again what stands in the bucket, made by other settings, data or code.",
    )
