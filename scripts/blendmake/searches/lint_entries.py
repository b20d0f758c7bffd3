"""What is wrong with the entries of a space, or odd about them, whatever they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any

from blendmake.config.base import nearest, parse_numbers
from blendmake.searches.lint_text import ERROR, WARNING, Finding, told
from blendmake.searches.space import Value, as_tuple, same

RANGE_KEYS = ("low", "high", "step", "log", "type")
KEYS = (*RANGE_KEYS, "choices", "weights", "value", "when")
TYPES = ("int", "float")
LARGEST = 1e300  # beyond, differences and quotients of bounds are no numbers
NO_NUMBER = f"is not finite, or too large: write a number up to {LARGEST:g}"
THIN, THIN_RATIO = 0.01, 1.05  # of bounds between which nothing can be learned


def entry_findings(entries: Mapping[Any, Any], sources: Sequence[str]) -> list[Finding]:
    """What is wrong with the entries of a space, each for itself and with its parents.

    `entries`: as they stand in the config, whatever they hold, numbers parsed. Without an error among
    the findings, `space_of(entries, sources)` is a space.
    """
    findings: list[Finding] = []
    for name, entry in entries.items():
        findings += _name_findings(name)
        findings += _entry_findings(_where(name), entry)
    return findings + list(_when_findings(entries, sources))


def readable(entries: Any) -> tuple[dict[Any, Any], list[Finding]]:
    """The entries with their numbers parsed, and findings on those that cannot be read at all."""
    if not isinstance(entries, Mapping):
        text = f"must hold params by name; found {told(entries)}"
        return {}, [Finding(ERROR, "space", text)]
    parsed, findings = {}, []
    for name, entry in entries.items():
        try:
            parsed[name] = parse_numbers(entry)
        except RecursionError:
            text = "holds itself (a YAML anchor within its own value): write it out"
            findings.append(Finding(ERROR, _where(name), text))
    return parsed, findings


def _where(name: Any) -> str:
    return f"space.{name if isinstance(name, str) else told(name)}"


def _name_findings(name: Any) -> Iterator[Finding]:
    if not isinstance(name, str) or not name.strip():
        text = "the name of a param must be text: write it in quotes (YAML reads on, no and 1 as values)"
        yield Finding(ERROR, _where(name), text)
    elif name == "source":
        text = "is the name of the source itself, searched where several are listed: leave it out"
        yield Finding(ERROR, _where(name), text)


# One entry


def _entry_findings(where: str, entry: Any) -> Iterator[Finding]:
    if not isinstance(entry, Mapping):
        yield from _bare_findings(where, entry)
        return
    unknown = [key for key in entry if key not in KEYS]
    for key in unknown:
        word = key if isinstance(key, str) else told(key)
        yield Finding(ERROR, where, f"has no key '{word}': {nearest(word, KEYS)}")
    ways = {
        "low and high": "low" in entry or "high" in entry,
        "choices": "choices" in entry,
        "value": "value" in entry,
    }
    given = [way for way, is_given in ways.items() if is_given]
    if len(given) > 1:
        text = f"has {' beside '.join(given)}: leave one of them out"
        yield Finding(ERROR, where, text)
    elif given:
        way = given[0]
        yield from _stray_findings(where, entry, way)
        if way == "value":
            yield from _value_findings(where, "value", entry["value"])
        elif way == "choices":
            yield from _choice_findings(where, entry["choices"])
            yield from _weight_findings(where, entry)
        elif not unknown or {"low", "high"} <= entry.keys():
            yield from _range_findings(where, entry)
    elif not unknown:
        text = "says nothing of its values: give it low and high, choices, or a value"
        yield Finding(ERROR, where, text)


def _bare_findings(where: str, value: Any) -> Iterator[Finding]:
    """On an entry that is a fixed value."""
    if value is None:
        yield Finding(WARNING, where, "is empty, which fixes it to null: {value: null} says so")
    elif isinstance(value, list | tuple):
        text = "a list is a fixed value: write {choices: […]} to search it, or {value: […]}"
        yield Finding(WARNING, where, text)
    yield from _value_findings(where, "value", value)


def _stray_findings(where: str, entry: Mapping[str, Any], way: str) -> Iterator[Finding]:
    """On keys that do not go with the way in which the entry gives its values."""
    for key in RANGE_KEYS[2:] if way != "low and high" else ():
        if entry.get(key) is not None:
            yield Finding(ERROR, where, f"'{key}' goes with low and high: leave it out")
    if way != "choices" and entry.get("weights") is not None:
        yield Finding(ERROR, where, "'weights' goes with choices: leave it out")


def _value_findings(where: str, what: str, value: Any) -> Iterator[Finding]:
    wrong = _wrong_value(value)
    if wrong:
        yield Finding(ERROR, where, f"{what} {told(value)} {wrong}")


def _wrong_value(value: Any) -> str | None:
    """What hinders a value from being kept and given to a model, if anything does."""
    if value is None or isinstance(value, bool | str):
        return None
    if isinstance(value, int | float):
        return None if _number(value) is not None else NO_NUMBER
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            return "has keys that are not text: write them in quotes"
        value = list(value.values())
    if isinstance(value, list | tuple):
        return next(filter(None, map(_wrong_value, value)), None)
    return "is no number, text, truth value or list of such: write it in quotes if text is meant"


def _number(value: Any) -> int | float | None:
    """The value, if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= LARGEST else None


