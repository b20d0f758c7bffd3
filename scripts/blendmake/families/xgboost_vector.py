"""XGBoost with vector leaves: one model whose trees predict all targets at once.

Splits may be searched with the gradients projected to a few dimensions, leaves always get the
gradients of every target: Sketch Boost (Iosipoi and Vakhrushev 2022, "Fast Gradient Boosted
Decision Tree for Multioutput Problems", NeurIPS). The interface for that, `TreeObjective` of
XGBoost ≥ 3.2, calls itself unstable; it is used in this file only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from blendmake.errors import BlendmakeError
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
from blendmake.family import Fitted, FoldData, JointFamily, JointFit, Labels, Reports, refused
from blendmake.lean.xgboost import xgb
from blendmake.matrix import Floats, Rows
from blendmake.stats.auc import AucScorer

SKETCHES = ("random_projection", "random_sampling", "top_outputs")
BLOCK = 65_536  # rows whose gradients are computed at a time
SMALL = 1e-16  # hessians are not less, as in XGBoost
# Params of XGBoost that vector leaves do not go with (values that do excepted).
NOT_SUPPORTED: dict[str, tuple[Any, ...]] = {
    "booster": ("gbtree",),
    "interaction_constraints": (),
    "monotone_constraints": (),
    "tree_method": ("auto", "hist"),
}


class XGBoostVector(JointFamily):
    """Vector leaves, categories as ordered codes (the only way that XGBoost takes them here).

    Params of its own:
        split_dimensions: to how many dimensions gradients are projected for the split search; 0, or
            as many as there are targets, for none, which costs time in proportion to the targets.
        sketch: how: `random_projection`, `random_sampling` (of targets, by the norm of their
            gradients), or `top_outputs` (the targets of largest norm).
        eval_every: rounds from one evaluation of early stopping to the next.
    """

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
        "disable_default_eval_metric": "early stopping watches the macro AUC",
        "multi_strategy": "the family stands for it",
        "num_target": "it is the number of the source's targets",
    }

    def __init__(
        self, data: FoldData, threads: int, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(data, threads, options)
        self._matrices = Matrices(data, threads, categories=False)
        self._blas = ThreadpoolController()

    def params(self, task: JointFit) -> dict[str, Any]:  # type: ignore[override]
        """As in the base; besides, the family's own params are checked.

        Raises:
            BlendmakeError: a param that vector leaves do not go with, or a wrong value.
        """
        params = super().params(task)
        for name, allowed in NOT_SUPPORTED.items():
            if name in params and params[name] not in allowed:
                raise refused(
                    task,
                    ValueError(
                        f"'{name}: {params[name]}' does not go with vector leaves; leave it out, or "
                        "use the family xgboost"
                    ),
                )
        if params["sketch"] not in SKETCHES:
            raise refused(
                task,
                ValueError(f"sketch is one of {', '.join(SKETCHES)}; found {params['sketch']!r}"),
            )
        for name, least in (("split_dimensions", 0), ("eval_every", 1)):
            value = params[name]
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise refused(task, ValueError(f"{name} is a whole number from {least} on"))
        return params

    def fit(self, task: JointFit) -> Fitted:
        params = self.params(task)
        dimensions, sketch = params.pop("split_dimensions"), params.pop("sketch")
        every = params.pop("eval_every")
        targets = len(task.targets)
        matrices, labels, stop_labels = self._matrices.of(task, int(params.get("max_bin", MAX_BIN)))
        gradients = Gradients(labels, task.positive_weights)
        objective: Any = gradients.plain
        if 0 < dimensions < targets:
            objective = _sketched(gradients, Sketch(sketch, dimensions, task.seed))
        settings = {
            "max_bin": MAX_BIN,
            **params,
            "objective": "binary:logistic",
            "multi_strategy": "multi_output_tree",
            "tree_method": "hist",
            "num_target": targets,
            "base_score": gradients.priors.tolist(),
            "disable_default_eval_metric": True,
            "nthread": self.threads,
            "seed": task.seed,
            "validate_parameters": True,
            "verbosity": 1,
            **device_of(self.gpu, params),
        }
        train = matrices.matrix("train")
        reports = Reports(task)
        stopping = None
        cache = [train]
        if reports.watching:
            assert stop_labels is not None
            stopping = _Stopping(stop_labels, task.stop_rounds)
            cache.append(matrices.matrix("stop"))
        # BLAS would otherwise take every core, and its sums depend on the number of threads.
        with self._blas.limit(limits=self.threads, user_api="blas"), refusing(task):
            booster = xgb.Booster(settings, cache)
            for number in range(task.rounds):
                booster.update(train, number, fobj=objective)
                done = number + 1
                looks = task.stop_rounds is not None and (done % every == 0 or done == task.rounds)
                if stopping is not None and (looks or reports.due(done)):
                    margins = booster.predict(matrices.matrix("stop"), output_margin=True)
                    found = stopping.scores(margins.reshape(-1, targets))
                    if reports.ends(done, macro(found)) or (
                        looks and stopping.is_over(done, found)
                    ):
                        break
        reports.settle()
        device = ran_on(booster, settings)
        rounds = booster.num_boosted_rounds()
        if stopping is not None and stopping.best_round:
            rounds = stopping.best_round
        booster = trained(booster, rounds)

        valid = matrices.predict(booster, self.data.valid, device == "cpu")
        test = matrices.predict(booster, self.data.test, device == "cpu")
        return Fitted(
            valid.reshape(-1, targets),
            test.reshape(-1, targets),
            rounds,
            saver(booster),
            None if stopping is None or task.stop_rounds is None else stopping.aucs,
            device,
        )

    def release(self) -> None:
        self._matrices.drop()


class Gradients:
    """The logistic loss of every target: gradients and hessians, 0 where a label is unknown.

    A target that lacks a class is left out: it would have nothing to say about splits.

    Args:
        labels: (rows, targets), 0, 1 or NaN; not changed.
        positive_weights: (targets,) weight of a positive.

    Attributes:
        priors: (targets,) float32, the weighted share of positives, where the fit starts.
    """

    def __init__(self, labels: Labels, positive_weights: NDArray[np.float64]) -> None:
        positives = np.sum(labels == 1, axis=0) * positive_weights
        negatives = np.sum(labels == 0, axis=0)
        # Half a row of either class, so that a target without one has log odds too.
        priors = (positives + 0.5) / (positives + negatives + 1)
        self.priors = priors.clip(1e-6, 1 - 1e-6).astype(np.float32)
        self._labels = labels
        self._weights = np.asarray(positive_weights, np.float32)
        self._used = (positives > 0) & (negatives > 0)
        self._grad = np.empty(labels.shape, np.float32)
        self._hess = np.empty(labels.shape, np.float32)

    def __call__(self, margins: Floats) -> tuple[Floats, Floats]:
        """Gradients and hessians (rows, targets) at margins; valid until the next call."""
        margins = margins.reshape(self._labels.shape)
        for start in range(0, len(margins), BLOCK):
            part = slice(start, start + BLOCK)
            y = self._labels[part]
            # Below, the exponential of a float32 would run over.
            p = 1 / (1 + np.exp(-np.maximum(margins[part], np.float32(-80))))
            weights = np.where(y == 1, self._weights, np.float32(1))
            weights[np.isnan(y) | ~self._used] = 0
            self._grad[part] = (p - np.nan_to_num(y)) * weights
            self._hess[part] = np.maximum(p * (1 - p), np.float32(SMALL)) * weights
        return self._grad, self._hess

    def plain(self, margins: Floats, matrix: Any) -> tuple[Floats, Floats]:
        """As a custom objective of XGBoost: splits and leaves by the gradients of all targets."""
        return self(margins)


class Sketch:
    """Gradients in fewer dimensions, for the split search (Iosipoi and Vakhrushev 2022).

    The projection is drawn anew in every round, from (seed, round). The hessian of each dimension is
    the mean over targets, not 1 as in the paper: params such as `min_child_weight` keep their scale.
    """

    def __init__(self, kind: str, dimensions: int, seed: int) -> None:
        self.kind, self.dimensions, self.seed = kind, dimensions, seed

    def __call__(self, number: int, grad: Floats, hess: Floats) -> tuple[Floats, Floats]:
        """Gradients and hessians (rows, dimensions) for round `number`."""
        split_hess = np.repeat(hess.mean(axis=1, keepdims=True), self.dimensions, axis=1)
        return grad @ self._projection(number, grad).astype(np.float32), split_hess

    def _projection(self, number: int, grad: Floats) -> NDArray[np.float64]:
        """(targets, dimensions)"""
        targets, k = grad.shape[1], self.dimensions
        rng = np.random.default_rng([self.seed, number])
        if self.kind == "random_projection":
            return rng.normal(scale=1 / np.sqrt(k), size=(targets, k))
        norms = np.einsum("ij,ij->j", grad, grad, dtype=np.float64)
        projection = np.zeros((targets, k))
        if self.kind == "top_outputs":
            projection[np.argsort(-norms, kind="stable")[:k], np.arange(k)] = 1
        elif norms.sum() > 0:
            chances = norms / norms.sum()
            drawn = rng.choice(targets, size=k, p=chances)
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
    """The best round by the macro AUC over the rows that are watched.

    Targets that lack a class there do not count; where all do, nothing is stopped.

    Args:
        labels: (rows, targets) of the watched rows.
        patience: rounds without a better one; None where it is only asked for scores.
    """

    def __init__(self, labels: Labels, patience: int | None) -> None:
        self.best_round = 0
        self.aucs = np.full(labels.shape[1], np.nan)  # of the best round
        self._patience = patience
        self._best = -np.inf
        self._known = [np.flatnonzero(~np.isnan(column)) for column in labels.T]
        self._scorers = [
            AucScorer(column[known]) for column, known in zip(labels.T, self._known, strict=True)
        ]

    def scores(self, margins: Floats) -> NDArray[np.float64]:
        """AUC per target of margins (rows, targets), NaN where a class is absent."""
        return np.array(
            [
                scorer(margins[known, j])
                for j, (scorer, known) in enumerate(zip(self._scorers, self._known, strict=True))
            ]
        )

    def is_over(self, rounds: int, aucs: NDArray[np.float64]) -> bool:
        """Take note of AUCs (targets,) after so many rounds; whether to stop there."""
        score = macro(aucs)
        if np.isnan(score) or self._patience is None:
            return False
        if score > self._best:
            self._best, self.best_round, self.aucs = score, rounds, aucs
        return rounds - self.best_round >= self._patience


def macro(aucs: NDArray[np.float64]) -> float:
    """The mean of AUCs (targets,) that are not NaN; NaN if all are."""
    defined = aucs[~np.isnan(aucs)]
    return float(defined.mean()) if len(defined) else float("nan")


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Floats:
    """Predictions (rows, targets) of a saved model for rows of its feature set."""
    booster = xgb.Booster({"nthread": threads}, model_file=path)
    learner = json.loads(booster.save_config())["learner"]
    targets = int(learner["learner_model_param"]["num_target"])
    return predict_blocks(booster, rows, threads, categories=False).reshape(-1, targets)


FAMILY = XGBoostVector
