"""Finished fits in scratch: one parquet file per target and bag, whole or not there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.digests import sha256
from blendmake.errors import BlendmakeError
from blendmake.family import Predictions
from blendmake.files import note_of, read_parquet, write_parquet

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StoredFit:
    """One target's fit of one bag: predictions (rows, outputs), its row of fits.parquet, and its model.

    `share`: share of the negatives that it saw; the predictions are corrected for it already.
    `outputs`: of a model of several targets, from which of its outputs to before which are these.
    """

    valid: Predictions
    test: Predictions
    row: dict[str, Any]
    model: Path | None
    share: float = 1.0
    outputs: tuple[int, int] | None = None

    def write(self, path: Path) -> None:
        """Keep it; the model, if any, must stand before: this file stands for the finished fit."""
        both = np.concatenate([self.valid, self.test])
        table = pa.table({f"output{j}": np.ascontiguousarray(c) for j, c in enumerate(both.T)})
        note = {
            "fit": self.row,
            "model": self.model.name if self.model else None,
            "model_sha256": sha256(self.model) if self.model else None,
            "share": self.share,
            "outputs": self.outputs,
        }
        write_parquet(table, path, note)

    @staticmethod
    def read(path: Path, held_out: int, with_model: bool) -> StoredFit | None:
        """What stands at `path`, or None: nothing, something damaged, or no model where one is wanted.

        Args:
            held_out: number of held-out rows among the predictions.
        """
        if not path.exists():
            return None
        try:
            table = read_parquet(path)
        except BlendmakeError:
            log.warning("%s is damaged: this fit is done again", path)
            return None
        note = note_of(table)
        model = path.parent / note["model"] if note["model"] else None
        if with_model and (model is None or not model.exists()):
            return None
        if with_model and model is not None and sha256(model) != note["model_sha256"]:
            log.warning("%s is damaged: this fit is done again", model)
            return None
        values = np.column_stack([column.to_numpy() for column in table.columns])
        outputs = tuple(note["outputs"]) if note["outputs"] else None
        return StoredFit(
            values[:held_out], values[held_out:], note["fit"], model, note["share"], outputs
        )


def mean_prediction(parts: Sequence[Predictions]) -> Predictions:
    """The mean (rows, outputs) of the bags' predictions."""
    if len(parts) == 1:
        return parts[0]
    return np.asarray(np.mean(parts, axis=0, dtype=np.float64), parts[0].dtype)
