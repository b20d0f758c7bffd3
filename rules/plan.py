"""From a problem's config to what rules need: paths, members, and the slices that jobs depend on.

A slice is the narrowest part of the resolved config that decides a job's result. Rules fetch theirs
with `lookup(within=plan.slices, dpath=…)`, so that editing one source touches that source only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from blendmake.adapters import ADAPTERS
from blendmake.code_digest import code_digest
from blendmake.config import Data, Override, Problem, Source, load_problem
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES

NOTHING = "$^"  # a wildcard constraint that nothing matches


class Plan:
    """The resolved problem, as the rules see it.

    Args:
        config: Snakemake's config.
        basedir: folder of the Snakefile.

    Raises:
        WorkflowError: the config is wrong; with one line per mistake.
    """

    def __init__(self, config: Mapping[str, Any], basedir: str) -> None:
        try:
            self.problem: Problem = load_problem(config)
        except BlendmakeError as error:
            raise WorkflowError(str(error)) from None
        self.name = self.problem.problem
        self.started = time.time()
        self.scripts = Path(basedir) / "scripts"
        self.results = f"results/{self.name}"
        self.scratch = f"scratch/{self.name}"
        self.data = self._data()
        self.slices = self._slices()
        self._check_files()
        self.code = self._code()
        self.members = {
            name: self._member_files(name, self.problem.members(name))
            for name in self.problem.blends
        }

    # What there is

    @property
    def sources(self) -> list[str]:
        return list(self.problem.sources)

    @property
    def blends(self) -> list[str]:
        return list(self.problem.blends)

    @property
    def folds(self) -> range:
        return range(self.problem.folds.n)

    @property
    def comparisons(self) -> list[str]:
        return [f"{a}__vs__{b}" for a, b in self.problem.comparisons]

    @property
    def has_groups(self) -> bool:
        return self.data.groups is not None

    @property
    def has_test_targets(self) -> bool:
        return self.data.test_targets is not None

    # Files

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

    def sizes(self, files: Iterable[str], artifact: str) -> list[int]:
        """Sizes in bytes of the user's own files behind an artifact.

        Snakemake looks at a file's content only if it is newer than what was made of it; a file
        replaced by one with an older date shows by its size. Where the files themselves are not on
        this machine, the sizes are those that the artifact was made from.
        """
        if self.problem.data.adapter:
            return []
        try:
            return [os.path.getsize(file) for file in files]
        except OSError:
            return list(self._note(artifact).get("sizes", []))

    def _note(self, artifact: str) -> dict[str, Any]:
        from blendmake.files import read_note  # costs an import that is seldom needed

        path = Path(self.results) / artifact
        return read_note(path) if path.exists() else {}

    @property
    def fit_threads(self) -> int:
        """Threads of a fit: one for small tables, so that fits run side by side, and one more for
        each 128 MB of feature files, so that few large ones are in memory at a time."""
        megabytes = sum(self.sizes(self.table_files, "tables/columns.parquet")) / 2**20
        return max(1, min(8, int(megabytes // 128)))

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

    @property
    def sample_artifact(self) -> list[str]:
        """The sample submission as it was read, where there is one."""
        return [f"{self.results}/tables/sample.parquet"] if self.data.sample_submission else []

    def groups_artifact(self, wanted: bool = True) -> list[str]:
        """groups.parquet, where rows come in groups."""
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

    def folder(self, name: str) -> str:
        """Where a source or blend stands."""
        kind = "sources" if name in self.problem.sources else "blends"
        return f"{self.results}/{kind}/{name}"

    def _member_files(self, name: str, members: list[str]) -> dict[str, Any]:
        return {
            part: [f"{self.folder(m)}/{part}.parquet" for m in members] for part in ("oof", "test")
        }

    @property
    def set_files(self) -> dict[str, dict[str, str]]:
        """The files of each source's feature set."""
        parts = {"columns": "columns.parquet", "train": "train.arrow", "test": "test.arrow"}
        return {
            name: {
                part: f"{self.results}/features/{source.features}/{file}"
                for part, file in parts.items()
            }
            for name, source in self.problem.sources.items()
        }

    @property
    def inner_files(self) -> dict[str, list[str]]:
        """inner.parquet, for sources that stop early on it."""
        return {name: self._inner_file(source) for name, source in self.problem.sources.items()}

    def _inner_file(self, source: Source) -> list[str]:
        layers: list[Source | Override] = [source]
        layers += [*source.overrides.groups.values(), *source.overrides.targets.values()]
        stops = any(x.early_stopping and x.early_stopping.watch == "inner" for x in layers)
        return [f"{self.results}/inner.parquet"] if stops else []

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
        return {name: f"{self.folder(name)}/test.parquet" for name in [*self.sources, *self.blends]}

    @property
    def submission_files(self) -> dict[str, str]:
        """Outputs of a submission, a wildcard `artifact` in them."""
        stem = f"{self.results}/submissions/{{artifact}}"
        files = {"parquet": f"{stem}.parquet", "csv": f"{stem}.csv"}
        return files if self.problem.submissions.csv else {"parquet": files["parquet"]}

    @property
    def scored_files(self) -> dict[str, list[str]]:
        """Files of everything that is scored: oof and scores of sources and blends, fits of sources."""
        names = [*self.sources, *self.blends]
        return {
            "oof": [f"{self.folder(name)}/oof.parquet" for name in names],
            "scores": [f"{self.folder(name)}/scores.parquet" for name in names],
            "fits": [f"{self.folder(name)}/fits.parquet" for name in self.sources],
        }

    @property
    def everything(self) -> list[str]:
        """Every artifact but the report's: `all` asks for each, so that a deleted one comes back."""
        parts = ("oof", "test", "fits")
        names = [f"{self.results}/folds.parquet", f"{self.results}/tables/targets.parquet"]
        names += [*self.groups_artifact(), *self.test_targets_artifact]
        names += self.sample_artifact if self.problem.submissions.blends else []
        names += sorted({file for files in self.inner_files.values() for file in files})
        names += [f"{self.results}/leaderboard.csv", f"{self.results}/experiments.jsonl"]
        for name in self.problem.submissions.blends:
            names += [file.format(artifact=name) for file in self.submission_files.values()]
        for name in self.sources:
            folder = self.folder(name)
            names += [f"{folder}/fold{k}/{part}.parquet" for k in self.folds for part in parts]
            names += [f"{folder}/{part}.parquet" for part in (*parts, "scores")]
        for name in self.blends:
            files = ("oof", "in_sample", "test", "weights", "duplicates", "scores")
            names += [f"{self.folder(name)}/{part}.parquet" for part in files]
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
        files += [f"{folder}/weights/{name}.svg" for name in self.blends]
        return [*files, *([f"{folder}/comparisons.svg"] if self.comparisons else [])]

    @property
    def leaderboard_entries(self) -> list[dict[str, Any]]:
        """What the leaderboard lists, with its files."""
        sources = [
            {"name": name, "kind": "source", "folder": self.folder(name)} for name in self.sources
        ]
        return [
            *sources,
            *({"name": name, "kind": "blend", "folder": self.folder(name)} for name in self.blends),
        ]

    @property
    def status_entries(self) -> list[dict[str, Any]]:
        """What `status` lists, with what it needs to know of each."""
        details = {
            name: {
                "scratch": f"{self.scratch}/sources/{name}",
                "family": source.family,
                "targets": source.targets,
                "groups": {g: list(self.problem.groups[g]) for g in self.problem.groups},
            }
            for name, source in self.problem.sources.items()
        }
        return [{**entry, **details.get(entry["name"], {})} for entry in self.leaderboard_entries]

    def _check_files(self) -> None:
        """Say at once which of the user's files are not there.

        Built artifacts would hide it; files from which the present tables were made may be gone.
        """
        data = self.data
        named = {f"data.train.{name}": path for name, path in (data.train or {}).items()}
        named |= {f"data.test.{name}": path for name, path in (data.test or {}).items()}
        absent = [f"  {key}: {path}" for key, path in named.items() if not os.path.exists(path)]
        if not absent or self.problem.data.adapter:
            return
        made_from = self._note("tables/columns.parquet").get("config", {})
        if made_from != self.slices["tables"]:
            raise WorkflowError(
                f"Files that the config of problem '{self.name}' names do not exist (paths are relative "
                f"to {os.getcwd()}):\n" + "\n".join(absent)
            )

    def print_errors(self) -> None:
        """Repeat what went wrong in this run: the messages stand far above the end otherwise."""
        texts: dict[str, Path] = {}
        for path in sorted(Path(f"logs/{self.name}").rglob("*.log")):
            if path.stat().st_mtime >= self.started:
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    if " ERROR: " in line:
                        texts.setdefault(line.split(" ERROR: ", 1)[1], path)
        for text, path in texts.items():
            print(f"\nERROR: {text}\n  ({path})", file=sys.stderr)

    # Slices of the config

    def _data(self) -> Data:
        data = self.problem.data
        if data.adapter:
            own = _filled(ADAPTERS[data.adapter].DATA, folder=f"{self.results}/data")
            kept = {"categories": data.categories, "ignore": data.ignore}
            return Data.model_validate({**own, **{k: v for k, v in kept.items() if v}})
        return data

    def _slices(self) -> dict[str, Any]:
        p, data = self.problem, self.data
        assert data.train and data.targets
        groups = {name: list(members) for name, members in p.groups.items()}
        train_files = set(data.train.values())

        def in_train(file: str | None) -> bool:
            return file is None or file in train_files

        held = [
            *(data.targets.columns or [] if in_train(data.targets.file) else []),
            *([data.groups.column] if data.groups and in_train(data.groups.file) else []),
            *([p.folds.column] if p.folds.column and in_train(p.folds.file) else []),
        ]
        return {
            "tables": {
                "train": data.train,
                "test": {name: data.test[name] for name in data.train} if data.test else None,
                "id": data.id,
                "categories": data.categories.model_dump(),
                "ignore": data.ignore,
                "not_features": held,
            },
            "targets": {"id": data.id, "columns": data.targets.columns},
            "groups": {"id": data.id, "column": data.groups.column if data.groups else None},
            "folds": {
                "id": data.id,
                "n": p.folds.n,
                "scheme": self._scheme(),
                "column": p.folds.column,
                "seed": p.seed if p.folds.seed is None else p.folds.seed,
            },
            "inner": {
                "share": p.folds.inner_share,
                "seed": p.seed if p.folds.seed is None else p.folds.seed,
            },
            "features": {name: item.model_dump() for name, item in p.feature_sets().items()},
            "fit": {
                name: {
                    "source": source.model_dump(exclude={"family", "features"}),
                    "family": FAMILIES[source.family],
                    "groups": {group: groups[group] for group in source.group_names(groups)},
                    "seed": p.seed,
                }
                for name, source in p.sources.items()
            },
            "source": {name: source.model_dump() for name, source in p.sources.items()},
            "blend": {
                name: {**blend.model_dump(), "members": p.members(name)}
                for name, blend in p.blends.items()
            },
            "submission": {
                "csv": p.submissions.csv,
                "rename": p.submissions.rename.model_dump() if p.submissions.rename else None,
            },
        }

    def _scheme(self) -> str:
        scheme = self.problem.folds.scheme
        if scheme == "auto":
            return "group" if self.has_groups else "stratified"
        return scheme

    def _code(self) -> dict[str, Any]:
        """Digest of the code behind each rule, by script name; `fit` by family."""
        digests: dict[str, Any] = {
            script.stem: code_digest([script], self.scripts) for script in self.scripts.glob("*.py")
        }
        fit = self.scripts / "fit_fold.py"
        digests["fit"] = {
            name: code_digest([fit, self._module(FAMILIES[source.family])], self.scripts)
            for name, source in self.problem.sources.items()
        }
        if self.problem.data.adapter:
            module = ADAPTERS[self.problem.data.adapter].__name__
            write = self.scripts / "write_data.py"
            digests["write_data"] = code_digest([write, self._module(module)], self.scripts)
        return digests

    def _module(self, name: str) -> Path:
        return self.scripts.joinpath(*name.split(".")).with_suffix(".py")


def _filled(value: Any, **words: str) -> Any:
    """A nested value with {placeholders} in its texts filled in."""
    if isinstance(value, str):
        return value.format(**words)
    if isinstance(value, Mapping):
        return {key: _filled(item, **words) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled(item, **words) for item in value]
    return value


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint: exactly these names."""
    return "|".join(sorted(names)) or NOTHING
