"""The campaign of config/cyberpolka.yaml on few rows, columns, rounds and targets."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

REPO = Path(__file__).resolve().parents[1]
COMMON = ("target_8_1", "target_3_1", "target_9_6")
ROUNDS = {"mlp": 3, "tabm": 6, "xgb_vector": 20}
AUTOML = Path(
    os.environ.get("BLENDMAKE_LIGHTAUTOML_PYTHON", REPO / ".venv-lightautoml" / "bin" / "python")
)


def small_campaign() -> dict[str, Any]:
    """Its config, without LightAutoML where that is not installed."""
    config: dict[str, Any] = yaml.safe_load((REPO / "config" / "cyberpolka.yaml").read_text())
    config["data"] |= {"rows": 1500, "test_rows": 400, "extra_columns": 25}
    config["folds"]["n"] = 3
    config["groups"]["rare"] = {"rarest": 2}
    config["groups"]["hard"]["lowest_auc"] = 1
    for features in config["features"].values():
        for selection in features["files"].values():
            if "top_variance" in selection:
                selection["top_variance"] = 8
        if "svd" in features:
            features["svd"]["components"] = 4
        if "select" in features:
            features["select"] |= {"top": 10, "cap": 60}
    for name, source in config["sources"].items():
        # One source covers all targets: a submission must.
        if source.get("targets") not in ("rare", "hard") and name != "logistic":
            source["targets"] = [*COMMON, "rare"] if name == "lgb" else list(COMMON)
        if "rounds" in source:
            source["rounds"] = ROUNDS.get(name, 12)
    for search in config["searches"].values():
        search.pop("targets", None)
    config["sources"]["lama"]["params"]["timeout"] = 5
    config["sources"]["lama"]["python"] = str(AUTOML)
    config["sources"]["tabm"]["params"] = {"d_block": 16, "k": 4, "num_embeddings": "none"}
    config["audits"]["main"] |= {
        "rows": 1000,
        "shortlist": 6,
        "rounds": 20,
        "targets": list(COMMON),
    }
    if not AUTOML.exists():
        del config["sources"]["lama"]
        config["comparisons"] = [pair for pair in config["comparisons"] if "lama" not in pair]
    return config
