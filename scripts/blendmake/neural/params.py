"""Params of neural families: each by name with a check, so that a wrong one is an error."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from blendmake.family import Fit, refused

Check = Callable[[Any], Any]  # gives the value as it is used; raises ValueError


def real(low: float = 0.0, high: float = float("inf"), *, above: bool = False) -> Check:
    """A number from `low` (or, `above`, beyond it) to `high`."""

    def check(value: Any) -> float:
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not fits or not (low < value <= high or (value == low and not above)):
            least = f"more than {low:g}" if above else f"at least {low:g}"
            raise ValueError(f"must be a number, {least} and at most {high:g}")
        return float(value)

    return check


def whole(low: int) -> Check:
    """A whole number of at least `low`."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ValueError(f"must be a whole number of at least {low}")
        return value

    return check


def choice(*names: str) -> Check:
    """One of some names."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in names:
            raise ValueError(f"must be one of {', '.join(names)}")
        return value

    return check


def switch(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false")
    return value


def optional(check: Check) -> Check:
    """What `check` allows, or null."""
    return lambda value: None if value is None else check(value)


def widths(value: Any) -> list[int]:
    """A list of whole numbers, one at least."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("must be a list of whole numbers")
    return [whole(1)(width) for width in value]


def checked(asked: Fit, params: Mapping[str, Any], checks: Mapping[str, Check]) -> Any:
    """The params as they are used.

    Raises:
        BlendmakeError: one that is unknown (with the nearest known name), or out of its range.
    """
    found = {}
    for name, value in params.items():
        if name not in checks:
            near = difflib.get_close_matches(name, checks, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(checks)}"
            raise refused(asked, ValueError(f"there is no param '{name}'; {hint}"))
        try:
            found[name] = checks[name](value)
        except ValueError as error:
            raise refused(asked, ValueError(f"{name} = {value!r} {error}")) from error
    return found