def _choice_findings(where: str, choices: Any) -> Iterator[Finding]:
    if not isinstance(choices, list | tuple):
        yield Finding(ERROR, where, f"choices must be a list; found {told(choices)}")
        return
    if not choices:
        yield Finding(ERROR, where, "choices are empty: name some, or leave the param out")
    if len(choices) == 1:
        text = f"has one choice only: write the value, {told(choices[0])}"
        yield Finding(WARNING, where, text)
    for number, choice in enumerate(choices):
        yield from _value_findings(where, "choice", choice)
        if isinstance(choice, str) and choice[:1] in ("[", "{"):
            text = f"choice {told(choice)} would be read as a list: write it without quotes"
            yield Finding(ERROR, where, text)
        if any(same(choice, earlier) for earlier in choices[:number]):
            yield Finding(ERROR, where, f"choice {told(choice)} is repeated: name it once")


def _weight_findings(where: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    weights, choices = entry.get("weights"), entry["choices"]
    if weights is None:
        return
    if not isinstance(weights, list | tuple):
        yield Finding(ERROR, where, f"weights must be a list; found {told(weights)}")
        return
    if isinstance(choices, list | tuple) and len(weights) != len(choices):
        text = f"{len(weights)} weights for {len(choices)} choices: give one each"
        yield Finding(ERROR, where, text)
    bad = [weight for weight in weights if (_number(weight) or 0) < 0 or _number(weight) is None]
    for weight in bad:
        text = f"weight {told(weight)} must be a finite number, 0 or more"
        yield Finding(ERROR, where, text)
    if weights and not bad and sum(weights) <= 0:
        yield Finding(ERROR, where, "the weights are all 0: make one of them larger")


def _range_findings(where: str, entry: Mapping[str, Any]) -> Iterator[Finding]:
    kind, log = entry.get("type"), entry.get("log")
    if kind is not None and kind not in TYPES:
        hint = nearest(kind if isinstance(kind, str) else told(kind), TYPES)
        yield Finding(ERROR, where, f"type must be int or float; found {told(kind)}; {hint}")
        kind = None
    if log is not None and not isinstance(log, bool):
        yield Finding(ERROR, where, f"log must be true or false; found {told(log)}")
    low, high, step = bounds = [_number(entry.get(key)) for key in ("low", "high", "step")]
    for key, number in zip(("low", "high", "step"), bounds, strict=True):
        value = entry.get(key)
        if value is None and key != "step":
            yield Finding(ERROR, where, f"has no {key}: give both low and high")
        elif isinstance(value, float) and number is None:
            yield Finding(ERROR, where, f"{key} {told(value)} {NO_NUMBER}")
        elif value is not None and number is None:
            yield Finding(ERROR, where, f"{key} must be a number; found {told(value)}")
        elif kind == "int" and number is not None and number != int(number):
            text = f"{key} {number} is no whole number: round it, or write type: float"
            yield Finding(ERROR, where, text)
    if low is None or high is None:
        return
    if low > high:
        yield Finding(ERROR, where, f"low {low} is above high {high}: exchange them")
    elif low == high:
        yield Finding(ERROR, where, f"low and high are both {low}: write the value")
    if log is True and low <= 0:
        yield Finding(ERROR, where, f"low {low} must be above 0 with log: raise it, or drop log")
    if step is not None:
        yield from _step_findings(where, low, high, step, log is True)
    if low < high:
        yield from _oddities(where, low, high, step, log is True, kind)


def _step_findings(
    where: str, low: float, high: float, step: float, log: bool
) -> Iterator[Finding]:
    if log:
        yield Finding(ERROR, where, "has both log and step: leave one of them out")
    if step <= 0:
        yield Finding(ERROR, where, f"step {step} must be above 0")
    elif low < high and not log:
        # Exactly, as the numbers are written: what does not fit, the sampler would cut off.
        first, last, by = (Fraction(str(number)) for number in (low, high, step))
        steps = (last - first) // by
        if first + steps * by != last:
            reached = [float(first + n * by) for n in (steps, steps + 1) if n > 0]
            names = " or ".join(f"{number:.12g}" for number in reached)
            text = f"step {step} does not lead from {low} to {high}: write high: {names}"
            yield Finding(ERROR, where, text)


def _oddities(
    where: str, low: float, high: float, step: float | None, log: bool, kind: str | None
) -> Iterator[Finding]:
    """On ranges that can be searched, but are hardly meant so."""
    by_ratio = log and low > 0
    if high / low < THIN_RATIO if by_ratio else high - low < THIN * max(abs(low), abs(high)):
        text = f"from {low} to {high} there is hardly a difference: write a value, or widen it"
        yield Finding(WARNING, where, text)
    given = [number for number in (low, high, step) if number is not None]
    written_whole = [isinstance(number, int) for number in given]
    if kind is not None:
        return
    if all(written_whole) and (low, high) == (0, 1):
        text = "is 0 or 1 and nothing between: write high: 1.0 for the range, or type: int"
        yield Finding(WARNING, where, text)
    elif low and len(set(written_whole)) > 1 and all(number == int(number) for number in given):
        text = (
            "has a bound with a point or exponent, so it is a float: write type: int or type: float"
        )
        yield Finding(WARNING, where, text)


# Conditions


def _when_findings(entries: Mapping[Any, Any], sources: Sequence[str]) -> Iterator[Finding]:
    """On the conditions of all entries."""
    options: dict[str, tuple[Value, ...] | None] = {}
    if len(sources) > 1:
        options["source"] = tuple(sources)
    # The conditions that are right in themselves.
    whens: dict[str, dict[str, tuple[Value, ...]]] = {}
    never: set[str] = set()
    for name, entry in entries.items():
        if isinstance(entry, Mapping) and entry.get("when") is not None:
            found = list(_one_when_findings(name, entry["when"], entries, options))
            yield from found
            if not found:
                whens[name] = {parent: as_tuple(v) for parent, v in entry["when"].items()}
                yield from _reach_findings(name, whens, options, never)
        options.setdefault(name, _options(entry))


def _one_when_findings(
    name: Any,
    when: Any,
    entries: Mapping[Any, Any],
    options: Mapping[str, tuple[Value, ...] | None],
) -> Iterator[Finding]:
    """On what a condition names: params above it, by values that they may have.

    `options`: the values of the params above, by name; None where one is a range.
    """
    where = _where(name)
    if not isinstance(when, Mapping) or not when:
        text = f"when must be {{param: value or values}}; found {told(when)}"
        yield Finding(ERROR, where, text)
        return
    for parent, wanted in when.items():
        if parent not in options:
            yield Finding(ERROR, where, _no_parent(name, parent, entries, options))
            continue
        values = options[parent]
        if values is None:
            text = (
                f"depends on {told(parent)}, which has no choices: add some, or drop the condition"
            )
            yield Finding(ERROR, where, text)
            continue
        if not as_tuple(wanted):
            text = f"when names no value of {told(parent)}: name one, or drop the condition"
            yield Finding(ERROR, where, text)
        for value in as_tuple(wanted):
            if not any(same(value, option) for option in values):
                hint = nearest(_plain(value), map(_plain, values))
                text = f"when asks for {told(value)}, which {told(parent)} never is: {hint}"
                yield Finding(ERROR, where, text)


def _no_parent(
    name: Any, parent: Any, entries: Mapping[Any, Any], options: Mapping[str, Any]
) -> str:
    """Why a param has no such parent, with the mend."""
    if parent == name:
        return "depends on itself: drop the condition"
    if parent in entries:
        return f"depends on {told(parent)}, which comes after it: move {told(parent)} above it"
    if parent == "source":
        return "depends on 'source', but there is one source only: drop the condition"
    above = [known for known in options if isinstance(known, str)]
    return (
        f"depends on {told(parent)}, which is no param above it: {nearest(_plain(parent), above)}"
    )


def _reach_findings(
    name: str,
    whens: Mapping[str, Mapping[str, tuple[Value, ...]]],
    options: Mapping[str, tuple[Value, ...] | None],
    never: set[str],
) -> Iterator[Finding]:
    """On a condition that never holds, or always; `never` takes up the params that never exist."""
    left: dict[str, list[Value]] = {}
    pending, seen = [name], {name}
    always = True
    while pending:
        for parent, wanted in whens.get(pending.pop(), {}).items():
            before = left.get(parent, list(options[parent] or ()))
            left[parent] = [v for v in before if any(same(v, one) for one in wanted)]
            always = always and len(left[parent]) == len(before)
            if parent not in seen:
                seen.add(parent)
                pending.append(parent)
    if seen & never:
        never.add(name)  # what it depends on is told of already
        return
    impossible = [parent for parent, values in left.items() if not values]
    if impossible:
        never.add(name)
        text = (
            f"never exists: no value of {told(impossible[0])} suits both its condition and those of "
            "the params it depends on; drop one of them"
        )
        yield Finding(ERROR, _where(name), text)
    elif always:
        yield Finding(WARNING, _where(name), "its condition always holds: drop it")


def _options(entry: Any) -> tuple[Value, ...] | None:
    """The values an entry may have; None of a range, or of what is no entry."""
    if not isinstance(entry, Mapping):
        return (entry,)
    if "value" in entry:
        return (entry["value"],)
    choices = entry.get("choices")
    return tuple(choices) if isinstance(choices, list | tuple) else None


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else told(value)
