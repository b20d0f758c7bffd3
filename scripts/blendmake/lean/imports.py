"""Imports of what is used."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*names: str) -> Iterator[None]:
    """Import a library as where packages that it can do without are not installed.

    XGBoost and LightGBM import scikit-learn, and with it SciPy's statistics and pandas, for wrappers
    that nothing here uses: two thirds of the time in which a job gets ready to fit. Packages that are
    loaded already stay as they are, and can be imported afterwards as ever.
    """
    held = [name for name in names if name not in sys.modules]
    for name in held:
        sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        for name in held:
            del sys.modules[name]
