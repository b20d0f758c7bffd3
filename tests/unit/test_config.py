from __future__ import annotations

import copy
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

from blendmake.config.base import LONGEST_NAME, Strict
from blendmake.config.loading import load_problem
from blendmake.errors import BlendmakeError
from blendmake.files import write_text

CONFIGS = Path(__file__).resolve().parents[2] / "config"

BASE = """
problem: toy
data:
  train: train.csv
  test: test.csv
  id: row_id
  targets: {file: labels.csv, columns: [y1, y2, y3]}
groups:
  rare: [y1, y2]
features:
  few: {files: {main: {first: 3}}}
sources:
  a: {family: linear}
  b: {family: lightgbm, features: few, targets: rare, overrides: {targets: {y1: {rounds: 7}}}}
blends:
  m: {method: mean, sources: all}
"""

DELETE = object()


def config(*changes: tuple[str, Any]) -> dict[str, Any]:
    """The base config with some keys, named by their path, set or deleted."""
    changed: dict[str, Any] = yaml.safe_load(BASE)
    for path, value in changes:
        *sections, key = path.split(".")
        here = changed
        for section in sections:
            here = here.setdefault(section, {})
        if value is DELETE:
            del here[key]
        else:
            here[key] = copy.deepcopy(value)
    return changed


def mistakes(*changes: tuple[str, Any]) -> list[str]:
    """The lines of the error that a changed config gives, without its first."""
    with pytest.raises(BlendmakeError) as error:
        load_problem(config(*changes))
    first, *lines = str(error.value).split("\n")
    assert first == "The config of problem 'toy' is wrong:"
    assert all(line.startswith("  ") for line in lines)
    return [line[2:] for line in lines]


# What is accepted


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path) -> None:
    problem = load_problem(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert problem.sources
    assert problem.blends


def test_defaults() -> None:
    problem = load_problem(config())
    assert problem.seed == 42
    assert problem.folds.n == 5
    assert problem.folds.scheme == "auto"
    assert problem.sources["a"].targets == ["all"]
    assert list(problem.feature_sets()) == ["all", "few"]
    assert problem.members("m") == ["a", "b"]


def test_short_forms_mean_the_long_ones() -> None:
    short = load_problem(
        config(("data.targets", "labels.csv"), ("groups", {}), ("sources.b", DELETE))
    )
    assert short.data.train == {"main": "train.csv"}
    assert short.data.id == ["row_id"]
    assert short.data.targets is not None
    assert (short.data.targets.file, short.data.targets.columns) == ("labels.csv", None)
    assert load_problem(config(("groups.rare", "y3"))).groups["rare"].targets == ["y3"]
    one = load_problem(config(("data.targets.columns", "y1"), ("groups.rare", "y1")))
    assert one.known_targets() == ["y1"]


def test_empty_keys_are_keys_left_out() -> None:
    problem = load_problem(
        config(("folds", None), ("seed", None), ("sources.a.params", None), ("features.few", None))
    )
    assert problem == load_problem(config(("features.few", {})))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-7", 1e-7), ("-2E5", -2e5), (".5e1", 5.0), ("1.e3", 1e3), ("1e-7x", "1e-7x"), ("7", 7)],
)
def test_numbers_that_yaml_reads_as_text(text: str, value: Any) -> None:
    params = yaml.safe_load(f"{{p: {text}, list: [{text}], deep: {{q: {text}}}}}")
    override = {"targets": {"y1": {"params": params}}}
    source = load_problem(config(("sources.a.params", params), ("sources.a.overrides", override)))
    expected = {"p": value, "list": [value], "deep": {"q": value}}
    assert source.sources["a"].params == expected
    assert source.sources["a"].overrides.targets["y1"].params == expected
    assert type(source.sources["a"].params["p"]) is type(value)


@pytest.mark.parametrize(("given", "read"), [("balanced", "balanced"), (2, 2.0), ("1e1", 10.0)])
def test_class_weights(given: Any, read: Any) -> None:
    assert load_problem(config(("sources.a.class_weight", given))).sources["a"].class_weight == read


def test_members_are_spelled_out_with_the_fallback_last() -> None:
    problem = load_problem(
        config(
            ("blends.n", {"method": "mean", "sources": ["b", "m"], "fallback": "a"}),
            ("blends.o", {"method": "mean", "sources": ["b", "all"], "fallback": "b"}),
        )
    )
    assert problem.members("n") == ["b", "m", "a"]
    assert problem.members("o") == ["b", "a"]


