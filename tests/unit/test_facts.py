"""The shape of a problem: told from the user's files as from the tables that are made of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from blendmake.adapters import ADAPTERS
from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.matrix import TableFile
from blendmake.tables.facts import Facts, facts_of_files, facts_of_tables
from blendmake.tables.user_labels import read_targets, write_targets
from helpers import flip_byte, read_user_tables, write_user_file

ROWS = 40
IDS = {"id": [f"r{i}" for i in range(ROWS)]}
COLUMNS = {
    "number": [i / 3 for i in range(ROWS)],
    "whole": list(range(ROWS)),
    "flag": [i % 3 == 0 for i in range(ROWS)],
    "city": ["bonn" if i % 2 else "celle" for i in range(ROWS)],
    "code_1": [i % 4 for i in range(ROWS)],
    "shop": [i % 5 for i in range(ROWS)],
    "text_1": [f"note {i}" for i in range(ROWS)],
}
MORE = {"more_1": [float(i % 7) for i in range(ROWS)], "more_2": [i % 2 == 0 for i in range(ROWS)]}
LABELS = {
    "common": [int(i % 2 == 0) for i in range(ROWS)],
    "rare": [int(i in (3, 4, 5)) for i in range(ROWS)],
    "gaps": [None if i % 4 == 0 else int(i % 4 == 1) for i in range(ROWS)],
}
EXPECTED = Facts(
    rows=ROWS,
    numbers=5,
    categories=3,
    positives=(20, 3, 10),
    labelled=round(1 - 10 / (3 * ROWS), 6),
)
KINDS: dict[str, Any] = {"categories": ["shop"], "patterns": ["code_*"], "left_out": ["text_*"]}


def facts_of_made(
    folder: Path,
    train: dict[str, str],
    labels: str,
    targets: list[str] | None,
    not_features: list[str],
) -> Facts | None:
    """The facts of the tables that are made of these files."""
    read_user_tables(
        folder,
        train,
        category_columns=KINDS["categories"],
        category_patterns=KINDS["patterns"],
        ignore=KINDS["left_out"],
        not_features=not_features,
    )
    ids = TableFile(folder / "tables" / "train.arrow").table(["id"])
    read = read_targets(labels, targets, ids, ["id"])
    write_targets(read, folder / "tables" / "targets.parquet", {"id_columns": ["id"]})
    return facts_of_tables(folder / "tables")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "csv.gz", "tsv", "arrow", "feather"])
def test_files_and_tables_tell_the_same(suffix: str, tmp_path: Path) -> None:
    train = {
        "main": write_user_file(tmp_path / f"main.{suffix}", {**IDS, **COLUMNS}),
        "more": write_user_file(tmp_path / f"more.{suffix}", {**IDS, **MORE}),
    }
    labels = write_user_file(tmp_path / f"labels.{suffix}", {**IDS, **LABELS})
    found = facts_of_files([*train.values()], ["id"], labels, None, **KINDS)
    assert found == EXPECTED
    assert found.columns == 8 and found.targets == 3
    made = facts_of_made(tmp_path, train, labels, None, [])
    # Only of what is read are levels known.
    assert made is not None and made.levels > made.categories
    assert replace(made, levels=0) == EXPECTED


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_targets_in_the_train_file(suffix: str, tmp_path: Path) -> None:
    """They are no features, and neither is a column that holds folds or groups."""
    fold = {"fold": [i % 3 for i in range(ROWS)]}
    columns = {**IDS, **COLUMNS, **MORE, **LABELS, **fold}
    file = write_user_file(tmp_path / f"all.{suffix}", columns)
    names = ["gaps", "common"]
    kinds = {**KINDS, "left_out": ["text_*", "rare", "fold"]}
    found = facts_of_files([file], ["id"], None, names, **kinds)
    assert replace(found, labelled=1.0) == Facts(ROWS, 5, 3, (10, 20))
    held = ["rare", "fold", *names]
    made = facts_of_made(tmp_path, {"main": file}, file, names, held)
    assert made is not None and replace(made, levels=0) == found


def test_labels_of_every_kind_of_number(tmp_path: Path) -> None:
    kinds = {
        "boolean": pa.array([True, False, None]),
        "real": pa.array([1.0, float("nan"), 1.0]),
        "small": pa.array([1, 0, None], pa.int8()),
        "decimal": pa.array([1, 0, 1]).cast(pa.decimal128(19)),
        "nothing": pa.nulls(3),
    }
    labels = write_user_file(tmp_path / "labels.parquet", {"x": [1, 2, 3], **kinds})
    found = facts_of_files([labels], [], None, list(kinds))
    assert found == Facts(3, 1, 0, (1, 2, 1, 2, 0), round(1 - 6 / 15, 6))


def test_a_column_without_a_value_is_a_number(tmp_path: Path) -> None:
    columns = {**IDS, "empty": pa.nulls(ROWS), "x": COLUMNS["number"]}
    train = {"main": write_user_file(tmp_path / "main.parquet", columns)}
    labels = write_user_file(tmp_path / "labels.csv", {**IDS, **LABELS})
    found = facts_of_files([*train.values()], ["id"], labels, ["rare"])
    assert found == Facts(ROWS, 2, 0, (3,))
    read_user_tables(tmp_path, train)
    read = read_targets(
        labels, ["rare"], TableFile(tmp_path / "tables" / "train.arrow").table(["id"]), ["id"]
    )
    write_parquet(read, tmp_path / "tables" / "targets.parquet", {"id_columns": ["id"]})
    assert facts_of_tables(tmp_path / "tables") == found


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"targets": "absent.csv"}, r"absent\.csv does not exist"),
    ({"train": ["absent.csv"]}, r"absent\.csv does not exist"),
    ({"columns": ["rare", "y9"]}, r"labels\.csv: the target column 'y9' is not among"),
    (
        {"targets": "main.csv", "columns": ["city"], "task": "binary"},
        r"main\.csv: target 'city' holds 'celle' .*data.targets.positive",
    ),
]


@pytest.mark.parametrize(("changed", "message"), WRONG)
def test_what_is_wrong_with_files_is_said(
    changed: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_user_file(Path("main.csv"), {**IDS, **COLUMNS})
    write_user_file(Path("labels.csv"), {**IDS, **LABELS})
    given = {"train": ["main.csv"], "targets": "labels.csv", "columns": None, **changed}
    task = given.get("task")
    with pytest.raises(BlendmakeError, match=message):
        facts_of_files(given["train"], ["id"], given["targets"], given["columns"], task=task)


def test_targets_of_every_task(tmp_path: Path) -> None:
    """Told from files as from tables; of binary targets alone the facts are as they ever were."""
    labels = {
        "won": [i % 2 for i in range(ROWS)],
        "kind": ["abc"[i % 3] for i in range(ROWS)],
        "price": [i / 2 for i in range(ROWS)],
    }
    train = {"main": write_user_file(tmp_path / "main.csv", {**IDS, **COLUMNS})}
    path = write_user_file(tmp_path / "labels.csv", {**IDS, **labels})
    found = facts_of_files([*train.values()], ["id"], path, None, **KINDS)
    assert found.tasks == ("binary", "multiclass", "regression")
    assert (found.positives, found.classes) == ((ROWS // 2, 0, 0), (0, 3, 0))
    assert (found.targets, found.outputs, found.kinds) == (3, 5, set(found.tasks))
    made = facts_of_made(tmp_path, train, path, None, [])
    assert made is not None and replace(made, levels=0) == found
    plain = facts_of_files([*train.values()], ["id"], path, ["won"])
    assert (plain.tasks, plain.classes, plain.kinds, plain.outputs) == ((), (), {"binary"}, 1)
    said = facts_of_files([*train.values()], ["id"], path, ["won"], task="regression")
    assert said.tasks == ("regression",)


def test_categoricals_of_pandas_are_categories_though_parquet_forgets_it(tmp_path: Path) -> None:
    frame = pd.DataFrame({"c": pd.Categorical([3, 1]), "x": [1, 2], "y": [0, 1]})
    frame.to_parquet(tmp_path / "a.parquet")
    found = facts_of_files([str(tmp_path / "a.parquet")], [], None, ["y"])
    assert (found.numbers, found.categories) == (1, 1)


def test_tables_that_do_not_stand_tell_nothing(tmp_path: Path) -> None:
    assert facts_of_tables(tmp_path / "tables") is None
    train = {"main": write_user_file(tmp_path / "main.csv", {**IDS, **COLUMNS})}
    labels = write_user_file(tmp_path / "labels.csv", {**IDS, **LABELS})
    assert facts_of_made(tmp_path, train, labels, None, []) is not None
    path = tmp_path / "tables" / "targets.parquet"
    flip_byte(path, 20)
    assert facts_of_tables(tmp_path / "tables") is None
    path.unlink()
    assert facts_of_tables(tmp_path / "tables") is None


@pytest.mark.parametrize(
    ("adapter", "options"),
    [("yeast", {}), ("contest_twin", {"rows": 1000, "test_rows": 250, "extra_columns": 4})],
)
def test_adapters_know_their_shape_before_they_write(
    adapter: str, options: dict[str, Any], tmp_path: Path
) -> None:
    module = ADAPTERS[adapter]
    module.write(tmp_path, **options)
    data = module.DATA
    told = Facts(**module.facts(**options))
    written = facts_of_files(
        [file.format(folder=tmp_path) for file in data["train"].values()],
        data["id"],
        data["targets"]["file"].format(folder=tmp_path),
        None,
        patterns=data.get("categories", {}).get("patterns", []),
    )
    assert told == written
