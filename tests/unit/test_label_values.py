"""Labels as people write them: two values, of which one is 1."""

from __future__ import annotations

import logging
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from blendmake.config.data import TargetsFile
from blendmake.errors import BlendmakeError
from blendmake.tables.columns import Wanted, feature_columns
from blendmake.tables.facts import facts_of_files
from blendmake.tables.label_values import label_values
from blendmake.tables.user_files import UserTable
from blendmake.tables.user_labels import read_column, read_targets
from helpers import read_user_tables, write_user_file
from plan import Plan

REPO = Path(__file__).resolve().parents[2]

NONE = None


def read(values: Any, positive: list[str] | None = None) -> list[int | None]:
    column = pa.chunked_array([pa.array(values) if isinstance(values, list) else values])
    found, _ = label_values(column, "y", "t.csv", positive)
    return [None if np.isnan(value) else int(value) for value in found]


READ: dict[str, tuple[Any, list[str] | None, list[int | None]]] = {
    "text": ([">50K", "<=50K", None], [">50K"], [1, 0, NONE]),
    "with spaces and empty fields": ([" >50K", "<=50K ", " "], [">50K"], [1, 0, NONE]),
    "several are 1": ([">50K.", "<=50K.", ">50K."], [">50K", ">50K."], [1, 0, 1]),
    "dictionary": (pa.array(["b", "a"]).dictionary_encode(), ["a"], [0, 1]),
    "large text": (pa.array(["b", "a"], pa.large_string()), ["a"], [0, 1]),
    "numbers": ([1, 2, None, 2], ["2"], [0, 1, NONE, 1]),
    "minus one": ([-1, 1], ["1"], [0, 1]),
    "zero is 1": ([0, 1], ["0"], [1, 0]),
    "floats": ([1.0, 2.0, float("nan")], ["1"], [1, 0, NONE]),
    "a number as it is not written": ([1, 2], ["2.0"], [0, 1]),
    "truth values": ([True, False, None], ["false"], [0, 1, NONE]),
    "truth values as YAML has them": ([True, False], ["True"], [1, 0]),
    "decimals": (pa.array([Decimal("1.50"), Decimal("2.50")]), ["1.5"], [1, 0]),
    "plain truth values": ([True, False, None], None, [1, 0, NONE]),
    "plain text": (["True", "FALSE", None], None, [1, 0, NONE]),
    "yes and no": (["Yes", "no"], None, [1, 0]),
    "y and n": (["Y", "N"], None, [1, 0]),
    "0 and 1 as text": (["0", "1.0", ""], None, [0, 1, NONE]),
    "large and small letters": (["NO", "no", "Yes"], None, [0, 0, 1]),
    "no value": (pa.nulls(2), ["x"], [NONE, NONE]),
}


@pytest.mark.parametrize("name", READ)
def test_two_values_are_labels(name: str) -> None:
    values, positive, expected = READ[name]
    assert read(values, positive) == expected


REFUSED: dict[str, tuple[Any, list[str] | None, str]] = {
    "which is 1": (
        [">50K", "<=50K", "<=50K"],
        None,
        r"'>50K' \(1\), '<=50K' \(2\).*positive: '>50K'",
    ),
    "a third value": (
        ["a", "b", None, "c", "b"],
        ["a"],
        r"third value, 'c' \(1 times, first in row 4\), beside 'a', 'b'",
    ),
    "none is 1": (
        ["<=50K.", ">50K."],
        [">50K"],
        r"'<=50K\.', '>50K\.', none of which is named as 1.*positive: \['>50K', '>50K\.'\]",
    ),
    "yes and 1": (["yes", "1"], None, "Say which of them is 1"),
    "three plain ones": (["yes", "no", "maybe"], None, "holds 'yes' .*must be 0, 1 or missing"),
    "numbers": ([1, 2], None, r"holds 2\.0.*data\.targets\.positive"),
    "three numbers": ([0, 1, 2, 2, 0], ["2"], "third value, '1'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_say_what_is_1_is_refused(name: str) -> None:
    values, positive, says = REFUSED[name]
    with pytest.raises(BlendmakeError, match=rf"t\.csv: target 'y' .*{says}"):
        read(values, positive)


@given(
    st.lists(st.text(min_size=1).map(str.strip).filter(bool), min_size=2, max_size=2, unique=True),
    st.lists(st.sampled_from([0, 1, None]), min_size=1),
    st.booleans(),
)
def test_any_two_texts(words: list[str], labels: list[int | None], dictionary: bool) -> None:
    texts = pa.array([None if label is None else words[label] for label in labels], pa.string())
    assert read(texts.dictionary_encode() if dictionary else texts, [words[1]]) == labels


def test_labels_of_two_targets_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    columns = {"id": [3, 1, 2], "income": [">50K", "<=50K", "<=50K"], "sex": ["f", "m", None]}
    path = write_user_file(tmp_path / "labels.csv", columns)
    ids = pa.table({"id": [1, 2, 3]})
    with caplog.at_level(logging.INFO):
        found = read_targets(path, None, ids, ["id"], positive={"income": [">50K"], "sex": ["f"]})
    assert found.to_pydict() == {"id": [1, 2, 3], "income": [0, 0, 1], "sex": [0, None, 1]}
    assert f"{path}: target 'income': '>50K' (1 rows) is 1, '<=50K' (2 rows) is 0" in caplog.text
    with pytest.raises(BlendmakeError, match="positive names 'incom', which is no target"):
        read_targets(path, None, ids, ["id"], positive={"incom": [">50K"]})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (">50K", [">50K"]),
        (["a", 1], ["a", "1"]),
        (True, ["true"]),
        (1, ["1"]),
        ({"y": "b", "z": ["c", 0]}, {"y": ["b"], "z": ["c", "0"]}),
    ],
)
def test_positive_in_the_config(given: Any, expected: Any) -> None:
    assert (
        TargetsFile.model_validate({"columns": ["y", "z"], "positive": given}).positive == expected
    )


