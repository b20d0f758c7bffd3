"""How many times faster columns are permuted than by copying the frame and predicting anew.

One LightGBM model, 64 columns, the same permutations and the same AUC both ways, taken in turn. The
slow way is timed on some of the columns, and each of them against the fast way's time per column.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import common  # noqa: F401 (it tells where the project is)
import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from blendmake.audits.permuting import Forest, permuted_drops
from blendmake.stats.auc import AucScorer


def order(rows: int, column: int, repeat: int) -> NDArray[np.intp]:
    return np.random.default_rng([column, repeat]).permutation(rows)


def naive_drops(
    booster: lgb.Booster, frame: pd.DataFrame, column: int, repeats: int, score: AucScorer
) -> list[float]:
    base = score(booster.predict(frame, raw_score=True, num_threads=1))
    drops = []
    for repeat in range(repeats):
        other = frame.copy()
        other.isetitem(column, frame.iloc[:, column].to_numpy()[order(len(frame), column, repeat)])
        drops.append(base - score(booster.predict(other, raw_score=True, num_threads=1)))
    return drops


def fast_drops(
    path: Path, frame: pd.DataFrame, columns: Sequence[int], repeats: int, score: AucScorer
) -> NDArray[np.float64]:
    forest = Forest(path, [0] * frame.shape[1])  # reading the model is part of it
    return permuted_drops(
        forest,
        lambda column: frame.iloc[:, column].to_numpy(),
        columns,
        lambda column, repeat: order(len(frame), column, repeat),
        repeats,
        score,
    )[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--columns", type=int, default=500)
    parser.add_argument("--candidates", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=150)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2 * options.rows, options.columns)).astype(np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    odds = 0.4 * np.nan_to_num(values[:, :40]).sum(axis=1)
    labels = (odds + rng.logistic(size=len(odds)) > 3).astype(np.float32)
    train, judged = slice(0, options.rows), slice(options.rows, None)
    settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "learning_rate": 0.05}
    booster = lgb.train(settings, lgb.Dataset(values[train], labels[train]), options.rounds)
    frame = pd.DataFrame(values[judged], columns=[f"c{i}" for i in range(options.columns)])
    score = AucScorer(labels[judged])
    gain = booster.feature_importance("gain")
    columns = np.argsort(-gain, kind="stable")[: options.candidates].tolist()
    naive_drops(booster, frame, columns[0], 1, score)  # warms up
    ratios, slow, fast, gap = [], [], [], 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.txt"
        booster.save_model(path)
        for pair in range(options.pairs):
            start = time.perf_counter()
            drops = fast_drops(path, frame, columns, options.repeats, score)
            middle = time.perf_counter()
            some = range(pair, len(columns), max(1, len(columns) // 4))
            found = [naive_drops(booster, frame, columns[i], options.repeats, score) for i in some]
            end = time.perf_counter()
            fast.append((middle - start) / len(columns))
            slow.append((end - middle) / len(some))
            ratios.append(slow[-1] / fast[-1])
            gap = max(gap, float(np.abs(np.array(found) - drops[list(some)]).max()))
    print(
        f"rows {options.rows}, columns {options.columns}, candidates {len(columns)}, "
        f"repeats {options.repeats}, rounds {options.rounds}, positives {int(labels[judged].sum())}"
    )
    print("\n| | ms a column | times as fast (least to most) |\n| --- | --: | --: |")
    print(f"| copying the frame and predicting | {median(slow) * 1e3:.1f} | 1 |")
    told = f"{median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
    print(f"| an audit's way | {median(fast) * 1e3:.1f} | {told} |")
    print(f"\nThe largest difference of a drop in AUC is {gap:.1e}.")


if __name__ == "__main__":
    main()
