"""The check of a search before its trials: its space, and whether each param does anything."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.family import Family
from blendmake.fits.fold_fits import FoldFits, Unit
from blendmake.fits.tuned import override
from blendmake.searches.lint import lint_space
from blendmake.searches.lint_text import ERROR, WARNING, Finding, findings_text
from blendmake.searches.samplers import make_sampler
from blendmake.searches.search import Search, search_of
from blendmake.searches.space import Param, Space, Value
from blendmake.seeds import derive_seed

PROBE_ROWS = 2000
"""Training rows of a probe's fits at most, held-out rows likewise."""
PROBE_ROUNDS = 20
PROBE_TRIES = 3
"""Points of the space at which a param is changed before it is said to do nothing."""


def check_search(search: Search) -> list[Finding]:
    """What is wrong with a search, or odd, as far as its config and the data's names tell."""
    config = search.config
    given = {key: config[key] for key in ("trials", "sampler", "pruner")}
    units, sources = 4 * len(search.folds), list(search.sources)
    found = lint_space(config["space"], **given, rounds=None, units=units, sources=sources)
    if any(finding.level == ERROR for finding in found):
        return found  # the rest asks what the space means
    rounds = [param for param in search.space.params if param.name == "rounds"]
    if any(param.kind == "float" or not _is_count(param) for param in rounds):
        found.append(Finding(ERROR, "space.rounds", "must be whole numbers of at least 1"))
        return found
    targets = next(iter(search.study_targets().values()))
    return lint_space(
        config["space"],
        **given,
        rounds=search.rounds(targets[0]),
        units=search.units(targets),
        sources=sources,
        known={plan.name: plan.baselines[0] for plan in search.plans()},
        every=max(search.report_every(search.stride(targets), s) for s in search.sources),
    )


def _is_count(param: Param) -> bool:
    """Whether every value of a param is a whole number of at least 1."""
    values = _ends(param) if param.kind != "fixed" else [param.value]
    return all(isinstance(value, int) and value >= 1 for value in values)


def lint_searches(
    problem: str,
    slices: Mapping[str, Mapping[str, Any]],
    features: Mapping[str, Mapping[str, Any]],
    files: Any,
    built: Mapping[str, Sequence[str]],
) -> tuple[str, bool]:
    """All searches of a problem checked and probed, as text, and whether all can be run.

    Args:
        slices: what the jobs of each search depend on.
        features: by search, its files of features and inner splits.
        files: train, test, targets, folds.
        built: members of the groups that a rule built.
    """
    texts, sound = [], True
    for name, params in slices.items():
        own = {key: getattr(files, key) for key in ("train", "test", "targets", "folds")}
        search = search_of(params, problem, name, {**own, **features[name]}, built)
        try:
            found = check_search(search)
            if all(finding.level != ERROR for finding in found):
                found += probe_effects(search)
        except BlendmakeError as error:
            where, _, text = str(error).removeprefix(f"searches.{name}.").partition(": ")
            found = [Finding(ERROR, where, text)]
        sound = sound and all(finding.level != ERROR for finding in found)
        texts.append(findings_text(name, found))
    return "\n".join(texts) or "This problem has no searches.", sound


def probe_effects(search: Search) -> list[Finding]:
    """Params that change nothing in the fitted model, wherever in the space they are changed.

    Each is set to its two ends (each choice) at a few points drawn from the space, and the source is
    fitted with few rounds to a sample of rows, everything else alike: predictions that stay the same
    to the last bit have not heard of it. A param that a library refuses is found too.
    """
    findings: list[Finding] = []
    for source in search.sources:
        prober = _Prober(search, source)
        for param in search.space.searched:
            if param.name in ("source", "rounds"):  # they do something, by what they are
                continue
            wanted = (param.when or {}).get("source")
            if wanted is None or source in wanted:
                findings += prober.probe(param)
    return findings


