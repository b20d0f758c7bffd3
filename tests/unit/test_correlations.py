"""Rank correlations between prediction files, and duplicates among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import pearsonr, rankdata

from blendmake.errors import BlendmakeError
from blendmake.files import read_note, read_parquet
from blendmake.predictions import write_predictions
from blendmake.reports import correlations as module
from blendmake.reports.correlations import (
    CORRELATIONS,
    DuplicatePair,
    duplicate_pairs,
    write_correlations,
)

N = 60
FOLDS = np.arange(N) % 3


def make(folder: Path, name: str, columns: Mapping[str, NDArray[np.floating]]) -> tuple[str, Path]:
    path = folder / f"{name}.parquet"
    values = np.stack([np.asarray(c, np.float32) for c in columns.values()], axis=1)
    ids = pa.table({"entity": pa.array(range(len(values))), "date": pa.array([7] * len(values))})
    write_predictions(path, ids, list(columns), values, {})
    return name, path


def rows(
    folder: Path, files: list[tuple[str, Path]]
) -> dict[tuple[str, str, str], dict[str, object]]:
    out = folder / "correlations.parquet"
    write_correlations(files, FOLDS, out, {"made": "here"})
    table = read_parquet(out)
    assert table.schema.equals(CORRELATIONS)
    return {(r["a"], r["b"], r["target"]): r for r in table.to_pylist()}


@pytest.fixture
def columns() -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    # Rounded, so that there are ties.
    return np.asarray(np.round(rng.random((4, N)), 1))


def test_values_are_pearson_of_ranks_within_folds(
    tmp_path: Path, columns: NDArray[np.float64]
) -> None:
    x, y = columns[0], columns[0] + columns[1]
    # Folds of very different level: ranked all together they would correlate by level alone.
    files = [make(tmp_path, "x", {"t": x + 10 * FOLDS}), make(tmp_path, "y", {"t": y - 10 * FOLDS})]
    found = rows(tmp_path, files)["x", "y", "t"]
    ranks = np.empty((2, N))
    for fold in range(3):
        for i, column in enumerate((x, y)):
            level = (10 * fold, -10 * fold)[i]
            values = (column[fold == FOLDS] + level).astype(np.float32)
            ranks[i, fold == FOLDS] = rankdata(values)
    assert found["rank_correlation"] == pytest.approx(pearsonr(*ranks).statistic, abs=1e-12)
    assert found["rank_correlation"] > 0.3  # type: ignore[operator]
    assert found["identical"] is False
    assert read_note(tmp_path / "correlations.parquet")["made"] == "here"


def test_pairs_in_order_over_common_targets(tmp_path: Path, columns: NDArray[np.float64]) -> None:
    files = [
        make(tmp_path, "z", {"t1": columns[0], "t0": columns[1]}),
        make(tmp_path, "b", {"t0": columns[2], "t1": columns[1]}),
        make(tmp_path, "a", {"t2": columns[0], "t0": columns[3], "t1": columns[3]}),
        make(tmp_path, "alone", {"t9": columns[0]}),
    ]
    assert list(rows(tmp_path, files)) == [
        ("z", "b", "t1"),
        ("z", "b", "t0"),
        ("z", "a", "t1"),
        ("z", "a", "t0"),
        ("b", "a", "t0"),
        ("b", "a", "t1"),
    ]


def test_identical_and_constant_columns(tmp_path: Path, columns: NDArray[np.float64]) -> None:
    constant = np.full(N, 0.25)
    files = [
        make(tmp_path, "a", {"t0": columns[0], "t1": constant}),
        make(tmp_path, "b", {"t0": columns[0], "t1": constant}),
        make(tmp_path, "c", {"t0": 2 * columns[0], "t1": columns[1]}),
    ]
    found = rows(tmp_path, files)
    assert found["a", "b", "t0"]["identical"] is True
    assert found["a", "b", "t1"]["identical"] is True
    assert found["a", "b", "t1"]["rank_correlation"] is None
    assert found["a", "c", "t0"]["identical"] is False
    assert found["a", "c", "t0"]["rank_correlation"] == pytest.approx(1.0)
    table = read_parquet(tmp_path / "correlations.parquet")
    # a and c agree on one target only; a and b on both, one of them constant.
    assert [(p.a, p.b, p.targets, p.identical) for p in duplicate_pairs(table)] == [
        ("a", "b", 2, True)
    ]


def table_of(*found: tuple[str, str, str, float | None, bool]) -> pa.Table:
    made = [dict(zip(CORRELATIONS.names, row, strict=True)) for row in found]
    return pa.Table.from_pylist(made, schema=CORRELATIONS)


def test_duplicates_need_every_common_target() -> None:
    table = table_of(
        ("a", "b", "t0", 0.99995, False),
        ("a", "b", "t1", 0.9999, False),
        ("a", "c", "t0", 1.0, True),
        ("a", "c", "t1", 0.9998, False),
        ("b", "c", "t0", None, False),
        ("b", "d", "t0", None, True),
    )
    first, second = duplicate_pairs(table)
    assert first == DuplicatePair("a", "b", 2, 0.9999, False)
    assert second[:3] == ("b", "d", 1)
    assert math.isnan(second.rank_correlation)
    assert second.identical
    assert [pair[:2] for pair in duplicate_pairs(table, 0.99)] == [
        ("a", "b"),
        ("a", "c"),
        ("b", "d"),
    ]


def test_other_rows_are_refused(tmp_path: Path, columns: NDArray[np.float64]) -> None:
    files = [make(tmp_path, "a", {"t": columns[0]}), make(tmp_path, "b", {"t": columns[0][:-1]})]
    with pytest.raises(BlendmakeError, match=r"b\.parquet has 59 rows, the folds have 60"):
        rows(tmp_path, files)
    assert not (tmp_path / "correlations.parquet").exists()


def test_a_single_file_gives_an_empty_table(tmp_path: Path, columns: NDArray[np.float64]) -> None:
    assert rows(tmp_path, [make(tmp_path, "a", {"t.x": columns[0]})]) == {}


def test_dots_in_target_names(tmp_path: Path, columns: NDArray[np.float64]) -> None:
    both = {"t.x": columns[0], "t": columns[1]}
    found = rows(tmp_path, [make(tmp_path, "a", both), make(tmp_path, "b", both)])
    assert [key[2] for key in found] == ["t.x", "t"]


@pytest.mark.parametrize(("held", "reads"), [(1 << 24, 2), (N * 2 * 3, 2 * 4)])
def test_files_are_read_by_many_targets_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int, reads: int
) -> None:
    """Opening a file costs by its columns: a read per target would be quadratic in targets."""
    rng = np.random.default_rng(1)
    values = {name: {f"t{j}": rng.random(N) for j in range(10)} for name in ("x", "y")}
    values["y"]["t9"] = values["x"]["t9"]
    files = [make(tmp_path, name, of) for name, of in values.items()]
    opened = []

    def counted(path: Path, columns: list[str]) -> pa.Table:
        opened.append(path)
        return read_parquet(path, columns=columns)

    monkeypatch.setattr(module, "read_parquet", counted)
    monkeypatch.setattr(module, "HELD_VALUES", held)
    found = rows(tmp_path, files)
    assert len(opened) == reads
    assert [key[2] for key, row in found.items() if row["identical"]] == ["t9"]
    assert len(found) == 10
