"""config/README.md, config/schema.json and config/template.yaml say what the models say."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from blendmake import config_docs
from blendmake.config.loading import load_problem

CONFIG = Path(__file__).resolve().parents[2] / "config"
SHIPPED = sorted(CONFIG.glob("*.yaml"))


def test_the_generated_files_are_in_step() -> None:
    assert (CONFIG / "README.md").read_text() == config_docs.readme(), "run: make docs"
    assert (CONFIG / "schema.json").read_text() == config_docs.schema(), "run: make docs"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    load_problem(content)
    jsonschema.validate(content, json.loads((CONFIG / "schema.json").read_text()))


def test_the_schema_refuses_unknown_keys() -> None:
    content = yaml.safe_load((CONFIG / "yeast.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "blendz": {}}, json.loads(config_docs.schema()))


def test_every_model_is_documented() -> None:
    for title, model in config_docs.SECTIONS:
        assert model.__doc__, title
        for name, info in model.model_fields.items():
            assert info.description, f"{title}: {name}"


@pytest.mark.parametrize(("title", "model"), config_docs.SECTIONS)
def test_the_template_shows_every_key(title: str, model: type[BaseModel]) -> None:
    text = (CONFIG / "template.yaml").read_text()
    for name in (info.alias or name for name, info in model.model_fields.items()):
        assert f"{name}:" in text, f"{title}: {name} is not in template.yaml"
