"""The workflow's folder as a budget sees it: what may be fitted, what stands, what is written out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import budget_shop
from blendmake.budget.scheduler import Choice
from blendmake.presets import expand, read_preset, write_preset
from blendmake.tables.facts import Facts
from budget_fallback import Fallback
from budget_shop import Shop

ASKED = {"preset": "quick", "budget": 60.0, "folds": 2}
SHAPE = Facts(1000, 10, 2, (300, 200), 1.0, 20)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A results folder in which nothing stands but the tables."""
    monkeypatch.setattr(budget_shop, "facts_of_tables", lambda _: SHAPE)
    write_preset(tmp_path / "preset.json", {"asked": ASKED, **expand("quick", SHAPE, 60.0)})
    told = facts(tmp_path)
    return Shop(told, Fallback(told, "code", tmp_path / "budget.log", 0.0), 1e12)


def facts(folder: Path) -> dict[str, Any]:
    return {
        "rules": "",
        "results": str(folder),
        "scratch": str(folder / "scratch"),
        "preset_file": str(folder / "preset.json"),
        "asked": ASKED,
        "seconds": 60.0,
        "folds": 2,
        "own": {"mine": {"family": "lightgbm", "targets": ["all"]}},
        "submissions": {},
        "grounds": {"mlp": [str(folder / "inner.parquet")]},
        "log": str(folder / "budget.log"),
    }


def stand(shop: Shop, *names: str) -> None:
    for name in names:
        path = shop.results / "sources" / name / "oof.parquet"
        path.parent.mkdir(parents=True)
        path.touch()
    whole = [*shop.preset["whole"], *names]
    left = {k: v for k, v in shop.preset["left"].items() if k not in names}
    shop.preset = {**shop.preset, "whole": whole, "left": left}


def names(shop: Shop, further: bool = False) -> list[str]:
    return [one.name for one in shop.candidates() if one.further == further]


def test_candidates_are_the_ladder_then_ones_own_then_the_ladder_again(shop: Shop) -> None:
    assert names(shop) == ["vector", "logistic", "lightgbm", "mine", "vector_long", "lightgbm_long"]
    assert names(shop, further=True) == []
    stand(shop, "vector", "logistic", "vector_long")
    assert names(shop) == ["lightgbm", "mine", "lightgbm_long"]
    # Another seed of what chance has a part in.
    assert names(shop, further=True) == ["vector_2", "vector_long_2"]


def test_another_seed_is_written_out_when_it_is_chosen(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop, "_run", lambda targets: targets)
    stand(shop, "vector", "logistic")
    chosen = next(one for one in shop.candidates() if one.further)
    assert shop.progress(chosen.name) == 0.0
    shop.fit(Choice(chosen, 1.0, 10.0), ["vector", "logistic", chosen.name])
    found = read_preset(shop.preset_file, ASKED)
    assert found is not None and chosen.name == "vector_2"
    assert found["sources"]["vector_2"] == found["sources"]["vector"]
    assert found["campaigns"]["quick"][-2:] == ["vector_2", "champion"]
    assert shop.progress("vector_2") == 0.0  # what was begun has nothing yet
    # Should it not end, it comes after the ladder the next time.
    assert names(shop)[-1] == "vector_2" and names(shop)[0] == "lightgbm"
    stand(shop, "vector_2")
    assert names(shop, further=True) == ["vector_3"]


def test_what_a_source_reads_beside_the_tables_is_built_once(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop, "_run", lambda targets: targets)
    inner = shop.facts["grounds"]["mlp"]
    assert shop.ground_of("vector") is None
    assert shop.ground_of("mlp") == inner == shop.ground_of("mlp_4")
    Path(inner[0]).touch()
    assert shop.ground_of("mlp") is None and shop.ground_of("mlp_4") is None


def test_a_source_that_is_dropped_is_offered_only_where_none_stands(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[str] = []
    monkeypatch.setattr(shop.fallback, "offer", offered.append)
    shop.preset = {**shop.preset, "whole": ["vector"]}
    shop.drop("vector", ["vector"])
    shop.preset = {**shop.preset, "whole": ["vector", "logistic"]}
    shop.drop("logistic", ["vector", "logistic"])
    assert offered == ["vector"]
    assert json.loads(shop.preset_file.read_text())["left"]["logistic"] == "unfinished"


def test_how_crowded_the_machine_is_is_told_by_what_this_process_has_waited(shop: Shop) -> None:
    assert 1.0 <= shop.crowding() < np.inf
