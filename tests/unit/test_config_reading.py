"""Config files: text as written, and one message with file, line and mend for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from blendmake.config.reading import as_written, read_config
from blendmake.errors import BlendmakeError

Folders = pytest.TempPathFactory


def written(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def bomb() -> str:
    lines, above = ["a: &a [x, x, x, x, x, x, x, x, x]"], "a"
    for name in "bcdefghi":
        lines.append(f"{name}: &{name} [{', '.join(['*' + above] * 9)}]")
        above = name
    return "\n".join(lines) + "\n"


def ladder() -> str:
    """Aliases of aliases: shallow as written, a thousand levels deep as meant."""
    return "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 1000))


WRONG: dict[str, tuple[str | bytes, str]] = {
    "tab": ("problem: a\ndata:\n\ttrain: x\n", "line 3, is indented with a tab"),
    "tab in a list": ("problem: a\ndata:\n  train:\n  \t- x\n", "line 4, is indented with a tab"),
    "comma": (
        "problem: a\ndata: {train: x,, test: y}\n",
        "line 2, has a comma too many: delete it",
    ),
    "comma in a list": ("problem: a\ndata: [1,,2]\n", "line 2, has a comma too many: delete it"),
    "twice": (
        "problem: a\nseed: 1\nproblem: b\n",
        "line 3, has the key 'problem' twice (first in line 1)",
    ),
    "twice within": (
        "problem: a\nsources:\n  lgb: {family: lightgbm}\n  lgb: {family: xgboost}\n",
        "line 4, has the key 'lgb' twice (first in line 3)",
    ),
    "twice in brackets": ("problem: a\ndata: {id: a, id: b}\n", "line 2, has the key 'id' twice"),
    "latin": (
        b"problem: a\n# caf\xe9\n",
        "line 2, is not UTF-8 (byte 0xe9): save it as UTF-8: iconv",
    ),
    "utf16": ("problem: a\n".encode("utf-16"), "is UTF-16 text: save it as UTF-8: iconv -f utf-16"),
    "itself": ("problem: a\ndata: &d {train: *d}\n", "line 2, refers to itself"),
    "itself, by another": (
        "problem: a\ndata: &d\n  train: [1, {x: *d}]\n",
        "line 2, refers to itself",
    ),
    "deep": (
        "problem: a\nx: " + "[" * 3000 + "]" * 3000,
        "line 2, is nested more than 60 levels deep",
    ),
    "open": ("problem: a\nx: " + "[" * 3000, "line 2, is nested more than 60 levels deep"),
    "bomb": (bomb(), "unfolds to more than 1,000,000 values through its `*` aliases"),
    "ladder": (ladder(), "unfolds to more than 60 levels"),
    "empty": ("", "is empty: begin with `problem: <name>`"),
    "comments": ("# nothing\n", "is empty"),
    "list": ("- a\n", "is no mapping but a list"),
    "text": ("hello\n", "is no mapping but text"),
    "tag": (
        "problem: !!python/object/apply:os.system [x]\n",
        "line 1, has a tag that no config takes",
    ),
    "documents": ("problem: a\n---\nproblem: b\n", "line 2, begins a second document"),
    "bracket": ("problem: a\nx: [1, 2\ny: 3\n", "has a `[` of line 2 that is not closed"),
    "brace": ("problem: a\nx: {a: 1\ny: 3\n", "has a `{` of line 2 that is not closed"),
    "quote": ("problem: a\nx: 'one\ny: 3\n", "ends inside a quote of line 2: close the quote"),
    "colon": ("problem: a: b\n", "line 1, has a `: ` where no key can be"),
    "level": ("problem: a\n  x: 1\n", "line 2, has a `: ` where no key can be"),
    "no key": ("problem: a\nfolds\nseed: 3\n", "line 3, has a line that is no `key: value`"),
    "percent": ("problem: a\ndata: {missing: [%]}\n", "line 2, has text that begins with `%`"),
    "at": ("problem: @a\n", "line 1, has text that begins with `@`: put it in quotes"),
    "no anchor": ("problem: *a\n", "line 1, has an alias without its anchor"),
    "nul": ("problem: a\nx: a\0b\n", "line 2, holds a character that is no text"),
    "equals": ("problem: a\ndata: {missing: [=]}\n", "line 2, has a `=` that stands alone"),
    "key": ("problem: a\n? [1, 2]\n: 3\n", "line 2, has a list or mapping as a key"),
    "json twice": ('{"problem": "a", "seed": 1, "seed": 2}', "has the key 'seed' twice"),
    "date": (
        "problem: a\nx: 2024-13-45\n",
        "line 2, has `2024-13-45`, which cannot be read (month must be in 1..12): put it in quotes",
    ),
    "date as a key": ("problem: a\nx:\n  2024-02-31: 1\n", "line 3, has `2024-02-31`"),
    "no-break space": (
        "problem: a\ndata:\n  id: b\n\xa0 test: c\n  train: d\n",
        "has an odd space here or above (no-break space)",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_mistake_is_told_with_file_line_and_mend(case: str, tmp_path: Path) -> None:
    text, told = WRONG[case]
    path = written(tmp_path, text)
    with pytest.raises(BlendmakeError) as caught:
        read_config(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert told in message
    assert "\n" not in message
    mend = message.rsplit(": ", 1)[1] if ": " in message else ""
    assert mend and mend.endswith((".", "?"))


def test_a_file_that_is_not_there_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, "problem: a\n", "toxcast.yaml")
    with pytest.raises(
        BlendmakeError, match=r"toxcats\.yaml does not exist: did you mean '.*toxcast"
    ):
        read_config(path.with_name("toxcats.yaml"))
    with pytest.raises(BlendmakeError, match="is a folder"):
        read_config(tmp_path)


def test_what_no_config_can_be_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    with open(path, "wb") as file:
        file.truncate(30_000_000)
    with pytest.raises(BlendmakeError, match="30 MB"):
        read_config(path)


TEXT = """
problem: a
seed: 0x10
data:
  train: t.csv
  missing: [NO, "?", -, 1_000, 1e3, 0x1F, 2024-01-01, ~, 007, 1.50, .nan, on]
  targets: {columns: [y], positive: {y: yes, z: 0x1, NO: [off, 1.0]}}
  categories: {levels: {size: [1, 02, no]}}
  rows: 0x10
