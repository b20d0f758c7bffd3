"""LightAutoML on the targets of a split, one preset per target; runs in LightAutoML's own environment.

usage: python lightautoml_run.py FOLDER SECONDS CORES OUT
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"

import numpy as np
import pandas as pd
from lightautoml.automl.presets.tabular_presets import TabularAutoML
from lightautoml.tasks import Task


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
        try:
            model = TabularAutoML(
                Task("binary", metric="auc"), timeout=max(limit, 1.0), cpu_limit=cores
            )
            model.fit_predict(table.reset_index(drop=True), roles={"target": target}, verbose=0)
            predictions[target] = model.predict(test.reset_index(drop=True)).data[:, 0]
        except Exception as error:  # a target that it could not fit in its time
            print(f"{target}: {error}", flush=True)
            predictions[target] = np.full(len(test), 0.5)
        print(f"{number + 1}/{len(labels.columns)} {time.monotonic() - started:.0f} s", flush=True)
    predictions.to_parquet(out)
    print(f"seconds {time.monotonic() - started:.1f}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
