"""What the trials of a search say: the best, what matters, which way is better, what was explored.

The tests take trials as independent. Those of a sampler that learns are not: there a p is a guide.
"""

from __future__ import annotations

import json
import math
import statistics
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
import pyarrow as pa
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from scipy import stats

from blendmake.searches.ranking import Row, distinct
from blendmake.searches.space import Param, Space, Value, same
from blendmake.searches.table import (
    Trial,
    ranked,
    rated,
    sign_of,
    studies_of,
)

IMPORTANCES = pa.schema(
    [
        ("study", pa.string()),
        ("param", pa.string()),
        ("method", pa.string()),
        ("importance", pa.float64()),
        ("n", pa.int64()),
    ]
)
DIRECTIONS = pa.schema(
    [
        ("study", pa.string()),
        ("param", pa.string()),
        ("kind", pa.string()),
        ("n", pa.int64()),
        ("rho", pa.float64()),
        ("p", pa.float64()),
        ("trend", pa.string()),
        ("mean_with", pa.float64()),
        ("mean_without", pa.float64()),
        ("difference", pa.float64()),
        ("choice_means", pa.string()),
        ("best", pa.string()),
        ("worst", pa.string()),
    ]
)
RANGES = pa.schema(
    [
        ("study", pa.string()),
        ("param", pa.string()),
        ("declared_low", pa.float64()),
        ("declared_high", pa.float64()),
        ("explored_low", pa.float64()),
        ("explored_high", pa.float64()),
        ("explored_share", pa.float64()),
        ("hits_low", pa.float64()),
        ("hits_high", pa.float64()),
        ("commonest", pa.string()),
        ("commonest_share", pa.float64()),
        ("n", pa.int64()),
    ]
)

LEVEL = 0.05
"""Below this a p is taken for an effect."""
TREND_TRIALS = 5
"""Fewer trials show no trend."""
IMPORTANCE_TRIALS = 4
"""Fewer distinct trials show no importance."""
AT_BOUND = 0.02
"""So near, as a share of the width, a trial counts as at the bound."""
ELITE_SHARE = 0.25
FANOVA_SEED = 0

PED_ANOVA, FANOVA = "ped_anova", "fanova"


# The trials that can be learned from


def explored(trials: Iterable[Trial]) -> list[Trial]:
    """The complete trials whose params lie in the space."""
    return [trial for trial in rated(trials) if trial["in_space"]]


def values_of(trial: Trial, space: Space) -> dict[str, Value]:
    """The values of a trial by the params of the space; of several sources, with its own."""
    named = any(param.name == "source" for param in space)
    return {"source": trial["source"], **trial["params"]} if named else trial["params"]


def with_param(trials: Iterable[Trial], space: Space, param: Param) -> list[tuple[Trial, Value]]:
    """The trials in which a param was in effect, and its values."""
    pairs = ((trial, values_of(trial, space)) for trial in trials)
    return [(trial, values[param.name]) for trial, values in pairs if param.name in values]


def elite_and_rest(trials: Sequence[Trial], metric: str) -> tuple[list[Trial], list[Trial]]:
    """The best quarter of the complete trials in the space, and the others, study by study.

    A study whose trials are all equally good has no elite: its trials are left out.
    """
    elite: list[Trial] = []
    rest: list[Trial] = []
    for of_study in studies_of(trials).values():
        known = ranked(explored(of_study), metric)
        if not _differ(known):
            continue
        size = math.ceil(ELITE_SHARE * len(known))
        elite += known[:size]
        rest += known[size:]
    return elite, rest


def positions(param: Param, values: Iterable[Value]) -> NDArray[np.float64]:
    """Where numbers lie between a range's bounds: (n,) from 0 to 1, by logarithms where it has them."""
    assert param.low is not None and param.high is not None
    low, high = _scaled(param, param.low), _scaled(param, param.high)
    width = high - low
    return np.array([(_scaled(param, value) - low) / width if width else 0.0 for value in values])


def text_of(value: Value) -> str:
    """A value as people read it."""
    return value if isinstance(value, str) else json.dumps(value)


def _scaled(param: Param, value: float) -> float:
    return math.log(value) if param.log else float(value)


def _differ(trials: Sequence[Trial]) -> bool:
    """Whether values differ by more than the last digits of a sum."""
    values = [trial["value"] for trial in trials]
    if len(values) < 2:
        return False
    return bool(max(values) - min(values) > 1e-12 * max(map(abs, values)))


