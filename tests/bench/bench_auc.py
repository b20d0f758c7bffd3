"""How many times faster than scikit-learn the AUC is, at 2% positives in float32."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import common
import numpy as np
from sklearn.metrics import roc_auc_score

from blendmake.stats.auc import AucScorer, auc

FLOOR = "floor: `numpy.sort` alone"


def seconds(call: Callable[[], float]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=750_000)
    parser.add_argument("--pairs", type=int, default=9)
    options = parser.parse_args()
    common.as_a_job()
    rng = np.random.default_rng(0)
    labels = rng.random(options.rows) < 0.02
    scores = (rng.normal(size=options.rows) + labels).astype(np.float32)
    scorer = AucScorer(labels)
    calls: dict[str, Callable[[], float]] = {
        "`roc_auc_score`": lambda: float(roc_auc_score(labels, scores)),
        "`auc`": lambda: auc(labels, scores),
        "`AucScorer`": lambda: scorer(scores),
        FLOOR: lambda: float(np.sort(scores)[0]),
    }
    results = {name: call() for name, call in calls.items()}  # also warms up
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.pairs):  # taken in turn, so that a busy machine slows all alike
        for name, call in calls.items():
            times[name].append(seconds(call))
    base = times["`roc_auc_score`"]
    print(common.machine("numpy", "scikit-learn"))
    print(f"{options.rows} rows, {int(labels.sum())} positives, {options.pairs} rounds in turn.\n")
    print("| | ms | times as fast, median of rounds | difference |\n| --- | --: | --: | --: |")
    for name in calls:
        ratio = median(b / t for b, t in zip(base, times[name], strict=True))
        gap = f"{results[name] - results['`roc_auc_score`']:+.1e}" if name != FLOOR else ""
        took = median(times[name]) * 1e3
        print(f"| {name} | {took:.2f} | {ratio:.1f} | {gap} |")


if __name__ == "__main__":
    main()
