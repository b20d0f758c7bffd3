"""Which files a problem has under results/<problem>/: paths that rules look up by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from blendmake.config.sources import Override, Source
from plan_inputs import PlanInputs

FOLD_PARTS = ("oof", "test", "fits")
BLEND_PARTS = (
    "oof",
    "in_sample",
    "test",
    "weights",
    "duplicates",
    "uncalibrated",
    "calibration",
    "scores",
)


class PlanFiles(PlanInputs):
    """Paths of a problem's artifacts."""

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

    def set_files(
        self, name: str, fold: int | str = "{fold}", within: Iterable[int] | None = None
    ) -> dict[str, Any]:
        """The files of a feature set: those of the set, and those of a fold, where it has such.

        Args:
            within: the search folds whose labels alone are looked at; left out: all.
        """
        folder = f"{self.results}/features/{name}"
        files: dict[str, Any] = {
            "columns": f"{folder}/columns.parquet",
            "train": f"{folder}/train.arrow",
            "test": f"{folder}/test.arrow",
            "fold_train": [],
            "fold_test": [],
        }
        if self.problem.feature_sets()[name].uses_labels:
            if within is not None:
                folder = f"{folder}/within{'_'.join(map(str, within))}"
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
            for a, b in self.problem.all_comparisons()
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
