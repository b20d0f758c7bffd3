"""Losses of networks, and what their logits stand for, by the task of the targets."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blendmake.family import Labels
from blendmake.link import Link


class Loss:
    """The loss of a batch: the mean over its known labels; of members, the mean of each one's own.

    Cross-entropy of two or several classes, squared error of numbers, in spreads of the target.

    Args:
        positives: (targets,) weights of positives, of two classes only.
        smoothing: share of a label's certainty that is spread over its classes.
        weighed: whether a batch's labels are followed by as many columns of their weights.
    """

    def __init__(
        self, link: Link, positives: Tensor | None, smoothing: float, *, weighed: bool
    ) -> None:
        self.link, self.positives = link, positives
        self.smoothing, self.weighed = smoothing, weighed

    def __call__(self, logits: Tensor, batch: Tensor) -> Tensor:
        """Of logits (b, [members,] outputs) and labels (b, [members,] targets), NaN unknown."""
        targets = len(self.link.sizes)
        if logits.ndim > batch.ndim:
            batch = batch.unsqueeze(1).expand(*logits.shape[:-1], batch.shape[-1])
        labels = batch[..., :targets]
        known = ~labels.isnan()
        each = self._each(logits, torch.where(known, labels, 0.0))
        if self.weighed:
            each = each * batch[..., targets:]
        return torch.where(known, each, 0.0).sum() / known.sum()

    def _each(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each label (b, [members,] targets)."""
        if self.link.task == "regression":
            return (logits - labels) ** 2
        if self.link.task == "binary":
            truth = labels * (1 - self.smoothing) + self.smoothing / 2
            return nn.functional.binary_cross_entropy_with_logits(
                logits, truth, pos_weight=self.positives, reduction="none"
            )
        found = []
        for j, part in enumerate(self.link.slices):
            # Not cross_entropy, whose gradient on a GPU adds in no fixed order.
            chances = nn.functional.log_softmax(logits[..., part], dim=-1)
            classes = torch.arange(chances.shape[-1], device=labels.device)
            truth = (labels[..., j, None] == classes).to(chances.dtype)
            truth = truth * (1 - self.smoothing) + self.smoothing / chances.shape[-1]
            found.append(-(truth * chances).sum(dim=-1))
        return torch.stack(found, dim=-1)


def activate(logits: Tensor, link: Link) -> Tensor:
    """Chances, or numbers in spreads of their target, (b, outputs); of members, their mean."""
    if link.task == "binary":
        values = torch.sigmoid(logits)
    elif link.task == "multiclass":
        parts = [torch.softmax(logits[..., part], dim=-1) for part in link.slices]
        values = torch.cat(parts, dim=-1)
    else:
        values = logits
    return values.mean(dim=1) if values.ndim == 3 else values


def start_at(
    link: Link, labels: Labels, positives: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """The logits (outputs,) where a fit may begin: of the shares of classes among known labels."""
    if link.task == "regression":
        return np.zeros(len(link.sizes))
    if link.task == "binary":
        weights = 1.0 if positives is None else positives
        found = (labels == 1).sum(axis=0) * weights
        odds: NDArray[np.float64] = np.log((found + 0.5) / ((labels == 0).sum(axis=0) + 0.5))
        return odds
    parts = []
    for column, size in zip(labels.T, link.sizes, strict=True):
        counts = np.array([(column == k).sum() + 0.5 for k in range(size)])
        parts.append(np.log(counts / counts.sum()))
    return np.concatenate(parts)


def capped_weights(labels: Labels, cap: float) -> NDArray[np.float64]:
    """Weight (targets,) of positives of two classes: negatives per positive, up to `cap`."""
    positives, negatives = (labels == 1).sum(axis=0), (labels == 0).sum(axis=0)
    ratio = np.where(positives > 0, negatives / np.maximum(positives, 1), 1.0)
    return np.minimum(ratio, cap)