# Unknown keys


@pytest.mark.parametrize(
    ("path", "where", "meant"),
    [
        ("surces", "", "sources"),
        ("data.trian", "data", "train"),
        ("data.targets.colums", "data.targets", "columns"),
        ("data.categories.pattern", "data.categories", "patterns"),
        ("folds.shceme", "folds", "scheme"),
        ("features.few.file", "features.few", "files"),
        ("features.few.files.main.top_varience", "features.few.files.main", "top_variance"),
        ("sources.a.parms", "sources.a", "params"),
        ("sources.a.early_stopping.round", "sources.a.early_stopping", "rounds"),
        ("sources.b.overrides.target", "sources.b.overrides", "targets"),
        (
            "sources.b.overrides.targets.y1.class_wait",
            "sources.b.overrides.targets.y1",
            "class_weight",
        ),
        ("sources.b.overrides.groups.rare.param", "sources.b.overrides.groups.rare", "params"),
        ("blends.m.max_auc_gab", "blends.m", "max_auc_gap"),
        ("submissions.blend", "submissions", "blends"),
    ],
)
def test_unknown_keys_name_the_nearest(path: str, where: str, meant: str) -> None:
    key = path.rsplit(".", 1)[-1]
    prefix = f"{where}: " if where else ""
    assert mistakes((path, {})) == [f"{prefix}unknown key '{key}'; did you mean '{meant}'?"]


def test_a_config_without_a_name_is_told_as_such() -> None:
    with pytest.raises(BlendmakeError, match=r"^The config is wrong:\n  problem: must be given$"):
        load_problem(config(("problem", DELETE)))


def test_an_unknown_key_near_none_lists_the_known() -> None:
    assert mistakes(("sources.b.overrides.zzz", 1)) == [
        "sources.b.overrides: unknown key 'zzz'; known: groups, targets"
    ]


# References


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [("blends.m.sources", ["a", "bb"])],
            "blends.m.sources: no source or blend is called 'bb'; did you mean 'b'?",
        ),
        (
            [
                ("blends.champion", {"method": "mean", "sources": "all"}),
                ("blends.m.sources", "champoin"),
            ],
            "blends.m.sources: no source or blend is called 'champoin'; did you mean 'champion'?",
        ),
        (
            [("blends.m.fallback", "zz")],
            "blends.m.fallback: no source or blend is called 'zz'; known: a, b, m",
        ),
        (
            [("sources.a.features", "few_")],
            "sources.a.features: no feature set is called 'few_'; did you mean 'few'?",
        ),
        (
            [("groups.rare", ["y1", "y9"])],
            "groups.rare: no target is called 'y9'; known: y1, y2, y3",
        ),
        (
            [("sources.a.targets", ["rare", "common"])],
            "sources.a.targets: no target or group is called 'common'; known: all, rare, y1, y2, y3",
        ),
        (
            [("sources.a.overrides", {"groups": {"rre": {}}})],
            "sources.a.overrides.groups: no target group is called 'rre'; did you mean 'rare'?",
        ),
        (
            [("sources.a.overrides", {"targets": {"x": {}}})],
            "sources.a.overrides.targets: no target is called 'x'; known: y1, y2, y3",
        ),
        (
            [("comparisons", [["a", "q"]])],
            "comparisons: no source or blend is called 'q'; known: a, b, m",
        ),
        ([("comparisons", [["a", "a"]])], "comparisons: 'a' is compared with itself"),
        (
            [("submissions.blends", "mm")],
            "submissions.blends: no source or blend is called 'mm'; did you mean 'm'?",
        ),
        (
            [("submissions.blends", "m"), ("data.test", DELETE)],
            "submissions.blends: 'm' cannot be handed in: data.test is not given",
        ),
        (
            [("features.few.files", {"man": {}})],
            "features.few.files: no train file is called 'man'; did you mean 'main'?",
        ),
        (
            [("features.few.row_stats", "extra")],
            "features.few.row_stats: no selected file is called 'extra'; known: main",
        ),
        ([("blends.m.sources", "m")], "blends: m -> m goes in a circle"),
        (
            [("blends.n", {"method": "mean", "sources": ["a", "m"]}), ("blends.m.sources", ["n"])],
            "blends: m -> n -> m goes in a circle",
        ),
        (
            [("blends.n", {"method": "mean", "sources": "m"}), ("blends.m.fallback", "n")],
            "blends: m -> n -> m goes in a circle",
        ),
        (
            [("sources.m", {"family": "linear"}), ("blends.m.sources", "a")],
            "blends.m: a source has the same name",
        ),
        (
            [("sources.macro", {"family": "linear"})],
            "sources.macro: a reserved word, not a name",
        ),
        ([("groups.y1", ["y2"])], "groups.y1: a target has the same name"),
        (
            [("groups.all", ["y2"])],
            "groups.all: 'all' always means every target; choose another name",
        ),
        (
            [("folds.scheme", "group")],
            "folds.scheme: 'group' needs data.groups (which rows belong together)",
        ),
        ([("sources", {})], "blends.m: there are no sources to blend"),
    ],
)
def test_wrong_references(changes: list[tuple[str, Any]], expected: str) -> None:
    assert mistakes(*changes) == [expected]


