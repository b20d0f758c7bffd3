"""Jobs get ready without what they do not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from workflow.conftest import REPO

CODE = """
import sys
import importlib
importlib.import_module("blendmake.fits.fitting")
importlib.import_module("blendmake.families.{family}")
assert "sklearn" not in sys.modules and "scipy.stats" not in sys.modules, "imported for nothing"
import sklearn.metrics, pandas  # can be had as ever
"""


@pytest.mark.parametrize("family", ["xgboost", "xgboost_vector", "lightgbm", "linear"])
def test_scikit_learn_is_not_imported_for_nothing(family: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(family=family)],
        cwd=REPO / "scripts",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_forests_do_without_pandas() -> None:
    code = "import sys, blendmake.families.extra_trees; assert 'pandas' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=REPO / "scripts", check=True)


def test_what_is_loaded_stays() -> None:
    from blendmake.lean.imports import without

    before = sys.modules["json"] if "json" in sys.modules else __import__("json")
    with without("json", "a_package_that_is_not_there"):
        assert sys.modules["json"] is before
        with pytest.raises(ImportError):
            import a_package_that_is_not_there  # noqa: F401
    assert sys.modules["json"] is before
    assert "a_package_that_is_not_there" not in sys.modules
