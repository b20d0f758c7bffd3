"""Linear models on imputed and scaled numbers and one-hot or hashed categories.

Logistic, multinomial or ridge regression, all targets side by side; or with `solver: sgd` an elastic
net by stochastic gradient descent.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from blendmake.families.linear_lbfgs import Regression, Solution, solve
from blendmake.families.linear_model import Outcome, predict_rows
from blendmake.families.linear_rows import MOST_HASH_BITS, SCALINGS, Preparation, Regressors
from blendmake.family import Family, Fit, Fitted, FoldData, Labels, Predictions, known_rows, refused
from blendmake.files import write_text
from blendmake.matrix import Rows

log = logging.getLogger(__name__)

HASH_BITS = 12
# Of fewer labelled rows than this share, a target is fitted on these alone: passes over all rows would
# cost more than is gained by sharing them.
SHARING = 0.2


@dataclass(frozen=True)
class _Layout:
    """What becomes of columns: the params that a preparation depends on."""

    hash_bits: int
    scaling: str


class _Fold:
    """The fold's rows as regressors, by one way to make them."""

    def __init__(self, data: FoldData, layout: _Layout) -> None:
        self.layout = layout
        self.preparation = Preparation.learn(data.train, layout.hash_bits, layout.scaling)
        apply = self.preparation.apply
        self.train, self.valid, self.test = map(apply, (data.train, data.valid, data.test))
        self.stop = None if data.stop is None else apply(data.stop)


class Linear(Family):
    """Logistic regression, or an elastic net by stochastic gradient descent; of numbers, ridge.

    Params: those of scikit-learn's LogisticRegression; of numbers, of its Ridge (`alpha`, 1, the
    stronger the more, of labels whose spread is 1). With `solver: sgd` those of its SGDClassifier or
    SGDRegressor (`penalty` l2, l1 or elasticnet, `alpha`, `l1_ratio`, `average`, `tol`, …), but for
    `alpha`, 0.01 here: at 0.0001 it did not settle on 5,800 × 895. `rounds` are epochs then, at most: it
    ends when for five of them the training loss has not fallen by `tol` (0.001; null for all
    epochs). `categories`: `onehot`, or `hashed` into 2 ** `hash_bits` columns (12 bits) that all
    category columns share. `scaling`: `standard`, all numbers alike; `rows`, of mostly-zero numbers
    (counts of words, fingerprints) all rows of one length; `auto`, the latter where there are many such
    columns.

    With the solver `lbfgs` and the penalty `l2`, the targets are fitted side by side. `C` (of numbers
    `alpha`) may be a list there: with early stopping the models go from the strongest penalty (the
    smallest C, the largest alpha) to weaker ones, each beginning where the last one ended, until for
    `rounds` of them the metric on the watched rows has not bettered; the model is then fitted with the
    best of them on training and watched rows.
    """

    PACKAGES = ("scikit-learn", "scipy")
    ROUNDS = 300  # iterations at most
    STOPS = False
    TOGETHER = 16  # more would gain little, and cost more when the job is killed
    DEFAULTS: ClassVar[dict[str, Any]] = {"C": 0.1, "solver": "lbfgs"}
    NUMBER_DEFAULTS: ClassVar[dict[str, Any]] = {"alpha": 1.0, "solver": "lbfgs"}
    SGD_DEFAULTS: ClassVar[dict[str, Any]] = {"alpha": 0.01, "penalty": "l2", "tol": 1e-3}
    RESERVED: ClassVar[dict[str, str]] = {
        "random_state": "use the problem's seed",
        "n_jobs": "threads belong to the profile (set-threads)",
        "max_iter": "use the source's key 'rounds'",
        "class_weight": "use the source's key 'class_weight'",
        "loss": "it is that of the target's task",
        "multi_class": "it is multinomial",
        "early_stopping": "use the source's key 'early_stopping', with a list of values of C (alpha)",
        "warm_start": "it would tie the targets together",
    }

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        self._blas = ThreadpoolController()
        self._made: _Fold | None = None

    @classmethod
    def stops(cls, params: Mapping[str, Any]) -> bool:
        """With a list of C, or of alpha."""
        return any(isinstance(params.get(name), list) for name in ("C", "alpha"))

    def _fold(self, layout: _Layout) -> _Fold:
        """The fold's rows; kept until columns are wanted otherwise."""
        if self._made is None or self._made.layout != layout:
            self._made = None  # the old ones go before the new ones come
            self._made = _Fold(self.data, layout)
        return self._made

    def params(self, asked: Fit) -> dict[str, Any]:
        """As in the base, over the defaults of the solver that is asked for."""
        params = super().params(asked)
        if params["solver"] == "sgd":
            return {**self.SGD_DEFAULTS, **asked.params}
        if asked.task == "regression":
            return {**self.NUMBER_DEFAULTS, **asked.params}
        return params

    def fit(self, asked: Fit) -> Fitted:
        return self.fit_many([asked])[0]

    def fit_many(self, asked: Sequence[Fit]) -> list[Fitted]:
        """Fit targets, those of the same layout side by side; as if each were fitted alone."""
        todo = [_Todo(one, self.params(one)) for one in asked]
        done: dict[int, Fitted] = {}
        # BLAS would otherwise take every core, and its sums depend on the number of threads.
        with self._blas.limit(limits=self.threads):
            for layout in dict.fromkeys(one.layout for one in todo):
                fold = self._fold(layout)
                here = [j for j, one in enumerate(todo) if one.layout == layout]
                for j in here:
                    if not todo[j].shared:
                        done[j] = self._by_library(todo[j], fold)
                for intercept in (True, False):
                    some = [j for j in here if todo[j].shared and todo[j].intercept is intercept]
                    fitted = _side_by_side([todo[j] for j in some], fold, intercept)
                    done |= dict(zip(some, fitted, strict=True))
        return [done[j] for j in range(len(asked))]

    def _by_library(self, todo: _Todo, fold: _Fold) -> Fitted:
        """Fit one target by scikit-learn."""
        asked, outcome = todo.asked, todo.outcome
        known = known_rows(asked.label)
        train = fold.train if known is None else fold.train.at(known)
        labels = asked.label if known is None else asked.label[known]
        weight = asked.weight if known is None or asked.weight is None else asked.weight[known]
        from blendmake.lean.linear_models import ConvergenceWarning

        with warnings.catch_warnings():
            # Stopping at `rounds` is what was asked for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                model = todo.model()
                model.fit(train.whole(), outcome.of_library(labels), sample_weight=weight)
            except (TypeError, ValueError) as error:
                raise refused(asked, error) from error
        weights = np.atleast_2d(model.coef_).astype(np.float64)
        intercepts = np.broadcast_to(np.atleast_1d(model.intercept_), len(weights))
        iterations = 1 if model.n_iter_ is None else int(np.max(model.n_iter_))
        solution = Solution(intercepts.astype(np.float64), weights, iterations)
        outcome = outcome.linked("one_against_rest" if todo.by_descent else None, len(weights))
        return _fitted(solution, fold, outcome)


