"""The space of a search: its params, where they may lie, and on which others they depend."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

Value = Any  # a number, text, truth value, None, or a list of such


@dataclass(frozen=True)
class Param:
    """One param of a space: a range (`low`, `high`), `choices`, or a fixed value.

    `when`: values of params above it, by name, under which alone it exists. `weights`: of the
    choices, where nothing is known of them yet.
    """

    name: str
    kind: str  # float, int, categorical, fixed
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    choices: tuple[Value, ...] = ()
    weights: tuple[float, ...] | None = None
    value: Value = None
    when: Mapping[str, tuple[Value, ...]] | None = None

    @property
    def distribution(self) -> BaseDistribution | None:
        """As Optuna knows it; None of a fixed one."""
        # Optuna takes half a second to import, which a check of the config need not wait for.
        from optuna.distributions import (
            CategoricalDistribution,
            FloatDistribution,
            IntDistribution,
        )

        if self.kind == "categorical":
            return CategoricalDistribution([stored(choice) for choice in self.choices])
        if self.kind == "fixed":
            return None
        assert self.low is not None and self.high is not None
        if self.kind == "int":
            step = int(self.step or 1)
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=step)
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def contains(self, value: Value) -> bool:
        """Whether a value may come of it."""
        if self.kind == "fixed":
            return same(value, self.value)
        if self.kind == "categorical":
            return any(same(value, choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None and self.high is not None
        if not self.low <= value <= self.high or (self.kind == "int" and value != int(value)):
            return False
        if self.step is None:
            return True
        steps = (value - self.low) / self.step
        return math.isclose(steps, round(steps), abs_tol=1e-8)


@dataclass(frozen=True)
class Space:
    """The params of a search, parents before children."""

    params: tuple[Param, ...]

    @staticmethod
    def of(entries: Mapping[str, Any]) -> Space:
        """A space from the config (config.searches.Search.space).

        An entry is a range `{low, high, log, step, type}`, `{choices, weights}`, or a value, which is
        fixed; each but the last with `when: {param: value or values}`, if it depends on others. Fixed
        under a condition: `{value: …, when: …}`. What is wrong with it is told by lint.py.
        """
        return Space(tuple(_param(name, entry) for name, entry in entries.items()))

    def __iter__(self) -> Iterator[Param]:
        return iter(self.params)

    def __getitem__(self, name: str) -> Param:
        return next(param for param in self.params if param.name == name)

    @property
    def searched(self) -> list[Param]:
        """The params that are not fixed."""
        return [param for param in self.params if param.kind != "fixed"]

    def is_active(self, param: Param, values: Mapping[str, Value]) -> bool:
        """Whether a param exists under these values of the params above it."""
        return all(
            parent in values and any(same(values[parent], one) for one in wanted)
            for parent, wanted in (param.when or {}).items()
        )

    def suggest(self, trial: optuna.Trial) -> dict[str, Value]:
        """The values of one trial, fixed ones included, those without their condition left out."""
        values: dict[str, Value] = {}
        for param in self.params:
            if not self.is_active(param, values):
                continue
            if param.kind == "fixed":
                values[param.name] = param.value
                continue
            distribution = param.distribution
            assert distribution is not None
            values[param.name] = loaded(trial._suggest(param.name, distribution))
        return values

    def enqueued(self, values: Mapping[str, Value]) -> dict[str, Value] | None:
        """Values as Optuna takes them for a trial that is given, if they all lie in the space.

        None where one is missing or lies outside: such a trial cannot be told as one of the space.
        """
        taken: dict[str, Value] = {}
        known: dict[str, Value] = {}
        for param in self.params:
            if not self.is_active(param, known):
                continue
            if param.name not in values or not param.contains(values[param.name]):
                return None
            known[param.name] = values[param.name]
            if param.kind != "fixed":
                taken[param.name] = _as_stored(param, values[param.name])
        return taken

    def distributions(self, values: Mapping[str, Value]) -> dict[str, BaseDistribution]:
        """Distributions of the params that are searched under these values."""
        found = {}
        for param in self.searched:
            if param.name in values and self.is_active(param, values):
                distribution = param.distribution
                assert distribution is not None
                found[param.name] = distribution
        return found


def _param(name: str, entry: Any) -> Param:
    if not isinstance(entry, Mapping):
        return Param(name, "fixed", value=entry)
    conditions = entry.get("when")
    when = {k: as_tuple(v) for k, v in conditions.items()} if conditions else None
    if "value" in entry:
        return Param(name, "fixed", value=entry["value"], when=when)
    if "choices" in entry:
        weights = entry.get("weights")
        return Param(
            name,
            "categorical",
            choices=tuple(entry["choices"]),
            weights=tuple(map(float, weights)) if weights else None,
            when=when,
        )
    low, high, step = entry["low"], entry["high"], entry.get("step")
    whole = all(isinstance(x, int) for x in (low, high, step) if x is not None)
    kind = entry.get("type") or ("int" if whole else "float")
    return Param(name, kind, low, high, step, bool(entry.get("log")), when=when)


def as_tuple(value: Any) -> tuple[Value, ...]:
    """The values of a list, or a single value as one."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def same(a: Value, b: Value) -> bool:
    """Whether two values are the same setting: 1 and 1.0 are, 1 and true are not."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def stored(choice: Value) -> Any:
    """A choice as Optuna keeps it: what is no plain value as JSON."""
    return json.dumps(choice) if isinstance(choice, list | tuple | dict) else choice


def loaded(value: Any) -> Value:
    """A choice from what Optuna kept."""
    if isinstance(value, str) and value[:1] in ("[", "{"):
        return json.loads(value)
    return value


def _as_stored(param: Param, value: Value) -> Any:
    if param.kind == "categorical":
        # The choice itself: Optuna tells 1 from 1.0 in a journal.
        return stored(next(choice for choice in param.choices if same(choice, value)))
    return int(value) if param.kind == "int" else float(value)


def space_of(entries: Mapping[str, Any], sources: Sequence[str] = ()) -> Space:
    """The space of a search; that of several sources has their name as its first param."""
    named = {"source": {"choices": list(sources)}} if len(sources) > 1 else {}
    return Space.of({**named, **entries})