class _Prober:
    """Fits one source to a sample, with points of the space."""

    def __init__(self, search: Search, source: str) -> None:
        self.search, self.source = search, source
        targets = next(iter(search.study_targets().values()))
        self.fits: FoldFits = search.fits[source][0]
        marked = [_marked(self.fits, target).sum() for target in targets]
        commonest = targets[int(np.argmax(marked))]
        together = self.fits.together(targets)[0] if self.fits.multi_output else (commonest,)
        self.unit = Unit(together, 0)
        _sample(self.fits, commonest, search.name)
        self._family: Family | None = None
        self._known: dict[str, NDArray[Any]] = {}

    def probe(self, param: Param) -> Iterator[Finding]:
        where = f"space.{param.name}"
        tried = 0
        for point in self._points(param):
            tried += 1
            try:
                found = [
                    self._predictions(_with(self.search.space, point, param.name, value))
                    for value in _ends(param)
                ]
            except Exception as error:
                text = f"source '{self.source}' cannot be fitted with it: {error}"
                yield Finding(ERROR, where, text)
                return
            if any(not np.array_equal(found[0], other) for other in found[1:]):
                return
        if tried:
            yield Finding(
                WARNING,
                where,
                f"it changes nothing in what source '{self.source}' predicts, at {tried} points of the "
                f"space, {min(PROBE_ROUNDS, self.search.rounds(self.unit.targets[0]))} rounds each: "
                "its trials would be lost on it. Leave it out, or set what it depends on",
            )

    def _points(self, param: Param) -> Iterator[dict[str, Value]]:
        """Points of the space at which a param exists, beginning with the source's own params."""
        space, search = self.search.space, self.search
        own = search.baseline(self.source, self.unit.targets[0])
        found = 0
        if all(parent in own for parent in param.when or {}) and space.is_active(param, own):
            found += 1
            yield own
        seed = derive_seed("probe", search.name, param.name)
        study = optuna.create_study(sampler=make_sampler("random", space, 1, seed))
        for _ in range(50 * PROBE_TRIES):
            if found >= PROBE_TRIES:
                return
            point = self._drawn(space, study)
            if param.name in point and point.get("source", self.source) == self.source:
                found += 1
                yield point

    @staticmethod
    def _drawn(space: Space, study: optuna.Study) -> dict[str, Value]:
        trial = study.ask()
        point = space.suggest(trial)
        study.tell(trial, 0.0)
        return point

    def _predictions(self, values: Mapping[str, Value]) -> NDArray[Any]:
        key = repr(sorted(values.items()))
        if key not in self._known:
            layer = override(values, [param.name for param in self.search.space.params])
            rounds = self.search.rounds(self.unit.targets[0])
            layer["rounds"] = min(PROBE_ROUNDS, layer.get("rounds", rounds))
            self.fits.tuned = dict.fromkeys(self.unit.targets, layer)
            if self._family is None:
                self._family = self.fits.made_family(self.unit)
            with tempfile.TemporaryDirectory(prefix="blendmake-probe-") as folder:
                scratch = Path(folder) if self.fits.multi_output else None
                fitted = self.fits.fit_one(self._family, self.unit, scratch).fitted
            self._known[key] = np.asarray(fitted.valid)
        return self._known[key]


def _ends(param: Param) -> list[Value]:
    """The values between which a param must make a difference."""
    if param.kind == "categorical":
        return list(param.choices)
    return [param.low, param.high]


def _with(space: Space, point: Mapping[str, Value], name: str, value: Value) -> dict[str, Value]:
    """A point of the space with one value changed, and with it the params that depend on it."""
    changed: dict[str, Value] = {}
    for param in space.params:
        if not space.is_active(param, changed):
            continue
        if param.name == name:
            changed[name] = value
        elif param.name in point:
            changed[param.name] = point[param.name]
        elif param.when:
            changed[param.name] = param.value if param.kind == "fixed" else _ends(param)[0]
    return changed


def _marked(fits: FoldFits, target: str) -> NDArray[np.bool_]:
    """Rows (rows,) whose labels say most: positives; of other tasks all that are known."""
    labels = fits.labels[:, fits.names.index(target)]
    is_binary = fits.targets[target].task.name == "binary"
    marked: NDArray[np.bool_] = labels == 1 if is_binary else ~np.isnan(labels)
    return marked


def _sample(fits: FoldFits, target: str, name: str) -> None:
    """Leave a sample of the rows in fits; of a binary target's positives up to half of it."""
    draw = np.random.default_rng(derive_seed("probe", name))
    marked, is_binary = _marked(fits, target), fits.targets[target].task.name == "binary"

    def some(rows: NDArray[Any]) -> NDArray[Any]:
        if len(rows) <= PROBE_ROWS:
            return rows
        if not is_binary:
            known = rows[marked[rows]]
            return np.sort(draw.choice(known, min(len(known), PROBE_ROWS), replace=False))
        positive = marked[rows]
        kept = [rows[positive][: PROBE_ROWS // 2]]
        others = rows[~positive]
        count = min(len(others), PROBE_ROWS - len(kept[0]))
        kept.append(draw.choice(others, count, replace=False))
        return np.sort(np.concatenate(kept))

    fits.train_rows, fits.valid_rows = some(fits.train_rows), some(fits.valid_rows)
