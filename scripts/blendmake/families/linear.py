"""Linear models on imputed and scaled numbers and one-hot or hashed categories.

Logistic regression, all targets side by side; or with `solver: sgd` an elastic net by stochastic
gradient descent.
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
from scipy.special import expit
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from blendmake.families.linear_lbfgs import Regression, Solution, solve
from blendmake.families.linear_rows import MOST_HASH_BITS, SCALINGS, Preparation, Regressors
from blendmake.family import Family, Fit, Fitted, FoldData, JointFit, known_rows, refused
from blendmake.files import write_text
from blendmake.matrix import Floats, Rows
from blendmake.stats.auc import auc

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
    """Logistic regression, or an elastic net by stochastic gradient descent.

    Params: those of scikit-learn's LogisticRegression; with `solver: sgd` those of its SGDClassifier
    (`penalty` l2, l1 or elasticnet, `alpha`, `l1_ratio`, `average`, `tol`, …), but for `alpha`,
    0.01 here: at 0.0001 it did not settle on 5,800 × 895. `rounds` are epochs then, at most: it
    ends when for five of them the training loss has not fallen by `tol` (0.001; null for all
    epochs). `categories`: `onehot`, or `hashed` into 2 ** `hash_bits` columns (12 bits) that all
    category columns share. `scaling`: `standard`, all numbers alike; `rows`, of mostly-zero numbers
    (counts of words, fingerprints) all rows of one length; `auto`, the latter where there are many such
    columns.

    With the solver `lbfgs` and the penalty `l2`, the targets are fitted side by side. `C` may be a list
    there: with early stopping the models go from the strongest penalty (the smallest C) to weaker
    ones, each beginning where the last one ended, until for `rounds` of them the AUC on the watched
    rows has not risen; the model is then fitted with the best C on training and watched rows.
    """

    PACKAGES = ("scikit-learn", "scipy")
    ROUNDS = 300  # iterations at most
    STOPS = False
    TOGETHER = 16  # more would gain little, and cost more when the job is killed
    DEFAULTS: ClassVar[dict[str, Any]] = {"C": 0.1, "solver": "lbfgs"}
    SGD_DEFAULTS: ClassVar[dict[str, Any]] = {"alpha": 0.01, "penalty": "l2", "tol": 1e-3}
    RESERVED: ClassVar[dict[str, str]] = {
        "random_state": "use the problem's seed",
        "n_jobs": "threads belong to the profile (set-threads)",
        "max_iter": "use the source's key 'rounds'",
        "class_weight": "use the source's key 'class_weight'",
        "loss": "targets are binary, their loss is logistic",
        "early_stopping": "use the source's key 'early_stopping', with a list of values of C",
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
        """With a list of C."""
        return isinstance(params.get("C"), list)

    def _fold(self, layout: _Layout) -> _Fold:
        """The fold's rows; kept until columns are wanted otherwise."""
        if self._made is None or self._made.layout != layout:
            self._made = None  # the old ones go before the new ones come
            self._made = _Fold(self.data, layout)
        return self._made

    def params(self, task: Fit | JointFit) -> dict[str, Any]:
        """As in the base, over the defaults of the solver that is asked for."""
        params = super().params(task)
        if params["solver"] != "sgd":
            return params
        return {**self.SGD_DEFAULTS, **task.params}

    def fit(self, task: Fit) -> Fitted:
        return self.fit_many([task])[0]

    def fit_many(self, tasks: Sequence[Fit]) -> list[Fitted]:
        """Fit targets, those of the same layout side by side; as if each were fitted alone."""
        todo = [_Todo(task, self.params(task)) for task in tasks]
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
        return [done[j] for j in range(len(tasks))]

    def _by_library(self, todo: _Todo, fold: _Fold) -> Fitted:
        """Fit one target by scikit-learn."""
        known = known_rows(todo.task.labels)
        train = fold.train if known is None else fold.train.at(known)
        labels = todo.task.labels if known is None else todo.task.labels[known]
        from blendmake.lean.linear_models import ConvergenceWarning

        with warnings.catch_warnings():
            # Stopping at `rounds` is what was asked for.
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                model = todo.model().fit(train.whole(), labels.astype(np.int8))
            except (TypeError, ValueError) as error:
                raise refused(todo.task, error) from error
        weights, intercept = model.coef_[0].astype(np.float64), float(model.intercept_[0])
        return _fitted(Solution(intercept, weights, int(np.max(model.n_iter_))), fold)


