"""All benchmarks in one go; what they print goes into docs/benchmarks.md.

usage: python tests/bench/run.py [--quick] [NAME ...]

First, one after the other, those that use all cores, the longest before the rest; then those that use
one, side by side, each on a core of its own from beginning to end.

Each block of the page between `<!-- bench NAME -->` and `<!-- end -->` is what a benchmark printed;
the text around it stays. The quick form runs each on little data, writes nothing, and fails where one
fails: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import common

PAGE = common.ROOT / "docs" / "benchmarks.md"
HERE = Path(__file__).resolve().parent
WRITING = threading.Lock()  # to the terminal and the page


@dataclass(frozen=True)
class Bench:
    """A script, the heading of its figures, and its arguments in full and in quick.

    `one_core`: all that it compares uses one core. `named`: it runs only where it is named.
    """

    script: str
    title: str
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    one_core: bool = False
    named: bool = False


def _of(text: str) -> tuple[str, ...]:
    return tuple(text.split())


SMALL = "--rows 1000 --columns 200 --targets 3 --rounds 5"
BENCHES = {
    "quality": Bench(
        "bench_quality.py",
        "Time to quality",
        full=_of("toxcast41 diabetes130 --budgets 60s 200s 10m"),
        quick=_of("made --budgets 40s --autogluon 5s --lightautoml 5s"),
    ),
    "budget": Bench(
        "bench_budget.py",
        "Budgets",
        full=_of("adult covertype diabetes130 tox21 toxcast41 --budgets 60s 200s --cores 1 2"),
        quick=_of("made --budgets 40s --preset quick"),
        named=True,
    ),
    "size": Bench(
        "bench_size.py",
        "The home case at its size",
        full=_of("--rounds 3"),
        quick=_of("--rows 1000 --rounds 1"),
    ),
    "floor": Bench(
        "bench_plain.py",
        "Against the floor: a campaign of ten minutes",
        full=_of(
            "--sets twin --rows 50000 --columns 800 --families lightgbm --targets 41 --folds 4 "
            "--rounds 46 --roles side_by_side plain --floor-targets 6 --plain-targets 2"
        ),
        quick=_of(
            "--families lightgbm --roles side_by_side plain --floor-targets 2 --plain-targets 2 "
            f"{SMALL}"
        ),
    ),
    "plain": Bench(
        "bench_plain.py",
        "Against the plain way",
        full=_of(
            "--sets toxcast41 diabetes130 --families xgboost lightgbm --targets 41 --rounds 10 "
            "--roles plain --plain-targets 20"
        ),
        quick=_of(f"--sets twin --families xgboost --roles plain {SMALL}"),
    ),
    "plain_catboost": Bench(
        "bench_plain.py",
        "Against the plain way: CatBoost",
        full=_of(
            "--sets toxcast41 diabetes130 --families catboost --targets 41 --rounds 10 "
            "--roles plain --plain-targets 10"
        ),
        quick=_of(f"--families catboost --roles side_by_side {SMALL}"),
    ),
    "weights": Bench(
        "bench_weights.py", "Weight searches", quick=_of("--rows 5000 --targets 2 --sources 4")
    ),
    "resume": Bench(
        "bench_resume.py",
        "kill -9 at random moments",
        quick=_of("--kills 2 --sources 2 --rounds 20"),
    ),
    "search": Bench(
        "bench_search.py",
        "Searches",
        full=_of("--seeds 3 --trials 40"),
        quick=_of("--seeds 1 --trials 5 --rows 1000 --rounds 5 --pairs 1 --pair-trials 2"),
        one_core=True,
    ),
    "dry_run": Bench(
        "bench_dry_run.py",
        "Nothing to do",
        full=("--campaign",),
        quick=_of("--sources 2 --times 2 --runs 1"),
        one_core=True,
    ),
    "vector": Bench(
        "bench_vector.py",
        "One model for all targets",
        full=_of("--set data/toxcast41 --dimensions 1 4 --no-plain --catboost --rounds 30"),
        quick=_of("--rows 600 --columns 20 --outputs 3 --rounds 5 --catboost"),
        one_core=True,
    ),
    "audit": Bench(
        "bench_audit.py",
        "Feature audit",
        quick=_of("--rows 1000 --columns 40 --candidates 8 --rounds 20 --pairs 1"),
        one_core=True,
    ),
    "auc": Bench("bench_auc.py", "Exact AUC", quick=_of("--rows 20000 --pairs 3"), one_core=True),
    "gpu": Bench(
        "bench_gpu.py",
        "On a GPU",
        quick=_of("--rows 1000 --columns 20 --targets 2 --rounds 0.05"),
        named=True,
    ),
    "overhead": Bench(
        "bench_overhead.py",
        "What a run takes beside its fits",
        full=_of("--rows 3000 --scale 0.3"),
        quick=_of("--rows 1000 --columns 1 --scale 0.02 --cold"),
        named=True,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(BENCHES)):
        parser.error(f"{unknown[0]} is none of {', '.join(BENCHES)}")
    started = time.monotonic()
    names = options.names or [name for name, bench in BENCHES.items() if not bench.named]
    alone = [name for name in names if not BENCHES[name].one_core]
    failed = [name for name in alone if not run(name, options.quick)]
    failed += side_by_side([name for name in names if BENCHES[name].one_core], options.quick)
    print(f"{(time.monotonic() - started) / 60:.1f} minutes in all")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def side_by_side(names: Sequence[str], quick: bool) -> list[str]:
    """Run benchmarks that use one core, as many at a time as there are cores; those that failed."""
    cores = sorted(os.sched_getaffinity(0))
    left, lock = list(names), threading.Lock()
    failed: list[str] = []

    def lane(core: int) -> None:
        os.sched_setaffinity(0, {core})  # of this thread, and of what it starts
        while True:
            with lock:
                if not left:
                    return
                name = left.pop(0)
            if not run(name, quick):
                failed.append(name)

    with ThreadPoolExecutor(len(cores)) as pool:
        list(pool.map(lane, cores))
    return failed


def run(name: str, quick: bool) -> bool:
    """Run a benchmark and, unless it is the quick form, keep what it printed; whether it passed."""
    bench = BENCHES[name]
    arguments = bench.quick if quick else bench.full
    command = " ".join([bench.script, *arguments])
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(HERE / bench.script), *arguments],
        cwd=common.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.monotonic() - began
    with WRITING:
        print(f"== {name}: {command}\n{done.stdout}\n({seconds:.0f} s)\n", flush=True)
        if done.returncode == 0 and not quick:
            put(name, bench.title, f"python tests/bench/{command}", done.stdout)
    return done.returncode == 0


def put(name: str, title: str, command: str, printed: str) -> None:
    """Write what a benchmark printed into its block of the page; a new block goes to the end."""
    text = PAGE.read_text(encoding="utf-8")
    today = datetime.date.today().isoformat()
    block = f"<!-- bench {name} -->\n`{command}`, {today}:\n\n{printed.strip()}\n<!-- end -->"
    pattern = re.compile(rf"<!-- bench {name} -->.*?<!-- end -->", re.S)
    if pattern.search(text):
        text = pattern.sub(lambda _: block, text, count=1)
    else:
        text = f"{text.rstrip()}\n\n## {title}\n\n{block}\n"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
