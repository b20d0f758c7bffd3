"""The trainer of neural families: one network for all targets, epochs, checkpoints, early stopping.

The state of a fit between epochs is its checkpoint: weights, the optimizer's state, the best
weights and the scores so far. Everything drawn is drawn from (seed, epoch), and the schedules are
functions of the scores, so that a fit that was killed ends in the same bytes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blendmake.beside import beside
from blendmake.errors import BlendmakeError
from blendmake.family import JointFit, Labels
from blendmake.matrix import Floats
from blendmake.neural.checkpoints import Checkpoints
from blendmake.neural.data import Blocks, Feeder
from blendmake.neural.layers import Network
from blendmake.neural.params import Check, choice, optional, real, whole
from blendmake.neural.schedules import SCHEDULES, Schedule
from blendmake.seeds import derive_seed
from blendmake.stats.auc import AucScorer

log = logging.getLogger(__name__)

CHECKS: dict[str, Check] = {
    "learning_rate": real(above=True),
    "weight_decay": real(),
    "batch_size": whole(2),
    "optimizer": choice("adamw", "adabelief"),
    "schedule": choice(*SCHEDULES),
    "warmup_epochs": real(),
    "restart_epochs": whole(1),
    "plateau_epochs": whole(1),
    "plateau_factor": real(0, 1, above=True),
    "gradient_clip": optional(real(above=True)),
    "pos_weight_cap": optional(real(1)),
    "label_smoothing": real(0, 0.5),
    "amp": choice("auto", "off", "bf16"),
}
DEFAULTS: dict[str, Any] = {
    "learning_rate": 1e-3,
    "weight_decay": 1e-2,
    "batch_size": 256,
    "optimizer": "adamw",
    "schedule": "constant",
    "warmup_epochs": 0,
    "restart_epochs": 10,
    "plateau_epochs": 4,
    "plateau_factor": 0.5,
    "gradient_clip": 1.0,
    "pos_weight_cap": None,
    "label_smoothing": 0.0,
    "amp": "auto",
}


def device_of(gpu: float) -> torch.device:
    """Where a fit runs that has so much of a GPU's memory (0: none)."""
    if not gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        log.warning("PyTorch %s sees no GPU: on the CPU", torch.__version__)
        return torch.device("cpu")
    if gpu < 1:  # what is beyond is another job's
        torch.cuda.set_per_process_memory_fraction(gpu)
    return torch.device("cuda")


@contextmanager
def repeatable(threads: int) -> Iterator[None]:
    """So many threads, and only operations that give the same bytes twice."""
    # Read when cuBLAS starts; without it, its sums depend on the order of streams.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    before = torch.get_deterministic_debug_mode()
    # As use_deterministic_algorithms, which would import the compiler, for seconds.
    torch.set_deterministic_debug_mode("error")
    # Nothing here reads memory before it is written; filling it would cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined,unused-ignore]
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before)


@dataclass(frozen=True)
class Watch:
    """The rows that early stopping or a report watches, and their labels (rows, targets)."""

    blocks: Blocks
    labels: Labels

    def scores(self, predictions: Floats) -> NDArray[np.float64]:
        """AUC per target, NaN where a class is absent."""
        found = np.empty(self.labels.shape[1])
        for j, labels in enumerate(self.labels.T):
            known = ~np.isnan(labels)
            found[j] = AucScorer(labels[known])(predictions[known, j])
        return found


@dataclass(frozen=True)
class Trained:
    """The epochs whose weights the network has now, and the AUC per target on the watched rows."""

    epochs: int
    stop_auc: NDArray[np.float64] | None


