"""Where the next trial is looked for, and which are ended early: Optuna's, told what blendmake needs."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from blendmake.searches.space import Param, Space, Value, stored

STARTUP = 5
"""Trials before a study's median means anything, and before which nothing is pruned."""


class WeightedSampler(BaseSampler):
    """A sampler whose first draws of a categorical go by the weights of its choices.

    So do all that it draws one by one; what it models itself (TPE, once it has seen enough) goes by
    what was seen.
    """

    def __init__(self, inner: BaseSampler, space: Space, startup: int | None, seed: int) -> None:
        self._inner, self._startup = inner, startup
        self._weighted = {p.name: p for p in space.searched if p.weights is not None}
        self._draw = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, Any]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Any, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        param = self._weighted.get(param_name)
        if param is not None and (self._startup is None or trial.number < self._startup):
            assert param.weights is not None
            weights = np.asarray(param.weights) / sum(param.weights)
            return stored(param.choices[int(self._draw.choice(len(weights), p=weights))])
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def reseed_rng(self) -> None:
        self._inner.reseed_rng()

    def before_trial(self, study: Any, trial: FrozenTrial) -> None:
        self._inner.before_trial(study, trial)

    def after_trial(self, study: Any, trial: Any, state: Any, values: Any) -> None:
        self._inner.after_trial(study, trial, state, values)


def make_sampler(kind: str, space: Space, trials: int, seed: int) -> BaseSampler:
    """The sampler of one trial: made anew for each, so that it depends on what was seen alone.

    Args:
        kind: tpe, random, cmaes or grid (whose points are given beforehand).
        trials: of the study.
    """
    startup = max(STARTUP, min(10, trials // 6))
    inner: BaseSampler
    if kind == "tpe":
        with _quiet():
            inner = optuna.samplers.TPESampler(
                n_startup_trials=startup,
                multivariate=True,
                group=True,
                constant_liar=True,
                seed=seed,
            )
    elif kind == "cmaes":
        with _quiet():
            inner = optuna.samplers.CmaEsSampler(
                seed=seed, consider_pruned_trials=True, warn_independent_sampling=False
            )
    else:
        inner, startup = optuna.samplers.RandomSampler(seed=seed), None  # type: ignore[assignment]
    return WeightedSampler(inner, space, startup if kind != "cmaes" else None, seed)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's word that something is experimental: it has been for years."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def grid_points(space: Space) -> list[dict[str, Value]]:
    """Every combination of the values of a discrete space, in order, conditions kept."""
    points: list[dict[str, Value]] = [{}]
    for param in space.params:
        grown = []
        for point in points:
            if space.is_active(param, point):
                grown += [{**point, param.name: value} for value in _values(param)]
            else:
                grown.append(point)
        points = grown
    return points


def _values(param: Param) -> Sequence[Value]:
    if param.kind == "fixed":
        return [param.value]
    if param.kind == "categorical":
        return param.choices
    assert param.low is not None and param.high is not None
    step = param.step or 1
    count = int((param.high - param.low) / step + 1e-9) + 1
    # 0.1 + 2 * 0.1 is more than 0.3, and would lie outside.
    numbers = [min(param.high, float(f"{param.low + k * step:.12g}")) for k in range(count)]
    return [int(x) for x in numbers] if param.kind == "int" else numbers


class MedianPruner(BasePruner):
    """Ends a trial that is below the median of the others at the same round of the same fold.

    Unlike Optuna's, which holds a trial's best value so far against the others', it looks at the present
    one: here values are running means over folds, and a first fold that is easy would shield a bad
    trial for ever. (Golovin et al. 2017, "Google Vizier", in their median stopping rule.) Those that
    reach a step have survived the ones before, so that the bar rises; a trial is left alone in its
    first fit, or half of all would end there and the best of n be worse.

    Args:
        first: the last step of a trial's first fit.
    """

    def __init__(self, larger_is_better: bool, first: int) -> None:
        self._sign, self._first = 1 if larger_is_better else -1, first

    def prune(self, study: Any, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step < self._first:
            return False
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(
                deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)
            )
            if step in other.intermediate_values
        ]
        if len(others) < STARTUP:
            return False
        value = trial.intermediate_values[step]
        return bool(self._sign * value < self._sign * statistics.median(others))


def make_pruner(kind: str, metric_is_larger: bool, stride: int, fits: int) -> BasePruner:
    """The pruner of a study.

    Args:
        kind: none, median, hyperband or wilcoxon.
        stride: steps of one fit.
        fits: of a trial.
    """
    if kind == "median":
        return MedianPruner(metric_is_larger, stride)
    if kind == "hyperband":
        steps = stride * fits
        return optuna.pruners.HyperbandPruner(
            min_resource=max(1, steps // 27), max_resource=steps, reduction_factor=3
        )
    if kind == "wilcoxon":
        with _quiet():
            return optuna.pruners.WilcoxonPruner(p_threshold=0.1)
    return optuna.pruners.NopPruner()
