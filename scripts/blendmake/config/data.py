"""The data section: the user's tables."""

from __future__ import annotations

import codecs
import os
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from blendmake.adapters import ADAPTERS
from blendmake.config.base import Files, Names, NamesOnce, Strict, as_list, nearest


def _values_as_text(value: Any) -> Any:
    """Values of a table as lists of text, whatever YAML made of them."""
    if isinstance(value, dict):
        return {name: _values_as_text(item) for name, item in value.items()}
    if isinstance(value, list):
        return [str(item).lower() if isinstance(item, bool) else str(item) for item in value]
    return value if value is None else _values_as_text([value])


class TargetsFile(Strict):
    """Where the labels are: one column per target, of 0, 1 or missing, or of two other values."""

    file: str | None = Field(
        None, description="The file; left out: the columns are in the train file itself."
    )
    columns: NamesOnce | None = Field(
        None, description="The target columns, in order; left out: every column but the id."
    )
    positive: Annotated[
        list[str] | dict[str, list[str]] | None,
        BeforeValidator(
            _values_as_text,
            json_schema_input_type=str | list[str] | dict[str, str | list[str]] | None,
        ),
    ] = Field(
        None,
        min_length=1,
        description='The value that is 1 where labels are two values other than 0 and 1 (`">50K"`), or '
        'several (`[">50K", ">50K."]`); by target where they differ. Left out: 1, true, t, yes, y.',
    )

    @model_validator(mode="after")
    def _names_targets(self) -> TargetsFile:
        if isinstance(self.positive, dict) and self.columns:
            for name in self.positive:
                if name not in self.columns:
                    raise PydanticCustomError(
                        "positive",
                        "'positive' names '{name}', which is no target; {hint}",
                        {"name": name, "hint": nearest(name, self.columns)},
                    )
        return self


def _as_targets(value: Any) -> Any:
    """A file, or what is no name of a file: columns of the train file."""
    if isinstance(value, str):
        name = value.lower()
        is_file = "/" in name or name.endswith(TABLE_SUFFIXES) or os.path.exists(value)
        return {"file": value} if is_file else {"columns": [value]}
    return {"columns": value} if isinstance(value, list) else value


# What a file of a table may be called, whether or not it can be read.
TABLE_SUFFIXES = (
    *(
        ".parquet",
        ".pq",
        ".csv",
        ".tsv",
        ".tab",
        ".txt",
        ".data",
        ".dat",
        ".test",
        ".gz",
        ".zst",
        ".bz2",
        ".xz",
        ".zip",
    ),
    *(".arrow", ".feather", ".ipc", ".json", ".jsonl", ".xlsx", ".xls"),
)


def _names_as_text(value: Any) -> Any:
    return [str(name) for name in value] if isinstance(value, list) else value


class GroupsFile(Strict):
    """Where the group of each row is (patient, scaffold, customer): groups are never split."""

    file: str | None = Field(
        None, description="The file; left out: the column is in the train file itself."
    )
    column: str = Field(description="The column that names the row's group.")


class Ids(Strict):
    """What ids are unique over."""

    distinct: Literal["across_tables", "per_table"] = Field(
        "across_tables",
        description="`across_tables`: no id is in train and in test. `per_table`: ids of test may begin "
        "again where those of train did, and mean other rows.",
    )


class Categories(Strict):
    """Which columns are categories, beside those whose dtype says so (text, dictionary)."""

    columns: list[str] = Field([], description="Columns by name.")
    patterns: Names = Field([], description="Columns by shell pattern, e.g. `cat_feature_*`.")


