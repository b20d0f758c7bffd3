"""The registry of fold schemes: a scheme is one module here and one line below.

The registry names modules without importing them, so that a new scheme is no change to the folds of
the others.
"""

from __future__ import annotations

SCHEMES: dict[str, str] = {
    "stratified": "blendmake.folds.schemes.stratified",
    "group": "blendmake.folds.schemes.group",
    "kfold": "blendmake.folds.schemes.kfold",
    "column": "blendmake.folds.schemes.column",
}
