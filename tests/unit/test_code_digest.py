from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from blendmake import code_digest as module
from blendmake.beside import beside
from blendmake.code_digest import code_digest, imported_files, keep_known
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

CODE = '''"""Module docstring."""

import json
from pkg.helper import scale

RATE = 0.5


class Model:
    """Class docstring."""

    def fit(self, x, y=None):
        """Function docstring."""
        total = scale(x, RATE)
        label = f"rate {RATE:.2f} of {total}"
        return json.dumps({"total": total, "label": label})
'''


@pytest.fixture
def digest(tmp_path: Path) -> Callable[..., str]:
    """Digest of `main.py` in a folder of its own, with the given text and other modules."""
    numbers = itertools.count()

    def of(main: str = CODE, **modules: str) -> str:
        root = tmp_path / str(next(numbers))
        texts = {"main": main, "pkg/helper": "def scale(x, by):\n    return x * by\n", **modules}
        for name, text in texts.items():
            path = root / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return code_digest([root / "main.py"], root)

    return of


def changed(old: str, new: str, text: str = CODE) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.mark.parametrize(
    "text",
    [
        changed("RATE = 0.5", "# why\nRATE = 0.5  # half"),
        changed("RATE = 0.5", "RATE   =   0.5"),
        changed("Module docstring", "Another docstring, # of more words\n\nand lines"),
        changed('"""Module docstring."""\n', ""),
        changed("Class docstring", "Other"),
        changed('        """Function docstring."""\n', ""),
        changed("import json\n", "import json\n\n\n\n"),
        changed("        total =", "\n        # step\n\n        total ="),
        changed("fit(self, x, y=None)", "fit(\n        self,\n        x, y=None\n    )"),
        changed("scale(x, RATE)", "scale(x,\n\n    # how much\n    RATE)"),
        changed('{"total": total, "label": label}', '{"total": total,\n "label": label\n}'),
        CODE.replace("    ", "  "),
        CODE.rstrip("\n"),
        CODE.replace("\n", "\r\n"),
    ],
)
def test_what_does_not_matter(digest: Callable[..., str], text: str) -> None:
    assert text != CODE
    compile(text, "main.py", "exec")
    assert digest(text) == digest(CODE)


@pytest.mark.parametrize(
    "text",
    [
        changed("RATE = 0.5", "RATE = 0.6"),
        changed("RATE = 0.5", "RATE = -0.5"),
        changed("scale(x, RATE)", "scale(RATE, x)"),
        changed("rate {RATE:.2f}", "rate {RATE:.3f}"),
        changed("rate {RATE:.2f}", "Rate {RATE:.2f}"),
        changed("of {total}", "of {label}"),
        changed('"total": total', '"total ": total'),
        changed("y=None", "y=0"),
        changed("        return json", "    return json"),
        changed("class Model", "class Models"),
        changed("        return", "        # a line\n        x = 1\n        return"),
    ],
)
def test_what_does_matter(digest: Callable[..., str], text: str) -> None:
    assert digest(text) != digest(CODE)


def test_a_string_that_is_no_docstring_matters(digest: Callable[..., str]) -> None:
    assert digest("x = 'a'\n") != digest("x = 'b'\n")
    assert digest("def f():\n    return 'a'\n") != digest("def f():\n    return 'b'\n")


def test_nested_and_many_lined_f_strings(digest: Callable[..., str]) -> None:
    text = 'x = 1\ny = f"""a {x!r:>{x}}\n\x0c b {f"{x}"} # no comment\n"""\n'
    assert digest(text) == digest(text + "# comment\n")
    others = [
        text.replace(*pair) for pair in ((" b ", " c "), ("no comment", "none"), ("!r", "!s"))
    ]
    assert len({digest(t) for t in [text, *others]}) == 4


