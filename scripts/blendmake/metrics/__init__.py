"""Registry of metrics: by name, the module whose METRICS makes it.

Modules are imported by name when they are asked for (`finding.find_metric`), as families and tasks are.
"""

from __future__ import annotations

METRICS: dict[str, str] = {
    "auc": "blendmake.metrics.ranking",
    "auc_fold_mean": "blendmake.metrics.ranking",
    "average_precision": "blendmake.metrics.ranking",
    "spearman": "blendmake.metrics.ranking",
    "brier": "blendmake.metrics.probability",
    "log_loss": "blendmake.metrics.probability",
    "accuracy": "blendmake.metrics.classes",
    "balanced_accuracy": "blendmake.metrics.classes",
    "rmse": "blendmake.metrics.errors",
    "mae": "blendmake.metrics.errors",
    "r2": "blendmake.metrics.errors",
}
DEFAULTS = (
    "blendmake.metrics.ranking",
    "blendmake.metrics.probability",
    "blendmake.metrics.classes",
    "blendmake.metrics.errors",
)
"""Modules of the metrics that tasks have where a config names none."""