class Trainer:
    """One fit.

    Args:
        network: on its device.
        task: the fit that is asked for.
        params: checked ones, CHECKS among them.
        weights: of positive rows (targets,).
        watch: what early stopping watches, or the report alone; without early stopping all of
            `task.rounds` epochs count.
        checkpoints: where the fit goes on from, and what it leaves after an epoch.
    """

    def __init__(
        self,
        network: Network,
        feeder: Feeder,
        task: JointFit,
        params: dict[str, Any],
        weights: NDArray[np.float64],
        watch: Watch | None,
        checkpoints: Checkpoints,
    ) -> None:
        self.network, self.feeder, self.task, self.params = network, feeder, task, params
        self.watch, self.checkpoints = watch, checkpoints
        self.optimizer = _optimizer(network, params)
        self.schedule = Schedule(
            params["schedule"],
            task.rounds,
            params["warmup_epochs"],
            params["restart_epochs"],
            params["plateau_epochs"],
            params["plateau_factor"],
        )
        self._stops = watch is not None and task.stop_rounds is not None
        self._weights = torch.tensor(weights, dtype=torch.float32, device=feeder.device)
        self._half = params["amp"] == "bf16" or (
            params["amp"] == "auto" and feeder.device.type == "cuda"
        )
        self._scores: list[float] = []  # macro AUC per epoch, or less the loss
        self._best: dict[str, Tensor] | None = None
        self._stop_auc: list[float] = []
        self._watched: dict[int, float] = {}  # macro AUC after so many epochs

    def run(self) -> Trained:
        """Train, from where a checkpoint stands if there is one.

        Raises:
            BlendmakeError: the loss is no finite number any more.
        """
        self._resume()
        longest = 0.0  # seconds of an epoch so far
        window = beside("window")
        while len(self._scores) < self.task.rounds and not self._waited_enough():
            if window.time_left() <= longest and self._scores:
                self.checkpoints.write(self._state(), at_once=True)
            window.require_time(
                longest, f"{len(self._scores)} epochs of this fit are done and kept."
            )
            started = time.monotonic()
            self._epoch(len(self._scores))
            self.checkpoints.write(self._state())
            self._tell(len(self._scores))
            longest = max(longest, time.monotonic() - started)
        if not self._stops:
            return Trained(len(self._scores), None)
        assert self._best is not None
        self.network.load_state_dict(self._best)
        return Trained(self._best_epoch() + 1, np.array(self._stop_auc))

    def _epoch(self, number: int) -> None:
        torch.manual_seed(derive_seed(self.task.seed, "epoch", number))
        self.network.train()
        clip = self.params["gradient_clip"]
        total = torch.zeros((), device=self.feeder.device)
        seen = 0
        for inputs, labels in self.feeder.epoch(number):
            factor = self.schedule(number + seen / len(self.feeder), self._scores)
            for group in self.optimizer.param_groups:
                group["lr"] = self.params["learning_rate"] * factor
            with torch.autocast(self.feeder.device.type, torch.bfloat16, enabled=self._half):
                logits = self.network(inputs)
            loss = _loss(logits.float(), labels, self._weights, self.params["label_smoothing"])
            self.optimizer.zero_grad()
            torch.autograd.backward(loss)
            if clip is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), clip)
            self.optimizer.step()
            total += loss.detach() * len(inputs)
            seen += len(inputs)
        mean = total.item() / seen
        if not np.isfinite(mean):
            raise self._diverged(number)
        score = -mean
        if self.watch is not None:
            predictions = predict(self.network, self.watch.blocks, self.watch.labels.shape[1])
            if not np.isfinite(predictions).all():
                raise self._diverged(number)
            aucs = self.watch.scores(predictions)
            self._watched[number + 1] = float(np.nanmean(aucs))
            if self._stops:  # otherwise what a schedule sees must not depend on a report
                score = self._watched[number + 1]
                if not self._scores or score > max(self._scores):
                    self._best, self._stop_auc = _copy(self.network.state_dict()), aucs.tolist()
        self._scores.append(score)
        log.info("epoch %d: loss %.5f, score %.5f", number + 1, mean, score)

    def _tell(self, epochs: int) -> None:
        if self.task.report is not None and epochs in self._watched:
            self.task.report(epochs, self._watched[epochs])

    def _diverged(self, number: int) -> BlendmakeError:
        return BlendmakeError(
            f"The fit of {self.task.target} diverged in epoch {number + 1}: its loss is no finite "
            f"number. Lower the source's params.learning_rate "
            f"(now {self.params['learning_rate']:g})."
        )

    def _best_epoch(self) -> int:
        return int(np.argmax(self._scores))

    def _waited_enough(self) -> bool:
        if not self._stops or self.task.stop_rounds is None or not self._scores:
            return False
        return len(self._scores) - 1 - self._best_epoch() >= self.task.stop_rounds

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self._best,
            "scores": self._scores,
            "stop_auc": self._stop_auc,
            "watched": self._watched,
        }

    def _resume(self) -> None:
        found = self.checkpoints.read()
        if found is None:
            return
        self.network.load_state_dict(found["network"])
        self.optimizer.load_state_dict(found["optimizer"])
        self._best, self._scores = found["best"], found["scores"]
        self._stop_auc, self._watched = found["stop_auc"], found["watched"]
        log.info("going on after epoch %d", len(self._scores))
        for epochs in self._watched:
            self._tell(epochs)


