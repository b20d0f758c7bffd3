"""Weight searches over all targets against the same search in scikit-learn and SciPy.

Members' predictions are made up; each method blends all targets, nested estimate included (weights
found without each fold, and once on all rows). The reference does the same for one target: it times the
search on all rows and takes those without a fold to cost as much for each of their rows.
"""

from __future__ import annotations

import argparse
import itertools
import time
from typing import Any

import common
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from blendmake.blends.blending import Blended, blend
from blendmake.blends.members import BlendOptions, Member, Split

FOLDS = 5
METHODS = ("top2_weighted", "simplex_grid", "greedy", "optimize_weights")
Floats = NDArray[np.float64]


def make(rows: int, sources: int, targets: int) -> tuple[list[Member], NDArray[Any], list[Split]]:
    """Sources of different strength, with some noise in common; rare targets."""
    rng = np.random.default_rng(0)
    shares = np.geomspace(0.003, 0.2, targets)
    labels = (rng.random((rows, targets)) < shares).astype(np.float32)
    common = rng.standard_normal((rows, targets), dtype=np.float32)
    names = tuple(f"t{k}" for k in range(targets))
    members = []
    for k in range(sources):
        own = rng.standard_normal((rows, targets), dtype=np.float32)
        strength = rng.uniform(0.6, 1.0, targets).astype(np.float32)
        oof = 1 / (1 + np.exp(-(strength * labels + 0.7 * common + own - 3)))
        members.append(Member(f"s{k}", names, np.asfortranarray(oof), oof[:1000].copy()))
    fold = rng.integers(0, FOLDS, rows)
    every = np.arange(rows)
    splits = [Split(every[fold != k], every[fold == k]) for k in range(FOLDS)]
    return members, labels, splits


def plain_search(method: str, scores: Floats, labels: NDArray[Any]) -> Floats:
    """Weights (s,) of scores (n, s), found as a script would."""
    count = scores.shape[1]
    solo = [roc_auc_score(labels, column) for column in scores.T]
    order = np.argsort(solo)[::-1]
    weights = np.zeros(count)
    if method == "top2_weighted":
        weights[order[:2]] = 0.65, 0.35
    elif method == "simplex_grid":
        points = [p for p in itertools.product(range(21), repeat=3) if sum(p) == 20]
        leading = scores[:, order[:3]]
        found = [roc_auc_score(labels, leading @ (np.array(p) / 20)) for p in points]
        weights[order[:3]] = np.array(points[int(np.argmax(found))]) / 20
    elif method == "greedy":
        chosen, trail = [order[0]], [max(solo)]
        for _ in range(19):
            total = scores[:, chosen].sum(axis=1)
            found = [roc_auc_score(labels, total + column) for column in scores.T]
            chosen.append(int(np.argmax(found)))
            trail.append(max(found))
        np.add.at(weights, chosen[: int(np.argmax(trail)) + 1], 1)
        weights /= weights.sum()
    else:
        rng = np.random.default_rng(0)
        positive = scores[rng.choice(np.flatnonzero(labels == 1), 512)]
        negative = scores[rng.choice(np.flatnonzero(labels == 0), 1024)]
        width = 0.1 * scores.mean(axis=1).std()

        def loss(w: Floats) -> float:
            order = expit(((positive @ w)[:, None] - (negative @ w)[None, :]) / width)
            return 0.01 * float(((w - 1 / count) ** 2).sum()) - float(order.mean())

        weights = minimize(
            loss,
            np.full(count, 1 / count),
            method="SLSQP",
            bounds=[(0, 1)] * count,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        ).x
    return weights


def plain_seconds(
    method: str, members: list[Member], labels: NDArray[Any], splits: list[Split], target: int
) -> tuple[float, Floats]:
    """Seconds of a plain nested search for one target, and the weights found on all rows."""
    began = time.perf_counter()
    scores = np.empty((len(labels), len(members)))
    for split in splits:
        for k, member in enumerate(members):
            column = member.oof[split.apply, target]
            scores[split.apply, k] = (rankdata(column) - 0.5) / len(column)
    ranked = time.perf_counter()
    weights = plain_search(method, scores, labels[:, target])
    search = time.perf_counter() - ranked
    nested = search * sum(len(split.fit) for split in splits) / len(labels)
    return ranked - began + search + nested, weights


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=750_000)
    parser.add_argument("--targets", type=int, default=41)
    parser.add_argument("--sources", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    common.as_a_job()
    print(common.machine("numpy", "scipy", "scikit-learn") + "\n")
    members, labels, splits = make(options.rows, options.sources, options.targets)
    fold_of_row = np.empty(options.rows, np.intp)
    for k, split in enumerate(splits):
        fold_of_row[split.apply] = k
    names = members[0].targets
    middle = options.targets // 2
    print(
        f"{options.sources} sources, {options.targets} targets, {options.rows} rows, {FOLDS} folds; "
        f"{options.threads} threads against one of scikit-learn's (one target, times all).\n"
    )
    print("| method | seconds | reference | times as fast | AUC less the reference's |")
    print("| --- | --: | --: | --: | --: |")
    total = plain_total = 0.0
    for method in METHODS:
        began = time.perf_counter()
        done = blend(
            members,
            labels,
            names,
            splits,
            fold_of_row,
            BlendOptions(method=method),
            options.threads,
        )
        seconds = time.perf_counter() - began
        one, weights = plain_seconds(method, members, labels, splits, middle)
        plain = one * options.targets
        gap = _in_sample(done, members, labels, middle, weights, fold_of_row)
        print(f"| {method} | {seconds:.1f} | {plain:.0f} | {plain / seconds:.1f} | {gap:+.1e} |")
        total, plain_total = total + seconds, plain_total + plain
    print(f"| all four | {total:.1f} | {plain_total:.0f} | {plain_total / total:.1f} | |")


def _in_sample(
    done: Blended,
    members: list[Member],
    labels: NDArray[Any],
    target: int,
    weights: Floats,
    fold_of_row: NDArray[np.intp],
) -> float:
    """AUC on all rows with the weights found on all rows, less that with the reference's."""
    assert done.in_sample is not None
    total = np.zeros(len(labels))
    for weight, member in zip(weights, members, strict=True):
        for k in range(FOLDS):
            rows = np.flatnonzero(fold_of_row == k)
            total[rows] += weight * (rankdata(member.oof[rows, target]) - 0.5) / len(rows)
    found = roc_auc_score(labels[:, target], done.in_sample[:, target])
    return float(found - roc_auc_score(labels[:, target], total))


if __name__ == "__main__":
    main()
