"""Registry of prediction tasks: by name, the module whose TASK it is.

Modules are imported by name when they are asked for, so that a task that a problem does not have is no
part of what decides its rebuilds.
"""

from __future__ import annotations

TASKS: dict[str, str] = {
    "binary": "blendmake.tasks.binary",
    "multiclass": "blendmake.tasks.multiclass",
    "regression": "blendmake.tasks.regression",
}
AUTO = ("binary", "multiclass", "regression")
"""Tasks that may be told from a column of labels."""
FIRST_METRIC = {"binary": "auc", "multiclass": "log_loss", "regression": "rmse"}
"""By task what choices are made by where the config names no metric (`Task.metric`)."""
