"""Rows put into LightGBM's bins block by block are those of the whole table at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from blendmake.audits.drift import _Stacked
from blendmake.families.lightgbm_matrix import BinnedRows
from blendmake.lean.lightgbm import lgb
from blendmake.matrix import Column, Rows, TableFile, writing_table

ROWS, COLUMNS, LEVELS = 3000, 6, 5
PARAMS: dict[str, Any] = {
    "force_col_wise": True,
    "deterministic": True,
    "num_threads": 2,
    "feature_pre_filter": False,
    "verbosity": -1,
    "seed": 1,
}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> TableFile:
    """Numbers, among them mostly zeros and mostly missing, and a category, in several batches."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    values[rng.random(ROWS) < 0.95, 1] = 0
    values[rng.random(ROWS) < 0.9, 2] = np.nan
    values[:, 3] = rng.integers(0, LEVELS, ROWS)
    values[:, 4] = 0
    path = tmp_path_factory.mktemp("table") / "train.arrow"
    columns = [pa.array(values[:, i]) for i in range(COLUMNS)]
    whole = pa.table({f"c{i}": column for i, column in enumerate(columns)})
    with writing_table(path, whole.schema) as writer:
        for batch in whole.to_batches(max_chunksize=700):
            writer.write(batch)
    return TableFile(path)


def rows_of(table: TableFile, positions: np.ndarray) -> Rows:
    columns = [Column(f"c{i}", "table", LEVELS if i == 3 else 0) for i in range(COLUMNS)]
    return Rows({"table": table}, columns, positions)


def labels_of(rows: Rows) -> np.ndarray:
    values = rows.dense()
    odds = values[:, 0] + (values[:, 1] > 0) + (values[:, 3] == 2) - 0.5
    return (odds > 0).astype(np.float32)


def model(
    rows: Rows, stop: Rows, params: dict[str, Any], blocks: bool
) -> tuple[str, dict[str, Any]]:
    labels, told = labels_of(rows), {}
    if blocks:
        train = BinnedRows(rows, params)
        watched = BinnedRows(stop, params, reference=train)
    else:
        common: dict[str, Any] = {"categorical_feature": [3], "params": params}
        train = lgb.Dataset(rows.dense(), labels, **common).construct()
        watched = lgb.Dataset(stop.dense(), labels_of(stop), reference=train, **common).construct()
    booster = lgb.train(
        {**params, "objective": "binary", "metric": "auc"},
        train.set_label(labels),
        15,
        valid_sets=[watched.set_label(labels_of(stop))],
        callbacks=[lgb.record_evaluation(told)],
    )
    return booster.model_to_string(), told


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"bin_construct_sample_cnt": 500, "data_random_seed": 7},
        {"max_bin": 15, "min_data_in_bin": 20, "zero_as_missing": True},
        {"linear_tree": True},
    ],
    ids=["every row sets the bins", "a sample does", "coarse bins", "values are kept"],
)
def test_the_model_is_that_of_the_whole_table(
    table: TableFile, params: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = np.random.default_rng(1).permutation(ROWS)
    rows, stop = rows_of(table, np.sort(places[:2000])), rows_of(table, np.sort(places[2000:]))
    blocks, few = Rows.blocks, 64 * 4 * COLUMNS
    # Blocks of 64 rows, so that there are many and the last is not whole.
    monkeypatch.setattr(Rows, "blocks", lambda self, block_bytes=few: blocks(self, block_bytes))
    found, expected = (model(rows, stop, {**PARAMS, **params}, way) for way in (True, False))
    assert found == expected
    assert max(expected[1]["valid_0"]["auc"]) > 0.9


def test_rows_of_several_tables_are_taken_where_they_stand(table: TableFile) -> None:
    parts = [rows_of(table, np.arange(0, 900, 3)), rows_of(table, np.arange(1000, ROWS))]
    stacked = _Stacked(parts)
    whole = np.concatenate([part.dense() for part in parts])
    np.testing.assert_array_equal(stacked.dense(), whole)
    places = np.sort(np.random.default_rng(2).permutation(len(whole))[:700])
    found = np.concatenate(list(stacked.at(places).blocks()))
    np.testing.assert_array_equal(found, whole[places])
    np.testing.assert_array_equal(stacked.at(places).codes(3), whole[places, 3])


def test_without_categories_there_are_none(table: TableFile) -> None:
    rows = rows_of(table, np.arange(ROWS))
    rows.columns = rows.columns[:3]
    data = BinnedRows(rows, PARAMS)
    assert (data.num_data(), data.num_feature()) == (ROWS, 3)
    assert "categorical_column" not in data.get_params()
