"""A pretend nvidia-smi, for tests of what takes GPUs: a program in PATH that tells what files hold."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PROGRAM = """#!/bin/sh
case "$1" in
--query-gpu=*) exec cat '{folder}/gpus' ;;
--query-compute-apps=*) exec cat '{folder}/processes' ;;
esac
exit 1
"""
UUIDS = tuple(f"GPU-{letter * 8}-0000" for letter in "abcd")


@dataclass(frozen=True)
class PretendGpus:
    """Four GPUs of 16,000 MB.

    Args:
        folder: for the program, what it tells, and the ledger of holders.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.use()
        self.run()
        self.answer(PROGRAM.format(folder=self.folder))

    def answer(self, program: str) -> None:
        """What nvidia-smi is."""
        place = self.folder / "bin" / "nvidia-smi"
        place.parent.mkdir(exist_ok=True)
        new = place.with_suffix(".new")
        new.write_text(program)
        new.chmod(0o755)
        new.replace(place)

    def use(self, *used: int) -> None:
        """Memory (MB) that is in use, GPU by GPU."""
        lines = [
            f"{i}, {uuid}, Pretend, 16000, {used[i] if i < len(used) else 3}\n"
            for i, uuid in enumerate(UUIDS)
        ]
        self._write("gpus", "".join(lines))

    def run(
        self, processes: Mapping[int, int] | None = None, name: str = "python", used: str = "[N/A]"
    ) -> None:
        """Processes that compute: GPU by process; their name and memory (MB)."""
        own = (processes or {}).items()
        lines = [f"{UUIDS[gpu]}, {pid}, {used}, {name}\n" for pid, gpu in own]
        self._write("processes", "".join(lines))

    def _write(self, name: str, text: str) -> None:
        new = self.folder / f"{name}.new"
        new.write_text(text)
        new.replace(self.folder / name)

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a process finds the program and the ledger."""
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {"PATH": path, "BLENDMAKE_GPU_LOCKS": str(self.folder / "ledger")}