def test_positive_of_no_target() -> None:
    with pytest.raises(ValidationError, match="names 'x', which is no target"):
        TargetsFile.model_validate({"columns": ["y"], "positive": {"x": "1"}})


# What the config calls missing

IDS = pa.table({"id": [1, 2, 3, 4]})
GIVEN = {
    "id": [1, 2, 3, 4],
    "y": ["1", "?", "0", "1"],
    "g": ["a", "?", "b", "a"],
    "n": [-1, 0, 1, 1],
}


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("missing", [["?", "-"], {"y": ["?"]}, {"*": ["?"]}])
def test_a_text_that_means_missing_is_no_label(tmp_path: Path, suffix: str, missing: Any) -> None:
    path = write_user_file(tmp_path / f"y.{suffix}", GIVEN)
    assert read_targets(path, ["y"], IDS, ["id"])["y"].to_pylist() == GIVEN["y"]  # three classes
    found = read_targets(path, ["y"], IDS, ["id"], missing=missing)
    assert found["y"].to_pylist() == [1, None, 0, 1]
    facts = facts_of_files([path], ["id"], None, ["y"], left_out=["g", "n"], missing=missing)
    assert (facts.positives, facts.labelled) == ((2,), 0.75)


def test_numbers_and_words_that_are_labels_are_missing_by_column_only(tmp_path: Path) -> None:
    columns = {"id": [1, 2, 3, 4], "n": [0, 0, 1, 1], "w": ["No", "yes", "No", "yes"]}
    path = write_user_file(tmp_path / "y.csv", columns)
    missing: Any = ["0", "No", "unknown"]
    found = read_targets(path, None, IDS, ["id"], missing=missing)
    assert found.to_pydict() == {"id": [1, 2, 3, 4], "n": [0, 0, 1, 1], "w": [0, 1, 0, 1]}
    path = write_user_file(tmp_path / "z.csv", GIVEN)
    found = read_targets(path, ["n"], IDS, ["id"], missing={"n": ["-1"]})
    assert found["n"].to_pylist() == [None, 0, 1, 1]
    found = read_targets(path, ["n"], IDS, ["id"], missing=["-1"])
    assert [float(value) for value in found["n"].to_pylist()] == GIVEN["n"]


def test_what_is_named_as_positive_is_not_missing(tmp_path: Path) -> None:
    columns = {"id": [1, 2, 3, 4], "y": ["-", "x", "-", "?"]}
    path = write_user_file(tmp_path / "y.csv", columns)
    found = read_targets(path, None, IDS, ["id"], positive=["-"], missing=["-", "?"])
    assert found["y"].to_pylist() == [1, 0, 1, None]


def test_a_group_or_an_id_that_means_missing_is_told(tmp_path: Path) -> None:
    path = write_user_file(tmp_path / "g.csv", GIVEN)
    groups = read_column(path, "g", IDS, ["id"], "The group")
    assert groups.to_pylist() == GIVEN["g"]
    with pytest.raises(
        BlendmakeError, match=r"column 'g' has 1 missing values\. The group of every"
    ):
        read_column(path, "g", IDS, ["id"], "The group", missing=["?"])
    told = (
        r"t\.csv: id column 'id' has 1 missing values \(data\.missing: '\?'\), the first in row 2\."
    )
    train = write_user_file(tmp_path / "t.csv", {"id": ["7", "?", "8"], "x": [1, 2, 3]})
    with pytest.raises(BlendmakeError, match=told):
        read_user_tables(tmp_path, {"main": train}, missing=["?"])
    numbers = write_user_file(tmp_path / "n.csv", {"id": [0, 1, 2], "x": [0, 2, 3]})
    read = read_user_tables(tmp_path, {"main": numbers}, missing=["0"])
    assert read.train.table(["id"])["id"].to_pylist() == [0, 1, 2]
    assert read.decoded("x") == [None, 2, 3]
    with pytest.raises(BlendmakeError, match=r"data\.missing: '0'"):
        read_user_tables(tmp_path, {"main": numbers}, missing={"id": ["0"]})


def test_the_plan_hands_on_what_is_missing_to_targets_groups_and_folds(tmp_path: Path) -> None:
    train = write_user_file(tmp_path / "t.csv", GIVEN)
    data = {"train": train, "id": "id", "targets": {"file": train, "columns": ["y"]}}
    data |= {"groups": {"file": train, "column": "g"}, "missing": {"y": "?"}, "ignore": ["[yn]"]}
    config = {"problem": "p", "data": data, "sources": {"a": {"family": "linear"}}}
    slices = Plan(config, str(REPO)).slices
    for key in ("targets", "groups", "tables"):
        assert slices[key]["missing"] == {"y": ["?"]}
    assert "missing" not in slices["folds"]
    assert slices["tables"]["elsewhere"] == ["g", "y"]
    wanted = Wanted.of(slices["tables"])
    tables = {"main": UserTable(write_user_file(tmp_path / "x.csv", {"id": [1], "x": [2]}), ["id"])}
    wanted = replace(wanted, ignore=(), not_features=())
    assert [c.name for c in feature_columns(tables, {}, ["id"], wanted)] == ["x"]
    with pytest.raises(BlendmakeError, match=r"data\.missing: no train column matches 'y'"):
        feature_columns(tables, {}, ["id"], replace(wanted, elsewhere=()))
