"""The searches of a problem: their files, and what their jobs depend on."""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from blendmake.config.measures import metric_files
from blendmake.config.searches import Search
from blendmake.families import FAMILIES
from blendmake.user_code import user_digest
from plan_files import PlanFiles
from plan_inputs import given_groups, without

MOST_WORKERS = 10_000

ANALYSIS = (  # of a finished search, in the order of its rule
    "trials.parquet",
    "best.parquet",
    "best.yaml",
    "top.yaml",
    "importances.parquet",
    "directions.parquet",
    "directions.csv",
    "ranges.parquet",
    "refined_space.yaml",
    "summary.md",
)
FIGURES = (
    "history",
    "importances",
    "slices",
    "parallel",
    "contours",
    "intermediate",
    "timeline",
)
# Keys that change neither a trial nor which there are.
OF_A_RUN = ("workers", "time_limit")
OF_THE_ANALYSIS = ("criteria", "top", "champions")  # what is made of the trials


class PlanSearches(PlanFiles):
    """Paths and slices of searches."""

    @property
    def searches(self) -> list[str]:
        return list(self.problem.searches)

    def search_folder(self, name: str) -> str:
        return f"{self.results}/searches/{name}"

    def search_results(self, name: str) -> list[str]:
        """Every file of a finished search."""
        return [f"{self.search_folder(name)}/{file}" for file in ANALYSIS]

    def search_figures(self, name: str) -> list[str]:
        return [f"{self.results}/report/searches/{name}/{stem}.svg" for stem in FIGURES]

    @property
    def worker_files(self) -> dict[str, list[str]]:
        """By search, what its workers leave."""
        return {
            name: [
                f"{self.search_folder(name)}/workers/{k}.json" for k in range(self._workers(name))
            ]
            for name in self.searches
        }

    def _workers(self, name: str) -> int:
        """How many workers a search has; of one that is finished as it stands, how many it had.

        Another number would be other inputs, and what was made of the trials made again.
        """
        path = Path(self.search_folder(name)) / "finished.json"
        if path.exists():
            try:
                finished = json.loads(path.read_text(encoding="utf-8"))
                known, workers = finished["search"], finished["workers"]
                if not isinstance(known, str) or not 1 <= int(workers) <= MOST_WORKERS:
                    raise ValueError("it holds something else")
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                raise WorkflowError(
                    f"{path} is damaged ({type(error).__name__}). Delete it and run the same command "
                    f"again; the trials are kept: rm {path}"
                ) from None
            if known == self.search_digests[name]:
                return int(workers)
        return self.problem.searches[name].workers

    @cached_property
    def search_digests(self) -> dict[str, str]:
        """By search, what tells its slice from others."""
        from blendmake.files import digest_of

        return {name: digest_of(one) for name, one in self.search_slices.items()}

    @property
    def search_seconds(self) -> dict[str, int]:
        """By search, the time of a worker in seconds; 0 for no limit."""
        return {name: int(search.time_limit or 0) for name, search in self.problem.searches.items()}

    @property
    def search_inputs(self) -> dict[str, dict[str, list[str]]]:
        """By search, the feature files of its sources and folds, inner splits, and built groups.

        Those of features go by source, then by fold; what is made for a fold, where a set has such.
        """
        found = {}
        for name, search in self.problem.searches.items():
            folds = search.search_folds(self.problem.folds.n)
            sets = [
                self.set_files(self.problem.sources[source].features, fold, folds)
                for source in search.source
                for fold in folds
            ]
            inner = {file for source in search.source for file in self.inner_files[source]}
            found[name] = {
                "columns": [one["columns"] for one in sets],
                "made_train": [one["train"] for one in sets],
                "made_test": [one["test"] for one in sets],
                "fold_train": [file for one in sets for file in one["fold_train"]],
                "fold_test": [file for one in sets for file in one["fold_test"]],
                "inner": sorted(inner),
                "groups": self.group_files(self._search_groups(name)),
            }
        return found

    def _search_groups(self, name: str) -> list[str]:
        """Target groups that a search or a source of it names."""
        search, groups = self.problem.searches[name], self.problem.groups
        named = set(search.targets or []) & set(groups)
        for source in search.source:
            named |= set(self.problem.sources[source].group_names(groups))
        return sorted(named)

    @cached_property
    def search_slices(self) -> dict[str, dict[str, Any]]:
        """By search, what its trials depend on."""
        p = self.problem
        return {
            name: {
                "search": without(search.slice(), *OF_A_RUN, *OF_THE_ANALYSIS, "folds"),
                "sources": {
                    source: {
                        "source": without(
                            p.sources[source].slice_of_results(),
                            "family",
                            "features",
                            "params_from",
                            "keep_models",
                        ),
                        "family": FAMILIES[p.sources[source].family],
                        "seed": p.seed,
                        "folds_made": p.feature_sets()[p.sources[source].features].uses_labels,
                        "code": self.file_code(source),
                    }
                    for source in search.source
                },
                "groups": given_groups(p, self._search_groups(name)),
                **self._searched_by(search),
                "folds": search.search_folds(p.folds.n),
                "n_folds": p.folds.n,
            }
            for name, search in p.searches.items()
        }

    def _searched_by(self, search: Search) -> dict[str, Any]:
        """The problem's metric, which fits watch and trials may go by; the code of the user's own."""
        metric = self.problem.metric
        files = sorted(
            {file for one in (metric, search.metric) for file in metric_files(one, None).values()}
        )
        code = {file: user_digest(Path(file)) for file in files if os.path.exists(file)}
        said = {"metric": metric, "metric_code": code or None}
        return {key: value for key, value in said.items() if value is not None}

    @property
    def lint_files(self) -> dict[str, list[str]]:
        """Files that the check of all searches reads: of features, inner splits and groups."""
        every = self.search_inputs.values()
        return {
            "features": sorted(
                {
                    file
                    for one in every
                    for kind, files in one.items()
                    if kind not in ("inner", "groups")
                    for file in files
                }
            ),
            "inner": sorted({file for one in every for file in one["inner"]}),
            "groups": sorted({file for one in every for file in one["groups"]}),
        }

    @property
    def search_tops(self) -> dict[str, int]:
        """By search, how many of the best trials are kept."""
        return {name: search.top for name, search in self.problem.searches.items()}

    @property
    def search_criteria(self) -> dict[str, dict[str, float]]:
        """By search, the thresholds of its verdicts."""
        return {
            name: search.criteria.slice() if search.criteria else {}
            for name, search in self.problem.searches.items()
        }

    def params_taken(self, name: str) -> dict[str, Any]:
        """Of a source: the search that it takes its params from, and whose trials these are."""
        taken = self.problem.sources[name].params_from
        if taken is None:
            return {}
        return {"params_from": {**taken.slice(), "source": self.problem.searched_source(name)}}

    @property
    def best_files(self) -> dict[str, list[str]]:
        """By source, best.parquet of the search that it takes its params from."""
        return {
            name: [f"{self.search_folder(source.params_from.search)}/best.parquet"]
            if source.params_from
            else []
            for name, source in self.problem.sources.items()
        }
