"""The fits of one trial: on the search folds alone, matrices kept from trial to trial."""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.family import Family, slices_of
from blendmake.fits.bagging import undo_undersampling
from blendmake.fits.fold_fits import FoldFits, Unit
from blendmake.metrics.base import Metric, ScoredRows
from blendmake.window import require_time, told_to_end


class Pruned(Exception):
    """A trial ends here; what it says is why. `fold_values`: of the folds that were finished."""

    fold_values: Sequence[float | None] = ()


class Watch:
    """What is told in the course of a trial: `tell(step, value)` may raise Pruned.

    Args:
        stride: steps of one fit; 1 where nothing is told within it.
        tell: told the step and the running mean of the metric.
        each: whether the value of each fit is told as it is, by number, rather than a running mean
            in the course of it.
    """

    def __init__(
        self,
        stride: int,
        tell: Callable[[int, float], None],
        *,
        each: bool = False,
        deadline: float = math.inf,
    ) -> None:
        self.stride, self._tell, self._each = stride, tell, each
        self._deadline = deadline
        self._finished: list[float] = []
        self._fits = 0

    def during(self, rounds: int, value: float) -> None:
        """Told in the middle of a fit."""
        self.check_time()
        if not self._each and not math.isnan(value) and rounds < self.stride:
            mean = (sum(self._finished) + value) / (len(self._finished) + 1)
            self._tell(self._fits * self.stride + rounds, mean)

    def after(self, values: Sequence[float]) -> None:
        """Told at the end of a fit, the values of its targets."""
        known = [value for value in values if not math.isnan(value)]
        for value in known if self._each else []:
            self._tell(len(self._finished), value)
            self._finished.append(value)
        self._fits += 1
        if not self._each and known:
            self._finished.append(sum(known) / len(known))
            self._tell(self._fits * self.stride, sum(self._finished) / len(self._finished))

    def check_time(self) -> None:
        """Told before a fit, and in the middle of one: whether the trial may go on.

        Raises:
            Pruned: it has taken too long.
            WindowOver: SIGTERM has come. (A window lets a trial end: it was begun to end in it.)
        """
        if told_to_end():
            require_time(0.0, "The trial in hand is fitted again.")
        if time.monotonic() > self._deadline:
            raise Pruned("it took longer than trial_limit")


class TrialFits:
    """Fits the trials of a search on its folds.

    What the trials of one source and fold share (the binned matrix) is kept for the next.

    Args:
        sources: by name, the fits of each search fold, in order.
        metric: by what trials are rated.
    """

    def __init__(self, sources: Mapping[str, Sequence[FoldFits]], metric: Metric) -> None:
        self.sources, self.metric = sources, metric
        self._families: dict[tuple[str, int], tuple[Any, Family]] = {}

    def run(
        self,
        source: str,
        layer: Mapping[str, Any] | None,
        targets: Sequence[str],
        watch: Watch,
    ) -> list[float | None]:
        """Fit the targets on every search fold.

        Args:
            layer: what is set over the source (tuned.override); None: nothing, it is fitted as it is.
            watch: told how it goes.

        Returns:
            The metric by fold: its mean over the targets (of several targets a metric in units of the
            label counts in spreads of the target), None where it is undefined.

        Raises:
            Pruned: the watch has ended it; `fold_values` of the exception are those so far.
            WindowOver: there is no time for it.
        """
        done: list[float | None] = []
        for fits in self.sources[source]:
            fits.tuned = dict.fromkeys(targets, layer) if layer is not None else {}
            found: list[float] = []
            try:
                for unit in self._units(fits, targets):
                    watch.check_time()
                    scores = self._fit(fits, unit, watch, in_spreads=len(targets) > 1)
                    found += scores
                    watch.after(scores)
            except Pruned as pruned:
                pruned.fold_values = list(done)
                raise
            finally:
                fits.tuned = {}
            known = [value for value in found if not math.isnan(value)]
            done.append(sum(known) / len(known) if known else None)
        return done

    @staticmethod
    def _units(fits: FoldFits, targets: Sequence[str]) -> list[Unit]:
        """What is fitted of a fold; of a bagged source the first bag alone."""
        if fits.multi_output:
            return [Unit(some, 0) for some in fits.together(targets)]
        # By what they are fitted on, not by params: all trials go through targets in one order.
        return sorted((Unit((target,), 0) for target in targets), key=fits.data_key)

    def _fit(self, fits: FoldFits, unit: Unit, watch: Watch, *, in_spreads: bool) -> list[float]:
        place, key = (fits.name, fits.fold), fits.data_key(unit)
        known = self._families.get(place)
        if known is None or known[0] != key:
            self._families.pop(place, None)  # the old matrix goes before the new one comes
            known = self._families[place] = (key, fits.made_family(unit))
        family = known[1]
        report = watch.during if fits.reports else None
        scratch = Path(tempfile.mkdtemp(prefix="blendmake-trial-")) if fits.multi_output else None
        try:
            fitted, _, share = fits.fit_one(family, unit, scratch, report)
        finally:
            if scratch is not None:
                shutil.rmtree(scratch, ignore_errors=True)
        predictions = undo_undersampling(fitted.valid, share)
        parts = slices_of([fits.targets[target] for target in unit.targets])
        return [
            self._score(fits, target, predictions[:, part], in_spreads)
            for target, part in zip(unit.targets, parts, strict=True)
        ]

    def _score(
        self, fits: FoldFits, target: str, predictions: NDArray[Any], in_spreads: bool
    ) -> float:
        truth = fits.truth(target)
        rated = ~np.isnan(truth)
        if not fits.usable(target, truth):
            return math.nan
        known = truth[rated]
        given = predictions[rated, 0] if predictions.shape[1] == 1 else predictions[rated]
        value = self.metric(known, given, ScoredRows(folds=np.zeros(len(known), np.int8)))
        spread = float(np.std(known, dtype=np.float64))
        return value / spread if in_spreads and self.metric.has_unit else value
