"""One blend over all targets, cross-fitted.

Whatever is chosen with labels (who is dropped, who is taken, how much of each) is chosen once per
split on the split's fitting rows and applied to its other rows; and once more on all rows, for the
test table and for the in-sample figure that shows how much the choice flatters itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.blends.evaluation import BlendScorer, FittingRows, MetricScorer, SetScorer
from blendmake.blends.members import (
    CROSS_TARGET,
    STACKERS,
    BlendOptions,
    Member,
    Predictions,
    Rows,
    Split,
    check,
)
from blendmake.blends.scales import SCALES, STACKED, Scale, scale_of
from blendmake.blends.stacking import STACKER_OF, label_correlations, nearest_targets
from blendmake.blends.weights import METHODS, uniform
from blendmake.errors import BlendmakeError
from blendmake.metrics.base import Metric
from blendmake.metrics.finding import find_metric
from blendmake.stats.ranks import DUPLICATE, rank_correlations, rank_scale
from blendmake.tasks.base import Target, as_targets

Floats = NDArray[np.float64]

INTERCEPT = "(intercept)"

_WEIGHTS: list[tuple[str, pa.DataType]] = [
    ("target", pa.string()),
    ("source", pa.string()),
    ("fold", pa.int32()),
    ("weight", pa.float64()),
    ("metric", pa.string()),
    ("solo", pa.float64()),
    ("rank", pa.int32()),
    ("why", pa.string()),
]
WEIGHTS_SCHEMA = pa.schema(_WEIGHTS)
_DUPLICATES: list[tuple[str, pa.DataType]] = [
    ("target", pa.string()),
    ("source", pa.string()),
    ("duplicate_of", pa.string()),
    ("rank_correlation", pa.float64()),
    ("identical", pa.bool_()),
]
DUPLICATES_SCHEMA = pa.schema(_DUPLICATES)


@dataclass(frozen=True, eq=False)
class Blended:
    """A finished blend; all predictions are finite and in the range of their tasks.

    Attributes:
        of: the targets with a prediction, in the order asked for.
        oof: (n, outputs), each row by what was fitted without its split's ``apply`` rows.
        in_sample: (n, outputs), every row by what was fitted on all rows; None if nothing was chosen.
        test: (m, outputs), by what was fitted on all rows; None without a test table.
        on_ranks: the targets whose predictions are ranks, in the order of ``of``.
        weights: one row per target, candidate and fold. ``fold`` is the position of the split;
            null for what was fitted on all rows. ``solo`` is the candidate's own ``metric`` on the
            fitting rows, ``rank`` counts from 1, the best; both are null where these rows do not tell
            enough (of two classes only one). ``why`` begins with "taken", "not chosen", "dropped: ",
            "fallback" or, of a stacker, "coefficient"; then ``weight`` is the change per unit of the
            candidate's prediction on the scale of ``scales.STACKED``, and further rows give
            "(intercept)" (of several classes "(intercept)=<class>") and "target:<other>", the mean log
            odds of another target. A blend that chooses nothing has the rows with a null fold only.
        duplicates: the duplicates found, dropped or not.
    """

    of: tuple[Target, ...]
    oof: Predictions
    in_sample: Predictions | None
    test: Predictions | None
    on_ranks: tuple[str, ...]
    weights: pa.Table
    duplicates: pa.Table

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(target.name for target in self.of)


def blend(
    members: Sequence[Member],
    labels: NDArray[np.floating],
    targets: Sequence[Target | str],
    splits: Sequence[Split],
    fold_of_row: Rows,
    options: BlendOptions,
    threads: int = 1,
    metrics: Mapping[str, Metric] | None = None,
) -> Blended:
    """Blends the members' predictions, target by target.

    Members are put on one scale (`scales`; ranks are those within each fold for OOF, within the whole
    table for test). For every split the candidates' own scores, the limits on them and the weights come
    from its ``fit`` rows whose label is known, and predict its ``apply`` rows; the test table, and rows
    that no split applies to, by what was fitted on all rows (those in some ``apply``). Where the labels
    of the fitting rows do not tell enough (of two classes only one) nothing can be chosen: the mean is
    taken, with no limits. All outputs of a target have the same weights.

    Of two members whose OOF predictions are byte-identical or have a rank correlation of at least
    0.9999, the later one is the duplicate. That needs no labels, so that it is the same for every
    split.

    Args:
        members: the sources to blend; order matters for duplicates and between equals.
        labels: (n, T), NaN where unknown, columns in the order of ``targets``.
        targets: the T targets asked for; names stand for binary ones.
        splits: no row in two ``apply``.
        fold_of_row: (n,), the fold whose model predicted the row, the block to rank it in.
        options: method and settings.
        threads: how many targets are blended side by side; no bit depends on it.
        metrics: by target, what weights are chosen by; None: the task's own metric.

    Returns:
        The blend, over the targets that a member or the fallback covers.

    Raises:
        BlendmakeError: unusable members or settings, each named.
        ValueError: rows, splits or labels that do not fit together.
    """
    of = as_targets(targets)
    check(members, labels, [target.name for target in of], splits, fold_of_row, options)
    chosen = metrics or {target.name: find_metric(target.task.metric) for target in of}
    work = _Work(members, labels, of, splits, fold_of_row, options, chosen)
    return work.run(threads)


@dataclass(frozen=True, eq=False)
class _Candidates:
    """The candidates of one target on one scale, in config order.

    ``oof[i]`` (n,) and ``test[i]`` (m,) are candidate i's columns, of several outputs (n, outputs) and
    (m, outputs). ``duplicate_of`` says of which earlier candidate one is a duplicate.
    """

    target: int
    scale: Scale
    names: tuple[str, ...]
    oof: Floats
    test: Floats | None
    duplicate_of: dict[int, int]

    @property
    def by_name(self) -> list[int]:
        # Sums go in this order, so that the order in the config changes no bit of them.
        return sorted(range(len(self.names)), key=self.names.__getitem__)


@dataclass(frozen=True, eq=False)
class _Fit:
    """What was chosen on some rows: a weight per candidate, and a stacker's further terms."""

    weights: Floats
    solo: Floats
    why: list[str]
    intercept: float | Floats | None = None
    neighbours: dict[int, float] = field(default_factory=dict)
    products: dict[tuple[int, int], float] = field(default_factory=dict)

    @property
    def targets_read(self) -> set[int]:
        """Targets whose mean log odds it reads."""
        return {*self.neighbours, *(target for pair in self.products for target in pair)}


