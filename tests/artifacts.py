"""Prediction files of a small problem that nobody fitted, scored, blended and compared on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from blendmake.blends.files import blend_files
from blendmake.comparing import compare_artifacts
from blendmake.config.blends import Blend
from blendmake.files import read_parquet, write_parquet
from blendmake.folds.file import write_folds
from blendmake.predictions import write_predictions
from blendmake.scoring import score_artifact

ROWS, FOLDS = 300, 5
TARGETS = ("a", "b")
DRAW = np.random.default_rng(3)
LABELS = (DRAW.random((ROWS, 2)) < 0.3).astype(np.int8)
FOLD = (np.arange(ROWS) % FOLDS).astype(np.int32)
IDS = pa.table({"id": np.arange(ROWS)})
SIGNAL = LABELS + DRAW.normal(size=(ROWS, 2))
NOISE = DRAW.normal(size=(ROWS, 2))

Cells = dict[tuple[str, str], dict[str, Any]]  # rows of a table by target and metric


def cells(path: Path, estimate: str | None = None) -> Cells:
    """The rows of a table of scores or differences, of one estimate where it has several."""
    rows = read_parquet(path).to_pylist()
    kept = [row for row in rows if estimate is None or row["estimate"] == estimate]
    return {(row["target"], row["metric"]): row for row in kept}


class Artifacts:
    """Tables, folds and prediction files of two targets, `a` and `b`."""

    def __init__(self, folder: Path, known: NDArray[Any] = LABELS) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.targets = folder / "targets.parquet"
        self.folds = folder / "folds.parquet"
        labels = {name: pa.array(known[:, j]) for j, name in enumerate(TARGETS)}
        table = pa.table({"id": IDS["id"], **labels})
        write_parquet(table, self.targets, {"id_columns": ["id"]})
        write_folds(self.folds, IDS, FOLD, {})

    def predictions(
        self,
        name: str,
        values: NDArray[Any],
        optimistic: Sequence[str] = (),
        honest: Sequence[int] | None = None,
        targets: Sequence[str] = TARGETS,
        fell_back: Sequence[str] = (),
    ) -> Path:
        """A file of predictions, (rows, targets), with the note of a source's."""
        path = self.folder / f"{name}.parquet"
        note: dict[str, Any] = {"optimistic": list(optimistic)}
        note |= {} if honest is None else {"honest_folds": list(honest)}
        note |= {"fell_back": list(fell_back)} if fell_back else {}
        write_predictions(path, IDS, targets, values.astype(np.float32), note)
        return path

    def compare(self, a: Path, b: Path) -> Cells:
        out = self.folder / "comparison.parquet"
        compare_artifacts(a, b, self.targets, self.folds, out, groups=None, note={})
        return cells(out)

    def score(
        self,
        oof: Path,
        estimate: str = "oof",
        in_sample: Path | None = None,
        uncalibrated: Path | None = None,
    ) -> Path:
        """The scores of a file, which stands for its test predictions too."""
        out = self.folder / "scores.parquet"
        score_artifact(
            oof,
            oof,
            self.targets,
            self.folds,
            out,
            estimate=estimate,
            groups=None,
            test_targets=self.targets,
            in_sample=in_sample,
            uncalibrated=uncalibrated,
            note={},
        )
        return out

    def blend(self, members: Mapping[str, Path], **settings: Any) -> dict[str, Path]:
        """The files of a blend of prediction files, which stand for test predictions too."""
        sources = [name for name in members if name != settings.get("fallback")]
        config = Blend(**{"method": "greedy", "sources": sources, **settings}).slice()
        parts = ("oof", "in_sample", "test", "weights", "duplicates", "uncalibrated", "calibration")
        out = {part: self.folder / "blend" / f"{part}.parquet" for part in parts}
        oof = list(members.values())
        named = {**config, "members": list(members)}
        blend_files("blend", named, oof, oof, self.targets, self.folds, out, {"config": config})
        return out
