"""The registry of model families: a family is one module here and one line below.

The registry names modules without importing them: a job imports its own family's libraries only,
and a change in one family is no change to the others.
"""

from __future__ import annotations

FAMILIES: dict[str, str] = {
    "catboost": "blendmake.families.catboost",
    "custom": "blendmake.families.custom",
    "extra_trees": "blendmake.families.extra_trees",
    "lightautoml": "blendmake.families.lightautoml",
    "lightgbm": "blendmake.families.lightgbm",
    "linear": "blendmake.families.linear",
    "mlp": "blendmake.families.mlp",
    "tabm": "blendmake.families.tabm",
    "xgboost": "blendmake.families.xgboost",
    "xgboost_vector": "blendmake.families.xgboost_vector",
}
# Those that fit one model for all targets of a task, those that run in an interpreter of their own,
# those that tell the metric on the rows that early stopping watches, and those that tell it amid a fit:
# what the config may say follows from it. Those ON_GPU can use one.
JOINT = frozenset({"custom", "mlp", "tabm", "xgboost_vector"})
FOREIGN = frozenset({"custom", "lightautoml"})
WATCHING = frozenset({"catboost", "lightgbm", "mlp", "tabm", "xgboost", "xgboost_vector"})
REPORTING = frozenset({"catboost", "lightgbm", "mlp", "tabm", "xgboost", "xgboost_vector"})
ON_GPU = frozenset({"catboost", "mlp", "tabm", "xgboost", "xgboost_vector"})
