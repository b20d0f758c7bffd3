"""Fold schemes, one module each (`blendmake.folds.SCHEMES`)."""
