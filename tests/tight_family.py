"""A family that finds too little GPU memory, as the libraries tell it, without a GPU.

By itself it fits a constant. Its memory hangs on `width`; `room` is how much of it there is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from blendmake.family import Family, Fit, Fitted, Smaller, refused
from blendmake.files import write_text

released: list[int] = []  # what is given back


class Tight(Family):
    ROUNDS = 5
    GPU = True
    SMALLER = Smaller("width", 64, 8)
    DEFAULTS: ClassVar[dict[str, Any]] = {"room": 1000}
    ALIASES: ClassVar[dict[str, str]] = {}

    def fit(self, asked: Fit) -> Fitted:
        params = self.params(asked)
        width = int(params.get("width", 64))
        if self.gpu and width > params["room"]:
            try:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has …")
            except RuntimeError as error:
                raise refused(asked, error) from error
        rng = np.random.default_rng(asked.seed)
        valid, test = (
            (0.5 + 0.001 * width * rng.random((len(rows), 1))).clip(0, 1).astype(np.float32)
            for rows in (self.data.valid, self.data.test)
        )

        def save(stem: Path) -> Path:
            path = stem.with_suffix(".txt")
            write_text("model", path)
            return path

        device = "cuda" if self.gpu else "cpu"
        return Fitted(valid, test, asked.rounds, save, device=device)

    def release(self) -> None:
        released.append(1)


FAMILY = Tight
