"""Model sources."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from blendmake.config.base import NamesOnce, Params, Strict, nearest, shown
from blendmake.families import FAMILIES, FOREIGN, JOINT, ON_GPU

OF_JOBS = ("targets_per_job", "device", "out_of_memory")
"""Keys of a source that say how its work is done, and change nothing that comes of it."""


class EarlyStopping(Strict):
    """When to stop adding rounds."""

    rounds: int = Field(
        50, ge=1, description="Stop after so many rounds without a better value of the metric."
    )
    watch: Literal["inner", "fold"] = Field(
        "inner",
        description="On the inner split of the training rows, or on the fold itself, which makes the "
        "score optimistic and is marked so.",
    )


def _check_class_weight(value: Any) -> Any:
    if value in ("none", "balanced"):
        return value
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise PydanticCustomError(
            "class_weight",
            "must be none, balanced or a number above 0; found {found}",
            {"found": shown(value)},
        )
    return number


ClassWeight = Annotated[
    Literal["none", "balanced"] | Annotated[float, Field(gt=0)],
    BeforeValidator(_check_class_weight),
]


class Bagging(Strict):
    """Several fits per target and fold, averaged; each on all positives and drawn negatives."""

    bags: int = Field(5, ge=1, le=100, description="Number of fits, each with a seed of its own.")
    negatives_per_positive: float | None = Field(
        None,
        gt=0,
        description="Undersampling of binary targets: draw so many negatives per positive, anew for "
        "each bag; left out: all. Predictions are corrected for the share that was drawn.",
    )
    max_negatives: int | None = Field(
        None, ge=1, description="Draw at most so many negatives per bag."
    )

    @property
    def undersamples(self) -> bool:
        return self.negatives_per_positive is not None or self.max_negatives is not None


class Override(Strict):
    """What a group or a target has otherwise than its source; params are merged key by key."""

    params: Params = Field({}, description="Params that replace the source's.")
    rounds: int | None = Field(None, ge=1, description="Number of rounds (trees, iterations).")
    early_stopping: EarlyStopping | Literal[False] | None = Field(
        None, description="Early stopping; `false` switches the source's off."
    )
    class_weight: ClassWeight | None = Field(None, description="Weight of the positives.")
    bagging: Bagging | None = Field(None, description="Bagging, in place of the source's.")


class Overrides(Strict):
    """The most specific wins: target over group over source."""

    groups: dict[str, Override] = Field({}, description="By name of a target group.")
    targets: dict[str, Override] = Field({}, description="By name of a target.")


class ParamsFrom(Strict):
    """The search whose params a source takes, in place of its own."""

    search: str = Field(description="The search.")
    rank: int = Field(1, ge=1, le=100, description="Its best trial (1), the second best (2), …")
    source: str | None = Field(
        None,
        description="Of a search over several sources: whose trials; left out: of this family.",
    )
    own_rounds: bool = Field(
        False, description="Keep this source's rounds, where they were searched too."
    )


def _as_params_from(value: Any) -> Any:
    return {"search": value} if isinstance(value, str) else value


ParamsFromOrName = Annotated[
    ParamsFrom, BeforeValidator(_as_params_from, json_schema_input_type=str | ParamsFrom)
]


class Source(Strict):
    """A model source: one family with its params, one fit per target and fold (and bag).

    `custom`, `mlp`, `tabm` and `xgboost_vector` fit all targets at once: no overrides, no undersampling.
    """

    family: str = Field(description="Model family: " + ", ".join(f"`{name}`" for name in FAMILIES))
    features: str = Field("all", description="Feature set.")
    targets: NamesOnce = Field(
        ["all"], description="`all`, a target group, or a list of targets and groups."
    )
    params: Params = Field({}, description="Params of the family, in its library's own names.")
    rounds: int | None = Field(
        None,
        ge=1,
        description="Trees, iterations or epochs (at most, with early stopping); left out: the "
        "family's.",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Left out: all rounds are run and no training row is set aside."
    )
    class_weight: ClassWeight = Field(
        "none",
        description="Weight of the positives: `none`, `balanced` (negatives per positive), a number; of "
        "multiclass targets `balanced` has every class weigh the same. Not of regression.",
    )
    bagging: Bagging | None = Field(None, description="Several fits, averaged; undersampling.")
    overrides: Overrides = Field(Overrides(), description="Per group and per target.")
    params_from: ParamsFromOrName | None = Field(
        None, description="A search whose best params, target by target, replace these."
    )
    targets_per_job: int | None = Field(
        None,
        ge=1,
        description="Fit so many targets of a fold in one job; left out: all. A matter of how the work "
        "is spread: changing it rebuilds nothing.",
    )
    file: str | None = Field(None, description="`custom`: the Python file with the function.")
    python: str | None = Field(
        None,
        description="`custom`, `lightautoml`: interpreter of the environment that it runs in.",
    )
    environment: list[str] = Field(
        [],
        description="`custom`: environment variables that its function is given, by name, beside what "
        "every program needs (PATH, HOME, threads, GPUs).",
    )
    keep_models: bool = Field(
        False, description="Keep every fitted model in its library's own format."
    )
    device: Literal["auto", "cpu"] = Field(
        "auto",
        description="`auto`: a GPU where the profile offers one and the family can use it; `cpu`: "
        "never. Changing it rebuilds nothing.",
    )
    out_of_memory: Literal["error", "smaller", "cpu"] = Field(
        "error",
        description="When a fit finds too little GPU memory: `error`; `smaller`, another try with half "
        "the batch (`mlp`, `tabm`) or bins (`xgboost`, `xgboost_vector`, `catboost`), three at most; or "
        "`cpu`, the fit on the CPU. What was done is marked in fits, scores and leaderboard. Changing "
        "it rebuilds nothing.",
    )

    @model_validator(mode="after")
    def _family(self) -> Source:
        if self.family not in FAMILIES:
            raise PydanticCustomError(
                "family",
                "unknown family '{name}'; {hint}",
                {"name": self.family, "hint": nearest(self.family, FAMILIES)},
            )
        if (self.family == "custom") != (self.file is not None):
            raise PydanticCustomError("file", "family 'custom' and the key 'file' go together")
        if self.python is not None and self.family not in FOREIGN:
            raise PydanticCustomError(
                "python",
                "'python' belongs to the families {names}",
                {"names": ", ".join(sorted(FOREIGN))},
            )
        if self.environment and self.family != "custom":
            raise PydanticCustomError("environment", "'environment' belongs to family custom")
        for name in self.environment:
            if not re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name):
                raise PydanticCustomError(
                    "environment", "'environment' names no variable: '{name}'", {"name": name}
                )
        if self.keep_models and self.family in FOREIGN:
            raise PydanticCustomError(
                "keep_models",
                "models of family '{name}' cannot be kept: leave out keep_models",
                {"name": self.family},
            )
        if self.family == "linear" and isinstance(self.params.get("C"), list):
            self._check_strengths()
        if self.family in JOINT:
            self._check_joint()
        return self

    def _check_strengths(self) -> None:
        """Values of C to choose from need rows to choose by."""
        if self.early_stopping is None:
            raise PydanticCustomError(
                "strengths",
                "params.C is a list, of which early stopping chooses: add early_stopping, as "
                "{{rounds: 2}}, or give one value",
            )

    def _check_joint(self) -> None:
        """One model for all targets leaves nothing to set per target."""
        complaint = None
        if self.overrides.groups or self.overrides.targets:
            complaint = "'overrides' cannot apply: leave them out, or make a source per group"
        elif self.targets_per_job is not None:
            complaint = "'targets_per_job' cannot divide it: leave it out"
        elif self.bagging is not None and self.bagging.undersamples:
            complaint = (
                "'bagging' cannot undersample: leave out negatives_per_positive, max_negatives"
            )
        if complaint:
            raise PydanticCustomError(
                "joint",
                "family '{family}' fits one model for all targets: {complaint}",
                {"family": self.family, "complaint": complaint},
            )

    def slice_of_results(self) -> dict[str, Any]:
        """What the source's artifacts depend on; not where and in which jobs it is fitted."""
        return {key: value for key, value in self.slice().items() if key not in OF_JOBS}

    @property
    def may_use_gpu(self) -> bool:
        """Whether its fits are to run on a GPU where one is offered."""
        return self.device == "auto" and self.family in ON_GPU

    def group_names(self, groups: Mapping[str, Any]) -> list[str]:
        """Names of the target groups that this source reads."""
        named = set(self.targets) & set(groups) | set(self.overrides.groups)
        return sorted(named)
