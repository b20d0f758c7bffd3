"""`keep_at`: a process beside the run carries out what it finishes to a folder, which is checked."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.exceptions import WorkflowError

from blendmake.errors import BlendmakeError
from blendmake.refusals import refusal
from plan_packing import keep_plan

if TYPE_CHECKING:
    from plan import Plan


class Keeping:
    """What carries a run's work out, where `--config keep_at=…` asks for it.

    Only the main process of a run does; of a budget the one that spends it, not those that build.

    Raises:
        BlendmakeError: the folder is none that can be written to.
    """

    def __init__(self, workflow: Any, plan: Plan) -> None:
        self._workflow, self._plan = workflow, plan
        self._process: subprocess.Popen[str] | None = None
        self._pid = os.getpid()
        self._is_over = False
        wanted = plan.run.keep_at is not None and not plan.bucket
        self._is_wanted = wanted and workflow.is_main_process and not plan.builds_for_budget
        if self._is_wanted:
            check_folder(keep_plan(plan)["keep_at"], [plan.results, plan.scratch, ".snakemake"])
            # A run with nothing to do, or one that is interrupted, calls no hook at its end.
            atexit.register(self._at_exit)

    def begin(self) -> None:
        """Carry from now on."""
        if not self._is_wanted or self._process is not None:
            return
        script = self._plan.scripts / "carry_out.py"
        environment = {**os.environ, "PYTHONPATH": str(self._plan.scripts)}
        self._process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # its end is told below
            self._process.stdin.write(json.dumps(keep_plan(self._plan)) + "\n")
            self._process.stdin.flush()

    def end(self) -> None:
        """Carry the rest.

        Raises:
            WorkflowError: not all that stands could be carried.
        """
        if self._process is None or self._is_over:
            return
        self._is_over = True
        with suppress(BrokenPipeError):
            self._process.communicate()
        if self._process.returncode:
            raise WorkflowError(
                f"Not all that stands is at keep_at={self._plan.run.keep_at}: see the message above. "
                "Mend it and run the same command again: what is built stands."
            )

    def _at_exit(self) -> None:
        builds = self._workflow.executor_plugin is not None and not self._workflow.dryrun
        if os.getpid() != self._pid or self._is_over or not builds:
            return
        with suppress(WorkflowError):  # it has been told
            self.begin()
            self.end()


def check_folder(folder: str, ours: list[str]) -> None:
    """Refuse a folder that cannot take what is carried out.

    Args:
        ours: folders of the workflow's, in which nothing outlives what is carried out of them.

    Raises:
        BlendmakeError: one sentence.
    """
    from blendmake.files import replacing  # costs an import that is seldom needed

    path, told = Path(folder), f"keep_at={folder}"
    if not path.exists():
        raise BlendmakeError(
            f"{told}: there is no such folder; mount its disk, or make it: mkdir -p {path}"
        )
    if not path.is_dir():
        raise BlendmakeError(
            f"{told}: this is no folder; name one on a disk that outlives the machine."
        )
    for one in ours:
        if path.resolve().is_relative_to(Path(one).resolve()):
            raise BlendmakeError(
                f"{told}: this is inside {one}/, which is what is to be carried out; name a folder on a "
                "disk that outlives the machine."
            )
    try:
        with replacing(path / ".keep_at") as temporary:
            temporary.write_text("")
        (path / ".keep_at").unlink()
    except (BlendmakeError, OSError) as error:
        reason = refusal(error.__cause__ or error, path) or str(error)
        raise BlendmakeError(f"{told}: it cannot be written to ({reason.rstrip('.')}).") from None
