"""What a run takes beside its fits: on this machine, and through a Slurm on this machine.

A campaign of four sources on the contest twin, from its tables to the leaderboard. `fits` are the
seconds of fits.parquet (matrix and predictions included) over cores times wall time; the rest is
Snakemake, interpreters, tables, scores, blends, figures, and cores that had nothing left to do at the
end. The Slurm is one that the run starts itself, with as many cores on one node as the local run has;
it needs root and Debian's slurm-wlm and munge (make test-services).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common  # noqa: F401 (it tells where the project is)
import pyarrow.parquet as pq
import yaml

from workflow.conftest import copy_workflow


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
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--configfile", "problem.yaml", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        sys.exit(done.stdout[-4000:])
    wall = time.monotonic() - began
    fits = [
        seconds
        for path in (folder / "results/overhead/sources").glob("*/fits.parquet")
        for seconds in pq.read_table(path, columns=["seconds"])["seconds"].to_pylist()
    ]
    jobs = len(list((folder / "benchmarks/overhead").rglob("*.tsv")))
    return {
        "wall": wall,
        "fits": len(fits),
        "fitting": sum(fits),
        "share": sum(fits) / (wall * cores),
        "jobs": jobs,
    }


def workspace(parent: Path, name: str, problem: dict[str, Any]) -> Path:
    folder = copy_workflow(parent / name)
    (folder / "problem.yaml").write_text(yaml.safe_dump(problem, sort_keys=False))
    return folder


def line(name: str, found: dict[str, Any]) -> str:
    return (
        f"| {name} | {found['wall']:.0f} | {found['fits']} | {found['fitting']:.0f} | "
        f"{found['share']:.1%} | {1 - found['share']:.1%} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--columns", type=int, default=2241, help="of the extra file")
    parser.add_argument("--scale", type=float, default=1.0, help="of the rounds")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--slurm", action="store_true", help="through a Slurm too")
    parser.add_argument("--targets-per-job", type=int, help="of every source, through Slurm")
    options = parser.parse_args()
    problem = config(options.rows, options.columns, options.scale)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="blendmake-overhead-") as parent:
        here = workspace(Path(parent), "here", problem)
        found = {
            "here": timed(here, options.cores, dict(os.environ), "--cores", str(options.cores))
        }
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
    print("| run | wall, s | fits | fit seconds | fitting, of cores × wall | beside |")
    print("|-|-:|-:|-:|-:|-:|")
    for name, one in found.items():
        print(line(name, one))
    if "Slurm" in found:
        print(
            f"\nSlurm takes {found['Slurm']['wall'] / found['here']['wall']:.2f} of the time here."
        )


if __name__ == "__main__":
    main()
