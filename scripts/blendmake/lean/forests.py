"""scikit-learn's forests without pandas."""

from __future__ import annotations

from blendmake.lean.imports import without

with without("pandas"):
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

__all__ = ["ExtraTreesClassifier", "ExtraTreesRegressor"]
