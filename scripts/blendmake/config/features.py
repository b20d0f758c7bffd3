"""Feature sets."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from blendmake.config.base import Name, Names, NamesOnce, Strict, check_pair

WITH_LABELS = ("target_encoding", "select", "audit")  # keys of a feature set that look at labels


class Selection(Strict):
    """Which columns of one file a feature set takes; the steps apply in the order below."""

    drop: str | None = Field(None, description="File of column names to leave out (one per line).")
    keep: str | None = Field(None, description="File of column names to keep (one per line).")
    first: int | None = Field(None, ge=0, description="The first k of the columns, in file order.")
    top_variance: int | None = Field(
        None, ge=0, description="The k columns of highest variance (numeric ones only)."
    )
    ranks: Annotated[tuple[int, int], BeforeValidator(check_pair)] | None = Field(
        None, description="The block of variance ranks [from, to], counted from 1, both included."
    )

    @model_validator(mode="after")
    def _ranks(self) -> Selection:
        if self.ranks is not None and not 1 <= self.ranks[0] <= self.ranks[1]:
            raise PydanticCustomError("ranks", "ranks must be [from, to] with 1 <= from <= to")
        if self.ranks is not None and self.top_variance is not None:
            raise PydanticCustomError("ranks", "ranks and top_variance exclude each other")
        return self


class Quantise(Strict):
    """Coarser copies of numeric columns, beside them."""

    columns: NamesOnce = Field(
        description="Numeric columns of the selected files, by shell pattern (`num_*`)."
    )
    decimals: int | None = Field(
        None, ge=-6, le=6, description="Copies `<name>__rounded`, rounded to so many decimals."
    )
    bins: int | None = Field(
        None,
        ge=2,
        le=1000,
        description="Copies `<name>__bin`: the index of the quantile bin, of so many among the train "
        "rows.",
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Quantise:
        if (self.decimals is None) == (self.bins is None):
            raise PydanticCustomError("quantise", "give either decimals or bins")
        return self


class Svd(Strict):
    """Principal components of a file's selected numeric columns: `svd__<file>__1`, …"""

    files: NamesOnce = Field(description="Files, each by itself.")
    components: int = Field(32, ge=1, le=2000, description="How many of each file.")


class TargetEncoding(Strict):
    """Categories as the smoothed mean label of their level: `<name>__encoded`, cross-fitted.

    A training row's value comes from rows of other inner folds, a held-out row's from the training
    rows.
    """

    columns: NamesOnce = Field(
        description="Category columns of the set by shell pattern, pairs among them (`a__x__b`)."
    )
    targets: Literal["any", "each", "both"] = Field(
        "any",
        description="One column for all binary targets, whose label is that any of them is positive; "
        "one for each target (`<name>__encoded__<target>`), which models of that target alone read; "
        "or both. Targets of numbers and of classes have columns of their own whatever is said here: "
        "the mean, and one for each class (`<name>__encoded__<target>=<class>`).",
    )
    smoothing: float = Field(
        20.0,
        ge=0,
        description="Weight of the overall mean, in rows: a level of as many lies halfway.",
    )
    folds: int = Field(5, ge=2, le=50, description="Inner folds of the training rows.")


class Select(Strict):
    """Columns by their mutual information with each target, from a fold's training rows."""

    top: int = Field(ge=1, description="The best so many columns of each target.")
    sample: int = Field(50_000, ge=100, description="Training rows to judge by, drawn by the seed.")
    cap: int | None = Field(
        None,
        ge=1,
        description="At most so many columns in all: each target's first, then by their best value.",
    )
    keep: Names = Field(
        [],
        description="Columns that stay whatever their value, by shell pattern; on top of the cap.",
    )
    per_target: bool = Field(
        False, description="A model reads what its own target chose, not what any target chose."
    )


class AuditList(Strict):
    """A feature audit whose findings, fold by fold, leave columns out."""

    name: Name = Field(description="The audit.")
    list: Literal["signal_only", "drift_pruned"] = Field(
        description="Which columns to leave out: those without an effect on any target, or those that "
        "drifted; constant ones, duplicates and copies of a label go with either."
    )


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
    quantise: Quantise | None = Field(None, description="Coarser copies of numeric columns.")
    missing_flags: Names = Field(
        [],
        description="Files of whose selected numeric columns with missing values a column "
        "`<name>__missing` (0 or 1) is made; one for columns that miss the same train rows.",
    )
    pairs: list[Annotated[tuple[str, str], BeforeValidator(check_pair)]] = Field(
        [],
        description="Pairs of category columns, by name or shell pattern, made into one category "
        "`<a>__x__<b>`, whose levels are the pairs found among the train rows.",
    )
    pair_levels: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="The so many most frequent pairs of levels (1000 unless set); others are missing.",
    )
    svd: Svd | None = Field(None, description="Principal components of the numbers of a file.")
    target_encoding: TargetEncoding | None = Field(
        None, description="Categories as mean labels, cross-fitted."
    )
    select: Select | None = Field(None, description="Columns chosen by their mutual information.")
    audit: AuditList | None = Field(None, description="Columns left out by a feature audit.")

    @property
    def uses_labels(self) -> bool:
        """Whether the set differs between folds, because labels have a say in it."""
        return any(getattr(self, key) is not None for key in WITH_LABELS)

    def file_labels(self) -> dict[str, list[str]]:
        """Files that recipes name, by key."""
        svd = self.svd.files if self.svd else []
        return {
            "row_stats": self.row_stats,
            "missing_flags": self.missing_flags,
            "svd.files": svd,
        }

    def slice_without_labels(self) -> dict[str, Any]:
        """What the set's own files depend on."""
        return {key: value for key, value in self.slice().items() if key not in WITH_LABELS}

    def slice_with_labels(self) -> dict[str, Any]:
        """What its files of a fold depend on beside them."""
        return {key: value for key, value in self.slice().items() if key in WITH_LABELS}
