"""Labels of every task: told from the column, read, stored, and read again for other rows."""

from __future__ import annotations

import datetime
import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blendmake.errors import BlendmakeError
from blendmake.files import with_note, write_parquet
from blendmake.labels import labels_of, read_known, targets_of
from blendmake.tables.label_column import EACH, FEW, MOST_CLASSES, LabelColumn
from blendmake.tables.naming import POSITION
from blendmake.tables.user_labels import read_targets
from blendmake.tasks import AUTO, TASKS
from blendmake.tasks.base import find_task, note_of_targets
from helpers import write_user_file

COLOURS = ["red", "green", "blue"]
EXAMPLES: dict[str, Any] = {
    "binary": [0, 1, None, 1],
    "multiclass": ["b", "a", None, "c"],
    "regression": [1.5, -2.0, None, 3.25],
}


def column(values: Any, **options: Any) -> LabelColumn:
    array = values if isinstance(values, pa.Array) else pa.array(values)
    return LabelColumn(pa.chunked_array([array]), "y", "t.csv", **options)


def read(path: Path, columns: dict[str, Any], **options: Any) -> pa.Table:
    file = write_user_file(path, columns)
    rows = len(next(iter(columns.values())))
    ids = pa.table({POSITION: np.arange(rows)})
    return read_targets(file, None, ids, [], **options)


def test_there_is_an_example_of_every_task() -> None:
    assert EXAMPLES.keys() == TASKS.keys()


# Told from the column

TOLD: dict[str, tuple[Any, str]] = {
    "0 and 1": ([0, 1, None], "binary"),
    "real 0 and 1": ([0.0, 1.0], "binary"),
    "two numbers": ([3, 7], "binary"),
    "two texts": (["a", "b", "a"], "binary"),
    "spellings of yes": (["Yes", "no", "YES", "No"], "binary"),
    "one value": ([1, 1], "binary"),
    "nothing": (pa.nulls(3), "binary"),
    "three texts": (COLOURS, "multiclass"),
    "dictionary": (pa.array(COLOURS).dictionary_encode(), "multiclass"),
    "few whole numbers": ([1, 2, 3] * EACH, "multiclass"),
    "few whole reals": ([1.0, 2.0, 3.0] * EACH, "multiclass"),
    "few whole decimals": ([Decimal("1.0"), Decimal("2.0"), Decimal("3.0")] * EACH, "multiclass"),
    "few whole numbers as text": (["1", "2", "3"] * EACH, "multiclass"),
    "fewer rows of each": ([1, 2, 3] * (EACH - 1), "regression"),
    "as many as may be": ([*range(FEW)] * EACH, "multiclass"),
    "one more": ([*range(FEW + 1)] * EACH, "regression"),
    "fractions": ([0.5, 1.0, 2.0] * EACH, "regression"),
    "numbers as text": (["1.5", "2", "-3e2", "NA"], "regression"),
    "codes": (["01", "02", "03", "1"], "multiclass"),
    "float16": (pa.array(np.array([0.5, 1, 2], np.float16)), "regression"),
}


@pytest.mark.parametrize("name", TOLD)
def test_the_task_is_told_from_the_column(name: str) -> None:
    values, task = TOLD[name]
    told, says = column(values).told()
    assert told == task in AUTO
    assert (says is None) == (task == "binary")
    find_task(told)


def test_with_positive_it_is_binary() -> None:
    assert column([*"abc"], positive=["a"]).told() == ("binary", None)


def test_what_was_told_is_said_with_the_mend(tmp_path: Path) -> None:
    said: list[str] = []
    columns = {
        "size": [1, 2, 3] * EACH,
        "price": [i / 2 for i in range(3 * EACH)],
        "kind": COLOURS * EACH,
        "won": [0, 1, 1] * EACH,
    }
    read(tmp_path / "t.csv", columns, say=said.append)
    where = f"{tmp_path / 't.csv'}: target"
    assert said == [
        f"{where} 'size': 3 whole numbers, taken for classes: '1' (10), '2' (10), '3' (10); otherwise, "
        "task: {size: regression}",
        f"{where} 'price': 30 different numbers, regression; otherwise, task: {{price: multiclass}}",
        f"{where} 'kind': 3 classes: 'blue' (10), 'green' (10), 'red' (10)",
    ]
    said.clear()
    task = {"size": "regression", "price": "regression", "kind": "multiclass"}
    read(tmp_path / "t.csv", columns, task=task, say=said.append)
    assert said == []


