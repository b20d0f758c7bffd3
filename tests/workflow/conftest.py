"""A small problem of its own for tests that run Snakemake for real."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

REPO = Path(__file__).resolve().parents[2]
PARTS = ("Snakefile", "rules", "scripts", "profiles", "config")


@dataclass
class Run:
    """What one run of Snakemake said and did."""

    code: int
    text: str

    @property
    def nothing(self) -> bool:
        return "Nothing to be done" in self.text

    def jobs(self) -> set[tuple[str, ...]]:
        """Jobs of a dry run: (rule, wildcard values in order)."""
        found = set()
        for block in re.split(r"\n(?=(?:local)?rule \w+:)", self.text):
            head = re.match(r"(?:local)?rule (\w+):", block)
            if head:
                wild = re.search(r"^    wildcards: (.+)$", block, re.M)
                values = [w.split("=")[1] for w in wild[1].split(", ")] if wild else []
                found.add((head[1], *values))
        return found


@dataclass
class Workspace:
    """A copy of the workflow in a folder of its own, with a problem to build."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)

    def write_config(self, **changes: Any) -> Path:
        self.config = {**self.config, **changes}
        path = self.folder / "problem.yaml"
        path.write_text(yaml.safe_dump(self.config, sort_keys=False))
        return path

    def command(self, *arguments: str) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake", "--configfile", "problem.yaml"),
            *("--cores", "2", *arguments),
        ]

    def snakemake(
        self, *arguments: str, check: bool = True, environment: dict[str, str] | None = None
    ) -> Run:
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=environment,
        )
        run = Run(done.returncode, done.stdout + done.stderr)
        if check:
            assert run.code == 0, run.text[-4000:]
        return run

    def dry_run(self, *arguments: str) -> Run:
        return self.snakemake("--dry-run", *arguments)

    def killed_after(self, seconds: float, before: Callable[[], object] | None = None) -> bool:
        """Run, and kill -9 the whole process tree after so long; whether it was still running.

        Args:
            before: what is to be looked at right before the kill.
        """
        process = subprocess.Popen(
            self.command(),
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            process.wait(seconds)
            return False
        except subprocess.TimeoutExpired:
            if before is not None:
                before()
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            time.sleep(0.2)
            return True

    @property
    def results(self) -> Path:
        return self.folder / "results" / self.config["problem"]

    def path(self, *parts: str) -> Path:
        return self.results.joinpath(*parts)

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace a text in a file of the workflow's copy."""
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{old!r} is not in {name}"
        path.write_text(text.replace(old, new, 1))


def copy_workflow(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source = REPO / part
        if source.is_dir():
            # Compiled modules too, but for those that are just being written.
            ignored = shutil.ignore_patterns("*.part", "*.pyc.*")
            shutil.copytree(source, folder / part, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(source, folder / part)
    return folder


def write_tables(folder: Path, rows: int = 400, test_rows: int = 120, seed: int = 0) -> None:
    """Numbers, a category, missing values and four targets with signal; ids as text."""
    draw = np.random.default_rng(seed)
    total = rows + test_rows
    x = draw.normal(size=(total, 8)).astype(np.float32)
    category = draw.integers(0, 5, total)
    signal = x[:, :4] + 0.8 * (category[:, None] == np.arange(4))
    y = (signal + draw.normal(size=(total, 4)) > np.array([0.3, 0.8, 1.2, 1.6])).astype(np.int8)
    x[draw.random(x.shape) < 0.05] = np.nan
    ids = pa.array([f"r{i:05d}" for i in range(total)])
    columns = {f"x{j}": pa.array(x[:, j], from_pandas=True) for j in range(8)}
    columns["kind"] = pa.array([f"k{c}" for c in category])
    features = pa.table({"id": ids, **columns})
    targets = pa.table({"id": ids, **{f"t{j}": pa.array(y[:, j]) for j in range(4)}})
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(features.slice(0, rows), folder / "train.parquet")
    pq.write_table(features.slice(rows), folder / "test.parquet")
    pq.write_table(targets.slice(0, rows), folder / "targets.parquet")
    # The sample has the rows in another order, and names of its own.
    sample = pa.table(
        {
            "id": ids[rows:][::-1],
            **{f"p{j}": pa.array(np.zeros(test_rows)) for j in (2, 0, 1, 3)},
        }
    )
    pq.write_table(sample, folder / "sample.parquet")


CONFIG: dict[str, Any] = {
    "problem": "small",
    "seed": 7,
    "data": {
        "train": "tables/train.parquet",
        "test": "tables/test.parquet",
        "id": "id",
        "targets": "tables/targets.parquet",
        "sample_submission": "tables/sample.parquet",
    },
    "folds": {"n": 3},
    "groups": {"pair": ["t0", "t3"]},
    "sources": {
        "lgb": {
            "family": "lightgbm",
            "rounds": 40,
            "early_stopping": {"rounds": 10},
            "params": {"num_leaves": 7},
        },
        "xgb": {"family": "xgboost", "rounds": 30, "params": {"max_depth": 3}},
        "logistic": {"family": "linear"},
        "part": {"family": "extra_trees", "rounds": 40, "targets": "pair"},
    },
    "blends": {
        "champion": {"method": "greedy", "sources": "all"},
        "average": {"method": "mean", "sources": ["xgb", "logistic"]},
        "both": {"method": "optimize_weights", "sources": ["average", "lgb"]},
    },
    "comparisons": [["champion", "average"]],
    "submissions": {
        "blends": ["champion"],
        "csv": True,
        "rename": {"pattern": "^t", "replace": "p"},
    },
}


def make_workspace(folder: Path, **changes: Any) -> Workspace:
    copy_workflow(folder)
    write_tables(folder / "tables")
    space = Workspace(folder, dict(CONFIG))
    space.write_config(**changes)
    return space


def counting_interpreters(folder: Path) -> dict[str, str]:
    """An environment in which each Python that starts adds its command to `folder/interpreters`."""
    told = folder / "interpreters"
    told.touch()
    (folder / "sitecustomize.py").write_text(
        f"import sys\nwith open({str(told)!r}, 'a') as file:\n    print(sys.orig_argv, file=file)\n"
    )
    return {**os.environ, "PYTHONPATH": str(folder)}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run that tests look at but do not change."""
    space = make_workspace(tmp_path_factory.mktemp("finished") / "work")
    space.snakemake(environment=counting_interpreters(space.folder))
    return space


@pytest.fixture
def copied(finished: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the finished run, free to be changed; dates are kept."""
    shutil.copytree(finished.folder, tmp_path / "work", symlinks=True)
    return Workspace(tmp_path / "work", dict(finished.config))


def digests(space: Workspace) -> dict[str, str]:
    """Digest of every file whose bytes must repeat: predictions, weights, scores, submissions."""
    patterns = (
        "sources/*/oof.parquet",
        "sources/*/test.parquet",
        "sources/*/scores.parquet",
        "sources/*/fold*/oof.parquet",
        "sources/*/fold*/test.parquet",
        "blends/*/*.parquet",
        "submissions/*",
        "comparisons/*.parquet",
        "folds.parquet",
        "inner.parquet",
        "experiments.jsonl",
    )
    return {
        str(path.relative_to(space.results)): hashlib.sha256(path.read_bytes()).hexdigest()
        for pattern in patterns
        for path in sorted(space.results.glob(pattern))
    }


Fits = dict[tuple[str, str, int, int], float]


def finished_fits(space: Workspace) -> Fits:
    """Seconds of every finished fit, from scratch and from fold files: no two fits share them."""
    found: Fits = {}
    for path in (space.folder / "scratch").rglob("*.parquet"):
        note = json.loads(pq.read_schema(path).metadata[b"blendmake"])
        row = note["fit"]
        found[row["source"], row["target"], row["fold"], row["bag"]] = row["seconds"]
    for path in space.results.glob("sources/*/fold*/fits.parquet"):
        for row in pq.read_table(path).to_pylist():
            found[row["source"], row["target"], row["fold"], row["bag"]] = row["seconds"]
    return found


def finished_fits_if_readable(space: Workspace) -> Fits:
    try:
        return finished_fits(space)
    except OSError:
        return {}  # a job clears its scratch


def assert_leaderboard_holds(
    results: Path, labels: Any, test_labels: Any = None
) -> list[dict[str, Any]]:
    """Compute every number of the leaderboard again, from the parquet files, by scikit-learn.

    Args:
        labels, test_labels: data frames of the targets, indexed by id; every label is known.
    """
    fold = pq.read_table(results / "folds.parquet").to_pandas().set_index(labels.index.name)["fold"]
    rows = pq.read_table(results / "leaderboard.parquet").to_pylist()
    members = {row["name"]: row["members"] for row in rows}

    def frame(row: dict[str, Any], file: str) -> Any:
        kind = "sources" if row["kind"] == "source" else "blends"
        table = pq.read_table(results / kind / row["name"] / f"{file}.parquet")
        return table.to_pandas().set_index(labels.index.name)

    def macro(truth: Any, predicted: Any) -> float:
        return float(np.mean([roc_auc_score(truth[t], predicted[t]) for t in predicted.columns]))

    def fold_mean(predicted: Any) -> float:
        return float(
            np.mean([macro(labels[fold == k], predicted[fold == k]) for k in sorted(set(fold))])
        )

    def stands_on(name: str) -> set[str]:
        return {s for m in members[name] for s in stands_on(m)} if members[name] else {name}

    def seconds(name: str) -> float:
        return sum(
            pq.read_table(results / "sources" / name / "fits.parquet")["seconds"].to_pylist()
        )

    for row in rows:
        oof = frame(row, "oof")
        if row["kind"] == "blend" and len(frame(row, "uncalibrated").columns):
            oof = frame(row, "uncalibrated")
        part = "" if row["board"] == 1 else "part_"
        value = row["score"] if row["board"] == 1 else row["part_score"]
        assert abs(value - macro(labels, oof)) < 1e-9
        assert abs(row["auc_fold_mean"] - fold_mean(oof)) < 1e-9
        assert row[f"{part}ci_low"] < value < row[f"{part}ci_high"]
        given = frame(row, "oof").astype(float)
        briers = [brier_score_loss(labels[t], given[t]) for t in given.columns]
        edge = float(np.finfo(np.float32).eps)  # as scikit-learn clips float32
        losses = [log_loss(labels[t], given[t].clip(edge, 1 - edge)) for t in given.columns]
        assert abs(row["brier"] - np.mean(briers)) < 1e-9
        assert abs(row["log_loss"] - np.mean(losses)) < 1e-6
        assert row["targets"] == len(oof.columns)
        assert np.isclose(row["fit_seconds"], sum(map(seconds, stands_on(row["name"]))))
        chosen = row["kind"] == "blend" and row["method"] != "mean"
        assert (row["in_sample"] is not None) == chosen
        if chosen:
            assert abs(row["in_sample"] - macro(labels, frame(row, "in_sample"))) < 1e-9
        assert (row["test_score"] is not None) == (test_labels is not None)
        if test_labels is not None:
            assert abs(row["test_score"] - macro(test_labels, frame(row, "test"))) < 1e-9
    return rows
