"""The folds section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from blendmake.config.base import Strict


class Folds(Strict):
    """The one fold assignment that every source, blend and score of the problem reads."""

    scheme: Literal["auto", "stratified", "group", "kfold", "column"] = Field(
        "auto",
        description="`stratified` over all targets at once; `group`: groups are never split, targets "
        "balanced; `kfold`: plain; `column`: given. `auto`: `group` where groups are given, "
        "else `stratified`.",
    )
    n: int = Field(
        5, ge=2, le=100, description="Number of folds; of a given column, the number that it holds."
    )
    column: str | None = Field(None, description="Column with the fold of each row (0, 1, …).")
    file: str | None = Field(
        None, description="File that holds the fold column; left out: the train file."
    )
    seed: int | None = Field(None, description="Seed of the assignment; left out: the problem's.")
    inner_share: float = Field(
        0.2,
        gt=0,
        le=0.5,
        description="Share of a fold's training rows set aside for early stopping.",
    )

    @model_validator(mode="after")
    def _column(self) -> Folds:
        if (self.scheme == "column") != (self.column is not None):
            raise PydanticCustomError("folds", "scheme 'column' and the key 'column' go together")
        if self.file and not self.column:
            raise PydanticCustomError("folds", "'file' needs 'column': which column holds the fold")
        return self