# Values


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("data", DELETE, "data: must be given"),
        ("data", ["x"], "data: must be a mapping (key: value); found ['x']"),
        ("data.train", DELETE, "data: no 'train' file (or 'adapter') is given"),
        ("data.targets", DELETE, "data: no 'targets' are given: a file, or columns"),
        ("data.targets", {}, "data: 'targets' needs a file, or columns of the train file"),
        (
            "data.train",
            {"main": "a", "extra": "b"},
            "data: train has the files main, extra, test has main: the names must be the same",
        ),
        ("data.targets.columns", ["y1", "y1"], "data.targets.columns: 'y1' is named twice"),
        (
            "data.targets.columns",
            [1],
            "data.targets.columns.0: must be text: put it in quotes; found 1",
        ),
        (
            "data.id",
            3,
            "data.id: must be text, or a list of texts [a, b]: put it in quotes; found 3",
        ),
        (
            "data.id",
            date(2024, 1, 2),
            "data.id: must be text, or a list of texts [a, b]: put it in quotes; found 2024-01-02",
        ),
        (
            "sources",
            {True: {"family": "linear"}},
            "sources.True: the key is no text: put it in quotes",
        ),
        ("onyl", "lgb", "unknown key 'onyl'; did you mean 'only'?"),
        ("seed", "x", "seed: must be a whole number; found 'x'"),
        ("seed", -1, "seed: must be at least 0; found -1"),
        ("folds.n", 2.5, "folds.n: must be a whole number; found 2.5"),
        ("folds.n", 1, "folds.n: must be at least 2; found 1"),
        ("folds.n", 101, "folds.n: must be at most 100; found 101"),
        ("folds.inner_share", 0.9, "folds.inner_share: must be at most 0.5; found 0.9"),
        ("folds.inner_share", "much", "folds.inner_share: must be a number; found 'much'"),
        (
            "folds.scheme",
            "strat",
            "folds.scheme: unknown value 'strat'; did you mean 'stratified'?",
        ),
        ("folds.column", "f", "folds: scheme 'column' and the key 'column' go together"),
        ("groups.rare", [], "groups.rare.targets: must not be empty"),
        (
            "features.few.files",
            ["main"],
            "features.few.files: must be a mapping (key: value); found ['main']",
        ),
        (
            "features.few.files.main",
            {"ranks": [5]},
            "features.few.files.main.ranks: must be a pair [a, b]; found [5]",
        ),
        (
            "features.few.files.main",
            {"ranks": [5, 2]},
            "features.few.files.main: ranks must be [from, to] with 1 <= from <= to",
        ),
        (
            "features.few.files.main",
            {"ranks": [1, 2], "top_variance": 2},
            "features.few.files.main: ranks and top_variance exclude each other",
        ),
        ("sources", ["a"], "sources: must be a mapping (key: value); found ['a']"),
        ("sources.a", None, "sources.a.family: must be given"),
        (
            "sources.a.family",
            "xgbost",
            "sources.a: unknown family 'xgbost'; did you mean 'xgboost'?",
        ),
        ("sources.a.rounds", "many", "sources.a.rounds: must be a whole number; found 'many'"),
        ("sources.a.params", [1], "sources.a.params: must be a mapping (key: value); found [1]"),
        (
            "sources.a.keep_models",
            "maybe",
            "sources.a.keep_models: must be true or false; found 'maybe'",
        ),
        (
            "sources.a.early_stopping",
            50,
            "sources.a.early_stopping: must be a mapping (key: value); found 50",
        ),
        *(
            (
                "sources.a.class_weight",
                value,
                f"sources.a.class_weight: must be none, balanced or a number above 0; found {value!r}",
            )
            for value in ("balancd", -1, 0, True, [1], float("inf"))
        ),
        ("blends.m.method", "meen", "blends.m.method: unknown value 'meen'; did you mean 'mean'?"),
        ("blends.m.sources", ["a", "a"], "blends.m.sources: 'a' is named twice"),
        ("blends.m.max_auc_gap", 0.5, "blends.m.max_auc_gap: must be below 0.5; found 0.5"),
        (
            "blends.m.shrinkage",
            float("inf"),
            "blends.m.shrinkage: must be a finite number; found inf",
        ),
        (
            "blends.m.bounds",
            [1, 0],
            "blends.m: bounds must be [low, high] with 0 <= low < high <= 1",
        ),
        (
            "blends.m.top_weights",
            [0.5, 0.5],
            "blends.m: top_weights: two for top2_weighted, three for top3_weighted",
        ),
        ("comparisons", ["a", "b"], "comparisons.0: must be a pair [a, b]; found 'a'"),
        (
            "submissions.rename",
            {"pattern": "(", "replace": "x"},
            "submissions.rename: pattern '(' and replace 'x' are no regular expression: "
            "missing ), unterminated subpattern at position 0",
        ),
        (
            "submissions.rename",
            {"pattern": "^a", "replace": r"\3"},
            r"submissions.rename: pattern '^a' and replace '\3' are no regular expression: "
            "invalid group reference 3 at position 1",
        ),
    ],
)
def test_wrong_values(path: str, value: Any, expected: str) -> None:
    assert mistakes((path, value))[0] == expected


