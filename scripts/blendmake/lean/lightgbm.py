"""LightGBM without its wrappers for scikit-learn."""

from __future__ import annotations

from blendmake.lean.imports import without

with without("sklearn", "pandas"):
    import lightgbm as lgb

__all__ = ["lgb"]
