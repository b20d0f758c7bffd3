"""From the text of a config to a metric."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from blendmake.errors import BlendmakeError
from blendmake.metrics.base import Metric

CALL = re.compile(r"([a-z][a-z0-9_]*)(?:\((.*)\))?")


def find_metric(text: str) -> Metric:
    """The metric of a name with its arguments, `auc`, `pinball(0.9)`, or of a Python file.

    Raises:
        BlendmakeError: there is none of that name, or its arguments will not do.
    """
    # By name: the registry is in no digest, so that a new metric is no change to the others.
    known: Mapping[str, str] = importlib.import_module("blendmake.metrics").METRICS
    if text.endswith(".py"):
        found = importlib.import_module("blendmake.metrics.own").OwnMetric(Path(text))
        assert isinstance(found, Metric)
        return found
    match = CALL.fullmatch(text.strip())
    name = match[1] if match else text
    if match is None or name not in known:
        close = get_close_matches(name, known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known)}."
        raise BlendmakeError(f"There is no metric '{text}'; {hint}")
    maker = importlib.import_module(known[name]).METRICS[name]
    try:
        given = [float(part) for part in match[2].split(",")] if match[2] else []
        metric = maker(*given)
    except (TypeError, ValueError) as error:
        raise BlendmakeError(f"Metric '{text}': {error}.") from None
    assert isinstance(metric, Metric)
    return metric
