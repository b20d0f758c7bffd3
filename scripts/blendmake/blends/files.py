"""A blend on disk: members' prediction files in, the blend's files out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.blends.blending import Blended, blend
from blendmake.blends.calibration import (
    LOGISTIC,
    MAPS_SCHEMA,
    NONE,
    Calibrated,
    calibrate_columns,
)
from blendmake.blends.members import STACKERS, BlendOptions, Member, Split
from blendmake.errors import BlendmakeError
from blendmake.files import write_parquet
from blendmake.fits.notes import FELL_BACK
from blendmake.folds.file import Folds, read_folds
from blendmake.honest import HONEST_FOLDS, honest_note
from blendmake.labels import KnownLabels, label_columns, read_known
from blendmake.metrics.choice import Given, metrics_for
from blendmake.predictions import (
    PROBABILITY,
    RANK,
    SCALE,
    outputs_of,
    read_predictions,
    write_predictions,
)


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
    *,
    metric: Given = None,
) -> None:
    """Blend prediction files and write the blend's.

    A fold is honest for the blend if it is for every member and for the fallback.

    Args:
        config: config.Blend as a mapping, with `members`: the names behind `oof` and `test`.
        out: `oof` (cross-fitted), `in_sample` (weights of all rows applied to all rows; without
            targets if nothing was chosen with labels), `test`, `weights`, `duplicates`,
            `uncalibrated` (what `oof` was before it became probabilities; without targets if it was
            not calibrated), `calibration` (the maps).
        threads: how many targets are blended side by side.
        metric: of the config, as for `metrics.choice.metrics_for`.
    """
    known = read_known(targets)
    ids = known.ids
    split = read_folds(folds)
    learns = config["method"] in STACKERS  # a stack makes probabilities of whatever it is given
    are_values = True
    members: dict[str, Member] = {}
    test_ids: pa.Table | None = None
    optimistic: set[str] = set()
    fell_back: set[str] = set()
    honest: list[Sequence[int] | None] = []
    for member, oof_path, test_path in zip(config["members"], oof, test, strict=True):
        inside = read_predictions(oof_path, ids)
        outside = read_predictions(test_path, test_ids)
        test_ids = outside.ids
        are_values &= inside.are_values or (learns and _is_member(member, config))
        optimistic.update(inside.note["optimistic"])
        fell_back.update(inside.note.get(FELL_BACK, ()))
        honest.append(inside.note.get(HONEST_FOLDS))
        if inside.of != outside.of:
            raise BlendmakeError(
                f"{oof_path} and {test_path} are of different targets. Rebuild both."
            )
        predicted = outside.values if test_ids.num_rows else None
        members[member] = Member(member, inside.of, inside.values, predicted)
    assert test_ids is not None
    options, splits = _options(config, members), _splits(split)
    done = blend(
        [m for key, m in members.items() if _is_member(key, config)],
        known.labels,
        known.targets,
        splits,
        split.fold.astype(np.intp),
        options,
        threads,
        {name: chosen[0] for name, chosen in metrics_for(known.targets, metric).items()},
    )
    calibrated = _calibrated(config, done, known, targets, splits, threads)
    made = {
        **note,
        "name": name,
        "kind": "blend",
        "members": list(config["members"]),
        **honest_note(optimistic, done.targets, honest, split.n),
        "folds": split.digest,
        SCALE: PROBABILITY
        if calibrated is not None or (are_values and not done.on_ranks)
        else RANK,
    }
    marked = [target for target in done.targets if target in fell_back]
    made |= {FELL_BACK: marked} if marked else {}
    _write(done, calibrated, ids, test_ids, out, made)


def _calibrated(
    config: Mapping[str, Any],
    done: Blended,
    known: KnownLabels,
    path: Path,
    splits: Sequence[Split],
    threads: int,
) -> Calibrated | None:
    """The blend with its binary targets calibrated: those on ranks, or all where the config says so."""
    asked = config.get("calibrate")
    if asked == NONE:
        return None
    binary = [target.name for target in done.of if target.task.name == "binary"]
    chosen = done.on_ranks if asked is None else tuple(binary)
    if not chosen:
        if asked == LOGISTIC and done.of:
            raise BlendmakeError(
                "calibrate: logistic is of binary targets, of which this blend has none. Leave it out."
            )
        return None
    outputs = outputs_of(done.of)
    columns = [outputs.index(name) for name in chosen]
    labels = known.labels[:, label_columns(chosen, known.names, path)]
    given = (done.oof, done.in_sample, done.test)
    oof, in_sample, test = (part if part is None else part[:, columns] for part in given)
    assert oof is not None
    made = calibrate_columns(oof, in_sample, test, labels, chosen, splits, threads)
    if len(columns) == len(outputs):
        return made
    whole = [part if part is None else part.copy() for part in given]
    for part, mapped in zip(whole, (made.oof, made.in_sample, made.test), strict=True):
        if part is not None and mapped is not None:
            part[:, columns] = mapped
    assert whole[0] is not None
    return Calibrated(whole[0], whole[1], whole[2], made.maps)


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
    calibrated: Calibrated | None,
    ids: pa.Table,
    test_ids: pa.Table,
    out: Mapping[str, Path],
    note: Mapping[str, Any],
) -> None:
    covered = done.of
    final = done if calibrated is None else calibrated
    test = final.test
    if test is None:
        test = np.empty((test_ids.num_rows, len(outputs_of(covered))), np.float32)
    write_parquet(done.weights, out["weights"], note)
    write_parquet(done.duplicates, out["duplicates"], note)
    maps = MAPS_SCHEMA.empty_table() if calibrated is None else calibrated.maps
    write_parquet(maps, out["calibration"], note)
    before = None if calibrated is None else done.oof
    for part, values in (("uncalibrated", before), ("in_sample", final.in_sample)):
        if values is None:
            write_predictions(out[part], ids, (), np.empty((ids.num_rows, 0), np.float32), note)
        else:
            write_predictions(out[part], ids, covered, values, note)
    write_predictions(out["test"], test_ids, covered, test, note)
    write_predictions(out["oof"], ids, covered, final.oof, note)
