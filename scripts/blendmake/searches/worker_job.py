"""The jobs of a search: a worker, and what is written of the trials once all are done, or before."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blendmake.errors import BlendmakeError
from blendmake.scratch import locked
from blendmake.searches.checking import check_search
from blendmake.searches.lint_text import refuse
from blendmake.searches.outputs import write_analysis, write_summary
from blendmake.searches.search import Search
from blendmake.searches.storage import StorageAway
from blendmake.searches.working import Worker, trials_of

log = logging.getLogger(__name__)
PARTIAL = "partial"


def work(
    search: Search,
    *,
    scratch: Path,
    folder: Path,
    number: int,
    time_limit: float | None,
    top: int,
    criteria: Mapping[str, float] | None,
    note: Mapping[str, Any],
) -> dict[str, int]:
    """Fit trials with the other workers of a search until every study has its trials.

    Args:
        scratch: where the studies' journal stands.
        folder: of the search's results, where STOP is looked for and `partial/` written.
        number: of this worker.
        time_limit: seconds that it has.
        top, criteria, note: of the analysis of a search that ends early (config.searches.Search; note:
            its provenance).

    Returns:
        Trials done (complete and pruned) by study.

    Raises:
        BlendmakeError: the search is wrong, too many trials fail, or it ends early (Unfinished).
    """
    refuse(check_search(search), search.name)
    try:
        return Worker(search, scratch, folder, number, time_limit).run()
    except StorageAway:
        raise  # there is nothing to read trials from
    except BlendmakeError:
        try:
            with locked(scratch / PARTIAL):
                there = folder / PARTIAL
                analyse(search, scratch=scratch, folder=there, top=top, note=note, partial=True)
                write_summary(there / "trials.parquet", criteria, there / "summary.md")
        except BlendmakeError as error:  # the storage is away: the first error says so
            log.warning("there is no analysis of what stands: %s", error)
        raise


def analyse(
    search: Search,
    *,
    scratch: Path,
    folder: Path,
    top: int,
    note: Mapping[str, Any],
    partial: bool,
) -> None:
    """Write the analysis of a search into a folder.

    Args:
        partial: what there is of a search that is still going on.

    Raises:
        BlendmakeError: it is not finished, and not asked for in part.
    """
    config = search.config
    write_analysis(
        folder,
        trials_of(search, scratch, finished=not partial),
        search.space,
        name=search.name,
        metric=config["metric"],
        trials_wanted=config["trials"],
        top=top,
        search_folds=search.folds,
        n_folds=search.n_folds,
        note={**note, "targets": search.targets, "folds": search.folds_digest},
        partial=partial,
        studies=list(search.study_targets()),
    )
