"""Config files as they are written: checked node by node, with one message per mistake.

Snakemake reads the files too, and hands on what YAML 1.1 makes of them: `NO` is false, `0x1F` is 31, a
key given twice counts once. Here each is read again: what is lost is told, what must be text is text.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from blendmake.errors import BlendmakeError

# Keys below `data` whose scalars are values of the user's tables: text as written.
WRITTEN = frozenset({"positive", "missing", "levels"})

COLLECTIONS = frozenset({"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
UNTAG = "take out the word that begins with `!`"
MOST_BYTES = 20_000_000
MOST_DEPTH = 60
MOST_NODES = 1_000_000  # aliases counted as often as they are named


def read_config(path: str | Path) -> dict[str, Any]:
    """The content of one config file (YAML or JSON), values of the user's tables as they are written.

    Raises:
        BlendmakeError: with file, line, what is wrong there, and the mend.
    """
    return _read(Path(path))[1]


def as_written(config: Mapping[str, Any], files: Iterable[str | Path]) -> dict[str, Any]:
    """A config that was put together from files, values of the user's tables as the files have them.

    Args:
        config: what Snakemake made of the files and of --config.
        files: the files, each one's keys going before those of the ones before it.

    Raises:
        BlendmakeError: as `read_config`.
    """
    plain: dict[str, Any] = {}
    text: dict[str, Any] = {}
    for file in files:
        read, written = _read(Path(file))
        if "__use_yte__" in read:
            return dict(config)  # a template: only what it was filled with is a config
        _update(plain, read)
        _update(text, written)
    data = config.get("data")
    if not isinstance(data, Mapping):
        return dict(config)
    return {**config, "data": _replaced(data, plain.get("data"), text.get("data"))}


def _update(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    """Put one config over another, mappings key by key, as Snakemake does."""
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _update(below[key], value)
        elif isinstance(value, Mapping):
            below[key] = {}
            _update(below[key], value)
        else:
            below[key] = value


def _replaced(value: Mapping[str, Any], plain: Any, text: Any) -> dict[str, Any]:
    """`value` with `text` where a key is WRITTEN; what --config has set stays."""
    new = dict(value)
    if not isinstance(plain, Mapping) or not isinstance(text, Mapping):
        return new
    for key, item in value.items():
        if key in WRITTEN:
            if repr(_plain(item)) == repr(_plain(plain.get(key))):
                new[key] = text.get(key)
        elif isinstance(item, Mapping):
            new[key] = _replaced(item, plain.get(key), text.get(key))
    return new


def _plain(value: Any) -> Any:
    """Mappings and lists of whatever class as dict and list."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


