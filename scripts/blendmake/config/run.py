"""What is said of one run (`snakemake --config rows=20000 window=90m`), not of the problem."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from blendmake.config.base import NamesOnce, Strict, nearest, shown
from blendmake.durations import seconds_of
from blendmake.errors import BlendmakeError


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
    force: Annotated[NamesOnce, BeforeValidator(_listed)] | None = Field(
        None,
        description="What `snakemake build` makes anew though it is fresh: names of sources, blends and "
        "audits, `force=a,b`; what stands stays until the new replaces it.",
    )
    unpack: str | None = Field(
        None,
        description="The archive that `snakemake unpack` reads, or the folder that `keep_at` filled.",
    )
    keep_at: str | None = Field(
        None,
        min_length=1,
        description="A folder, on a disk that outlives this machine, to which all that is finished is "
        "carried as it ends, in archives that `snakemake unpack` takes.",
    )
    replace: bool = Field(
        False,
        description="Fit again what stands in the bucket, made by other settings, data or code.",
    )

    def chosen(self, items: Sequence[str]) -> list[str]:
        """Of items in their order, those that `only` names, from the one that `from` names on.

        Raises:
            BlendmakeError: one of the names is not among them.
        """
        check_known("only", self.only or [], items)
        if self.start is not None:
            check_known("from", [self.start], items)
            items = items[list(items).index(self.start) :]
        return [item for item in items if self.only is None or item in self.only]


def check_known(key: str, names: Iterable[str], known: Collection[str]) -> None:
    """Refuse names that --config gives for `key` and there are not.

    Raises:
        BlendmakeError: names the first of them, and the nearest known one.
    """
    for name in names:
        if name not in known:
            raise BlendmakeError(f"{key}={name}: there is no '{name}' here; {nearest(name, known)}")
