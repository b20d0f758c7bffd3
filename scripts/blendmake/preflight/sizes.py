"""What a campaign will take of disks and memory, against what there is.

Estimates: bytes of float32 columns, predictions and ids; what compression spares is not counted on.
"""

from __future__ import annotations

import importlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blendmake.preflight.findings import FAIL, PASS, WARN, Finding, size_text
from blendmake.preflight.machine import existing

ID_BYTES = 24  # of a row, where ids are text of usual length
WARN_FROM = 0.8  # of what there is
BINNED_BYTES = 2  # of a value in a library's own matrix, at most
PROCESS_BYTES = 400 << 20  # of an interpreter with its libraries
BLENDED_PARTS = 3  # oof, in_sample and uncalibrated
CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Sizes:
    """What decides how large files and matrices become.

    `columns` of the tables; `made`, `fold_made` and `width` as in `sample.Miniature`;
    `bags` and `features` by source that is fitted here; `external`, `blends` and `submissions` are
    counts; `written`: the user's files are a built-in data set, which is written here too.
    """

    rows: int
    test_rows: int
    columns: int
    targets: int
    folds: int
    features: Mapping[str, str]
    bags: Mapping[str, int]
    made: Mapping[str, int]
    fold_made: Mapping[str, int]
    width: Mapping[str, int]
    external: int = 0
    blends: int = 0
    submissions: int = 0
    written: bool = False

    @property
    def both(self) -> int:
        return self.rows + self.test_rows

    def _table(self, rows: int, columns: int) -> int:
        return rows * (4 * columns + ID_BYTES)

    def results(self) -> int:
        """Bytes of everything under results/ once all is built."""
        tables = self._table(self.both, self.columns) + self._table(self.rows, self.targets)
        tables *= 2 if self.written else 1
        sets = sum(self._table(self.both, columns) for columns in self.made.values())
        sets += sum(self.folds * self._table(self.both, n) for n in self.fold_made.values())
        # A source's predictions stand once by fold, with all test rows each, and once put together.
        by_fold = self._table(self.rows + self.folds * self.test_rows, self.targets)
        whole = self._table(self.both, self.targets)
        sources = len(self.features) * (by_fold + whole) + self.external * whole
        rows_of_blend = BLENDED_PARTS * self.rows + self.test_rows
        blends = self.blends * self._table(rows_of_blend, self.targets)
        submissions = self.submissions * 2 * self._table(self.test_rows, self.targets)
        return tables + sets + sources + blends + submissions

    def scratch(self) -> int:
        """Bytes of the finished fits of the largest source, which go when it is put together."""
        bags = max(self.bags.values(), default=0)
        return bags * 4 * self.targets * (self.rows + self.folds * self.test_rows)

    def fit(self) -> int:
        """Bytes of the largest fit: its rows as float32 and as its library's matrix."""
        width = max((self.width.get(name, 0) for name in self.features.values()), default=0)
        return self.rows * width * (4 + BINNED_BYTES) + PROCESS_BYTES


def disk_findings(needs: Mapping[str, int]) -> Iterator[Finding]:
    """Whether the disks hold what will be written.

    Args:
        needs: bytes by folder; what stands there already counts against them.
    """
    by_disk: dict[int, list[str]] = {}
    for folder in needs:
        by_disk.setdefault(os.stat(existing(Path(folder))).st_dev, []).append(folder)
    for folders in by_disk.values():
        need = sum(max(0, needs[folder] - _held(Path(folder))) for folder in folders)
        free = shutil.disk_usage(existing(Path(folders[0]))).free
        text = f"about {size_text(need)} more for {' and '.join(folders)}, {size_text(free)} free"
        mend = "free some space, or link the folder to a larger disk"
        yield _judged("disk", need, free, text, mend)


def memory_findings(sizes: Sizes, jobs: int, memory: int | None) -> Iterator[Finding]:
    """Whether the largest fits have room side by side.

    Args:
        jobs: fits at once.
        memory: bytes available; None if the system does not tell.
    """
    need = jobs * sizes.fit()
    text = f"about {size_text(need)} for {jobs} fits at once of {size_text(sizes.fit())}"
    if memory is None:
        yield Finding(WARN, "memory", f"{text}; how much there is, the system does not tell")
        return
    mend = "fewer fits at once (--cores, or --set-threads fit_fold=…), or fewer columns"
    yield _judged("memory", need, memory, f"{text}, {size_text(memory)} available", mend)


def _judged(check: str, need: float, there: float, text: str, mend: str) -> Finding:
    if need > there:
        return Finding(FAIL, check, text, mend)
    if need > WARN_FROM * there:
        return Finding(WARN, check, f"{text}: it will be tight", mend)
    return Finding(PASS, check, text)


def _held(folder: Path) -> int:
    """Bytes of the files below a folder; of those that go meanwhile nothing."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # a job may have replaced it just now
                total += os.lstat(os.path.join(path, name)).st_size
    return total


def available_memory() -> int | None:
    """Bytes of memory that this process and its kind may still take, where the system tells."""
    found = []
    with suppress(OSError):  # another system than Linux
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    if not found:
        with suppress(ImportError):
            psutil: Any = importlib.import_module("psutil")
            found = [int(psutil.virtual_memory().available)]
    return min([*found, *_container_memory()], default=None)


def _container_memory() -> list[int]:
    """What a container's own limit leaves, if there is one; cached pages can be taken back."""
    try:
        limit = (CGROUP / "memory.max").read_text(encoding="ascii").strip()
        stat = (CGROUP / "memory.stat").read_text(encoding="ascii").split()
    except OSError:
        return []
    held = dict(zip(stat[::2], stat[1::2], strict=True))
    return [int(limit) - int(held["anon"])] if limit.isdigit() else []
