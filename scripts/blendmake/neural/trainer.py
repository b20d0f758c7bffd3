"""The trainer of neural families: one network for several targets, epochs, checkpoints, early stopping.

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
from blendmake.family import Fit, Predictions, Stop
from blendmake.link import Link
from blendmake.neural.checkpoints import Checkpoints
from blendmake.neural.data import Blocks, Feeder
from blendmake.neural.layers import Network
from blendmake.neural.losses import Loss, activate
from blendmake.neural.params import Check, choice, optional, real, whole
from blendmake.neural.schedules import SCHEDULES, Schedule
from blendmake.seeds import derive_seed
from blendmake.tasks.base import Target

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
    """The rows that early stopping or a report watches, and what of."""

    blocks: Blocks
    stop: Stop
    targets: Sequence[Target]

    def scores(self, predictions: Predictions) -> NDArray[np.float64]:
        """The metric per target, NaN where it is undefined."""
        return self.stop.scores(self.targets, predictions)


@dataclass(frozen=True)
class Trained:
    """The epochs whose weights the network has now, and the metric per target on the watched rows."""

    epochs: int
    stop_scores: NDArray[np.float64] | None


class Trainer:
    """One fit.

    Args:
        network: on its device.
        asked: the fit that is asked for.
        params: checked ones, CHECKS among them.
        link: what the logits stand for.
        loss: of a batch.
        watch: what early stopping watches, or the report alone; without early stopping all of
            `asked.rounds` epochs count.
        checkpoints: where the fit goes on from, and what it leaves after an epoch.
    """

    def __init__(
        self,
        network: Network,
        feeder: Feeder,
        asked: Fit,
        params: dict[str, Any],
        link: Link,
        loss: Loss,
        watch: Watch | None,
        checkpoints: Checkpoints,
    ) -> None:
        self.network, self.feeder, self.asked, self.params = network, feeder, asked, params
        self.link, self.loss = link, loss
        self.watch, self.checkpoints = watch, checkpoints
        self.optimizer = _optimizer(network, params)
        self.schedule = Schedule(
            params["schedule"],
            asked.rounds,
            params["warmup_epochs"],
            params["restart_epochs"],
            params["plateau_epochs"],
            params["plateau_factor"],
        )
        self._stops = watch is not None and asked.stop_rounds is not None
        self._half = params["amp"] == "bf16" or (
            params["amp"] == "auto" and feeder.device.type == "cuda"
        )
        self._scores: list[float] = []  # per epoch the metric, more being better, or less the loss
        self._best: dict[str, Tensor] | None = None
        self._stop_scores: list[float] = []
        self._watched: dict[int, float] = {}  # the metric after so many epochs

    def run(self) -> Trained:
        """Train, from where a checkpoint stands if there is one.

        Raises:
            BlendmakeError: the loss is no finite number any more.
        """
        self._resume()
        longest = 0.0  # seconds of an epoch so far
        window = beside("window")
        while len(self._scores) < self.asked.rounds and not self._waited_enough():
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
        return Trained(self._best_epoch() + 1, np.array(self._stop_scores))

    def _epoch(self, number: int) -> None:
        torch.manual_seed(derive_seed(self.asked.seed, "epoch", number))
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
            loss = self.loss(logits.float(), labels)
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
            predictions = predict(self.network, self.watch.blocks, self.link)
            if not np.isfinite(predictions).all():
                raise self._diverged(number)
            found, stop = self.watch.scores(predictions), self.watch.stop
            self._watched[number + 1] = stop.mean(found)
            if self._stops:  # otherwise what a schedule sees must not depend on a report
                score = stop.metric.utility(self._watched[number + 1])
                if not self._scores or score > max(self._scores):
                    self._best, self._stop_scores = _copy(self.network.state_dict()), found.tolist()
        self._scores.append(score)
        log.info("epoch %d: loss %.5f, score %.5f", number + 1, mean, score)

    def _tell(self, epochs: int) -> None:
        report = None if self.asked.stop is None else self.asked.stop.report
        if report is not None and epochs in self._watched:
            report(epochs, self._watched[epochs])

    def _diverged(self, number: int) -> BlendmakeError:
        return BlendmakeError(
            f"The fit of {self.asked.title} diverged in epoch {number + 1}: its loss is no finite "
            f"number. Lower the source's params.learning_rate "
            f"(now {self.params['learning_rate']:g})."
        )

    def _best_epoch(self) -> int:
        return int(np.argmax(self._scores))

    def _waited_enough(self) -> bool:
        if not self._stops or self.asked.stop_rounds is None or not self._scores:
            return False
        return len(self._scores) - 1 - self._best_epoch() >= self.asked.stop_rounds

    def _state(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": self._best,
            "scores": self._scores,
            "stop_scores": self._stop_scores,
            "watched": self._watched,
        }

    def _resume(self) -> None:
        found = self.checkpoints.read()
        if found is None:
            return
        self.network.load_state_dict(found["network"])
        self.optimizer.load_state_dict(found["optimizer"])
        self._best, self._scores = found["best"], found["scores"]
        self._stop_scores, self._watched = found["stop_scores"], found["watched"]
        log.info("going on after epoch %d", len(self._scores))
        for epochs in self._watched:
            self._tell(epochs)


def predict(network: Network, blocks: Blocks, link: Link) -> Predictions:
    """Predictions (rows, outputs): chances in float32, numbers in float64; of members, their mean."""
    network.eval()
    found = [np.empty((0, sum(link.sizes)), np.float32)]
    with torch.inference_mode():
        for inputs in blocks:
            found.append(activate(network(inputs), link).cpu().numpy())
    values = np.concatenate(found)
    return link.from_margins(values) if link.task == "regression" else values


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


def watched(blocks: Blocks | None, asked: Fit) -> Watch | None:
    """What is watched; None if nothing is to be, or if there is nothing to score any target by."""
    stop = asked.stop
    if blocks is None or stop is None or (stop.rounds is None and stop.report is None):
        return None
    columns = zip(asked.targets, stop.labels.T, strict=True)
    usable = any(target.task.usable(column) for target, column in columns)
    return Watch(blocks, stop, asked.targets) if usable else None
