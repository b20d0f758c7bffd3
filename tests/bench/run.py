"""All benchmarks in one go, one after the other; what they print goes into docs/benchmarks.md.

usage: python tests/bench/run.py [--quick] [NAME ...]

Each block of the page between `<!-- bench NAME -->` and `<!-- end -->` is what a benchmark printed;
the text around it stays. The quick form runs each on little data, writes nothing, and fails where one
fails: its figures mean nothing.
"""

from __future__ import annotations

import argparse
import datetime
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import common

PAGE = common.ROOT / "docs" / "benchmarks.md"
HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Bench:
    """A script, the heading of its figures, and its arguments in full and in quick."""

    script: str
    title: str
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()


def _of(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PLAIN = "--rows 600 --columns 20 --targets 3 --rounds 5 --pairs 1"
BENCHES = {
    "auc": Bench("bench_auc.py", "Exact AUC", quick=_of("--rows 20000 --pairs 3")),
    "weights": Bench(
        "bench_weights.py", "Weight searches", quick=_of("--rows 5000 --targets 2 --sources 4")
    ),
    "audit": Bench(
        "bench_audit.py",
        "Feature audit",
        quick=_of("--rows 1000 --columns 40 --candidates 8 --rounds 20 --pairs 1"),
    ),
    "dry_run": Bench(
        "bench_dry_run.py", "Nothing to do", quick=_of("--sources 2 --times 2 --runs 1")
    ),
    "vector": Bench(
        "bench_vector.py",
        "One model for all targets, made-up table",
        full=_of("--dimensions 1 4"),
        quick=_of("--rows 600 --columns 20 --outputs 3 --rounds 5"),
    ),
    **{
        f"plain_{family}": Bench(
            "bench_plain.py",
            f"Against the plain way and the floor: {family}",
            full=("--family", family),
            quick=("--family", family, *_of(PLAIN)),
        )
        for family in ("xgboost", "lightgbm", "catboost")
    },
    "search": Bench(
        "bench_search.py",
        "Searches",
        quick=_of("--seeds 1 --trials 5 --rows 1000 --rounds 5 --pairs 1 --pair-trials 2"),
    ),
    "resume": Bench(
        "bench_resume.py",
        "kill -9 at random moments",
        quick=_of("--kills 2 --sources 2 --rounds 20"),
    ),
    "overhead": Bench(
        "bench_overhead.py",
        "What a run takes beside its fits",
        full=_of("--rows 3000 --scale 0.3"),
        quick=_of("--rows 1000 --columns 1 --scale 0.02"),
    ),
    "size": Bench(
        "bench_size.py", "The home case at its size", quick=_of("--rows 1000 --rounds 1")
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
    failed = []
    for name in options.names or BENCHES:
        bench = BENCHES[name]
        arguments = bench.quick if options.quick else bench.full
        print(f"== {name}: {bench.script} {' '.join(arguments)}", flush=True)
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(HERE / bench.script), *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        print(f"{done.stdout}\n({time.monotonic() - began:.0f} s)\n", flush=True)
        if done.returncode:
            failed.append(name)
        elif not options.quick:
            put(
                name,
                bench.title,
                f"python tests/bench/{' '.join([bench.script, *arguments])}",
                done.stdout,
            )
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


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
