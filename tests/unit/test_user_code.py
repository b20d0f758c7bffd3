"""The user's code counts as it will be imported, and is held to what it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from blendmake.errors import BlendmakeError
from blendmake.families.custom import Custom
from blendmake.features.files import FeatureSetFiles
from blendmake.user_code import hold, user_digest
from fold_data import fold_data, joint_fit
from problems import synthetic

MODULES = {
    "pkg/__init__.py": "RATE = 1\n",
    "pkg/deep/__init__.py": "from . import near\n",
    "pkg/deep/near.py": "X = 1\n",
    "pkg/deep/model.py": "from ..other import f\n",
    "pkg/other.py": "f = 1\n",
    "space/inner/part.py": "X = 1\n",
    "named.py": "X = 1\n",
    "both/__init__.py": "X = 1\n",
    "both.py": "Y = 1\n",
    "beside.py": "X = 1\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        path = tmp_path / "code" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "code"


def changes(folder: Path, text: str) -> set[str]:
    """The modules whose editing changes the digest of a file with `text`."""
    main = folder / "mine.py"
    main.write_text(text)
    before, found = user_digest(main), set()
    for name, old in MODULES.items():
        (folder / name).write_text(old.replace("1", "2") + "Z = 3\n")
        found |= {name} if user_digest(main) != before else set()
        (folder / name).write_text(old)
    assert user_digest(main) == before
    return found


DEEP = {
    *("pkg/__init__.py", "pkg/deep/__init__.py", "pkg/deep/near.py"),
    *("pkg/deep/model.py", "pkg/other.py"),
}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("import pkg.deep.model\n", DEEP),
        ("from pkg.deep.model import f\n", DEEP),
        ("from pkg.deep import model\n", DEEP),
        ("from pkg import RATE\n", {"pkg/__init__.py"}),
        ("def g():\n    import pkg.other\n", {"pkg/__init__.py", "pkg/other.py"}),
        ("import space.inner.part\n", {"space/inner/part.py"}),
        ("from space.inner import part\n", {"space/inner/part.py"}),
        ("import importlib\nm = importlib.import_module('named')\n", {"named.py"}),
        ("m = __import__('named')\n", {"named.py"}),
        ("import both\n", {"both/__init__.py"}),
        ("from . import beside\n", {"beside.py"}),
        ("from ... import far\n", set()),
        ("import json\n", set()),
    ],
)
def test_what_python_would_run_counts(folder: Path, text: str, found: set[str]) -> None:
    assert changes(folder, text) == found


def test_the_folder_is_that_behind_a_symlink(folder: Path, tmp_path: Path) -> None:
    main = folder / "mine.py"
    main.write_text("import beside\n")
    link = tmp_path / "elsewhere" / "link.py"
    link.parent.mkdir()
    link.symlink_to(main)
    before = user_digest(link)
    assert before == user_digest(main)
    (folder / "beside.py").write_text("X = 2\n")
    assert user_digest(link) != before


def test_modules_that_change_places_count_and_the_file_s_own_name_does_not(folder: Path) -> None:
    main = folder / "mine.py"
    main.write_text("import beside, named\n")
    (folder / "named.py").write_text("Y = 1\n")
    before = user_digest(main)
    assert user_digest(main.rename(folder / "yours.py")) == before
    (folder / "named.py").write_text("X = 1\n")
    (folder / "beside.py").write_text("Y = 1\n")
    assert user_digest(folder / "yours.py") != before


@pytest.mark.parametrize(
    ("text", "told"),
    [(b"def f(:\n", "line 1"), (b"x = '\xff'\n", "mine.py"), (b"x = 1\0\n", "mine.py")],
)
def test_what_is_no_python_is_told(folder: Path, text: bytes, told: str) -> None:
    (folder / "mine.py").write_bytes(text)
    with pytest.raises(BlendmakeError, match=told):
        user_digest(folder / "mine.py")


def test_another_encoding_is_read(folder: Path) -> None:
    (folder / "mine.py").write_bytes(b"# -*- coding: latin-1 -*-\nx = '\xe9'\n")
    assert user_digest(folder / "mine.py")


FIT = """
import helper
import numpy as np


def fit_fold(fold):
    {edit}
    return [np.full((len(t), len(fold.targets)), helper.P) for t in (fold.valid, fold.test)]
"""


@pytest.fixture
def fit(tmp_path: Path) -> Callable[[str], None]:
    problem = synthetic(tmp_path / "problem", rows=60)

    def fit(edit: str, edited: str = "") -> None:
        file, helper = tmp_path / "mine.py", tmp_path / "helper.py"
        file.write_text(FIT.format(edit=edit.format(helper=helper)))
        helper.write_text("P = 0.5\n")
        options = {"file": str(file), "file_code": user_digest(file)}
        inputs = problem.inputs
        files = FeatureSetFiles(inputs.columns, inputs.tables["train"], inputs.made["train"])
        data = replace(fold_data(problem), level_names=files.level_names)
        if edited:
            helper.write_text(edited)
        Custom(data, 1, options).fit(joint_fit(problem, data, tmp_path / "scratch"))

    return fit


def test_an_edit_in_mid_run_is_an_error(fit: Callable[..., None]) -> None:
    fit("pass")
    with pytest.raises(BlendmakeError, match="was edited while the run went on"):
        fit("open({helper!r}, 'w').write('P = 0.7')".replace("{helper!r}", "'{helper}'"))
    with pytest.raises(BlendmakeError, match="was edited while the run went on"):
        fit("raise RuntimeError('it must not run')", edited="P = 0.6\n")
    fit("pass", edited="# a remark\nP = 0.5\n")


def test_hold_takes_what_is_as_it_was(folder: Path) -> None:
    hold(folder / "named.py", user_digest(folder / "named.py"))
