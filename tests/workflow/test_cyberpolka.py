"""The campaign of config/cyberpolka.yaml, every family and recipe of it, in a small form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from workflow.conftest import REPO, Workspace, copy_workflow

COMMON = ("target_8_1", "target_3_1", "target_9_6")
ROUNDS = {"mlp": 3, "tabm": 6, "xgb_vector": 20}
AUTOML = Path(
    os.environ.get("BLENDMAKE_LIGHTAUTOML_PYTHON", REPO / ".venv-lightautoml" / "bin" / "python")
)


def small_campaign() -> dict[str, Any]:
    """The shipped campaign on few rows, columns, rounds and targets."""
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


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """The finished campaign, asked for by its name."""
    space = Workspace(copy_workflow(tmp_path_factory.mktemp("campaign") / "work"), small_campaign())
    space.write_config()
    space.snakemake("campaign_final", "campaign_first")
    return space


def test_the_whole_campaign_is_built(campaign: Workspace) -> None:
    items = campaign.config["campaigns"]["final"]
    listed = json.loads(campaign.path("campaigns", "final.json").read_text())
    assert [entry["label"] for entry in listed] == items
    assert {entry["state"] for entry in listed} == {"built"}
    champion = next(entry for entry in listed if entry["label"] == "champion")
    assert champion["macro_auc"] > 0.5 and len(champion["digest"]) == 32
    assert Path(campaign.folder, champion["oof_path"]).exists()


def test_every_source_of_the_campaign_has_learnt_something(campaign: Workspace) -> None:
    campaign.snakemake()
    rows = pq.read_table(campaign.path("leaderboard.parquet")).to_pylist()
    found = {row["name"]: row for row in rows}
    names = {*campaign.config["sources"], *campaign.config["blends"]}
    assert set(found) == names
    # Rare and hard targets of this size leave room for chance; common ones do not.
    sound = [name for name in names if name not in ("rare_bag", "hard_bag", "lama")]
    weak = {name: found[name]["macro_auc"] for name in sound if found[name]["macro_auc"] < 0.51}
    assert not weak
    assert found["champion"]["method"] == "greedy"
    fits = pq.read_table(campaign.path("sources", "rare_bag", "fits.parquet")).to_pylist()
    assert {row["bag"] for row in fits} == set(range(5))
    assert campaign.dry_run().nothing


def test_the_audits_lists_reach_the_features_of_each_fold(campaign: Workspace) -> None:
    columns = pq.read_table(campaign.path("tables", "columns.parquet")).to_pylist()
    main = {row["name"] for row in columns if row["file"] == "main"}
    lists = set()
    for fold in range(3):
        folder = campaign.path("features", "pruned", f"fold{fold}")
        names = set(pq.read_table(folder / "columns.parquet")["name"].to_pylist())
        drops = pq.read_table(campaign.path("audits", "main", f"fold{fold}", "drop.parquet"))
        dropped = {row["feature"] for row in drops.to_pylist() if row["list"] == "signal_only"}
        # The set has every column of the main file, but for the audit.
        assert dropped & main and names & main == main - dropped
        assert not names & dropped
        lists.add(frozenset(dropped))
    assert len(lists) == 3


def test_the_shipped_searches_pass_their_check(campaign: Workspace) -> None:
    text = campaign.snakemake("lint_search").text
    for name in campaign.config["searches"]:
        own = text.split(f"searches.{name}: ")[1].split("\nsearches.")[0]
        assert "error" not in own, own
        # On so few rows deeper trees may be the same trees; bagging must matter all the same.
        assert "space.bagging_temperature" not in own, own
