"""From the content of a YAML file to a problem, with messages a person can act on."""

from __future__ import annotations

import copy
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import ValidationError

from blendmake.config.base import Strict, nearest, shown
from blendmake.config.problem import Problem
from blendmake.config.run import Run
from blendmake.config.searches import Search
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES


def load_problem(config: Mapping[str, Any]) -> Problem:
    """Check a config (the content of one YAML file) and fill in its defaults.

    Raises:
        BlendmakeError: one line per mistake, each with the key's path and the nearest known name.
    """
    if not config:
        raise BlendmakeError(
            "No problem is given. Name its config: snakemake --configfile config/yeast.yaml"
        )
    run, config = load_run(config)
    config = _with_champions(_with_rows(run.rows, _with_manifests(config)))
    try:
        return Problem.model_validate(dict(config))
    except ValidationError as error:
        mistakes: list[Any] = error.errors(include_url=False)
    lines = _lines([*mistakes, *_wrong_references(config, mistakes)], Problem)
    name = config.get("problem")
    of = f" of problem {shown(name)}" if name is not None else ""
    raise BlendmakeError(f"The config{of} is wrong:\n" + "\n".join(lines))


RUN_KEYS = {info.alias or name for name, info in Run.model_fields.items()}


def load_run(config: Mapping[str, Any]) -> tuple[Run, dict[str, Any]]:
    """What is said of this run, and the rest, which is the problem.

    Raises:
        BlendmakeError: one line per mistake.
    """
    own = {key: value for key, value in config.items() if key in RUN_KEYS}
    rest = {key: value for key, value in config.items() if key not in own}
    try:
        return Run.model_validate(own), rest
    except ValidationError as error:
        lines = _lines(error.errors(include_url=False), Run)
        raise BlendmakeError(
            "What --config says of this run is wrong:\n" + "\n".join(lines)
        ) from None


def _lines(mistakes: Iterable[Any], model: type[Strict]) -> list[str]:
    """One line per mistake."""
    lines = []
    for mistake in mistakes:
        where, message = _told(mistake, model)
        lines += [f"  {where}: {line}" if where else f"  {line}" for line in message.split("\n")]
    return lines


def _with_rows(rows: int | None, config: dict[str, Any]) -> dict[str, Any]:
    """The same problem on so many generated rows, under a name of its own."""
    data = config.get("data")
    if rows is None or not isinstance(data, Mapping):
        return config
    if not data.get("adapter"):
        raise BlendmakeError("--config rows=… is for generated data sets (data.adapter) only.")
    return {
        **config,
        "problem": f"{config.get('problem', '')}_rows{rows}",
        "data": {**data, "rows": rows},
    }


