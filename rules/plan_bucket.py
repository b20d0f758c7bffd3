"""What is otherwise where artifacts stand in a bucket, for several machines."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from snakemake.exceptions import WorkflowError
from snakemake.io import local

from blendmake.config.run import Run
from blendmake.tables.folders import parts_of
from plan_requests import PlanRequests
from plan_window import MOST_THREADS, THREAD

IMPOSSIBLE = "Not possible with artifacts in a bucket:\n"


class PlanBucket(PlanRequests):
    """Inputs, sizes and refusals that depend on whether artifacts stand in a bucket.

    Attributes:
        run: what --config says of this run.
    """

    run: Run

    @property
    def copies(self) -> Path:
        """Where a job finds files by their names: here, or this machine's copies of a bucket's."""
        return self.bucket.copies if self.bucket else Path()

    def own(self, files: Any) -> Any:
        """Files of the user's, one or several, as inputs: they stay where they are.

        Of a folder all its files. What a built-in data set writes is an artifact as any other.
        """
        if isinstance(files, Mapping):
            return {name: self.own(file) for name, file in files.items()}
        if not isinstance(files, str):
            return [self.own(file) for file in files]
        if files in self.adapter_files:
            return files
        parts = [local(self.without_wildcards(part)) for part in parts_of(files)]
        return parts if os.path.isdir(files) else parts[0]

    @property
    def threads_of_fit(self) -> Any:
        """Threads of a fit, as a rule takes them: the same on every machine, for results' sake.

        With a bucket a machine may lack the user's files, so that the artifacts' size decides.
        """
        if self.bucket and not self.problem.data.adapter:
            return self._threads_for
        return self.fit_threads

    def _threads_for(self, wildcards: Any, input: Any) -> int:
        size = sum(self._table_megabytes(part) or 0.0 for part in ("train", "test"))
        return max(1, min(MOST_THREADS, int(size // THREAD)))

    def _table_megabytes(self, part: str) -> float | None:
        """Size of a typed table in the bucket; None before it is there."""
        size: float | None = self.bucket.megabytes(f"{self.results}/tables/{part}.arrow")
        return size

    @property
    def _train_megabytes(self) -> float:
        size = self._table_megabytes("train") if self.bucket else None
        return super()._train_megabytes if size is None else size

    def _size_of(self, file: Any) -> float:
        if self.bucket and getattr(file, "is_storage", False):
            path = str(file.storage_object.query).removeprefix(self.bucket.prefix)
            return float(self.bucket.megabytes(path) or 0.0)
        return super()._size_of(file)

    def _triage(self, seconds: float) -> None:
        """With a bucket a window ends fits, but leaves nothing out: what stands is not known here."""
        if self.bucket:
            from blendmake.window import open_window

            self.ends = open_window(seconds)
        else:
            super()._triage(seconds)

    def _refuse_preset_with_bucket(self) -> None:
        if self.bucket and not self.preset_file.exists():
            raise WorkflowError(
                f"{IMPOSSIBLE}  preset: it is chosen by the machine, another would choose otherwise. "
                "Write it out once, without the storage profile: snakemake show_config --quiet all"
            )

    def _refuse_with_bucket(self, asked: Collection[str]) -> None:
        """Say what cannot be done.

        Raises:
            WorkflowError: with one line per mistake.
        """
        if not self.bucket:
            return
        lines = [
            f"  sources.{name}.keep_models: models stand beside the predictions and are not carried "
            "to the bucket. Leave it out, or build without the storage profile"
            for name, source in self.problem.sources.items()
            if source.keep_models
        ]
        lines += [
            f"  sources.{name}.targets_per_job: its jobs leave their fits in scratch, which stays on "
            "each machine, and only a mark in the bucket. Leave it out"
            for name, source in self.problem.sources.items()
            if source.targets_per_job
        ]
        lines += [
            f"  {name}: it looks into results/ and scratch/ of this folder. Use snakemake -n"
            for name in ("status", "search_status")
            if name in asked
        ]
        lines += [
            f"  {name}: the bucket is what machines share. Build there, or pack without the profile"
            for name in ("pack", "unpack")
            if name in asked
        ]
        if self.run.force:
            lines.append(
                "  force: what is to be made anew is known to this folder alone. Delete its files in "
                "the bucket"
            )
        if self.run.keep_at:
            lines.append("  keep_at: what is finished is in the bucket. Leave it out")
        if lines:
            raise WorkflowError(IMPOSSIBLE + "\n".join(lines))
