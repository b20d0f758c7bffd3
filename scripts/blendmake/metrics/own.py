"""A metric of the user's own: a function in a Python file.

The file has a function `score(labels, predictions) -> float`, of labels and predictions as `base` says,
and may say more of it: `higher_is_better` (True), `title`, `bounds`, `tasks`, `rank_invariant` (False),
`has_unit` (False).
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.foreign.runner import places_of, text_of
from blendmake.metrics.base import NO_CONTEXT, Metric, ScoredRows
from blendmake.tasks import TASKS

FUNCTION = "score"


class OwnMetric(Metric):
    """A metric by the function of a file; its influence values are the jackknife's.

    Raises:
        BlendmakeError: the file cannot be imported, has no such function, or says nonsense of it.
    """

    def __init__(self, path: Path) -> None:
        module = _imported(path)
        self._path, self._score = path, getattr(module, FUNCTION, None)
        if not callable(self._score):
            raise BlendmakeError(
                f"{path}: a metric's file needs a function {FUNCTION}(labels, predictions) that gives a "
                "number."
            )
        self.name = path.stem
        self.title = str(getattr(module, "title", self.name))
        for name, default in (
            ("higher_is_better", True),
            ("rank_invariant", False),
            ("has_unit", False),
        ):
            value = getattr(module, name, default)
            if not isinstance(value, bool):
                raise BlendmakeError(f"{path}: {name} must be True or False, not {value!r}.")
            setattr(self, name, value)
        try:
            low, high = getattr(module, "bounds", (-math.inf, math.inf))
            self.bounds = (float(low), float(high))
            named = getattr(module, "tasks", TASKS)
            self.tasks = frozenset([named] if isinstance(named, str) else named)
        except (TypeError, ValueError) as error:
            raise BlendmakeError(
                f"{path}: bounds must be two numbers, and tasks a list of names ({error})."
            ) from None
        odd = sorted(self.tasks - set(TASKS))
        if odd:
            raise BlendmakeError(f"{path}: tasks names '{odd[0]}'; there are {', '.join(TASKS)}.")

    def __call__(
        self, labels: NDArray[Any], predictions: NDArray[Any], rows: ScoredRows = NO_CONTEXT
    ) -> float:
        assert self._score is not None
        try:
            value = float(np.asarray(self._score(labels, predictions)).item())
        except (Exception, SystemExit, GeneratorExit) as error:
            raise BlendmakeError(
                f"{self._path}: {FUNCTION} failed: {_told(error, self._path)}"
            ) from None
        return value


def _imported(path: Path) -> Any:
    if not path.is_file():
        raise BlendmakeError(f"There is no file {path} of a metric.")
    spec = importlib.util.spec_from_file_location(f"_metric_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit, GeneratorExit) as error:
        raise BlendmakeError(f"{path}: {_told(error, path)}") from None
    return module


def _told(error: BaseException, path: Path) -> str:
    """An exception of the user's code in one line, with the lines of their file."""
    text, places = text_of(error), places_of(error, path.absolute())
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"{said} ({'; '.join(places)})" if places else said