class _Todo:
    """A fit that is asked for, its params read.

    Attributes:
        layout: what becomes of columns.
        shared: whether it is fitted side by side with others, not by scikit-learn.
        intercept: whether it has one.
        strengths: values of C, ascending.
    """

    def __init__(self, task: Fit, params: dict[str, Any]) -> None:
        self.task = task
        scaling = params.pop("scaling", "auto")
        if scaling not in SCALINGS:
            ways = ", ".join(SCALINGS)
            raise refused(task, ValueError(f"scaling is one of {ways}; found {scaling!r}"))
        self.layout = _Layout(_hash_bits(task, params), scaling)
        self._params = params
        self.shared = _is_plain(params)
        self.strengths = self._strengths()
        self.intercept = bool(params.get("fit_intercept", True))

    def _strengths(self) -> list[float]:
        given = self._params.get("C", 1.0)
        if not isinstance(given, list):
            return [given]
        if len(given) == 0 or not all(map(_is_above_zero, given)):
            raise refused(self.task, ValueError(f"C is a list of numbers above 0; found {given}"))
        if not self.shared:
            message = "a list of C goes with solver lbfgs and penalty l2, tol and fit_intercept"
            raise refused(self.task, ValueError(message))
        if len(given) > 1 and self.task.stop_rounds is None:
            # The rows to watch may be of one class: then there is nothing to choose by.
            given = [sorted(given)[len(given) // 2]]
            log.warning("%s: no rows to choose C by: %g", self.task.target, given[0])
        values = sorted(set(map(float, given)))
        self._params["C"] = values[0]
        return values

    def model(self) -> Any:
        """scikit-learn's model.

        Raises:
            TypeError: a param that it does not know.
        """
        from blendmake.lean.linear_models import LogisticRegression, SGDClassifier

        params = dict(self._params)
        shared = {
            "max_iter": self.task.rounds,
            "class_weight": {0: 1.0, 1: self.task.positive_weight},
            "random_state": self.task.seed,
        }
        if params["solver"] == "sgd":
            del params["solver"]
            return SGDClassifier(**params, loss="log_loss", **shared)
        return LogisticRegression(**params, **shared)

    def regression(self, labels: Floats, strength: float, start: Any = None) -> Regression:
        return Regression(
            labels=labels,
            positive_weight=self.task.positive_weight,
            strength=strength,
            tolerance=float(self._params.get("tol", 1e-4)),
            iterations=self.task.rounds,
            start=start,
        )


def _is_plain(params: Mapping[str, Any]) -> bool:
    """Whether a regression is what is fitted side by side; scikit-learn fits, or refuses, any other."""
    c = params.get("C", 1.0)
    return (
        set(params) <= {"C", "tol", "fit_intercept", "solver", "penalty"}
        and params["solver"] == "lbfgs"
        and params.get("penalty", "l2") == "l2"
        and isinstance(params.get("fit_intercept", True), bool)
        and all(_is_above_zero(value) for value in (c if isinstance(c, list) else [c]))
        and _is_above_zero(params.get("tol", 1e-4))
    )


def _is_above_zero(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _solve(
    asked: Sequence[tuple[_Todo, Floats, float, Any]], rows: Regressors, intercept: bool
) -> list[Solution]:
    """Solve for (what is to do, labels (rows,), C, start), on all rows or on the labelled ones.

    Which of the two depends on the target alone, so that it does not matter who is fitted beside it.
    """
    alone = [bool((~np.isnan(labels)).mean() < SHARING) for _, labels, _, _ in asked]
    found: dict[int, Solution] = {}
    together = [j for j, apart in enumerate(alone) if not apart]
    problems = [todo.regression(labels, c, start) for todo, labels, c, start in asked]
    try:
        solutions = solve(rows, [problems[j] for j in together], intercept)
        found |= dict(zip(together, solutions, strict=True))
        for j, apart in enumerate(alone):
            if apart:
                known = np.flatnonzero(~np.isnan(problems[j].labels))
                one = replace(problems[j], labels=problems[j].labels[known])
                found[j] = solve(rows.at(known), [one], intercept)[0]
    except FloatingPointError as error:
        raise refused(asked[0][0].task, error) from error
    return [found[j] for j in range(len(asked))]


def _side_by_side(todo: Sequence[_Todo], fold: _Fold, intercept: bool) -> list[Fitted]:
    """Fit targets by L-BFGS, with one C or with the best of several."""
    if not todo:
        return []
    best = _best_strengths(todo, fold, intercept)
    plain = [j for j in range(len(todo)) if j not in best]
    solved: dict[int, tuple[Solution, float | None]] = {}
    asked = [(todo[j], todo[j].task.labels, todo[j].strengths[-1], None) for j in plain]
    for j, solution in zip(plain, _solve(asked, fold.train, intercept), strict=True):
        solved[j] = solution, None
    if best:
        assert fold.stop is not None
        rows = fold.train.below(fold.stop)
        asked = [
            (todo[j], np.concatenate([todo[j].task.labels, _stop_labels(todo[j])]), c, start)
            for j, (c, start, _) in best.items()
        ]
        for j, solution in zip(best, _solve(asked, rows, intercept), strict=True):
            c, _, score = best[j]
            log.info("%s: C %g (AUC %.4f on the watched rows)", todo[j].task.target, c, score)
            solved[j] = solution, score
    return [_fitted(solution, fold, score) for _, (solution, score) in sorted(solved.items())]


def _stop_labels(todo: _Todo) -> Floats:
    assert todo.task.stop_labels is not None
    return todo.task.stop_labels


def _best_strengths(
    todo: Sequence[_Todo], fold: _Fold, intercept: bool
) -> dict[int, tuple[float, Any, float]]:
    """By position of the targets that stop early: the best C, where to begin with it, and its AUC."""
    best: dict[int, tuple[float, Any, float]] = {}
    starts: dict[int, Any] = {}
    worse = {j: 0 for j, one in enumerate(todo) if one.task.stop_rounds is not None}
    for step in range(max((len(todo[j].strengths) for j in worse), default=0)):
        here = [
            j
            for j, bad in worse.items()
            if step < len(todo[j].strengths) and bad < (todo[j].task.stop_rounds or 1)
        ]
        asked = [
            (todo[j], todo[j].task.labels, todo[j].strengths[step], starts.get(j)) for j in here
        ]
        for j, solution in zip(here, _solve(asked, fold.train, intercept), strict=True):
            labels = _stop_labels(todo[j])
            known = ~np.isnan(labels)
            assert fold.stop is not None
            score = auc(labels[known], _predict(fold.stop, solution)[known])
            starts[j] = solution.vector
            if j not in best or score > best[j][2]:
                best[j], worse[j] = (todo[j].strengths[step], solution.vector, score), 0
            else:
                worse[j] += 1
    return best


def _fitted(solution: Solution, fold: _Fold, stop_auc: float | None = None) -> Fitted:
    def save(stem: Path) -> Path:
        path = stem.with_name(stem.name + ".json")
        stored = {
            "coefficients": solution.weights.tolist(),
            "intercept": solution.intercept,
            "preparation": fold.preparation.to_json(),
        }
        write_text(json.dumps(stored), path)
        return path

    return Fitted(
        _predict(fold.valid, solution),
        _predict(fold.test, solution),
        solution.iterations,
        save,
        stop_auc,
    )


def _hash_bits(task: Fit, params: dict[str, Any]) -> int:
    """Take the params that say what becomes of categories; 0 bits for one column per level."""
    ways = ("onehot", "hashed")
    way, bits = params.pop("categories", "onehot"), params.pop("hash_bits", None)
    if way not in ways:
        raise refused(task, ValueError(f"categories is one of {', '.join(ways)}; found {way!r}"))
    if way == "onehot":
        if bits is not None:
            raise refused(task, ValueError("hash_bits goes with 'categories: hashed' only"))
        return 0
    bits = HASH_BITS if bits is None else bits
    if isinstance(bits, bool) or not isinstance(bits, int) or not 1 <= bits <= MOST_HASH_BITS:
        raise refused(task, ValueError(f"hash_bits is a whole number from 1 to {MOST_HASH_BITS}"))
    return bits


def _predict(rows: Regressors, solution: Solution) -> Floats:
    margins = rows.times(solution.weights[None])[:, 0] + solution.intercept
    return np.asarray(expit(margins), np.float32)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Floats:
    """Predictions (rows,) of a saved model for rows of its feature set."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    x = Preparation.from_json(stored["preparation"]).apply(rows)
    with ThreadpoolController().limit(limits=threads):
        return _predict(x, Solution(stored["intercept"], np.array(stored["coefficients"]), 0))


FAMILY = Linear
