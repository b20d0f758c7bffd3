"""A source of one's own: nearest neighbours, one classifier per target (docs/custom.md).

sources:
  neighbours: {family: custom, file: config/custom/example.py, params: {neighbours: 50}}

It needs scikit-learn beside numpy and pandas.
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.neighbors import KNeighborsClassifier
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
    # A problem may have no test rows, which scikit-learn does not predict.
    tables = [prepare.transform(rows) if len(rows) else None for rows in (fold.valid, fold.test)]
    predictions = [pd.DataFrame(index=rows.index) for rows in (fold.valid, fold.test)]
    for target in fold.targets:
        labels = fold.labels[target].to_numpy()
        known = ~np.isnan(labels)  # a label may be unknown
        neighbours = min(fold.params.get("neighbours", 50), known.sum())
        model = KNeighborsClassifier(neighbours, n_jobs=fold.threads)
        model.fit(train[known], labels[known] == 1)
        for table, predicted in zip(tables, predictions, strict=True):
            if table is None:
                predicted[target] = np.empty(0)
            elif len(model.classes_) == 1:  # nothing but one class to learn from
                predicted[target] = float(model.classes_[0])
            else:
                predicted[target] = model.predict_proba(table)[:, 1]
    return tuple(predictions)
