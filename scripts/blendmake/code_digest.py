"""A digest of the code that makes an artifact: comments and docstrings left out, imports followed."""

from __future__ import annotations

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

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
    for part in sorted(_tokens_digest(file) for file in imported_files(files, root)):
        digest.update(part.encode())
    return digest.hexdigest()


def imported_files(files: Iterable[Path], root: Path) -> set[Path]:
    """Every project module that `files` reach by imports, themselves included."""
    found: set[Path] = set()
    waiting = [Path(file).resolve() for file in files]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += _imports(file, Path(root).resolve())
    return found


@cache
def _imports(file: Path, root: Path) -> tuple[Path, ...]:
    modules: list[Path] = []
    for node in ast.walk(_tree(file)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # `from package import name` may mean a module or something in one.
            module = _origin(node, file, root)
            inner = [f"{module}.{alias.name}" for alias in node.names]
            as_modules = [name for name in inner if _file(name, root)]
            names = as_modules if len(as_modules) == len(inner) else [*as_modules, module]
        modules += [path for name in names if (path := _file(name, root))]
    return tuple(modules)


def _origin(node: ast.ImportFrom, file: Path, root: Path) -> str:
    """The module that an import names, dots of a relative one resolved."""
    if not node.level:
        return node.module or ""
    folder = file.parents[node.level - 1].relative_to(root)
    return ".".join([*folder.parts, *([node.module] if node.module else [])])


def _file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), str(file))


@cache
def _tokens_digest(file: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for token in _tokens(file.read_text(encoding="utf-8"), _docstring_starts(_tree(file))):
        digest.update(token.encode() + b"\0")
    return digest.hexdigest()


def _docstring_starts(tree: ast.Module) -> set[tuple[int, int]]:
    starts = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                starts.add((first.lineno, first.col_offset))
    return starts


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
