"""A blend on disk: members' prediction files in, the blend's files out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.blends.blending import Blended, blend
from blendmake.blends.members import BlendOptions, Member, Split
from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.folds import Folds, read_folds
from blendmake.honest import FELL_BACK, HONEST_FOLDS, honest_note
from blendmake.labels import read_labels
from blendmake.predictions import read_predictions, write_predictions


def blend_files(
    name: str,
    config: Mapping[str, Any],
    oof: Sequence[Path],
    test: Sequence[Path],
    targets: Path,
    folds: Path,
    out: Mapping[str, Path],
    note: Mapping[str, Any],
    threads: int = 1,
) -> None:
    """Blend prediction files and write the blend's.

    A fold is honest for the blend if it is for every member and for the fallback.

    Args:
        config: config.Blend as a mapping, with `members`: the names behind `oof` and `test`.
        out: `oof` (cross-fitted), `in_sample` (weights of all rows applied to all rows; without
            targets if nothing was chosen with labels), `test`, `weights`, `duplicates`.
        threads: how many targets are blended side by side.
    """
    ids, names, labels = read_labels(targets)
    split = read_folds(folds)
    members: dict[str, Member] = {}
    test_ids: pa.Table | None = None
    optimistic: set[str] = set()
    fell_back: set[str] = set()
    honest: list[Sequence[int] | None] = []
    for member, oof_path, test_path in zip(config["members"], oof, test, strict=True):
        inside = read_predictions(oof_path, ids)
        outside = read_predictions(test_path, test_ids)
        test_ids = outside.ids
        optimistic.update(inside.note["optimistic"])
        fell_back.update(inside.note.get(FELL_BACK, ()))
        honest.append(inside.note.get(HONEST_FOLDS))
        if inside.targets != outside.targets:
            raise BlendmakeError(
                f"{oof_path} and {test_path} are of different targets. Rebuild both."
            )
        predicted = outside.values if test_ids.num_rows else None
        members[member] = Member(member, inside.targets, inside.values, predicted)
    assert test_ids is not None
    done = blend(
        [m for key, m in members.items() if _is_member(key, config)],
        labels,
        names,
        _splits(split),
        split.fold.astype(np.intp),
        _options(config, members),
        threads,
    )
    made = {
        **note,
        "name": name,
        "kind": "blend",
        "members": list(config["members"]),
        **honest_note(optimistic, done.targets, honest, split.n),
        "folds": split.digest,
    }
    marked = [target for target in done.targets if target in fell_back]
    made |= {FELL_BACK: marked} if marked else {}
    _write(done, ids, test_ids, out, made)


def _is_member(name: str, config: Mapping[str, Any]) -> bool:
    return name != config.get("fallback") or name in config["sources"] or "all" in config["sources"]


def _splits(folds: Folds) -> list[Split]:
    rows = [folds.rows(k) for k in range(folds.n)]
    return [Split(fit=one.train, apply=one.valid) for one in rows]


def _options(config: Mapping[str, Any], members: Mapping[str, Member]) -> BlendOptions:
    same = (
        "method",
        "scale",
        "max_auc_gap",
        "max_sources_per_target",
        "allow_partial_sources",
        "drop_duplicates",
        "step",
        "grid_sources",
        "steps",
        "shrinkage",
    )
    weights = config.get("top_weights")
    return BlendOptions(
        **{key: config[key] for key in same if key in config},
        fallback=members[config["fallback"]] if config.get("fallback") else None,
        top_weights=None if weights is None else tuple(weights),
        bounds=(config["bounds"][0], config["bounds"][1]),
        stack_neighbours=config.get("neighbours"),
        stack_c=config["c"],
    )


def _write(
    done: Blended,
    ids: pa.Table,
    test_ids: pa.Table,
    out: Mapping[str, Path],
    note: Mapping[str, Any],
) -> None:
    covered = done.targets
    chosen = done.in_sample is not None
    in_sample = (
        done.in_sample if done.in_sample is not None else np.empty((ids.num_rows, 0), np.float32)
    )
    test = (
        done.test
        if done.test is not None
        else np.empty((test_ids.num_rows, len(covered)), np.float32)
    )
    write_parquet(done.weights, out["weights"], note)
    write_parquet(done.duplicates, out["duplicates"], note)
    write_predictions(out["in_sample"], ids, covered if chosen else (), in_sample, note)
    write_predictions(out["test"], test_ids, covered, test, note)
    write_predictions(out["oof"], ids, covered, done.oof, note)