# One file


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What Snakemake makes of a file, and the same with text as written."""
    text = _text(path)
    if text.lstrip("\ufeff \t\r\n").startswith("{"):
        found = _read_json(path, text)
        if found is not None:
            return found
    _check_nesting(path, text)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise _told(path, text, error) from None
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value):
        raise _wrong(path, None, "is empty", "begin with `problem: <name>`")
    if not isinstance(node, yaml.MappingNode):
        what = "is no mapping but " + ("a list" if isinstance(node, yaml.SequenceNode) else "text")
        raise _wrong(path, node, what, "write `key: value` lines, `problem: <name>` first")
    _check_nodes(path, node)
    try:
        return _Made(path, False).make(node), _Made(path, True).make(node, at_top=True)
    except yaml.YAMLError as error:
        raise _told(path, text, error) from None


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise _wrong(path, None, "is a folder", "name the config file in it")
        if path.stat().st_size > MOST_BYTES:
            raise _wrong(
                path,
                None,
                f"is no config: it has {path.stat().st_size // 1_000_000} MB",
                "name artifacts before --configfile",
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise _wrong(path, None, "does not exist", _beside(path)) from None
    except OSError as error:
        raise _wrong(path, None, f"cannot be read ({error.strerror})", "make it readable") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _wrong(path, None, "is UTF-16 text", f"save it as UTF-8: {_recode(path, 'utf-16')}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"is not UTF-8 (byte 0x{content[error.start]:02x})"
        raise _wrong(path, line, what, f"save it as UTF-8: {_recode(path, 'cp1252')}") from None


def _recode(path: Path, encoding: str) -> str:
    return f"iconv -f {encoding} -t utf-8 {path} > new.yaml && mv new.yaml {path}"


def _beside(path: Path) -> str:
    """The mend for a config that is not there: the nearest that is."""
    from blendmake.config.base import nearest

    folders = [path.parent, Path("config")]
    there = {str(found) for folder in folders for found in folder.glob("*.y*ml")}
    named = {Path(found).name: found for found in sorted(there)}
    hint = nearest(path.name, named)
    for name, found in named.items():
        hint = hint.replace(f"'{name}'", f"'{found}'")
    return hint if named else "write one, config/template.yaml has every key"


def _check_nesting(path: Path, text: str) -> None:
    """Refuse what is nested too deeply before anything recurses into it."""
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > MOST_DEPTH:
                    what = f"is nested more than {MOST_DEPTH} levels deep"
                    raise _wrong(path, event, what, "close the brackets that stay open")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
    except yaml.YAMLError as error:
        raise _told(path, text, error) from None


def _check_nodes(path: Path, root: yaml.Node) -> None:
    """Refuse keys given twice, what refers to itself, and aliases that unfold without end."""
    measured: dict[int, tuple[int, int]] = {}
    open_: set[int] = set()

    def measure(node: yaml.Node) -> tuple[int, int]:
        """How many nodes stand at and below one, and in how many levels."""
        if id(node) in open_:
            raise _wrong(path, node, "refers to itself", "take its own `*` alias out of it")
        if id(node) not in measured:
            open_.add(id(node))
            if isinstance(node, yaml.MappingNode):
                _check_keys(path, node)
            if isinstance(node, yaml.CollectionNode) and node.tag not in COLLECTIONS:
                raise _wrong(path, node, f"has a tag that no config takes ({node.tag})", UNTAG)
            below = [measure(child) for child in _children(node)]
            open_.discard(id(node))
            size, depth = 1 + sum(n for n, _ in below), 1 + max((d for _, d in below), default=0)
            if size > MOST_NODES or depth > MOST_DEPTH + 1:
                unfolded = f"{MOST_NODES:,} values" if size > MOST_NODES else f"{MOST_DEPTH} levels"
                what = f"unfolds to more than {unfolded} through its `*` aliases"
                raise _wrong(path, node, what, "write the values out, or name fewer")
            measured[id(node)] = size, depth
        return measured[id(node)]

    measure(root)


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from (key, value)
    elif isinstance(node, yaml.SequenceNode):
        yield from node.value


def _check_keys(path: Path, node: yaml.MappingNode) -> None:
    first: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _wrong(path, key, "has a list or mapping as a key", "put the key in quotes")
        if key.value in first and key.tag != "tag:yaml.org,2002:merge":
            what = f"has the key '{key.value}' twice (first in line {first[key.value]})"
            raise _wrong(path, key, what, "keep one of the two")
        first[key.value] = key.start_mark.line + 1


class _Made:
    """Values of nodes.

    Args:
        path: the file, for messages.
        written: whether scalars below WRITTEN keys are text as written; else as YAML 1.1 has them.
    """

    def __init__(self, path: Path, written: bool) -> None:
        self.path, self.written = path, written
        self.constructor = yaml.SafeLoader("")

    def make(self, node: yaml.Node, at_top: bool = False, below_data: bool = False) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self.make(item, below_data=below_data) for item in node.value]
        if not isinstance(node, yaml.MappingNode):
            return self._value(node)
        self.constructor.flatten_mapping(node)
        made = {}
        for key_node, value in node.value:
            key = self._value(key_node)
            if below_data and key in WRITTEN:
                made[key] = _scalars(value, key)
            else:
                data = below_data or (self.written and at_top and key == "data")
                made[key] = self.make(value, below_data=data)
        return made

    def _value(self, node: yaml.Node) -> Any:
        """What a scalar is; a date of month 13, say, is none, though it looks like one."""
        try:
            return self.constructor.construct_object(node, deep=True)
        except (ValueError, OverflowError, TypeError) as error:
            what = f"has `{node.value}`, which cannot be read ({error})"
            raise _wrong(self.path, node, what, "put it in quotes") from None


def _scalars(node: yaml.Node, key: Any = None) -> Any:
    """The text of scalars, in lists and mappings as they stand; None for a key without a value."""
    if isinstance(node, yaml.SequenceNode):
        return [_scalars(item) for item in node.value]
    if isinstance(node, yaml.MappingNode):
        yaml.SafeLoader("").flatten_mapping(node)
        return {name.value: _scalars(value, name) for name, value in node.value}
    return None if key is not None and not node.value and node.style is None else node.value


# Messages


def _wrong(path: Path, where: Any, what: str, mend: str) -> BlendmakeError:
    """The one message: file, line, what is wrong, the mend.

    Args:
        where: a node, an event or a mark of YAML, a line's number, or None for the file as a whole.
    """
    mark = getattr(where, "start_mark", where)
    line = mark if mark is None or isinstance(mark, int) else mark.line + 1
    place = f"{path}, line {line}," if line else f"{path}"
    return BlendmakeError(f"{place} {what}: {mend}{'' if mend.endswith('?') else '.'}")


def _told(path: Path, text: str, error: yaml.YAMLError) -> BlendmakeError:
    """A mistake in the YAML itself, in a user's words."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return _wrong(
            path, line, "holds a character that is no text", "delete it (it may be invisible)"
        )
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = str(getattr(error, "problem", error))
    if mark is None:
        return _wrong(path, None, f"is no YAML ({problem})", "see config/template.yaml")
    lines = text.split("\n")
    found = lines[mark.line] if mark.line < len(lines) else ""
    here = found[mark.column : mark.column + 1]
    opened = getattr(error, "context_mark", None)
    what, mend = _explained(problem, found, here, opened, lines[: mark.line])
    return _wrong(path, mark, what, mend)


