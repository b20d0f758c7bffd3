"""The unit of work: one source on one fold, its targets one after another, each kept in scratch."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from blendmake.errors import BlendmakeError
from blendmake.files import digest_of, note_of, read_note, read_parquet, write_parquet, write_text
from blendmake.fits.fold_job import FoldJob
from blendmake.fits.inputs import FoldInputs
from blendmake.fits.kept import keep_fold, take_fold
from blendmake.fits.notes import FELL_BACK, SEARCH_FOLDS
from blendmake.fits.settings import resolve_targets
from blendmake.fits.store import mean_prediction
from blendmake.fits.table import FITS, result_note
from blendmake.labels import labels_of, targets_of
from blendmake.predictions import write_predictions
from blendmake.scratch import dates, locked

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldOutputs:
    """The files a fit of one fold makes; `models` is a folder, written only on request."""

    oof: Path
    test: Path
    fits: Path
    models: Path

    @property
    def tables(self) -> dict[str, Path]:
        """The files but the models; oof last, as it says that the others stand."""
        return {"test": self.test, "fits": self.fits, "oof": self.oof}


class FoldWork:
    """The fits of a source on one fold: which, with what, and where they are kept.

    Args:
        name, source: the source and its config (config.Source as a mapping).
        groups: the target groups that the source names.
        family: module of its family.
        code: digest of the code, part of the scratch folder's name.
        scratch: folder for finished fits; one that holds a target's fit saves it being done again.
        threads: threads per fit.
        note: provenance of the outputs.
        kept: where the last finished fold is kept, to be taken over by who would fit the same.
        best: best.parquet of the search that the source takes its params from, if it does.
        metric: as of FoldFits.
        gpu, out_of_memory: as of FoldFits; where fits run is no part of what identifies them.

    Attributes:
        ids: the ids of all rows.
        targets, known: names of all of the source's targets, and what they are.
        made: the note of the outputs.
        folder: where finished fits are kept.
    """

    def __init__(
        self,
        name: str,
        source: Mapping[str, Any],
        groups: Mapping[str, Sequence[str]],
        fold: int,
        inputs: FoldInputs,
        *,
        family: str,
        seed: int,
        code: str,
        scratch: Path,
        threads: int,
        note: Mapping[str, Any],
        kept: Path | None = None,
        best: Path | None = None,
        metric: str | Mapping[str, str] | None = None,
        gpu: float = 0.0,
        out_of_memory: str = "error",
    ) -> None:
        table = read_parquet(inputs.targets)
        id_columns = note_of(table)["id_columns"]
        every = [column for column in table.column_names if column not in id_columns]
        self.ids = table.select(id_columns)
        self.targets = resolve_targets(source["targets"], groups, every)
        _check_names(name, source, groups, every)
        # Of its own targets alone: the others' labels would be held beside the matrix.
        _, labels = labels_of(table.select(self.targets), id_columns)
        known = targets_of(table, self.targets)
        tuned, told = _tuned(name, source, self.targets, best)
        self.job = FoldJob(
            name,
            source,
            groups,
            fold,
            inputs,
            family,
            seed,
            threads,
            known,
            labels,
            metric=metric,
            tuned=tuned,
            gpu=gpu,
            out_of_memory=out_of_memory,
        )
        self.job.check(self.targets)
        self.known = known
        key = digest_of([code, inputs.digest(), family, seed, note.get("versions")])
        self.folder, self.kept = scratch / key, kept
        self.keep = bool(source.get("keep_models"))
        fits = [key, self.job.fit_names(self.targets), self.keep, *told.values()]
        self.made = {
            **note,
            "fold": fold,
            "folds": self.job.folds_digest,
            "optimistic": self.job.optimistic(self.targets),
            **told,
            "fits": digest_of(fits),
        }


def fit_fold(work: FoldWork, outputs: FoldOutputs, *, jobs: int = 1) -> None:
    """Fit every target of a source on one fold, less what scratch holds.

    Args:
        work: the fits.
        outputs: the files to make.
        jobs: how many jobs have shared the targets before.
    """
    job, targets, keep = work.job, work.targets, work.keep
    of_jobs = {"jobs": jobs} if jobs > 1 else {}
    before = dates(outputs.tables.values())
    with locked(work.folder):
        if dates(outputs.tables.values()) != before and _stands(outputs, work.made["fits"]):
            log.info("another run has finished this source and fold meanwhile")
            return
        if work.kept is not None and _is_kept(work, outputs):
            notes = {"oof": work.made, "test": work.made, "fits": {**work.made, **of_jobs}}
            if take_fold(outputs.tables, work.kept, work.made["fits"], notes):
                log.info("all that is read holds what it held: the fold is taken over as it was")
                return
        finished = job.run(targets, work.folder, keep)
        valid_ids = work.ids.take(pa.array(job.valid_rows))
        test_ids = job.test_files.files["table"].table(work.ids.column_names)
        if keep:
            job.keep_models(outputs.models, finished)
        rows = [one.row for target in targets for one in finished[target]]
        fell_back = [t for t in targets if any(one.row.get("fallback") for one in finished[t])]
        made = {**work.made, **({FELL_BACK: fell_back} if fell_back else {})}
        bags = [finished[target] for target in targets]
        oof = np.hstack([mean_prediction([one.valid for one in of]) for of in bags])
        test = np.hstack([mean_prediction([one.test for one in of]) for of in bags])
        write_predictions(outputs.test, test_ids, work.known, test, made)
        fits = pa.Table.from_pylist(rows, schema=FITS)
        write_parquet(fits, outputs.fits, {**made, **result_note(fits), **of_jobs})
        write_predictions(outputs.oof, valid_ids, work.known, oof, made)
        if work.kept is not None:
            keep_fold(outputs.tables, work.kept, work.made["fits"])


def fit_chunk(work: FoldWork, out: Path, *, whole: FoldOutputs, chunk: int, chunks: int) -> None:
    """Fit some of a source's targets on one fold, into scratch, where `fit_fold` finds them.

    Args:
        work: the fits of all targets.
        out: a file that says that it is done.
        whole: what `fit_fold` makes; nothing is fitted where another run has just made it, and
            scratch is gone.
        chunk, chunks: which part of the targets this is, from 0, of how many of about one size.
    """
    targets = [str(target) for target in np.array_split(work.targets, chunks)[chunk]]
    before = dates(whole.tables.values())
    with locked(work.folder, part=f"{chunk}of{chunks}"):
        made = dates(whole.tables.values()) != before and _stands(whole, work.made["fits"])
        if targets and not made and not _is_kept(work, whole):
            work.job.run(targets, work.folder, work.keep)
    write_text(json.dumps({"targets": targets}) + "\n", out)


def _check_names(
    name: str,
    source: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    every: Sequence[str],
) -> None:
    """Refuse names of targets that there are not."""
    own = source.get("overrides", {}).get("targets", {})
    unknown = [target for target in own if target not in every]
    if unknown:
        raise BlendmakeError(
            f"sources.{name}.overrides.targets: there is no target '{unknown[0]}'."
        )
    strays = [(g, t) for g, members in groups.items() for t in members if t not in every]
    if strays:
        raise BlendmakeError(f"groups.{strays[0][0]}: there is no target '{strays[0][1]}'.")


def _tuned(
    name: str, source: Mapping[str, Any], targets: Sequence[str], best: Path | None
) -> tuple[Mapping[str, Mapping[str, Any]], dict[str, Any]]:
    """By target what a search found for it, and what the outputs say of it."""
    if best is None:
        return {}, {}
    from blendmake.fits.tuned import read_tuned

    wanted = source["params_from"]
    try:
        tuned, told = read_tuned(
            best,
            wanted["source"],
            wanted["rank"],
            targets,
            own_rounds=wanted.get("own_rounds", False),
        )
    except BlendmakeError as error:
        raise BlendmakeError(f"sources.{name}.params_from: {error}") from None
    return tuned, {"params_from": told, SEARCH_FOLDS: told["search_folds"]}


def _is_kept(work: FoldWork, outputs: FoldOutputs) -> bool:
    """Whether a finished fold of the same fits is kept, with its models where such are wanted."""
    if work.kept is None or not (work.kept / work.made["fits"]).is_dir():
        return False
    return not work.keep or outputs.models.is_dir()


def _stands(outputs: FoldOutputs, fits: str) -> bool:
    """Whether another run has just made these outputs from the same fits; oof is written last."""
    if not all(path.exists() for path in (outputs.oof, outputs.test, outputs.fits)):
        return False
    return read_note(outputs.oof).get("fits") == fits
