"""Blends and submissions."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from blendmake.config.base import Names, NamesOnce, Strict, check_pair

Method = Literal[
    "mean",
    "winner",
    "top2_weighted",
    "top3_weighted",
    "simplex_grid",
    "optimize_weights",
    "greedy",
    "stack",
    "cross_target",
]


class Blend(Strict):
    """A blend of sources (and blends), per target over the members that cover it."""

    method: Method = Field(description="How the weights are found.")
    sources: NamesOnce = Field(
        description="Members: `all` sources, or names of sources and blends."
    )
    scale: Literal["rank", "logit", "value", "probability", "log"] | None = Field(
        None,
        description="The common scale on which predictions are averaged. Binary targets: `rank` within "
        "folds, or `logit`; classes: `probability`, or its `log` (a geometric mean); numbers: `value`. "
        "Left out: the first of these, `logit` where the metric is not of the order alone; stack and "
        "cross_target have their own.",
    )
    calibrate: Literal["logistic", "none"] | None = Field(
        None,
        description="How the blended values become probabilities, in the same order: by a `logistic` "
        "map, cross-fitted, or not at all (`none`: of a blend on ranks they stay ranks, which AUC does "
        "not mind and log loss does). Left out: `logistic` on ranks, `none` elsewhere.",
    )
    max_auc_gap: float | None = Field(
        None,
        gt=0,
        lt=0.5,
        description="Drop candidates whose AUC is further below the best's (min-delta-auc). Of targets "
        "that are measured by the AUC.",
    )
    max_sources_per_target: int | None = Field(
        None, ge=1, description="Keep at most so many candidates per target."
    )
    allow_partial_sources: bool = Field(
        True, description="Whether members may cover only some of the targets."
    )
    fallback: str | None = Field(
        None, description="Source or blend that stands in for targets that no member covers."
    )
    drop_duplicates: bool = Field(
        False, description="Drop members equal to an earlier one (rank correlation >= 0.9999)."
    )
    top_weights: list[float] | None = Field(
        None,
        description="Weights for top2_weighted (default 0.65, 0.35) or top3_weighted "
        "(default 0.45, 0.35, 0.20).",
    )
    step: float = Field(0.05, gt=0, le=0.5, description="Step of simplex_grid.")
    grid_sources: int = Field(3, ge=2, le=5, description="How many of the best simplex_grid takes.")
    steps: int = Field(20, ge=1, le=1000, description="Selections made by greedy.")
    shrinkage: float = Field(
        0.01, ge=0, description="Pull of optimize_weights towards uniform weights."
    )
    bounds: Annotated[tuple[float, float], BeforeValidator(check_pair)] = Field(
        (0.0, 1.0), description="Bounds of each weight for optimize_weights."
    )
    neighbours: int | None = Field(
        None,
        ge=0,
        description="stack, cross_target: how many of the most correlated other targets it reads; "
        "left out: none, and 5 for cross_target.",
    )
    c: float = Field(
        0.1, gt=0, description="stack, cross_target: inverse regularisation of the regression."
    )

    @model_validator(mode="after")
    def _weights(self) -> Blend:
        wanted = {"top2_weighted": 2, "top3_weighted": 3}.get(self.method)
        if self.top_weights is not None:
            if wanted is None or len(self.top_weights) != wanted:
                raise PydanticCustomError(
                    "top_weights", "top_weights: two for top2_weighted, three for top3_weighted"
                )
            ok = min(self.top_weights) >= 0 < self.top_weights[0]
            if not ok or abs(sum(self.top_weights) - 1) > 1e-9:
                raise PydanticCustomError(
                    "top_weights", "top_weights must be >= 0, the first above 0, and sum to 1"
                )
        if abs(round(1 / self.step) * self.step - 1) > 1e-9:
            raise PydanticCustomError("step", "step must divide 1: 0.05, 0.1, 0.25 …")
        low, high = self.bounds
        if not 0 <= low < high <= 1:
            raise PydanticCustomError(
                "bounds", "bounds must be [low, high] with 0 <= low < high <= 1"
            )
        return self


class Rename(Strict):
    """The naming rule from target to submission column: a regular expression and what replaces it."""

    pattern: str = Field(description="Regular expression, e.g. `^target_`.")
    replace: str = Field(description="Replacement, e.g. `predict_`.")

    @model_validator(mode="after")
    def _compiles(self) -> Rename:
        try:
            re.sub(self.pattern, self.replace, "")
        except re.error as error:
            raise PydanticCustomError(
                "pattern",
                "pattern '{pattern}' and replace '{replace}' are no regular expression: {why}",
                {"pattern": self.pattern, "replace": self.replace, "why": str(error)},
            ) from error
        return self


class LeaderboardScore(Strict):
    """What the competition's leaderboard gave a submission."""

    public: float | None = Field(None, description="Public score.")
    private: float | None = Field(None, description="Private score.")


class Submissions(Strict):
    """What is handed in."""

    blends: Names = Field([], description="Blends (or sources) of which a submission is written.")
    csv: bool = Field(False, description="Write a .csv beside the .parquet.")
    rename: Rename | None = Field(None, description="Naming rule from target to column.")
    scores: dict[str, LeaderboardScore] = Field(
        {}, description="Leaderboard scores by blend (or source); shown beside the OOF score."
    )