def predict(network: Network, blocks: Blocks, targets: int) -> Floats:
    """Probabilities (rows, targets) in float32: of members, their mean."""
    network.eval()
    found = [np.empty((0, targets), np.float32)]
    with torch.inference_mode():
        for inputs in blocks:
            chances = torch.sigmoid(network(inputs))
            if chances.ndim == 3:
                chances = chances.mean(dim=1)
            found.append(chances.cpu().numpy())
    return np.concatenate(found)


def base_rates(labels: Labels, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds (targets,) of weighted positives among known labels, where a fit may begin."""
    positives = (labels == 1).sum(axis=0) * weights
    odds: NDArray[np.float64] = np.log((positives + 0.5) / ((labels == 0).sum(axis=0) + 0.5))
    return odds


def positive_weights(task: JointFit, labels: Labels, cap: float | None) -> NDArray[np.float64]:
    """Weight (targets,) of positives: negatives per positive up to `cap`, or what the task gives."""
    if cap is None:
        return task.positive_weights
    positives, negatives = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    ratio = np.where(positives > 0, negatives / np.maximum(positives, 1), 1.0)
    return np.minimum(ratio, cap)


def _loss(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float) -> Tensor:
    """Binary cross-entropy over known labels; of members, the mean of each one's own."""
    if logits.ndim > labels.ndim:
        labels = labels.unsqueeze(1).expand_as(logits)
    known = ~labels.isnan()
    truth = torch.where(known, labels, 0.0) * (1 - smoothing) + smoothing / 2
    each = nn.functional.binary_cross_entropy_with_logits(
        logits, truth, pos_weight=weights, reduction="none"
    )
    return torch.where(known, each, 0.0).sum() / known.sum()


def _optimizer(network: Network, params: dict[str, Any]) -> torch.optim.Optimizer:
    # No decay of biases and of what normalises.
    weights = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": params["weight_decay"]},
        {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if params["optimizer"] == "adamw":
        return torch.optim.AdamW(groups, lr=params["learning_rate"])
    from pytorch_optimizer import AdaBelief  # takes a second; most fits need none of it

    found: torch.optim.Optimizer = AdaBelief(groups, lr=params["learning_rate"])
    return found


def _copy(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in state.items()}


def watched(blocks: Blocks | None, task: JointFit) -> Watch | None:
    """What is watched; None if nothing is to be, or if no target has both classes there."""
    labels = task.stop_labels
    if blocks is None or labels is None or (task.stop_rounds is None and task.report is None):
        return None
    both: Sequence[bool] = ((labels == 0).any(axis=0) & (labels == 1).any(axis=0)).tolist()
    return Watch(blocks, labels) if any(both) else None