def _explained(
    problem: str, line: str, here: str, opened: yaml.Mark | None, before: Sequence[str]
) -> tuple[str, str]:
    """What a scanner's or parser's complaint means, and the mend."""
    indent = line[: len(line) - len(line.lstrip())]
    above = next((one for one in reversed(before) if one.strip()), "")
    odd = next((c for c in f"{above}\n{line}" if c.isspace() and c not in " \t\r\n"), None)
    if odd is not None:
        name = unicodedata.name(odd, f"U+{ord(odd):04X}").lower()
        return f"has an odd space here or above ({name})", "put plain spaces in its place"
    if here == "\t" or "\t" in indent or "\\t" in problem:
        return "is indented with a tab, which YAML does not allow", "use spaces"
    if here == ",":
        return "has a comma too many", "delete it"
    if "',' or ']'" in problem or "',' or '}'" in problem:
        bracket = "[" if "]" in problem else "{"
        where = f"`{bracket}` of line {opened.line + 1}" if opened else f"`{bracket}`"
        return (
            f"has a {where} that is not closed here",
            "close it, or put a comma between the values",
        )
    if "mapping values are not allowed" in problem:
        return "has a `: ` where no key can be", (
            "put text that holds `: ` in quotes, and indent keys of one level alike"
            if above
            else "put text that holds `: ` in quotes"
        )
    if "could not find expected ':'" in problem or "expected <block end>" in problem:
        return "has a line that is no `key: value` of its level", (
            "indent keys of one level alike, write `key: value`, and close quotes and brackets above"
        )
    if "undefined alias" in problem:
        return f"has an alias without its anchor ({problem})", "define it above with `&`"
    if "another document" in problem:
        return "begins a second document with `---`", "keep one document in a file"
    if "tag:yaml.org,2002:value" in problem:
        return "has a `=` that stands alone", "put it in quotes"
    if "constructor for the tag" in problem:
        return (
            f"has a tag that no config takes ({problem.split('tag', 1)[1].strip()})",
            UNTAG,
        )
    if "quoted scalar" in str(problem) or "unexpected end of stream" in problem:
        where = f" of line {opened.line + 1}" if opened else ""
        return f"ends inside a quote{where}", "close the quote"
    if here in "@`%*&!|>" and here:
        return f"has text that begins with `{here}`", "put it in quotes"
    return f"is no YAML here ({problem})", "put the text in quotes, or mend the line above"


# JSON, which Snakemake tries first


def _read_json(path: Path, text: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The same of a file that is JSON; None where it is not."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) < len(found):
            names = [key for key, _ in found]
            twice = next(name for name in names if names.count(name) > 1)
            raise _wrong(path, None, f"has the key '{twice}' twice", "keep one of the two")
        return made

    try:
        plain = json.loads(text, object_pairs_hook=pairs)
        # Numbers as they are written are told from texts by their class only here.
        text_of = json.loads(text, parse_int=str, parse_float=str, object_pairs_hook=pairs)
    except RecursionError:
        what = f"is nested more than {MOST_DEPTH} levels deep"
        raise _wrong(path, None, what, "close the brackets that stay open") from None
    except ValueError:
        return None
    data = plain.get("data")
    if isinstance(data, Mapping):
        return plain, {**plain, "data": _json_written(data, text_of["data"])}
    return plain, plain


def _json_written(plain: Mapping[str, Any], text: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _json_text(text[key])
        if key in WRITTEN
        else _json_written(value, text[key])
        if isinstance(value, Mapping)
        else value
        for key, value in plain.items()
    }


def _json_text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _json_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json_text(item) for item in value]
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else value
