"""TabM: k perceptrons in one, most weights shared, by the authors' package (`tabm`).

Gorishniy, Kotelnikov & Babenko 2024, "TabM: Advancing Tabular Deep Learning with Parameter-Efficient
Ensembling" (ICLR 2025). Numbers may be embedded first: Gorishniy, Rubachev & Babenko 2022, "On
Embeddings for Numerical Features in Tabular Deep Learning" (`rtdl_num_embeddings`). Each member is
trained by its own loss; the prediction is the mean of the members' probabilities (numbers). Categories
of few levels are one-hot, others embedded.

| param | default | |
| --- | --- | --- |
| `k` | 16 | members |
| `arch_type` | tabm | tabm, or tabm-mini: only the first layer's scaling is a member's own |
| `n_blocks` | null | null: 2 with embeddings of numbers, 3 without |
| `d_block` | 256 | width |
| `dropout` | 0.1 | |
| `num_embeddings` | auto | piecewise_linear, periodic, none; auto: piecewise_linear up to 100 numbers |
| `d_embedding` | 16 | |
| `n_bins` | 48 | of piecewise_linear: quantiles of the training rows |
| `n_frequencies`, `frequency_init_scale` | 48, 0.01 | of periodic |
| `one_hot_max` | 64 | categories of more levels are embedded |
| `share_training_batches` | true | false: every member sees the rows in an order of its own |

The params of every neural family (learning rate, schedule, …) are listed in mlp.py; here
`learning_rate` is 0.002 and `weight_decay` 0.0003 by default.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from rtdl_num_embeddings import (  # type: ignore[import-untyped,unused-ignore]
    PeriodicEmbeddings,
    PiecewiseLinearEmbeddings,
    compute_bins,
)
from tabm import (  # type: ignore[import-untyped,unused-ignore]
    EnsembleView,
    LinearEnsemble,
    make_tabm_backbone,
)
from torch import Tensor, nn

from blendmake.family import Predictions
from blendmake.matrix import Floats, Rows
from blendmake.neural.data import Inputs, Preparation, pack, unpack
from blendmake.neural.family import Extra, NeuralFamily, predict_network
from blendmake.neural.layers import Categories, Network
from blendmake.neural.params import Check, choice, optional, real, switch, whole

AUTO_NUMBERS = 100  # beyond, embeddings make the first layer the bulk of the network


def embedding_kind(params: Mapping[str, Any], preparation: Preparation) -> str:
    """How numbers are embedded."""
    numbers = len(preparation.numbers)
    if numbers == 0:
        return "none"
    if params["num_embeddings"] == "auto":
        return "piecewise_linear" if numbers <= AUTO_NUMBERS else "none"
    return str(params["num_embeddings"])


class Ensemble(Network):
    """The network: Inputs of b rows, or (b, k) rows, to logits (b, k, outputs)."""

    def __init__(
        self,
        params: Mapping[str, Any],
        preparation: Preparation,
        outputs: int,
        bins: tuple[Any, ...],
    ) -> None:
        super().__init__()
        kind = embedding_kind(params, preparation)
        self._numbers = len(preparation.numbers) if kind != "none" else 0
        self.embeddings: nn.Module | None = None
        size = params["d_embedding"]
        if kind == "piecewise_linear":
            with warnings.catch_warnings():
                # A column of two values has one bin, which is what it needs.
                warnings.filterwarnings("ignore", "The .*-th feature has just two bin edges")
                self.embeddings = PiecewiseLinearEmbeddings(
                    [torch.tensor(edges) for edges in bins], size, activation=False, version="B"
                )
        elif kind == "periodic":
            self.embeddings = PeriodicEmbeddings(
                self._numbers,
                size,
                n_frequencies=params["n_frequencies"],
                frequency_init_scale=params["frequency_init_scale"],
                lite=False,
            )
        levels = [len(codes) for codes in preparation.levels]
        self.categories = Categories(levels, None, params["one_hot_max"], 0.0)
        # What comes from one column is scaled alike at the start.
        chunks = [size] * self._numbers
        chunks += [1] * (preparation.width - self._numbers) + self.categories.widths
        self.view = EnsembleView(k=params["k"])
        self.backbone = make_tabm_backbone(
            d_in=sum(chunks),
            n_blocks=params["n_blocks"] or (3 if self.embeddings is None else 2),
            d_block=params["d_block"],
            dropout=params["dropout"],
            k=params["k"],
            arch_type=params["arch_type"],
            start_scaling_init="random-signs" if self.embeddings is None else "normal",
            start_scaling_init_chunks=chunks,
        )
        self.output = LinearEnsemble(params["d_block"], outputs, k=params["k"])

    def forward(self, inputs: Inputs) -> Tensor:
        numbers = inputs.numbers
        parts = [numbers[..., self._numbers :], *self.categories(inputs.codes)]
        if self.embeddings is not None:
            flat = numbers[..., : self._numbers].flatten(0, -2)  # it takes rows only
            parts.insert(0, self.embeddings(flat).reshape(*numbers.shape[:-1], -1))
        logits: Tensor = self.output(self.backbone(self.view(torch.cat(parts, dim=-1))))
        return logits

    def set_bias(self, logits: Tensor) -> None:
        self.output.bias.data.copy_(logits.expand_as(self.output.bias))


class TabM(NeuralFamily):
    PACKAGES: ClassVar[tuple[str, ...]] = (*NeuralFamily.PACKAGES, "tabm", "rtdl_num_embeddings")
    CHECKS: ClassVar[dict[str, Check]] = {
        **NeuralFamily.CHECKS,
        "k": whole(1),
        "arch_type": choice("tabm", "tabm-mini"),
        "n_blocks": optional(whole(1)),
        "d_block": whole(1),
        "dropout": real(0, 0.95),
        "num_embeddings": choice("auto", "piecewise_linear", "periodic", "none"),
        "d_embedding": whole(1),
        "n_bins": whole(2),
        "n_frequencies": whole(1),
        "frequency_init_scale": real(above=True),
        "one_hot_max": whole(0),
        "share_training_batches": switch,
    }
    DEFAULTS: ClassVar[dict[str, Any]] = {
        **NeuralFamily.DEFAULTS,
        "learning_rate": 2e-3,
        "weight_decay": 3e-4,
        "k": 16,
        "arch_type": "tabm",
        "n_blocks": None,
        "d_block": 256,
        "dropout": 0.1,
        "num_embeddings": "auto",
        "d_embedding": 16,
        "n_bins": 48,
        "n_frequencies": 48,
        "frequency_init_scale": 0.01,
        "one_hot_max": 64,
        "share_training_batches": True,
    }

    @staticmethod
    def network(
        params: Mapping[str, Any], preparation: Preparation, outputs: int, extra: Mapping[str, Any]
    ) -> Network:
        return Ensemble(params, preparation, outputs, unpack(extra) if extra else ())

    @staticmethod
    def extra(params: Mapping[str, Any], preparation: Preparation, rows: Rows) -> Extra:
        if embedding_kind(params, preparation) != "piecewise_linear":
            return {}
        return pack(
            [
                _bins(
                    preparation.scaled(rows.measuring().codes(index)[:, None], slice(j, j + 1)),
                    params,
                )
                for j, index in enumerate(preparation.numbers)
            ]
        )

    @staticmethod
    def members(params: Mapping[str, Any]) -> int:
        return 1 if params["share_training_batches"] else int(params["k"])


def _bins(values: Floats, params: Mapping[str, Any]) -> Floats:
    """Bin edges of one scaled column (rows, 1), NaN where missing."""
    present = values[~np.isnan(values)]
    if len(present) <= params["n_bins"]:
        return np.unique(present)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The .*-th feature has just two bin edges")
        (edges,) = compute_bins(torch.tensor(present)[:, None], params["n_bins"])
    return np.asarray(edges.numpy(), np.float32)


def predict_saved(path: Path, rows: Rows, threads: int = 1) -> Predictions:
    """Predictions (rows, outputs) of a saved model for rows of its feature set."""
    return predict_network(TabM, path, rows, threads)


FAMILY = TabM
