"""What a blend is made of: members, splits and settings, and whether they fit together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.blends.scales import SCALES
from blendmake.blends.stacking import STACK_C
from blendmake.blends.weights import BOUNDS, GRID_SOURCES, METHODS, SHRINKAGE, STEP, STEPS
from blendmake.errors import BlendmakeError
from blendmake.tasks.base import Target, as_targets

Predictions = NDArray[np.floating[Any]]  # float32 or float64
Rows = NDArray[np.integer]

STACK, CROSS_TARGET = "stack", "cross_target"
STACKERS = (STACK, CROSS_TARGET)
CROSS_NEIGHBOURS = 5
BLEND_METHODS = (*METHODS, *STACKERS)


@dataclass(frozen=True, eq=False)
class Member:
    """A source's predictions.

    Attributes:
        name: the source's name.
        of: the targets it covers, in the order of its columns; names stand for binary ones.
        oof: (n, outputs) out-of-fold predictions.
        test: (m, outputs) test predictions; None if the problem has no test table.
    """

    name: str
    of: Sequence[Target | str]
    oof: Predictions
    test: Predictions | None

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(target.name for target in as_targets(self.of))

    @cached_property
    def _columns(self) -> Mapping[str, slice]:
        columns, first = {}, 0
        for target in as_targets(self.of):
            last = first + len(target.outputs)
            columns[target.name] = slice(first, last)
            first = last
        return columns

    @property
    def width(self) -> int:
        """The number of its columns."""
        return max((columns.stop for columns in self._columns.values()), default=0)

    def part(self, target: str, test: bool) -> Predictions:
        """Its predictions of one target: (rows,), of several outputs (rows, outputs)."""
        table = self.test if test else self.oof
        assert table is not None
        columns = self._columns[target]
        one = columns.stop - columns.start == 1
        return np.ascontiguousarray(table[:, columns.start] if one else table[:, columns])

    def digest_of(self, target: str) -> str:
        """A digest of the bytes of one target's OOF predictions."""
        column = self.part(target, test=False)
        return hashlib.blake2b(column.tobytes(), digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """Row positions: what is fitted on ``fit`` predicts ``apply``. They share no row."""

    fit: Rows
    apply: Rows


@dataclass(frozen=True, eq=False)
class BlendOptions:
    """Settings of one blend.

    Attributes:
        method: one of ``BLEND_METHODS``.
        scale: a name of `scales.SCALES`; None: each target's own (`scales.scale_of`); stackers have
            theirs.
        max_auc_gap: candidates whose solo AUC is further than this below the best are dropped.
        max_sources_per_target: only the best so many candidates are kept.
        allow_partial_sources: whether members may lack some of the targets.
        drop_duplicates: whether duplicates are dropped, rather than only named.
        fallback: what to take for a target that no member covers.
        top_weights: of ``top2_weighted`` and ``top3_weighted``.
        step: of ``simplex_grid``.
        grid_sources: of ``simplex_grid``: how many of the best it searches.
        steps: of ``greedy``: how many are selected, with replacement.
        shrinkage: of ``optimize_weights``: the pull towards uniform.
        bounds: of ``optimize_weights``: least and greatest weight.
        stack_neighbours: of stackers: how many correlated other targets they see; None: none, and
            CROSS_NEIGHBOURS for ``cross_target``.
        stack_c: of stackers: scikit-learn's C on standardised inputs.
    """

    method: str = "mean"
    scale: str | None = None
    max_auc_gap: float | None = None
    max_sources_per_target: int | None = None
    allow_partial_sources: bool = True
    drop_duplicates: bool = False
    fallback: Member | None = None
    top_weights: tuple[float, ...] | None = None
    step: float = STEP
    grid_sources: int = GRID_SOURCES
    steps: int = STEPS
    shrinkage: float = SHRINKAGE
    bounds: tuple[float, float] = BOUNDS
    stack_neighbours: int | None = None
    stack_c: float = STACK_C

    @property
    def neighbours(self) -> int:
        """How many correlated other targets a stacker sees."""
        if self.stack_neighbours is not None:
            return self.stack_neighbours
        return CROSS_NEIGHBOURS if self.method == CROSS_TARGET else 0

    @property
    def chooses(self) -> bool:
        """Whether labels decide anything, so that there is something to cross-fit."""
        limits = (self.max_auc_gap, self.max_sources_per_target)
        return self.method != "mean" or any(limit is not None for limit in limits)

    def method_options(self) -> Mapping[str, Any]:
        """The settings as the weight methods take them."""
        return {
            "top_weights": self.top_weights,
            "step": self.step,
            "grid_sources": self.grid_sources,
            "steps": self.steps,
            "shrinkage": self.shrinkage,
            "bounds": self.bounds,
        }


def check(
    members: Sequence[Member],
    labels: NDArray[np.floating],
    targets: Sequence[str],
    splits: Sequence[Split],
    fold_of_row: Rows,
    options: BlendOptions,
) -> None:
    """See whether members, rows and settings fit together; raises as `blending.blend` says."""
    n = len(labels)
    if labels.shape != (n, len(targets)) or fold_of_row.shape != (n,):
        raise ValueError(
            f"labels {labels.shape}, folds {fold_of_row.shape}, {len(targets)} targets"
        )
    applied = np.zeros(n, dtype=np.int64)
    for split in splits:
        here = np.bincount(split.apply, minlength=n)
        if here[split.fit].any():
            raise ValueError("a split applies to rows that it was fitted on")
        applied += here
    if applied.max(initial=0) > 1:
        raise ValueError("a row is applied to twice")
    if options.chooses and not splits:
        raise ValueError("nothing to cross-fit on: no splits")

    if options.method not in BLEND_METHODS:
        raise BlendmakeError(
            f"Unknown blend method {options.method!r}; known are {', '.join(BLEND_METHODS)}."
        )
    if options.scale is not None and options.scale not in SCALES:
        raise BlendmakeError(f"Unknown scale {options.scale!r}; known are {', '.join(SCALES)}.")
    if options.max_sources_per_target is not None and options.max_sources_per_target < 1:
        raise BlendmakeError("max_sources_per_target must be at least 1.")
    if options.max_auc_gap is not None and not options.max_auc_gap >= 0:
        raise BlendmakeError("max_auc_gap must be at least 0.")
    if not members:
        raise BlendmakeError("A blend needs at least one source.")
    names = [member.name for member in members]
    for name in names:
        if names.count(name) > 1:
            raise BlendmakeError(f"Source {name} is named twice in one blend.")
    everyone = [*members, *([options.fallback] if options.fallback else [])]
    for member in everyone:
        _check_shapes(member, n)
    lengths = {m.name: None if m.test is None else len(m.test) for m in everyone}
    if len(set(lengths.values())) > 1:
        told = ", ".join(
            f"{name} {'none' if rows is None else rows}" for name, rows in lengths.items()
        )
        raise BlendmakeError(f"The sources' test predictions differ in rows: {told}.")
    if not options.allow_partial_sources:
        for member in members:
            lacking = [target for target in targets if target not in member.targets]
            if lacking:
                raise BlendmakeError(
                    f"Source {member.name} does not cover {', '.join(lacking)}; leave it out, "
                    "blend fewer targets, or set allow_partial_sources: true."
                )


def _check_shapes(member: Member, n: int) -> None:
    width = member.width
    if member.oof.shape != (n, width):
        raise BlendmakeError(
            f"Source {member.name} has out-of-fold predictions of shape {member.oof.shape}; "
            f"{n} rows and {width} columns were expected."
        )
    if member.test is not None and member.test.shape[1:] != (width,):
        raise BlendmakeError(
            f"Source {member.name} has test predictions of shape {member.test.shape}; "
            f"{width} columns were expected."
        )
