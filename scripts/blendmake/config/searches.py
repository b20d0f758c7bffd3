"""Searches for params."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from blendmake.config.base import Name, NamesOnce, Params, Strict
from blendmake.config.measures import OneMetric
from blendmake.config.run import Duration
from blendmake.config.sources import EarlyStopping


class Criteria(Strict):
    """Verdicts on the best value of a study, also in the middle of a search."""

    excellent: float | None = Field(None, description="From here on: excellent.")
    on_track: float | None = Field(None, description="From here on: on track.")
    stop: float | None = Field(
        None,
        description="Not better than this after a third of the trials: the verdict is to stop.",
    )


class Champions(Strict):
    """The best trials of a search as sources of their own, `<search>_top1` and so on.

    They are trained on all folds, as the search's source is but for what is set here; of a search
    over several sources, each source has its own, `<search>_<source>_top1`.
    """

    n: int = Field(3, ge=1, le=20, description="How many.")
    rounds: int | None = Field(
        None, ge=1, description="Number of rounds, in place of the source's."
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Early stopping, in place of the source's."
    )


def _as_folds(value: Any) -> Any:
    if isinstance(value, list) and len(set(map(str, value))) < len(value):
        raise PydanticCustomError("folds", "a fold is named twice")
    return value


class Search(Strict):
    """A search for the params of a source: an Optuna study per target, or one for all."""

    source: NamesOnce = Field(
        description="The source whose params are searched; several: which one is a param too, called "
        "`source`."
    )
    targets: NamesOnce | None = Field(
        None, description="Targets and groups; left out: those of the source."
    )
    studies: Literal["per_target", "one"] | None = Field(
        None,
        description="A study per target, or one whose value is the mean over targets; left out: "
        "`per_target`, or `one` where a source fits one model for all targets.",
    )
    trials: int = Field(
        100, ge=1, description="Trials of each study: those that are complete or pruned."
    )
    folds: Annotated[list[Annotated[int, Field(ge=0)]], BeforeValidator(_as_folds)] | None = Field(
        None,
        min_length=2,
        description="The search folds: trials train and validate on their rows alone; what is tuned is "
        "scored on the others. Left out: the first three fifths of all.",
    )
    metric: OneMetric = Field(
        None,
        description="What is made better: its mean over the search folds; a metric's name, or a Python "
        "file of yours. Left out: the problem's `metric`, or that of the targets' task.",
    )
    sampler: Literal["tpe", "random", "cmaes", "grid"] = Field(
        "tpe", description="Optuna's sampler."
    )
    pruner: Literal["none", "median", "hyperband", "wilcoxon"] = Field(
        "median",
        description="Which trials are ended early, in the middle of a fit or between folds. `wilcoxon` "
        "compares fold by fold (and target by target) with the best trial.",
    )
    workers: int = Field(1, ge=1, le=1000, description="Jobs that share the trials.")
    time_limit: Duration | None = Field(
        None,
        description="Time of each worker, from its first attempt in a run; what is not done then waits "
        "for the next run.",
    )
    trial_limit: Duration | None = Field(
        None, description="Time of a trial, after which it counts as pruned."
    )
    retries: int = Field(
        2, ge=0, le=20, description="How often a trial is tried again whose worker died."
    )
    top: int = Field(5, ge=1, le=100, description="How many of the best are listed in `top.yaml`.")
    champions: Champions | None = Field(None, description="The best trials as sources.")
    criteria: Criteria | None = Field(None, description="Verdicts on the best value.")
    space: Params = Field(
        min_length=1,
        description="By param: a range `{low, high, log, step, type}`, `{choices, weights}` or a value; "
        "`when: {param: value}` for one that depends on another. `rounds` and `class_weight` mean the "
        "source's keys.",
    )

    def search_folds(self, n: int) -> list[int]:
        """The search folds among `n`."""
        return sorted(self.folds) if self.folds is not None else list(range(max(2, 3 * n // 5)))

    def champion_names(self, name: Name) -> dict[str, tuple[str, int]]:
        """Names of the champions, with the source and rank of each."""
        if self.champions is None:
            return {}
        several: Sequence[str] = self.source if len(self.source) > 1 else ()
        return {
            "_".join([name, *([source] if several else []), f"top{rank}"]): (source, rank)
            for source in self.source
            for rank in range(1, self.champions.n + 1)
        }
