"""The config of a problem: everything a user decides about *what* is built.

The models below are the single source of defaults, of the JSON schema (config/schema.json) and of
config/README.md; a test keeps the three in step.
"""

from __future__ import annotations

import copy
import difflib
import math
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from blendmake.adapters import ADAPTERS
from blendmake.errors import BlendmakeError
from blendmake.families import FAMILIES

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint of an error message: the known word nearest to `word`, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known: {', '.join(known)}" if known else "there are none"


def _check_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name):
        raise PydanticCustomError(
            "name",
            "'{name}' is not a usable name: lower-case letters and digits, single underscores between",
            {"name": name},
        )
    return name


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_files(value: Any) -> Any:
    return {"main": value} if isinstance(value, str) else value


def _parse_numbers(value: Any) -> Any:
    """YAML 1.1 reads `1e-7` as text; params mean the number."""
    if isinstance(value, dict):
        return {k: _parse_numbers(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_parse_numbers(v) for v in value]
    if isinstance(value, str) and NUMBER.fullmatch(value):
        return float(value)
    return value


def _check_pair(value: Any) -> Any:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise PydanticCustomError(
            "pair", "must be a pair [a, b]; found {found}", {"found": _shown(value)}
        )
    return value


def _check_different(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise PydanticCustomError("twice", "'{name}' is named twice", {"name": name})
    return names


Name = Annotated[str, AfterValidator(_check_name)]
Names = Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]
NamesOnce = Annotated[Names, Field(min_length=1), AfterValidator(_check_different)]
Files = Annotated[
    dict[Name, str], BeforeValidator(_as_files, json_schema_input_type=str | dict[str, str])
]
Params = Annotated[dict[str, Any], BeforeValidator(_parse_numbers)]


class Strict(BaseModel):
    """A config section: unknown keys are errors that name the nearest known key."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _without_empty_keys(cls, data: Any) -> Any:
        """A key with nothing behind it is a key left out."""
        if isinstance(data, Mapping):
            return {k: v for k, v in data.items() if v is not None or k not in cls.model_fields}
        return {} if data is None else data


class TargetsFile(Strict):
    """Where the labels are: one column per target, 0, 1 or missing."""

    file: str | None = Field(
        None, description="The file; left out: the columns are in the train file itself."
    )
    columns: NamesOnce | None = Field(
        None, description="The target columns, in order; left out: every column but the id."
    )


def _as_targets(value: Any) -> Any:
    return {"file": value} if isinstance(value, str) else value


class GroupsFile(Strict):
    """Where the group of each row is (patient, scaffold, customer): groups are never split."""

    file: str | None = Field(
        None, description="The file; left out: the column is in the train file itself."
    )
    column: str = Field(description="The column that names the row's group.")


class Categories(Strict):
    """Which columns are categories, beside those whose dtype says so (text, dictionary)."""

    columns: list[str] = Field([], description="Columns by name.")
    patterns: Names = Field([], description="Columns by shell pattern, e.g. `cat_feature_*`.")


class Data(Strict):
    """The user's tables: parquet, CSV (also .gz) or Arrow, joined by id."""

    adapter: str | None = Field(
        None, description="A built-in data set (`yeast`) in place of files of one's own."
    )
    train: Files | None = Field(
        None,
        description="One feature file, or several by name (`{main: a.parquet, extra: b.parquet}`).",
    )
    test: Files | None = Field(
        None, description="The same files for the test rows; left out: nothing to predict."
    )
    id: Names = Field(
        [],
        description="The id column, or several; left out: rows are matched by their position.",
    )
    targets: Annotated[
        TargetsFile | None,
        BeforeValidator(_as_targets, json_schema_input_type=str | TargetsFile | None),
    ] = Field(None, description="The labels: a file, or file and columns.")
    test_targets: str | None = Field(
        None, description="Labels of the test rows, where known: only for the reported test AUC."
    )
    groups: GroupsFile | None = Field(None, description="Groups of rows that belong together.")
    sample_submission: str | None = Field(
        None, description="A file whose ids, columns and their order a submission must have."
    )
    categories: Categories = Field(Categories(), description="Which columns are categories.")
    ignore: Names = Field([], description="Columns (shell patterns) that are not features.")

    @model_validator(mode="after")
    def _whole(self) -> Data:
        if self.adapter is not None:
            if self.adapter not in ADAPTERS:
                raise PydanticCustomError(
                    "adapter",
                    "unknown adapter '{name}'; {hint}",
                    {"name": self.adapter, "hint": nearest(self.adapter, ADAPTERS)},
                )
            given = sorted(self.model_fields_set - {"adapter", "categories", "ignore"})
            if given:
                raise PydanticCustomError(
                    "adapter",
                    "an adapter brings its own files: leave out {keys}",
                    {"keys": ", ".join(given)},
                )
            return self
        if not self.train:
            raise PydanticCustomError("train", "no 'train' file (or 'adapter') is given")
        if self.targets is None:
            raise PydanticCustomError("targets", "no 'targets' are given: a file, or columns")
        if self.targets.file is None and not self.targets.columns:
            raise PydanticCustomError(
                "targets", "'targets' needs a file, or columns of the train file"
            )
        if self.test is not None and set(self.test) != set(self.train):
            raise PydanticCustomError(
                "test",
                "train has the files {train}, test has {test}: the names must be the same",
                {"train": ", ".join(self.train), "test": ", ".join(self.test)},
            )
        if self.test is None and (self.sample_submission or self.test_targets):
            raise PydanticCustomError(
                "test",
                "sample_submission and test_targets speak of test rows, but 'test' is not given",
            )
        return self


class Folds(Strict):
    """The one fold assignment that every source, blend and score of the problem reads."""

    scheme: Literal["auto", "stratified", "group", "kfold", "column"] = Field(
        "auto",
        description="`stratified` over all targets at once; `group`: groups are never split, targets "
        "balanced; `kfold`: plain; `column`: given. `auto`: `group` where groups are given, "
        "else `stratified`.",
    )
    n: int = Field(
        5, ge=2, le=100, description="Number of folds; of a given column, the number that it holds."
    )
    column: str | None = Field(None, description="Column with the fold of each row (0, 1, …).")
    file: str | None = Field(
        None, description="File that holds the fold column; left out: the train file."
    )
    seed: int | None = Field(None, description="Seed of the assignment; left out: the problem's.")
    inner_share: float = Field(
        0.2,
        gt=0,
        le=0.5,
        description="Share of a fold's training rows set aside for early stopping.",
    )

    @model_validator(mode="after")
    def _column(self) -> Folds:
        if (self.scheme == "column") != (self.column is not None):
            raise PydanticCustomError("folds", "scheme 'column' and the key 'column' go together")
        if self.file and not self.column:
            raise PydanticCustomError("folds", "'file' needs 'column': which column holds the fold")
        return self


class Selection(Strict):
    """Which columns of one file a feature set takes; the steps apply in the order below."""

    drop: str | None = Field(None, description="File of column names to leave out (one per line).")
    keep: str | None = Field(None, description="File of column names to keep (one per line).")
    first: int | None = Field(None, ge=0, description="The first k of the columns, in file order.")
    top_variance: int | None = Field(
        None, ge=0, description="The k columns of highest variance (numeric ones only)."
    )
    ranks: Annotated[tuple[int, int], BeforeValidator(_check_pair)] | None = Field(
        None, description="The block of variance ranks [from, to], counted from 1, both included."
    )

    @model_validator(mode="after")
    def _ranks(self) -> Selection:
        if self.ranks is not None and not 1 <= self.ranks[0] <= self.ranks[1]:
            raise PydanticCustomError("ranks", "ranks must be [from, to] with 1 <= from <= to")
        if self.ranks is not None and self.top_variance is not None:
            raise PydanticCustomError("ranks", "ranks and top_variance exclude each other")
        return self


class FeatureSet(Strict):
    """A named list of columns, and what is made of them; a set copies no column."""

    files: dict[Name, Selection] | None = Field(
        None,
        description="Columns by file (`{main: {}, extra: {top_variance: 50}}`); a file left out gives "
        "none. Without this key: every column of every file.",
    )
    row_stats: Names = Field(
        [],
        description="Files over whose selected numeric columns eight row statistics are made: mean, "
        "min, max, sum, null count, zero count, null share, zero share.",
    )
    categories: Literal["native", "ordinal", "frequency"] = Field(
        "native",
        description="Categories as such, as ordered codes, or as their share among the train rows.",
    )
    categorical_below: int = Field(
        0,
        ge=0,
        le=1000,
        description="Numeric columns with at most this many distinct values become categories.",
    )


class EarlyStopping(Strict):
    """When to stop adding rounds."""

    rounds: int = Field(50, ge=1, description="Stop after so many rounds without a better AUC.")
    watch: Literal["inner", "fold"] = Field(
        "inner",
        description="On the inner split of the training rows, or on the fold itself, which makes the "
        "score optimistic and is marked so.",
    )


def _check_class_weight(value: Any) -> Any:
    if value in ("none", "balanced"):
        return value
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < math.inf:
        raise PydanticCustomError(
            "class_weight",
            "must be none, balanced or a number above 0; found {found}",
            {"found": _shown(value)},
        )
    return number


ClassWeight = Annotated[
    Literal["none", "balanced"] | Annotated[float, Field(gt=0)],
    BeforeValidator(_check_class_weight),
]


class Override(Strict):
    """What a group or a target has otherwise than its source; params are merged key by key."""

    params: Params = Field({}, description="Params that replace the source's.")
    rounds: int | None = Field(None, ge=1, description="Number of rounds (trees, iterations).")
    early_stopping: EarlyStopping | Literal[False] | None = Field(
        None, description="Early stopping; `false` switches the source's off."
    )
    class_weight: ClassWeight | None = Field(None, description="Weight of the positives.")


class Overrides(Strict):
    """The most specific wins: target over group over source."""

    groups: dict[str, Override] = Field({}, description="By name of a target group.")
    targets: dict[str, Override] = Field({}, description="By name of a target.")


class Source(Strict):
    """A model source: one family with its params, one fit per target and fold."""

    family: str = Field(description="Model family: " + ", ".join(f"`{name}`" for name in FAMILIES))
    features: str = Field("all", description="Feature set.")
    targets: NamesOnce = Field(
        ["all"], description="`all`, a target group, or a list of targets and groups."
    )
    params: Params = Field({}, description="Params of the family, in its library's own names.")
    rounds: int | None = Field(
        None,
        ge=1,
        description="Trees or iterations (at most, with early stopping); left out: the family's.",
    )
    early_stopping: EarlyStopping | None = Field(
        None, description="Left out: all rounds are run and no training row is set aside."
    )
    class_weight: ClassWeight = Field(
        "none",
        description="Weight of the positives: `none`, `balanced` (negatives per positive), a number.",
    )
    overrides: Overrides = Field(Overrides(), description="Per group and per target.")
    keep_models: bool = Field(
        False, description="Keep every fitted model in its library's own format."
    )

    @model_validator(mode="after")
    def _family(self) -> Source:
        if self.family not in FAMILIES:
            raise PydanticCustomError(
                "family",
                "unknown family '{name}'; {hint}",
                {"name": self.family, "hint": nearest(self.family, FAMILIES)},
            )
        return self

    def group_names(self, groups: Mapping[str, Any]) -> list[str]:
        """Names of the target groups that this source reads."""
        named = set(self.targets) & set(groups) | set(self.overrides.groups)
        return sorted(named)


Method = Literal[
    "mean",
    "winner",
    "top2_weighted",
    "top3_weighted",
    "simplex_grid",
    "optimize_weights",
    "greedy",
    "stack",
]


class Blend(Strict):
    """A blend of sources (and blends), per target over the members that cover it."""

    method: Method = Field(description="How the weights are found.")
    sources: NamesOnce = Field(
        description="Members: `all` sources, or names of sources and blends."
    )
    scale: Literal["rank", "logit"] = Field(
        "rank", description="The common scale on which predictions are averaged."
    )
    max_auc_gap: float | None = Field(
        None,
        gt=0,
        lt=0.5,
        description="Drop candidates whose AUC is further below the best's (min-delta-auc).",
    )
    max_sources_per_target: int | None = Field(
        None, ge=1, description="Keep at most so many candidates per target."
    )
    allow_partial_sources: bool = Field(
        True, description="Whether members may cover only some of the targets."
    )
    fallback: str | None = Field(
        None, description="Source or blend that stands in for targets that no member covers."
    )
    drop_duplicates: bool = Field(
        False, description="Drop members equal to an earlier one (rank correlation >= 0.9999)."
    )
    top_weights: list[float] | None = Field(
        None,
        description="Weights for top2_weighted (default 0.65, 0.35) or top3_weighted "
        "(default 0.45, 0.35, 0.20).",
    )
    step: float = Field(0.05, gt=0, le=0.5, description="Step of simplex_grid.")
    grid_sources: int = Field(3, ge=2, le=5, description="How many of the best simplex_grid takes.")
    steps: int = Field(20, ge=1, le=1000, description="Selections made by greedy.")
    shrinkage: float = Field(
        0.01, ge=0, description="Pull of optimize_weights towards uniform weights."
    )
    bounds: Annotated[tuple[float, float], BeforeValidator(_check_pair)] = Field(
        (0.0, 1.0), description="Bounds of each weight for optimize_weights."
    )
    neighbours: int = Field(
        0, ge=0, description="stack: how many of the most correlated other targets it reads."
    )
    c: float = Field(0.1, gt=0, description="stack: inverse regularisation of the regression.")

    @model_validator(mode="after")
    def _weights(self) -> Blend:
        wanted = {"top2_weighted": 2, "top3_weighted": 3}.get(self.method)
        if self.top_weights is not None:
            if wanted is None or len(self.top_weights) != wanted:
                raise PydanticCustomError(
                    "top_weights", "top_weights: two for top2_weighted, three for top3_weighted"
                )
            ok = min(self.top_weights) >= 0 < self.top_weights[0]
            if not ok or abs(sum(self.top_weights) - 1) > 1e-9:
                raise PydanticCustomError(
                    "top_weights", "top_weights must be >= 0, the first above 0, and sum to 1"
                )
        if abs(round(1 / self.step) * self.step - 1) > 1e-9:
            raise PydanticCustomError("step", "step must divide 1: 0.05, 0.1, 0.25 …")
        low, high = self.bounds
        if not 0 <= low < high <= 1:
            raise PydanticCustomError(
                "bounds", "bounds must be [low, high] with 0 <= low < high <= 1"
            )
        return self


class Rename(Strict):
    """The naming rule from target to submission column: a regular expression and what replaces it."""

    pattern: str = Field(description="Regular expression, e.g. `^target_`.")
    replace: str = Field(description="Replacement, e.g. `predict_`.")

    @model_validator(mode="after")
    def _compiles(self) -> Rename:
        try:
            re.sub(self.pattern, self.replace, "")
        except re.error as error:
            raise PydanticCustomError(
                "pattern",
                "pattern '{pattern}' and replace '{replace}' are no regular expression: {why}",
                {"pattern": self.pattern, "replace": self.replace, "why": str(error)},
            ) from error
        return self


class Submissions(Strict):
    """What is handed in."""

    blends: Names = Field([], description="Blends (or sources) of which a submission is written.")
    csv: bool = Field(False, description="Write a .csv beside the .parquet.")
    rename: Rename | None = Field(None, description="Naming rule from target to column.")


class Problem(Strict):
    """One problem: tables in, blends out."""

    RESERVED: ClassVar[tuple[str, ...]] = ("all", "base", "macro")

    problem: Name = Field(description="Name; results stand under `results/<problem>/`.")
    seed: int = Field(42, ge=0, description="Seed of everything that is drawn.")
    data: Data = Field(description="The tables.")
    folds: Folds = Field(Folds(), description="The fold assignment.")
    groups: dict[Name, NamesOnce] = Field({}, description="Named groups of targets.")
    features: dict[Name, FeatureSet] = Field(
        {}, description="Feature sets; `all` (every column) is always there."
    )
    sources: dict[Name, Source] = Field({}, description="Model sources.")
    blends: dict[Name, Blend] = Field({}, description="Blends.")
    comparisons: list[Annotated[tuple[str, str], BeforeValidator(_check_pair)]] = Field(
        [], description="Pairs of sources or blends compared with a paired interval."
    )
    submissions: Submissions = Field(Submissions(), description="What is handed in.")

    @model_validator(mode="after")
    def _references(self) -> Problem:
        complaints = list(self._complaints())
        if complaints:
            raise PydanticCustomError("references", "{text}", {"text": "\n".join(complaints)})
        return self

    def feature_sets(self) -> dict[str, FeatureSet]:
        """All feature sets, `all` included."""
        return {"all": FeatureSet(), **self.features}

    def _complaints(self) -> Iterable[str]:
        def check(where: str, name: str, known: Iterable[str], what: str) -> Iterable[str]:
            if name not in known:
                yield f"{where}: no {what} is called '{name}'; {nearest(name, known)}"

        labels = ADAPTERS[self.data.adapter].FILES if self.data.adapter else self.data.train or {}
        has_test = bool(self.data.adapter or self.data.test)
        artifacts = {**self.sources, **self.blends}
        for name in self.sources.keys() & self.blends.keys():
            yield f"blends.{name}: a source has the same name"
        for name in artifacts:
            if name in self.RESERVED:
                yield f"'{name}' is a reserved word, not a name for a source or blend"
        for name, features in self.features.items():
            selected = features.files if features.files is not None else labels
            for label in features.files or {}:
                yield from check(f"features.{name}.files", label, labels, "train file")
            for label in features.row_stats:
                yield from check(f"features.{name}.row_stats", label, selected, "selected file")
        known = self.known_targets()
        for group, members in self.groups.items():
            if group == "all":
                yield "groups.all: 'all' always means every target; choose another name"
            elif group in (known or []):
                yield f"groups.{group}: a target has the same name"
            for target in members if known is not None else []:
                yield from check(f"groups.{group}", target, known or [], "target")
        for name, source in self.sources.items():
            where = f"sources.{name}"
            yield from check(
                f"{where}.features", source.features, self.feature_sets(), "feature set"
            )
            for group in source.overrides.groups:
                yield from check(f"{where}.overrides.groups", group, self.groups, "target group")
            if known is not None:
                named = {*known, *self.groups, "all"}
                for target in source.targets:
                    yield from check(f"{where}.targets", target, named, "target or group")
                for target in source.overrides.targets:
                    yield from check(f"{where}.overrides.targets", target, known, "target")
        for name, blend in self.blends.items():
            for member in blend.sources:
                if member != "all":
                    yield from check(f"blends.{name}.sources", member, artifacts, "source or blend")
            if blend.fallback:
                yield from check(
                    f"blends.{name}.fallback", blend.fallback, artifacts, "source or blend"
                )
            if blend.sources == ["all"] and not self.sources:
                yield f"blends.{name}: there are no sources to blend"
        yield from self._circles()
        for a, b in self.comparisons:
            for name in (a, b):
                yield from check("comparisons", name, artifacts, "source or blend")
            if a == b:
                yield f"comparisons: '{a}' is compared with itself"
        for name in self.submissions.blends:
            yield from check("submissions.blends", name, artifacts, "source or blend")
            if not has_test:
                yield f"submissions.blends: '{name}' cannot be handed in: data.test is not given"
        if self.folds.scheme == "group" and not self.data.groups:
            yield "folds.scheme: 'group' needs data.groups (which rows belong together)"

    def _circles(self) -> Iterable[str]:
        done: set[str] = set()

        def visit(name: str, path: tuple[str, ...]) -> Iterable[str]:
            if name in path:
                yield f"blends: {' -> '.join((*path, name))} goes in a circle"
            elif name in self.blends and name not in done:
                for member in self.members(name):
                    yield from visit(member, (*path, name))
                done.add(name)

        for name in self.blends:
            yield from visit(name, ())

    def members(self, blend: str) -> list[str]:
        """Names a blend is made of, `all` spelled out and the fallback last."""
        config = self.blends[blend]
        names = [
            name
            for member in config.sources
            for name in (self.sources if member == "all" else [member])
        ]
        if config.fallback:
            names.append(config.fallback)
        return list(dict.fromkeys(names))

    def known_targets(self) -> list[str] | None:
        """Names of the targets where the config alone tells them, else None."""
        if self.data.adapter:
            return list(ADAPTERS[self.data.adapter].TARGETS)
        return self.data.targets.columns if self.data.targets else None


def load_problem(config: Mapping[str, Any]) -> Problem:
    """Check a config (the content of one YAML file) and fill in its defaults.

    Raises:
        BlendmakeError: one line per mistake, each with the key's path and the nearest known name.
    """
    if not config:
        raise BlendmakeError(
            "No problem is given. Name its config: snakemake --configfile config/yeast.yaml"
        )
    try:
        return Problem.model_validate(dict(config))
    except ValidationError as error:
        mistakes: list[Any] = error.errors(include_url=False)
    lines = []
    for mistake in [*mistakes, *_wrong_references(config, mistakes)]:
        where, message = _told(mistake)
        lines += [f"  {where}: {line}" if where else f"  {line}" for line in message.split("\n")]
    name = config.get("problem", "")
    raise BlendmakeError(f"The config of problem '{name}' is wrong:\n" + "\n".join(lines))


# What stands in for a section that is wrong in itself while names are looked up in the others.
STAND_INS: dict[str, dict[str, Any]] = {
    "features": {},
    "sources": {"family": next(iter(FAMILIES))},
    "blends": {"method": "mean", "sources": "all"},
}


def _wrong_references(config: Mapping[str, Any], mistakes: Sequence[Any]) -> list[Any]:
    """Wrong names in a config with other mistakes, so that all are told at once.

    Looked for only if every mistake lies within one feature set, source or blend: elsewhere it
    could be the cause of what is found.
    """
    mended = copy.deepcopy(dict(config))
    for mistake in mistakes:
        section, name = (*mistake["loc"], None, None)[:2]
        if section not in STAND_INS or name is None:
            return []
        mended[section][name] = STAND_INS[section]
    try:
        Problem.model_validate(mended)
    except (ValidationError, TypeError) as error:
        found = error.errors(include_url=False) if isinstance(error, ValidationError) else []
        return [item for item in found if item["type"] == "references"]
    return []


WANTED = {
    "missing": "must be given",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping (key: value)",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "invalid_key": "is no text: put the key in quotes",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list [a, b]",
    "model_type": "must be a mapping (key: value)",
    "string_type": "must be text: put it in quotes",
    "too_short": "must not be empty",
}
TELLS_ALL = ("missing", "invalid_key", "too_short")  # what was found adds nothing


def _told(mistake: Mapping[str, Any]) -> tuple[str, str]:
    """Where a mistake is, and what is wrong, in the user's words rather than pydantic's."""
    path = [str(part) for part in mistake["loc"] if part != "[key]"]
    kind, found = mistake["type"], mistake["input"]
    if kind == "extra_forbidden":
        *path, key = path
        message = f"unknown key '{key}'; {nearest(key, _keys_at(path))}"
    elif kind == "literal_error":
        known = re.findall(r"'([^']+)'", mistake["ctx"]["expected"])
        message = f"unknown value {_shown(found)}; {nearest(str(found), known)}"
    elif kind in WANTED:
        message = WANTED[kind].format(**mistake.get("ctx", {}))
        message += "" if kind in TELLS_ALL else f"; found {_shown(found)}"
    else:
        message = mistake["msg"]
    return ".".join(path), message


def _keys_at(path: Sequence[str]) -> Iterable[str]:
    """The keys of the section at `path`."""
    here: Any = Problem
    for part in path:
        is_section = isinstance(here, type) and issubclass(here, Strict)
        here = here.model_fields[part].annotation if is_section else get_args(here)[1]
        while get_origin(here) in (Annotated, Union, types.UnionType):
            here = get_args(here)[0]
    keys: Iterable[str] = here.model_fields
    return keys


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
