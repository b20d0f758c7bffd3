"""The home case at its size on one machine: each rule's seconds, memory, bytes read and written.

The contest twin (750,000 + 250,000 rows, 2,440 columns) from its files to a submission: tables,
folds, features, one fold of an XGBoost and a LightGBM source on two targets, and a blend of two made-up
external sources over all targets. Memory is read from /proc twice a second: anonymous pages are the
job's own, mapped ones are files' in the page cache, which jobs share and the system may take back.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from workflow.conftest import copy_workflow

GOAL = 12 * 1024  # megabytes of anonymous memory
SCRIPT = re.compile(rb"\.snakemake/scripts/\w+\.(\w+)\.py")
RESULTS = "results/size"
TABLES = (f"{RESULTS}/folds.parquet", f"{RESULTS}/tables/columns.parquet")
REST = (
    f"{RESULTS}/sources/xgb/fold0/oof.parquet",
    f"{RESULTS}/sources/lgb/fold0/oof.parquet",
    f"{RESULTS}/submissions/champion.parquet",
)


@dataclass
class Job:
    """What was seen of a process; `log`: the log that it writes, which names its wildcards."""

    rule: str
    began: float
    ended: float = 0.0
    anonymous: float = 0.0
    mapped: float = 0.0
    read: float = 0.0
    written: float = 0.0
    log: str = ""


@dataclass
class Watch:
    """Looks at the processes of a folder's jobs until it is stopped."""

    folder: Path
    jobs: dict[str, Job] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    found = SCRIPT.search((entry / "cmdline").read_bytes())
                    if found and (entry / "cwd").resolve() == self.folder.resolve():
                        self._look(entry, found[1].decode())
                except OSError:
                    continue  # it has ended meanwhile

    def _look(self, entry: Path, rule: str) -> None:
        now = time.monotonic()
        status, io = _pairs(entry / "status"), _pairs(entry / "io")
        job = self.jobs.setdefault(entry.name, Job(rule, now))
        job.ended = now
        job.log = job.log or self._log(entry)
        job.anonymous = max(job.anonymous, status["RssAnon"] / 1024)
        job.mapped = max(job.mapped, (status["RssFile"] + status["RssShmem"]) / 1024)
        job.read, job.written = io["read_bytes"] / 2**20, io["write_bytes"] / 2**20

    def _log(self, entry: Path) -> str:
        logs = self.folder.resolve() / "logs" / "size"
        held = [link.resolve() for link in (entry / "fd").iterdir()]
        return next((str(file.relative_to(logs)) for file in held if logs in file.parents), "")


def _pairs(path: Path) -> dict[str, int]:
    found = re.findall(r"^(\w+):\s*(\d+)", path.read_text(), re.M)
    return {key: int(value) for key, value in found}


def config(rows: int, rounds: int) -> dict[str, Any]:
    two = ["target_9_6", "target_3_1"]
    return {
        "problem": "size",
        "data": {"adapter": "contest_twin", "rows": rows},
        "folds": {"n": 5},
        "sources": {
            "xgb": {
                "family": "xgboost",
                "targets": two,
                "rounds": rounds,
                "params": {"max_depth": 6, "max_bin": 128},
            },
            "lgb": {
                "family": "lightgbm",
                "targets": two,
                "rounds": rounds,
                "params": {"num_leaves": 31, "max_bin": 127},
            },
        },
    }


def make_external(folder: Path, problem: dict[str, Any]) -> dict[str, Any]:
    """Two sources of the right shape and some signal, and a blend of them."""
    train = pq.read_table(next(folder.rglob("train_target.parquet")))
    test = pq.read_table(next(folder.rglob("test_target.parquet")))
    rng = np.random.default_rng(0)
    external = {}
    for k in range(2):
        files = {}
        for name, table in (("oof", train), ("test", test)):
            columns = {table.column_names[0]: table.column(0)}
            for target in table.column_names[1:]:
                label = table[target].to_numpy().astype(np.float32)
                noise = rng.standard_normal(len(label), dtype=np.float32)
                columns[target] = pa.array(1 / (1 + np.exp(3 - label - noise)))
            path = folder / f"theirs{k}_{name}.parquet"
            pq.write_table(pa.table(columns), path)
            files[name] = path.name
        external[f"theirs{k}"] = files
    return {
        **problem,
        "external": external,
        "blends": {"champion": {"method": "greedy", "sources": list(external)}},
        "submissions": {
            "blends": ["champion"],
            "rename": {"pattern": "^target_", "replace": "predict_"},
        },
    }


def build(folder: Path, cores: int, targets: tuple[str, ...]) -> tuple[list[Job], float]:
    began = time.monotonic()
    with Watch(folder) as watch:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", *targets),
                *("--configfile", "problem.yaml", "--cores", str(cores)),
            ],
            cwd=folder,
            capture_output=True,
            text=True,
        )
    if done.returncode:
        sys.exit(done.stdout[-3000:] + done.stderr[-3000:])
    return list(watch.jobs.values()), time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=750_000)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where; left out: a temporary one")
    options = parser.parse_args()
    common.as_a_job()
    print(common.machine("xgboost", "lightgbm", "pyarrow"))
    print(f"{options.rows} rows of train, a third of that of test; {options.cores} cores.\n")
    print(
        "| rule | log | seconds | anonymous MB | mapped MB | MB read from disk | MB written |\n"
        "| --- | --- | --: | --: | --: | --: | --: |"
    )
    most, began = 0.0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="blendmake-size-", dir=options.folder) as parent:
        folder = copy_workflow(Path(parent) / "work")
        problem = config(options.rows, options.rounds)
        # Two runs, as the second one's external sources are made of what the first one wrote.
        for name, targets in (("tables and folds", TABLES), ("the rest", REST)):
            if targets is REST:
                problem = make_external(folder, problem)
            (folder / "problem.yaml").write_text(yaml.safe_dump(problem, sort_keys=False))
            jobs, wall = build(folder, options.cores, targets)
            for job in jobs:
                most = max(most, job.anonymous)
                print(
                    f"| {job.rule} | {job.log} | {job.ended - job.began:.0f} | {job.anonymous:.0f} | "
                    f"{job.mapped:.0f} | {job.read:.0f} | {job.written:.0f} |",
                    flush=True,
                )
            print(f"| all of it | {name} | {wall:.0f} | | | | |", flush=True)
    print(
        f"\nMost anonymous memory of a job: {most / 1024:.2f} GiB (goal: at most {GOAL // 1024}); "
        f"{time.monotonic() - began:.0f} s in all."
    )


if __name__ == "__main__":
    main()
