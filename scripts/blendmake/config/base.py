"""What all config sections share: names, lists, params, and strictness."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from blendmake.spelling import closest

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint of an error message: the known word nearest to `word`, or all of them."""
    known = sorted(known)
    close = closest(word, known)
    if close is not None:
        return f"did you mean '{close}'?"
    return f"known: {', '.join(known)}" if known else "there are none"


# A file name has 255 bytes at most. The longest are those of comparisons while they are written:
# two names, `__vs__`, the suffix, and the machine (64 bytes) and process that write.
LONGEST_NAME = 80
DEVICES = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]")  # no files on Windows and its shares


def check_name(name: str) -> str:
    if len(name.encode()) > LONGEST_NAME:
        raise PydanticCustomError(
            "name",
            "'{name}…' is not a usable name: {size} bytes long, {longest} at most (file names are made "
            "of two of them)",
            {"name": name[:20], "size": len(name.encode()), "longest": LONGEST_NAME},
        )
    if DEVICES.fullmatch(name):
        raise PydanticCustomError(
            "name",
            "'{name}' is not a usable name: some file systems keep it for a device",
            {"name": name},
        )
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name):
        raise PydanticCustomError(
            "name",
            "'{name}' is not a usable name: lower-case letters and digits, single underscores between",
            {"name": name},
        )
    return name


def as_list(value: Any) -> Any:
    """One text as a list of it; a number or date, which YAML has made of a text, is told."""
    if isinstance(value, int | float | date):
        raise PydanticCustomError(
            "names",
            "must be text, or a list of texts [a, b]: put it in quotes; found {found}",
            {"found": shown(value)},
        )
    return [value] if isinstance(value, str) else value


def _as_files(value: Any) -> Any:
    return {"main": value} if isinstance(value, str) else value


def parse_numbers(value: Any) -> Any:
    """YAML 1.1 reads `1e-7` as text; params mean the number."""
    if isinstance(value, dict):
        return {k: parse_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [parse_numbers(v) for v in value]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value)
    return value


def check_pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise PydanticCustomError(
            "pair", "must be a pair [a, b]; found {found}", {"found": shown(value)}
        )
    return value


def _check_different(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise PydanticCustomError("twice", "'{name}' is named twice", {"name": name})
    return names


def shown(value: Any) -> str:
    """A value as it stands in a message."""
    text = str(value) if isinstance(value, date) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


Name = Annotated[str, AfterValidator(check_name)]
Names = Annotated[list[str], BeforeValidator(as_list, json_schema_input_type=str | list[str])]
NamesOnce = Annotated[Names, Field(min_length=1), AfterValidator(_check_different)]
Files = Annotated[
    dict[Name, str], BeforeValidator(_as_files, json_schema_input_type=str | dict[str, str])
]
Params = Annotated[dict[str, Any], BeforeValidator(parse_numbers)]


class Strict(BaseModel):
    """A config section: unknown keys are errors that name the nearest known key."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: Any) -> Any:
        """A key with nothing behind it is a key left out."""
        if isinstance(data, Mapping):
            return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}
        return {} if data is None else data

    def slice(self) -> dict[str, Any]:
        """The section as jobs are given it: without keys that are not set or hold nothing.

        So a key that is new in the config models, and not used, rebuilds nothing. What a user names
        himself (sources, files, params) stays, whatever it holds.
        """
        kept: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            item = _sliced(getattr(self, name))
            # An empty selection may mean the opposite of none at all.
            means_nothing = item in ({}, []) and field.default is not None
            if item is not None and not means_nothing:
                kept[name] = item
        return kept


def _sliced(value: Any) -> Any:
    if isinstance(value, Strict):
        return value.slice()
    if isinstance(value, dict):
        return {key: _sliced(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_sliced(item) for item in value]
    return value
