"""What stands, stands until what is made anew replaces it, and what `force` has made anew.

Snakemake removes a job's outputs before the job starts, and those of a job that failed. All of ours
are written under a temporary name and renamed, so that neither is needed: a run that is killed while it
makes an artifact anew leaves the old one as it was.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.jobs import Job

from blendmake.config.run import check_known
from blendmake.errors import BlendmakeError

if TYPE_CHECKING:
    from plan import Plan


def keep_standing(bucket: Any) -> None:
    """Let no job remove what stands; with a bucket, Snakemake's copies of it come and go as it likes."""
    if bucket is None:
        Job.remove_existing_output = _remove_logs
        Job.cleanup = _leave
        Job.postprocess = _telling(Job.postprocess)


async def _remove_logs(self: Any) -> None:
    for file in self.log:
        await file.remove(remove_non_empty_dir=False)


async def _leave(self: Any, skip_outputs: Any) -> None:
    """In place of removing what a failed job has made: each of its files is whole, old or new."""


def _telling(postprocess: Callable[..., Any]) -> Callable[..., Any]:
    """Let records know of a job that has failed: what stands is then not what the job would have made.

    Snakemake writes records of failed jobs too, as it removes their outputs next.
    """

    async def told(self: Any, *arguments: Any, error: bool = False, **options: Any) -> None:
        self.has_failed = error
        await postprocess(self, *arguments, error=error, **options)

    return told


class Forcing:
    """What is to be made anew though it is fresh, until it has been: by `force`, in this run or before.

    It is written down before the first job, and each job's files are struck out as it ends, so that
    whatever run comes next goes on where a killed one was.

    Attributes:
        files: outputs that are to be made anew.

    Raises:
        BlendmakeError: `force` names what there is not, or a command that is not `build`.
    """

    def __init__(self, plan: Plan, words: Iterable[str]) -> None:
        _check(plan, words)
        self._path = Path(plan.scratch) / "forced.json"
        wanted = {name: files_of(plan, name) for name in plan.run.force or []}
        self._folders = {name: _partial_work(plan, name) for name in wanted}
        self._waiting = self._read()
        # What the config has changed since is no longer waited for.
        self._begun = [name for name in wanted if not self._waits_for(name, wanted[name])]
        self._waiting |= {name: wanted[name] for name in self._begun}

    @property
    def files(self) -> set[str]:
        return {file for files in self._waiting.values() for file in files}

    def _waits_for(self, name: str, files: Iterable[str]) -> bool:
        return not set(files).isdisjoint(self._waiting.get(name, ()))

    def begin(self) -> None:
        """Write down what this run is to make anew; no fit of before is taken for it."""
        for name in self._begun:
            for folder in self._folders[name]:
                shutil.rmtree(folder, ignore_errors=True)
        if self._begun:
            self._write()

    def done(self, files: Iterable[str]) -> None:
        """Strike out files that have been made."""
        made = set(files) & self.files
        if made:
            left = {n: [f for f in of if f not in made] for n, of in self._waiting.items()}
            self._waiting = {name: of for name, of in left.items() if of}
            self._write()

    def _read(self) -> dict[str, list[str]]:
        try:
            found: dict[str, list[str]] = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            raise BlendmakeError(f"{self._path} is damaged. Delete it: rm {self._path}") from None
        return found

    def _write(self) -> None:
        from blendmake.files import write_text  # costs an import that is seldom needed

        if self._waiting:
            write_text(json.dumps(self._waiting, indent=1) + "\n", self._path)
        else:
            self._path.unlink(missing_ok=True)


def files_of(plan: Plan, name: str) -> list[str]:
    """All that is made anew of a source, blend or audit."""
    chunks: Mapping[str, list[str]] = plan.chunk_files.get(name, {})
    return [*(file for files in chunks.values() for file in files), *plan.item_files(name)]


def _partial_work(plan: Plan, name: str) -> list[str]:
    return [f"{plan.scratch}/{kind}/{name}" for kind in ("kept", "sources", "audits")]


def _check(plan: Plan, words: Iterable[str]) -> None:
    names = plan.run.force or []
    for name in names:
        if name in plan.searches:
            raise BlendmakeError(
                f"force={name}: a search is not made anew, its trials are kept for good. Give the same "
                "space to a search of another name."
            )
    check_known("force", names, [*plan.artifacts, *plan.problem.audits])
    if names and "build" not in words:
        named = ",".join(names)
        raise BlendmakeError(
            f"force={named}: `snakemake build` makes anew what is named: snakemake build --config "
            f"force={named}"
        )
