"""What a run takes beside its fits: on this machine, and through a Slurm on this machine.

A campaign of four sources on the contest twin, from its tables to the leaderboard. `fits` are the
seconds of fits.parquet (matrix and predictions included) over cores times wall time; the rest is
Snakemake, interpreters, tables, scores, blends, figures, and cores that had nothing left to do at the
end. `processor` is of everything, and `interpreters` counts each Python that was started: `--cold` runs
the campaign once more with one for every job, as Snakemake does by itself, and `--demo` the demo both
ways. The Slurm is one that the run starts itself, with as many cores on one node as the local run has;
it needs root and Debian's slurm-wlm and munge (make test-services).
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import pyarrow.parquet as pq
import yaml

from workflow.conftest import copy_workflow, counting_interpreters


def config(rows: int, columns: int, scale: float) -> dict[str, Any]:
    """A campaign whose fits take longer with `scale`, and nothing else."""

    def rounds(number: int) -> int:
        return max(5, round(scale * number))

    return {
        "problem": "overhead",
        "data": {"adapter": "contest_twin", "rows": rows, "extra_columns": columns},
        "folds": {"n": 5},
        "sources": {
            "xgb": {"family": "xgboost", "rounds": rounds(60), "params": {"max_depth": 6}},
            "lgb": {"family": "lightgbm", "rounds": rounds(60), "params": {"num_leaves": 31}},
            "trees": {"family": "extra_trees", "rounds": rounds(60)},
            "xgb_small": {"family": "xgboost", "rounds": rounds(100), "params": {"max_depth": 3}},
        },
        "blends": {"champion": {"method": "greedy", "sources": "all"}},
        "submissions": {
            "blends": ["champion"],
            "rename": {"pattern": "^target_", "replace": "predict_"},
        },
    }


def timed(folder: Path, cores: int, environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    """Run the campaign in a new folder; its wall time and the share that was fitting."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--configfile", "problem.yaml", *arguments],
        cwd=folder,
        env={**environment, **counting_interpreters(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout[-4000:])
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    fits = [
        seconds
        for path in (folder / "results").glob("*/sources/*/fits.parquet")
        for seconds in pq.read_table(path, columns=["seconds"])["seconds"].to_pylist()
    ]
    return {
        "wall": wall,
        "processor": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "jobs": len(list((folder / "logs").rglob("*.log"))),
        "interpreters": len((folder / "interpreters").read_text().splitlines()),
        "fits": len(fits),
        "fitting": sum(fits),
        "share": sum(fits) / (wall * cores),
    }


def workspace(parent: Path, name: str, problem: dict[str, Any], cold: bool = False) -> Path:
    """A copy of the workflow with a problem; `cold`: each job starts an interpreter of its own."""
    folder = copy_workflow(parent / name)
    if cold:
        text = (folder / "Snakefile").read_text()
        (folder / "Snakefile").write_text(text.replace("\nstart_by_forks(", "\n# start_by_forks("))
    (folder / "problem.yaml").write_text(yaml.safe_dump(problem, sort_keys=False))
    return folder


def line(name: str, found: dict[str, Any]) -> str:
    return (
        f"| {name} | {found['wall']:.0f} | {found['processor']:.0f} | {found['jobs']} | "
        f"{found['interpreters']} | {found['fits']} | {found['fitting']:.0f} | "
        f"{found['share']:.1%} | {1 - found['share']:.1%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2241, help="of the extra file")
    parser.add_argument("--scale", type=float, default=1.0, help="of the rounds")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="with an interpreter a job too")
    parser.add_argument("--demo", action="store_true", help="the demo, too")
    parser.add_argument("--slurm", action="store_true", help="through a Slurm too")
    parser.add_argument("--targets-per-job", type=int, help="of every source, through Slurm")
    options = parser.parse_args()
    problem = config(options.rows, options.columns, options.scale)
    load = os.getloadavg()[0]
    problems = {"here": problem}
    if options.demo:
        problems["the demo"] = yaml.safe_load((common.ROOT / "config/yeast.yaml").read_text())
    found = {}
    with tempfile.TemporaryDirectory(prefix="blendmake-overhead-") as parent:
        for name, one in problems.items():
            for cold in (False, True)[: 1 + options.cold]:
                told = f"{name}, an interpreter a job" if cold else name
                folder = workspace(Path(parent), told, one, cold)
                found[told] = timed(
                    folder, options.cores, dict(os.environ), "--cores", str(options.cores)
                )
        if options.slurm:
            from services import slurm

            if reason := slurm.missing():
                sys.exit(reason)
            if options.targets_per_job:
                for source in problem["sources"].values():
                    source["targets_per_job"] = options.targets_per_job
            there = workspace(Path(parent), "there", problem)
            with slurm.running_slurm(nodes=1, cpus=options.cores) as cluster:
                profile = ("--workflow-profile", "profiles/slurm")
                found["Slurm"] = timed(there, options.cores, cluster.environment, *profile)
    print(
        f"Contest twin, {options.rows} × {199 + options.columns}, {len(problem['sources'])} sources, "
        f"{options.cores} cores; load before: {load:.1f}.\n"
    )
    print(
        "| run | wall, s | processor, s | jobs | interpreters | fits | fit seconds "
        "| fitting, of cores × wall | beside |"
    )
    print("|-|-:|-:|-:|-:|-:|-:|-:|-:|")
    for name, one in found.items():
        print(line(name, one))
    if "Slurm" in found:
        print(
            f"\nSlurm takes {found['Slurm']['wall'] / found['here']['wall']:.2f} of the time here."
        )


if __name__ == "__main__":
    main()