missing: NO
"""


def test_values_of_the_tables_are_text_as_written(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, TEXT))
    data = config["data"]
    shown = ["NO", "?", "-", "1_000", "1e3", "0x1F", "2024-01-01", "~", "007", "1.50", ".nan", "on"]
    assert data["missing"] == shown
    assert data["targets"]["positive"] == {"y": "yes", "z": "0x1", "NO": ["off", "1.0"]}
    assert data["categories"]["levels"] == {"size": ["1", "02", "no"]}
    assert (data["rows"], config["seed"], config["missing"]) == (16, 16, False)


def test_a_key_with_nothing_behind_it_is_left_out(tmp_path: Path) -> None:
    data = read_config(written(tmp_path, "data:\n  missing:\n  positive: ''\n"))["data"]
    assert data == {"missing": None, "positive": ""}


def test_merged_keys_are_no_duplicates(tmp_path: Path) -> None:
    text = "x: &x {missing: [NO], b: 1}\ndata: {<<: *x, b: 2}\n"
    assert read_config(written(tmp_path, text))["data"] == {"missing": ["NO"], "b": 2}


def test_json_is_read_as_well(tmp_path: Path) -> None:
    text = '{\n\t"data": {"missing": [1e3, true, "NO", 1.50, -999], "rows": 7}\n}'
    data = read_config(written(tmp_path, text))["data"]
    assert data == {"missing": ["1e3", "true", "NO", "1.50", "-999"], "rows": 7}


def as_snakemake(*paths: Path) -> dict[str, Any]:
    """What Snakemake hands on: the files one over the other, as YAML 1.1 has them."""
    from snakemake.common.configfile import load_configfile
    from snakemake.utils import update_config

    config: dict[str, Any] = {}
    for path in paths:
        update_config(config, load_configfile(path))
    return config


def test_text_takes_its_place_in_what_snakemake_hands_on(tmp_path: Path) -> None:
    first = written(tmp_path, TEXT)
    second = written(
        tmp_path, "data: {missing: [off], targets: {positive: {y: NO}}}\n", "more.yaml"
    )
    config = as_snakemake(first, second)
    assert config["data"]["missing"] == [False]
    data = as_written(config, [first, second])["data"]
    assert data["missing"] == ["off"]
    assert data["targets"]["positive"] == {"y": "NO", "z": "0x1", "NO": ["off", "1.0"]}
    assert data["train"] == "t.csv"


def test_what_the_command_sets_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT)
    config = as_snakemake(path)
    config["data"]["missing"] = ["mine", 3]
    config["data"]["new"] = {"levels": [True]}
    data = as_written(config, [path])["data"]
    assert data["missing"] == ["mine", 3]
    assert data["new"] == {"levels": [True]}
    assert data["categories"]["levels"] == {"size": ["1", "02", "no"]}


def test_templates_of_snakemake_are_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "__use_yte__: true\ndata: {missing: \"?'NO'\"}\n")
    assert as_written({"data": {"missing": "NO"}}, [path]) == {"data": {"missing": "NO"}}


TEXTS = st.text(max_size=6)
SCALARS = st.sampled_from(
    [
        "yes",
        "NO",
        "on",
        "0x1",
        "0o7",
        "1_000",
        "1e3",
        "1.0",
        "2024-01-01",
        "12:30:45",
        "null",
        "a b",
    ]
) | st.from_regex(r"[A-Za-z0-9.+][A-Za-z0-9_.+-]{0,8}", fullmatch=True)


@settings(deadline=None, max_examples=60)
@given(st.lists(SCALARS, min_size=1, max_size=8))
def test_any_scalar_comes_back_as_written(tmp_path_factory: Folders, texts: list[str]) -> None:
    path = written(tmp_path_factory.mktemp("any"), f"data:\n  missing: [{', '.join(texts)}]\n")
    assert read_config(path)["data"]["missing"] == texts
    assert as_written(as_snakemake(path), [path])["data"]["missing"] == texts


@settings(deadline=None, max_examples=60)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=6),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=12,
    )
)
def test_elsewhere_it_reads_as_yaml_does(tmp_path_factory: Folders, value: Any) -> None:
    folder = tmp_path_factory.mktemp("same")
    text = yaml.safe_dump({"x": value}, allow_unicode=True)
    assert read_config(written(folder, text)) == yaml.safe_load(text)
    text = json.dumps({"x": value})
    assert read_config(written(folder, text)) == json.loads(text)


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(tmp_path_factory: Folders, content: bytes) -> None:
    path = written(tmp_path_factory.mktemp("bytes"), b"problem: a\nx: " + content)
    told = str(path)
    try:
        read_config(path)
    except BlendmakeError as error:
        told = str(error)
    assert told.startswith(str(path))