def test_a_third_value_beside_0_and_1_is_told(tmp_path: Path) -> None:
    warned: list[str] = []
    read(tmp_path / "t.csv", {"y": [0, 1, 0, 1, 0, -1] * EACH}, warn=warned.append)
    assert len(warned) == 1 and "holds '-1' (10 rows) beside 0 and 1" in warned[0]


# Stored


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("said", [True, False])
def test_labels_of_every_task_survive(task: str, said: bool, tmp_path: Path) -> None:
    table = read(tmp_path / "t.parquet", {"y": EXAMPLES[task]}, task=task if said else "auto")
    (target,) = targets_of(table, ["y"])
    assert target.task is find_task(task)
    path = tmp_path / "targets.parquet"
    note = {"id_columns": [POSITION], **note_of_targets([target])}
    write_parquet(table, path, note)
    known = read_known(path)
    assert known.targets == (target,)
    assert np.isnan(known.labels[:, 0]).tolist() == [False, False, True, False]
    if target.classes:
        found = [None if x != x else target.classes[int(x)] for x in known.labels[:, 0]]
    else:
        found = [None if x != x else float(x) for x in known.labels[:, 0]]
    assert found == EXAMPLES[task]


def test_binary_tables_have_no_note(tmp_path: Path) -> None:
    table = read(tmp_path / "t.parquet", {"y": [0, 1], "z": [1, 0]}, task="binary")
    assert table.schema.metadata is None
    assert table["y"].type == pa.int8()


def test_tasks_are_mixed_by_target(tmp_path: Path) -> None:
    columns = {"a": [0, 1, 1], "b": [1, 2, 3], "c": [1, 2, 3]}
    task = {"b": "multiclass"}
    table = read(tmp_path / "t.parquet", columns, task=task)
    assert [t.task.name for t in targets_of(table, [*columns])] == [
        "binary",
        "multiclass",
        "regression",
    ]
    assert [str(table[name].type) for name in columns] == ["int8", "string", "double"]
    _, labels = labels_of(table, [POSITION])
    assert labels.tolist() == [[0, 0, 1], [1, 1, 2], [1, 2, 3]]
    with pytest.raises(
        BlendmakeError, match=r"task names 'd', which is no target \('a', 'b', 'c'\)"
    ):
        read(tmp_path / "t.parquet", columns, task={"d": "binary"})


# Classes

ORDER: dict[str, tuple[Any, list[str]]] = {
    "numbers by value": ([10, 9, -1, 2], ["-1", "2", "9", "10"]),
    "reals by value": ([1.0, 0.5, 1e10], ["0.5", "1", "10000000000"]),
    "float32": (pa.array([0.1, 2.0, 0.3], pa.float32()), ["0.1", "0.3", "2"]),
    "text": (["b", "a", "B"], ["B", "a", "b"]),
    "text and numbers": (["b", "10", "9"], ["9", "10", "b"]),
    "truth": ([True, False], ["false", "true"]),
    "spaces": ([" a", "a ", "b", " "], ["a", "b"]),
    "decimals": ([Decimal("2.50"), Decimal("1.00")], ["1", "2.5"]),
    "dates": ([datetime.date(2020, 2, 1), datetime.date(2019, 1, 1)], ["2019-01-01", "2020-02-01"]),
}


@pytest.mark.parametrize("name", ORDER)
def test_classes_stand_in_their_natural_order(name: str) -> None:
    values, classes = ORDER[name]
    found = column(values).values_as_classes()
    assert list(found.classes) == classes
    known = found.values[~np.isnan(found.values)]
    assert set(known.astype(int)) == set(range(len(classes)))


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_ordered_categories_keep_their_order(tmp_path: Path, suffix: str) -> None:
    sizes = pd.Categorical(["large", "small", "medium"], ["small", "medium", "large", "huge"], True)
    table = pa.Table.from_pandas(pd.DataFrame({"y": sizes}))
    found = read(tmp_path / f"t.{suffix}", {"y": table["y"].combine_chunks()})
    assert targets_of(found, ["y"])[0].classes == ("small", "medium", "large")
    assert found["y"].to_pylist() == ["large", "small", "medium"]


VALUES = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=3, unique=True),
    st.lists(
        st.text(min_size=1).filter(lambda s: s == s.strip() and s.isprintable()),
        min_size=3,
        unique=True,
    ),
    st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, unique=True),
    st.just([True, False]),
)