@dataclass(frozen=True, eq=False)
class _Told:
    """Rows of a target in the tables of weights and duplicates."""

    weights: list[dict[str, Any]] = field(default_factory=list)
    duplicates: list[dict[str, Any]] = field(default_factory=list)


class _Work:
    """The blend in the making; holds what every target needs."""

    def __init__(
        self,
        members: Sequence[Member],
        labels: NDArray[np.floating],
        of: tuple[Target, ...],
        splits: Sequence[Split],
        fold_of_row: Rows,
        options: BlendOptions,
        metrics: Mapping[str, Metric],
    ) -> None:
        self.members, self.labels, self.of = members, labels, of
        self.targets = tuple(target.name for target in of)
        self.splits, self.folds, self.options = splits, fold_of_row, options
        self.metrics = metrics
        self.scales = {target.name: self._scale_of(target) for target in of}
        self._check_methods()
        self.chooses = options.chooses
        applied = [split.apply for split in splits]
        self.all_rows = np.sort(np.concatenate(applied)) if applied else np.arange(len(labels))
        self.covering = {t: [m for m in members if t in m.targets] for t in self.targets}
        self.correlations: dict[int | None, Floats] = {}
        if options.method in STACKERS and options.neighbours > 0:
            for fold, rows in self._fittings():
                self.correlations[fold] = label_correlations(labels, rows)

    def _scale_of(self, target: Target) -> Scale:
        if self.options.method in STACKERS:
            return SCALES[STACKED[target.task.name]]
        try:
            return scale_of(target.task, self.metrics[target.name], self.options.scale)
        except BlendmakeError as error:
            raise BlendmakeError(f"target '{target.name}': {error}") from None

    def _check_methods(self) -> None:
        """Refuse settings that are of binary targets and the AUC, for others."""
        for target in self.of:
            is_binary, metric = target.task.name == "binary", self.metrics[target.name]
            if self.options.max_auc_gap is not None and metric.name != "auc":
                raise BlendmakeError(
                    f"max_auc_gap is of the AUC, but target '{target.name}' is measured by "
                    f"{metric.title}. Limit its candidates by max_sources_per_target."
                )
            if not is_binary and self.options.method in STACKERS and self.options.neighbours > 0:
                raise BlendmakeError(
                    f"{self.options.method} with other targets as inputs reads their log odds, which "
                    f"target '{target.name}' ({target.task.title}) has not. Take method: stack without "
                    "neighbours, or blend binary targets alone."
                )

    def run(self, threads: int) -> Blended:
        fallback = self.options.fallback
        covered = [
            t for t in self.of if self.covering[t.name] or (fallback and t.name in fallback.targets)
        ]
        columns, width = [], 0
        for target in covered:
            columns.append(slice(width, width + len(target.outputs)))
            width += len(target.outputs)
        shape = (len(self.labels), width)
        kind = self._precision()
        oof = np.empty(shape, dtype=kind, order="F")
        in_sample = np.empty(shape, dtype=kind, order="F") if self.chooses else None
        with_test = self.members[0].test
        test = None
        if with_test is not None:
            test = np.empty((len(with_test), width), dtype=kind, order="F")

        def put(place: int) -> _Told:
            told, part = _Told(), columns[place]
            whole, crossed, tested = self._blend_target(covered[place].name, told)
            oof[:, part] = _as_columns(crossed)
            if in_sample is not None:
                in_sample[:, part] = _as_columns(whole)
            if test is not None and tested is not None:
                test[:, part] = _as_columns(tested)
            return told

        with ThreadPoolExecutor(threads) as pool:
            everything = list(pool.map(put, range(len(covered))))
        return Blended(
            of=tuple(covered),
            oof=oof,
            in_sample=in_sample,
            test=test,
            on_ranks=tuple(t.name for t in covered if self.scales[t.name].is_rank),
            weights=pa.Table.from_pylist(
                [row for told in everything for row in told.weights], schema=WEIGHTS_SCHEMA
            ),
            duplicates=pa.Table.from_pylist(
                [row for told in everything for row in told.duplicates], schema=DUPLICATES_SCHEMA
            ),
        )

    def _precision(self) -> type[np.floating[Any]]:
        """Of what is written: that of the members. Ranks lie nowhere too close for float32."""
        fallback = self.options.fallback
        everyone = [*self.members, *([fallback] if fallback else [])]
        exact = any(np.float64 in (m.oof.dtype, getattr(m.test, "dtype", None)) for m in everyone)
        on_ranks = all(scale.is_rank for scale in self.scales.values())
        return np.float64 if exact and not on_ranks else np.float32

    def _fittings(self) -> Iterator[tuple[int | None, Rows]]:
        """Every fitting there is: a split's position and its rows; None and all rows."""
        if self.chooses:
            for fold, split in enumerate(self.splits):
                yield fold, split.fit
        yield None, self.all_rows

    def _blend_target(self, target: str, told: _Told) -> tuple[Floats, Floats, Floats | None]:
        """Predictions of all rows by the fit on all, the same cross-fitted, and of the test."""
        covering = self.covering[target]
        if not covering:
            return self._take_fallback(target, told)
        candidates = self._candidates(target, covering, told)
        others = {fold: self._others(target, fold) for fold, _ in self._fittings()}
        if self.options.method == CROSS_TARGET:
            # Its products take the target's own mean log odds too.
            others = {fold: [candidates.target, *found] for fold, found in others.items()}
        near = {
            other: self._mean_logit(other, test=False)
            for other in sorted({other for found in others.values() for other in found})
        }
        fits: dict[int | None, _Fit] = {}
        scorer = self._scorer(candidates)
        for one, (fold, _) in enumerate(self._fittings()):
            inputs = {other: near[other] for other in others[fold]}
            fits[fold] = self._fit(candidates, scorer, one, inputs)
            self._record(candidates, fold, fits[fold], told)

        final = fits[None]
        whole = self._apply(candidates, candidates.oof, near, final)
        crossed = whole.copy()
        for fold, split in enumerate(self.splits if self.chooses else ()):
            rows = split.apply
            there = {other: column[rows] for other, column in near.items()}
            crossed[rows] = self._apply(candidates, candidates.oof[:, rows], there, fits[fold])
        if candidates.test is None:
            return whole, crossed, None
        near = {other: self._mean_logit(other, test=True) for other in sorted(final.targets_read)}
        return whole, crossed, self._apply(candidates, candidates.test, near, final)

    def _scorer(self, candidates: _Candidates) -> SetScorer:
        """Of the fittings: by counting pairs for the AUC, by the metric itself for others."""
        target, labels = self.of[candidates.target], self.labels[:, candidates.target]
        sets = [rows for _, rows in self._fittings()]
        metric = self.metrics[target.name]
        if metric.name == "auc" and candidates.oof.ndim == 2:
            return BlendScorer(candidates.oof, labels, sets, candidates.by_name)
        return MetricScorer(
            metric,
            target.task.usable,
            candidates.scale.back,
            candidates.oof,
            labels,
            sets,
            candidates.by_name,
            self.folds,
        )

    def _take_fallback(self, target: str, told: _Told) -> tuple[Floats, Floats, Floats | None]:
        assert self.options.fallback is not None
        candidates = self._candidates(target, [self.options.fallback], told)
        scorer = self._scorer(candidates)
        last = len(scorer.sets) - 1  # all rows
        solo = scorer.solo(last) if scorer.defined(last) else np.array([np.nan])
        fit = _Fit(uniform(1), solo, ["fallback"])
        self._record(candidates, None, fit, told)
        whole = self._apply(candidates, candidates.oof, {}, fit)
        if candidates.test is None:
            return whole, whole, None
        return whole, whole, self._apply(candidates, candidates.test, {}, fit)

    def _candidates(self, target: str, covering: Sequence[Member], told: _Told) -> _Candidates:
        oof = np.stack([self._scaled(member, target, test=False) for member in covering])
        test = None
        if covering[0].test is not None:
            test = np.stack([self._scaled(member, target, test=True) for member in covering])
        duplicate_of: dict[int, int] = {}
        if len(covering) > 1:
            duplicate_of = self._find_duplicates(target, covering, oof, told)
        names = tuple(member.name for member in covering)
        place = self.targets.index(target)
        return _Candidates(place, self.scales[target], names, oof, test, duplicate_of)

    def _scaled(self, member: Member, target: str, test: bool) -> Floats:
        values = member.part(target, test)
        kind = "test" if test else "out-of-fold"
        if not np.isfinite(values).all():
            raise BlendmakeError(
                f"Source {member.name} has a missing or infinite {kind} prediction of {target}."
            )
        scale = self.scales[target]
        refused = scale.refused(values)
        if refused:
            raise BlendmakeError(
                f"Source {member.name} has {kind} predictions of {target} {refused}."
            )
        return scale.into(values, None if test else self.folds)

    def _find_duplicates(
        self, target: str, covering: Sequence[Member], oof: Floats, told: _Told
    ) -> dict[int, int]:
        ranks = oof
        if not self.scales[target].is_rank:
            # One member at a time: ranks of the scaled are not those of the predictions.
            ranks = np.empty_like(oof)
            for i, member in enumerate(covering):
                ranks[i] = rank_scale(member.part(target, test=False), self.folds)
        correlations = rank_correlations(ranks.reshape(len(covering), -1))
        digests = [member.digest_of(target) for member in covering]
        kept: list[int] = []
        duplicate_of: dict[int, int] = {}
        for later in range(len(covering)):
            for earlier in kept:
                identical = digests[later] == digests[earlier]
                correlation = 1.0 if identical else float(correlations[later, earlier])
                if identical or correlation >= DUPLICATE:
                    duplicate_of[later] = earlier
                    told.duplicates.append(
                        {
                            "target": target,
                            "source": covering[later].name,
                            "duplicate_of": covering[earlier].name,
                            "rank_correlation": correlation,
                            "identical": identical,
                        }
                    )
                    break
            else:
                kept.append(later)
        return duplicate_of

    def _others(self, target: str, fold: int | None) -> list[int]:
        """The other targets that the target's stacker sees, chosen on the fold's fitting rows."""
        if fold not in self.correlations:
            return []
        eligible = np.array([t != target and bool(self.covering[t]) for t in self.targets])
        correlations = self.correlations[fold][self.targets.index(target)]
        return nearest_targets(correlations, eligible, self.options.neighbours)

    def _mean_logit(self, other: int, test: bool) -> Floats:
        """The mean log odds of another target over the members that cover it."""
        target = self.targets[other]
        covering = sorted(self.covering[target], key=lambda member: member.name)
        total = self._scaled(covering[0], target, test)
        for member in covering[1:]:
            total += self._scaled(member, target, test)
        return total / len(covering)

    def _fit(
        self, candidates: _Candidates, scorer: SetScorer, one: int, near: Mapping[int, Floats]
    ) -> _Fit:
        target = self.of[candidates.target]
        metric = self.metrics[target.name]
        count = len(candidates.names)
        why = [""] * count
        kept = list(range(count))
        if self.options.drop_duplicates:
            for later, earlier in candidates.duplicate_of.items():
                why[later] = f"dropped: duplicate of {candidates.names[earlier]}"
            kept = [i for i in kept if i not in candidates.duplicate_of]

        if not scorer.defined(one):
            weights = np.zeros(count)
            weights[kept] = uniform(len(kept))
            want = "two classes" if target.task.name == "binary" else "labels that differ"
            for i in kept:
                why[i] = f"taken: the mean, for want of {want}"
            return _Fit(weights, np.full(count, np.nan), why)

        solo = scorer.solo(one)
        kept = self._within_limits(kept, np.array([metric.utility(v) for v in solo]), why)
        rows = FittingRows(scorer, one, kept, metric, target.task, candidates.scale)
        if self.options.method in STACKERS:
            return self._fit_stack(candidates, rows, kept, solo, why, near)
        chosen = METHODS[self.options.method](rows, self.options.method_options())
        weights = np.zeros(count)
        weights[kept] = chosen
        for i in kept:
            why[i] = "taken" if weights[i] > 0 else "not chosen"
        return _Fit(weights, solo, why)

    def _within_limits(self, kept: list[int], solo: Floats, why: list[str]) -> list[int]:
        """Those kept, the most useful alone first; tells in ``why`` of the others."""
        kept = sorted(kept, key=lambda i: -solo[i])  # stable: equals stay in config order
        gap = self.options.max_auc_gap
        if gap is not None:
            best = solo[kept[0]]
            far = [i for i in kept if best - solo[i] > gap]
            for i in far:
                why[i] = f"dropped: {best - solo[i]:.4f} below the best"
            kept = [i for i in kept if i not in far]
        most = self.options.max_sources_per_target
        if most is not None:
            for i in kept[most:]:
                why[i] = f"dropped: beyond the best {most}"
            kept = kept[:most]
        return kept

    def _fit_stack(
        self,
        candidates: _Candidates,
        fitting: FittingRows,
        kept: list[int],
        solo: Floats,
        why: list[str],
        near: Mapping[int, Floats],
    ) -> _Fit:
        own = [i for i in candidates.by_name if i in kept]
        rows = fitting.rows
        there = {other: column[rows] for other, column in near.items()}
        # A target's own mean adds nothing to its sources but in products.
        single = [other for other in near if other != candidates.target]
        crossed = self.options.method == CROSS_TARGET
        pairs = list(combinations(near, 2)) if crossed else []
        inputs = [candidates.oof[i, rows] for i in own] + [there[other] for other in single]
        inputs += [there[a] * there[b] for a, b in pairs]
        fit_stack = STACKER_OF[fitting.task.name]
        model = fit_stack(np.stack(inputs, axis=1), fitting.labels, self.options.stack_c)
        found = model.coefficients.tolist()
        weights = np.zeros(len(candidates.names))
        weights[own] = found[: len(own)]
        for i in own:
            why[i] = "coefficient"
        further, products = found[len(own) :][: len(single)], found[len(own) + len(single) :]
        return _Fit(
            weights,
            solo,
            why,
            model.intercept,
            dict(zip(single, further, strict=True)),
            dict(zip(pairs, products, strict=True)),
        )

    def _apply(
        self,
        candidates: _Candidates,
        columns: Floats,
        neighbours: Mapping[int, Floats],
        fit: _Fit,
    ) -> Floats:
        """Predictions (r,) from the candidates' scaled columns (s, r); of several outputs, of each."""
        total = np.zeros(columns.shape[1:])
        total += 0.0 if fit.intercept is None else fit.intercept
        for i in candidates.by_name:
            if fit.weights[i] != 0.0:
                total += fit.weights[i] * columns[i]
        for other, coefficient in fit.neighbours.items():
            total += coefficient * neighbours[other]
        for (a, b), coefficient in fit.products.items():
            total += coefficient * neighbours[a] * neighbours[b]
        return candidates.scale.back(total)

    def _record(self, candidates: _Candidates, fold: int | None, fit: _Fit, told: _Told) -> None:
        known = bool(np.isfinite(fit.solo).all())
        metric = self.metrics[self.targets[candidates.target]]
        utility = np.array([metric.utility(value) for value in fit.solo])
        ranks = np.empty(len(fit.solo), dtype=np.int64)
        ranks[np.argsort(-utility, kind="stable")] = np.arange(1, len(fit.solo) + 1)
        for i, name in enumerate(candidates.names):
            solo, rank = (float(fit.solo[i]), int(ranks[i])) if known else (None, None)
            self._row(told, candidates, name, fold, float(fit.weights[i]), fit.why[i], solo, rank)
        if fit.intercept is not None:
            terms = {f"target:{self.targets[a]}": value for a, value in fit.neighbours.items()}
            for (a, b), value in fit.products.items():
                terms[f"target:{self.targets[a]} * target:{self.targets[b]}"] = value
            for term, coefficient in terms.items():
                self._row(told, candidates, term, fold, coefficient, "coefficient")
            for term, value in self._intercepts(candidates, fit.intercept):
                self._row(told, candidates, term, fold, value, "coefficient")

    def _intercepts(
        self, candidates: _Candidates, intercept: float | Floats
    ) -> list[tuple[str, float]]:
        if isinstance(intercept, float):
            return [(INTERCEPT, intercept)]
        classes = self.of[candidates.target].classes
        return [
            (f"{INTERCEPT}={name}", float(v)) for name, v in zip(classes, intercept, strict=True)
        ]

    def _row(
        self,
        told: _Told,
        candidates: _Candidates,
        source: str,
        fold: int | None,
        weight: float,
        why: str,
        solo: float | None = None,
        rank: int | None = None,
    ) -> None:
        told.weights.append(
            {
                "target": self.targets[candidates.target],
                "source": source,
                "fold": fold,
                "weight": weight,
                "metric": self.metrics[self.targets[candidates.target]].name,
                "solo": solo,
                "rank": rank,
                "why": why,
            }
        )


def _as_columns(values: Floats) -> Floats:
    """(rows, outputs)."""
    return values[:, None] if values.ndim == 1 else values
