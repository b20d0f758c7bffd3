"""A digest of the user's code: a Python file, and what Python would import with it from its folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from blendmake.code_digest import Facts, facts_of, origin
from blendmake.errors import BlendmakeError


def user_digest(file: Path) -> str:
    """Digest of a file and of every module beside it that it imports, as they stand now (hex).

    The folder is that of the file itself, behind a symlink, as it is when it runs. An `__init__` counts
    with every module below it, since Python runs it first; so does what is imported by
    `importlib.import_module("name")`. Where a module stands counts, the name of the file itself not.

    Raises:
        BlendmakeError: a file that cannot be read, or that is no Python.
    """
    first = Path(os.path.realpath(file))
    root, found, waiting = first.parent, dict[Path, str](), [first]
    while waiting:
        path = waiting.pop()
        if path not in found:
            facts = facts_of(path)
            found[path] = facts.digest
            waiting += [one for name in _imported(facts, path, root) for one in _run(name, root)]
    digest = hashlib.blake2b(digest_size=16)
    places = {path: str(path.relative_to(root)) for path in found} | {first: ""}
    for place, one in sorted((places[path], found[path]) for path in found):
        digest.update(f"{place}\0{one}\0".encode())
    return digest.hexdigest()


def hold(file: Path, digest: str) -> None:
    """Refuse to go on with a file that is not what it was when the run was planned.

    Raises:
        BlendmakeError: it, or what it imports, has been edited.
    """
    if user_digest(file) != digest:
        raise BlendmakeError(
            f"{file}, or a module beside it that it imports, was edited while the run went on, and what "
            "was fitted with the old code would stand beside what is fitted with the new. Run the same "
            "command again: everything is fitted with the code as it is now."
        )


def _imported(facts: Facts, path: Path, root: Path) -> list[str]:
    """Names of the modules that a file imports, if they are modules at all."""
    found = list(facts.named)
    for level, module, names in facts.imports:
        if level is None:
            found += names
        else:
            package = origin(level, module, path, root)
            if package is not None:
                found += [package, *(f"{package}.{name}" if package else name for name in names)]
    return found


def _run(name: str, root: Path) -> list[Path]:
    """The files that run when a module is imported: those of its packages, and its own."""
    parts = [part for part in name.split(".") if part]
    found = []
    for k in range(len(parts)):
        base = root.joinpath(*parts[: k + 1])
        # A package goes before a module of its name.
        path = next(
            (p for p in (base / "__init__.py", base.with_suffix(".py")) if p.is_file()), None
        )
        found += [path] if path else []
    return found