@given(VALUES, st.randoms(use_true_random=False))
def test_any_values_are_classes_and_come_back(values: list[Any], random: Any) -> None:
    array = pa.array(values)
    first = column(array).values_as_classes()
    # One class for each value, whatever stands beside it.
    assert len(first.classes) == len(values)
    again = [*values, None]
    random.shuffle(again)
    found = column(pa.array(again, array.type), classes=first.classes).values_as_classes()
    assert found.classes == first.classes
    code = dict(zip(values, first.values.tolist(), strict=True))
    for value, number in zip(again, found.values.tolist(), strict=True):
        assert number != number if value is None else number == code[value]


# Other rows: the task and classes of train


def test_test_labels_go_by_the_classes_of_train(tmp_path: Path) -> None:
    train = read(
        tmp_path / "a.csv", {"y": [3, 1, 2], "z": [0.5, 1.0, 2.0]}, task={"y": "multiclass"}
    )
    known = targets_of(train, ["y", "z"])
    # Alone they would be told to be binary, and 2.0 to be another class.
    options: Any = {"known": known, "one_class_allowed": True}
    found = read(tmp_path / "b.csv", {"y": ["2.0", "3.0", None], "z": [1, 2, 2]}, **options)
    assert found["y"].to_pylist() == ["2", "3", None]
    assert found["z"].to_pylist() == [1.0, 2.0, 2.0]
    assert targets_of(found, ["y", "z"]) == known
    with pytest.raises(
        BlendmakeError, match=r"'y' holds '4' \(2 rows, first row 2\), which is no class"
    ):
        read(tmp_path / "b.csv", {"y": [1, 4, 4], "z": [1, 2, 2]}, **options)
    with pytest.raises(BlendmakeError, match=r"targets are not those of the train rows: 'x', 'z'"):
        read(tmp_path / "b.csv", {"y": [1, 2, 2], "x": [1, 2, 2]}, **options)


def test_text_classes_in_any_letters_where_that_is_plain() -> None:
    found = column(["Red", "blue"], classes=("blue", "red")).values_as_classes()
    assert found.values.tolist() == [1, 0]


# What is refused

REFUSED: dict[str, tuple[Any, str, str]] = {
    "infinity": ([1.0, np.inf, 2.0], "regression", r"holds inf in row 2"),
    "infinity among few": ([0, 1, np.inf] * EACH, "auto", r"holds inf in row 3"),
    "an infinite class": ([0, 1, -np.inf], "multiclass", r"holds -inf in row 3"),
    "beyond float32": ([1.0, -1e300, 2.0], "regression", r"holds -1e\+300 in row 2"),
    "a word": (
        ["1", "2", "two"],
        "regression",
        r"'two' \(1 rows, first row 3\), which is no number",
    ),
    "a comma": (["1,5", "2,5"], "regression", r"decimal: \",\""),
    "dates": ([datetime.date(2020, 1, d) for d in (1, 2, 3)], "auto", r"date32.*no number"),
    "lists": (pa.array([[1], [2], [3]]), "multiclass", r"of which there are no classes"),
    "one number": ([7.0, 7.0], "regression", r"one value in all rows"),
    "no number": ([None, None], "regression", r"has no label"),
    "one class": (["a", "a"], "multiclass", r"one value in all rows"),
    "one class of auto": (["a", "a"], "auto", r"must be 0, 1 or missing"),
    "too many classes": (
        [f"n{i}" for i in range(MOST_CLASSES + 1)],
        "auto",
        r"1,001 different values, and a target may have 1,000 classes",
    ),
    "a third value": ([0, 1, 2], "binary", r"holds 2\.0.*task: \{y: multiclass\}"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_label_is_refused(name: str, tmp_path: Path) -> None:
    values, task, says = REFUSED[name]
    with pytest.raises(BlendmakeError, match=rf"t\.parquet: target 'y' .*{says}"):
        read(tmp_path / "t.parquet", {"y": values}, task=task)


def test_columns_of_predictions_must_differ(tmp_path: Path) -> None:
    columns = {"y": COLOURS, "y=red": [0, 1, 1]}
    with pytest.raises(
        BlendmakeError, match="have a column 'y=red', which is also one of target 'y'"
    ):
        read(tmp_path / "t.parquet", columns)


def test_a_class_of_one_row_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        read(tmp_path / "t.parquet", {"y": [*COLOURS, *COLOURS, "pink"]})
    assert "WARNING: " in caplog.text and "of class 'pink' there is one row" in caplog.text


def test_a_table_without_a_note_gets_none() -> None:
    assert with_note(pa.table({"a": [1]}), {}).schema.metadata is None
