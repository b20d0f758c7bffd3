"""AutoGluon on the targets of a split, one predictor per target; runs in AutoGluon's own environment.

usage: python autogluon_run.py FOLDER SECONDS CORES OUT
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from autogluon.tabular import TabularPredictor

PRESET = "medium_quality"


def main(folder: Path, seconds: float, cores: int, out: Path) -> None:
    train, test = (
        pd.read_parquet(folder / f"{part}_features.parquet") for part in ("train", "test")
    )
    labels = pd.read_parquet(folder / "train_targets.parquet")
    started = time.monotonic()
    predictions = pd.DataFrame(index=test.index)
    for number, target in enumerate(labels.columns):
        # What is left, shared by the targets that are left.
        limit = (seconds - (time.monotonic() - started)) / (len(labels.columns) - number)
        known = labels[target].notna()
        table = train[known].assign(**{target: labels.loc[known, target].astype(int)})
        with tempfile.TemporaryDirectory() as models:
            predictor = TabularPredictor(target, eval_metric="roc_auc", path=models, verbosity=0)
            try:
                predictor.fit(
                    table, presets=PRESET, time_limit=max(limit, 1.0), num_cpus=cores, num_gpus=0
                )
                predictions[target] = predictor.predict_proba(test)[1]
            except Exception as error:  # a target that it could not fit in its time
                print(f"{target}: {error}", flush=True)
                predictions[target] = np.full(len(test), 0.5)
        print(f"{number + 1}/{len(labels.columns)} {time.monotonic() - started:.0f} s", flush=True)
    predictions.to_parquet(out)
    print(f"seconds {time.monotonic() - started:.1f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