class _Todo:
    """A fit that is asked for, its params read.

    Attributes:
        layout: what becomes of columns.
        shared: whether it is fitted side by side with others, not by scikit-learn.
        intercept: whether it has one.
        outcome: what its margins stand for.
        by_descent: whether it is fitted by stochastic gradient descent.
        penalty: name of the param that says how strong the penalty is.
        strengths: values of C (1 / alpha), ascending: from the strongest penalty to the weakest.
    """

    def __init__(self, asked: Fit, params: dict[str, Any]) -> None:
        self.asked = asked
        scaling = params.pop("scaling", "auto")
        if scaling not in SCALINGS:
            ways = ", ".join(SCALINGS)
            raise refused(asked, ValueError(f"scaling is one of {ways}; found {scaling!r}"))
        self.layout = _Layout(_hash_bits(asked, params), scaling)
        self._params = params
        self.outcome = Outcome.of(asked)
        self.by_descent = params["solver"] == "sgd"
        self.penalty = "alpha" if asked.task == "regression" else "C"
        self.shared = _is_plain(params, self.penalty)
        self.strengths = self._strengths()
        self.intercept = bool(params.get("fit_intercept", True))

    def _strengths(self) -> list[float]:
        name = self.penalty
        given = self._params.get(name, 1.0)
        if not isinstance(given, list):
            return [self._strength(given)] if self.shared else []
        if len(given) == 0 or not all(map(_is_above_zero, given)):
            message = f"{name} is a list of numbers above 0; found {given}"
            raise refused(self.asked, ValueError(message))
        if not self.shared:
            message = (
                f"a list of {name} goes with solver lbfgs and penalty l2, tol and fit_intercept"
            )
            raise refused(self.asked, ValueError(message))
        if len(given) > 1 and self.asked.stop_rounds is None:
            # The rows to watch may be of one class: then there is nothing to choose by.
            given = [sorted(given)[len(given) // 2]]
            log.warning("%s: no rows to choose %s by: %g", self.asked.title, name, given[0])
        return sorted({self._strength(float(one)) for one in given})

    def _strength(self, value: float) -> float:
        return 1 / value if self.penalty == "alpha" else value

    def model(self) -> Any:
        """scikit-learn's model.

        Raises:
            TypeError: a param that it does not know.
        """
        from blendmake.lean import linear_models as models

        params = dict(self._params)
        shared = {"max_iter": self.asked.rounds, "random_state": self.asked.seed}
        is_number = self.asked.task == "regression"
        if self.by_descent:
            del params["solver"]
            loss = "squared_error" if is_number else "log_loss"
            maker = models.SGDRegressor if is_number else models.SGDClassifier
            return maker(**params, loss=loss, **shared)
        return (models.Ridge if is_number else models.LogisticRegression)(**params, **shared)

    def regression(self, labels: Labels, weights: Any, strength: float, start: Any) -> Regression:
        default = 1e-6 if self.asked.task == "regression" else 1e-4
        return Regression(
            labels=self.outcome.given(labels),
            strength=strength,
            tolerance=float(self._params.get("tol", default)),
            iterations=self.asked.rounds,
            loss=self.outcome.loss,
            margins=self.outcome.margins,
            weights=weights,
            start=start,
        )


def _is_plain(params: Mapping[str, Any], penalty: str) -> bool:
    """Whether a regression is what is fitted side by side; scikit-learn fits, or refuses, any other."""
    c = params.get(penalty, 1.0)
    return (
        set(params) <= {penalty, "tol", "fit_intercept", "solver", "penalty"}
        and params["solver"] == "lbfgs"
        and params.get("penalty", "l2") == "l2"
        and isinstance(params.get("fit_intercept", True), bool)
        and all(_is_above_zero(value) for value in (c if isinstance(c, list) else [c]))
        and _is_above_zero(params.get("tol", 1e-4))
    )


def _is_above_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


@dataclass(frozen=True)
class _Asked:
    """A regression to be solved: of what, labels and weights (rows,), strength, and where to begin."""

    todo: _Todo
    labels: Labels
    weights: Any
    strength: float
    start: Any = None

    def regression(self) -> Regression:
        return self.todo.regression(self.labels, self.weights, self.strength, self.start)


def _solve(asked: Sequence[_Asked], rows: Regressors, intercept: bool) -> list[Solution]:
    """Solve regressions, on all rows or on the labelled ones.

    Which of the two depends on the target alone, so that it does not matter who is fitted beside it.
    """
    alone = [bool((~np.isnan(one.labels)).mean() < SHARING) for one in asked]
    found: dict[int, Solution] = {}
    together = [j for j, apart in enumerate(alone) if not apart]
    problems = [one.regression() for one in asked]
    try:
        solutions = solve(rows, [problems[j] for j in together], intercept)
        found |= dict(zip(together, solutions, strict=True))
        for j, apart in enumerate(alone):
            if apart:
                known = np.flatnonzero(~np.isnan(problems[j].labels))
                weights = problems[j].weights
                one = replace(
                    problems[j],
                    labels=problems[j].labels[known],
                    weights=None if weights is None else weights[known],
                )
                found[j] = solve(rows.at(known), [one], intercept)[0]
    except FloatingPointError as error:
        raise refused(asked[0].todo.asked, error) from error
    return [found[j] for j in range(len(asked))]


def _side_by_side(todo: Sequence[_Todo], fold: _Fold, intercept: bool) -> list[Fitted]:
    """Fit targets by L-BFGS, with one strength or with the best of several."""
    if not todo:
        return []
    best = _best_strengths(todo, fold, intercept)
    plain = [j for j in range(len(todo)) if j not in best]
    solved: dict[int, tuple[Solution, float | None]] = {}
    asked = [
        _Asked(todo[j], todo[j].asked.label, todo[j].asked.weight, todo[j].strengths[-1])
        for j in plain
    ]
    for j, solution in zip(plain, _solve(asked, fold.train, intercept), strict=True):
        solved[j] = solution, None
    if best:
        assert fold.stop is not None
        rows = fold.train.below(fold.stop)
        asked = [_with_watched(todo[j], *one[:2]) for j, one in best.items()]
        for j, solution in zip(best, _solve(asked, rows, intercept), strict=True):
            strength, _, score = best[j]
            name, stop = todo[j].penalty, todo[j].asked.stop
            value = 1 / strength if name == "alpha" else strength
            metric = "" if stop is None else stop.metric.title
            title = todo[j].asked.title
            log.info("%s: %s %g (%s %.4g on the watched rows)", title, name, value, metric, score)
            solved[j] = solution, score
    return [
        _fitted(solution, fold, todo[j].outcome, score)
        for j, (solution, score) in sorted(solved.items())
    ]


def _with_watched(todo: _Todo, strength: float, start: Any) -> _Asked:
    """The regression on the training and the watched rows, these of the median weight of their label."""
    asked = todo.asked
    assert asked.stop is not None
    watched = asked.stop.labels[:, 0]
    weights = None
    if asked.weight is not None:
        classes = np.unique(asked.label[~np.isnan(asked.label)])
        own = np.ones(len(watched))
        for one in classes if asked.task != "regression" else ():
            own[watched == one] = np.median(asked.weight[asked.label == one])
        weights = np.concatenate([asked.weight, own])
    return _Asked(todo, np.concatenate([asked.label, watched]), weights, strength, start)


def _best_strengths(
    todo: Sequence[_Todo], fold: _Fold, intercept: bool
) -> dict[int, tuple[float, Any, float]]:
    """By position of the targets that stop early: the best strength, where to begin, its score."""
    best: dict[int, tuple[float, Any, float]] = {}
    starts: dict[int, Any] = {}
    worse = {j: 0 for j, one in enumerate(todo) if one.asked.stop_rounds is not None}
    for step in range(max((len(todo[j].strengths) for j in worse), default=0)):
        here = [
            j
            for j, bad in worse.items()
            if step < len(todo[j].strengths) and bad < (todo[j].asked.stop_rounds or 1)
        ]
        asked = [
            _Asked(
                todo[j],
                todo[j].asked.label,
                todo[j].asked.weight,
                todo[j].strengths[step],
                starts.get(j),
            )
            for j in here
        ]
        for j, solution in zip(here, _solve(asked, fold.train, intercept), strict=True):
            stop = todo[j].asked.stop
            assert fold.stop is not None and stop is not None
            predicted = predict_rows(fold.stop, solution, todo[j].outcome)
            score = stop.mean(stop.scores(todo[j].asked.targets, predicted))
            starts[j] = solution.vector
            if j not in best or stop.metric.is_better(score, best[j][2]):
                best[j], worse[j] = (todo[j].strengths[step], solution.vector, score), 0
            else:
                worse[j] += 1
    return best


def _fitted(
    solution: Solution, fold: _Fold, outcome: Outcome, stop_score: float | None = None
) -> Fitted:
    def save(stem: Path) -> Path:
        path = stem.with_name(stem.name + ".json")
        stored = {
            "coefficients": solution.weights.tolist(),
            "intercepts": solution.intercepts.tolist(),
            "outcome": outcome.to_json(),
            "preparation": fold.preparation.to_json(),
        }
        write_text(json.dumps(stored), path)
        return path

    return Fitted(
        predict_rows(fold.valid, solution, outcome),
        predict_rows(fold.test, solution, outcome),
        solution.iterations,
        save,
        None if stop_score is None else np.array([stop_score]),
    )


def _hash_bits(asked: Fit, params: dict[str, Any]) -> int:
    """Take the params that say what becomes of categories; 0 bits for one column per level."""
    ways = ("onehot", "hashed")
    way, bits = params.pop("categories", "onehot"), params.pop("hash_bits", None)
    if way not in ways:
        raise refused(asked, ValueError(f"categories is one of {', '.join(ways)}; found {way!r}"))
    if way == "onehot":
        if bits is not None:
            raise refused(asked, ValueError("hash_bits goes with 'categories: hashed' only"))
        return 0
    bits = HASH_BITS if bits is None else bits
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MOST_HASH_BITS:
        raise refused(asked, ValueError(f"hash_bits is a whole number from 1 to {MOST_HASH_BITS}"))
    return bits


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Predictions:
    """Predictions (rows, outputs) of a saved model for rows of its feature set."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    x = Preparation.from_json(stored["preparation"]).apply(rows)
    weights = np.array(stored["coefficients"], np.float64).reshape(len(stored["intercepts"]), -1)
    solution = Solution(np.array(stored["intercepts"], np.float64), weights, 0)
    with ThreadpoolController().limit(limits=threads):
        return predict_rows(x, solution, Outcome.from_json(stored["outcome"]))


FAMILY = Linear
