"""A digest of the code that makes an artifact: comments and docstrings left out, imports followed."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import json
import os
import sys
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from blendmake.errors import BlendmakeError

MOST_KNOWN = 2000
SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER}
# Python 3.12 splits f-strings into tokens; taken whole they read alike in every version.
FSTRING_START = getattr(tokenize, "FSTRING_START", -1)
FSTRING_END = getattr(tokenize, "FSTRING_END", -1)


def code_digest(files: Iterable[Path], root: Path) -> str:
    """Digest of some Python files and of every module of the project that they import (hex).

    Imports are followed transitively and wherever they stand, inside functions too. A package's
    `__init__` counts only where it is imported by name: implicit ones hold registries.

    Args:
        files: scripts or modules.
        root: the folder that project modules are imported from.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in sorted(_facts(file).digest for file in imported_files(files, root)):
        digest.update(part.encode())
    return digest.hexdigest()


def imported_files(files: Iterable[Path], root: Path) -> set[Path]:
    """Every project module that `files` reach by imports, themselves included."""
    found: set[Path] = set()
    root = Path(root).resolve()
    waiting = [Path(file).resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imports(file, root)
    return found


@cache
def _imports(file: Path, root: Path) -> tuple[Path, ...]:
    modules: list[Path] = []
    for level, module, names in _facts(file).imports:
        if level is None:
            found = list(names)
        else:
            # `from package import name` may mean a module or something in one.
            package = origin(level, module, file, root) or ""
            inner = [f"{package}.{name}" for name in names]
            as_modules = [name for name in inner if _file(name, root)]
            found = as_modules if len(as_modules) == len(inner) else [*as_modules, package]
        modules += [path for name in found if (path := _file(name, root))]
    return tuple(modules)


def origin(level: int, module: str, file: Path, root: Path) -> str | None:
    """The module that an import names, dots of a relative one resolved; None above the root."""
    if not level:
        return module
    folder = file.parents[level - 1] if level <= len(file.parents) else Path("/")
    if not folder.is_relative_to(root):
        return None
    return ".".join([*folder.relative_to(root).parts, *([module] if module else [])])


@cache
def _file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


class Facts(NamedTuple):
    """What a file's text tells, wherever it stands.

    Attributes:
        digest: of its tokens.
        imports: level, module and names of each import; of a plain one the level is None.
        named: what `import_module` and `__import__` are given as a text.
    """

    digest: str
    imports: list[tuple[int | None, str, list[str]]]
    named: list[str]


def _hex(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class _Known:
    """Facts of texts that were read before, by digest of the text, in a file beside the bytecode.

    Reading a hundred modules anew would take most of the time in which Snakemake has nothing to do.
    """

    def __init__(self) -> None:
        # Another reader of code has other facts.
        own = hashlib.blake2b(Path(__file__).read_bytes(), digest_size=8).hexdigest()
        folder = Path(__file__).parent / "__pycache__"
        self._path = folder / f"facts.{sys.implementation.cache_tag}-{own}.json"
        self._facts: dict[str, Any] = {}
        self._new = False
        self._read()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            digest, _, text = self._path.read_text(encoding="utf-8").partition("\n")
            if digest == _hex(text):  # a damaged one would give other digests: all would be stale
                self._facts = json.loads(text)

    def of(self, text: bytes, file: Path) -> Facts:
        key = hashlib.blake2b(text, digest_size=16).hexdigest()
        if key not in self._facts:
            self._facts[key] = _read_facts(_decoded(text), file)
            self._new = True
        return Facts(*self._facts[key])

    def keep(self) -> None:
        if not self._new or sys.dont_write_bytecode:
            return
        kept = dict(list(self._facts.items())[-MOST_KNOWN:])
        # As with bytecode: where it cannot be written, it is made again.
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            part = self._path.with_suffix(f".{os.getpid()}.part")
            text = json.dumps(kept)
            part.write_text(f"{_hex(text)}\n{text}", encoding="utf-8")
            part.replace(self._path)
        self._new = False


@cache
def _known() -> _Known:
    return _Known()


def keep_known() -> None:
    """Keep what was read of files for later runs."""
    _known().keep()


def facts_of(file: Path) -> Facts:
    """What a Python file tells as it stands now.

    Raises:
        BlendmakeError: it cannot be read, or is no Python.
    """
    try:
        return _known().of(file.read_bytes(), file)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        raise BlendmakeError(f"{file}{line}: {error.msg}. Correct the file.") from None
    except (UnicodeDecodeError, tokenize.TokenError, RecursionError, ValueError) as error:
        raise BlendmakeError(f"{file} is no Python file: {error}. Correct it.") from None
    except OSError as error:
        raise BlendmakeError(f"{file} cannot be read: {error.strerror}.") from None


def _decoded(text: bytes) -> str:
    """A source text, in the encoding that it names."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(text).readline)
    return text.decode(encoding)


_facts = cache(facts_of)


def _read_facts(text: str, file: Path) -> Facts:
    text = io.StringIO(text, newline=None).read()  # as a text file is read
    imports: list[tuple[int | None, str, list[str]]] = []
    named: list[str] = []
    docstrings: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(text, str(file))):
        if isinstance(node, ast.Import):
            imports.append((None, "", [alias.name for alias in node.names]))
        elif isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            imports.append((node.level, node.module or "", names))
        elif isinstance(node, ast.Call) and node.args:
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            name = getattr(node.args[0], "value", None)
            if called in ("import_module", "__import__") and isinstance(name, str):
                named.append(name)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstrings |= _docstring_start(node)
    digest = hashlib.blake2b(digest_size=16)
    for token in _tokens(text, docstrings):
        digest.update(token.encode() + b"\0")
    return Facts(digest.hexdigest(), imports, named)


def _docstring_start(
    node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef,
) -> set[tuple[int, int]]:
    first = node.body[0] if node.body else None
    if (
        isinstance(first, ast.Expr)
        and isinstance(first.value, ast.Constant)
        and isinstance(first.value.value, str)
    ):
        return {(first.lineno, first.col_offset)}
    return set()


def _tokens(text: str, docstrings: set[tuple[int, int]]) -> Iterator[str]:
    lines = io.StringIO(text).readlines()
    depth, start = 0, (0, 0)
    after_docstring = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == FSTRING_START:
            depth += 1
            start = token.start if depth == 1 else start
        elif token.type == FSTRING_END:
            depth -= 1
            if depth == 0:
                yield _between(lines, start, token.end)
        elif depth or token.type in SILENT:
            continue
        elif token.type == tokenize.STRING and token.start in docstrings:
            after_docstring = True
        elif token.type == tokenize.NEWLINE and after_docstring:
            after_docstring = False
        elif token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE):
            yield tokenize.tok_name[token.type]
        else:
            yield token.string


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    middle = lines[start[0] : end[0] - 1]
    return "".join([lines[start[0] - 1][start[1] :], *middle, lines[end[0] - 1][: end[1]]])
