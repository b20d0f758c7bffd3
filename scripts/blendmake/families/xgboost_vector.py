"""XGBoost with vector leaves: one model whose trees predict all targets of a task at once.

Splits may be searched with the gradients projected to a few dimensions, leaves always get the
gradients of every target: Sketch Boost (Iosipoi and Vakhrushev 2022, "Fast Gradient Boosted
Decision Tree for Multioutput Problems", NeurIPS). The interface for that, `TreeObjective` of
XGBoost ≥ 3.2, calls itself unstable; it is used in this file only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from blendmake.errors import BlendmakeError
from blendmake.families.vector_losses import Gradients
from blendmake.families.xgboost_matrix import (
    ALIASES,
    DEFAULTS,
    MAX_BIN,
    RESERVED,
    SMALLER,
    Matrices,
    device_of,
    predict_blocks,
    ran_on,
    refusing,
    saver,
    trained,
)
from blendmake.family import Family, Fit, Fitted, FoldData, Predictions, Reports, Stop, refused
from blendmake.lean.xgboost import xgb
from blendmake.link import Link
from blendmake.matrix import Floats, Rows

LINK = "blendmake_link"  # attribute of a model
SKETCHES = ("random_projection", "random_sampling", "top_outputs")
# Params of XGBoost that vector leaves do not go with (values that do excepted).
NOT_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "booster": ("gbtree",),
    "interaction_constraints": (),
    "monotone_constraints": (),
    "tree_method": ("auto", "hist"),
}


class XGBoostVector(Family):
    """Vector leaves, categories as ordered codes (the only way that XGBoost takes them here).

    Losses are its own: logistic, of several classes their cross-entropy, of numbers the squared error,
    every target being counted in its own spread.

    Params of its own:
        split_dimensions: to how many dimensions gradients are projected for the split search; 0, or
            as many as there are outputs, for none, which costs time in proportion to the outputs.
        sketch: how: `random_projection`, `random_sampling` (of targets, by the norm of their
            gradients), or `top_outputs` (the targets of largest norm).
        eval_every: rounds from one evaluation of early stopping to the next.
    """

    MULTI_OUTPUT = True
    PACKAGES = ("xgboost",)
    ROUNDS = 300
    REPORTS = True
    GPU = True
    SMALLER = SMALLER
    DEFAULTS: ClassVar[dict[str, Any]] = {
        **DEFAULTS,
        "split_dimensions": 1,
        "sketch": "random_projection",
        "eval_every": 1,
    }
    ALIASES: ClassVar[dict[str, str]] = ALIASES
    RESERVED: ClassVar[dict[str, str]] = {
        **RESERVED,
        "base_score": "every target starts at its own prior",
        "disable_default_eval_metric": "early stopping watches the problem's metric (key 'metric')",
        "objective": "it is that of the targets' task",
        "multi_strategy": "the family stands for it",
        "num_target": "it is the number of the targets' outputs",
    }

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        self._matrices = Matrices(data, threads, categories=False)
        self._blas = ThreadpoolController()

    def params(self, asked: Fit) -> dict[str, Any]:
        """As in the base; besides, the family's own params are checked.

        Raises:
            BlendmakeError: a param that vector leaves do not go with, or a wrong value.
        """
        params = super().params(asked)
        for name, allowed in NOT_SUPPORTED.items():
            if name in params and params[name] not in allowed:
                raise refused(
                    asked,
                    ValueError(
                        f"'{name}: {params[name]}' does not go with vector leaves; leave it out, or "
                        "use the family xgboost"
                    ),
                )
        if params["sketch"] not in SKETCHES:
            raise refused(
                asked,
                ValueError(f"sketch is one of {', '.join(SKETCHES)}; found {params['sketch']!r}"),
            )
        for name, least in (("split_dimensions", 0), ("eval_every", 1)):
            value = params[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise refused(asked, ValueError(f"{name} is a whole number from {least} on"))
        return params

    def fit(self, asked: Fit) -> Fitted:
        params = self.params(asked)
        dimensions, sketch = params.pop("split_dimensions"), params.pop("sketch")
        every = params.pop("eval_every")
        prepared = self._matrices.of(asked, int(params.get("max_bin", MAX_BIN)))
        matrices, link = prepared.matrices, Link.of(asked)
        gradients = Gradients(link, asked.targets, prepared.labels, prepared.weights)
        objective: Any = gradients.plain
        if 0 < dimensions < asked.outputs:
            objective = _sketched(gradients, Sketch(sketch, dimensions, asked.seed))
        settings = {
            "max_bin": MAX_BIN,
            **params,
            "objective": "binary:logistic" if asked.task == "binary" else "reg:squarederror",
            "multi_strategy": "multi_output_tree",
            "tree_method": "hist",
            "num_target": asked.outputs,
            "base_score": gradients.priors.tolist(),
            "disable_default_eval_metric": True,
            "nthread": self.threads,
            "seed": asked.seed,
            "validate_parameters": True,
            "verbosity": 1,
            **device_of(self.gpu, params),
        }
        train = matrices.matrix("train")
        reports = Reports(asked)
        stopping = None
        cache = [train]
        if prepared.stop is not None and reports.watching:
            stopping = _Stopping(prepared.stop, asked, link)
            cache.append(matrices.matrix("stop"))
        # BLAS would otherwise take every core, and its sums depend on the number of threads.
        with self._blas.limit(limits=self.threads, user_api="blas"), refusing(asked):
            booster = xgb.Booster(settings, cache)
            for number in range(asked.rounds):
                booster.update(train, number, fobj=objective)
                done = number + 1
                looks = asked.stop_rounds is not None and (
                    done % every == 0 or done == asked.rounds
                )
                if stopping is not None and (looks or reports.due(done)):
                    margins = booster.predict(matrices.matrix("stop"), output_margin=True)
                    found = stopping.scores(margins.reshape(-1, asked.outputs))
                    if reports.ends(done, stopping.mean(found)) or (
                        looks and stopping.is_over(done, found)
                    ):
                        break
        reports.settle()
        device = ran_on(booster, settings)
        rounds = booster.num_boosted_rounds()
        if stopping is not None and stopping.best_round:
            rounds = stopping.best_round
        booster = trained(booster, rounds)
        booster.set_attr(**{LINK: link.to_json()})

        valid, test = (
            _predictions(link, matrices.predict(booster, rows, device == "cpu"))
            for rows in (self.data.valid, self.data.test)
        )
        scores = None if stopping is None or asked.stop_rounds is None else stopping.best_scores
        return Fitted(valid, test, rounds, saver(booster), scores, device)

    def release(self) -> None:
        self._matrices.drop()


class Sketch:
    """Gradients in fewer dimensions, for the split search (Iosipoi and Vakhrushev 2022).

    The projection is drawn anew in every round, from (seed, round). The hessian of each dimension is
    the mean over outputs, not 1 as in the paper: params such as `min_child_weight` keep their scale.
    """

    def __init__(self, kind: str, dimensions: int, seed: int) -> None:
        self.kind, self.dimensions, self.seed = kind, dimensions, seed

    def __call__(self, number: int, grad: Floats, hess: Floats) -> tuple[Floats, Floats]:
        """Gradients and hessians (rows, dimensions) for round `number`."""
        split_hess = np.repeat(hess.mean(axis=1, keepdims=True), self.dimensions, axis=1)
        return grad @ self._projection(number, grad).astype(np.float32), split_hess

    def _projection(self, number: int, grad: Floats) -> NDArray[np.float64]:
        """(outputs, dimensions)"""
        outputs, k = grad.shape[1], self.dimensions
        rng = np.random.default_rng([self.seed, number])
        if self.kind == "random_projection":
            return rng.normal(scale=1 / np.sqrt(k), size=(outputs, k))
        norms = np.einsum("ij,ij->j", grad, grad, dtype=np.float64)
        projection = np.zeros((outputs, k))
        if self.kind == "top_outputs":
            projection[np.argsort(-norms, kind="stable")[:k], np.arange(k)] = 1
        elif norms.sum() > 0:
            chances = norms / norms.sum()
            drawn = rng.choice(outputs, size=k, p=chances)
            projection[drawn, np.arange(k)] = 1 / np.sqrt(k * chances[drawn])
        return projection


def _sketched(gradients: Gradients, sketch: Sketch) -> Any:
    """The objective whose splits are searched in the dimensions of a sketch."""
    try:
        from xgboost.objective import TreeObjective
    except ImportError as error:
        raise BlendmakeError(
            f"XGBoost {xgb.__version__} cannot search splits in fewer dimensions than there are "
            "targets (it lacks TreeObjective). Install the version of envs/, or set the param "
            "split_dimensions to 0."
        ) from error

    class Sketched(TreeObjective):  # type: ignore[misc]
        def __call__(self, iteration: int, y_pred: Floats, dtrain: Any) -> tuple[Floats, Floats]:
            return gradients(y_pred)

        def split_grad(self, iteration: int, grad: Floats, hess: Floats) -> tuple[Floats, Floats]:
            return sketch(iteration, grad, hess)

    return Sketched()


class _Stopping:
    """The best round by the metric over the rows that are watched.

    Targets on which it is undefined there do not count; where it is on all, nothing is stopped.

    Attributes:
        best_round: so far; 0: none.
        best_scores: (targets,) of it.
    """

    def __init__(self, stop: Stop, asked: Fit, link: Link) -> None:
        self.best_round = 0
        self.best_scores = np.full(len(asked.targets), np.nan)
        self._stop, self._asked, self._link = stop, asked, link
        self._best = float("nan")

    def scores(self, margins: Floats) -> NDArray[np.float64]:
        """The metric per target of margins (rows, outputs), NaN where it is undefined."""
        of_order = self._stop.metric.rank_invariant and self._asked.task == "binary"
        # Probabilities near 0 and 1 are equal where margins are not.
        predicted = margins if of_order else self._link.from_margins(margins)
        return self._stop.scores(self._asked.targets, predicted)

    def mean(self, scores: NDArray[np.float64]) -> float:
        """Of what `scores` gives."""
        return self._stop.mean(scores)

    def is_over(self, rounds: int, scores: NDArray[np.float64]) -> bool:
        """Take note of scores (targets,) after so many rounds; whether to stop there."""
        score, patience = self.mean(scores), self._stop.rounds
        if np.isnan(score) or patience is None:
            return False
        if self._stop.metric.is_better(score, self._best):
            self._best, self.best_round, self.best_scores = score, rounds, scores
        return rounds - self.best_round >= patience


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Predictions:
    """Predictions (rows, outputs) of a saved model for rows of its feature set."""
    booster = xgb.Booster({"nthread": threads}, model_file=path)
    found = predict_blocks(booster, rows, threads, categories=False)
    return _predictions(Link.from_json(booster.attr(LINK)), found)


def _predictions(link: Link, values: Floats) -> Predictions:
    """Predictions (rows, outputs) from what XGBoost predicts: chances of two classes, else margins."""
    values = values.reshape(-1, sum(link.sizes))
    return values if link.task == "binary" else link.from_margins(values)


FAMILY = XGBoostVector
