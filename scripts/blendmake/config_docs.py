"""Generates config/README.md and config/schema.json from the config models.

Run: `make docs`. A test fails if the files are not what the models say.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from blendmake.config.audits import Audit
from blendmake.config.blends import Blend, LeaderboardScore, Rename, Submissions
from blendmake.config.data import Categories, Csv, Data, GroupsFile, TargetsFile
from blendmake.config.external import External
from blendmake.config.features import (
    AuditList,
    FeatureSet,
    Quantise,
    Select,
    Selection,
    Svd,
    TargetEncoding,
)
from blendmake.config.folds import Folds
from blendmake.config.groups import Group
from blendmake.config.problem import Problem
from blendmake.config.run import Run
from blendmake.config.searches import Champions, Criteria, Search
from blendmake.config.sources import (
    Bagging,
    EarlyStopping,
    Override,
    Overrides,
    ParamsFrom,
    Source,
)

SECTIONS: tuple[tuple[str, type[BaseModel]], ...] = (
    ("The problem", Problem),
    ("data", Data),
    ("data.targets", TargetsFile),
    ("data.groups", GroupsFile),
    ("data.csv", Csv),
    ("data.categories", Categories),
    ("folds", Folds),
    ("features.&lt;name&gt;", FeatureSet),
    ("features.&lt;name&gt;.files.&lt;file&gt;", Selection),
    ("features.&lt;name&gt;.quantise", Quantise),
    ("features.&lt;name&gt;.svd", Svd),
    ("features.&lt;name&gt;.target_encoding", TargetEncoding),
    ("features.&lt;name&gt;.select", Select),
    ("features.&lt;name&gt;.audit", AuditList),
    ("groups.&lt;name&gt;", Group),
    ("sources.&lt;name&gt;", Source),
    ("sources.&lt;name&gt;.early_stopping", EarlyStopping),
    ("sources.&lt;name&gt;.bagging", Bagging),
    ("sources.&lt;name&gt;.params_from", ParamsFrom),
    ("sources.&lt;name&gt;.overrides", Overrides),
    ("sources.&lt;name&gt;.overrides.groups.&lt;group&gt;, …targets.&lt;target&gt;", Override),
    ("external.&lt;name&gt;", External),
    ("blends.&lt;name&gt;", Blend),
    ("submissions", Submissions),
    ("submissions.rename", Rename),
    ("submissions.scores.&lt;name&gt;", LeaderboardScore),
    ("audits.&lt;name&gt;", Audit),
    ("searches.&lt;name&gt;", Search),
    ("searches.&lt;name&gt;.champions", Champions),
    ("searches.&lt;name&gt;.criteria", Criteria),
    ("This run: `snakemake --config key=value`", Run),
)

HEAD = """# Config reference

Generated from the config models (`make docs`); [template.yaml](template.yaml) shows every key in
place, and `schema.json` gives editors completion and checks: begin a config with
`# yaml-language-server: $schema=schema.json`.

One YAML file is one problem. Unknown keys are errors that name the nearest known key.
"""


def readme() -> str:
    """The text of config/README.md."""
    return "\n".join([HEAD, *_sections()])


def schema() -> str:
    """The text of config/schema.json."""
    return json.dumps(Problem.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def _sections() -> Iterator[str]:
    for title, model in SECTIONS:
        yield f"## {title}\n\n{inspect.cleandoc(model.__doc__ or '')}\n"
        yield "| key | type | default | meaning |"
        yield "| --- | --- | --- | --- |"
        for name, info in model.model_fields.items():
            meaning = (info.description or "").replace("|", "\\|")
            yield f"| `{info.alias or name}` | {_type(info.annotation)} | {_default(info)} | {meaning} |"
        yield ""


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "required"
    value = info.default
    if value is PydanticUndefined or isinstance(value, BaseModel) or value in (None, [], {}):
        return "–"
    return f"`{json.dumps(value)}`"


def _type(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _type(args[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_type(arg) for arg in args if arg is not type(None))
    if origin is list:
        return f"list of {_type(args[0])}"
    if origin is tuple:
        return "[" + ", ".join(_type(arg) for arg in args) + "]"
    if origin is dict:
        return f"mapping of {_type(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return {str: "text", int: "whole number", float: "number", bool: "true, false", Any: "any"}.get(
        annotation, str(annotation)
    )


def write_docs(folder: Path) -> None:
    """Write README.md and schema.json into `folder`."""
    (folder / "README.md").write_text(readme(), encoding="utf-8")
    (folder / "schema.json").write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    write_docs(Path(sys.argv[1]))
