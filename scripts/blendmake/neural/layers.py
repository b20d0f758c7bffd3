"""Parts of networks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from blendmake.neural.data import Inputs


def embedding_size(levels: int) -> int:
    """Size of a category's embedding by the number of its levels: fastai's `emb_sz_rule`."""
    size: float = 1.6 * levels**0.56
    return min(600, round(size))


class Network(nn.Module, ABC):  # type: ignore[misc,unused-ignore]
    """From Inputs of b rows to logits (b, outputs), or (b, members, outputs)."""

    @abstractmethod
    def forward(self, inputs: Inputs) -> Tensor:
        """The logits."""

    @abstractmethod
    def set_bias(self, logits: Tensor) -> None:
        """Let predictions begin at logits (outputs,)."""


class Categories(nn.Module):  # type: ignore[misc,unused-ignore]
    """Codes (…, c) as numbers (…, sum of widths); code 0 stands for a missing or unseen level.

    Args:
        levels: per category, its levels, code 0 not counted.
        size: of every embedding; by `embedding_size` if None.
        one_hot_max: categories of so many levels at most are one-hot; all 0 for code 0.
        dropout: share of whole embeddings dropped in training.

    Attributes:
        widths: per category.
    """

    def __init__(
        self, levels: Sequence[int], size: int | None, one_hot_max: int, dropout: float
    ) -> None:
        super().__init__()
        self.widths: list[int] = []
        tables: list[nn.Module] = []
        for count in levels:
            if count <= one_hot_max:
                # A frozen table of zeros and ones: one look-up for both kinds.
                table = nn.Embedding(count + 1, count)
                weight = torch.cat([torch.zeros(1, count), torch.eye(count)])
                table.weight = nn.Parameter(weight, requires_grad=False)
            else:
                table = nn.Embedding(count + 1, size or embedding_size(count))
                nn.init.normal_(table.weight, std=0.1)
                # Where training has no missing one, an unseen level is nothing, not noise.
                with torch.no_grad():
                    table.weight[0] = 0
            tables.append(table)
            self.widths.append(table.embedding_dim)
        self.tables = nn.ModuleList(tables)
        self.dropout = nn.Dropout(dropout)

    def forward(self, codes: Tensor) -> list[Tensor]:
        """One (…, width) per category."""
        found = []
        for j, table in enumerate(self.tables):
            vectors = table(codes[..., j])
            if table.weight.requires_grad and self.dropout.p:
                vectors = vectors * self.dropout(torch.ones_like(vectors[..., :1]))
            found.append(vectors)
        return found