def _with_manifests(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the external sources that its manifests list.

    Raises:
        BlendmakeError: a manifest is absent or no list of label, oof_path and test_path.
    """
    files, given = config.get("manifests") or [], config.get("external") or {}
    if not isinstance(files, str | list) or not isinstance(given, Mapping):
        return config  # the models say what is wrong
    external = dict(given)
    for file in [files] if isinstance(files, str) else files:
        for entry in _manifest(str(file)):
            label = entry["label"]
            if label in external:
                raise BlendmakeError(f"{file}: there are two external sources '{label}'.")
            external[label] = {"oof": entry["oof_path"], "test": entry["test_path"]}
    return {**config, "external": external} if files else config


def _with_champions(config: dict[str, Any]) -> dict[str, Any]:
    """The config with the champions of its searches among the sources.

    Raises:
        BlendmakeError: a source has the name of a champion.
    """
    searches, given = config.get("searches"), config.get("sources")
    if not isinstance(searches, Mapping) or not isinstance(given, Mapping):
        return config
    sources = dict(given)
    for name, raw in searches.items():
        try:
            search = Search.model_validate(raw)
        except (ValidationError, TypeError):
            continue  # the models say what is wrong
        for champion, (source, rank) in search.champion_names(str(name)).items():
            own_rounds = search.champions is not None and search.champions.rounds is not None
            taken = {"search": name, "rank": rank, "source": source, "own_rounds": own_rounds}
            if champion in given:
                if (given[champion] or {}).get("params_from") == taken:
                    continue  # written out already
                raise BlendmakeError(
                    f"sources.{champion}: a champion of search '{name}' has that name."
                )
            if isinstance(given.get(source), Mapping) and search.champions is not None:
                changed = search.champions.model_dump(exclude={"n"}, exclude_none=True)
                targets = {"targets": search.targets} if search.targets else {}
                own = {**given[source], **targets, **changed, "params_from": taken}
                if "overrides" in own and changed:
                    own["overrides"] = _without_keys(own["overrides"], changed)
                sources[champion] = own
    return {**config, "sources": sources}


def _without_keys(overrides: Any, keys: Iterable[str]) -> Any:
    """Overrides of a source without what a champion sets for all targets."""
    if not isinstance(overrides, Mapping):
        return overrides
    dropped = set(keys)
    return {
        kind: {
            name: {k: v for k, v in one.items() if k not in dropped}
            if isinstance(one, Mapping)
            else one
            for name, one in some.items()
        }
        if isinstance(some, Mapping)
        else some
        for kind, some in overrides.items()
    }


def _manifest(file: str) -> list[dict[str, str]]:
    keys = ("label", "oof_path", "test_path")
    try:
        entries = yaml.safe_load(Path(file).read_text(encoding="utf-8"))  # JSON is YAML too
    except FileNotFoundError:
        raise BlendmakeError(f"manifests: {file} does not exist.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).split("\n")[0]
        raise BlendmakeError(f"manifests: {file} cannot be read: {first}.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise BlendmakeError(f"manifests: {file} must be a list of {', '.join(keys)}.")
    # A campaign's own manifest also lists what has no predictions, or is missing.
    entries = [entry for entry in entries if "oof_path" in entry or "state" not in entry]
    for number, entry in enumerate(entries, 1):
        wrong = [key for key in keys if not isinstance(entry.get(key), str)]
        if wrong:
            raise BlendmakeError(f"manifests: {file}: entry {number} has no '{wrong[0]}'.")
    return entries


# What stands in for a section that is wrong in itself while names are looked up in the others.
STAND_INS: dict[str, dict[str, Any]] = {
    "features": {},
    "sources": {"family": next(iter(FAMILIES))},
    "blends": {"method": "mean", "sources": "all"},
}


def _wrong_references(config: Mapping[str, Any], mistakes: Sequence[Any]) -> list[Any]:
    """Wrong names in a config with other mistakes, so that all are told at once.

    Looked for only if every mistake lies within one feature set, source or blend: elsewhere it
    could be the cause of what is found.
    """
    mended = copy.deepcopy(dict(config))
    for mistake in mistakes:
        section, name = (*mistake["loc"], None, None)[:2]
        if section not in STAND_INS or name is None:
            return []
        mended[section][name] = STAND_INS[section]
    try:
        Problem.model_validate(mended)
    except (ValidationError, TypeError) as error:
        found = error.errors(include_url=False) if isinstance(error, ValidationError) else []
        return [item for item in found if item["type"] == "references"]
    return []


WANTED = {
    "missing": "must be given",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping (key: value)",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "invalid_key": "the key is no text: put it in quotes",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list [a, b]",
    "model_type": "must be a mapping (key: value)",
    "string_type": "must be text: put it in quotes",
    "too_short": "must not be empty",
}
TELLS_ALL = ("missing", "invalid_key", "too_short")  # what was found adds nothing


def _told(mistake: Mapping[str, Any], model: type[Strict]) -> tuple[str, str]:
    """Where a mistake is, and what is wrong, in the user's words rather than pydantic's."""
    path = [str(part) for part in mistake["loc"] if part != "[key]"]
    kind, found = mistake["type"], mistake["input"]
    if "[key]" in mistake["loc"] and not isinstance(found, str):
        # pydantic tells a key that is true by 1.
        path[-1] = str(found)
        kind = "invalid_key"
    if kind == "extra_forbidden":
        *path, key = path
        keys = {*_keys_at(path, model), *(() if path else RUN_KEYS)}
        message = f"unknown key '{key}'; {nearest(key, keys)}"
    elif kind == "literal_error":
        known = re.findall(r"'([^']+)'", mistake["ctx"]["expected"])
        message = f"unknown value {shown(found)}; {nearest(str(found), known)}"
    elif kind in WANTED:
        message = WANTED[kind].format(**mistake.get("ctx", {}))
        message += "" if kind in TELLS_ALL else f"; found {shown(found)}"
    else:
        message = mistake["msg"]
    return ".".join(path), message


def _keys_at(path: Sequence[str], model: type[Strict]) -> Iterable[str]:
    """The keys of the section at `path` below `model`."""
    here: Any = model
    for part in path:
        is_section = isinstance(here, type) and issubclass(here, Strict)
        here = here.model_fields[part].annotation if is_section else get_args(here)[1]
        while get_origin(here) in (Annotated, Union, types.UnionType):
            here = get_args(here)[0]
    keys: Iterable[str] = here.model_fields
    return keys
