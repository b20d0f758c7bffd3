"""What a feature set makes of labels, fold by fold: encodings, chosen columns, audited columns.

Whatever is learned of fold k's labels is learned from its training rows alone.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.errors import BlendmakeError
from blendmake.features.column_lists import (
    FOLD_FIELDS,
    check_listings,
    listing,
    matching,
    write_columns,
    write_listings,
)
from blendmake.features.encoding import any_positive, encodings, level_codes, needs_doubles
from blendmake.features.files import FeatureSetFiles
from blendmake.features.label_sums import LabelSums, moments_of
from blendmake.features.selection import (
    MutualInformation,
    Scores,
    binned,
    choose,
    in_classes,
    sample_rows,
)
from blendmake.files import read_note, read_parquet, write_parquet
from blendmake.folds.file import read_folds
from blendmake.folds.schemes.group import group_folds
from blendmake.folds.schemes.stratified import stratified_folds
from blendmake.labels import Labels, read_groups, read_known
from blendmake.matrix import Column, Positions, Rows
from blendmake.seeds import derive_seed
from blendmake.tasks.base import Target, as_targets

log = logging.getLogger(__name__)

Values = NDArray[np.floating[Any]]

SELECTION = pa.schema(
    [
        ("target", pa.string()),
        ("feature", pa.string()),
        ("score", pa.float64()),  # nats; null for a column without a score
        ("rank", pa.int32()),  # among the candidates; null for one that is none
        ("selected", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class SetInputs:
    """The files that a feature set's columns of a fold are made from.

    `tables` and `made` (the set's own columns) by `train` and `test`; `columns` is the set's list,
    `groups` is absent where rows are independent, `audit` (drop.parquet) where none is named.
    """

    tables: Mapping[str, Path]
    made: Mapping[str, Path]
    columns: Path
    targets: Path
    folds: Path
    groups: Path | None = None
    audit: Path | None = None


def make_fold_features(
    inputs: SetInputs,
    fold: int,
    settings: Mapping[str, Any],
    seed: int,
    *,
    out_columns: Path,
    out: Mapping[str, Path],
    out_selection: Path,
    note: Mapping[str, Any] | None = None,
    within: Collection[int] | None = None,
) -> None:
    """Write a feature set as it is in one fold.

    In this order: columns that the audit's list names go, and encodings of them are not made;
    categories are encoded; columns are selected, encodings among them.

    Args:
        settings: config.FeatureSet as a mapping: the keys `target_encoding`, `select` and `audit`,
            as far as they are set.
        out_columns: as the set's columns.parquet, with origin `fold` for columns made here and
            `targets`: which targets use a column, null for all.
        out: table files of the columns made here, by `train` and `test`: every row of both.
        out_selection: parquet: target, feature, score, rank, selected; no rows if nothing is selected.
        within: folds whose rows alone are learned from, for the trials of a search; left out: all.

    Raises:
        BlendmakeError: a pattern without a match, a fold without training rows, nothing left.
    """
    job = _Job(inputs, fold, settings, seed, within)
    encoders = list(job.encoders())
    listings = [*job.listings, *(line for encoder in encoders for line in encoder.listings())]
    check_listings(listings, job.name)
    selection = SELECTION.empty_table()
    if settings.get("select"):
        listings, selection = job.selected(listings, encoders)
        chosen = {line["name"] for line in listings}
        encoders = [left for encoder in encoders if (left := encoder.only(chosen)).of]
    job.check_targets(listings)
    digests = {part: job.write(part, encoders, path) for part, path in out.items()}
    write_parquet(selection, out_selection, note)
    of_set = read_note(inputs.columns)["digests"]
    more = {"fold": fold, "folds": job.folds_digest, "digests": {**of_set, "fold": digests}}
    write_listings(listings, FOLD_FIELDS, out_columns, {**(note or {}), **more})


@dataclass(frozen=True)
class _Encoding:
    """One encoding of a column: its name beside the column's, and who reads it; None: all targets."""

    name: str | None
    target: str | None


@dataclass(frozen=True)
class _Encoder:
    """Encodings of one category column: `mapping` (inner folds + 1, levels + 1, encodings)."""

    index: int  # of the column in the set
    column: Column
    file: str
    mapping: Values  # as they are written
    of: Sequence[_Encoding]

    @property
    def names(self) -> list[str]:
        stem = f"{self.column.name}__encoded"
        return [stem if one.name is None else f"{stem}__{one.name}" for one in self.of]

    def listings(self) -> list[dict[str, Any]]:
        return [
            {
                **listing(name, "fold", self.file),
                "targets": None if one.target is None else [one.target],
            }
            for name, one in zip(self.names, self.of, strict=True)
        ]

    def make(self, codes: Values, inner: NDArray[np.integer]) -> Values:
        """Encodings (rows, names) of codes (rows,), as learned outside the rows' inner folds."""
        values: Values = self.mapping[inner, level_codes(codes, self.column.levels)]
        return values

    def only(self, names: set[str]) -> _Encoder:
        """Those of some names."""
        return self.taken([i for i, name in enumerate(self.names) if name in names])

    def taken(self, places: Sequence[int], kind: Any = None) -> _Encoder:
        """Those at some places, held as `kind`."""
        mapping = self.mapping[:, :, places].astype(kind or self.mapping.dtype, copy=False)
        of = [self.of[i] for i in places]
        return _Encoder(self.index, self.column, self.file, mapping, of)

    def by_kind(self) -> list[_Encoder]:
        """As they are written: float32, but those that it cannot hold."""
        wide = needs_doubles(self.mapping)
        parts = ((~wide, np.float32), (wide, np.float64))
        return [self.taken(np.flatnonzero(at).tolist(), kind) for at, kind in parts if at.any()]


class _Job:
    """A feature set in one fold."""

    def __init__(
        self,
        inputs: SetInputs,
        fold: int,
        settings: Mapping[str, Any],
        seed: int,
        within: Collection[int] | None = None,
    ) -> None:
        self.name = inputs.columns.parent.name
        self.inputs, self.fold, self.settings, self.seed = inputs, fold, settings, seed
        self.files = {
            part: FeatureSetFiles(inputs.columns, inputs.tables[part], inputs.made[part])
            for part in inputs.tables
        }
        known = read_known(inputs.targets)
        self.known_targets, self.targets, self.labels = known.targets, known.names, known.labels
        folds = read_folds(inputs.folds)
        self.folds_digest, self.rows = folds.digest, folds.rows(fold, within)
        if len(self.rows.train) == 0:
            raise BlendmakeError(f"{inputs.folds}: fold {fold} has no training rows.")
        self._every = read_parquet(inputs.columns).to_pylist()
        dropped = self._dropped()
        self.listings = [
            {**line, "targets": None} for line in self._every if line["name"] not in dropped
        ]

    def _dropped(self) -> set[str]:
        """Columns that the audit's list leaves out."""
        audit = self.settings.get("audit")
        if not audit:
            return set()
        assert self.inputs.audit is not None
        table = read_parquet(self.inputs.audit)
        lists, features = table["list"].to_pylist(), table["feature"].to_pylist()
        names = {f for name, f in zip(lists, features, strict=True) if name == audit["list"]}
        every = {line["name"] for line in self._every}
        log.info("the audit drops %d of %d columns", len(names & every), len(every))
        if every <= names:
            raise BlendmakeError(
                f"{self.inputs.audit}: the list '{audit['list']}' drops every column of feature set "
                f"'{self.name}' in fold {self.fold}. Leave out features.{self.name}.audit, or make "
                "the audit less strict."
            )
        return names

    # Encodings

    def encoders(self) -> Iterator[_Encoder]:
        """Encodings of the categories that are named, and not dropped."""
        encoding = self.settings.get("target_encoding")
        if not encoding:
            return
        categories = [line["name"] for line in self._every if line["levels"]]
        named = matching(
            encoding["columns"], categories, self.name, "target_encoding.columns", "category column"
        )
        files = {line["name"]: line["file"] for line in self.listings if line["name"] in named}
        train, folds = self.rows.train, encoding["folds"]
        of, targets, labels = _encoded(self.known_targets, self.labels[train], encoding["targets"])
        sums = LabelSums(labels, moments_of(targets))
        for i, column in enumerate(self.files["train"].columns):
            if column.name in files:
                codes = level_codes(self._values(i, train), column.levels)
                inner = self._inner["train"][train]
                mapping = encodings(codes, column.levels, sums, inner, folds, encoding["smoothing"])
                yield from _Encoder(i, column, files[column.name], mapping, of).by_kind()

    @cached_property
    def _inner(self) -> dict[str, NDArray[np.int32]]:
        """The inner fold of every row; for rows that do not train, one more than the last."""
        folds = self.settings["target_encoding"]["folds"]
        train, labels = self.rows.train, self.labels[self.rows.train]
        groups = read_groups(self.inputs.groups)
        seed = derive_seed(self.seed, "target_encoding", self.fold)
        inner = {part: np.full(files.rows, folds, np.int32) for part, files in self.files.items()}
        if groups is None:
            inner["train"][train] = stratified_folds(labels, folds, seed, self.known_targets)
        else:
            own = group_folds(labels, groups[train], folds, seed, self.known_targets)
            inner["train"][train] = own
        return inner

    def _values(self, index: int, positions: Positions) -> Any:
        """The set's column `index` at some train rows, float32, or float64 if it is wide."""
        files = self.files["train"]
        return Rows(files.files, files.columns, positions).values(index)

    def write(self, part: str, encoders: Sequence[_Encoder], path: Path) -> str:
        """Write the columns made for one part of the tables; returns the file's digest."""
        files = self.files[part]
        table = files.files["table"]

        def make(batch: int) -> Iterator[Values]:
            inner = self._inner[part][table.offsets[batch] : table.offsets[batch + 1]]
            for encoder in encoders:
                column = files.files[encoder.column.origin].column(encoder.column.name, batch)
                yield encoder.make(column.to_numpy(), inner)

        types = {
            name: pa.from_numpy_dtype(encoder.mapping.dtype)
            for encoder in encoders
            for name in encoder.names
        }
        return write_columns(path, types, table, make)

    # Selection

    def selected(
        self, listings: Sequence[dict[str, Any]], encoders: Sequence[_Encoder]
    ) -> tuple[list[dict[str, Any]], pa.Table]:
        """The columns that stay, with the targets that use them, and the table that says why."""
        select = self.settings["select"]
        names = [line["name"] for line in listings]
        # A pattern may name what the audit has dropped.
        known = dict.fromkeys([*(line["name"] for line in self._every), *names])
        kept = matching(select.get("keep") or (), list(known), self.name, "select.keep", "column")
        keeps = np.isin(names, kept)
        for_target = np.array(
            [
                [line["targets"] is None or t in line["targets"] for t in self.targets]
                for line in listings
            ]
        )
        scores = np.where(for_target, self._scores(listings, encoders, select["sample"]), np.nan)
        ranks, chosen = choose(
            np.where(keeps[:, None], np.nan, scores), select["top"], select.get("cap")
        )
        left = []
        for i, line in enumerate(listings):
            if keeps[i]:
                left.append(line)
            elif chosen[i].any():
                own = [t for j, t in enumerate(self.targets) if chosen[i, j]]
                left.append({**line, "targets": own} if select.get("per_target") else line)
        chosen |= keeps[:, None]
        lines = [
            {
                "target": target,
                "feature": names[i],
                "score": None if np.isnan(scores[i, j]) else scores[i, j],
                "rank": ranks[i, j] or None,
                "selected": chosen[i, j],
            }
            for j, target in enumerate(self.targets)
            for i in np.lexsort((ranks[:, j], ranks[:, j] == 0))
            if for_target[i, j]
        ]
        return left, pa.Table.from_pylist(lines, schema=SELECTION)

    def _scores(
        self, listings: Sequence[dict[str, Any]], encoders: Sequence[_Encoder], sample: int
    ) -> Scores:
        """Mutual information (listings, targets) over a sample of the fold's training rows."""
        train = self.rows.train
        seed = derive_seed(self.seed, "select", self.fold)
        classes = in_classes(self.labels[train], self.known_targets)
        chosen = sample_rows(classes, sample, seed)
        positions, score = train[chosen], MutualInformation(classes[chosen])
        scores = {
            name: score(*binned(values, levels))
            for name, values, levels in self._sampled(positions, encoders)
        }
        return np.array([scores[line["name"]] for line in listings])

    def _sampled(
        self, positions: Positions, encoders: Sequence[_Encoder]
    ) -> Iterator[tuple[str, Values, int]]:
        """Name, values at some train rows, and levels of the set's columns and the encodings."""
        left = {line["name"] for line in self.listings}
        for i, column in enumerate(self.files["train"].columns):
            if column.name in left:
                yield column.name, self._values(i, positions), column.levels
        for encoder in encoders:
            codes = self._values(encoder.index, positions)
            values = encoder.make(codes, self._inner["train"][positions])
            for j, name in enumerate(encoder.names):
                yield name, values[:, j], 0

    def check_targets(self, listings: Sequence[Mapping[str, Any]]) -> None:
        """Check that every target has a column to learn from."""
        if any(line["targets"] is None for line in listings):
            return
        reached = {target for line in listings for target in line["targets"]}
        without = [target for target in self.targets if target not in reached]
        if without:
            raise BlendmakeError(
                f"features.{self.name}: target '{without[0]}' is left without a column in fold "
                f"{self.fold}. Raise select.cap, or name columns under select.keep."
            )


def _encoded(
    targets: Sequence[Target], labels: Labels, which: str
) -> tuple[list[_Encoding], list[Target], Labels]:
    """The encodings, and of what: targets and their labels (rows, targets).

    `any` is of binary targets; others have encodings of their own, whatever `which` says.
    """
    binary = [target.task.name == "binary" for target in targets]
    of: list[_Encoding] = []
    encoded: list[Target] = []
    parts = []
    if which in ("any", "both") and any(binary):
        of.append(_Encoding(None, None))
        encoded += as_targets(["any"])
        parts.append(any_positive(labels[:, np.array(binary)])[:, None])
    own = [j for j in range(len(targets)) if which in ("each", "both") or not binary[j]]
    for target in (targets[j] for j in own):
        names = target.task.moment_names(target.name, target.classes)
        of += [_Encoding(name, target.name) for name in names]
        encoded.append(target)
    parts.append(labels[:, own])
    return of, encoded, np.hstack(parts)