# Importances


def importances(trials: Sequence[Trial], space: Space, metric: str) -> list[Row]:
    """Rows of IMPORTANCES: per study and method, shares of 1 over the params that are searched.

    PED-ANOVA (Watanabe, Bansal & Hutter 2023) asks what the best trials have in common, and takes
    conditional params along (its conditional form, as Optuna has it). fANOVA (Hutter, Hoos &
    Leyton-Brown 2014) splits the variance of a forest's prediction, by logarithms where the range has
    them; params that always exist are judged on all trials, each conditional one beside them on the
    trials that have it. `n`: how many trials had the param. A study of fewer than IMPORTANCE_TRIALS
    distinct trials, or of equal values, gives no rows.
    """
    rows = []
    for study, of_study in studies_of(trials).items():
        known = [t for t in explored(of_study) if space.enqueued(values_of(t, space)) is not None]
        counts = {param.name: len(with_param(known, space, param)) for param in space.searched}
        for method, found in (
            (PED_ANOVA, _ped_anova(known, space, metric)),
            (FANOVA, _fanova(known, space, metric, counts)),
        ):
            for param in space.searched:
                if param.name in found:
                    rows.append(
                        {
                            "study": study,
                            "param": param.name,
                            "method": method,
                            "importance": found[param.name],
                            "n": counts[param.name],
                        }
                    )
    return rows


def _ped_anova(trials: Sequence[Trial], space: Space, metric: str) -> dict[str, float]:
    if not _enough(trials):
        return {}
    # The authors advise five trials or more above the quantile; of few, at most half.
    quantile = min(0.5, max(0.1, 5 / len(trials)))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=quantile)
    return _shares(_importances(evaluator, trials, space, metric, None))


def _fanova(
    trials: Sequence[Trial], space: Space, metric: str, counts: Mapping[str, int]
) -> dict[str, float]:
    always = [name for name, count in counts.items() if count == len(trials)]
    found = {}
    if always and _enough(trials):
        found = _shares(_importances(_forest(), trials, space, metric, always))
    for name in counts:
        having = [trial for trial in trials if name in values_of(trial, space)]
        if name not in always and _enough(having):
            among = _shares(_importances(_forest(), having, space, metric, [*always, name]))
            found |= {key: share for key, share in among.items() if key == name}
    return found


def _forest() -> FanovaImportanceEvaluator:
    return FanovaImportanceEvaluator(seed=FANOVA_SEED)


def _enough(trials: Sequence[Trial]) -> bool:
    return len(distinct(trials)) >= IMPORTANCE_TRIALS and _differ(trials)


def _importances(
    evaluator: BaseImportanceEvaluator,
    trials: Sequence[Trial],
    space: Space,
    metric: str,
    params: list[str] | None,
) -> dict[str, float]:
    """Importances by Optuna, of the trials put into a study of their own."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # not a line per study
    study = optuna.create_study(direction="maximize" if sign_of(metric) > 0 else "minimize")
    optuna.logging.set_verbosity(verbosity)
    straight = isinstance(evaluator, FanovaImportanceEvaluator)
    for trial in trials:
        values = values_of(trial, space)
        taken = space.enqueued(values)
        assert taken is not None
        distributions = space.distributions(values)
        if straight:
            pairs = {name: _straight(distributions[name], taken[name]) for name in taken}
            distributions = {name: distribution for name, (distribution, _) in pairs.items()}
            taken = {name: value for name, (_, value) in pairs.items()}
        study.add_trial(
            optuna.trial.create_trial(
                params=taken, distributions=distributions, value=trial["value"]
            )
        )
    with warnings.catch_warnings():
        # It warns that shares are not made to sum to 1, and of params that few trials have.
        warnings.simplefilter("ignore")
        return get_param_importances(study, evaluator=evaluator, params=params, normalize=False)


def _straight(distribution: BaseDistribution, value: Any) -> tuple[BaseDistribution, Any]:
    """A range by its logarithms: Optuna's fANOVA weighs the parts of a range by their plain width."""
    if not isinstance(distribution, FloatDistribution | IntDistribution) or not distribution.log:
        return distribution, value
    low, high = math.log(distribution.low), math.log(distribution.high)
    return FloatDistribution(low, high), min(max(math.log(value), low), high)


def _shares(found: Mapping[str, float]) -> dict[str, float]:
    """As shares of 1; nothing where nothing was found to matter."""
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {}


# Directions


