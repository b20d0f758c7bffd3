"""A library on the targets of a split, one model per target; runs in the library's own environment.

What is left of the time is shared by the targets that are left, less what the library has taken so far
over the time that it was given. A target that it has come to when there is none left, or could not
fit, is predicted as one half.

usage: python automl_run.py autogluon|lightautoml FOLDER SECONDS CORES OUT

Tables are arrays by column (.npz), as not every such environment reads parquet.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def autogluon(table: Any, target: str, test: Any, seconds: float, cores: int) -> Any:
    from autogluon.tabular import TabularPredictor

    with tempfile.TemporaryDirectory() as models:
        predictor = TabularPredictor(target, eval_metric="roc_auc", path=models, verbosity=0)
        predictor.fit(
            table, presets="medium_quality", time_limit=seconds, num_cpus=cores, num_gpus=0
        )
        return predictor.predict_proba(test)[1]


def lightautoml(table: Any, target: str, test: Any, seconds: float, cores: int) -> Any:
    from lightautoml.automl.presets.tabular_presets import TabularAutoML
    from lightautoml.tasks import Task

    model = TabularAutoML(Task("binary", metric="auc"), timeout=seconds, cpu_limit=cores)
    model.fit_predict(table, roles={"target": target}, verbose=0)
    return model.predict(test).data[:, 0]


LIBRARIES = {"autogluon": autogluon, "lightautoml": lightautoml}


def read(path: Path) -> pd.DataFrame:
    """A table from its arrays; text that is missing is ''."""
    with np.load(path) as arrays:
        columns = {name: arrays[name] for name in arrays}
    for name, column in columns.items():
        if column.dtype.kind == "U":
            columns[name] = np.where(column == "", None, column.astype(object))
    return pd.DataFrame(columns)


def main(library: str, folder: Path, seconds: float, cores: int, out: Path) -> None:
    train, test, labels = (
        read(folder / f"{part}.npz")
        for part in ("train_features", "test_features", "train_targets")
    )
    started = time.monotonic()
    predictions, failed, allowed = {}, 0, 0.0
    for number, target in enumerate(labels.columns):
        spent = time.monotonic() - started
        left = seconds - spent
        if left <= 0:
            print(f"{target}: no time left", flush=True)
            predictions[target] = np.full(len(test), 0.5)
            continue
        over = max(1.0, spent / allowed) if allowed else 1.0
        limit = max(1.0, left / (len(labels.columns) - number) / over)
        allowed += limit
        known = labels[target].notna()
        table = train[known].assign(**{target: labels.loc[known, target].astype(int)})
        table = table.reset_index(drop=True)
        try:
            found = LIBRARIES[library](table, target, test, limit, cores)
        except Exception as error:  # a target that it could not fit in its time
            print(f"{target}: {error}", flush=True)
            found = np.full(len(test), 0.5)
            failed += 1
        predictions[target] = np.asarray(found, float)
        print(f"{number + 1}/{len(labels.columns)} {time.monotonic() - started:.0f} s", flush=True)
    if failed == len(predictions):
        sys.exit("it could fit no target")
    np.savez(out, **predictions)


if __name__ == "__main__":
    os.environ["TQDM_DISABLE"] = "1"  # bars are for terminals
    who, where, given, threads, to = sys.argv[1:]
    main(who, Path(where), float(given), int(threads), Path(to))
