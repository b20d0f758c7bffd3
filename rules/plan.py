"""From a problem's config to what rules need: paths, members, and the slices that jobs depend on.

A slice is the narrowest part of the resolved config that decides a job's result. Rules fetch theirs
with `at(plan.slices, …)`, so that editing one source touches that source only.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError

from blendmake.adapters import ADAPTERS
from blendmake.code_digest import code_digest, keep_known
from blendmake.config.loading import load_problem, load_run
from blendmake.config.measures import (
    AUTO,
    fit_modules,
    is_file,
    measures_task,
    metric_files,
    of_target,
    tasks_said,
)
from blendmake.config.reading import as_written
from blendmake.config.sources import Source
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES
from blendmake.folds import SCHEMES
from blendmake.metrics import DEFAULTS, METRICS
from blendmake.tasks import TASKS
from blendmake.user_code import user_digest
from plan_bucket import PlanBucket
from plan_inputs import given_groups, in_order, without
from plan_requests import offered_gpus

VERDICT = {"z", "share", "drift"}  # what an audit's lists depend on, but not its fits
NOTHING = "$^"  # a wildcard constraint that nothing matches


MEASURED = (
    "score_predictions",
    "compare_artifacts",
    "blend_sources",
    "build_leaderboard",
    "audit_fold",
)
"""Scripts that measure by the metrics of the problem, whose modules they import by name."""


class Plan(PlanBucket):
    """The resolved problem, as the rules see it.

    Args:
        config: Snakemake's config.
        basedir: folder of the Snakefile.
        cores: how many this run has, where it has a number.
        asked: words of the command, the campaigns that it asks for among them.
        gpus: how many the profile offers.
        bucket: where artifacts stand, if not in this folder.
        files: the config files that `config` was made of.

    Raises:
        WorkflowError: the config is wrong; with one line per mistake.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        basedir: str,
        cores: int | None = None,
        asked: Iterable[str] = (),
        gpus: int | None = None,
        bucket: Any = None,
        files: Iterable[str | Path] = (),
    ) -> None:
        self.started = time.time()
        words = set(asked)
        self.bucket = bucket
        self.gpus = offered_gpus() if gpus is None else gpus
        self.cores = cores
        self.scripts = Path(basedir) / "scripts"
        self.preset: dict[str, Any] | None = None
        try:
            config = self.config = as_written(config, files)
            super().__init__(load_problem(config))
            window = os.environ.get("BLENDMAKE_WINDOW")
            self.run, _ = load_run({**({"window": window} if window else {}), **config})
            if self.problem.preset:
                self._refuse_preset_with_bucket()
                super().__init__(self._with_preset())
        except BlendmakeError as error:
            raise WorkflowError(str(error)) from None
        self.window = self.problem.budget if self.run.window is None else self.run.window
        self.asked = [name for name in self.campaigns if f"campaign_{name}" in words]
        try:
            self.slices = self._slices()
            self._check_files(all_of_them="preflight" not in words)
            self.code = self._code()
            self.check_planned()
            self._check_metrics()
        except BlendmakeError as error:
            raise WorkflowError(str(error)) from None
        self._refuse_with_bucket(words)
        self.spends = self.spends_budget(sys.argv)
        self.left = self.left_by_budget()
        if self.window is not None and not (self.spends or self.builds_for_budget):
            try:
                self._triage(self.window)
            except BlendmakeError as error:
                raise WorkflowError(str(error)) from None

    # Files that are not there, and the end of a run that failed

    def _check_files(self, all_of_them: bool) -> None:
        """Say at once which of the user's files are not there.

        Built artifacts would hide it; files from which the present tables were made may be gone.

        Args:
            all_of_them: those too that are not read first; a preflight has a line for each.
        """
        data = self.data
        named = {f"data.train.{name}": path for name, path in (data.train or {}).items()}
        named |= {f"data.test.{name}": path for name, path in (data.test or {}).items()}
        if (
            self.problem.data.adapter
            or self.bucket  # another machine may have read them
            or self.note("tables/columns.parquet").get("config", {}) == self.slices["tables"]
        ):
            named = {}
        named |= self._read_later() if all_of_them else {}
        code = {
            f"sources.{name}.file": source.file
            for name, source in self.problem.sources.items()
            if source.file
        }
        code |= metric_files(self.problem.metric, self.problem.also)
        for name, search in self.problem.searches.items():
            found = metric_files(search.metric, None).items()
            code |= {f"searches.{name}.{key}": path for key, path in found}
        for key, path in code.items():
            if os.path.isdir(path):
                raise WorkflowError(f"{key}: {path} is a folder. Name the Python file in it.")
        named |= code
        absent = [f"  {key}: {path}" for key, path in named.items() if not os.path.exists(path)]
        if absent:
            raise WorkflowError(
                f"Files that the config of problem '{self.name}' names do not exist (paths are relative "
                f"to {os.getcwd()}):\n" + "\n".join(absent)
            )

    def _read_later(self) -> dict[str, str]:
        """The user's other files by key, but those that have been read."""
        data, folds = self.data, self.problem.folds
        files = {
            "targets": ("data.targets", data.targets and data.targets.file),
            "test_targets": ("data.test_targets", data.test_targets),
            "groups": ("data.groups", data.groups and data.groups.file),
            "sample": ("data.sample_submission", data.sample_submission),
        }
        waiting = {
            key: str(path)
            for name, (key, path) in files.items()
            if path and not os.path.exists(f"{self.results}/tables/{name}.parquet")
        }
        if folds.file and not os.path.exists(f"{self.results}/folds.parquet"):
            waiting["folds.file"] = folds.file
        for name, given in self.external_files.items():
            if not os.path.exists(f"{self.folder(name)}/oof.parquet"):
                waiting |= {f"external.{name}.{part}": path for part, path in given.items()}
        return {} if self.bucket or self.problem.data.adapter else waiting

    def print_errors(self) -> None:
        """Repeat what went wrong in this run: the messages stand far above the end otherwise."""
        texts: dict[str, Path] = {}
        for path in sorted((self.copies / "logs" / self.name).rglob("*.log")):
            if path.stat().st_mtime >= self.started:
                for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                    if " ERROR: " in line:
                        texts.setdefault(line.split(" ERROR: ", 1)[1], path)
        for text, path in texts.items():
            print(f"\nERROR: {text}\n  ({path})", file=sys.stderr)

    def close(self, logs: Iterable[Any] = ()) -> None:
        """What a run that failed leaves behind: errors repeated, manifests of its campaigns.

        Args:
            logs: what Snakemake has written of the run.
        """
        from run_log import told

        self.print_errors()
        for text in told(logs):
            print(f"\nERROR: {text}", file=sys.stderr)
        self.write_manifests("not built in this run; see the errors above")

    def write_manifests(self, why: str) -> None:
        """The manifests of the campaigns that this run has not finished.

        Args:
            why: the reason for what is missing.
        """
        from blendmake.reports.campaign import manifest, manifest_text, write_manifest

        if self.bucket:
            return  # manifests go by what is at hand, which is not all that stands
        for name in self.asked:
            items = self.campaign_items(name)
            reasons = {item["label"]: why for item in items} | self.left
            entries = manifest(items, reasons)
            path = Path(self.manifest_file(name))
            write_manifest(path, entries)
            print(f"\n{manifest_text(name, entries, path)}", file=sys.stderr)

    # Slices of the config

    def _slices(self) -> dict[str, Any]:
        p, data = self.problem, self.data
        assert data.train and data.targets
        # By which ids and columns of targets are found in files of predictions.
        rename = p.submissions.rename.model_dump() if p.submissions.rename else None
        names = {"id": data.id, "rename": rename}
        csv_format = data.csv.slice()
        csv = {"csv_format": csv_format} if csv_format else {}  # so that it is new to who sets it
        missing = {"missing": data.missing} if data.missing else {}
        return {
            "adapter": self.adapter_options,
            "tables": {
                "train": data.train,
                "test": {name: data.test[name] for name in data.train} if data.test else None,
                "id": data.id,
                "categories": data.categories.model_dump(),
                "ignore": sorted(data.ignore),
                "not_features": self.not_features,
                **missing,
                **({"elsewhere": self._beside_features} if isinstance(data.missing, dict) else {}),
                **csv,
                **self.id_settings,
            },
            "targets": {
                "id": data.id,
                "columns": data.targets.columns,
                **({"positive": data.targets.positive} if data.targets.positive else {}),
                **({"task": p.task} if p.task != AUTO else {}),
                **missing,
                **csv,
            },
            "metrics": self._metrics(),
            "groups": {
                "id": data.id,
                "column": data.groups.column if data.groups else None,
                **(missing if data.groups else {}),
                **csv,
            },
            "folds": {
                "id": data.id,
                "n": p.folds.n,
                "scheme": self._scheme(),
                "column": p.folds.column,
                "seed": p.seed if p.folds.seed is None else p.folds.seed,
                **(missing if p.folds.column else {}),
                **csv,
            },
            "inner": {
                "share": p.folds.inner_share,
                "seed": p.seed if p.folds.seed is None else p.folds.seed,
            },
            "group": self._group_slices(),
            "features": {
                name: one.slice_without_labels() for name, one in p.feature_sets().items()
            },
            "fold_features": {
                name: p.feature_sets()[name].slice_with_labels() for name in self.fold_sets
            },
            "fit": {
                name: {
                    "source": {
                        **in_order(without(source.slice_of_results(), "family", "features")),
                        **self.params_taken(name),
                        **({"file_code": code} if (code := self.file_code(name)) else {}),
                    },
                    "family": FAMILIES[source.family],
                    "groups": given_groups(p, source.group_names(p.groups)),
                    "seed": p.seed,
                    **self._watched_by(source),
                }
                for name, source in p.sources.items()
            },
            "source": {name: one.slice_of_results() for name, one in p.sources.items()},
            "external": {
                name: {"family": "external", **one.slice(), **csv}
                for name, one in p.external.items()
            },
            "blend": {
                name: {**blend.slice(), "members": p.members(name)}
                for name, blend in p.blends.items()
            },
            "audits": {
                name: {
                    "audit": audit.model_dump(exclude={"features", *VERDICT}),
                    "groups": given_groups(p, sorted(set(audit.targets) & set(p.groups))),
                    "seed": p.seed,
                    **self._judged_by(),
                }
                for name, audit in p.audits.items()
            },
            "audit_verdicts": {
                name: audit.model_dump(include=VERDICT) for name, audit in p.audits.items()
            },
            "submission": {**names, "csv": p.submissions.csv},
            "sample": {**names, **csv},
            "names": names,
        }

    @property
    def _beside_features(self) -> list[str]:
        """Columns of targets, groups and folds that the config names, in whatever file."""
        data, column = self.data, self.problem.folds.column
        assert data.targets
        groups = [data.groups.column] if data.groups else []
        return sorted({*(data.targets.columns or ()), *groups, *([column] if column else [])})

    def _metrics(self) -> dict[str, Any]:
        """What is said of metrics, and digests of the user's own; nothing where nothing is said."""
        metric, also = self.problem.metric, self.problem.also
        files = sorted({*metric_files(metric, also).values()})
        code = {file: user_digest(Path(file)) for file in files if os.path.exists(file)}
        said = {"metric": metric, "also": also, "code": code or None}
        return {key: value for key, value in said.items() if value is not None}

    def _judged_by(self) -> dict[str, Any]:
        """What audits go by, where the config says so."""
        said = {"metric": self.problem.metric, "metric_code": self._metrics().get("code")}
        return {} if said["metric"] is None else said

    def _check_metrics(self) -> None:
        """Refuse a metric that is not of a target's task, as the labels that stand have it.

        Before they are read, what the config says of tasks has been checked with it.

        Raises:
            BlendmakeError: names the target.
        """
        path = Path(self.results) / "tables" / "targets.parquet"
        if self.problem.metric is None or not path.exists():
            return
        from blendmake.labels import read_targets_of  # costs an import that is seldom needed

        if self.note("tables/targets.parquet").get("config") != self.slices["targets"]:
            return  # labels will be read anew
        for target in read_targets_of(path):
            metric = of_target(self.problem.metric, target.name)
            if metric is not None and not measures_task(metric, target.task.name):
                raise BlendmakeError(
                    f"metric: '{metric}' does not measure {target.task.name}, which target "
                    f"'{target.name}' is as its labels were read. Name another metric (metric: "
                    f"{{{target.name}: {target.task.metric}}}), or say what the target is (task)."
                )

    def _watched_by(self, source: Source) -> dict[str, Any]:
        """What a source's early stopping goes by; nothing where it has none, or nothing is said."""
        given = source.overrides
        stopping: list[Any] = [source.early_stopping]
        stopping += [
            one.early_stopping for one in (*given.groups.values(), *given.targets.values())
        ]
        if self.problem.metric is None or not any(stopping):
            return {}
        return {"metric": self._metrics()["metric"], "metric_code": self._metrics().get("code")}

    def _group_slices(self) -> dict[str, Any]:
        """Each built group's rule, with the given groups that stand above it."""
        slices: dict[str, Any] = {}
        above: list[str] = []
        for name, group in self.problem.groups.items():
            if group.is_built:
                given = given_groups(self.problem, above)
                slices[name] = {"rule": group.slice(), "given": given}
            above.append(name)
        return slices

    @property
    def scheme_module(self) -> str:
        """The module of the scheme by which rows are assigned to folds."""
        return SCHEMES[self._scheme()]

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
        digests["fit"] = {}
        of_fits = fit_modules(self.problem.task, self.problem.metric)
        for name, source in self.problem.sources.items():
            modules = [FAMILIES[source.family], *of_fits]
            own = code_digest([fit, *map(self._module, modules)], self.scripts)
            # A user's own file counts as code, with what it imports from beside it.
            digests["fit"][name] = own + (self.file_code(name) or "")
        make = self.scripts / "make_fold_features.py"
        tasks = [self._module(TASKS[name]) for name in sorted(tasks_said(self.problem.task))]
        digests["make_fold_features"] = code_digest([make, *tasks], self.scripts)
        for name in MEASURED:
            script = self.scripts / f"{name}.py"
            digests[name] = code_digest([script, *self._measuring()], self.scripts)
        make = self.scripts / "make_folds.py"
        digests["make_folds"] = code_digest([make, self._module(self.scheme_module)], self.scripts)
        if self.problem.data.adapter:
            module = ADAPTERS[self.problem.data.adapter].__name__
            write = self.scripts / "write_data.py"
            digests["write_data"] = code_digest([write, self._module(module)], self.scripts)
        keep_known()
        return digests

    def _measuring(self) -> list[Path]:
        """Modules of the tasks and metrics that this problem may have, in one order."""
        metric = self.problem.metric
        named = [*(metric.values() if isinstance(metric, Mapping) else [metric])]
        named += self.problem.also or []
        metrics = [METRICS[n.partition("(")[0].strip()] for n in named if n and not is_file(n)]
        modules = {*(TASKS[name] for name in tasks_said(self.problem.task)), *DEFAULTS, *metrics}
        return [self._module(name) for name in sorted(modules)]

    def _module(self, name: str) -> Path:
        path = self.scripts.joinpath(*name.split("."))
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def at(within: Mapping[str, Any], path: str) -> Callable[[Any], Any]:
    """A function of a job's wildcards: what a nested mapping holds at `path`, "{source}/{fold}", say.

    As Snakemake's `lookup(within=…, dpath=…)`, which compares every path in the mapping with the one
    that is asked for, for each job anew: with 80 sources nine tenths of a dry run.

    Raises:
        WorkflowError: from the function: there is nothing at the path.
    """
    keys = path.split("/")

    def found(wildcards: Any) -> Any:
        names, value = [key.format(**dict(wildcards.items())) for key in keys], within
        for name in names:
            if name not in value:
                raise WorkflowError(f"The config has nothing for '{name}' (of {'/'.join(names)})")
            value = value[name]
        return value

    return found


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint: exactly these names."""
    return "|".join(sorted(names)) or NOTHING
