"""What the family lightautoml runs in its own environment (envs/lightautoml.txt)."""

from __future__ import annotations

import os
import random
import warnings
from typing import Any


def fit_fold(fold: Any) -> tuple[Any, Any]:
    """TabularAutoML for the one target of `fold`; see families.lightautoml.

    Raises:
        ValueError: a setting that it does not know.
    """
    os.environ["TQDM_DISABLE"] = "1"  # bars are for terminals
    import numpy as np

    target = fold.targets[0]
    labels = fold.labels[target].to_numpy()
    known = ~np.isnan(labels)
    is_number = fold.task == "regression"
    y, shift, classes = labels[known], 0.0, np.zeros(0, np.int64)
    if is_number:
        shift = float(y.mean())  # its models hold labels as float32
        y, fewest = y - shift, len(y)
    else:
        # Those that occur: 0, 1, … without a gap is what it takes as it is.
        classes, y, counts = np.unique(y.astype(np.int64), return_inverse=True, return_counts=True)
        fewest = int(counts.min())
    inner = min(int(fold.params["cv"]), fewest)
    outputs = len(fold.outputs)

    def spread(values: Any) -> Any:
        """Predictions (rows, outputs) from those of the classes that occur, or of a number."""
        if is_number:
            return np.asarray(values, np.float64).reshape(-1, 1) + shift
        if fold.task == "binary":
            return values[:, -1:]
        found = np.zeros((len(values), outputs))
        found[:, classes] = values if len(classes) > 2 else np.hstack([1 - values, values])
        return found

    if inner < 2:
        print(f"{target}: a class of {fewest} rows has no inner folds; shares are predicted")
        shares = np.bincount(y, minlength=len(classes)) / len(y)
        if fold.task == "binary" or len(classes) == 2:
            shares = shares[1:]
        return tuple(spread(np.tile(shares, (len(t), 1))) for t in (fold.valid, fold.test))
    if inner < fold.params["cv"]:
        print(f"{target}: {inner} inner folds, as many as the rows of its rarest class")

    warnings.filterwarnings("ignore", message=".*package isn't installed")
    import torch

    random.seed(fold.seed)
    np.random.seed(fold.seed)  # noqa: NPY002 (the generator that LightAutoML draws from)
    torch.manual_seed(fold.seed)
    train = fold.train[known]
    columns = _columns(train)
    table = _table(train, columns)
    table["target"] = y
    roles: dict[str, Any] = {"target": "target"}
    categories = [name for name, column in columns.items() if _is_category(train[column])]
    if categories:
        roles["category"] = categories
    if fold.weights is not None:
        table["weights"] = fold.weights[target].to_numpy()[known]
        roles["weights"] = "weights"
    kind = "reg" if is_number else "binary" if len(classes) == 2 else "multiclass"
    model = _model(fold, inner, kind)
    model.fit_predict(table, roles=roles, verbose=1)

    def predict(rows: Any) -> Any:
        if not len(rows):
            return np.empty((0, outputs))
        return spread(model.predict(_table(rows, columns)).data)

    return predict(fold.valid), predict(fold.test)


def _is_category(column: Any) -> bool:
    return str(column.dtype) == "category"


def _columns(train: Any) -> dict[str, str]:
    """Plain names of the columns that are not empty in training (of categories: not constant).

    It tests only columns whose role it guesses, and fails on a category without a value.
    """
    chosen = {}
    for number, name in enumerate(train.columns):
        column = train[name]
        if column.nunique() >= (2 if _is_category(column) else 1):
            chosen[f"c{number}"] = name
    return chosen


def _table(rows: Any, columns: dict[str, str]) -> Any:
    import pandas as pd

    # It knows text, not pandas' categories.
    return pd.DataFrame(
        {
            name: rows[column].astype(object) if _is_category(rows[column]) else rows[column]
            for name, column in columns.items()
        }
    ).reset_index(drop=True)


# What its own blends are chosen by.
METRICS = {"binary": "auc", "multiclass": "crossentropy", "reg": "mse"}


def _model(fold: Any, inner: int, kind: str) -> Any:
    """TabularAutoML of one kind of task, with the given settings over its defaults.

    Raises:
        ValueError: a setting that its defaults do not know.
    """
    from lightautoml.automl.presets.tabular_presets import TabularAutoML  # type: ignore[import-not-found]
    from lightautoml.tasks import Task  # type: ignore[import-not-found]

    ours = ("timeout", "use_algos", "cv", "memory_limit")
    sections = {name: dict(value) for name, value in fold.params.items() if name not in ours}
    task = Task(kind, metric=METRICS[kind])
    defaults = TabularAutoML(task)
    for section, settings in sections.items():
        known = getattr(defaults, section)
        for name in settings:
            if name not in known:
                raise ValueError(f"{section}.{name} is unknown; known are {', '.join(known)}")

    def add(section: str, **settings: Any) -> None:
        sections[section] = {**sections.get(section, {}), **settings}

    def add_to_model(section: str, **settings: Any) -> None:
        given = sections.get(section, {}).get("default_params") or {}
        add(section, default_params={**given, **settings})

    threads, seed = fold.threads, fold.seed
    add("general_params", use_algos=fold.params["use_algos"])
    add("reader_params", cv=inner, n_jobs=threads, random_state=seed)
    add_to_model("lgb_params", num_threads=threads, random_state=seed)
    add_to_model("cb_params", thread_count=threads, random_seed=seed)
    add_to_model("xgb_params", nthread=threads, seed=seed)
    add_to_model("rf_params", n_jobs=threads, random_state=seed)
    return TabularAutoML(
        task=task,
        timeout=fold.params["timeout"],
        memory_limit=fold.params["memory_limit"],
        cpu_limit=threads,
        gpu_ids=None,
        **sections,
    )
