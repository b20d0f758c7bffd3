"""Yeast: 2,417 genes × 103 features × 14 functional classes, from the `river` package.

Elisseeff and Weston, "A kernel method for multi-labelled classification", NeurIPS 2001. The rows
stand in the original order, so that the first 1,500 are the usual training rows.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

FILES = ("main",)
TARGETS = tuple(f"Class{i}" for i in range(1, 15))
TRAIN_ROWS = 1500
OPTIONS: dict[str, Any] = {}
DATA: dict[str, Any] = {
    "train": {"main": "{folder}/train.parquet"},
    "test": {"main": "{folder}/test.parquet"},
    "id": ["gene"],
    "targets": {"file": "{folder}/targets.parquet"},
    "test_targets": "{folder}/test_targets.parquet",
    "sample_submission": "{folder}/sample_submission.parquet",
}


POSITIVES = (469, 656, 624, 532, 458, 360, 259, 289, 109, 159, 175, 1129, 1121, 19)


def facts() -> dict[str, Any]:
    """Its shape: train rows, numeric and category columns, positives per target."""
    return {"rows": TRAIN_ROWS, "numbers": 103, "categories": 0, "positives": POSITIVES}


def write(folder: Path) -> None:
    """Write train, test, targets, test_targets and sample_submission into `folder`."""
    import pyarrow as pa
    from pyarrow import compute, csv

    from blendmake.errors import BlendmakeError
    from blendmake.files import write_parquet

    # The package is located, not imported: only its data file is of use here.
    spec = importlib.util.find_spec("river")
    if spec is None or spec.origin is None:
        raise BlendmakeError(
            "The demo data are in the package 'river': pip install -r envs/cpu.txt"
        )
    table = csv.read_csv(Path(spec.origin).parent / "datasets" / "yeast.csv.gz")
    features = [name for name in table.column_names if name not in TARGETS]
    genes = pa.array([f"gene_{row:04d}" for row in range(1, table.num_rows + 1)])
    labels = [compute.cast(table[name], pa.int8()) for name in TARGETS]
    x = pa.table([genes, *(table[name] for name in features)], ["gene", *features])
    y = pa.table([genes, *labels], ["gene", *TARGETS])
    test_ids = genes[TRAIN_ROWS:]
    zeros = pa.array([0.0] * len(test_ids))
    sample = pa.table([test_ids, *[zeros] * len(TARGETS)], ["gene", *TARGETS])
    write_parquet(x.slice(0, TRAIN_ROWS), folder / "train.parquet")
    write_parquet(x.slice(TRAIN_ROWS), folder / "test.parquet")
    write_parquet(y.slice(0, TRAIN_ROWS), folder / "targets.parquet")
    write_parquet(y.slice(TRAIN_ROWS), folder / "test_targets.parquet")
    write_parquet(sample, folder / "sample_submission.parquet")
