"""What is chosen by the shape of the data and by time: a preset's sources, and what fits a window."""

from __future__ import annotations

import glob
import math
import sys
import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from blendmake.adapters import ADAPTERS
from blendmake.config.measures import AUTO
from blendmake.config.problem import Problem
from blendmake.errors import BlendmakeError
from plan_inputs import without
from plan_wanted import PlanWanted

THREAD = 128  # megabytes of feature files for each thread of a fit
MOST_THREADS = 8
NUMBER = 4  # bytes
LOOK_AGAIN = 5  # seconds, for what fits have taken


class PlanWindow(PlanWanted):
    """The size of a problem, its preset and its window.

    Attributes:
        cores: how many this run has, where it has a number.
        preset: the sections of a preset as it was written out, where one is asked for.
        asked: the campaigns that the command asks for.
        ends: the end of the window in seconds since the epoch; None without one.
    """

    ends: float | None = None

    cores: int | None
    preset: dict[str, Any] | None
    asked: list[str]
    slices: dict[str, Any]
    code: dict[str, Any]

    # The size of the problem

    @cached_property
    def facts(self) -> Any:
        """facts.Facts of the tables that stand, else of the files that they are made from."""
        from blendmake.tables.facts import Facts, facts_of_files, facts_of_tables

        found = facts_of_tables(Path(self.results) / "tables")
        if found is None and self.problem.data.adapter:
            found = Facts(**self._adapter_shape(self.problem.data.adapter))
        if found is None:
            data = self.data
            assert data.train and data.targets
            labels = data.targets
            found = facts_of_files(
                [*data.train.values()],
                data.id,
                labels.file,
                labels.columns,
                categories=data.categories.columns,
                patterns=data.categories.patterns,
                left_out=[*data.ignore, *map(glob.escape, self.not_features)],
                csv_format=data.csv.slice(),
                positive=labels.positive,
                missing=data.missing,
                task=self.problem.task,
            )
        return found

    def _adapter_shape(self, adapter: str) -> dict[str, Any]:
        """The fields of facts.Facts before an adapter has written anything."""
        return dict(ADAPTERS[adapter].facts(**self.adapter_options))

    @property
    def feature_megabytes(self) -> float:
        """Size of the user's feature files; of an adapter's train rows, as numbers of four bytes.

        What an adapter has written does not count: a plan is the same before and after.
        """
        if self.problem.data.adapter:
            shape = self._adapter_shape(self.problem.data.adapter)
            cells = shape["rows"] * (shape["numbers"] + shape["categories"])
            return float(cells * NUMBER / 2**20)
        return sum(self.sizes(self.table_files, "tables/columns.parquet")) / 2**20

    @property
    def fit_threads(self) -> int:
        """Threads of a fit: one for small tables, so that fits run side by side, and one more for
        each 128 MB of feature files, so that few large ones are in memory at a time."""
        return max(1, min(MOST_THREADS, int(self.feature_megabytes // THREAD)))

    # A preset, written out

    @property
    def preset_file(self) -> Path:
        """The preset as it was written out for this problem: frozen, so that it stays what it is."""
        return Path(self.results) / "preset.json"

    def _with_preset(self) -> Problem:
        """The problem with the sources and blends of its preset; its own win."""
        from blendmake.presets import expand, read_preset, with_preset

        p = self.problem
        asked: dict[str, Any] = {"preset": p.preset, "budget": p.budget, "folds": p.folds.n}
        said = {"task": None if p.task == AUTO else p.task, "metric": p.metric}
        asked |= {key: value for key, value in said.items() if value is not None}
        self.preset = read_preset(self.preset_file, asked) or self._unpacked_preset(asked)
        if self.preset is None:
            self.preset = {
                "asked": asked,
                **expand(str(p.preset), self.facts, p.budget, self.by_auc),
            }
        return with_preset(p, self.preset)

    @property
    def by_auc(self) -> bool:
        """Whether all binary targets are measured by the AUC, as far as the config says."""
        metric = self.problem.metric
        return {*(metric.values() if isinstance(metric, Mapping) else [metric])} <= {None, "auc"}

    def _unpacked_preset(self, asked: Mapping[str, Any]) -> dict[str, Any] | None:
        """The preset of the archive that this run unpacks, written out on another machine."""
        if self.run.unpack is None:
            return None
        from blendmake.packing.folder import preset_in
        from blendmake.presets import checked_preset

        found = preset_in(Path(self.run.unpack), self.name)
        try:
            return checked_preset(found, asked) if found else None
        except (ValueError, KeyError, TypeError) as error:
            raise BlendmakeError(
                f"The preset of {self.run.unpack} is none ({error}). Nothing was unpacked."
            ) from error

    def freeze(self) -> None:
        """Keep a preset as it was written out, before the first job of a run."""
        if self.preset is not None:
            from blendmake.presets import write_preset

            write_preset(self.preset_file, self.preset)

    @property
    def written_out(self) -> dict[str, Any]:
        """The config as it is resolved, a preset written out, without what is not set."""
        return without(self.problem.slice(), "preset", "budget", "manifests")

    # A window of time

    def _triage(self, seconds: float) -> None:
        """Open the window and choose what fits into it."""
        # These imports cost more than all the rest of the plan, which seldom needs them.
        from blendmake.triage import choose, parallelism
        from blendmake.window import open_window, time_left

        self.ends = open_window(seconds)
        if self.left:  # by a budget, which has seen what fits take
            return
        done = choose(
            self.named_in(self.asked) if self.asked else self.ranking,
            self.stands_on,
            self._work(),
            max(0.0, time_left()),
            parallelism(self.cores, self.fit_threads),
        )
        self.left = done.left
        for name, reason in done.left.items():
            print(f"left for another window: {name} ({reason})", file=sys.stderr)

    def _work(self) -> dict[str, Any]:
        """What is left to fit of each source (triage.Work), from what past fits took."""
        from blendmake.reports.status import read_status
        from blendmake.triage import Work

        work = {}
        targets = Path(self.results) / "tables" / "targets.parquet"
        entries = [entry for entry in self.status_entries if "source" in entry]
        for status in read_status(entries, targets, len(self.folds)):
            if status.state == "built":
                continue
            if status.expected is not None:
                work[status.name] = Work(status.expected, True)
                continue
            work[status.name] = Work(self._rule_of_thumb(status.name, status.missing), False)
        return work

    def _rule_of_thumb(self, name: str, missing: int | None) -> float:
        """Seconds of a source of which nothing is known but its config and the tables' size."""
        from blendmake.triage import predicted_seconds

        facts, folds = self.facts, len(self.folds)
        source = self.problem.sources[name]
        bags = source.bagging.bags if source.bagging else 1
        targets = self._targets_of(name) if missing is None else missing / folds / bags
        return predicted_seconds(source.slice(), facts, targets, folds)

    def fit_seconds(self, source: str | None) -> float:
        """Seconds that the longest fit of a source takes, with the start of its job; looked at anew
        every few seconds, as fits end meanwhile.

        Args:
            source: None for an audit or a search, of which the start alone is known.
        """
        from blendmake.triage import JOB
        from blendmake.window import time_left

        if source is None:
            return JOB
        known = self.__dict__.setdefault("_fit_seconds", {})
        at, seconds = known.get(source, (-math.inf, 0.0))
        near = time_left() < 10 * seconds
        if time.monotonic() - at > LOOK_AGAIN * (1 if near else 20):
            try:
                seconds = self._longest_fit(source)
            except BlendmakeError:
                seconds = JOB  # what is wrong with the user's files is for the job that reads them
            known[source] = (time.monotonic(), seconds)
        return float(seconds)

    def _longest_fit(self, source: str) -> float:
        from blendmake.reports.status import finished_seconds
        from blendmake.triage import predicted_fit

        config, folds = self.problem.sources[source].slice(), len(self.folds)
        finished = finished_seconds(self.status_entry(source)).values()
        every = [one for fits in finished for one in fits]
        return predicted_fit(config, self.facts, self._targets_of(source), folds, every)

    # Sources that are fitted in several jobs a fold

    @cached_property
    def chunk_files(self) -> dict[str, dict[str, list[str]]]:
        """By source and fold, what the jobs leave that share its targets; none where one does all.

        Of a fold that stands as config and code would have it now it is what it was made from:
        other inputs would make it anew.
        """
        return {name: {str(k): self._chunks(name, k) for k in self.folds} for name in self.sources}

    def _chunks(self, name: str, fold: int) -> list[str]:
        wanted = self.problem.sources[name].targets_per_job
        folder = Path(self.folder(name)) / f"fold{fold}"
        try:
            jobs = math.ceil(self._targets_of(name) / wanted) if wanted else 1
        except BlendmakeError:
            jobs = 1  # what is wrong with the user's files is for the job that reads them to say
        if wanted or (folder / "chunks").exists():
            try:
                made = self.note(f"sources/{name}/fold{fold}/fits.parquet")
            except BlendmakeError:
                made = {}  # damaged, or a job is replacing it right now
            fit = {"config": self.slices["fit"][name]["source"], "code": self.code["fit"][name]}
            if made and fit.items() <= made.items():
                jobs = int(made.get("jobs", 1))
        return [f"{folder}/chunks/{i}of{jobs}.json" for i in range(jobs)] if jobs > 1 else []

    @cached_property
    def _target_count(self) -> int:
        """How many targets there are: as the config lists them, else as the tables or files hold."""
        assert self.data.targets is not None
        listed = self.data.targets.columns
        return len(listed) if listed else int(self.facts.targets)

    def _targets_of(self, name: str) -> int:
        """How many targets a source fits, as far as the config tells."""
        named: set[str] = set()
        count = 0
        for target in self.problem.sources[name].targets:
            group = self.problem.groups.get(target)
            if target == "all" or (group and group.rate_at_most):
                return self._target_count
            if group and group.is_built:
                count += group.rarest or group.lowest_auc or 0
            else:
                named |= set(group.targets or []) if group else {target}
        return min(count + len(named), self._target_count)
