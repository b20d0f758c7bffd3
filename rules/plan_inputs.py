"""The problem and the user's files: what there is, and what stands behind each artifact."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from blendmake.adapters import ADAPTERS
from blendmake.config.data import Data
from blendmake.config.problem import Problem
from blendmake.digests import digest_of
from blendmake.tables.folders import bytes_of
from blendmake.tables.naming import ACROSS, POSITION


class PlanInputs:
    """What a problem is made of, and the files that are the user's own.

    Args:
        problem: the resolved config.

    Attributes:
        bucket: where artifacts stand (bucket.Bucket), if not in this folder.
    """

    bucket: Any = None

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
    def out_of_memory(self) -> dict[str, str]:
        """What fits of each source do where a GPU has too little memory: no param, so that it makes
        nothing stale."""
        return {name: source.out_of_memory for name, source in self.problem.sources.items()}

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
    def folds(self) -> range:
        return range(self.problem.folds.n)

    @property
    def comparisons(self) -> list[str]:
        return [f"{a}__vs__{b}" for a, b in self.problem.all_comparisons()]

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
    def adapter_options(self) -> dict[str, Any]:
        """What an adapter is told beside the folder."""
        data = self.problem.data
        if not data.adapter:
            return {}
        known = ADAPTERS[data.adapter].OPTIONS
        given = {key: getattr(data, key) for key in known if key != "seed"}
        options = {key: value for key, value in given.items() if value not in (None, [])}
        return {**options, **({"seed": self.problem.seed} if "seed" in known else {})}

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
    def id_settings(self) -> dict[str, Any]:
        """What is out of the ordinary about ids: that those of test begin again, names not to be had."""
        data = self.data
        assert data.targets
        found: dict[str, Any] = {}
        if data.ids.distinct != ACROSS:
            found["distinct"] = data.ids.distinct
        if not data.id and POSITION in (data.targets.columns or []):
            found["taken"] = [POSITION]
        return found

    @property
    def not_features(self) -> list[str]:
        """Columns of the train files that hold targets, groups or folds."""
        data, folds = self.data, self.problem.folds
        assert data.train and data.targets
        train_files = set(data.train.values())

        def in_train(file: str | None) -> bool:
            return file is None or file in train_files

        return [
            *(data.targets.columns or [] if in_train(data.targets.file) else []),
            *([data.groups.column] if data.groups and in_train(data.groups.file) else []),
            *([folds.column] if folds.column and in_train(folds.file) else []),
        ]

    @property
    def table_files(self) -> list[str]:
        """Feature files of the user, train then test."""
        return [*(self.data.train or {}).values(), *(self.data.test or {}).values()]

    @property
    def test_tables(self) -> list[str]:
        """Test files of the user, in the order of the train files."""
        data = self.data
        return [data.test[name] for name in data.train or {}] if data.test else []

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
        this machine, the sizes are those that the artifact was made from. With a bucket they do not
        count: what a machine that lacks the files would know of them is not in its folder.
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

    @property
    def external_places(self) -> dict[str, dict[str, str]]:
        """What `places` says of the files of each external source."""
        return {name: self.places(files.values()) for name, files in self.external_files.items()}

    def _sizes(self, files: Iterable[str], artifact: str) -> list[int]:
        if self.bucket:
            return []
        try:
            return [bytes_of(file) for file in files]
        except OSError:
            return list(self.note(artifact).get("sizes", []))

    def places(self, files: Iterable[str]) -> dict[str, str]:
        """The user's files by their number, where an input is not itself the file: of a folder its files
        are the inputs, and a path that Snakemake would take for a pattern is reached by a link."""
        paths = list(files)
        if self.problem.data.adapter:
            return {}
        if any(os.path.isdir(path) or is_pattern(path) for path in paths):
            return {str(i): path for i, path in enumerate(paths)}
        return {}

    def without_wildcards(self, path: str) -> str:
        """A path, or a link to it where braces in it would be wildcards."""
        if not is_pattern(path):
            return path
        name = digest_of(path)[:12] + "_" + re.sub(r"[^\w.-]", "_", os.path.basename(path))
        link = Path(self.scratch) / "inputs" / name
        if not link.is_symlink() or os.readlink(link) != os.path.abspath(path):
            link.parent.mkdir(parents=True, exist_ok=True)
            temporary = link.with_name(f"{name}.{os.getpid()}")
            temporary.symlink_to(os.path.abspath(path))
            temporary.replace(link)
        return str(link)

    def file_code(self, source: str) -> str | None:
        """Digest of a source's own Python file and of what it imports from its folder, if it has one."""
        file = self.problem.sources[source].file
        if not file or not os.path.exists(file):
            return None
        from blendmake.user_code import user_digest  # seldom needed

        return user_digest(Path(file))

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


def is_pattern(path: str) -> bool:
    """Whether Snakemake would see more in a path than its letters: `{x}` or `<x>`."""
    return re.search(r"\{.*\}|<.*>", path) is not None


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


def without(mapping: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """A mapping less some keys."""
    return {key: value for key, value in mapping.items() if key not in keys}


def in_order(value: Any, sort: bool = False) -> Any:
    """A nested value with all `params` in the order of their names: a config may have them in any."""
    if not isinstance(value, Mapping):
        return value
    keys = sorted(value) if sort else value
    return {key: in_order(value[key], sort or key == "params") for key in keys}
