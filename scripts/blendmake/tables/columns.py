"""Which columns of the user's files are features: by the config, and in train as in test."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.tables.missing import Missing, missing_texts
from blendmake.tables.naming import some_of
from blendmake.tables.user_files import UserTable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What the config says of columns.

    Args:
        category_columns, category_patterns: columns that are categories, by name and by shell pattern.
        ignore: shell patterns of columns that are no features.
        not_features: columns of the train files that hold targets, groups or folds.
        missing: texts that mean missing.
        elsewhere: columns of targets, groups or folds, in whatever file, that `missing` may name too.
    """

    category_columns: Sequence[str] = ()
    category_patterns: Sequence[str] = ()
    ignore: Sequence[str] = ()
    not_features: Sequence[str] = ()
    missing: Missing = ()
    elsewhere: Sequence[str] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Wanted:
        """Of the plan's slice `tables`."""
        return cls(
            settings["categories"]["columns"],
            settings["categories"]["patterns"],
            settings["ignore"],
            settings["not_features"],
            settings.get("missing", ()),
            settings.get("elsewhere", ()),
        )

    def is_category(self, name: str) -> bool:
        return name in self.category_columns or _is_like(name, self.category_patterns)

    def missing_texts(self, name: str) -> list[str]:
        """The texts that mean missing in a column."""
        return missing_texts(self.missing, name)


@dataclass(frozen=True)
class Column:
    """A feature column by its name and file, and whether the config names it as a category."""

    name: str
    file: str
    named: bool


def _is_like(name: str, shapes: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, shape) for shape in shapes)


def feature_columns(
    train: Mapping[str, UserTable],
    test: Mapping[str, UserTable],
    id_columns: Sequence[str],
    wanted: Wanted,
) -> list[Column]:
    """The feature columns, in the order of the files.

    Raises:
        BlendmakeError: the config names a column that no file has, a feature is in two files, or in
            train alone.
    """
    every = {name for table in train.values() for name in table.schema.names}
    _check_named(train, every, wanted)
    features: list[Column] = []
    seen: dict[str, str] = {}
    no_features = {*id_columns, *wanted.not_features}
    for label, table in train.items():
        other = test.get(label)
        for name in table.schema.names:
            added = name in table.index_columns and name not in wanted.category_columns
            if name in no_features or added or _is_like(name, wanted.ignore):
                continue
            if name in seen:
                raise BlendmakeError(
                    f"{table.path}: column '{name}' is also in file '{seen[name]}'. Rename one of them."
                )
            seen[name] = label
            if other is not None and not other.has(name):
                raise BlendmakeError(
                    f"{other.path}: feature '{name}' of {table.path} is absent from test. Add it, "
                    "or list it under data.ignore."
                )
            features.append(Column(name, label, wanted.is_category(name)))
    unused = [
        name
        for table in test.values()
        for name in table.names
        if name not in every and name not in id_columns
    ]
    if unused:
        log.info("columns of test that train does not have are not used: %s", some_of(unused))
    if not features:
        raise BlendmakeError(f"{next(iter(train.values())).path}: there is no feature column.")
    return features


def _check_named(train: Mapping[str, UserTable], every: set[str], wanted: Wanted) -> None:
    unknown = [name for name in wanted.category_columns if name not in every]
    if unknown:
        raise BlendmakeError(f"data.categories.columns: {some_of(unknown)} is in no train file.")
    by_column = list(wanted.missing) if isinstance(wanted.missing, Mapping) else []
    for key, patterns in (
        ("categories.patterns", wanted.category_patterns),
        ("ignore", wanted.ignore),
        ("missing", [name for name in by_column if name not in every]),
    ):
        others = wanted.elsewhere if key == "missing" else ()
        idle = [p for p in patterns if not fnmatch.filter({*every, *others}, p)]
        if idle:
            raise BlendmakeError(f"data.{key}: no train column matches {some_of(idle)}.")
    unknown = [name for name in wanted.not_features if name not in every]
    if unknown:
        raise BlendmakeError(
            f"{next(iter(train.values())).path}: column {some_of(unknown)}, which the config names as "
            "target, group or fold, is not in any train file."
        )