IMPORTS = {
    "from": "from pkg.a import f\n",
    "import": "import pkg.a\n",
    "import as": "import os, pkg.a as a\n",
    "module from package": "from pkg import a\n",
    "star": "from pkg.a import *\n",
    "in a function": "def g():\n    from pkg.a import f\n    return f\n",
    "in a condition": "try:\n    import pkg.a\nexcept ImportError:\n    pass\n",
    "two steps away": "import pkg.b\n",
    "from a package's own": "from pkg.sub import c\n",
    "relative": "import pkg.sub.d\n",
    "relative of the folder above": "import pkg.sub.e\n",
}
MODULES = {
    "pkg/b": "from pkg.a import f\n",
    "pkg/sub/__init__": "from pkg.a import f as c\n",
    "pkg/sub/d": "from ..a import f\n",
    "pkg/sub/e": "from .. import a\n",
}


@pytest.mark.parametrize("name", IMPORTS)
def test_imports_are_followed(digest: Callable[..., str], name: str) -> None:
    def of(value: int, remark: str = "") -> str:
        text = f"{remark}def f():\n    return {value}\n"
        return digest(IMPORTS[name], **MODULES, **{"pkg/a": text})

    assert of(1) == of(1, "# remark\n")
    assert of(1) != of(2)


def test_what_is_not_imported_does_not_matter(digest: Callable[..., str]) -> None:
    others = {"pkg/other": "x = 1\n", "pkg/__init__": "import pkg.other\n", "json": "x = 1\n"}
    assert digest(CODE.replace("import json\n", "")) == digest(
        CODE.replace("import json\n", ""), **others
    )


def test_circles_end(digest: Callable[..., str]) -> None:
    assert digest("import pkg.a\n", **{"pkg/a": "import main\n"})


def test_order_of_files_does_not_matter() -> None:
    files = [SCRIPTS / "make_folds.py", SCRIPTS / "fit_fold.py"]
    assert code_digest(files, SCRIPTS) == code_digest(files[::-1], SCRIPTS)


# The package itself