def directions(trials: Sequence[Trial], space: Space, metric: str) -> list[Row]:
    """Rows of DIRECTIONS: per study and param, which way the metric gets better.

    From the complete trials in the space that have the param. Of numbers, truth values (as 0 and 1)
    and choices that are all numbers: Spearman's rho with the metric's value, its p, and the trend:
    `better_up`, `better_down`, or `flat` where p is LEVEL or more; null on fewer than TREND_TRIALS
    trials, or where the param did not vary. Of truth values also the metric's mean with it, without
    it, and their difference; of choices the mean of each (JSON), the best and the worst.
    """
    rows = []
    for study, of_study in studies_of(trials).items():
        known = explored(of_study)
        for param in space.searched:
            pairs = with_param(known, space, param)
            if pairs:
                row: Row = dict.fromkeys(DIRECTIONS.names)
                row |= {"study": study, "param": param.name, "kind": kind_of(param)}
                row |= {"n": len(pairs), **_trend(param, pairs, metric)}
                rows.append(row | _means(param, pairs, metric))
    return rows


def kind_of(param: Param) -> str:
    """`numeric` (a range), `boolean` (choices true and false) or `categorical`."""
    if param.kind != "categorical":
        return "numeric"
    truths = all(isinstance(choice, bool) for choice in param.choices)
    return "boolean" if truths and len(param.choices) == 2 else "categorical"


def _trend(param: Param, pairs: Sequence[tuple[Trial, Value]], metric: str) -> Row:
    values = [value for _, value in pairs]
    ordered = all(isinstance(value, int | float) for value in (*param.choices, *values))
    if not ordered or len(pairs) < TREND_TRIALS or len(set(values)) < 2:
        return {}
    if not _differ([trial for trial, _ in pairs]):
        return {"trend": "flat"}
    rho, p = stats.spearmanr([float(value) for value in values], [t["value"] for t, _ in pairs])
    way = "better_up" if sign_of(metric) * rho > 0 else "better_down"
    return {"rho": float(rho), "p": float(p), "trend": way if p < LEVEL else "flat"}


def _means(param: Param, pairs: Sequence[tuple[Trial, Value]], metric: str) -> Row:
    if param.kind != "categorical":
        return {}
    means = {}
    for choice in param.choices:
        of_choice = [trial["value"] for trial, value in pairs if same(value, choice)]
        if of_choice:
            means[text_of(choice)] = statistics.fmean(of_choice)
    order = sorted(means, key=lambda text: -sign_of(metric) * means[text])
    row: Row = {"choice_means": json.dumps(means), "best": order[0], "worst": order[-1]}
    if kind_of(param) == "boolean":
        row |= {"mean_with": means.get("true"), "mean_without": means.get("false")}
        if len(means) == 2:
            row["difference"] = means["true"] - means["false"]
    return row


# Ranges


def ranges(trials: Sequence[Trial], space: Space) -> list[Row]:
    """Rows of RANGES: per study and param, what was explored of what was declared.

    From the complete trials in the space that have the param. `explored_share`: of the width, by
    logarithms where the range has them; of choices, the share that was tried. `hits_low`,
    `hits_high`: the share of trials at a bound: within AT_BOUND of the width, whole numbers on it.
    """
    rows = []
    for study, of_study in studies_of(trials).items():
        known = explored(of_study)
        for param in space.searched:
            values = [value for _, value in with_param(known, space, param)]
            if not values:
                continue
            commonest, times = Counter(map(text_of, values)).most_common(1)[0]
            row: Row = dict.fromkeys(RANGES.names)
            row |= {"study": study, "param": param.name, "n": len(values), "commonest": commonest}
            row |= {"commonest_share": times / len(values)}
            rows.append(row | _explored(param, values))
    return rows


def _explored(param: Param, values: Sequence[Value]) -> Row:
    if param.kind == "categorical":
        tried = sum(any(same(choice, value) for value in values) for choice in param.choices)
        return {"explored_share": tried / len(param.choices)}
    places = positions(param, values)
    near = 1e-9 if param.kind == "int" else AT_BOUND
    single = param.low == param.high
    return {
        "declared_low": param.low,
        "declared_high": param.high,
        "explored_low": min(values),
        "explored_high": max(values),
        "explored_share": 1.0 if single else float(np.ptp(places)),
        "hits_low": float(np.mean(places <= near)),
        "hits_high": 1.0 if single else float(np.mean(places >= 1 - near)),
    }
