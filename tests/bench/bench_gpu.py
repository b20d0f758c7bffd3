"""A GPU against the cores of the same machine: a source, start to finish, with either profile.

The same problem twice for each family: `profiles/default` on all cores, and `profiles/gpu`, whose jobs
share one GPU; AUCs are of all folds. Then the first is asked for what the second has made, of which
nothing may be stale. Without a GPU only the cores are measured.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bench_plain
import common
import numpy as np
import pyarrow.parquet as pq
import yaml

from blendmake.gpus.devices import devices
from workflow.conftest import copy_workflow

SOURCES: dict[str, dict[str, Any]] = {
    "xgboost": {"rounds": 200, "params": {"max_depth": 8}},
    "xgboost_vector": {"rounds": 200, "params": {"max_depth": 8}},
    "catboost": {"rounds": 100, "params": {"depth": 8}},
    "mlp": {"rounds": 5, "params": {"batch_size": 1024}},
    "tabm": {"rounds": 3, "params": {"batch_size": 1024}},
}
FOLDS = 5
WANTED = "results/plain/sources/one/oof.parquet"
CPU, GPU = "default", "gpu"


@dataclass(frozen=True)
class Run:
    """Wall seconds of a run, those of its fits, where they ran, and their macro AUC."""

    wall: float
    fits: float
    device: str
    auc: float


def command(profile: str, options: argparse.Namespace, memory_mb: int, *more: str) -> list[str]:
    """Snakemake with a profile: fold jobs side by side, which share the cores, or the GPU."""
    threads = max(1, options.cores // FOLDS)
    found = [sys.executable, "-m", "snakemake", WANTED, "--configfile", "problem.yaml"]
    found += ["--workflow-profile", f"profiles/{profile}", "--cores", str(options.cores)]
    found += ["--set-threads", f"fit_fold={threads}"]
    if profile == GPU:
        found += ["--resources", f"gpu={options.side_by_side}"]
        if options.side_by_side > 1:
            part = int(0.9 * memory_mb / options.side_by_side)
            found += ["--set-resources", f"fit_fold:gpu_mem_mb={part}"]
    return [*found, *more]


def clean(folder: Path) -> None:
    for name in ("results", "scratch", "logs", "benchmarks", ".snakemake"):
        subprocess.run(["rm", "-rf", str(folder / name)], check=True)


def run(folder: Path, profile: str, options: argparse.Namespace, memory_mb: int) -> Run | str:
    """Build the source from nothing; or why that was not done."""
    clean(folder)
    log = folder / "run.log"
    status, wall = common.run_within(
        command(profile, options, memory_mb), options.limit, log, folder
    )
    if status is None:
        return f"not done after {options.limit} s"
    if status:
        print(log.read_text(encoding="utf-8")[-3000:], file=sys.stderr)
        for own in (folder / "logs").rglob("*.log"):
            print(f"{own.name}:\n{own.read_text(encoding='utf-8')[-1500:]}", file=sys.stderr)
        return "failed"
    fits = pq.read_table(folder / "results/plain/sources/one/fits.parquet")
    labels, found = (
        pq.read_table(folder / path).drop_columns(["id"]).to_pandas().to_numpy()
        for path in ("targets.parquet", WANTED)
    )
    where = ", ".join(sorted(set(fits["device"].to_pylist())))
    return Run(
        wall, float(np.sum(fits["seconds"].to_numpy())), where, bench_plain.macro(labels, found)
    )


def told(family: str, what: str, one: Run | str, cpu: Run | str | None) -> str:
    """A line of the table."""
    if isinstance(one, str):
        return f"| {family} | {what} | {one} | | | | |"
    wall = fits = ""
    if isinstance(cpu, Run):
        wall, fits = f"{cpu.wall / one.wall:.2f}", f"{cpu.fits / one.fits:.2f}"
    return (
        f"| {family} | {what}, `{one.device}` | {one.wall:.1f} | {wall} | {one.fits:.1f} | {fits} | "
        f"{one.auc:.4f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=SOURCES, default=list(SOURCES))
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--columns", type=int, default=200)
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--rounds", type=float, default=1.0, help="times those of each family")
    parser.add_argument("--cores", type=int, default=common.own_cores())
    parser.add_argument("--side-by-side", type=int, default=FOLDS, help="jobs that share the GPU")
    parser.add_argument("--limit", type=int, default=600, help="seconds of a run at most")
    options = parser.parse_args()
    found = devices()
    name = found[0].name if found else "no GPU found: the cores alone"
    print(f"{common.machine('xgboost', 'catboost', 'torch')}; {name}")
    print(
        f"{options.rows} × {options.columns}, {options.targets} targets, {FOLDS} folds; "
        f"{options.side_by_side} jobs share the GPU.\n"
    )
    print(
        "| family | where | wall, s | times as fast | fits, s | times as fast | macro AUC |\n"
        "| --- | --- | --: | --: | --: | --: | --: |",
        flush=True,
    )
    wrong = []
    with tempfile.TemporaryDirectory(prefix="blendmake-gpu-") as parent:
        folder = copy_workflow(Path(parent) / "work")
        bench_plain.write_tables(folder, options.rows, options.columns, options.targets)
        for family in options.families:
            source = {"family": family, **SOURCES[family]}
            source["rounds"] = max(1, round(source["rounds"] * options.rounds))
            problem = {
                "problem": "plain",
                "data": {"train": "train.parquet", "id": "id", "targets": "targets.parquet"},
                "folds": {"n": FOLDS, "scheme": "kfold"},
                "sources": {"one": source},
            }
            (folder / "problem.yaml").write_text(yaml.safe_dump(problem, sort_keys=False))
            cpu = run(folder, CPU, options, 0)
            print(told(family, f"{options.cores} cores", cpu, None), flush=True)
            if not found:
                continue
            memory = found[0].total_mb or 0
            gpu = run(folder, GPU, options, memory)
            print(told(family, "a GPU", gpu, cpu), flush=True)
            if isinstance(gpu, str) or gpu.device != "cuda":
                wrong.append(f"{family} was not fitted on the GPU")
                continue
            again = subprocess.run(
                command(CPU, options, 0, "-n"), cwd=folder, capture_output=True, text=True
            )
            if "Nothing to be done" not in again.stdout + again.stderr:
                wrong.append(f"{family}: made anew by the other profile")
    if wrong:
        sys.exit("; ".join(wrong))
    if found:
        print("\nAsked for with the other profile afterwards: nothing to be done.")


if __name__ == "__main__":
    main()
