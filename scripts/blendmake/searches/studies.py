"""The studies of a search as its workers share them: exact numbers of trials, whatever dies."""

from __future__ import annotations

import contextlib
import json
import logging
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

from blendmake.errors import BlendmakeError
from blendmake.searches.samplers import grid_points, make_sampler
from blendmake.searches.space import Space, Value
from blendmake.searches.storage import Place
from blendmake.searches.table import Trial, sign_of
from blendmake.seeds import derive_seed

log = logging.getLogger(__name__)
FAILED_AT_MOST = 0.05
"""Share of the trials asked for that may fail before a search stops."""
DONE = (TrialState.COMPLETE, TrialState.PRUNED)
LONGEST_TEXT = 6000  # characters of a traceback that are kept


@dataclass(frozen=True)
class StudyPlan:
    """One study: `name` in trials.parquet, `key` in the storage, and what it looks for.

    `baselines`: what each source fits now, of the params of the space, as far as it says.
    """

    name: str
    key: str
    space: Space
    baselines: Sequence[Mapping[str, Value]]
    trials: int
    metric: str
    sampler: str
    pruner: BasePruner
    retries: int
    seed: int


@dataclass
class Claimed:
    """A trial that this worker fits: its values, fixed ones included."""

    trial: optuna.Trial
    values: dict[str, Value]
    baseline: bool
    started: float