def family_digests(folder: Path, addition: str = "", files: Sequence[str] = ()) -> dict[str, str]:
    """Digests of a fit by family, in a copy of the scripts with `addition` at the end of `files`."""
    shutil.copytree(SCRIPTS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in files:
        path = folder / "blendmake" / file
        path.write_text(path.read_text(encoding="utf-8") + addition, encoding="utf-8")
    family_files = {
        name: folder.joinpath(*module.split(".")).with_suffix(".py")
        for name, module in FAMILIES.items()
    }
    return {
        name: code_digest([folder / "fit_fold.py", file], folder)
        for name, file in family_files.items()
    }


@pytest.fixture(scope="module")
def digests_before(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return family_digests(tmp_path_factory.mktemp("code") / "scripts")


ELSEWHERE = (
    "families/__init__.py",
    "config/problem.py",
    "tables/tables.py",
    "reports/drawing.py",
    "reports/figures.py",
    "blends/blending.py",
    "folds/__init__.py",
    "tasks/__init__.py",
    "metrics/__init__.py",
    "folds/making.py",
    "folds/schemes/group.py",
    "fits/group_rules.py",
    "fits/progress.py",
    "refusals.py",
)


@pytest.mark.parametrize(
    ("files", "addition", "touched"),
    [
        (["families/lightgbm.py"], "\nEXTRA = 1\n", {"lightgbm"}),
        (["families/xgboost.py"], "\nEXTRA = 1\n", {"xgboost"}),
        (["family.py"], "\nEXTRA = 1\n", set(FAMILIES)),
        (["fits/fitting.py"], "\nEXTRA = 1\n", set(FAMILIES)),
        (["fits/fitting.py", "families/xgboost.py"], "\n# a remark\n", set()),
        (ELSEWHERE, "\nEXTRA = 1\n", set()),
    ],
)
def test_families_do_not_touch_each_other(
    tmp_path: Path,
    digests_before: dict[str, str],
    files: Sequence[str],
    addition: str,
    touched: set[str],
) -> None:
    after = family_digests(tmp_path / "scripts", addition, files)
    assert {name for name in FAMILIES if digests_before[name] != after[name]} == touched


PACKAGE = SCRIPTS / "blendmake"
NO_PART_OF_A_FIT = (
    "adapters/*.py",
    "audits/*.py",
    "blends/*.py",
    "budget/*.py",
    "config/*.py",
    "durations.py",
    "fits/assembly.py",
    "fits/group_rules.py",
    "fits/progress.py",
    "folds/__init__.py",
    "folds/inner.py",
    "folds/making.py",
    "folds/scheme.py",
    "folds/schemes/*.py",
    "gpus/*.py",
    "honest.py",
    "job_digests.py",
    "job_log.py",
    "made.py",
    "packing/*.py",
    "metrics/__init__.py",
    "preflight/*.py",
    "refusals.py",
    "reports/*.py",
    "score_names.py",
    "scores.py",
    "scoring.py",
    "searches/*.py",
    "stats/intervals.py",
    "stats/logits.py",
    "stats/ranks.py",
    "tables/*.py",
    "tasks/__init__.py",
    "tellers.py",
    "tellers_of_others.py",
    "window.py",
)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fit_covers_nothing_that_would_never_change_it(family: str) -> None:
    module = SCRIPTS.joinpath(*FAMILIES[family].split(".")).with_suffix(".py")
    covered = imported_files([SCRIPTS / "fit_fold.py", module], SCRIPTS)
    assert {PACKAGE / "fits" / "fitting.py", PACKAGE / "folds" / "file.py", module} <= covered
    for pattern in NO_PART_OF_A_FIT:
        files = set(PACKAGE.glob(pattern))
        assert files, f"{pattern} names nothing any more"
        assert not files & covered


def test_what_is_asked_for_by_name_is_there() -> None:
    """No type checker sees it."""
    asked = {
        found
        for path in SCRIPTS.rglob("*.py")
        for found in re.findall(r'\bbeside\("([\w.]+)"\)(?:\.(\w+))?', path.read_text("utf-8"))
    }
    assert ("window", "require_time") in asked
    for name, attribute in sorted(asked):
        assert not attribute or hasattr(beside(name), attribute), (name, attribute)


def test_what_was_read_is_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "code_digest.py"
    own.write_text("# where what is known is kept beside")
    monkeypatch.setattr(module, "__file__", str(own))
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    reads: list[Path] = []
    read = module._read_facts
    monkeypatch.setattr(
        module, "_read_facts", lambda text, file: (reads.append(file), read(text, file))[1]
    )

    def digest() -> str:
        for function in (module._known, module._facts, module._imports, module._file):
            function.cache_clear()
        found = code_digest([tmp_path / "main.py"], tmp_path)
        keep_known()
        return found

    (tmp_path / "helper.py").write_text("X = 1\n")
    (tmp_path / "main.py").write_text("import helper\nfrom helper import X\n")
    first = digest()
    assert len(reads) == 2
    assert digest() == first
    assert len(reads) == 2, "both were known"
    (tmp_path / "helper.py").write_text("X = 2\n")
    assert digest() != first
    assert len(reads) == 3
    (tmp_path / "helper.py").write_text("X = 1\n")
    assert digest() == first
    assert len(reads) == 3

    (kept,) = (tmp_path / "__pycache__").iterdir()
    # Damage that can be read as well would make everything stale.
    damages = [lambda text: '{"half a', lambda text: "[]", lambda text: text.replace("a", "b")]
    for count, damage in enumerate(damages):
        kept.write_text(damage(kept.read_text()))
        assert digest() == first
        assert len(reads) == 5 + 2 * count
    own.write_text("# another reader")
    assert digest() == first
    assert len(reads) == 11, "what another has read does not count"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"def f(:\n", r"mine\.py, line 1: invalid syntax\. Correct the file"),
        (b"x = (\n", r"mine\.py, line 1: '\(' was never closed"),
        (b"# caf\xe9\n", r"mine\.py"),
        (b"x = 1\0\n", r"mine\.py"),
        (b"# coding: nonsense\n", r"mine\.py.*nonsense"),
    ],
)
def test_a_file_that_is_no_python_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "mine.py"
    file.write_bytes(content)
    with pytest.raises(BlendmakeError, match=told):
        code_digest([file], tmp_path)


def test_the_encoding_that_a_file_names_is_heeded(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_bytes(b"# coding: latin-1\nx = 'caf\xe9'\n")
    assert code_digest([file], tmp_path)
