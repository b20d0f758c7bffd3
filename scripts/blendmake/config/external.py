"""External sources: predictions that somebody else made."""

from __future__ import annotations

from pydantic import Field

from blendmake.config.base import Strict


class External(Strict):
    """Two files of predictions, checked on the way in; a source like any other from then on."""

    oof: str = Field(
        description="Out-of-fold predictions of all train rows, made on this problem's folds."
    )
    test: str = Field(description="Predictions of the test rows.")
