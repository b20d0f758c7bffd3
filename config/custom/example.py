"""A source of one's own: nearest neighbours, found once for all targets (docs/custom.md).

sources:
  neighbours: {family: custom, file: config/custom/example.py, params: {neighbours: 50}}

It needs scikit-learn beside numpy and pandas.
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def fit_fold(fold):
    """Fit on fold.train and fold.labels, predict fold.valid and fold.test."""
    numbers = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler()
    )
    prepare = make_column_transformer(
        (numbers, make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_include="category")),
    )
    train = prepare.fit_transform(fold.train)
    count = min(fold.params.get("neighbours", 50), len(fold.train))
    # The neighbours of a row are the same for all targets: they are looked for once.
    model = NearestNeighbors(n_neighbors=count, n_jobs=fold.threads).fit(train)
    wanted = outputs_of(fold)
    labels = wanted.to_numpy(dtype=float)
    prior = np.nan_to_num(wanted.mean().to_numpy(dtype=float), nan=0.5)
    predictions = []
    for rows in (fold.valid, fold.test):
        predicted = np.empty((len(rows), len(fold.outputs)))
        for start in range(0, len(rows), 500):  # a problem may have no test rows
            part = slice(start, start + 500)
            near = labels[model.kneighbors(prepare.transform(rows[part]), return_distance=False)]
            known = ~np.isnan(near)  # a label may be unknown
            # One row of the prior, so that neighbours without a known label give that.
            total = np.where(known, near, 0).sum(axis=1) + prior
            predicted[part] = total / (known.sum(axis=1) + 1)
        predictions.append(pd.DataFrame(predicted, rows.index, fold.outputs))
    return tuple(predictions)


def outputs_of(fold):
    """What is to be predicted, (rows, outputs): of several classes, whether a row is of each."""
    if fold.task != "multiclass":
        return fold.labels
    columns = {}
    for target in fold.targets:
        label = fold.labels[target]
        for code, name in enumerate(fold.classes[target]):
            columns[f"{target}={name}"] = (label == code).astype(float).where(label.notna())
    return pd.DataFrame(columns)