@pytest.mark.parametrize("name", ["Upper", "two__lines", "_front", "end_", "with-dash", "ä", ""])
@pytest.mark.parametrize("section", ["sources", "blends", "features", "groups"])
def test_names(section: str, name: str) -> None:
    changed = config()
    changed[section][name] = next(iter(changed[section].values()))
    with pytest.raises(BlendmakeError, match=f"{section}.{name}: '{name}' is not a usable name"):
        load_problem(changed)


SECTIONS = (
    "sources",
    "blends",
    "features",
    "groups",
    "external",
    "audits",
    "searches",
    "campaigns",
)


def test_every_section_refuses_names_that_file_systems_do_not_bear() -> None:
    for section in SECTIONS:
        for name, told in (
            ("a" * 81, f"{section}.{'a' * 81}: '{'a' * 20}…' is not a usable name: 81 bytes long"),
            ("nul", f"{section}.nul: 'nul' is not a usable name: some file systems"),
        ):
            with pytest.raises(BlendmakeError) as error:
                load_problem(config((section, {name: {}})))
            assert told in str(error.value)
    for name in ("b" * 81, "../up", ".hidden", "a/b", "com1", "a b"):
        with pytest.raises(BlendmakeError, match=r"problem: '.*' is not a usable name"):
            load_problem(config(("problem", name)))
    assert load_problem(config(("problem", "b" * 80))).problem == "b" * 80


def test_a_folder_named_after_search_folds_is_not_too_long() -> None:
    search = {"source": "a", "trials": 3, "space": {"c": {"low": 0.1, "high": 1}}}
    many = {"s": {**search, "folds": list(range(95))}}
    told = mistakes(("searches", many), ("folds", {"n": 100}))
    assert [line.split(": ")[0] for line in told] == ["searches.s.folds"]
    load_problem(config(("searches", {"s": search}), ("folds", {"n": 100})))


def test_the_longest_names_fit_into_file_names(tmp_path: Path, monkeypatch: Any) -> None:
    """Of a comparison, as it is written by the machine of the longest name."""
    monkeypatch.setattr("blendmake.files.HOST", "h" * 64)
    monkeypatch.setattr("os.getpid", lambda: 4_194_304)
    name = "n" * LONGEST_NAME
    write_text("whole", tmp_path / f"{name}__vs__{name}.parquet")
    assert len(list(tmp_path.iterdir())) == 1


