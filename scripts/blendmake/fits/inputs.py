"""What work on one fold reads, be it fits or an audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blendmake.features.files import FeatureSetFiles, features_digest
from blendmake.files import digest_of, read_note


@dataclass(frozen=True)
class FoldInputs:
    """The files that are read: tables and made columns by `train` and `test`.

    `fold_made`: columns that the feature set makes for this fold, with labels; if it makes any.
    """

    tables: Mapping[str, Path]
    made: Mapping[str, Path]
    columns: Path
    targets: Path
    folds: Path
    inner: Path | None
    fold_made: Mapping[str, Path] | None = None

    def digest(self) -> str:
        """What identifies their content."""
        paths = [self.targets, self.folds, *([self.inner] if self.inner else [])]
        return digest_of([features_digest(self.columns), *(read_note(p)["content"] for p in paths)])

    def feature_files(self, part: str) -> FeatureSetFiles:
        """The feature set over the rows of `train` or `test`."""
        made_for_fold = self.fold_made[part] if self.fold_made else None
        return FeatureSetFiles(self.columns, self.tables[part], self.made[part], made_for_fold)