class CsvFormat(Strict):
    """How CSV files are written; what is left out is told from each file's first lines."""

    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description='What stands between fields, e.g. `";"` or `"\\t"`; left out: that of `,` `;` tab '
        "`|` which gives header and rows one number of fields.",
    )
    decimal: Literal[".", ","] | None = Field(
        None,
        description="The decimal sign; left out: the point, or the comma where numbers are so written "
        "between `;`, tabs or `|`.",
    )
    thousands: str | None = Field(
        None,
        min_length=1,
        max_length=1,
        description="What stands between groups of three digits; left out: nothing.",
    )
    quote: Annotated[str, Field(min_length=1, max_length=1)] | Literal[False] | None = Field(
        None, description='The quotation mark (`"`); `false`: it is text as any other.'
    )
    encoding: str | None = Field(
        None,
        description="Left out: UTF-8, or what a byte order mark or zero bytes say, else cp1252.",
    )
    header: Annotated[bool | list[str] | None, BeforeValidator(_names_as_text)] = Field(
        None,
        description="Whether the first row names the columns (`false`: they are c1, c2, …), or their "
        "names, for files whose first row does not hold them; left out: told from the first rows.",
    )
    skip: int | None = Field(
        None, ge=0, description="Lines above the header; left out: remarks such as `# …` and `|…`."
    )
    comment: str | None = Field(
        None,
        min_length=1,
        description="How lines begin that are no rows; left out: none are left out.",
    )
    skip_spaces: bool | None = Field(
        None,
        description="Leave out spaces around fields; left out: where a space follows each delimiter.",
    )

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str | None) -> str | None:
        try:
            return encoding and codecs.lookup(encoding).name
        except LookupError:
            raise PydanticCustomError(
                "encoding", "'{name}' is no encoding that Python knows", {"name": encoding}
            ) from None


class Csv(CsvFormat):
    """How CSV files are written: for all that the config names, and otherwise for some."""

    files: dict[str, CsvFormat] = Field(
        {},
        description="What is otherwise for some files: by path as the config names it, or shell pattern "
        "(`{data/test.csv: {header: false}}`).",
    )


class Data(Strict):
    """The user's tables: parquet, CSV (also .gz, .bz2, .zst, .zip) or Arrow, joined by id."""

    adapter: str | None = Field(
        None,
        description="A built-in data set in place of files of one's own: "
        + ", ".join(f"`{name}`" for name in ADAPTERS),
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
    ids: Ids = Field(Ids(), description="What ids are unique over.")
    targets: Annotated[
        TargetsFile | None,
        BeforeValidator(_as_targets, json_schema_input_type=str | list[str] | TargetsFile | None),
    ] = Field(
        None,
        description="The labels: a file, or file and columns; or by their names alone, columns of the "
        "train file (`y`, `[y1, y2]`).",
    )
    test_targets: str | None = Field(
        None, description="Labels of the test rows, where known: only for the reported test AUC."
    )
    groups: GroupsFile | None = Field(None, description="Groups of rows that belong together.")
    sample_submission: str | None = Field(
        None, description="A file whose ids, columns and their order a submission must have."
    )
    rows: int | None = Field(
        None, ge=1000, description="`contest_twin`: number of train rows (750,000)."
    )
    test_rows: int | None = Field(
        None, ge=250, description="`contest_twin`: number of test rows (a third of the train rows)."
    )
    extra_columns: int | None = Field(
        None, ge=1, description="`contest_twin`: number of extra columns (2,241)."
    )
    drift: Names = Field(
        [], description="`contest_twin`: columns that are shifted between train and test."
    )
    csv: Csv = Field(Csv(), description="How CSV files are written, where they do not tell.")
    categories: Categories = Field(Categories(), description="Which columns are categories.")
    missing: Annotated[
        Names | dict[str, Names],
        BeforeValidator(as_list),
    ] = Field(
        [],
        description='Texts that mean missing (`["-", "?"]`), in every column or by column '
        '(`{income: ["-"]}`; names or shell patterns): in features, targets, ids, groups and folds. A '
        "number among them is missing in columns of numbers too; in targets, ids, groups and folds only "
        "by column, and so is what is a label by itself (`no`).",
    )
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
            own = {"adapter", "categories", "ignore", *ADAPTERS[self.adapter].OPTIONS}
            fields = type(self).model_fields
            given = sorted(
                key
                for key in self.model_fields_set - own
                if getattr(self, key) != fields[key].get_default(call_default_factory=True)
            )
            if given:
                raise PydanticCustomError(
                    "adapter",
                    "adapter '{name}' brings its own files: leave out {keys}",
                    {"name": self.adapter, "keys": ", ".join(given)},
                )
            return self
        for key in ("rows", "test_rows", "extra_columns", "drift"):
            if key in self.model_fields_set:
                raise PydanticCustomError(
                    "adapter", "'{key}' belongs to adapter contest_twin", {"key": key}
                )
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