class Study:
    """One study of a search, opened.

    Made by whoever comes first; the own params of its source (of each of several) are its first trial.
    Trials are claimed under the lock that all workers share, so that `trials` of them end complete or
    pruned, and not one more.

    Args:
        make: whether to make it where there is none; else it has no trials.
    """

    def __init__(self, place: Place, plan: StudyPlan, *, make: bool = True) -> None:
        self.place, self.plan = place, plan
        self.study: optuna.Study | None = None
        place.exclusively(self._begin if make else self._find)

    def _find(self) -> None:
        with contextlib.suppress(KeyError):  # there is none yet
            self.study = optuna.load_study(
                study_name=self.plan.key, storage=self.place.storage, pruner=self.plan.pruner
            )

    def _begin(self) -> None:
        self.study = optuna.create_study(
            study_name=self.plan.key,
            storage=self.place.storage,
            load_if_exists=True,
            direction="maximize" if sign_of(self.plan.metric) > 0 else "minimize",
            pruner=self.plan.pruner,
        )
        # A study that another sampler has begun may go on as a grid.
        mark = "begun as a grid" if self.plan.sampler == "grid" else "begun"
        if not self.study.user_attrs.get(mark):
            self._give_first()
            self.study.set_user_attr(mark, True)

    def _give_first(self) -> None:
        """Enqueue what is given: the baseline, and the points of a grid."""
        given = {_fingerprint(t.user_attrs.get("given")) for t in self._trials()}
        space = self.plan.space
        points = [(dict(baseline), True) for baseline in self.plan.baselines]
        if self.plan.sampler == "grid":
            begin = [known for values, _ in points if (known := space.enqueued(values)) is not None]
            points += [(p, False) for p in grid_points(space) if space.enqueued(p) not in begin]
        for values, baseline in points:
            if _fingerprint(values) not in given:
                self._enqueue(values, {"baseline": baseline})

    def _enqueue(self, values: Mapping[str, Value], attrs: Mapping[str, Any]) -> None:
        """Give a trial of these values; those that lie outside the space Optuna is not told of."""
        known = self.plan.space.enqueued(values)
        self._made.enqueue_trial(
            known or {}, user_attrs={**attrs, "given": dict(values), "in_space": known is not None}
        )

    @property
    def _made(self) -> optuna.Study:
        assert self.study is not None
        return self.study

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False) if self.study is not None else []

    # Claiming

    def claim(
        self, worker: str, suspects: dict[int, float], may_begin: Callable[[], bool] = lambda: True
    ) -> Claimed | str:
        """Take the next trial, or say why there is none.

        `done`; `wait`: others fit the last ones; `end`: there is one, but none may be begun.

        Args:
            worker: who takes it.
            may_begin: whether a trial may be begun.
            suspects: trials whose worker gave no sign of life, and since when; kept by the caller.

        Raises:
            BlendmakeError: too many trials have failed; with the commonest reason.
        """
        return self.place.exclusively(lambda: self._claim(worker, suspects, may_begin))

    def _claim(
        self, worker: str, suspects: dict[int, float], may_begin: Callable[[], bool]
    ) -> Claimed | str:
        assert self.study is not None
        self._recover(worker, suspects)
        trials = self._trials()
        states = Counter(trial.state for trial in trials)
        done, wanted = sum(states[state] for state in DONE), self.plan.trials
        if done >= wanted:
            return "done"
        self._check_failures(trials)
        if done + states[TrialState.RUNNING] >= wanted:
            return "wait"
        if not may_begin():
            return "end"
        # Lost trials have others in their place: a study goes on after a kill as it would have.
        number = len(trials) - sum(map(_is_lost, trials))
        seed = derive_seed(self.plan.seed, "trial", number)
        self.study.sampler = make_sampler(self.plan.sampler, self.plan.space, wanted, seed)
        trial = self.study.ask()
        attrs = trial.user_attrs
        given = attrs.get("given")
        started = time.time()
        trial.set_user_attr("worker", worker)
        trial.set_user_attr("started", started)
        if given is not None and not attrs.get("in_space"):
            values = dict(given)
        else:
            values = self.plan.space.suggest(trial)
            if given is not None:  # params that the source sets, and that are not searched
                values = {**given, **values}
        trial.set_user_attr("values", values)
        return Claimed(trial, values, bool(attrs.get("baseline")), started)

    def _recover(self, worker: str, suspects: dict[int, float]) -> None:
        """Give up trials whose workers are dead, and have them tried again with the same params.

        So too those that a worker which asks for one has itself: it was about to take them when the
        storage went away.
        """
        for trial in self._trials():
            if trial.state != TrialState.RUNNING:
                continue
            holder = trial.user_attrs.get("worker")
            if holder == worker:
                self._give_up(trial, "the storage went away")
                continue
            if holder is not None and self.place.is_alive(holder):
                suspects.pop(trial.number, None)
                continue
            since = suspects.setdefault(trial.number, time.monotonic())
            if time.monotonic() - since < self.place.grace:
                continue
            self._give_up(trial, "its worker died")

    def _give_up(self, trial: FrozenTrial, reason: str, *, counted: bool = True) -> None:
        """Have a trial tried again, if it has not been so often already.

        Args:
            counted: whether this try counts.
        """
        attrs = trial.user_attrs
        retries = int(attrs.get("retries", 0))
        again = not counted or retries < self.plan.retries
        values = attrs.get("values", attrs.get("given"))
        waiting = any(t.user_attrs.get("retry_of") == trial.number for t in self._trials())
        if again and values is not None and not waiting:
            kept = {"baseline": bool(attrs.get("baseline"))}
            tries = {"retries": retries + counted, "retry_of": trial.number}
            self._enqueue(values, {**kept, **tries})
        reason += "" if again else f" (tried {retries + 1} times)"
        log.warning("%s: trial %d is lost: %s", self.plan.name, trial.number, reason)
        storage = self.place.storage
        storage.set_trial_user_attr(trial._trial_id, "lost", again)
        storage.set_trial_user_attr(trial._trial_id, "reason", reason)
        self._made.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _check_failures(self, trials: Sequence[FrozenTrial]) -> None:
        failed = [t for t in trials if t.state == TrialState.FAIL and not t.user_attrs.get("lost")]
        if len(failed) <= FAILED_AT_MOST * self.plan.trials:
            return
        reasons = Counter(str(t.user_attrs.get("reason", "unknown")) for t in failed)
        reason, count = reasons.most_common(1)[0]
        raise BlendmakeError(
            f"study '{self.plan.name}': {len(failed)} trials have failed, more than "
            f"{FAILED_AT_MOST:.0%} of the {self.plan.trials} asked for. {count} times: {reason} "
            "Tracebacks stand in partial/trials.parquet. Correct the space or the source (which begins "
            "a new study), or raise `trials`."
        )

    # Telling

    def tell(
        self,
        claimed: Claimed,
        fold_values: Sequence[float | None],
        value: float | None,
        pruned: str | None = None,
    ) -> None:
        """Write down how a trial ended: complete with a value, or pruned for a reason."""
        attrs = {"fold_values": list(fold_values), **({"reason": pruned} if pruned else {})}
        if pruned:  # its value is the last that was reported
            self._tell(claimed, TrialState.PRUNED, None, attrs)
        else:
            self._tell(claimed, TrialState.COMPLETE, value, attrs)

    def fail(self, claimed: Claimed, error: Exception) -> None:
        """Write down that a trial failed, and why."""
        text = "".join(traceback.format_exception(error))[-LONGEST_TEXT:]
        reason = (str(error).strip() or type(error).__name__)[:500]
        self._tell(claimed, TrialState.FAIL, None, {"reason": reason, "traceback": text})

    def put_back(self, claimed: Claimed, reason: str) -> None:
        """Leave a trial to whoever comes next, with the same params; it counts as no try."""
        trial_id = claimed.trial._trial_id

        def work() -> None:
            trial = self.place.storage.get_trial(trial_id)
            if not trial.state.is_finished():
                spent = time.time() - claimed.started
                self.place.storage.set_trial_user_attr(trial_id, "seconds", spent)
                self._give_up(trial, reason, counted=False)

        self.place.exclusively(work)

    def _tell(
        self, claimed: Claimed, state: TrialState, value: float | None, attrs: Mapping[str, Any]
    ) -> None:
        trial_id, number = claimed.trial._trial_id, claimed.trial.number
        attrs = {**attrs, "seconds": time.time() - claimed.started}

        def work() -> None:
            if self.place.storage.get_trial(trial_id).state.is_finished():
                # Taken for dead while the storage was away: another worker fits it again.
                log.warning("%s: trial %d was given up meanwhile", self.plan.name, number)
                return
            for name, one in attrs.items():
                self.place.storage.set_trial_user_attr(trial_id, name, one)
            self._made.tell(number, value, state=state, skip_if_finished=True)

        self.place.exclusively(work)  # no other worker gives it up meanwhile

    # Reading

    def counts(self) -> Counter[str]:
        """Trials by state (complete, pruned, failed, lost, running, waiting)."""
        return Counter(_state(trial) for trial in self.place.patiently(self._trials))

    def rows(self) -> list[Trial]:
        """The trials that have ended, as rows of trials.parquet."""
        trials = self.place.patiently(self._trials)
        return [self._row(trial) for trial in trials if trial.state.is_finished()]

    def _row(self, trial: FrozenTrial) -> Trial:
        attrs = trial.user_attrs
        value = trial.value if trial.state in DONE else None
        values = attrs.get("values", attrs.get("given", {}))
        return {
            "study": self.plan.name,
            "number": trial.number,
            "state": _state(trial),
            "value": value,
            "fold_values": attrs.get("fold_values", []),
            "params": values,
            "source": attrs.get("source"),
            "baseline": bool(attrs.get("baseline")),
            "in_space": bool(attrs.get("in_space", True)),
            "retries": int(attrs.get("retries", 0)),
            "retry_of": attrs.get("retry_of"),
            "worker": attrs.get("worker"),
            "started": attrs.get("started"),
            "seconds": attrs.get("seconds"),
            "intermediate": [
                {"step": step, "value": one}
                for step, one in sorted(trial.intermediate_values.items())
            ],
            "reason": attrs.get("reason"),
            "traceback": attrs.get("traceback"),
        }


def _state(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return "lost" if trial.user_attrs.get("lost") else "failed"
    return trial.state.name.lower()


def _is_lost(trial: FrozenTrial) -> bool:
    """Whether a trial is given up, or will be: taken, but by nobody."""
    taken = trial.state == TrialState.RUNNING and "worker" not in trial.user_attrs
    return taken or bool(trial.user_attrs.get("lost"))


def _fingerprint(values: Any) -> str:
    return json.dumps(values, sort_keys=True)
