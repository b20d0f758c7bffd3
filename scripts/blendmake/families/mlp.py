"""A multilayer perceptron with embeddings of categories, one network for all targets of a task.

Inputs are the prepared numbers and flags (neural.data.Preparation) and an embedding per category,
of fastai's size or a fixed one; then blocks of a linear layer, batch norm (Ioffe & Szegedy 2015),
activation and dropout; then one logit per output, which begins at the target's base rate (the share of
the class). The loss is the cross-entropy over all known labels; of numbers the squared error in spreads.

| param | default | |
| --- | --- | --- |
| `hidden` | [512, 256] | widths of the blocks |
| `activation` | silu | relu, gelu or silu |
| `batch_norm` | true | |
| `dropout` | 0.5 | after each block |
| `embedding_size` | null | of every category; null: min(600, 1.6 × levels^0.56) |
| `embedding_dropout` | 0.1 | share of a row's embeddings dropped |

and those of every neural family:

| param | default | |
| --- | --- | --- |
| `learning_rate` | 0.001 | |
| `weight_decay` | 0.01 | decoupled; biases and norms have none |
| `batch_size` | 256 | |
| `optimizer` | adamw | adamw (Loshchilov & Hutter 2019), adabelief (Zhuang et al. 2020) |
| `schedule` | constant | constant, plateau, cosine, cosine_restarts |
| `warmup_epochs` | 0 | linear rise of the learning rate |
| `restart_epochs` | 10 | period of cosine_restarts |
| `plateau_epochs`, `plateau_factor` | 4, 0.5 | of plateau: epochs without a better score |
| `gradient_clip` | 1.0 | norm; null for none |
| `pos_weight_cap` | null | weight of positives, of two classes: negatives per positive, up to this |
| `label_smoothing` | 0 | of classes |
| `scaling` | robust | robust, or quantile (normal quantiles) |
| `amp` | auto | auto: bf16 on a GPU; off; bf16 |
| `buffer_mb` | 256 | bound of the training rows held prepared; more are read anew each epoch |
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from blendmake.family import Predictions
from blendmake.matrix import Rows
from blendmake.neural.data import Inputs, Preparation
from blendmake.neural.family import NeuralFamily, predict_network
from blendmake.neural.layers import Categories, Network
from blendmake.neural.params import Check, choice, optional, real, switch, whole, widths

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class Perceptron(Network):
    """The network: Inputs of b rows to logits (b, outputs)."""

    def __init__(self, params: Mapping[str, Any], preparation: Preparation, outputs: int) -> None:
        super().__init__()
        levels = [len(codes) for codes in preparation.levels]
        self.categories = Categories(
            levels, params["embedding_size"], 0, params["embedding_dropout"]
        )
        width = preparation.width + sum(self.categories.widths)
        layers: list[nn.Module] = []
        for size in params["hidden"]:
            layers.append(nn.Linear(width, size))
            if params["batch_norm"]:
                layers.append(nn.BatchNorm1d(size))
            layers += [ACTIVATIONS[params["activation"]](), nn.Dropout(params["dropout"])]
            width = size
        self.layers = nn.Sequential(*layers)
        self.output = nn.Linear(width, outputs)

    def forward(self, inputs: Inputs) -> Tensor:
        parts = [inputs.numbers, *self.categories(inputs.codes)]
        logits: Tensor = self.output(self.layers(torch.cat(parts, dim=-1)))
        return logits

    def set_bias(self, logits: Tensor) -> None:
        self.output.bias.data.copy_(logits)


class MLP(NeuralFamily):
    CHECKS: ClassVar[dict[str, Check]] = {
        **NeuralFamily.CHECKS,
        "hidden": widths,
        "activation": choice(*ACTIVATIONS),
        "batch_norm": switch,
        "dropout": real(0, 0.95),
        "embedding_size": optional(whole(1)),
        "embedding_dropout": real(0, 0.95),
    }
    DEFAULTS: ClassVar[dict[str, Any]] = {
        **NeuralFamily.DEFAULTS,
        "hidden": [512, 256],
        "activation": "silu",
        "batch_norm": True,
        "dropout": 0.5,
        "embedding_size": None,
        "embedding_dropout": 0.1,
    }

    @staticmethod
    def network(
        params: Mapping[str, Any], preparation: Preparation, outputs: int, extra: Mapping[str, Any]
    ) -> Network:
        return Perceptron(params, preparation, outputs)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Predictions:
    """Predictions (rows, outputs) of a saved model for rows of its feature set."""
    return predict_network(MLP, path, rows, threads)


FAMILY = MLP
