"""The rows of a fold as LightGBM holds them: put into their bins block by block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blendmake.heap import give_back_freed
from blendmake.lean.lightgbm import lgb
from blendmake.matrix import Rows

# LightGBM leaves zeros out of its sample (kZeroThreshold).
_ZERO = np.float32(1e-35)


class _Told(lgb.Dataset):  # type: ignore[misc]
    """A data set that tells LightGBM all its settings; the base leaves out threads and verbosity."""

    def get_params(self) -> dict[str, Any]:
        return dict(self.params)


class BinnedRows(lgb.Dataset):  # type: ignore[misc]
    """Rows in bins, the same as a data set made of all rows at once, which are never held as they are.

    A whole table in memory costs four bytes a value, and LightGBM's copy of the sample that sets
    the bins, which grows as it is filled, up to 24 for each value of the sample; its own way around
    that (`Sequence`) holds the sample three times and asks for it row by row. Here the sample takes
    eight, and four more in columns with zeros, until the bins are set.

    Args:
        rows: at least one.
        params: settings of LightGBM: those on bins, threads and verbosity.
        reference: whose bins the rows are put into, on the threads that it was made with; None: they
            get their own.

    Raises:
        lgb.basic.LightGBMError: a setting that LightGBM refuses.
    """

    def __init__(
        self, rows: Rows, params: Mapping[str, Any], reference: BinnedRows | None = None
    ) -> None:
        categories = [i for i, column in enumerate(rows.columns) if column.is_category]
        chosen = {"categorical_column": categories} if categories else {}
        super().__init__(None, params={**params, **chosen}, reference=reference)
        if reference is None:
            self._set_bins(rows)
        else:
            self._init_from_ref_dataset(len(rows), reference._handle)
        # Linear trees keep the values too, for which LightGBM makes room for one block alone.
        size = {"block_bytes": 4 * math.prod(rows.shape)} if params.get("linear_tree") else {}
        for block in rows.blocks(**size):
            self._push_rows(block)
        self.set_label(np.zeros(len(rows), np.float32))  # it asks for some; each fit sets its own
        give_back_freed()

    def _set_bins(self, rows: Rows) -> None:
        maker = _Told(None, params=self.params)
        sampled = maker._create_sample_indices(total_nrow=len(rows))
        sample = rows.at(sampled)
        every = np.arange(len(sampled), dtype=np.int32)
        values: list[NDArray[np.float64]] = []
        places: list[NDArray[np.int32]] = []
        for index in range(len(rows.columns)):
            column = sample.codes(index)
            kept = ~(np.abs(column) <= _ZERO)  # missing values too
            whole = bool(kept.all())
            values.append((column if whole else column[kept]).astype(np.float64))
            places.append(every if whole else every[kept])
        maker._init_from_sample(values, places, len(sampled), len(rows))
        self._handle, maker._handle = maker._handle, None