def test_an_adapter_brings_its_own_files() -> None:
    for data, says in (
        ({"adapter": "yest"}, "data: unknown adapter 'yest'; did you mean 'yeast'?"),
        ({"adapter": "yeast", "train": "a.csv"}, "data: adapter 'yeast' brings its own files"),
    ):
        with pytest.raises(BlendmakeError) as error:
            load_problem({"problem": "toy", "data": data})
        assert says in str(error.value)


def test_test_rows_are_needed_by_what_speaks_of_them() -> None:
    expected = (
        "data: sample_submission and test_targets speak of test rows, but 'test' is not given"
    )
    for key in ("sample_submission", "test_targets"):
        assert mistakes((f"data.{key}", "x.csv"), ("data.test", DELETE)) == [expected]


# All at once


def test_every_mistake_is_told_at_once() -> None:
    assert mistakes(
        ("seed", "x"),
        ("folds", {"n": 1, "sheme": "group"}),
        ("sources.a.parms", {}),
        ("sources.b.rounds", 0),
        ("blends.m.method", "meen"),
        ("blendz", {}),
    ) == [
        "seed: must be a whole number; found 'x'",
        "folds.n: must be at least 2; found 1",
        "folds: unknown key 'sheme'; did you mean 'scheme'?",
        "sources.a: unknown key 'parms'; did you mean 'params'?",
        "sources.b.rounds: must be at least 1; found 0",
        "blends.m.method: unknown value 'meen'; did you mean 'mean'?",
        "unknown key 'blendz'; did you mean 'blends'?",
    ]


def test_wrong_names_are_told_beside_other_mistakes() -> None:
    assert mistakes(
        ("sources.a.parms", {}),
        ("sources.b.features", "fev"),
        ("blends.n", {"method": "meen", "sources": "all"}),
        ("blends.m.sources", ["a", "n", "q"]),
    ) == [
        "sources.a: unknown key 'parms'; did you mean 'params'?",
        "blends.n.method: unknown value 'meen'; did you mean 'mean'?",
        "sources.b.features: no feature set is called 'fev'; did you mean 'few'?",
        "blends.m.sources: no source or blend is called 'q'; known: a, b, m, n",
    ]


def test_no_mistake_is_invented_beside_a_misspelt_section() -> None:
    changed = config()
    changed["surces"] = changed.pop("sources")
    with pytest.raises(BlendmakeError) as error:
        load_problem(changed)
    assert str(error.value).split("\n")[1:] == ["  unknown key 'surces'; did you mean 'sources'?"]


def test_no_config_at_all_names_the_command() -> None:
    with pytest.raises(BlendmakeError, match="snakemake --configfile"):
        load_problem({})


@pytest.mark.parametrize("section", Strict.__subclasses__(), ids=lambda section: section.__name__)
def test_every_section_and_key_is_explained(section: type[Strict]) -> None:
    assert section.__doc__
    for key, field in section.model_fields.items():
        assert field.description, key


@pytest.mark.parametrize(
    ("given", "file", "columns"),
    [
        ("y", None, ["y"]),
        (["y1", "y2"], None, ["y1", "y2"]),
        ("y.csv", "y.csv", None),
        ("data/labels", "data/labels", None),
        ("Labels.PARQUET", "Labels.PARQUET", None),
        ("dose.1", None, ["dose.1"]),
    ],
)
def test_targets_by_their_names_are_columns_of_train(
    given: Any, file: str | None, columns: list[str] | None
) -> None:
    targets = load_problem(config(("data.targets", given), ("groups", DELETE), *PLAIN)).data.targets
    assert targets is not None
    assert (targets.file, targets.columns) == (file, columns)


def test_a_folder_of_that_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "y").mkdir()
    targets = load_problem(config(("data.targets", "y"), ("groups", DELETE), *PLAIN)).data.targets
    assert targets is not None
    assert targets.file == "y"


PLAIN = (("sources", {"a": {"family": "linear"}}), ("blends", DELETE))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ({"family": "linear", "environment": ["A"]}, "'environment' belongs to family custom"),
        (
            {"family": "custom", "file": "m.py", "environment": ["A=1"]},
            "'environment' names no variable: 'A=1'",
        ),
    ],
)
def test_variables_of_the_environment_are_named(source: dict[str, Any], told: str) -> None:
    found = mistakes(("sources", {"a": source}), ("blends", DELETE))
    assert found == [f"sources.a: {told}"]
