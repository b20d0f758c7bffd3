"""scikit-learn's linear models without pandas."""

from __future__ import annotations

from blendmake.lean.imports import without

with without("pandas"):
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier, SGDRegressor

__all__ = ["ConvergenceWarning", "LogisticRegression", "Ridge", "SGDClassifier", "SGDRegressor"]
