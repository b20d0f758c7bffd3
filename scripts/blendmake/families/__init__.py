"""The registry of model families: a family is one module here and one line below.

The registry names modules without importing them: a job imports its own family's libraries only,
and a change in one family is no change to the others.
"""

from __future__ import annotations

FAMILIES: dict[str, str] = {
    "catboost": "blendmake.families.catboost",
    "extra_trees": "blendmake.families.extra_trees",
    "lightgbm": "blendmake.families.lightgbm",
    "linear": "blendmake.families.linear",
    "xgboost": "blendmake.families.xgboost",
}
