"""Feature audits."""

from __future__ import annotations

from pydantic import Field

from blendmake.config.base import NamesOnce, Params, Strict


class Audit(Strict):
    """An audit of the columns of a feature set, in each fold on its training rows alone."""

    features: str = Field("all", description="Feature set; one that is made without labels.")
    targets: NamesOnce = Field(
        ["all"], description="`all`, a target group, or a list of targets and groups."
    )
    rows: int = Field(
        50_000,
        ge=100,
        description="Most rows that train, and that judge; of more a sample is drawn per target, "
        "in which the positives are kept up to half; classes have equally many as far as they can.",
    )
    shortlist: int = Field(
        64, ge=1, description="How many columns are tried per target: those of highest gain."
    )
    repeats: int = Field(3, ge=1, description="Permutations per column tried.")
    null_repeats: int = Field(
        2, ge=1, description="Models fitted to shuffled labels, for what chance alone gives."
    )
    rounds: int = Field(150, ge=1, description="Trees of the LightGBM models.")
    params: Params = Field(
        {}, description="Params of LightGBM; at most 64 leaves, no linear leaves."
    )
    z: float = Field(
        3.0,
        gt=0,
        description="How many standard deviations from chance an effect or drift must be.",
    )
    share: float = Field(
        0.6,
        gt=0,
        le=1,
        description="Share of the folds in which a column kept must have an effect.",
    )
    drift: float = Field(
        0.05,
        ge=0,
        lt=0.5,
        description="Least distance from 0.5 of a drifted column's AUC of train against test rows, or "
        "least difference of its shares of missing values.",
    )
