"""Which files a problem has: paths that rules look up by name, and what stands behind each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blendmake.adapters import ADAPTERS
from blendmake.config.data import Data
from blendmake.config.problem import Problem
from blendmake.config.sources import Override, Source

FOLD_PARTS = ("oof", "test", "fits")
BLEND_PARTS = ("oof", "in_sample", "test", "weights", "duplicates", "scores")


class PlanFiles:
    """Paths of a problem's files, those of the user and those under `results/<problem>/`.

    Args:
        problem: the resolved config.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.name = problem.problem
        self.results = f"results/{self.name}"
        self.scratch = f"scratch/{self.name}"
        self.data = self._data()
        self.left: dict[str, str] = {}

    # What there is

    @property
    def sources(self) -> list[str]:
        """Sources that are fitted here."""
        return list(self.problem.sources)

    @property
    def external(self) -> list[str]:
        """Sources that somebody else made."""
        return list(self.problem.external)

    @property
    def scored_sources(self) -> list[str]:
        return self.problem.model_sources()

    @property
    def blends(self) -> list[str]:
        return list(self.problem.blends)

    @property
    def artifacts(self) -> list[str]:
        """Everything that has predictions, sources first."""
        return self.problem.artifacts()

    @property
    def shown(self) -> list[str]:
        """Artifacts that this run builds and reports: all, but what a window leaves for another."""
        return [name for name in self.artifacts if name not in self.left]

    @property
    def shown_comparisons(self) -> list[str]:
        pairs = self.problem.comparisons
        return [f"{a}__vs__{b}" for a, b in pairs if {a, b} <= set(self.shown)]

    @property
    def folds(self) -> range:
        return range(self.problem.folds.n)

    @property
    def comparisons(self) -> list[str]:
        return [f"{a}__vs__{b}" for a, b in self.problem.comparisons]

    @property
    def built_groups(self) -> list[str]:
        """Target groups whose members a job finds."""
        return [name for name, group in self.problem.groups.items() if group.is_built]

    @property
    def has_groups(self) -> bool:
        return self.data.groups is not None

    @property
    def has_test_targets(self) -> bool:
        return self.data.test_targets is not None

    # The user's files

    def _data(self) -> Data:
        data = self.problem.data
        if data.adapter:
            own = _filled_in(ADAPTERS[data.adapter].DATA, folder=f"{self.results}/data")
            given = {"categories", "ignore"} & data.model_fields_set
            return Data.model_validate({**own, **data.model_dump(include=given)})
        return data

    @property
    def adapter_files(self) -> list[str]:
        """What the adapter writes."""
        if not self.problem.data.adapter:
            return []
        data = self.data
        assert data.train and data.targets
        files = [*data.train.values(), *(data.test or {}).values(), data.targets.file]
        return [f for f in [*files, data.test_targets, data.sample_submission] if f]

    @property
    def table_files(self) -> list[str]:
        """Feature files of the user, train then test."""
        return [*(self.data.train or {}).values(), *(self.data.test or {}).values()]

    @property
    def targets_file(self) -> str:
        assert self.data.targets is not None
        return self.data.targets.file or self._first_train_file()

    @property
    def groups_file(self) -> str:
        assert self.data.groups is not None
        return self.data.groups.file or self._first_train_file()

    @property
    def fold_file(self) -> list[str]:
        """The user's file that holds the fold column, if there is one."""
        folds = self.problem.folds
        return [folds.file or self._first_train_file()] if folds.column else []

    def _first_train_file(self) -> str:
        assert self.data.train
        return next(iter(self.data.train.values()))

    @property
    def external_files(self) -> dict[str, dict[str, str]]:
        """The two files of each external source."""
        return {name: one.model_dump() for name, one in self.problem.external.items()}

    def sizes(self, files: Iterable[str], artifact: str) -> list[int]:
        """Sizes in bytes of the user's own files behind an artifact.

        Snakemake looks at a file's content only if it is newer than what was made of it; a file
        replaced by one with an older date shows by its size. Where the files themselves are not on
        this machine, the sizes are those that the artifact was made from.
        """
        if self.problem.data.adapter:
            return []
        return self._sizes(files, artifact)

    @property
    def external_sizes(self) -> dict[str, list[int]]:
        """Sizes of the files of each external source, as above."""
        return {
            name: self._sizes(files.values(), f"sources/{name}/oof.parquet")
            for name, files in self.external_files.items()
        }

    def _sizes(self, files: Iterable[str], artifact: str) -> list[int]:
        try:
            return [os.path.getsize(file) for file in files]
        except OSError:
            return list(self.note(artifact).get("sizes", []))

    def note(self, artifact: str) -> dict[str, Any]:
        """How an artifact that stands was made; nothing of one that does not."""
        from blendmake.files import read_note  # costs an import that is seldom needed

        path = Path(self.results) / artifact
        return read_note(path) if path.exists() else {}

    @property
    def list_files(self) -> dict[str, list[str]]:
        """The keep and drop lists that each feature set reads."""
        return {
            name: [
                path
                for selection in (features.files or {}).values()
                for path in (selection.drop, selection.keep)
                if path
            ]
            for name, features in self.problem.feature_sets().items()
        }

    # Tables and folds

    @property
    def sample_artifact(self) -> list[str]:
        """The sample submission as it was read, where there is one."""
        return [f"{self.results}/tables/sample.parquet"] if self.data.sample_submission else []

    def groups_artifact(self, wanted: bool = True) -> list[str]:
        """tables/groups.parquet, where rows come in groups."""
        return [f"{self.results}/tables/groups.parquet"] if self.has_groups and wanted else []

    @property
    def test_targets_artifact(self) -> list[str]:
        """Labels of the test rows, where they are known."""
        return [f"{self.results}/tables/test_targets.parquet"] if self.has_test_targets else []

    @property
    def balanced_by_groups(self) -> bool:
        """Whether folds keep groups whole."""
        scheme = self.problem.folds.scheme
        return self.has_groups and scheme in ("auto", "group", "column")

    # Target groups

    @property
    def groups_above(self) -> dict[str, list[str]]:
        """The built groups that stand above each built group."""
        names = self.built_groups
        return {
            name: [self._group_file(above) for above in names[:i]] for i, name in enumerate(names)
        }

    @property
    def group_fits(self) -> dict[str, list[str]]:
        """fits.parquet of the source that a built group ranks targets by, if it does."""
        groups = self.problem.groups
        return {
            name: [f"{self.folder(source)}/fits.parquet"] if (source := groups[name].source) else []
            for name in self.built_groups
        }

    def group_files(self, groups: Iterable[str]) -> list[str]:
        """Files of the built ones among some groups."""
        return [self._group_file(name) for name in groups if name in self.built_groups]

    def _group_file(self, name: str) -> str:
        return f"{self.results}/groups/{name}.parquet"

    @property
    def source_groups(self) -> dict[str, list[str]]:
        """Files of the built groups that each source names."""
        return {
            name: self.group_files(source.group_names(self.problem.groups))
            for name, source in self.problem.sources.items()
        }

    # Feature sets

    def set_files(self, name: str, fold: int | str = "{fold}") -> dict[str, Any]:
        """The files of a feature set: those of the set, and those of a fold, where it has such."""
        folder = f"{self.results}/features/{name}"
        files: dict[str, Any] = {
            "columns": f"{folder}/columns.parquet",
            "train": f"{folder}/train.arrow",
            "test": f"{folder}/test.arrow",
            "fold_train": [],
            "fold_test": [],
        }
        if self.problem.feature_sets()[name].uses_labels:
            files["columns"] = f"{folder}/fold{fold}/columns.parquet"
            files["fold_train"] = [f"{folder}/fold{fold}/train.arrow"]
            files["fold_test"] = [f"{folder}/fold{fold}/test.arrow"]
        return files

    @property
    def source_features(self) -> dict[str, dict[str, dict[str, Any]]]:
        """The feature files of each source and fold."""
        return {
            name: {str(k): self.set_files(source.features, k) for k in self.folds}
            for name, source in self.problem.sources.items()
        }

    @property
    def audit_drops(self) -> dict[str, dict[str, list[str]]]:
        """By feature set and fold: the audit's lists that it reads, if it does."""
        sets = self.problem.feature_sets()
        return {
            name: {
                str(k): [f"{self.results}/audits/{one.audit.name}/fold{k}/drop.parquet"]
                if one.audit
                else []
                for k in self.folds
            }
            for name, one in sets.items()
        }

    @property
    def fold_sets(self) -> list[str]:
        """Feature sets that make columns with labels, fold by fold."""
        sets = self.problem.feature_sets()
        return [name for name, features in sets.items() if features.uses_labels]

    # Sources, blends and what stands on them

    @property
    def inner_files(self) -> dict[str, list[str]]:
        """inner.parquet, for sources that stop early on it."""
        return {name: self._inner_file(source) for name, source in self.problem.sources.items()}

    def _inner_file(self, source: Source) -> list[str]:
        layers: list[Source | Override] = [source]
        layers += [*source.overrides.groups.values(), *source.overrides.targets.values()]
        stops = any(x.early_stopping and x.early_stopping.watch == "inner" for x in layers)
        return [f"{self.results}/inner.parquet"] if stops else []

    def folder(self, name: str) -> str:
        """Where a source or blend stands."""
        kind = "blends" if name in self.problem.blends else "sources"
        return f"{self.results}/{kind}/{name}"

    @property
    def members(self) -> dict[str, dict[str, list[str]]]:
        """The prediction files that each blend reads."""
        return {
            blend: {
                part: [f"{self.folder(m)}/{part}.parquet" for m in self.problem.members(blend)]
                for part in ("oof", "test")
            }
            for blend in self.blends
        }

    @property
    def comparison_files(self) -> dict[str, list[str]]:
        """The two oof files of each comparison."""
        return {
            f"{a}__vs__{b}": [f"{self.folder(name)}/oof.parquet" for name in (a, b)]
            for a, b in self.problem.comparisons
        }

    @property
    def test_files(self) -> dict[str, str]:
        """test.parquet of each source and blend."""
        return {name: f"{self.folder(name)}/test.parquet" for name in self.artifacts}

    @property
    def submission_files(self) -> dict[str, str]:
        """Outputs of a submission, a wildcard `artifact` in them."""
        stem = f"{self.results}/submissions/{{artifact}}"
        files = {"parquet": f"{stem}.parquet", "csv": f"{stem}.csv"}
        return files if self.problem.submissions.csv else {"parquet": files["parquet"]}

    @property
    def scored_files(self) -> dict[str, list[str]]:
        """Files of everything that is scored: oof and scores, and fits of what was fitted here."""
        return {
            "oof": [f"{self.folder(name)}/oof.parquet" for name in self.shown],
            "scores": [f"{self.folder(name)}/scores.parquet" for name in self.shown],
            "fits": [f"{self.folder(name)}/fits.parquet" for name in self.shown_sources],
        }

    @property
    def shown_sources(self) -> list[str]:
        """Sources fitted here that this run builds."""
        return [name for name in self.sources if name in self.shown]

    def artifact_files(self, name: str) -> list[str]:
        """Every file of one source or blend."""
        folder = self.folder(name)
        if name in self.problem.blends:
            return [f"{folder}/{part}.parquet" for part in BLEND_PARTS]
        if name in self.problem.external:
            return [f"{folder}/{part}.parquet" for part in ("oof", "test", "scores")]
        files = [f"{folder}/fold{k}/{part}.parquet" for k in self.folds for part in FOLD_PARTS]
        return [*files, *(f"{folder}/{part}.parquet" for part in (*FOLD_PARTS, "scores"))]

    @property
    def campaigns(self) -> list[str]:
        return list(self.problem.campaigns)

    def manifest_file(self, campaign: str) -> str:
        return f"{self.results}/campaigns/{campaign}.json"

    def item_files(self, item: str) -> list[str]:
        """Every file of what a campaign lists: a source, blend, audit, or a path."""
        if item in self.problem.audits:
            return self.audit_results(item)
        if item in self.artifacts:
            handed_in = item in self.problem.submissions.blends
            submission = f"{self.results}/submissions/{item}.parquet"
            return [*self.artifact_files(item), *([submission] if handed_in else [])]
        return [f"{self.results}/{item}"]

    def campaign_files(self, campaign: str) -> list[str]:
        """What a campaign asks for in this run."""
        items = [item for item in self.problem.campaigns[campaign] if not self._is_left(item)]
        return [file for item in items for file in self.item_files(item)]

    def _is_left(self, item: str) -> bool:
        """Whether an item of a campaign is, or is a file of, what a window leaves for another."""
        parts = Path(item).with_suffix("").parts
        return any(part in self.left for part in parts)

    def campaign_items(self, campaign: str) -> list[dict[str, Any]]:
        """What a campaign's manifest lists, in its order."""
        items = []
        for name in self.problem.campaigns[campaign]:
            item: dict[str, Any] = {"label": name, "files": self.item_files(name)}
            if name in self.artifacts:
                folder = self.folder(name)
                item |= {f"{part}_path": f"{folder}/{part}.parquet" for part in ("oof", "test")}
                item["scores"] = f"{folder}/scores.parquet"
                item |= {"fits": f"{folder}/fits.parquet"} if name in self.sources else {}
            items.append(item)
        return items

    def stands_on(self, name: str) -> list[str]:
        """The sources fitted here that an artifact needs: itself, members, sources of groups."""
        found: list[str] = []
        waiting = [name]
        while waiting:
            one = waiting.pop()
            if one in self.problem.blends:
                waiting += self.problem.members(one)
            elif one in self.problem.sources and one not in found:
                found.append(one)
                named = self.problem.sources[one].group_names(self.problem.groups)
                sources = [self.problem.groups[group].source for group in named]
                waiting += [source for source in sources if source]
        return found

    @property
    def ranking(self) -> list[str]:
        """Sources and blends by priority: as campaigns list them, then as the config does."""
        return list(dict.fromkeys([*self.named_in(self.campaigns), *self.artifacts]))

    def named_in(self, campaigns: Iterable[str]) -> list[str]:
        """Sources and blends that some campaigns list, in their order."""
        items = [item for name in campaigns for item in self.problem.campaigns[name]]
        return list(dict.fromkeys(item for item in items if item in self.artifacts))

    @property
    def priorities(self) -> dict[str, int]:
        """Priority of each source's fits, and of audits.

        What stands first in `ranking` is fitted first; an audit goes just before the first source
        whose features it decides.
        """
        order = [source for name in self.ranking for source in self.stands_on(name)]
        first = list(dict.fromkeys(order))
        found = {name: 2 * (len(first) - place) for place, name in enumerate(first)}
        sets = self.problem.feature_sets()
        for audit in self.problem.audits:
            readers = [
                found[name]
                for name, source in self.problem.sources.items()
                if (read := sets[source.features].audit) and read.name == audit
            ]
            found[audit] = max(readers, default=0) + 1
        return found

    @property
    def audit_files(self) -> dict[str, dict[str, Any]]:
        """The files of each audit's feature set."""
        return {name: self.set_files(one.features) for name, one in self.problem.audits.items()}

    @property
    def audit_lists(self) -> list[str]:
        """Train files that audits write keep and drop lists for, beside those over all."""
        files = list(self.data.train or {})
        return files if len(files) > 1 else []

    def audit_results(self, name: str) -> list[str]:
        """Every file of an audit."""
        folder = f"{self.results}/audits/{name}"
        parts = ("features", "columns", "drop")
        files = [f"{folder}/fold{k}/{part}.parquet" for k in self.folds for part in parts]
        files += [f"{folder}/{part}.parquet" for part in ("features", "columns")]
        stems = ["", *(f"{file}_" for file in self.audit_lists)]
        return [*files, *(f"{folder}/{s}{kind}.txt" for s in stems for kind in ("keep", "drop"))]

    @property
    def everything(self) -> list[str]:
        """What `all` asks for: each artifact by name, so that a deleted one comes back."""
        names = [f"{self.results}/folds.parquet", f"{self.results}/tables/targets.parquet"]
        names += [*self.groups_artifact(), *self.test_targets_artifact]
        names += self.sample_artifact if self.problem.submissions.blends else []
        for files in (self.inner_files, self.source_groups):
            names += sorted({file for name in self.shown_sources for file in files[name]})
        for name in self.problem.submissions.blends:
            if name in self.shown:
                names += [file.format(artifact=name) for file in self.submission_files.values()]
        for name in self.shown:
            names += self.artifact_files(name)
        for name in self.problem.audits:
            names += self.audit_results(name)
        if self.shown:
            stems = ("leaderboard.parquet", "leaderboard.csv", "experiments.jsonl")
            names += [f"{self.results}/{stem}" for stem in stems]
            names += [f"{self.results}/comparisons/{p}.parquet" for p in self.shown_comparisons]
            names += self.report_files
        return names

    @property
    def final_files(self) -> dict[str, list[str]]:
        """What a person looks for in the end."""
        blends = self.problem.submissions.blends
        return {
            "submission": [f"{self.results}/submissions/{name}.parquet" for name in blends],
            "report": [f"{self.results}/report.html"],
        }

    @property
    def report_files(self) -> list[str]:
        """Figures of the report."""
        folder = f"{self.results}/report"
        drawn = ("leaderboard", "honesty", "auc_heatmap", "correlations", "fit_seconds")
        files = [f"{folder}/{name}.svg" for name in drawn]
        files += [f"{folder}/leaderboard.html", f"{folder}/correlations.parquet"]
        shown = [name for name in self.blends if name in self.shown]
        files += [f"{folder}/weights/{name}.svg" for name in shown]
        for name in self.problem.audits:
            stems = ("effects", "targets", "drift")
            files += [f"{folder}/audits/{name}/{stem}.svg" for stem in stems]
        return [*files, *([f"{folder}/comparisons.svg"] if self.shown_comparisons else [])]

    @property
    def leaderboard_entries(self) -> list[dict[str, Any]]:
        """What the leaderboard lists, with its files."""
        return self._entries(self.shown)

    def _entries(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Artifacts with their folder; only what was fitted here has `fits`."""
        scores = self.problem.submissions.scores
        return [
            {
                "name": name,
                "kind": "blend" if name in self.problem.blends else "source",
                "folder": self.folder(name),
                "fits": name in self.problem.sources,
                **({"scores": scores[name].slice()} if name in scores else {}),
            }
            for name in names
        ]

    @property
    def status_entries(self) -> list[dict[str, Any]]:
        """What `status` lists, with what it needs to know of each."""
        groups = self.problem.groups
        given = given_groups(self.problem, groups)
        details = {
            name: {
                "scratch": f"{self.scratch}/sources/{name}",
                "source": source.slice(),
                "groups": given,
                "group_files": self.source_groups[name],
            }
            for name, source in self.problem.sources.items()
        }
        entries = self._entries(self.artifacts)
        return [{**entry, **details.get(entry["name"], {})} for entry in entries]


def _filled_in(value: Any, **words: str) -> Any:
    """A nested value with {placeholders} in its texts filled in."""
    if isinstance(value, str):
        return value.format(**words)
    if isinstance(value, Mapping):
        return {key: _filled_in(item, **words) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled_in(item, **words) for item in value]
    return value


def given_groups(problem: Problem, names: Iterable[str]) -> dict[str, list[str]]:
    """Members of those among some groups that are lists in the config."""
    groups: Mapping[str, Any] = problem.groups
    return {name: list(groups[name].targets) for name in names if not groups[name].is_built}
