"""The sections of a problem together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from blendmake.adapters import ADAPTERS
from blendmake.config.audits import Audit
from blendmake.config.base import Name, Names, NamesOnce, Strict, check_pair
from blendmake.config.blends import Blend, Submissions
from blendmake.config.data import Data
from blendmake.config.external import External
from blendmake.config.features import FeatureSet
from blendmake.config.folds import Folds
from blendmake.config.groups import GroupOrList
from blendmake.config.measures import MetricNames, MetricOfTargets, TaskOfTargets
from blendmake.config.run import Duration
from blendmake.config.searches import Search
from blendmake.config.sources import Source


class Sections(Strict):
    """All sections of a problem, their names not yet checked against each other."""

    problem: Name = Field(description="Name; results stand under `results/<problem>/`.")
    preset: Literal["quick", "standard", "strong"] | None = Field(
        None,
        description="Sources and blends chosen by the shape of the data, beside those given here; "
        "`snakemake show_config` writes them out.",
    )
    budget: Duration | None = Field(
        None,
        description="Time for all of a preset, e.g. `10m`, from a run's start to its end: sources are "
        "fitted as long as they end in it, and the best of what stands is handed in.",
    )
    seed: int = Field(42, ge=0, description="Seed of everything that is drawn.")
    data: Data = Field(description="The tables.")
    task: TaskOfTargets = Field(
        "auto",
        description="What targets are: `binary`, `multiclass`, `regression`, or by target "
        "(`{y1: regression, y2: multiclass}`). `auto` tells it from the column: two values are binary; "
        "text, or at most 20 whole numbers of 10 rows each and more, multiclass; else regression.",
    )
    metric: MetricOfTargets = Field(
        None,
        description="What choices are made by, e.g. `log_loss`, a Python file of one's own (`mine.py`), "
        "or by target; left out: `auc` of binary targets, `log_loss` of multiclass ones, `rmse` of "
        "regression.",
    )
    also: MetricNames = Field(
        None,
        description="Metrics that are shown beside it, of the targets that they are for; left out: the "
        "task's usual ones.",
    )
    folds: Folds = Field(Folds(), description="The fold assignment.")
    groups: dict[Name, GroupOrList] = Field({}, description="Named groups of targets.")
    features: dict[Name, FeatureSet] = Field(
        {}, description="Feature sets; `all` (every column) is always there."
    )
    sources: dict[Name, Source] = Field({}, description="Model sources.")
    external: dict[Name, External] = Field({}, description="Sources that somebody else made.")
    manifests: Names = Field(
        [],
        description="Files (JSON or YAML) that list external sources: label, oof_path, test_path.",
    )
    blends: dict[Name, Blend] = Field({}, description="Blends.")
    comparisons: list[Annotated[tuple[str, str], BeforeValidator(check_pair)]] = Field(
        [], description="Pairs of sources or blends compared with a paired interval."
    )
    submissions: Submissions = Field(Submissions(), description="What is handed in.")
    audits: dict[Name, Audit] = Field({}, description="Feature audits.")
    searches: dict[Name, Search] = Field(
        {},
        description="Searches for params. `snakemake` runs those that a source takes its params from, "
        "others when asked for: `snakemake results/<problem>/searches/<name>/best.parquet`.",
    )
    campaigns: dict[Name, NamesOnce] = Field(
        {},
        description="Ordered lists of sources, blends, audits and searches (or paths below "
        "`results/<problem>/`): `snakemake campaign_<name>` builds them, the first ones first.",
    )

    def feature_sets(self) -> dict[str, FeatureSet]:
        """All feature sets, `all` included."""
        return {"all": FeatureSet(), **self.features}

    def model_sources(self) -> list[str]:
        """Names of all sources, external ones last."""
        return [*self.sources, *self.external]

    def artifacts(self) -> list[str]:
        """Names of everything that has predictions: sources, external ones, blends."""
        return [*self.model_sources(), *self.blends]

    def members(self, blend: str) -> list[str]:
        """Names a blend is made of, `all` spelled out and the fallback last."""
        config = self.blends[blend]
        names = [
            name
            for member in config.sources
            for name in (self.model_sources() if member == "all" else [member])
        ]
        if config.fallback:
            names.append(config.fallback)
        return list(dict.fromkeys(names))

    def searched_source(self, name: str) -> str | None:
        """Of a source that takes its params from a search: the source whose trials these are."""
        wanted = self.sources[name].params_from
        if wanted is None or wanted.search not in self.searches:
            return None
        searched = self.searches[wanted.search].source
        if wanted.source is not None or len(searched) == 1:
            return wanted.source or searched[0]
        family = self.sources[name].family
        same = [s for s in searched if s in self.sources and self.sources[s].family == family]
        return same[0] if len(same) == 1 else None

    def all_comparisons(self) -> list[tuple[str, str]]:
        """The comparisons that are asked for, and each tuned source with the source as it was."""
        pairs = list(self.comparisons)
        for name in self.sources:
            before = self.searched_source(name)
            if before is not None and before != name and (name, before) not in pairs:
                pairs.append((name, before))
        return pairs

    def known_targets(self) -> list[str] | None:
        """Names of the targets where the config alone tells them, else None."""
        if self.data.adapter:
            return list(ADAPTERS[self.data.adapter].TARGETS)
        return self.data.targets.columns if self.data.targets else None
