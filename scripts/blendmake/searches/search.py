"""A search as its jobs know it: which studies there are, what identifies each, where it begins."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from blendmake.config.measures import of_target
from blendmake.errors import BlendmakeError
from blendmake.family import REPORT_EVERY
from blendmake.files import digest_of, read_note
from blendmake.fits.fold_fits import FoldFits
from blendmake.fits.inputs import FoldInputs
from blendmake.fits.settings import resolve_targets
from blendmake.fits.tuned import ALL, SOURCE_KEYS
from blendmake.labels import KnownLabels, read_known
from blendmake.metrics.choice import metrics_of
from blendmake.searches.samplers import make_pruner
from blendmake.searches.space import Space, Value, space_of
from blendmake.searches.studies import StudyPlan
from blendmake.searches.table import metric_of, sign_of
from blendmake.seeds import derive_seed

REPORTS = 10
"""Reports of a fit at most: each is a write to the storage that all workers share."""
OF_FOLDS = ("columns", "made_train", "made_test", "fold_train", "fold_test")


@dataclass(frozen=True)
class Search:
    """A search of one problem.

    Args:
        problem, name: whose it is.
        config: config.searches.Search as a mapping.
        sources: by name: `source` (its config), `family` (module), `seed`, `code`.
        groups: members of all groups named by the search or its sources.
        inputs: by source, what its fits read on each search fold.
        folds: the search folds, of `n_folds`.
        gpu: share of a GPU's memory that trials may use; 0: they run on the CPU.
        metric_said: the problem's metric, by target where it says so: what early stopping watches, and
            what a search goes by that names none of its own.
        metric_code: digests of the user's files among metrics.
    """

    problem: str
    name: str
    config: Mapping[str, Any]
    sources: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Sequence[str]]
    inputs: Mapping[str, Sequence[FoldInputs]]
    folds: Sequence[int]
    n_folds: int
    threads: int = 1
    gpu: float = 0.0
    metric_said: str | Mapping[str, str] | None = None
    metric_code: Mapping[str, str] | None = None

    @cached_property
    def metric(self) -> str:
        """What trials are rated by: a metric's name, or the user's file.

        Raises:
            BlendmakeError: it does not measure a target, or the targets go by several.
        """
        said = self.config.get("metric") or self.metric_said
        where = f"searches.{self.name}" + (".metric" if self.config.get("metric") else "")
        by_target = {}
        for target in self._known.targets:
            if target.name in self.targets:
                own = of_target(said, target.name)
                try:
                    metrics_of(target.task, own)
                except BlendmakeError as error:
                    raise BlendmakeError(f"{where}: target '{target.name}': {error}") from None
                by_target[target.name] = own or target.task.metric
        found = list(dict.fromkeys(by_target.values()))
        if len(found) > 1:
            first, other = (next(t for t in by_target if by_target[t] == m) for m in found[:2])
            raise BlendmakeError(
                f"{where}: trials are rated by one metric, but '{first}' goes by {found[0]} and "
                f"'{other}' by {found[1]}. Make a search of each (targets), or name a metric that "
                "measures them all (metric)."
            )
        return found[0]

    @property
    def _is_watched(self) -> bool:
        """Whether fits, in their course, tell the metric by which trials are rated."""
        return all(
            metric_of(of_target(self.metric_said, target.name) or target.task.metric).name
            == metric_of(self.metric).name
            for target in self._known.targets
            if target.name in self.targets
        )

    @cached_property
    def space(self) -> Space:
        return space_of(self.config["space"], list(self.sources))

    @cached_property
    def _known(self) -> KnownLabels:
        return read_known(self._any_inputs.targets)

    @cached_property
    def targets(self) -> list[str]:
        """The targets that are tuned, in the order of the targets table."""
        every = self._known.names
        own = [set(self._covered(source)) for source in self.sources]
        wanted = self.config.get("targets")
        found = resolve_targets(wanted, self.groups, every) if wanted else every
        chosen = [target for target in found if all(target in covered for covered in own)]
        left_out = [target for target in found if wanted and target not in chosen]
        if left_out or not chosen:
            raise BlendmakeError(
                f"searches.{self.name}.targets: "
                + (f"'{left_out[0]}' is no target of its source. " if left_out else "none. ")
                + "Search what the source covers, or widen the source's targets."
            )
        return chosen

    def _covered(self, source: str) -> list[str]:
        return resolve_targets(
            self.sources[source]["source"]["targets"], self.groups, self._known.names
        )

    @cached_property
    def fits(self) -> dict[str, list[FoldFits]]:
        """By source, how trials are fitted on each search fold."""
        known = self._known
        return {
            name: [
                FoldFits(
                    name,
                    {**one["source"], "file_code": one.get("code")},
                    self.groups,
                    fold,
                    inputs,
                    one["family"],
                    one["seed"],
                    self.threads,
                    known.targets,
                    known.labels,
                    metric=self.metric_said,
                    within=self.folds,
                    trial=True,
                    reports=self.prunes_within or self.config.get("trial_limit") is not None,
                    gpu=self.gpu,
                )
                for fold, inputs in zip(self.folds, self.inputs[name], strict=True)
            ]
            for name, one in self.sources.items()
        }

    @cached_property
    def is_one(self) -> bool:
        """Whether there is one study for all targets."""
        joint = any(
            importlib.import_module(one["family"]).FAMILY.MULTI_OUTPUT
            for one in self.sources.values()
        )
        return bool(self.config.get("studies", "one" if joint else "per_target") == "one")

    def study_targets(self) -> dict[str, list[str]]:
        """Names of the studies, and the targets of each."""
        if self.is_one:
            return {ALL: list(self.targets)}
        return {target: [target] for target in self.targets}

    def rounds(self, target: str) -> int:
        """The most rounds of a fit of a trial."""
        most = 1
        for one in self.fits.values():
            most = max(most, one[0].settings(target).rounds or one[0].family.ROUNDS)
        for param in self.space.params:
            if param.name == "rounds":
                most = max(most, int(param.high or param.value or max(param.choices, default=1)))
        return most

    def units(self, targets: Sequence[str]) -> int:
        """Fits of a trial."""
        joint = any(one[0].multi_output for one in self.fits.values())
        return len(self.folds) * (1 if joint else len(targets))

    @property
    def prunes_within(self) -> bool:
        """Whether a pruner looks at a fit before it is done."""
        return self.config["pruner"] in ("median", "hyperband") and self._is_watched

    def stride(self, targets: Sequence[str]) -> int:
        """Steps of one fit: its rounds, where it reports in between for a pruner to look at."""
        told = any(one[0].family.REPORTS for one in self.fits.values())
        return self.rounds(targets[0]) if told and self.prunes_within else 1

    def report_every(self, stride: int, source: str) -> int:
        """Of how many rounds a multiple a report must be, to be passed on."""
        every = -(-stride // REPORTS)
        in_epochs = self.fits[source][0].family.RESUMES
        return every if in_epochs else -(-every // REPORT_EVERY) * REPORT_EVERY

    def plans(self) -> list[StudyPlan]:
        """Every study."""
        config = self.config
        found = []
        for name, targets in self.study_targets().items():
            stride, fits = self.stride(targets), self.units(targets)
            larger = sign_of(self.metric) > 0
            found.append(
                StudyPlan(
                    name,
                    f"blendmake/{self.problem}/{self.name}/{name}/{self.identity(targets)}",
                    self.space,
                    [self.baseline(source, targets[0]) for source in self.sources],
                    config["trials"],
                    self.metric,
                    config["sampler"],
                    make_pruner(config["pruner"], larger, stride, fits),
                    config["retries"],
                    derive_seed(self._seed, self.name, name),
                )
            )
        return found

    @property
    def _seed(self) -> int:
        return int(next(iter(self.sources.values()))["seed"])

    def baseline(self, source: str, target: str) -> dict[str, Value]:
        """What a source fits a target with now, of the params of the space, as far as it says."""
        fits = self.fits[source][0]
        settings = fits.settings(target)
        own = {**fits.family.DEFAULTS, **settings.params}
        own |= {"rounds": settings.rounds or fits.family.ROUNDS}
        own |= {"class_weight": settings.class_weight}
        values: dict[str, Value] = {"source": source} if len(self.sources) > 1 else {}
        for param in self.space.params:
            if param.name == "source" or not self.space.is_active(param, values):
                continue
            key = param.name
            if key not in SOURCE_KEYS:
                key = fits.family.ALIASES.get(key, key)
            if key in own:
                values[param.name] = own[key]
        return values

    def identity(self, targets: Sequence[str]) -> str:
        """What tells a study from others: source, targets, space, folds and metric, and the data.

        Neither the code nor the numbers of trials and workers: those made so far stay.
        """
        parts: list[Any] = [
            list(targets),
            self.metric,
            list(self.folds),
            self.folds_digest,
        ]
        parts.append(self.config["space"])
        for name, one in self.sources.items():
            settings = [vars(self.fits[name][0].settings(target)) for target in targets]
            parts += [name, one["family"], settings, one["seed"]]
            # Of a user's own function its code: another is another source.
            parts += [one["source"].get("file"), one["source"].get("python"), one.get("code")]
            parts.append([inputs.digest() for inputs in self.inputs[name]])
        return digest_of(parts + self._beyond_defaults(targets))

    def _beyond_defaults(self, targets: Sequence[str]) -> list[Any]:
        """What else tells a study from others, where metrics are not those of the tasks."""
        known = {target.name: target for target in self._known.targets}
        watched = {target: of_target(self.metric_said, target) for target in targets}
        others = {
            target: metric
            for target, metric in watched.items()
            if metric not in (None, known[target].task.metric)
        }
        stops = any(
            self.fits[source][0].settings(target).early_stopping
            for source in self.sources
            for target in others
        )
        told: list[Any] = [others] if stops else []  # what is watched decides when a fit ends
        return told + ([dict(self.metric_code)] if self.metric_code else [])

    @property
    def folds_digest(self) -> str:
        return str(read_note(self._any_inputs.folds)["content"])

    @property
    def _any_inputs(self) -> FoldInputs:
        """What stands in them for all alike: targets and folds."""
        return next(iter(self.inputs.values()))[0]


def search_of(
    params: Mapping[str, Any],
    problem: str,
    name: str,
    files: Mapping[str, Any],
    built: Mapping[str, Sequence[str]],
    threads: int = 1,
    gpu: float = 0.0,
) -> Search:
    """A search from what its rules pass.

    Args:
        params: `search` (its config), `sources`, `groups` (those given), `folds`, `n_folds`; `metric`
            and `metric_code`, where there is something to say.
        files: train, test, targets, folds, inner; columns, made_train and made_test by source and
            fold, in order; fold_train and fold_test likewise, of sources whose features have such.
        built: members of the groups that a rule built.
    """
    every = {kind: iter(map(Path, files[kind])) for kind in OF_FOLDS}

    def one(with_labels: bool) -> FoldInputs:
        made = {
            kind: next(paths) for kind, paths in every.items() if with_labels or "fold" not in kind
        }
        return FoldInputs(
            tables={"train": Path(files["train"]), "test": Path(files["test"])},
            made={"train": made["made_train"], "test": made["made_test"]},
            columns=made["columns"],
            targets=Path(files["targets"]),
            folds=Path(files["folds"]),
            inner=Path(files["inner"][0]) if files["inner"] else None,
            fold_made={"train": made["fold_train"], "test": made["fold_test"]}
            if with_labels
            else None,
        )

    inputs = {
        name: [one(source["folds_made"]) for _ in params["folds"]]
        for name, source in params["sources"].items()
    }
    return Search(
        problem,
        name,
        params["search"],
        params["sources"],
        {**params["groups"], **built},
        inputs,
        params["folds"],
        params["n_folds"],
        threads,
        gpu,
        params.get("metric"),
        params.get("metric_code"),
    )
