"""What jobs ask of a machine or a cluster: memory, time, a GPU.

Requests go by the size of the tables, by what past fits took, and grow with each attempt. They are no
part of any slice, input or digest: what a job asked for changes nothing that it makes. Threads are
decided with the plan (`fit_threads`), because results depend on them.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from snakemake.settings.types import SharedFSUsage

from blendmake.digests import digest_of
from blendmake.errors import BlendmakeError
from blendmake.families import FOREIGN
from blendmake.window import STARTED
from plan_budget import PLANNED, PlanBudget
from plan_window import NUMBER

PROCESS = 600  # megabytes of an interpreter with its libraries
MATRIX = 2.5  # of the train table's size: its mapped pages, float32 rows, the library's matrix
FRAME = 3.0  # where a library holds a frame and a matrix
FRAMES = frozenset({"catboost", "custom", "lightautoml", "mlp", "tabm"})
SPARE = 1.3  # on top of what past fits took
MINUTES = 20  # that every request has beside its work
UNKNOWN_MINUTES = 240  # for fits of which nothing is known
MOST_MINUTES = 24 * 60
PACKED = 5  # what a compressed text file grows to, about
AUDITED = {"family": "lightgbm", "rounds": 200}  # about what an audit takes of time for a target
OFFERED = "BLENDMAKE_GPUS"


def offered_gpus() -> int:
    """GPUs that the profile of the run offers, in a job on a cluster; 0 anywhere else.

    There Snakemake is started anew, without the profile, and would take it that there are none.
    """
    return int(os.environ.get(OFFERED, 0))


class PlanRequests(PlanBudget):
    """Requests of jobs. Methods take what Snakemake hands to functions of resources.

    Attributes:
        gpus: how many GPUs the profile offers; 0 for none.
        started: when this was read, in seconds since the epoch.
    """

    gpus: int = 0
    started: float
    config: Mapping[str, Any]

    def hand_on(self, workflow: Any) -> None:
        """Hand to jobs what the profile offers, when the run began, and config and code as they are now.

        For the main process of a run: jobs on other machines read the workflow anew, without hooks. What
        is edited meanwhile is for the next run.
        """
        os.environ[OFFERED] = str(self.gpus)
        os.environ[STARTED] = repr(self.started)
        os.environ[PLANNED] = self.digest
        if SharedFSUsage.SOURCES in workflow.storage_settings.shared_fs_usage:
            workflow.config_settings.configfiles = [self._frozen_config()]

    def _frozen_config(self) -> Path:
        """A copy of the config that this run began with, for its jobs; by content, so it may stay."""
        text = json.dumps(self.config, default=str)
        name = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        path = Path(".snakemake/blendmake_configs").absolute() / f"{name}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(f".{os.getpid()}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        return path

    @property
    def digest(self) -> str:
        """What identifies all that jobs depend on: slices of the config and code."""
        return digest_of(json.loads(json.dumps([self.slices, self.code], default=str)))

    def check_planned(self) -> None:
        """In a job of a run: refuse what has been edited since the run began.

        Raises:
            BlendmakeError: it would be made of something else than the run's record of it says.
        """
        if os.environ.get(PLANNED) not in (None, "", self.digest):
            raise BlendmakeError(
                "Code, or a file that the config names, was edited while the run went on, so that this "
                "job was not begun. Run the same command again: what is finished and still fresh stays."
            )

    # What is known

    @property
    def _train_megabytes(self) -> float:
        """Size of the train table; before it is built, as the user's files tell."""
        table = Path(self.results) / "tables" / "train.arrow"
        return table.stat().st_size / 2**20 if table.exists() else self._given_megabytes

    @cached_property
    def _given_megabytes(self) -> float:
        """About the size that the user's train files have as a table."""
        if self.problem.data.adapter:
            return self.feature_megabytes
        return sum(map(_as_table, (self.data.train or {}).values()))

    def _size_of(self, file: Any) -> float:
        """Megabytes of an input that stands; 0 before it does."""
        path = Path(str(file))
        return path.stat().st_size / 2**20 if path.exists() else 0.0

    def _status(self, source: str) -> Any:
        """What stands of a source (status.Status), read once."""
        from blendmake.reports.status import read_status

        found: dict[str, Any] = self.__dict__.setdefault("_statuses", {})
        if source not in found:
            targets = Path(self.results) / "tables" / "targets.parquet"
            entry = self.status_entry(source)
            found[source] = read_status([entry], targets, len(self.folds))[0]
        return found[source]

    def _minutes_of(self, source: str) -> float:
        """Minutes of the fits of one fold: as past fits took, else by a rule of thumb.

        What is wrong with a source is for its own job to say: a request never fails.
        """
        try:
            status = self._status(source)
            built, folds = map(int, status.folds.split("/"))
            if status.state == "built":
                return float(status.spent or 0.0) / folds / 60
            if status.expected is not None:
                return float(status.expected) / max(1, folds - built) / 60
            if not (Path(self.results) / "tables" / "targets.parquet").exists():
                return UNKNOWN_MINUTES
            return self._rule_of_thumb(source, None) / folds / 60
        except BlendmakeError:
            return UNKNOWN_MINUTES

    def _peak(self, source: str) -> float:
        """Megabytes that past fits of a source took; 0 if there are none."""
        from blendmake.files import read_parquet

        folder, peak = Path(self.folder(source)), 0.0
        for path in [folder / "fits.parquet", *folder.glob("fold*/fits.parquet")]:
            try:
                found = read_parquet(path, ["peak_rss_mb"])["peak_rss_mb"].drop_null().to_pylist()
            except BlendmakeError:
                continue  # not there yet, or a job is replacing it right now
            peak = max([peak, *found])
        return peak

    def _matrix_of(self, source: str, attempt: int) -> float:
        """Megabytes of a fit of a source, less what a further attempt adds.

        Past fits tell more than a rule, but those of other tables may have been smaller. Of sources
        that run in an interpreter of their own, they tell of this one's. Between two attempts other
        folds may have told less than the rule by which the first one asked: none asks for less.
        """
        family = self.problem.sources[source].family
        ruled = PROCESS + (FRAME if family in FRAMES else MATRIX) * self._train_megabytes
        peak = 0.0 if family in FOREIGN else self._peak(source) * SPARE
        return max(peak, ruled / 2) if peak and attempt == 1 else max(peak, ruled)

    def _uses_gpu(self, source: str) -> bool:
        return self.problem.sources[source].may_use_gpu

    # Requests

    def fit_memory(self, wildcards: Any, attempt: int) -> int:
        """Megabytes of a job that fits a source on a fold."""
        return math.ceil(self._matrix_of(wildcards.source, attempt) * _grown(attempt))

    def fit_minutes(self, wildcards: Any, attempt: int) -> int:
        """Minutes of such a job; one that runs out of them goes on in the next attempt."""
        return _minutes(self._minutes_of(wildcards.source), attempt)

    def chunk_minutes(self, wildcards: Any, attempt: int) -> int:
        """Minutes of a job that fits one of several parts of a source's targets on a fold."""
        return _minutes(self._minutes_of(wildcards.source) / int(wildcards.chunks), attempt)

    def fit_gpu(self, wildcards: Any) -> int:
        """Whether such a job has a GPU: where the profile offers one, and the family can use it.

        Where several jobs share the targets, they have, and not the one that puts the fold together.
        """
        source, fold = wildcards.source, wildcards.fold
        chunks = [] if hasattr(wildcards, "chunk") else self.chunk_files[source][fold]
        if chunks:
            # Their fits may have gone with scratch since: then it is this job that fits them.
            fits = Path(self.scratch) / "sources" / source / f"fold{fold}"
            if fits.exists() or not all(Path(chunk).exists() for chunk in chunks):
                return 0
        return int(self.gpus > 0 and self._uses_gpu(wildcards.source))

    def audit_memory(self, wildcards: Any, attempt: int) -> int:
        return math.ceil((PROCESS + MATRIX * self._train_megabytes) * _grown(attempt))

    def audit_minutes(self, wildcards: Any, attempt: int) -> int:
        from blendmake.triage import predicted_seconds

        if not (Path(self.results) / "tables" / "targets.parquet").exists():
            return _minutes(UNKNOWN_MINUTES, attempt)
        try:
            facts, folds = self.facts, len(self.folds)
        except BlendmakeError:
            return _minutes(UNKNOWN_MINUTES, attempt)
        seconds = predicted_seconds(AUDITED, facts, facts.targets, folds)
        return _minutes(seconds / folds / 60, attempt)

    def trials_memory(self, wildcards: Any, attempt: int) -> int:
        """Megabytes of a search's worker."""
        one = max(self._matrix_of(source, attempt) for source in self._searched(wildcards))
        return math.ceil(one * _grown(attempt))

    def trials_minutes(self, wildcards: Any, attempt: int) -> int:
        """Minutes of a search's worker: its time limit, or its share of all trials."""
        search = self.problem.searches[wildcards.search]
        if search.time_limit:
            return _minutes(search.time_limit / 60, attempt)
        one = max(map(self._minutes_of, self._searched(wildcards)))
        folds = len(search.search_folds(self.problem.folds.n))
        return _minutes(one * folds * search.trials / search.workers, attempt)

    def trials_gpu(self, wildcards: Any) -> int:
        """Whether a search's worker has a GPU; not where a source of the search may never use one."""
        searched = list(self._searched(wildcards))
        never = any(self.problem.sources[name].device == "cpu" for name in searched)
        return int(self.gpus > 0 and not never and any(map(self._uses_gpu, searched)))

    def _searched(self, wildcards: Any) -> Iterable[str]:
        return self.problem.searches[wildcards.search].source

    def table_memory(self, wildcards: Any, attempt: int) -> int:
        """Megabytes of a job that reads or makes columns."""
        return math.ceil((PROCESS + MATRIX * self._train_megabytes) * _grown(attempt))

    def table_minutes(self, wildcards: Any, attempt: int) -> int:
        """Minutes of such a job, at a megabyte a second."""
        return _minutes(self._train_megabytes / 60, attempt)

    def blend_memory(self, wildcards: Any, input: Any, attempt: int) -> int:
        """Megabytes of a job that holds the predictions of several sources."""
        return math.ceil((PROCESS + 8 * sum(map(self._size_of, input))) * _grown(attempt))

    def blend_minutes(self, wildcards: Any, input: Any, attempt: int) -> int:
        """Minutes of such a job, at ten megabytes a minute."""
        return _minutes(sum(map(self._size_of, input)) / 10, attempt)


def _minutes(work: float, attempt: int) -> int:
    """A request: more with each attempt, but no more than a cluster is likely to give.

    What runs out of time goes on in the next attempt.
    """
    return min(MOST_MINUTES, math.ceil((MINUTES + 2 * work) * attempt))


def _grown(attempt: int) -> float:
    """What an attempt asks for in memory, of what the first one did: half as much again each time."""
    return 1 + (attempt - 1) / 2


def _as_table(file: str) -> float:
    """About the megabytes of a user's file as numbers of four bytes."""
    path = Path(file)
    if not path.exists():
        return 0.0
    size = path.stat().st_size / 2**20
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq  # costs an import, once a run

        try:
            shape = pq.read_metadata(path)
        except (OSError, ValueError):  # for the job that reads it to say
            return size
        return max(size, float(shape.num_rows * shape.num_columns * NUMBER / 2**20))
    return size * (PACKED if path.suffix in (".gz", ".zst", ".bz2", ".xz") else 1)
