"""Regressions of several targets on the same rows, side by side: logistic, multinomial, of squares.

Each target has a loss, a stopping rule and an L-BFGS of its own (SciPy's), as in scikit-learn's
LogisticRegression(solver="lbfgs"). What they share are the passes over the rows: whenever every one of
them waits for its loss and gradient, all are computed by one matrix product, for which the rows are read
once instead of once per target. What comes of a target does not depend, to the byte, on the company it
is fitted in.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from blendmake.families.linear_losses import Loss, logistic
from blendmake.families.linear_rows import Regressors
from blendmake.family import Labels

Vector = NDArray[np.float64]

MOST_STATE = 256 << 20  # bytes of all L-BFGS states that are held at a time
STATE_VECTORS = 24  # vectors of one: two for each of ten steps that it remembers, and some
LINE_SEARCH = 50  # evaluations of one step, as in scikit-learn


@dataclass(frozen=True)
class Regression:
    """One target's problem: minimise the mean loss with a penalty on the squared weights.

    labels: (rows,), NaN where a row does not count.
    loss: of its margins.
    margins: how many it has of each row.
    weights: (rows,), how much a row counts; None: all the same.
    strength: C, the inverse of the penalty's: sum of losses + |weights|² / (2 C).
    tolerance: it ends where no partial derivative of the mean loss exceeds this.
    iterations: at most so many.
    start: (margins · (1 + width),) intercepts, then weights, to begin with; left out: zeros.
    """

    labels: Labels
    strength: float
    tolerance: float
    iterations: int
    loss: Loss = logistic
    margins: int = 1
    weights: Vector | None = None
    start: Vector | None = None


@dataclass(frozen=True)
class Solution:
    """Intercepts (margins,), weights (margins, width), and the iterations that it took."""

    intercepts: Vector
    weights: Vector
    iterations: int

    @property
    def vector(self) -> Vector:
        """Intercepts and weights, as a start for the next."""
        return np.concatenate([self.intercepts, self.weights.ravel()])


def most_at_once(width: int, margins: int = 1) -> int:
    """How many regressions of so many regressors and margins memory allows side by side."""
    return max(1, MOST_STATE // (8 * STATE_VECTORS * margins * (width + 1)))


def solve(x: Regressors, problems: Sequence[Regression], intercept: bool = True) -> list[Solution]:
    """Solve regressions on the rows of `x` (rows, width).

    Raises:
        FloatingPointError: a loss is not finite, as where `x` is not.
    """
    most = most_at_once(x.shape[1], max((one.margins for one in problems), default=1))
    solutions: list[Solution] = []
    for start in range(0, len(problems), most):
        solutions += _solve_together(x, problems[start : start + most], intercept)
    return solutions


def _solve_together(
    x: Regressors, problems: Sequence[Regression], intercept: bool
) -> list[Solution]:
    losses = _Losses(x, problems, intercept)
    meeting = _Meeting(losses, len(problems))
    solutions: list[Solution | None] = [None] * len(problems)

    def work(j: int) -> None:
        problem = problems[j]
        m, width = problem.margins, x.shape[1]
        start = np.zeros(m * (1 + width)) if problem.start is None else problem.start
        try:
            found = minimize(
                lambda vector: meeting.evaluate(j, vector),
                start,
                jac=True,
                method="L-BFGS-B",
                options={
                    "maxiter": problem.iterations,
                    "maxls": LINE_SEARCH,
                    "gtol": problem.tolerance,
                    "ftol": 64 * np.finfo(float).eps,
                },
            )
            weights = found.x[m:].reshape(m, width)
            solutions[j] = Solution(found.x[:m], weights, int(found.nit))
        except BaseException as error:
            meeting.fail(error)
        finally:
            meeting.leave()

    if len(problems) == 1:
        work(0)
    else:
        threads = [threading.Thread(target=work, args=(j,)) for j in range(len(problems))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if meeting.failure is not None:
        raise meeting.failure
    return [one for one in solutions if one is not None]


class _Meeting:
    """Where the minimisers wait for each other, so that one product serves all that still run.

    They take turns: while one computes for all, the others wait.
    """

    def __init__(self, losses: _Losses, members: int) -> None:
        self._losses, self._members = losses, members
        self._asked: dict[int, Vector] = {}
        self._answers: dict[int, tuple[float, Vector]] = {}
        self._changed = threading.Condition()
        self.failure: BaseException | None = None

    def evaluate(self, member: int, vector: Vector) -> tuple[float, Vector]:
        """Loss and gradient of a member at `vector`; returns when all members have asked."""
        with self._changed:
            self._asked[member] = vector.copy()
            self._answer_all()
            while member not in self._answers:
                if self.failure is not None:
                    raise self.failure
                self._changed.wait()
            return self._answers.pop(member)

    def leave(self) -> None:
        """One member has ended and will ask no more."""
        with self._changed:
            self._members -= 1
            self._answer_all()
            self._changed.notify_all()

    def fail(self, error: BaseException) -> None:
        """End all members, for this reason."""
        with self._changed:
            self.failure = self.failure or error
            self._changed.notify_all()

    def _answer_all(self) -> None:
        if not self._asked or len(self._asked) < self._members or self.failure is not None:
            return
        try:
            self._answers |= self._losses.evaluate(self._asked)
        except BaseException as error:
            self.failure = error
        self._asked.clear()
        self._changed.notify_all()


class _Losses:
    """Losses and gradients of several regressions on the same rows."""

    def __init__(self, x: Regressors, problems: Sequence[Regression], intercept: bool) -> None:
        self._x, self._intercept, self._problems = x, intercept, problems
        known = [~np.isnan(p.labels) for p in problems]
        self._labels = [np.where(k, p.labels, 0) for k, p in zip(known, problems, strict=True)]
        self._weights, self._penalties = [], []
        for problem, rows in zip(problems, known, strict=True):
            weights = (1.0 if problem.weights is None else problem.weights) * rows
            total = float(weights.sum())
            self._weights.append(weights / total)
            self._penalties.append(1 / (problem.strength * total))

    def evaluate(self, asked: dict[int, Vector]) -> dict[int, tuple[float, Vector]]:
        """The loss and its gradient, as Regression.start, at the vectors of some regressions."""
        members = sorted(asked)
        sizes = [self._problems[j].margins for j in members]
        parts = [slice(end - m, end) for end, m in zip(np.cumsum(sizes), sizes, strict=True)]
        weights = [
            asked[j][m:].reshape(m, self._x.shape[1]) for j, m in zip(members, sizes, strict=True)
        ]
        margins = self._x.times(np.concatenate(weights))
        residuals = np.empty((sum(sizes), self._x.shape[0]))
        losses, of_intercepts = [], []
        for j, m, part in zip(members, sizes, parts, strict=True):
            margin = margins[:, part] + (asked[j][:m] if self._intercept else 0.0)
            loss, residuals[part] = self._problems[j].loss(
                margin, self._labels[j], self._weights[j]
            )
            losses.append(loss)
            of_intercepts.append(residuals[part].sum(axis=1) if self._intercept else np.zeros(m))
        gradients = self._x.against(residuals)
        answers = {}
        for row, (j, part) in enumerate(zip(members, parts, strict=True)):
            own, penalty = weights[row].ravel(), self._penalties[j]
            loss = losses[row] + 0.5 * penalty * float(own @ own)
            if not np.isfinite(loss):
                raise FloatingPointError("the loss is not finite")
            gradient = gradients[part].ravel() + penalty * own
            answers[j] = (loss, np.concatenate([of_intercepts[row], gradient]))
        return answers
