"""Searches in words: summary, comparison of two, and their best params as YAML."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import yaml

from blendmake.searches.analysis import elite_and_rest, text_of
from blendmake.searches.ranking import Row, best_trials, overall, standard_error
from blendmake.searches.space import Value
from blendmake.searches.table import (
    COUNTED,
    STATES,
    Trial,
    better_way,
    ranked,
    rated,
    sign_of,
    studies_of,
)

EXCELLENT, ON_TRACK, BELOW, STOP = "excellent", "on track", "below", "stop"
STOP_SHARE = 1 / 3
"""From this share of the trials on a best below `stop` says to stop."""
NONE = "–"


@dataclass(frozen=True)
class Searched:
    """A search as it is compared: its name, trials, metric and the folds it searched on."""

    name: str
    trials: Sequence[Trial]
    metric: str
    folds: Sequence[int]


def verdict(
    best: float | None,
    metric: str,
    criteria: Mapping[str, float | None] | None,
    done: int,
    wanted: int,
) -> str | None:
    """What the config's criteria say of a study's best value; None where they say nothing.

    Args:
        criteria: thresholds `excellent`, `on_track` and `stop`, in the metric's unit, each optional.
        done, wanted: trials done (complete and pruned) and asked for.

    Returns:
        EXCELLENT or ON_TRACK if the best reaches that threshold; STOP if it is worse than `stop`
        with a third of the trials done or more; else BELOW.
    """
    known = {name: value for name, value in (criteria or {}).items() if value is not None}
    if not known or best is None:
        return None
    sign = sign_of(metric)

    def reaches(name: str) -> bool:
        return name in known and sign * best >= sign * known[name]

    if reaches("excellent"):
        return EXCELLENT
    if reaches("on_track"):
        return ON_TRACK
    if "stop" in known and not reaches("stop") and done >= STOP_SHARE * wanted:
        return STOP
    return BELOW


def summary_text(
    name: str,
    trials: Sequence[Trial],
    metric: str,
    *,
    wanted: int,
    search_folds: Sequence[int],
    n_folds: int,
    criteria: Mapping[str, float | None] | None = None,
    studies: Sequence[str] = (),
) -> str:
    """A search in Markdown, finished or not: what it found, what it took, and how far to trust it.

    Args:
        wanted: trials (complete and pruned) of each study.
        search_folds, n_folds: the folds that trials used, of how many.
        criteria: see `verdict`.
        studies: all studies, where some may have no trial yet.
    """
    by_study = every_study(trials, studies)
    first = overall(best_trials(trials, metric, 1), metric)
    lines = [f"# Search {name}", ""]
    lines += [f"{_metric(metric)} over the {_folds(search_folds)} of {n_folds}.", ""]
    done = {study: count(of_study, *COUNTED) for study, of_study in by_study.items()}
    behind = [study for study in by_study if done[study] < wanted]
    if behind:
        finished = sum(min(number, wanted) for number in done.values())
        told = ", ".join(f"{_cell(study)} {done[study]}" for study in behind)
        lines += [
            f"**Unfinished**: {finished} of {wanted * len(by_study)} trials. "
            f"Short of {wanted}: {told}.",
            "",
        ]
    head = ["study", "best", "own params", "gain", "mean", "verdict"]
    rows = [
        [
            study,
            *_best_cells(first.get(study, [])),
            _number(_mean(of_study)),
            verdict(_best(of_study, metric), metric, criteria, done[study], wanted) or NONE,
        ]
        for study, of_study in by_study.items()
    ]
    lines += [*_table(head, rows), ""]
    lines += [
        "± is one standard error over the search folds; that of the gain is of the differences fold "
        "by fold. `own params`: those that the source has without a search. `mean`: of the complete "
        "trials.",
        "",
    ]
    lines += [
        *_criteria(metric, criteria),
        *_honesty(done, search_folds, n_folds),
        "",
        "## Trials",
        "",
    ]
    rows = [
        [study, *(str(count(of_study, state)) for state in STATES), *_durations(of_study)]
        for study, of_study in by_study.items()
    ]
    lines += [*_table(["study", *STATES, "median seconds", "hours"], rows), ""]
    if any(len(found) > 1 for found in first.values()):
        lines += ["## By source", ""]
        rows = [
            [study, row["source"], str(row["trials"]), *_best_cells([row])]
            for study, found in first.items()
            for row in found
        ]
        lines += [*_table(["study", "source", "trials", "best", "own params", "gain"], rows), ""]
    lines += _failures(trials)
    return "\n".join(lines).rstrip() + "\n"


def every_study(trials: Sequence[Trial], studies: Sequence[str]) -> dict[str, list[Trial]]:
    """The trials by study, those without any among `studies` too."""
    found: dict[str, list[Trial]] = {study: [] for study in studies}
    return found | studies_of(trials)


def count(trials: Iterable[Trial], *states: str) -> int:
    """How many trials are in one of these states."""
    return sum(trial["state"] in states for trial in trials)


def reasons(trials: Iterable[Trial], state: str = "failed") -> list[tuple[str, int]]:
    """Why trials are in a state, the commonest reason first."""
    told = (
        " ".join((t["reason"] or "no reason told").split()) for t in trials if t["state"] == state
    )
    return Counter(told).most_common()


def _best_cells(rows: Sequence[Row]) -> list[str]:
    """Best, baseline and gain, each with its standard error."""
    if not rows:
        return [NONE] * 3
    row = rows[0]
    return [
        _number(row["value"], row["standard_error"]),
        _number(row["baseline_value"], row["baseline_standard_error"]),
        _number(row["gain"], row["gain_standard_error"], sign=True),
    ]


def _best(trials: Sequence[Trial], metric: str) -> float | None:
    found = ranked(trials, metric)
    return found[0]["value"] if found else None


def _mean(trials: Sequence[Trial]) -> float | None:
    values = [trial["value"] for trial in rated(trials)]
    return statistics.fmean(values) if values else None


def _durations(trials: Sequence[Trial]) -> list[str]:
    """Median seconds of a complete trial, and hours of all trials together."""
    complete = [
        t["seconds"] for t in trials if t["state"] == "complete" and t["seconds"] is not None
    ]
    hours = sum(trial["seconds"] or 0.0 for trial in trials) / 3600
    return [f"{statistics.median(complete):.1f}" if complete else NONE, f"{hours:.2f}"]


def _metric(metric: str) -> str:
    return f"{metric} ({better_way(metric)})"


def _folds(folds: Sequence[int]) -> str:
    return f"search fold{'s' if len(folds) > 1 else ''} {', '.join(map(str, folds))}"


def _criteria(metric: str, criteria: Mapping[str, float | None] | None) -> list[str]:
    known = {name: value for name, value in (criteria or {}).items() if value is not None}
    if not known:
        return []
    way = "at least" if sign_of(metric) > 0 else "at most"
    told = {"excellent": f"excellent {way} {{}}", "on_track": f"on track {way} {{}}"}
    told["stop"] = "stop if a third of the trials has not reached {}"
    parts = [told[name].format(f"{known[name]:g}") for name in told if name in known]
    return [f"Criteria: {', '.join(parts)}.", ""]


def _honesty(done: Mapping[str, int], folds: Sequence[int], n_folds: int) -> list[str]:
    most = max(done.values(), default=0)
    others = [str(fold) for fold in range(n_folds) if fold not in folds]
    honest = (
        f"the honest score of its params is that on the other folds ({', '.join(others)})."
        if others
        else "no fold is left on which its params could be scored honestly."
    )
    return [
        f"**Optimistic**: each best is the best of up to {most} trials on the very folds it was chosen "
        f"by; {honest}"
    ]


def _failures(trials: Sequence[Trial]) -> list[str]:
    rows = [
        [state, reason, str(times)]
        for state in ("failed", "lost")
        for reason, times in reasons(trials, state)
    ]
    return ["## Failures", "", *_table(["state", "reason", "trials"], rows), ""] if rows else []


# Two searches compared


def comparison_text(a: Searched, b: Searched) -> str:
    """Two searches side by side, in Markdown: best, mean, trials, and what the elite of each shares."""
    lines = [f"# {a.name} against {b.name}", ""]
    lines += [f"- {s.name}: {_metric(s.metric)}, {_folds(s.folds)}" for s in (a, b)]
    comparable = a.metric == b.metric and set(a.folds) == set(b.folds)
    if not comparable:
        lines += ["", "**Their values cannot be compared**: metric or search folds differ."]
    lines += ["", *_values(a, b, comparable), ""]
    lines += [
        "± is one standard error over the search folds. A best of more trials is better by chance "
        "alone: `at equal trials` is the best of the first trials of each, as many as both have. All "
        "are optimistic, being chosen on the folds that give them.",
        "",
        "## The elite",
        "",
        *_elites(a, b),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _values(a: Searched, b: Searched, comparable: bool) -> list[str]:
    head = ["study", "search", "best", "at equal trials", "mean", "trials", "complete"]
    rows = []
    of_a, of_b = studies_of(a.trials), studies_of(b.trials)
    for study in dict.fromkeys([*of_a, *of_b]):
        pair = [of_a.get(study, []), of_b.get(study, [])]
        equal = min(count(trials, *COUNTED) for trials in pair)
        early = [_first(trials, equal) for trials in pair]
        for searched, trials, begun in zip((a, b), pair, early, strict=True):
            top = ranked(trials, searched.metric)[:1]
            best = (top[0]["value"], standard_error(top[0]["fold_values"])) if top else (None,)
            row = [study, searched.name, _number(*best), _number(_best(begun, searched.metric))]
            row += [_number(_mean(trials)), str(count(trials, *COUNTED))]
            rows.append([*row, str(count(trials, "complete"))])
        if comparable:
            gaps = [
                None if one is None or other is None else other - one
                for one, other in (
                    [_best(trials, a.metric) for trials in pair],
                    [_best(trials, a.metric) for trials in early],
                    [_mean(trials) for trials in pair],
                )
            ]
            told = [_number(gap, sign=True) for gap in gaps]
            rows.append([study, f"{b.name} less {a.name}", *told, "", ""])
    return _table(head, rows)


def _first(trials: Sequence[Trial], n: int) -> list[Trial]:
    """The first n trials that were done."""
    done = [trial for trial in trials if trial["state"] in COUNTED]
    return sorted(done, key=lambda trial: int(trial["number"]))[:n]


def _elites(a: Searched, b: Searched) -> list[str]:
    elites = [elite_and_rest(searched.trials, searched.metric)[0] for searched in (a, b)]
    lines = [
        f"The best quarter of the complete trials of each study: {len(elites[0])} of {a.name}, "
        f"{len(elites[1])} of {b.name}. Of numbers the quartiles, of choices the share of each.",
        "",
    ]
    found: dict[str, list[list[Value]]] = {}
    for place, elite in enumerate(elites):
        for trial in elite:
            params = trial["params"]
            for param, value in {"source": trial["source"], **params}.items():
                found.setdefault(param, [[], []])[place].append(value)
    rows = []
    for param, pair in found.items():
        every = [*pair[0], *pair[1]]
        if len(set(map(text_of, every))) == 1:
            continue  # fixed in both alike
        numbers = [[value for value in values if _is_number(value)] for values in pair]
        if any(numbers):
            rows.append([param, "quartiles", *map(_quartiles, numbers)])
        for text in sorted({text_of(value) for value in every if not _is_number(value)}):
            rows.append([param, text, *(_share(text, values) for values in pair)])
    return lines + _table(["param", "", a.name, b.name], rows)


def _is_number(value: Value) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _quartiles(values: Sequence[float]) -> str:
    if not values:
        return NONE
    return " / ".join(f"{x:.4g}" for x in np.quantile(values, [0.25, 0.5, 0.75]))


def _share(text: str, values: Sequence[Value]) -> str:
    return f"{sum(text_of(v) == text for v in values) / len(values):.0%}" if values else NONE


def _number(value: float | None, error: float | None = None, *, sign: bool = False) -> str:
    if value is None:
        return NONE
    text = f"{value:+.5f}" if sign else f"{value:.5f}"
    return text if error is None else f"{text} ± {error:.5f}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [f"| {' | '.join(map(_cell, line))} |" for line in lines]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# Params as YAML


def best_yaml(name: str, rows: Sequence[Row], metric: str, search_folds: Sequence[int]) -> str:
    """best.yaml: by study its best params, to the last digit, with value, baseline and their errors.

    Args:
        rows: of analysis.best_trials.
    """
    best = {study: _entries(found)[0] for study, found in overall(rows, metric).items()}
    head = f"# Search {name}: the best params of each study. {_metric(metric)} over the "
    head += f"{_folds(search_folds)}:\n# optimistic, as the best of `trials`.\n"
    return head + _dumped(best)


def top_yaml(
    name: str, rows: Sequence[Row], metric: str, search_folds: Sequence[int], k: int
) -> str:
    """top.yaml: by study its k best distinct params, of all its sources, best first."""
    top = {
        study: [{"rank": place + 1, **entry} for place, entry in enumerate(_entries(found)[:k])]
        for study, found in overall(rows, metric).items()
    }
    head = f"# Search {name}: the best distinct params of each study. {_metric(metric)} over the\n"
    return head + f"# {_folds(search_folds)}.\n" + _dumped(top)


def _entries(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows of a study; each is one of the trials of all its sources."""
    trials = sum(row["trials"] for row in rows if row["rank"] == 1)
    entries: list[dict[str, Any]] = []
    for row in rows:
        entry = {"source": row["source"], "number": row["number"], "trials": trials}
        for key in ("value", "standard_error", "baseline_value", "baseline_standard_error", "gain"):
            entry[key] = None if row[key] is None else float(f"{row[key]:.6g}")
        entries.append({**entry, "params": json.loads(row["params"])})
    return entries


def _dumped(content: Mapping[str, Any]) -> str:
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000))
