"""What a column is, over all files that hold it: one identity of a category's value, numbers that
people wrote, what is missing, the order of levels."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blendmake.errors import BlendmakeError
from blendmake.tables.levels import Found, level_key, levels_of, merged_order
from blendmake.tables.levels import texts_of as texts
from helpers import ReadTables, read_user_tables, write_user_file


def _csv(path: Path, **columns: Sequence[Any]) -> str:
    """A CSV file with values as they are written here."""
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def _read(
    folder: Path, train: Sequence[Any], test: Sequence[Any] | None = None, **options: Any
) -> ReadTables:
    """Two CSV files of one column `c`, whose values are written as given."""
    paths = [_csv(folder / "train.csv", id=range(len(train)), c=train)]
    if test is not None:
        ids = range(10_000, 10_000 + len(test))
        paths.append(_csv(folder / "test.csv", id=ids, c=test))
    return read_user_tables(
        folder, {"main": paths[0]}, {"main": paths[1]} if test is not None else None, **options
    )


def _read_typed(folder: Path, train: Any, test: Any, **options: Any) -> ReadTables:
    """Two parquet files of one column `c`; a list is written to CSV as it is."""
    files = {}
    for part, values, first in (("train", train, 0), ("test", test, 10_000)):
        ids = range(first, first + len(values))
        if isinstance(values, list):
            files[part] = _csv(folder / f"{part}.csv", id=ids, c=values)
        else:
            files[part] = write_user_file(
                folder / f"{part}.parquet", {"id": list(ids), "c": values}
            )
    return read_user_tables(folder, {"main": files["train"]}, {"main": files["test"]}, **options)


NAMED = {"category_columns": ["c"]}

# One identity


@pytest.mark.parametrize("options", [NAMED, {}])
def test_truth_values_in_one_file_and_text_in_the_other(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    read = _read(tmp_path, ["True", "False", ""], ["False", "unknown", "True"], **options)
    assert read.columns["c"]["levels"] == ["False", "True", "unknown"]
    assert read.decoded("c") == ["True", "False", None]
    assert read.decoded("c", "test") == ["False", "unknown", "True"]


@pytest.mark.parametrize("options", [NAMED, {}])
def test_codes_with_leading_zeros_keep_them(tmp_path: Path, options: dict[str, Any]) -> None:
    zips = [f"0{z}" for z in range(1001, 1041)]
    read = _read(tmp_path, zips, ["K1A0B1", *zips[:5]], **options)
    assert read.decoded("c") == zips
    assert read.decoded("c", "test") == ["K1A0B1", *zips[:5]]


def test_a_named_category_of_digits_is_as_it_is_written(tmp_path: Path) -> None:
    read = _read(tmp_path, ["007", "7", "1.50"], ["7", "1.5", "007"], **NAMED)
    assert read.columns["c"]["levels"] == ["1.5", "1.50", "007", "7"]
    assert read.decoded("c", "test") == ["7", "1.5", "007"]


def test_a_date_in_one_file_and_text_in_the_other(tmp_path: Path) -> None:
    days = ["2024-01-01", "2024-01-02", "2024-01-01"]
    read = _read(tmp_path, days, ["2024-01-02", "never", "2024-01-01"])
    assert read.decoded("c") == days
    assert read.decoded("c", "test") == ["2024-01-02", "never", "2024-01-01"]


ALIKE: dict[str, tuple[Any, Any, list[Any]]] = {
    "whole and text": (pa.array([1, 2, None]), pa.array(["2", "1.0", None]), ["2", "1", None]),
    "whole and padded text": (pa.array([1, 2]), pa.array(["02", "01"]), ["2", "1"]),
    "whole and csv": (pa.array([1234, 99]), ["01234", "K1"], ["1234", "K1"]),
    "float32 and float64": (
        pa.array([0.1, 2.5], pa.float32()),
        pa.array([0.1, 2.5]),
        ["0.1", "2.5"],
    ),
    "float32 and float64 of it": (
        pa.array([0.1, 0.7], pa.float32()),
        pa.array([0.1, 0.7], pa.float32()).cast(pa.float64()),
        ["0.1", "0.7"],
    ),
    "float16 and float64": (pa.array(np.array([0.1, 3], "f2")), pa.array([3.0, 0.1]), ["3", "0.1"]),
    "float and csv": (pa.array([0.1, 1e-7]), ["1e-07", "0.10"], ["0.0000001", "0.1"]),
    "decimals": (
        pa.array([Decimal("1.0"), Decimal("2.5")]),
        pa.array([Decimal("2.50"), Decimal("1.00")]),
        ["2.5", "1"],
    ),
    "decimal and whole": (pa.array([Decimal("1.00")]), pa.array([1, None]), ["1", None]),
    "truth and text": (pa.array([True, False]), pa.array(["true", "FALSE"]), ["True", "False"]),
    "truth and digits as text": (pa.array([True, False]), pa.array(["0", "1"]), ["False", "True"]),
    "truth and whole": (pa.array([True, False]), pa.array([0, 1]), ["0", "1"]),
    "truth as text and whole": (["True", "False"], pa.array([1, 0]), ["True", "False"]),
    "truth spelled twice": (["True", "False"], ["TRUE", "false"], ["True", "False"]),
    "text and large text": (pa.array(["a"]), pa.array(["a"], pa.large_string()), ["a"]),
    "dictionary and text": (pa.array(["b", "a"]).dictionary_encode(), pa.array(["a"]), ["a"]),
    "dictionary and whole": (pa.array([3, 1]).dictionary_encode(), pa.array([1, 3]), ["1", "3"]),
    "dictionary of truth": (pa.array([True]).dictionary_encode(), pa.array(["True"]), ["True"]),
    "floats of pandas as text": (["1", "2"], ["2.0", "", "1.0"], ["2", None, "1"]),
    "dates and text": (pa.array([date(2024, 5, 1)]), pa.array(["2024-05-01"]), ["2024-05-01"]),
    "dates and text at midnight": (
        pa.array([date(2024, 5, 1)]),
        pa.array(["2024-05-01 00:00:00"]),
        ["2024-05-01"],
    ),
    "dates and instants": (
        pa.array([date(2024, 5, 1)]),
        pa.array([datetime(2024, 5, 1)], pa.timestamp("ns")),
        ["2024-05-01"],
    ),
    "instants of other units": (
        pa.array([datetime(2024, 5, 1, 6, 30)], pa.timestamp("s")),
        pa.array([datetime(2024, 5, 1, 6, 30)], pa.timestamp("us")),
        ["2024-05-01 06:30:00"],
    ),
}


@pytest.mark.parametrize("name", ALIKE)
@pytest.mark.parametrize("swapped", [False, True])
def test_a_value_is_one_level_whatever_its_type(tmp_path: Path, name: str, swapped: bool) -> None:
    mine, theirs, expected = ALIKE[name]
    train, test = (theirs, mine) if swapped else (mine, theirs)
    read = _read_typed(tmp_path, train, test, **NAMED)
    assert read.decoded("c", "train" if swapped else "test") == expected
    assert set(expected) - {"K1", None} <= set(read.decoded("c", "test" if swapped else "train"))


def test_text_that_means_the_same_number_is_kept_apart_where_the_file_tells_it_apart(
    tmp_path: Path,
) -> None:
    read = _read_typed(tmp_path, pa.array([1, 2]), pa.array(["1", "01", "2"]), **NAMED)
    assert read.decoded("c", "test") == ["1", "01", "2"]
    versions = ["1.1", "1.10", "1.0"]
    assert _read(tmp_path, versions, versions, **NAMED).decoded("c", "test") == versions


WHOLE = st.lists(st.integers(-(10**6), 10**6), min_size=1, max_size=6, unique=True)
AS: dict[str, Any] = {
    "int64": lambda v: pa.array(v, pa.int64()),
    "int32": lambda v: pa.array(v, pa.int32()),
    "float64": lambda v: pa.array([float(x) for x in v]),
    "float32": lambda v: pa.array([float(x) for x in v], pa.float32()),
    "decimal": lambda v: pa.array([Decimal(x) for x in v], pa.decimal128(20, 3)),
    "text": lambda v: pa.array([str(x) for x in v]),
    "text of floats": lambda v: pa.array([str(float(x)) for x in v]),
    "dictionary": lambda v: pa.array(v).dictionary_encode(),
    "csv": lambda v: [str(x) for x in v],
}


@settings(max_examples=60, deadline=None)
@given(values=WHOLE, a=st.sampled_from(sorted(AS)), b=st.sampled_from(sorted(AS)))
def test_whole_numbers_meet_over_every_pair_of_types(
    tmp_path_factory: pytest.TempPathFactory, values: list[int], a: str, b: str
) -> None:
    folder = tmp_path_factory.mktemp("pair")
    read = _read_typed(folder, AS[a](values), AS[b](values), **NAMED)
    assert read.decoded("c") == read.decoded("c", "test")
    assert len(read.columns["c"]["levels"]) == len(values)


@given(values=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_floats_of_four_and_eight_bytes_are_told_alike(values: list[float]) -> None:
    narrow = pa.chunked_array([pa.array(values, pa.float32())])
    wide = texts(narrow.cast(pa.float64())).to_pylist()
    assert texts(narrow).to_pylist() == wide
    assert len(set(wide)) == len({v + 0.0 for v in values})


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_floats_and_their_text_are_told_alike(values: list[float]) -> None:
    spelled = [texts(pa.chunked_array([pa.array(values)])).to_pylist()] * 2
    as_text = Found(tuple(dict.fromkeys(map(repr, values))))
    as_number = Found(tuple(dict.fromkeys(spelled[0])), "number")
    levels, spellings = levels_of("c", {"train": as_number, "test": as_text})
    assert set(spellings["train"].codes) == set(spellings["test"].codes) == set(range(len(levels)))


# What is told


@pytest.mark.parametrize(
    ("train", "test", "told"),
    [
        (["True", "False"] * 5, ["T", "F"], "2 of 2 levels of test are not in train"),
        (["a", "b", "c", "d"], ["A", "B", "C", "d"], "train has 'a', 'b', 'c'; test has 'A', 'B'"),
        ([1, 2, 3], ["much", "much", "more"], "'much' in row 1 of"),
        ([str(i) for i in range(60)] + ["x"] * 2, ["x"], "61 of 62"),
    ],
)
def test_levels_that_hardly_meet_are_told_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, train: Any, test: Any, told: str
) -> None:
    with caplog.at_level(logging.WARNING, "blendmake"):
        _read(tmp_path, train, test, **({} if 1 in train else NAMED))
    assert told in caplog.text
    assert "WARNING" in caplog.text


def test_levels_that_meet_are_not_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "blendmake"):
        _read(tmp_path, ["a", "b", "c"] * 40, ["a", "b", "e", "f"])
    assert not caplog.records


# Numbers that people wrote

PLAIN = [f"{i / 7:.4f}" for i in range(200)]


@pytest.mark.parametrize(
    ("odd", "mend"),
    [
        ("-", 'data.missing: ["-"]'),
        ("?", 'data.missing: ["?"]'),
        ("none", 'data.missing: ["none"]'),
        ("K1A0B1", "data.categories.columns"),
        ("$5", "write plain numbers"),
        ("12%", "write plain numbers"),
        ('"1,234.5"', 'data.csv: {thousands: ","}'),
        ('"1.234,5"', 'data.csv: {decimal: ",", thousands: "."}'),
        ('"0,5"', 'data.csv: {decimal: ","}'),
    ],
)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_text_among_numbers_is_told(tmp_path: Path, odd: str, mend: str, part: str) -> None:
    rows = [*PLAIN[:7], odd, *PLAIN[7:]]
    with pytest.raises(BlendmakeError) as error:
        _read(tmp_path, *((rows, PLAIN) if part == "train" else (PLAIN, rows)))
    text = str(error.value)
    assert f"{part}.csv, row 8: column 'c' holds" in text
    assert odd.strip('"') in text
    assert mend in text
    assert "data.categories.columns" in text
    read = _read(tmp_path, rows, **NAMED)
    assert read.kinds()["c"] == "category"


@pytest.mark.parametrize("odd", ["-", " 7 ", "n/a", "nan"])
def test_a_text_among_numbers_of_a_parquet_column_of_text_is_told(tmp_path: Path, odd: str) -> None:
    columns = {"id": list(range(201)), "c": [*PLAIN, odd]}
    path = write_user_file(tmp_path / "a.parquet", columns)
    with pytest.raises(BlendmakeError, match=r"a.parquet, row 201: column 'c' holds") as error:
        read_user_tables(tmp_path, {"main": path})
    assert repr(odd) in str(error.value)
    read = read_user_tables(tmp_path, {"main": path}, **NAMED)
    assert read.kinds()["c"] == "category"


@pytest.mark.parametrize("shape", ["${}", "{}%", '"{},5"'])
def test_a_column_of_nothing_but_signs_and_commas_is_told(tmp_path: Path, shape: str) -> None:
    with pytest.raises(BlendmakeError, match=r"train.csv, row 1: column 'c' holds"):
        _read(tmp_path, [shape.format(i) for i in range(100)])


def test_several_such_columns_are_told_at_once(tmp_path: Path) -> None:
    path = _csv(tmp_path / "a.csv", id=range(201), c=[*PLAIN, "-"], d=["?", *PLAIN], e=[*PLAIN, 1])
    with pytest.raises(BlendmakeError, match=r"column 'c' .* Likewise d \('\?'\)\."):
        read_user_tables(tmp_path, {"main": path})


@pytest.mark.parametrize("missing", [["-", "?"], {"c": ["-", "?"]}, {"*": ["-"], "c": ["?"]}])
def test_texts_that_the_config_calls_missing(tmp_path: Path, missing: Any) -> None:
    read = _read(tmp_path, ["-", *PLAIN, "NA", ""], ["?", *PLAIN], missing=missing)
    assert read.kinds()["c"] == "number"
    numbers = [float(np.float32(text)) for text in PLAIN]
    assert read.decoded("c") == [None, *numbers, None, None]
    assert read.decoded("c", "test") == [None, *numbers]


def test_missing_texts_of_one_column_leave_the_others(tmp_path: Path) -> None:
    path = _csv(tmp_path / "a.csv", id=[1, 2, 3], c=["-", 1, 2], d=["-", "u", "v"])
    read = read_user_tables(tmp_path, {"main": path}, missing={"c": ["-"]})
    assert read.decoded("c") == [None, 1, 2]
    assert read.decoded("d") == ["-", "u", "v"]
    with pytest.raises(BlendmakeError, match=r"data.missing: no train column matches 'x\*'"):
        read_user_tables(tmp_path, {"main": path}, missing={"x*": ["-"]})


def test_missing_texts_of_columns_of_every_type(tmp_path: Path) -> None:
    columns = {
        "id": [1, 2, 3, 4],
        "text": ["5", "-", "-9", "7"],
        "word": ["a", "-", "-9", "b"],
        "dictionary": pa.array(["a", "-", "-9", "b"]).dictionary_encode(),
        "whole": [5, 6, -9, 7],
        "float": [5.5, 6, -9.0, 7],
        "padded": ["05", "-", "07", "08"],
    }
    path = write_user_file(tmp_path / "a.parquet", columns)
    read = read_user_tables(tmp_path, {"main": path}, missing=["-", "-9"])
    assert read.decoded("text") == [5, None, None, 7]
    assert read.decoded("word") == ["a", None, None, "b"]
    assert read.decoded("dictionary") == ["a", None, None, "b"]
    assert read.decoded("whole") == [5, 6, None, 7]
    assert read.decoded("float") == [5.5, 6, None, 7]
    assert read.decoded("padded") == ["05", None, "07", "08"]


def test_codes_with_letters_among_many_are_a_category(tmp_path: Path) -> None:
    codes = [str(i) for i in range(250, 400)] + [f"V{i}" for i in range(20, 40)]
    assert _read(tmp_path, codes).kinds()["c"] == "category"


def test_few_numbers_and_a_sign_are_a_category_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "blendmake"):
        read = _read(tmp_path, ["0", "1", "2", "?", "3"])
    assert read.columns["c"]["levels"] == ["0", "1", "2", "3", "?"]
    assert "c ('?')" in caplog.text
    assert "data.missing" in caplog.text


def test_a_header_that_is_read_as_a_row_is_told_as_one(tmp_path: Path) -> None:
    path = _csv(tmp_path / "a.csv", id=range(200), c=PLAIN)
    with pytest.raises(BlendmakeError, match=r"row 1: column .*data.csv: \{header: true\}"):
        read_user_tables(tmp_path, {"main": path}, ids=(), csv_format={"header": False})


def test_missing_texts_that_no_column_holds_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "blendmake"):
        _read(tmp_path, ["-", "a", "b"], missing=["-", "?", "NA", "-9"])
    assert "no feature column holds what data.missing names: '?'" in caplog.text
    assert "'-'" not in caplog.text


# What is missing


def test_in_text_only_the_empty_field_is_missing(tmp_path: Path) -> None:
    words = ["NA", "ZA", "", "None", "null", "nan", "N/A", '""', "BW"]
    read = _read(tmp_path, words, ["NA", "ZA", "", "null"])
    assert read.columns["c"]["levels"] == sorted(set(words) - {"", '""'})
    assert read.decoded("c") == [None if w in ("", '""') else w for w in words]
    assert read.decoded("c", "test") == ["NA", "ZA", None, "null"]


def test_a_file_that_holds_nothing_but_na_goes_with_the_other(tmp_path: Path) -> None:
    assert _read(tmp_path, ["NA", "ZA"], ["NA", "NA"]).decoded("c", "test") == ["NA", "NA"]
    assert _read(tmp_path, [1.5, 2], ["NA", "NA"]).decoded("c", "test") == [None, None]


@pytest.mark.parametrize("options", [NAMED, {}])
def test_among_numbers_the_usual_spellings_are_missing(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    read = _read(tmp_path, [1, "NA", 2, "", "nan", "null", "N/A", '""'], [2, "NaN"], **options)
    whole = (lambda x: str(x)) if options else float
    assert read.decoded("c") == [whole(1), None, whole(2), None, None, None, None, None]
    assert read.decoded("c", "test") == [whole(2), None]


# Order


def _ordered(values: Sequence[Any], levels: Sequence[Any]) -> pd.DataFrame:
    category = pd.Categorical(values, categories=levels, ordered=True)
    return pd.DataFrame({"id": range(len(values)), "c": category})


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_ordered_categories_keep_their_order(tmp_path: Path, suffix: str) -> None:
    levels = ["poor", "fair", "typical", "good", "excellent"]
    frame = _ordered([*levels[::-1], None, "fair"], levels)
    getattr(frame, f"to_{suffix}")(tmp_path / f"a.{suffix}")
    read = read_user_tables(tmp_path, {"main": str(tmp_path / f"a.{suffix}")})
    assert read.columns["c"]["levels"] == levels
    assert read.train.values("c").tolist()[:5] == [4, 3, 2, 1, 0]


def test_an_order_is_extended_by_test_and_goes_before_letters(tmp_path: Path) -> None:
    train, test = str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")
    _ordered(["low", "high"], ["low", "high"]).to_parquet(train)
    frame = _ordered(["mid", "none", "top"], ["none", "low", "mid", "high", "top"])
    frame.assign(id=[7, 8, 9]).to_parquet(test)
    read = read_user_tables(tmp_path, {"main": train}, {"main": test})
    assert read.columns["c"]["levels"] == ["none", "low", "mid", "high", "top"]
    pd.DataFrame({"id": [7, 8], "c": ["another", "low"]}).to_parquet(test)
    read = read_user_tables(tmp_path, {"main": train}, {"main": test})
    assert read.columns["c"]["levels"] == ["low", "high", "another"]


def test_orders_that_disagree_are_an_error(tmp_path: Path) -> None:
    train, test = str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")
    _ordered(["s", "m"], ["s", "m", "l"]).to_parquet(train)
    _ordered(["s", "m"], ["l", "m", "s"]).assign(id=[7, 8]).to_parquet(test)
    with pytest.raises(
        BlendmakeError, match=r"b.parquet: .*'c' goes l < m < s, but s < m < l in .*a"
    ):
        read_user_tables(tmp_path, {"main": train}, {"main": test})


def test_an_order_of_numbers_is_kept_by_feather(tmp_path: Path) -> None:
    path = str(tmp_path / "a.feather")
    _ordered([1, 2, 3], [3, 1, 2]).to_feather(path)
    assert read_user_tables(tmp_path, {"main": path}).columns["c"]["levels"] == ["3", "1", "2"]


def test_that_parquet_forgets_an_order_of_numbers_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(tmp_path / "a.parquet")
    _ordered([1, 2, 3], [3, 1, 2]).to_parquet(path)
    with caplog.at_level(logging.WARNING, "blendmake"):
        read = read_user_tables(tmp_path, {"main": path})
    assert read.columns["c"]["levels"] == ["1", "2", "3"]
    assert "order parquet forgets: c" in caplog.text


@pytest.mark.parametrize(
    "values",
    [[3, 1, None, 3], [True, False, None, True], [0.5, 1.5, None, 0.5], ["b", "a", None, "b"]],
    ids=["whole", "truth", "float", "text"],
)
def test_categoricals_of_pandas_are_categories_from_every_file(
    tmp_path: Path, values: list[Any]
) -> None:
    frame = pd.DataFrame({"id": range(4), "c": pd.Categorical(values), "x": range(4)})
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_feather(tmp_path / "a.feather")
    found = [
        read_user_tables(tmp_path, {"main": str(tmp_path / f"a.{suffix}")})
        for suffix in ("parquet", "feather")
    ]
    for read in found:
        assert read.kinds() == {"c": "category", "x": "number"}
    assert found[0].decoded("c") == found[1].decoded("c")
    assert found[0].columns["c"]["levels"] == found[1].columns["c"]["levels"]


def test_the_order_of_levels_is_the_same_under_every_hash_seed(tmp_path: Path) -> None:
    grades = [f"{i}.0" for i in range(12)] + ["nan", "x", "-inf", "10", "1e1", "²"]
    path = write_user_file(tmp_path / "a.parquet", {"id": list(range(18)), "c": grades})
    program = (
        "import json, sys; from pathlib import Path; from helpers import read_user_tables;"
        "read = read_user_tables(Path(sys.argv[1]), {'main': sys.argv[2]}, category_columns=['c']);"
        "print(json.dumps(read.columns['c']['levels']))"
    )
    paths = os.pathsep.join(path for path in sys.path if path)
    found = []
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": paths}
        command = [sys.executable, "-c", program, str(tmp_path / seed), path]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    assert found == [found[0]] * 3
    assert found[0][:12] == [f"{i}.0" for i in range(10)] + ["10", "10.0"]
    assert found[0][-4:] == ["-inf", "nan", "x", "²"]


LEVELS = st.lists(
    st.one_of(
        st.sampled_from(["nan", "inf", "-1", "1", "1.0", "01", "+1", "1e0", "NaN", "٣", "1_0", ""]),
        st.integers().map(str),
        st.floats().map(repr),
        st.text(max_size=4),
    ),
    unique=True,
    min_size=1,
)


@given(levels=LEVELS, data=st.data())
def test_the_order_of_levels_is_total(levels: list[str], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(levels))
    assert sorted(levels, key=level_key) == sorted(shuffled, key=level_key)


@given(data=st.data())
def test_merged_orders_hold_both(data: st.DataObject) -> None:
    whole = data.draw(st.lists(st.integers(0, 30), unique=True, max_size=10))
    parts: list[Mapping[int, bool]] = [
        data.draw(st.fixed_dictionaries({x: st.booleans() for x in whole})) for _ in range(2)
    ]
    a, b = ([str(x) for x in whole if part[x]] for part in parts)
    merged = merged_order("c", a, b, "b", "a")
    assert sorted(merged) == sorted({*a, *b})
    assert [x for x in merged if x in a] == a
    assert [x for x in merged if x in b] == b
